// --networks: both sides of whole networks compared, then timed in turns.
#include "core/threads.hpp"
#include "measure/turns.hpp"
#include "networks.hpp"

namespace slimneck::bench {

namespace {

constexpr int budget_runs = 9;
constexpr double default_budget = 5;

/// Milliseconds by class, from those of every step in some runs: who is disturbed in one step is not in the others.
class StepTimes {
 public:
  explicit StepTimes(std::vector<Work> works) : works_(std::move(works)), times_(works_.size()) {}

  void add(const std::vector<double>& ms) {
    for (std::size_t k = 0; k < ms.size(); ++k) times_[k].push_back(ms[k]);
  }
  [[nodiscard]] Budget budget() const {
    Budget all{};
    for (std::size_t k = 0; k < works_.size(); ++k)
      all[static_cast<std::size_t>(works_[k])] += measure::quantile(times_[k], 0.5);
    return all;
  }

 private:
  std::vector<Work> works_;
  std::vector<std::vector<double>> times_;
};

class Run {
 public:
  explicit Run(const Options& options)
      : options_(options),
        threads_(options.threads),
        clock_(options.isa, options.threads, {.budget = options.budget_given ? options.budget : default_budget}) {
    if (options.batch == 0) options_.batch = 1;
  }

  int all() {
    print_network_heading(options_, clock_.best_peak());
    for (const std::string& cfg : options_.cfgs) network(cfg);
    if (!options_.json.empty()) write_networks(options_.json, rows_, options_, clock_.best_peak());
    return wrong_ ? 1 : 0;
  }

 private:
  void network(const std::string& cfg) {
    const Network network(cfg, options_.img, options_.batch);
    Parameters parameters(network.graph);
    NetworkProblem problem = network_problem(network, parameters, options_);
    for (const bool framework : {false, true}) {
      problem.framework = framework;
      if (options_.peer == "both" || options_.peer == problem.peer()) one(problem);
    }
  }

  void one(const NetworkProblem& p) {
    const std::unique_ptr<NetworkPeer> peer = make_onednn_network(p);
    const Difference d = bench::compare(p, *peer, options_);
    if (!(d.error <= d.bound)) {
      wrong_ = true;
      return print_network_failure(p, d);
    }
    NetworkRow row;
    row.cfg = p.network->name;
    row.peer = p.peer();
    row.img = options_.img;
    row.batch = options_.batch;
    row.train = p.train;
    row.peer_kernels = peer->describe();
    row.error = d.error;
    row.bound = d.bound;
    time(p, *peer, row);
    print_network(row);
    rows_.push_back(row);
  }

  void time(const NetworkProblem& p, NetworkPeer& peer, NetworkRow& row) {
    Plan plan = plan_of(p, options_, options_.algorithm == kernels::Algorithm::direct);
    static_cast<PairTimes&>(row) = clock_.time([&] { run_step(p, plan); }, [&] { peer.run(); });
    budgets(p, plan, peer, row);
  }

  void budgets(const NetworkProblem& p, Plan& plan, NetworkPeer& peer, NetworkRow& row) {
    const std::vector<PlanStep> steps = plan.steps();
    std::vector<Work> works;
    for (const PlanStep& s : steps) works.push_back(p.network->work_of(s));
    StepTimes ours(works), theirs(peer.works());
    Timeline timeline = plan.timeline();
    for (int i = 0; i < budget_runs; ++i) {
      run_step(p, plan, &timeline);
      std::vector<double> ms;
      for (const Timeline::Span& s : timeline.steps) ms.push_back(s.ms());
      ours.add(ms);
      std::vector<double> peer_ms = peer.timed();
      for (double& seconds : peer_ms) seconds *= 1e3;
      theirs.add(peer_ms);
    }
    row.slimneck_budget = ours.budget();
    row.peer_budget = theirs.budget();
    for (const PlanStep& s : steps)
      row.macs[static_cast<std::size_t>(p.network->work_of(s))] += static_cast<double>(s.cost.macs);
    for (std::size_t k = 0; k < work_count; ++k) row.peak_ms[k] = 2 * row.macs[k] / (clock_.best_peak() * 1e9) * 1e3;
    double total = 0, outside = 0;
    for (std::size_t k = 0; k < work_count; ++k) {
      total += row.peer_budget[k];
      if (k >= static_cast<std::size_t>(Work::norm_act)) outside += row.peer_budget[k];
    }
    row.outside_convolutions = outside / total;
  }

  Options options_;
  core::ThreadScope threads_;
  PairClock clock_;
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
