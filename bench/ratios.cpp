#include "ratios.hpp"

#include "core/threads.hpp"
#include "pair_clock.hpp"

namespace slimneck::bench {

namespace {

/// What one timing lasts at least: calls of a microsecond are timed together.
constexpr double shortest = 1e-4;
constexpr int fewest = 7, most = 301;

/// What the bound of every element of a single convolution is made from.
Numbers magnitude_of(const Problem& p, const MakeSide& make) {
  if (p.layer().op != Op::conv2d && p.layer().op != Op::depthwise) return {};
  const Problem absolute = magnitudes(p);
  const std::unique_ptr<Side> side = make(absolute);
  side->run();
  return side->results().at(0);
}

class Run {
 public:
  explicit Run(const Options& options)
      : options_(options),
        threads_(options.threads),
        clock_(options.isa, options.threads, {options.budget, shortest, fewest, most}) {}

  int all() {
    const std::vector<Bandwidth> alone = read_bandwidth(1);
    print_heading(options_, clock_.best_peak(), alone,
                  options_.threads > 1 ? read_bandwidth(options_.threads) : std::vector<Bandwidth>{});
    const Filter filter(options_.filter);
    std::string kind;
    for (const Row& row : rows(options_)) {
      if (!wanted(row, filter, options_.threads)) continue;
      if (row.layer.kind != kind) print_class(kind = row.layer.kind);
      one(row);
    }
    print_summary(measured_);
    if (!options_.json.empty()) {
      const std::string isa(kernels::name_of(options_.isa));
      write_json(options_.json, measured_, {isa, options_.threads, {{"onednn", onednn_version()}}});
    }
    return wrong_ ? 1 : 0;
  }

 private:
  void one(const Row& row) {
    const Problem problem(row, options_);
    const std::unique_ptr<Side> ours = make_slimneck(problem);
    if (!ours) return;
    const std::unique_ptr<Side> peer = make_onednn(problem);
    if (!peer) return;
    ours->run();
    peer->run();
    const std::string difference =
        disagreement(problem, ours->results(), peer->results(), magnitude_of(problem, make_onednn));
    if (!difference.empty()) {
      wrong_ = true;
      return print_failure(row, difference);
    }
    Measured m;
    m.row = row;
    m.batch = problem.n;
    m.slimneck_kernel = ours->kernel();
    m.peer_kernel = peer->kernel();
    static_cast<PairTimes&>(m) = clock_.time([&] { ours->run(); }, [&] { peer->run(); });
    const double flops = 2 * static_cast<double>(row.macs(problem.n));
    m.peak_fraction = flops / (m.slimneck_ms * 1e-3) / (clock_.last_peak() * 1e9);
    measured_.push_back(m);
    print_row(m);
  }

  Options options_;
  core::ThreadScope threads_;
  PairClock clock_;
  std::vector<Measured> measured_;
  bool wrong_ = false;
};

}  // namespace

int run_ratios(const Options& options) {
  if (onednn_version().empty()) throw Error("--ratios wants oneDNN, which this build does not have");
  return Run(options).all();
}

int run_check(const Options& options) {
  const core::ThreadScope threads(options.threads);
  const Filter filter(options.filter);
  int right = 0, wrong = 0;
  for (const Row& row : rows(options)) {
    if (!wanted(row, filter, options.threads)) continue;
    const Problem problem(row, options);
    const std::unique_ptr<Side> ref = make_ref(problem);
    ref->run();
    const std::vector<Numbers> want = ref->results();
    const Numbers magnitude = magnitude_of(problem, make_ref);
    for (const auto& [name, make] :
         {std::pair<std::string, MakeSide>{"slimneck", make_slimneck}, {row.peer, make_onednn}}) {
      const std::unique_ptr<Side> side = make(problem);
      if (!side) continue;
      side->run();
      const std::string difference = disagreement(problem, side->results(), want, magnitude);
      std::printf("%-60s %s (%s)\n", row.name(name, options.threads).c_str(),
                  difference.empty() ? "ok" : difference.c_str(), side->kernel().c_str());
      std::fflush(stdout);
      ++(difference.empty() ? right : wrong);
    }
  }
  std::printf("%d right, %d wrong\n", right, wrong);
  return wrong > 0 ? 1 : 0;
}

}  // namespace slimneck::bench
