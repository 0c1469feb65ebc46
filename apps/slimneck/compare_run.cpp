#include "compare_run.hpp"

#include <algorithm>
#include <memory>
#include <numeric>

#include "cli.hpp"
#include "measure/turns.hpp"
#include "slimneck/cost.hpp"

#ifdef SLIMNECK_WITH_PEER
#include "peer.hpp"
#endif

namespace slimneck::cli {

std::string_view name_of(Pass pass) noexcept {
  switch (pass) {
    case Pass::fwd: return "fwd";
    case Pass::bwd: return "bwd";
    case Pass::fwdbwd: return "fwdbwd";
  }
  return "";
}

std::string peer_name() {
#ifdef SLIMNECK_WITH_PEER
  return bench::peer_name();
#else
  return {};
#endif
}

std::string_view name_of(Engine engine) noexcept {
  switch (engine) {
    case Engine::slimneck: return "slimneck";
    case Engine::onednn_best: return "onednn-best";
    case Engine::onednn_framework: return "onednn-framework";
  }
  return "";
}

index_t Counts::macs(Pass pass) const {
  return (pass == Pass::bwd ? 0 : forward) + (pass == Pass::fwd ? 0 : input_gradient + weight_gradient);
}

Counts counts_of(const Op& op, const LayerShape& layer, index_t batch, const kernels::Activation& act) {
  const Graph graph = graph_of(op, layer, batch, act);
  Counts counts;
  counts.output = graph.shape(graph.outputs()[0].value);
  counts.parameters = graph.cost().parameters;
  counts.paper = op.kind->paper_macs(layer, counts.output.n * counts.output.h * counts.output.w);
  std::vector<Value> sources;
  for (int i = 0; i < graph.size(); ++i)
    if (const Role role = graph.node(i).role; role == Role::parameter || role == Role::input) sources.push_back({i, 0});
  const PassCosts passes = pass_costs(graph, sources);
  counts.forward = passes.forward.macs;
  counts.input_gradient = passes.input_gradient.macs;
  counts.weight_gradient = passes.weight_gradient.macs;
  return counts;
}

namespace {

/// The neighbour, and what is between the plan's own memory and the NCHW of its caller.
bool at_the_edge(const PlanStep& s) { return s.op == "reorder" || s.name.starts_with(neighbour_name); }

bool belongs(const PlanStep& s, Pass pass) {
  return !at_the_edge(s) && (pass == Pass::fwdbwd || s.backward == (pass == Pass::bwd));
}

PlanOptions plan_options(const Op& op, Mode mode, const CompareOptions& compare) {
  PlanOptions options;
  options.mode = mode;
  options.exec = compare.exec;
  options.ordinal = compare.ordinal;
  options.input_gradients = mode == Mode::train;
  if (op.unfused) {
    options.without = {"fuse_gs_pair"};
    options.copy_channels = true;
  }
  return options;
}

Mode mode_of(Pass pass) { return pass == Pass::fwd ? Mode::infer : Mode::train; }

std::size_t moved_by(const std::vector<PlanStep>& steps, Pass pass) {
  std::size_t bytes = 0;
  for (const PlanStep& s : steps)
    if (belongs(s, pass)) bytes += s.bytes_read + s.bytes_written;
  return bytes;
}

std::size_t least_bytes(const Counts& counts, const LayerShape& layer, Pass pass) {
  const index_t x = counts.output.n * layer.c1 * layer.h * layer.w, y = counts.output.numel(), w = counts.parameters;
  const index_t numbers = pass == Pass::fwd ? x + w + y : pass == Pass::bwd ? 2 * (x + w) + y : 2 * (x + w + y);
  return static_cast<std::size_t>(numbers) * sizeof(float);
}

/// A module in one mode, ready to be timed.
class Candidate {
 public:
  Candidate(const Graph& graph, const PlanOptions& options)
      : parameters_(graph), plan_(graph, parameters_, options), train_(options.mode == Mode::train) {
    steps_ = plan_.steps();
    timeline_ = plan_.timeline();
    fill_like_picture(plan_.input());
    if (train_) fill_like_picture(plan_.output_gradient("y"));
  }

  /// Inference: the forward's clock. Training: one for the backward, one for everything.
  [[nodiscard]] measure::Side side() {
    return {[this](int calls, std::span<double> seconds) {
              std::fill(seconds.begin(), seconds.end(), 0);
              for (int i = 0; i < calls; ++i) run(seconds, calls);
            },
            train_ ? std::size_t{2} : std::size_t{1}};
  }
  [[nodiscard]] const std::vector<PlanStep>& steps() const { return steps_; }
  /// "conv_bn_act:k3 + conv_bn_act:k1"
  [[nodiscard]] std::string kernels(Pass pass) const {
    std::string text;
    for (const PlanStep& s : steps_)
      if (belongs(s, pass) && s.op != "pack" && s.op != "accumulate" && s.op != "assign")
        text += (text.empty() ? "" : " + ") + (s.moves ? s.op : s.op + ":" + s.kernel);
    return text;
  }

 private:
  /// In training with parameters that have just moved.
  void run(std::span<double> seconds, int calls) {
    if (train_) parameters_.touch();
    plan_.forward(&timeline_);
    if (train_) plan_.backward(&timeline_);
    plan_.wait();
    const auto add = [&](std::size_t clock, double ms) { seconds[clock] += 1e-3 * ms / calls; };
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      if (at_the_edge(steps_[i])) continue;
      const double ms = timeline_.steps[i].ms();
      if (!train_ || steps_[i].backward) add(0, ms);
      if (train_) add(1, ms);
    }
  }

  Parameters parameters_;
  Plan plan_;
  bool train_;
  std::vector<PlanStep> steps_;
  Timeline timeline_;
};

#ifdef SLIMNECK_WITH_PEER

/// oneDNN's module in a layer's place; null for kinds that it has no composition of.
std::unique_ptr<bench::Peer> peer_of(const CompareOptions& options, const Op& op, const LayerShape& l, Pass pass,
                                     Engine engine) {
  using Module = bench::PeerTask::Module;
  bench::PeerTask task;
  if (op.kind->name == "dsc") task.module = Module::dsc;
  if (op.kind->name == "gsconv") task.module = Module::gsconv;
  const bool has = op.kind->name == "sc" || task.module != Module::sc;
  if (op.unfused || !has || pass == Pass::bwd) return nullptr;
  task.n = options.batch;
  task.c1 = l.c1;
  task.c2 = l.c2;
  task.h = l.h;
  task.w = l.w;
  task.k = l.k;
  task.s = l.s;
  task.train = pass == Pass::fwdbwd;
  task.framework = engine == Engine::onednn_framework;
  task.act = options.act.kind;
  task.isa = options.exec.isa;
  task.threads = options.exec.threads;
  task.direct = options.exec.direct;
  return bench::make_peer(task);
}

#endif

/// What one layer's rows are made from: who takes turns, and which clock belongs to which row.
class LayerRun {
 public:
  LayerRun(const CompareOptions& options, const measure::Roofline& peaks, const LayerShape& shape)
      : options_(options), peaks_(peaks) {
    layer_.shape = shape;
    for (const Op& op : options.ops) layer_.counts.push_back(counts_of(op, shape, options.batch, options.act));
    sides_.push_back({[this](int calls, std::span<double> seconds) {
      const double begin = measure::seconds_now();
      for (int i = 0; i < calls; ++i) measure::multiply_adds(options_.exec.isa, options_.exec.threads);
      seconds[0] = (measure::seconds_now() - begin) / calls;
    }});
    clocks_ = 1;
    for (std::size_t i = 0; i < options.ops.size(); ++i) add_op(i);
#ifdef SLIMNECK_WITH_PEER
    if (options.peer) add_peers();
#endif
  }

  CompareLayer measure() {
    constexpr double shortest = 5e-4;
    measure::Turns turns(std::move(sides_), shortest);
    const double begin = measure::seconds_now();
    turns.take(options_.repetitions);
    const auto affordable = [&] {
      return measure::seconds_now() - begin + turns.repetitions() * turns.expected() < options_.time;
    };
    while (turns.spread(0) > steady && affordable()) turns.take(turns.repetitions());
    layer_.repetitions = turns.repetitions();
    layer_.calibration_spread = turns.spread(0);
    for (std::size_t i = 0; i < layer_.rows.size(); ++i) set_times(layer_.rows[i], clock_of_[i], turns);
    return std::move(layer_);
  }

 private:
  void add_op(std::size_t index) {
    const Op& op = options_.ops[index];
    const Graph graph = graph_of(op, layer_.shape, options_.batch, options_.act);
    for (const Mode mode : {Mode::infer, Mode::train}) {
      const auto of_mode = [mode](Pass p) { return mode_of(p) == mode; };
      if (std::none_of(options_.passes.begin(), options_.passes.end(), of_mode)) continue;
      candidates_.push_back(std::make_unique<Candidate>(graph, plan_options(op, mode, options_)));
      Candidate& candidate = *candidates_.back();
      const std::vector<PlanStep> other = other_steps(graph, op, mode);
      for (const Pass pass : options_.passes)
        if (of_mode(pass)) add_row(index, pass, candidate, other);
      sides_.push_back(candidate.side());
      clocks_ += sides_.back().clocks;
    }
  }

  /// Of the plan that is not timed: the unfused one of a fused one.
  [[nodiscard]] std::vector<PlanStep> other_steps(const Graph& graph, const Op& op, Mode mode) const {
    Parameters parameters(graph);
    return Plan(graph, parameters, plan_options({op.kind, !op.unfused}, mode, options_)).steps();
  }

  void add_row(std::size_t index, Pass pass, const Candidate& candidate, const std::vector<PlanStep>& other) {
    CompareRow row;
    row.op = options_.ops[index];
    row.pass = pass;
    row.macs = layer_.counts[index].macs(pass);
    row.macs_vs_sc = static_cast<double>(row.macs) / static_cast<double>(layer_.counts[0].macs(pass));
    row.bytes = moved_by(candidate.steps(), pass);
    const std::size_t others = moved_by(other, pass);
    row.traffic = {row.op.unfused ? row.bytes : others, row.op.unfused ? others : row.bytes,
                   least_bytes(layer_.counts[index], layer_.shape, pass)};
    row.kernels = candidate.kernels(pass);
    set_bounds(row);
    clock_of_.push_back(clocks_ + (pass == Pass::fwdbwd ? 1 : 0));
    layer_.rows.push_back(std::move(row));
  }

#ifdef SLIMNECK_WITH_PEER
  void add_peers() {
    for (const Engine engine : {Engine::onednn_best, Engine::onednn_framework})
      for (std::size_t i = 0; i < options_.ops.size(); ++i)
        for (const Pass pass : options_.passes) {
          std::unique_ptr<bench::Peer> peer = peer_of(options_, options_.ops[i], layer_.shape, pass, engine);
          if (!peer) continue;
          CompareRow row = *layer_.find(options_.ops[i].name(), pass);
          row.engine = engine;
          row.bytes = row.traffic.least;
          row.kernels = peer->kernel();
          set_bounds(row);
          clock_of_.push_back(clocks_++);
          layer_.rows.push_back(std::move(row));
          sides_.push_back({[&p = *peer](int calls, std::span<double> seconds) {
            const double begin = measure::seconds_now();
            for (int k = 0; k < calls; ++k) p.run();
            seconds[0] = (measure::seconds_now() - begin) / calls;
          }});
          peers_.push_back(std::move(peer));
        }
  }
#endif

  void set_bounds(CompareRow& row) const {
    const double flops = 2 * static_cast<double>(row.macs);
    row.roofline_ms = 1e3 * peaks_.seconds(flops, static_cast<double>(row.traffic.least));
    row.memory_bound = peaks_.memory_bound(flops, static_cast<double>(row.bytes));
  }

  /// SC of the same engine and pass is what a row is compared with.
  void set_times(CompareRow& row, std::size_t clock, const measure::Turns& turns) {
    row.median_ms = 1e3 * turns.median(clock);
    row.min_ms = 1e3 * turns.quantile(clock, 0);
    row.p95_ms = 1e3 * turns.quantile(clock, 0.95);
    for (std::size_t i = 0; i < layer_.rows.size(); ++i) {
      const CompareRow& sc = layer_.rows[i];
      if (sc.pass != row.pass || sc.engine != row.engine || sc.op.name() != "sc") continue;
      const measure::Ratio ratio = turns.ratio(clock, clock_of_[i]);
      row.spread = &sc == &row ? turns.spread(clock) : ratio.spread;
      if (layer_.calibration_spread <= steady) row.time_vs_sc = ratio.median;
    }
  }

  const CompareOptions& options_;
  const measure::Roofline& peaks_;
  CompareLayer layer_;
  std::vector<std::unique_ptr<Candidate>> candidates_;
#ifdef SLIMNECK_WITH_PEER
  std::vector<std::unique_ptr<bench::Peer>> peers_;
#endif
  std::vector<measure::Side> sides_;
  std::size_t clocks_ = 0;
  std::vector<std::size_t> clock_of_;  ///< of each row
};

}  // namespace

const CompareRow* CompareLayer::find(std::string_view op, Pass pass, Engine engine) const {
  const auto at = std::find_if(rows.begin(), rows.end(), [&](const CompareRow& r) {
    return r.pass == pass && r.engine == engine && r.op.name() == op;
  });
  return at == rows.end() ? nullptr : &*at;
}

double Comparison::calibration_spread() const {
  double worst = 0;
  for (const CompareLayer& layer : layers) worst = std::max(worst, layer.calibration_spread);
  return worst;
}

Comparison compare(const CompareOptions& options, const std::vector<LayerShape>& layers,
                   const std::function<void(const Comparison&)>& done) {
  for (const LayerShape& layer : layers)
    for (const Op& op : options.ops) static_cast<void>(graph_of(op, layer, options.batch, options.act));
  const measure::Pinned pinned(options.exec.threads);
  Comparison all;
  all.options = options;
  all.machine = processor_name();
  all.processors = pinned.numbers();
  all.peaks = measure::Roofline::measure(options.exec.isa, options.exec.threads);
  for (const LayerShape& layer : layers) {
    all.layers.push_back(LayerRun(all.options, all.peaks, layer).measure());
    if (done) done(all);
  }
  return all;
}

}  // namespace slimneck::cli
