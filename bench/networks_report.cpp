// What --networks prints and writes.
#include <nlohmann/json.hpp>

#include "networks.hpp"
#include "ratios.hpp"

namespace slimneck::bench {

namespace {

double sum(const Budget& b) {
  double total = 0;
  for (const double part : b) total += part;
  return total;
}

nlohmann::ordered_json named(const Budget& b) {
  nlohmann::ordered_json all;
  for (std::size_t k = 0; k < work_count; ++k) all[std::string(name_of(static_cast<Work>(k)))] = b[k];
  return all;
}

}  // namespace

void print_network_heading(const Options& options, double peak) {
  std::printf("%s, FMA peak %.1f GFLOP/s\n", run_text(options).c_str(), peak);
}

void print_network(const NetworkRow& r) {
  std::printf("\n%-14s %-17s %-6s %4s %5s %9s %9s %7s %7s %9s %8s\n", "network", "peer", "mode", "img", "batch",
              "ours ms", "peer ms", "ratio", "spread", "off conv", "error");
  std::printf("%-14s %-17s %-6s %4d %5d %9.2f %9.2f %7.3f %6.1f%% %8.1f%% %8.0e%s\n", r.cfg.c_str(), r.peer.c_str(),
              r.train ? "train" : "infer", static_cast<int>(r.img), static_cast<int>(r.batch), r.slimneck_ms, r.peer_ms,
              r.ratio, 100 * r.spread, 100 * r.outside_convolutions, r.error, r.disturbed ? " !" : "");
  std::printf("  %-11s %9s %9s %9s %9s\n", "class", "GMAC", "peak ms", "peer ms", "ours ms");
  for (std::size_t k = 0; k < work_count; ++k)
    if (r.slimneck_budget[k] + r.peer_budget[k] > 0)
      std::printf("  %-11s %9.3f %9.2f %9.2f %9.2f\n", std::string(name_of(static_cast<Work>(k))).c_str(),
                  r.macs[k] * 1e-9, r.peak_ms[k], r.peer_budget[k], r.slimneck_budget[k]);
  std::printf("  %-11s %9.3f %9.2f %9.2f %9.2f\n", "all", sum(r.macs) * 1e-9, sum(r.peak_ms), sum(r.peer_budget),
              sum(r.slimneck_budget));
  std::printf("  peer: %s\n", r.peer_kernels.c_str());
  std::fflush(stdout);
}

void print_network_failure(const NetworkProblem& p, const Difference& d) {
  std::printf("ERROR %s %s: the sides disagree: %s is off by %.1e of its largest value, allowed are %.1e\n",
              p.network->name.c_str(), p.peer().c_str(), d.where.c_str(), d.error, d.bound);
  std::fflush(stdout);
}

void write_networks(const std::string& path, const std::vector<NetworkRow>& all, const Options& options, double peak) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const NetworkRow& r : all)
    rows.push_back({{"network", r.cfg},
                    {"peer", r.peer},
                    {"mode", r.train ? "train" : "infer"},
                    {"img", r.img},
                    {"batch", r.batch},
                    {"threads", options.threads},
                    {"isa", kernels::name_of(options.isa)},
                    {"algorithm", options.algorithm == kernels::Algorithm::best ? "best" : "direct"},
                    {"slimneck_ms", r.slimneck_ms},
                    {"peer_ms", r.peer_ms},
                    {"ratio", r.ratio},
                    {"spread", r.spread},
                    {"outside_convolutions", r.outside_convolutions},
                    {"error", r.error},
                    {"bound", r.bound},
                    {"repetitions", r.repetitions},
                    {"disturbed", r.disturbed},
                    {"fma_peak", peak},
                    {"macs", named(r.macs)},
                    {"peak_ms", named(r.peak_ms)},
                    {"slimneck_budget_ms", named(r.slimneck_budget)},
                    {"peer_budget_ms", named(r.peer_budget)},
                    {"peer_kernels", r.peer_kernels},
                    {"onednn", onednn_version()}});
  write_rows(path, rows.dump(1));
}

}  // namespace slimneck::bench
