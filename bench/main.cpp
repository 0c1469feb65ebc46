// slimneck_bench: layers of real networks, slimneck beside oneDNN, Eigen and the scalar specification. See
// docs/benchmarking.md.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstring>
#include <exception>

#include "core/threads.hpp"
#include "networks.hpp"
#include "plans.hpp"
#include "ratios.hpp"

namespace slimneck::bench {

namespace {

void run(benchmark::State& state, const Row& row, const MakeSide& make, const Options& options, double peak) {
  const core::ThreadScope threads(options.threads);
  const Problem problem(row, options);
  const std::unique_ptr<Side> side = make(problem);
  if (!side) return state.SkipWithError("there is no such kernel");
  side->run();  // warm
  // Google Benchmark's own rates take the time of this thread, which is not that of all; and its option for the time on
  // the wall changes the names.
  const double begin = seconds_now();
  for (auto _ : state) side->run();
  const double seconds = (seconds_now() - begin) / static_cast<double>(state.iterations());
  const auto macs = static_cast<double>(row.macs(problem.n));
  state.counters["macs"] = macs;
  state.counters["bytes"] = static_cast<double>(row.bytes(problem.n));
  state.counters["gmacs_per_s"] = macs * 1e-9 / seconds;
  state.counters["peak_fraction"] = 2 * macs * 1e-9 / seconds / peak;
  state.SetLabel(row.layer.origin + " " + side->kernel());
}

void add(const Row& row, const std::string& implementation, const MakeSide& make, const Options& options, double peak) {
  benchmark::RegisterBenchmark(row.name(implementation, options.threads).c_str(), [=](benchmark::State& state) {
    try {
      run(state, row, make, options, peak);
    } catch (const std::exception& problem) {
      state.SkipWithError(problem.what());
    }
  })->Unit(benchmark::kMillisecond);
}

void add_all(const Options& options) {
  const double peak = fma_peak(options.isa, options.threads);
  for (const Row& row : rows(options)) {
    const bool first = row.peer == "onednn" || row.peer == "onednn-best";
    if (first) add(row, "slimneck", make_slimneck, options, peak);
    if (!onednn_version().empty()) add(row, row.peer, make_onednn, options, peak);
    if (first && row.layer.op == Op::conv2d && row.layer.groups == 1 && row.pass == Pass::fwd)
      add(row, "eigen", make_eigen, options, peak);
    if (first) add(row, "ref", make_ref, options, peak);
  }
}

void list() {
  for (const Layer& l : layers())
    std::printf("%-10s %-10s %-32s %s\n", l.kind.c_str(), Row{l, Pass::fwd, "", true}.op().c_str(), l.shape().c_str(),
                l.origin.c_str());
}

int run(int argc, char** argv) {
  for (int i = 1; i < argc; ++i)
    if (std::strcmp(argv[i], "--help") == 0) std::printf("%s\n", usage);
  const Options options = parse(argc, argv);
  if (options.list) {
    list();
    return 0;
  }
  limit_onednn(options.isa);
  if (options.check) return run_check(options);
  if (options.networks) return run_networks(options);
  if (options.ratios) return run_ratios(options);
  add_all(options);
  add_plans(options);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

}  // namespace

}  // namespace slimneck::bench

int main(int argc, char** argv) {
  try {
    return slimneck::bench::run(argc, argv);
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "slimneck_bench: %s\n", problem.what());
    return 2;
  }
}
