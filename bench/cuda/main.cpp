// slimneck_cuda_bench: convolutions of real networks on a GPU, slimneck beside cuDNN and cuBLAS in turns. The rows are
// those of slimneck_bench --ratios.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <optional>
#include <span>
#include <string_view>

#include "gpu.hpp"
#include "measure/turns.hpp"
#include "ratios.hpp"

namespace slimneck::bench {

namespace {

constexpr const char* cuda_usage = R"(usage: slimneck_cuda_bench [options]
  --ratios=FILE.json        rows as JSON into FILE, too
  --batch=N                 pictures (1)
  --time=SECONDS            time budget of a row (0.3)
  --no-epilogue             forward convolutions without bias and activation
  --benchmark_filter=REGEX  some of the rows, by name (CLASS/OP/PASS/IMPL/SHAPE/t1)
)";

/// What one timing lasts at least: shorter calls are timed together, so that launches do not wait for the host.
constexpr double shortest = 2e-3;
constexpr int fewest = 7, most = 301;
constexpr int no_device = 77;

std::vector<Row> conv_rows() {
  std::vector<Row> rows;
  for (const Layer& l : layers()) {
    if (l.op != Op::conv2d && l.op != Op::depthwise) continue;
    for (const Pass pass : {Pass::fwd, Pass::bwd_x, Pass::bwd_w})
      for (const char* peer : {"cudnn", "cublas"}) rows.push_back({l, pass, peer, true});
  }
  return rows;
}

class Run {
 public:
  Run(Gpu& gpu, const Options& options) : gpu_(gpu), options_(options), peak_(gpu.peak()) {}

  int all() {
    const auto or_none = [](const std::string& version) { return version.empty() ? "none" : version; };
    std::printf("slimneck on %s, cuDNN %s, cuBLAS %s, %s\n", gpu_.name().c_str(), or_none(cudnn_version()).c_str(),
                or_none(cublas_version()).c_str(),
                options_.epilogue ? "bias and activation in forward rows of cuDNN" : "no bias or activation");
    std::printf("FMA peak %.1f GFLOP/s by lanes and highest clock\n", peak_);
    const Filter filter(options_.filter);
    std::string kind;
    for (const Row& row : conv_rows()) {
      if (!wanted(row, filter, 1)) continue;
      if (row.layer.kind != kind) print_class(kind = row.layer.kind);
      one(row);
    }
    print_summary(measured_);
    const std::string isa = "sm_" + std::to_string(gpu_.context().info().architecture);
    if (!options_.json.empty())
      write_json(options_.json, measured_, {isa, 1, {{"cudnn", cudnn_version()}, {"cublas", cublas_version()}}});
    return wrong_ ? 1 : 0;
  }

 private:
  std::unique_ptr<Side> make_peer(const Problem& problem) {
    return problem.row.peer == "cudnn" ? make_cudnn(gpu_, problem) : make_cublas(gpu_, problem);
  }

  /// What the bound of every element is made from.
  Numbers magnitude_of(const Problem& problem) {
    const std::unique_ptr<Side> side = make_cuda(gpu_, magnitudes(problem));
    side->run();
    return side->results().at(0);
  }

  void one(const Row& row) {
    Problem problem(row, options_);
    if (row.peer == "cublas") problem.epilogue = false;
    const std::unique_ptr<Side> peer = make_peer(problem);
    if (!peer) return;
    const std::unique_ptr<Side> ours = make_cuda(gpu_, problem);
    ours->run();
    peer->run();
    const std::string difference = disagreement(problem, ours->results(), peer->results(), magnitude_of(problem));
    if (!difference.empty()) {
      wrong_ = true;
      return print_failure(row, difference);
    }
    const auto clock = [this](Side& side) {
      return measure::Side{
          [this, &side](int calls, std::span<double> seconds) { seconds[0] = gpu_.seconds(side, calls); }, 1};
    };
    measure::Turns turns(std::vector{clock(*ours), clock(*peer)}, shortest);
    turns.take(std::clamp(static_cast<int>(options_.budget / turns.expected()), fewest, most) | 1);
    const measure::Ratio ratio = turns.ratio(1, 0);
    Measured m;
    m.row = row;
    m.batch = problem.n;
    m.slimneck_kernel = ours->kernel();
    m.peer_kernel = peer->kernel();
    m.slimneck_ms = turns.median(0) * 1e3;
    m.peer_ms = turns.median(1) * 1e3;
    m.ratio = ratio.median;
    m.spread = ratio.spread;
    m.repetitions = turns.repetitions();
    m.peak_fraction = 2 * static_cast<double>(row.macs(problem.n)) / turns.median(0) / (peak_ * 1e9);
    measured_.push_back(m);
    print_row(m);
  }

  Gpu& gpu_;
  Options options_;
  double peak_;
  std::vector<Measured> measured_;
  bool wrong_ = false;
};

int run(int argc, char** argv) {
  const Options options = parse(argc, argv);
  for (int i = 1; i < argc; ++i)
    if (!std::string_view(argv[i]).starts_with("--benchmark_filter=")) {
      std::fputs(cuda_usage, stderr);
      return 2;
    }
  std::optional<Gpu> gpu;
  try {
    gpu.emplace();
  } catch (const DeviceError& error) {
    std::printf("skipped: %s\n", error.what());
    return no_device;
  }
  return Run(*gpu, options).all();
}

}  // namespace

}  // namespace slimneck::bench

int main(int argc, char** argv) {
  try {
    return slimneck::bench::run(argc, argv);
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "slimneck_cuda_bench: %s\n", problem.what());
    return 2;
  }
}
