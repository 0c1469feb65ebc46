// slimneck bench: how long networks take, in turns, and where the time goes.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "measure/machine.hpp"
#include "measure/turns.hpp"
#include "trace.hpp"

namespace slimneck::cli {

namespace {

using Json = nlohmann::ordered_json;

struct BenchArguments {
  std::vector<std::string> cfgs;
  ModelArguments model;
  ExecArguments exec;
  std::string mode = "infer", trace;
  index_t batch = 1;
  double time = 10;
  bool layers = false, json = false;
};

/// A network that takes its turn; what its steps took is kept run by run.
class Candidate {
 public:
  Candidate(const BenchArguments& arguments, const std::string& cfg)
      : cfg_(cfg),
        train_(arguments.mode == "train"),
        by_steps_(arguments.exec.device.kind == Device::cpu || arguments.layers || !arguments.trace.empty()),
        model_(open(arguments, cfg)),
        parameters_(model_.parameters()) {
    const PlanOptions options = arguments.exec.plan(train_ ? Mode::train : Mode::infer);
    plan_ = std::make_unique<Plan>(with_batch(results_only(model_.model.graph), arguments.batch), parameters_, options);
    steps_ = plan_->steps();
    timeline_ = plan_->timeline();
    times_.resize(steps_.size());
    fill_like_picture(plan_->input());
    if (train_)
      for (const std::string& name : plan_->outputs()) fill_like_picture(plan_->output_gradient(name));
  }

  /// Training: a step whose parameters have just moved.
  void run() {
    if (train_) parameters_.touch();
    Timeline* const timeline = by_steps_ ? &timeline_ : nullptr;
    plan_->forward(timeline);
    if (train_) plan_->backward(timeline);
    plan_->wait();
    for (std::size_t i = 0; i < steps_.size(); ++i) times_[i].push_back(timeline_.steps[i].ms());
  }
  /// Of the warm-up.
  void forget() {
    for (std::vector<double>& t : times_) t.clear();
  }

  [[nodiscard]] const std::string& cfg() const { return cfg_; }
  [[nodiscard]] Shape input() const { return plan_->input().shape; }
  [[nodiscard]] const std::vector<PlanStep>& steps() const { return steps_; }
  [[nodiscard]] const Timeline& timeline() const { return timeline_; }
  /// Median milliseconds of a step.
  [[nodiscard]] double step_ms(std::size_t i) const { return measure::quantile(times_[i], 0.5); }
  /// Multiply-adds that a run executes.
  [[nodiscard]] index_t macs() const {
    index_t sum = 0;
    for (const PlanStep& s : steps_) sum += s.cost.macs;
    return sum;
  }

 private:
  static OpenModel open(const BenchArguments& arguments, const std::string& cfg) {
    ModelArguments one = arguments.model;
    one.cfg = cfg;
    return open_model(one);
  }

  std::string cfg_;
  bool train_;
  bool by_steps_;  ///< on a GPU only where steps are asked for: it does them all in one launch, unless it is watched
  OpenModel model_;
  Parameters parameters_;
  std::unique_ptr<Plan> plan_;
  std::vector<PlanStep> steps_;
  Timeline timeline_;
  std::vector<std::vector<double>> times_;  ///< of each step; milliseconds
};

/// Candidates in turns, until their ratios are steady or the time is over.
class Comparison {
 public:
  explicit Comparison(const BenchArguments& arguments) {
    for (const std::string& cfg : arguments.cfgs) candidates_.push_back(std::make_unique<Candidate>(arguments, cfg));
    std::vector<std::function<void()>> sides;
    for (const auto& c : candidates_) sides.emplace_back([&c = *c] { c.run(); });
    turns_ = std::make_unique<measure::Turns>(std::move(sides));
    for (const auto& c : candidates_) c->forget();
    int more = static_cast<int>(std::clamp<double>(arguments.time / 4 / turns_->expected(), fewest, most));
    const double begin = measure::seconds_now();
    do {
      turns_->take(more);
      more = turns_->repetitions();
    } while (noisy() && measure::seconds_now() - begin + more * turns_->expected() < arguments.time);
  }

  [[nodiscard]] const std::vector<std::unique_ptr<Candidate>>& candidates() const { return candidates_; }
  [[nodiscard]] const measure::Turns& turns() const { return *turns_; }
  /// Of another candidate's time to the first one's; none when the machine was too noisy for one.
  [[nodiscard]] std::optional<measure::Ratio> ratio(std::size_t other) const {
    const measure::Ratio r = turns_->ratio(other, 0);
    return r.spread > steady ? std::nullopt : std::optional(r);
  }
  [[nodiscard]] double spread(std::size_t other) const { return turns_->ratio(other, 0).spread; }

  static constexpr double steady = 0.1;

 private:
  static constexpr int fewest = 7, most = 100;

  [[nodiscard]] bool noisy() const {
    for (std::size_t i = 1; i < candidates_.size(); ++i)
      if (!ratio(i)) return true;
    return false;
  }

  std::vector<std::unique_ptr<Candidate>> candidates_;
  std::unique_ptr<measure::Turns> turns_;
};

double roofline_ms(const measure::Roofline& machine, const PlanStep& s) {
  return 1e3 *
         machine.seconds(static_cast<double>(2 * s.cost.macs), static_cast<double>(s.bytes_read + s.bytes_written));
}

// ---- For people -----------------------------------------------------------------------------------------------------

void print_layers(const Candidate& c, const measure::Roofline& machine, double whole) {
  print(format("\n%s, step by step; bound: what arithmetic and memory allow\n", c.cfg().c_str()));
  print(format("%-13s %-40s %-16s %9s %9s %9s %6s\n", "op", "node", "kernel", "MMACs", "ms", "bound", "%"));
  double sum = 0;
  for (std::size_t i = 0; i < c.steps().size(); ++i) {
    const PlanStep& s = c.steps()[i];
    const double ms = c.step_ms(i), bound = roofline_ms(machine, s);
    sum += ms;
    print(format("%-13s %-40s %-16s %9.2f %9.3f %9.3f %6.0f\n", s.op.c_str(), s.name.c_str(), s.kernel.c_str(),
                 static_cast<double>(s.cost.macs) * 1e-6, ms, bound, 100 * bound / ms));
  }
  print(format("sum of the steps' medians %.3f ms, %.1f %% of the median run\n", sum, 100 * sum / whole));
}

void print_ratios(const Comparison& all) {
  const auto& c = all.candidates();
  for (std::size_t i = 1; i < c.size(); ++i) {
    const double macs = static_cast<double>(c[i]->macs()) / static_cast<double>(c[0]->macs());
    const std::string names = c[i]->cfg() + " / " + c[0]->cfg();
    if (const std::optional<measure::Ratio> r = all.ratio(i))
      print(format("%s: time %.3f (spread %.1f %%), MACs %.3f, time ratio / MAC ratio %.3f\n", names.c_str(), r->median,
                   100 * r->spread, macs, r->median / macs));
    else
      print(format("%s: MACs %.3f; no time ratio: the runs spread over %.0f %%, the machine is busy\n", names.c_str(),
                   macs, 100 * all.spread(i)));
  }
}

void print_all(const BenchArguments& arguments, const Comparison& all, const measure::Roofline& machine) {
  const Exec exec = arguments.exec.exec();
  print(format("%s, batch %lld, %s, %s, %s convolutions; FMA peak %.1f GFLOP/s\n", arguments.mode.c_str(),
               static_cast<long long>(arguments.batch), std::string(kernels_name(exec)).c_str(),
               exec.threads == 0 ? "all threads" : (std::to_string(exec.threads) + " threads").c_str(),
               exec.direct ? "direct" : "best", machine.gflops));
  print(format("%-20s %12s %9s %9s %9s %9s  %s\n", "model", "input", "GMACs", "median ms", "min ms", "p95 ms", "runs"));
  for (std::size_t i = 0; i < all.candidates().size(); ++i) {
    const Candidate& c = *all.candidates()[i];
    print(format("%-20s %12s %9.3f %9.2f %9.2f %9.2f  %d\n", c.cfg().c_str(), to_string(c.input()).c_str(),
                 static_cast<double>(c.macs()) * 1e-9, 1e3 * all.turns().median(i), 1e3 * all.turns().quantile(i, 0),
                 1e3 * all.turns().quantile(i, 0.95), all.turns().repetitions()));
  }
  print_ratios(all);
  if (!arguments.layers) return;
  for (std::size_t i = 0; i < all.candidates().size(); ++i)
    print_layers(*all.candidates()[i], machine, 1e3 * all.turns().median(i));
}

// ---- For programs ---------------------------------------------------------------------------------------------------

Json layers_of(const Candidate& c, const measure::Roofline& machine) {
  Json list = Json::array();
  for (std::size_t i = 0; i < c.steps().size(); ++i) {
    const PlanStep& s = c.steps()[i];
    list.push_back({{"name", s.name},
                    {"op", s.op},
                    {"kernel", s.kernel},
                    {"pass", s.backward ? "backward" : "forward"},
                    {"macs", s.cost.macs},
                    {"bytes_read", s.bytes_read},
                    {"bytes_written", s.bytes_written},
                    {"median_ms", c.step_ms(i)},
                    {"roofline_ms", roofline_ms(machine, s)}});
  }
  return list;
}

void print_json(const BenchArguments& arguments, const Comparison& all, const measure::Roofline& machine) {
  Json models = Json::array(), ratios = Json::array();
  const auto& candidates = all.candidates();
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& c = *candidates[i];
    Json model{{"cfg", c.cfg()},
               {"mode", arguments.mode},
               {"img", {c.input().h, c.input().w}},
               {"batch", arguments.batch},
               {"threads", arguments.exec.threads},
               {"median_ms", 1e3 * all.turns().median(i)},
               {"min_ms", 1e3 * all.turns().quantile(i, 0)},
               {"p95_ms", 1e3 * all.turns().quantile(i, 0.95)},
               {"repetitions", all.turns().repetitions()},
               {"macs", c.macs()}};
    if (arguments.layers) model["layers"] = layers_of(c, machine);
    models.push_back(std::move(model));
    if (i == 0) continue;
    const std::optional<measure::Ratio> r = all.ratio(i);
    Json ratio{{"cfg", c.cfg()},
               {"to", candidates[0]->cfg()},
               {"macs", static_cast<double>(c.macs()) / static_cast<double>(candidates[0]->macs())},
               {"time", nullptr},
               {"spread", all.spread(i)}};
    if (r)
      ratio["time"] = r->median;
    else
      ratio["reason"] = "the runs spread too far";
    ratios.push_back(std::move(ratio));
  }
  const Exec exec = arguments.exec.exec();
  const Json whole{{"isa", kernels_name(exec)},
                   {"algo", exec.direct ? "direct" : "best"},
                   {"fma_peak_gflops", machine.gflops},
                   {"models", models},
                   {"ratios", ratios}};
  print(whole.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void run(const BenchArguments& arguments) {
  if (arguments.cfgs.empty()) throw UsageError("--cfg is required");
  const Exec exec = arguments.exec.exec();
  const measure::Roofline machine =
      measure::Roofline::measure(exec.isa, exec.threads > 0 ? exec.threads : measure::threads_here());
  const Comparison all(arguments);
  if (!arguments.trace.empty()) {
    std::vector<Traced> runs;
    for (const auto& c : all.candidates()) runs.push_back({c->cfg(), &c->steps(), &c->timeline()});
    write_trace(arguments.trace, runs);
  }
  if (arguments.json)
    print_json(arguments, all, machine);
  else
    print_all(arguments, all, machine);
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App* command = app.add_subcommand("bench", "how long networks take, in turns, and where the time goes");
  auto arguments = std::make_shared<BenchArguments>();
  arguments->model.add_to(*command, arguments->cfgs);
  command->add_option("--mode", arguments->mode, "infer, or train: a forward and a backward (infer)")
      ->check(CLI::IsMember({"infer", "train"}));
  command->add_option("--batch", arguments->batch, "pictures at once (1)")->check(integer_in(1, 4096));
  command->add_option("--time", arguments->time, "seconds after which no run is repeated more than it must be (10)")
      ->check(real_in(0.01, 3600));
  arguments->exec.add_to(*command, false);
  arguments->exec.add_memory(*command);
  command->add_flag("--layers", arguments->layers, "every step with its bound");
  command->add_flag("--json", arguments->json, "print JSON");
  command->add_option("--trace", arguments->trace, "also write the last run of a model, for chrome://tracing")
      ->type_name("FILE");
  command->footer(
      "Examples:\n  slimneck bench --cfg yolov5s slimneck-s --threads 1\n"
      "  slimneck bench --cfg slimneck-n --mode train --batch 8 --img 320 --layers");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
