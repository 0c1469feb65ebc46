// --networks: both sides of whole networks compared, then timed in turns.
#include <algorithm>
#include <cmath>

#include "core/threads.hpp"
#include "measure/machine.hpp"
#include "measure/turns.hpp"
#include "networks.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::bench {

namespace {

constexpr int fewest = 7, most = 101, budget_runs = 5;
constexpr double default_budget = 5;
/// Winograd's algorithm rounds worse, as for single layers.
constexpr double winograd_factor = 10;
/// A probe of the FMA peak below this part of the best one seen: somebody else was running.
constexpr double quiet = 0.95;

/// In -1..1, the same everywhere.
class Draw {
 public:
  explicit Draw(std::string_view seed) {
    for (const char c : seed) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  }
  float operator()() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<float>(static_cast<double>((state_ >> 33) % 2001) / 1000 - 1);
  }

 private:
  std::uint64_t state_ = 0xCBF29CE484222325U;
};

Numbers uniform(index_t count, std::string_view seed) {
  Draw draw(seed);
  Numbers v(static_cast<std::size_t>(count));
  for (float& x : v) x = draw();
  return v;
}

/// Weights that keep the size of what goes through them, and a batch norm that does something: what a network is
/// initialised with fades away layer by layer, and differences with it.
void fill(Parameters& parameters) {
  for (Parameters::Entry& e : parameters.entries()) {
    if (e.name.ends_with("anchors") || e.name.ends_with("num_batches_tracked")) continue;
    Draw draw(e.name);
    const Shape& s = e.value.shape();
    const bool weights = e.dims.size() == 4, around_one = e.name.ends_with("var") || e.name.ends_with(".bn.weight");
    const float scale = weights ? 3 / std::sqrt(static_cast<float>(s.c * s.h * s.w)) : 0.5F;
    auto* v = e.value.data<float>();
    for (index_t i = 0; i < e.value.numel(); ++i) v[i] = (around_one ? 1.F : 0.F) + scale * draw();
  }
  parameters.touch();
}

Numbers plain(const View<float>& v) {
  Numbers all;
  for (index_t n = 0; n < v.shape.n; ++n)
    for (index_t c = 0; c < v.shape.c; ++c)
      for (index_t h = 0; h < v.shape.h; ++h)
        for (index_t w = 0; w < v.shape.w; ++w) all.push_back(v.at(n, c, h, w));
  return all;
}

void write(const Numbers& numbers, const View<float>& v) {
  auto from = numbers.begin();
  for (index_t n = 0; n < v.shape.n; ++n)
    for (index_t c = 0; c < v.shape.c; ++c)
      for (index_t h = 0; h < v.shape.h; ++h)
        for (index_t w = 0; w < v.shape.w; ++w) v.at(n, c, h, w) = *from++;
}

Plan plan_of(const NetworkProblem& p, const Options& options, bool direct) {
  PlanOptions o;
  o.mode = p.train ? Mode::train : Mode::infer;
  o.exec.isa = options.isa;
  o.exec.threads = options.threads;
  o.exec.direct = direct;
  Plan plan(p.network->graph, *p.parameters, o);
  write(p.x, plan.input());
  for (std::size_t i = 0; i < p.output_gradient.size(); ++i)
    write(p.output_gradient[i], plan.output_gradient(p.network->graph.outputs()[i].name));
  return plan;
}

void step(Plan& plan, bool train, Timeline* timeline = nullptr) {
  plan.forward(timeline);
  if (train) plan.backward(timeline);
}

double largest(const Numbers& v) {
  float size = 0;
  for (const float x : v) size = std::max(size, std::abs(x));
  return static_cast<double>(size);
}

/// Largest difference over `size`.
double distance(const Numbers& a, const Numbers& b, double size) {
  if (a.size() != b.size()) throw Error("results differ in size");
  double difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    if (!std::isfinite(x) || !std::isfinite(y)) return INFINITY;
    difference = std::max(difference, std::abs(x - y));
  }
  return size > 0 ? difference / size : difference;
}

/// What a difference in the gradient of a parameter is compared with. Where only sums lie between a layer and the next
/// batch norm, that takes out the shift, whose gradient is then nothing but rounding: hence the factor's beside it.
double size_of_gradient(Parameters& parameters, const Parameters::Entry& e) {
  double size = largest(plain(parameters.gradient<float>(e)));
  const std::string_view shift = ".bias";
  if (!e.name.ends_with(shift)) return size;
  const int factor = parameters.find(e.name.substr(0, e.name.size() - shift.size()) + ".weight");
  if (factor < 0) return size;
  const Parameters::Entry& beside = parameters.entries()[static_cast<std::size_t>(factor)];
  if (beside.dims.size() == 1) size = std::max(size, largest(plain(parameters.gradient<float>(beside))));
  return size;
}

/// Every convolution adds an error of 2 u (4 + 2 sqrt K) of its result, K the terms of its sums, to what comes in, and
/// what lies between them keeps sizes: so the errors of all of them add up, at worst. The way back has two sums for
/// each of the way forward, one of them over all pixels, and its errors come on top of those of the maps it reads.
double bound_of(const Network& network, bool train) {
  const Graph& g = network.fused;
  double terms = 0;
  for (const Node& n : g.nodes()) {
    if (n.op != &ops::conv_bn_act && n.op != &ops::conv2d) continue;
    const Shape &w = g.shape(n.inputs[1]), &y = n.shapes[0];
    terms += 4 + 2 * std::sqrt(static_cast<double>(w.c * w.h * w.w));
    if (train)
      terms +=
          8 + 2 * std::sqrt(static_cast<double>(w.n * w.h * w.w)) + 2 * std::sqrt(static_cast<double>(y.n * y.h * y.w));
  }
  return 2 * 0x1p-24 * terms;
}

Budget medians(const std::vector<Budget>& runs) {
  Budget all{};
  for (std::size_t k = 0; k < all.size(); ++k) {
    std::vector<double> times;
    for (const Budget& b : runs) times.push_back(b[k]);
    all[k] = measure::quantile(times, 0.5);
  }
  return all;
}

class Run {
 public:
  explicit Run(const Options& options)
      : options_(options), threads_(options.threads), best_peak_(measure::fma_peak(options.isa, options.threads)) {
    if (!options.budget_given) options_.budget = default_budget;
  }

  int all() {
    print_network_heading(options_, best_peak_);
    for (const std::string& cfg : options_.cfgs) network(cfg);
    if (!options_.json.empty()) write_networks(options_.json, rows_, options_, best_peak_);
    return wrong_ ? 1 : 0;
  }

 private:
  void network(const std::string& cfg) {
    const index_t batch = options_.batch > 0 ? options_.batch : 1;
    const Network network(cfg, options_.img, batch);
    Parameters parameters(network.graph);
    fill(parameters);
    NetworkProblem p;
    p.network = &network;
    p.parameters = &parameters;
    p.train = options_.train;
    p.algorithm = options_.algorithm;
    p.x = uniform(3 * batch * options_.img * options_.img, "x");
    if (p.train)
      for (const Output& o : network.graph.outputs())
        p.output_gradient.push_back(uniform(network.graph.shape(o.value).numel(), o.name));
    for (const bool framework : {false, true}) {
      p.framework = framework;
      if (options_.peer == "both" || options_.peer == p.peer()) compare(p, batch);
    }
  }

  void compare(const NetworkProblem& p, index_t batch) {
    NetworkRow row;
    row.cfg = p.network->name;
    row.peer = p.peer();
    row.img = options_.img;
    row.batch = batch;
    row.train = p.train;
    const std::unique_ptr<NetworkPeer> peer = make_onednn_network(p);
    row.peer_kernels = peer->describe();
    row.bound = bound_of(*p.network, p.train) * (p.algorithm == kernels::Algorithm::best ? winograd_factor : 1);
    if (const std::string worst = disagreement(p, *peer, row); row.error > row.bound) {
      std::printf("ERROR %s %s: the sides disagree: %s is off by %.1e of its largest value, allowed are %.1e\n",
                  row.cfg.c_str(), row.peer.c_str(), worst.c_str(), row.error, row.bound);
      std::fflush(stdout);
      wrong_ = true;
      return;
    }
    time(p, *peer, row);
    print_network(row);
    rows_.push_back(row);
  }

  /// The peer against slimneck's direct algorithms. Leaves the largest error in the row, and names what has it.
  std::string disagreement(const NetworkProblem& p, NetworkPeer& peer, NetworkRow& row) {
    Plan plan = plan_of(p, options_, true);
    p.parameters->zero_grad();
    step(plan, p.train);
    peer.run();
    std::string worst;
    const auto look = [&](const std::string& name, const Numbers& ours, const Numbers& theirs, double size) {
      const double error = distance(ours, theirs, size);
      if (error > row.error || worst.empty()) {
        row.error = error;
        worst = name;
      }
    };
    const std::vector<Output>& outputs = p.network->graph.outputs();
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const Numbers ours = plain(plan.output(outputs[i].name));
      look(outputs[i].name, ours, peer.output(i), largest(ours));
    }
    if (!p.train) return worst;
    for (const Parameters::Entry& e : p.parameters->entries())
      if (const Numbers theirs = peer.gradient(e.name); !theirs.empty())
        look("the gradient of " + e.name, plain(p.parameters->gradient<float>(e)), theirs,
             size_of_gradient(*p.parameters, e));
    return worst;
  }

  void time(const NetworkProblem& p, NetworkPeer& peer, NetworkRow& row) {
    Plan plan = plan_of(p, options_, options_.algorithm == kernels::Algorithm::direct);
    for (int attempt = 0; attempt < 3; ++attempt) {
      const double before = peak();
      measure::Turns turns({[&] { step(plan, p.train); }, [&] { peer.run(); }});
      turns.take(std::clamp(static_cast<int>(options_.budget / turns.expected()), fewest, most) | 1);
      const measure::Ratio ratio = turns.ratio(1, 0);
      row.repetitions = turns.repetitions();
      row.slimneck_ms = turns.median(0) * 1e3;
      row.peer_ms = turns.median(1) * 1e3;
      row.ratio = ratio.median;
      row.spread = ratio.spread;
      row.disturbed = std::min(before, peak()) < quiet * best_peak_;
      if (!row.disturbed) break;
    }
    budgets(p, plan, peer, row);
  }

  void budgets(const NetworkProblem& p, Plan& plan, NetworkPeer& peer, NetworkRow& row) {
    const std::vector<PlanStep> steps = plan.steps();
    std::vector<Budget> ours, theirs;
    Timeline timeline = plan.timeline();
    for (int i = 0; i < budget_runs; ++i) {
      step(plan, p.train, &timeline);
      Budget& b = ours.emplace_back();
      for (std::size_t k = 0; k < steps.size(); ++k)
        b[static_cast<std::size_t>(p.network->work_of(steps[k]))] += timeline.steps[k].ms();
      if (p.train) b[static_cast<std::size_t>(Work::parameters)] += timeline.pack.ms();
      theirs.push_back(peer.timed());
    }
    row.slimneck_budget = medians(ours);
    row.peer_budget = medians(theirs);
    for (double& seconds : row.peer_budget) seconds *= 1e3;
    for (const PlanStep& s : steps)
      row.macs[static_cast<std::size_t>(p.network->work_of(s))] += static_cast<double>(s.cost.macs);
    for (std::size_t k = 0; k < work_count; ++k) row.peak_ms[k] = 2 * row.macs[k] / (best_peak_ * 1e9) * 1e3;
    double total = 0, outside = 0;
    for (std::size_t k = 0; k < work_count; ++k) {
      total += row.peer_budget[k];
      if (k >= static_cast<std::size_t>(Work::norm_act)) outside += row.peer_budget[k];
    }
    row.outside_convolutions = outside / total;
  }

  double peak() {
    const double now = measure::fma_peak(options_.isa, options_.threads);
    best_peak_ = std::max(best_peak_, now);
    return now;
  }

  Options options_;
  core::ThreadScope threads_;
  double best_peak_;
  std::vector<NetworkRow> rows_;
  bool wrong_ = false;
};

}  // namespace

int run_networks(const Options& options) {
  if (onednn_version().empty()) throw Error("--networks wants oneDNN, which this build does not have");
  if (options.cfgs.empty()) throw Error("--networks wants --cfg MODEL...");
  return Run(options).all();
}

}  // namespace slimneck::bench
