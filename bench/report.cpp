// What --ratios prints and writes.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ratios.hpp"

namespace slimneck::bench {

namespace {

/// Ratios to reach in the geometric mean of a class and pass. The first that fits; empty fits everything.
struct Goal {
  const char *kind, *pass, *peer;
  double ratio;
  bool winograd;  ///< where slimneck runs Winograd's algorithm
};
constexpr Goal goals[] = {
    {"conv1x1", "", "", 1.0, false},
    {"conv3x3s1", "", "onednn-winograd", 1.3, true},
    {"conv3x3s1", "bwd_w", "", 2.0, true},
    {"conv3x3s1", "", "", 2.2, true},
    {"conv3x3s1", "", "onednn", 1.0, false},
    {"conv3x3s2", "fwd", "", 1.0, false},
    {"conv3x3s2", "", "", 1.05, false},
    {"stem", "", "", 1.0, false},
    {"dw5", "fwd", "", 1.3, false},
    {"dw5", "bwd_x", "", 1.5, false},
    {"dw5", "bwd_w", "", 1.0, false},
    {"dw3", "bwd_w", "", 1.0, false},
    {"dw3", "", "", 1.4, false},
    {"gsconv", "", "onednn-best", 1.0, false},
    {"dsc", "", "onednn-best", 1.0, false},
    {"bn_act", "", "", 1.0, false},
};

double goal_of(const Measured& m, bool winograd) {
  const auto fits = [](const char* wanted, std::string_view it) { return *wanted == 0 || wanted == it; };
  for (const Goal& g : goals)
    if ((winograd || !g.winograd) && fits(g.kind, m.row.layer.kind) && fits(g.pass, name_of(m.row.pass)) &&
        fits(g.peer, m.row.peer))
      return g.ratio;
  return 0;
}

std::string bandwidths(const std::vector<Bandwidth>& levels) {
  std::string text;
  for (const Bandwidth& b : levels) {
    char part[64];
    std::snprintf(part, sizeof part, "%s%s %.0f", text.empty() ? "" : ", ", b.level.c_str(), b.read);
    text += part;
  }
  return text;
}

/// What the summary puts together: class, op, pass and peer.
std::string group_of(const Measured& m) {
  const std::string peer = m.row.peer == "onednn" ? "" : m.row.peer.substr(m.row.peer.find('-') + 1);
  std::string name = m.row.layer.kind;
  if (m.row.op() != name && m.row.layer.op != Op::conv2d && m.row.layer.op != Op::depthwise) name = m.row.op();
  return name + " " + std::string(name_of(m.row.pass)) + (peer.empty() ? "" : " " + peer);
}

}  // namespace

std::string run_text(const Options& options) {
  return "slimneck " + std::string(kernels::name_of(options.isa)) + ", oneDNN " + onednn_version() + ", " +
         std::to_string(options.threads) + (options.threads == 1 ? " thread, " : " threads, ") +
         (options.algorithm == kernels::Algorithm::best ? "best algorithm" : "direct algorithm");
}

void write_rows(const std::string& path, const std::string& json) {
  std::ofstream file(path);
  file << json << '\n';
  if (!file.flush()) throw Error("cannot write " + path);
}

void print_heading(const Options& options, double peak, const std::vector<Bandwidth>& levels,
                   const std::vector<Bandwidth>& together) {
  std::printf("%s, %s\n", run_text(options).c_str(),
              options.epilogue ? "bias and activation in forward rows" : "no bias or activation");
  std::printf("FMA peak %.1f GFLOP/s; reading, GB/s of one thread: %s\n", peak, bandwidths(levels).c_str());
  if (together.empty()) return;
  std::printf("%d threads read %s GB/s: gain", options.threads, bandwidths(together).c_str());
  for (std::size_t i = 0; i < levels.size(); ++i)
    std::printf("%s %s %.2f", i == 0 ? "" : ",", levels[i].level.c_str(), together[i].read / levels[i].read);
  std::printf("\n");
}

void print_class(const std::string& kind) {
  std::printf("\n%-10s %-14s %-6s %-28s %9s %9s %7s %7s %6s\n", kind.c_str(), "op", "pass", "shape", "ours ms",
              "peer ms", "ratio", "spread", "% peak");
}

void print_row(const Measured& m) {
  const std::string peer = m.row.peer == "onednn" ? "" : m.row.peer.substr(m.row.peer.find('-') + 1);
  std::printf("%-10s %-14s %-6s %-28s %9.4f %9.4f %7.3f %6.1f%% ", peer.c_str(), m.row.op().c_str(),
              std::string(name_of(m.row.pass)).c_str(), m.row.layer.shape().c_str(), m.slimneck_ms, m.peer_ms, m.ratio,
              100 * m.spread);
  if (m.row.layer.op == Op::bn_act)
    std::printf("%6s", "-");
  else
    std::printf("%6.1f", 100 * m.peak_fraction);
  std::printf("%s\n", m.disturbed ? " !" : "");
  std::fflush(stdout);
}

void print_failure(const Row& row, const std::string& why) {
  std::printf("ERROR %s: the sides disagree: %s\n", row.name(row.peer, 1).c_str(), why.c_str());
  std::fflush(stdout);
}

void print_summary(const std::vector<Measured>& all) {
  std::vector<std::string> groups;
  for (const Measured& m : all)
    if (std::find(groups.begin(), groups.end(), group_of(m)) == groups.end()) groups.push_back(group_of(m));
  if (groups.empty()) return;
  std::printf("\n%-34s %5s %7s %7s  %-28s %s\n", "summary", "rows", "geomean", "worst", "worst shape", "goal");
  for (const std::string& group : groups) {
    double logarithms = 0;
    int count = 0;
    bool winograd = false;
    const Measured* worst = nullptr;
    for (const Measured& m : all) {
      if (group_of(m) != group) continue;
      logarithms += std::log(m.ratio);
      ++count;
      winograd = winograd || m.slimneck_kernel.find("wino") != std::string::npos;
      if (!worst || m.ratio < worst->ratio) worst = &m;
    }
    const double mean = std::exp(logarithms / count), goal = goal_of(*worst, winograd);
    std::printf("%-34s %5d %7.3f %7.3f  %-28s", group.c_str(), count, mean, worst->ratio,
                worst->row.layer.shape().c_str());
    if (goal > 0 && mean < goal) std::printf(" %.2f", goal);
    std::printf("\n");
  }
  const auto disturbed = std::count_if(all.begin(), all.end(), [](const Measured& m) { return m.disturbed; });
  if (disturbed > 0)
    std::printf("! %td rows ran while the machine was slower than at its best: repeat them\n", disturbed);
}

void write_json(const std::string& path, const std::vector<Measured>& all, const Machine& machine) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Measured& m : all) {
    rows.push_back({{"class", m.row.layer.kind},
                    {"op", m.row.op()},
                    {"pass", name_of(m.row.pass)},
                    {"shape", m.row.layer.shape()},
                    {"threads", machine.threads},
                    {"isa", machine.isa},
                    {"slimneck_ms", m.slimneck_ms},
                    {"peer", m.row.peer},
                    {"peer_ms", m.peer_ms},
                    {"ratio", m.ratio},
                    {"spread", m.spread},
                    {"peak_fraction", m.peak_fraction},
                    {"batch", m.batch},
                    {"repetitions", m.repetitions},
                    {"disturbed", m.disturbed},
                    {"slimneck_kernel", m.slimneck_kernel},
                    {"peer_kernel", m.peer_kernel}});
    for (const auto& [library, version] : machine.libraries) rows.back()[library] = version;
  }
  write_rows(path, rows.dump(1));
}

}  // namespace slimneck::bench
