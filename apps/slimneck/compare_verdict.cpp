#include "compare_verdict.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "cli.hpp"

namespace slimneck::cli {

Share share_of(const Comparison& all, const Op& op, Pass pass) {
  double macs = 0, sc_macs = 0, time = 0, sc_time = 0;
  bool complete = !all.layers.empty();
  for (const CompareLayer& layer : all.layers) {
    const CompareRow *row = layer.find(op.name(), pass), *sc = layer.find("sc", pass);
    if (row == nullptr || sc == nullptr) return {};
    macs += layer.shape.times * static_cast<double>(row->macs);
    sc_macs += layer.shape.times * static_cast<double>(sc->macs);
    if (!row->time_vs_sc) {
      complete = false;
      continue;
    }
    // The pairs' ratio times SC's median: a ratio is steadier than two medians.
    time += layer.shape.times * *row->time_vs_sc * sc->median_ms;
    sc_time += layer.shape.times * sc->median_ms;
  }
  return {macs / sc_macs, complete ? std::optional(time / sc_time) : std::nullopt};
}

namespace {

std::optional<double> gap_of(const CompareRow& row) {
  if (!row.time_vs_sc) return std::nullopt;
  return *row.time_vs_sc / row.macs_vs_sc;
}

/// The kinds other than SC.
std::vector<Op> others(const Comparison& all) { return {all.options.ops.begin() + 1, all.options.ops.end()}; }

}  // namespace

std::vector<MeanGap> mean_gaps(const Comparison& all) {
  std::set<index_t> extents;
  for (const CompareLayer& layer : all.layers) extents.insert(layer.shape.k);
  std::vector<MeanGap> means;
  for (const Op& op : others(all))
    for (const Pass pass : all.options.passes)
      for (const index_t k : extents) {
        MeanGap mean{op, pass, k};
        double logs = 0;
        for (const CompareLayer& layer : all.layers) {
          const CompareRow* row = layer.find(op.name(), pass);
          const std::optional<double> gap = row != nullptr ? gap_of(*row) : std::nullopt;
          if (layer.shape.k != k || !gap) continue;
          logs += std::log(*gap);
          ++mean.layers;
        }
        if (mean.layers == 0) continue;
        mean.mean = std::exp(logs / mean.layers);
        means.push_back(mean);
      }
  return means;
}

namespace {

/// Below this a step's fixed costs (a call, a loop's head and tail, waking threads) are no longer small beside its
/// work.
constexpr double short_step_us = 20;

std::string why_above(const Comparison& all, const CompareLayer& layer, const CompareRow& row) {
  const CompareRow& sc = *layer.find("sc", row.pass);
  const auto arithmetic_ms = [&](const CompareRow& r) { return 2e-6 * static_cast<double>(r.macs) / all.peaks.gflops; };
  std::vector<std::string> reasons;
  if (row.memory_bound) {
    const measure::Bandwidth& level = all.peaks.level(static_cast<double>(row.bytes));
    reasons.push_back(format("memory-bound: its %.1f MB take %.3f ms from %s, its arithmetic %.3f ms",
                             1e-6 * static_cast<double>(row.bytes), 1e-6 * static_cast<double>(row.bytes) / level.read,
                             level.level.c_str(), arithmetic_ms(row)));
  }
  if (sc.kernels.find("winograd") != std::string::npos)
    reasons.push_back(format("SC has Winograd's algorithm for all of its MACs (%.0f %% of the multiply-add peak)",
                             100 * arithmetic_ms(sc) / sc.median_ms));
  const auto steps = 1 + std::count(row.kernels.begin(), row.kernels.end(), '+');
  const double step_us = 1e3 * row.median_ms / static_cast<double>(steps);
  if (step_us < short_step_us)
    reasons.push_back(format("small map: %lldx%lld outputs, %.0f us a step",
                             static_cast<long long>(layer.counts[0].output.h),
                             static_cast<long long>(layer.counts[0].output.w), step_us));
  if (reasons.empty())
    reasons.push_back(
        format("it moves %.0f %% of SC's bytes for %.0f %% of its MACs, and gets to %.0f %% of the "
               "multiply-add peak, SC to %.0f %%",
               100 * static_cast<double>(row.bytes) / static_cast<double>(sc.bytes), 100 * row.macs_vs_sc,
               100 * arithmetic_ms(row) / row.median_ms, 100 * arithmetic_ms(sc) / sc.median_ms));
  std::string text;
  for (const std::string& reason : reasons) text += (text.empty() ? "" : "; ") + reason;
  return text;
}

}  // namespace

std::vector<Above> layers_above(const Comparison& all, const Op& op, double tolerance) {
  std::vector<Above> list;
  for (const CompareLayer& layer : all.layers)
    for (const CompareRow& row : layer.rows) {
      if (row.op.name() != op.name() || row.engine != Engine::slimneck) continue;
      const std::optional<double> gap = gap_of(row);
      if (gap && *gap > 1 + tolerance) list.push_back({&layer, &row, *gap, why_above(all, layer, row)});
    }
  std::stable_sort(list.begin(), list.end(), [](const Above& a, const Above& b) { return a.gap > b.gap; });
  return list;
}

namespace {

std::string pass_text(Pass pass) {
  switch (pass) {
    case Pass::fwd: return "in inference";
    case Pass::bwd: return "in a backward";
    case Pass::fwdbwd: return "in a training step";
  }
  return "";
}

/// "takes 59 % of its time in inference and 61 % in a training step"
std::string times(const Comparison& all, const Op& op) {
  std::string text = "takes ";
  const std::vector<Pass>& passes = all.options.passes;
  for (std::size_t i = 0; i < passes.size(); ++i)
    text += (i == 0                   ? ""
             : i + 1 == passes.size() ? " and "
                                      : ", ") +
            format("%.0f %% ", 100 * *share_of(all, op, passes[i]).time) + (i == 0 ? "of its time " : "") +
            pass_text(passes[i]);
  return text;
}

}  // namespace

std::string conclusion(const Comparison& all) {
  if (all.calibration_spread() > steady)
    return format(
        "Nothing can be said of time: plain multiply-adds spread over %.0f %% in the same run, the machine is "
        "busy.",
        100 * all.calibration_spread());
  if (all.options.ops.size() < 2) return "Only SC was measured: there is nothing to compare it with.";
  const std::vector<Op> ops = others(all);
  const auto fused_gsconv = std::find_if(ops.begin(), ops.end(), [](const Op& op) { return op.name() == "gsconv"; });
  const Op& op = fused_gsconv == ops.end() ? ops.front() : *fused_gsconv;
  const std::size_t layers = all.layers.size();
  const std::string over = layers == 1 ? "in this layer" : format("over these %zu layers", layers);
  std::string text = op.title() +
                     format(" has %.0f %% of the MACs of SC ", 100 * share_of(all, op, all.options.passes[0]).macs) +
                     over + " and " + times(all, op);
  for (const Op& twin : ops)
    if (twin.kind == op.kind && twin.unfused != op.unfused)
      text += "; " + std::string(twin.unfused ? "unfused (steps apart, channels copied)" : "fused") + " it " +
              times(all, twin);
  return text + ".";
}

}  // namespace slimneck::cli
