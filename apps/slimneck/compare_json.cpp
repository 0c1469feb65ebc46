// A comparison for programs.
#include "cli.hpp"
#include "compare_report.hpp"
#include "compare_verdict.hpp"

namespace slimneck::cli {

namespace {

using Json = nlohmann::ordered_json;

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json shape_json(const LayerShape& l, index_t batch) {
  return {{"batch", batch}, {"c1", l.c1}, {"c2", l.c2}, {"k", l.k}, {"s", l.s}, {"h", l.h}, {"w", l.w}};
}

const Counts& counts_for(const Comparison& all, const CompareLayer& layer, const CompareRow& row) {
  std::size_t i = 0;
  while (all.options.ops[i].kind != row.op.kind) ++i;
  return layer.counts[i];
}

/// Why a row has no ratio of times.
Json no_ratio(const CompareLayer& layer, const CompareRow& row) {
  if (row.time_vs_sc) return nullptr;
  return format("multiply-adds on registers spread over %.0f %% in the same run: the machine is busy",
                100 * layer.calibration_spread);
}

Json row_json(const Comparison& all, const CompareLayer& layer, const CompareRow& row) {
  const Counts& counts = counts_for(all, layer, row);
  return {{"layer", layer.shape.name},
          {"op", row.op.name()},
          {"engine", name_of(row.engine)},
          {"pass", name_of(row.pass)},
          {"shape", shape_json(layer.shape, all.options.batch)},
          {"parameters", counts.parameters},
          {"macs", row.macs},
          {"flops", 2 * row.macs},
          {"paper_macs", row.pass == Pass::fwd ? or_null(counts.paper) : Json(nullptr)},
          {"bytes", row.bytes},
          {"bytes_unfused", row.traffic.unfused},
          {"bytes_fused", row.traffic.fused},
          {"bytes_least", row.traffic.least},
          {"intensity", row.intensity()},
          {"median_ms", row.median_ms},
          {"min_ms", row.min_ms},
          {"p95_ms", row.p95_ms},
          {"spread", row.spread},
          {"repetitions", layer.repetitions},
          {"macs_vs_sc", row.macs_vs_sc},
          {"time_vs_sc", or_null(row.time_vs_sc)},
          {"reason", no_ratio(layer, row)},
          {"roofline_ms", row.roofline_ms},
          {"reached", row.reached()},
          {"memory_bound", row.memory_bound},
          {"kernels", row.kernels}};
}

Json counts_json(const Op& op, const Counts& c) {
  return {
      {"op", op.name()},
      {"output", {c.output.n, c.output.c, c.output.h, c.output.w}},
      {"parameters", c.parameters},
      {"macs", {{"forward", c.forward}, {"input_gradient", c.input_gradient}, {"weight_gradient", c.weight_gradient}}},
      {"paper_macs", or_null(c.paper)},
      {"paper_differs", c.paper == c.forward ? "" : op.kind->why}};
}

Json layers_json(const Comparison& all) {
  Json list = Json::array();
  for (const CompareLayer& layer : all.layers) {
    Json counts = Json::array();
    for (std::size_t i = 0; i < layer.counts.size(); ++i)
      counts.push_back(counts_json(all.options.ops[i], layer.counts[i]));
    list.push_back({{"name", layer.shape.name},
                    {"shape", shape_json(layer.shape, all.options.batch)},
                    {"times", layer.shape.times},
                    {"repetitions", layer.repetitions},
                    {"calibration_spread", layer.calibration_spread},
                    {"counts", counts}});
  }
  return list;
}

Json summary_json(const Comparison& all) {
  Json means = Json::array(), above = Json::array(), shares = Json::array();
  for (std::size_t i = 1; i < all.options.ops.size(); ++i)
    for (const Pass pass : all.options.passes) {
      const Share share = share_of(all, all.options.ops[i], pass);
      shares.push_back({{"op", all.options.ops[i].name()},
                        {"pass", name_of(pass)},
                        {"macs_vs_sc", share.macs},
                        {"time_vs_sc", or_null(share.time)}});
    }
  for (const MeanGap& m : mean_gaps(all))
    means.push_back(
        {{"op", m.op.name()}, {"pass", name_of(m.pass)}, {"k", m.k}, {"layers", m.layers}, {"mean", m.mean}});
  for (std::size_t i = 1; i < all.options.ops.size(); ++i)
    for (const Above& a : layers_above(all, all.options.ops[i]))
      above.push_back({{"op", a.row->op.name()},
                       {"pass", name_of(a.row->pass)},
                       {"layer", a.layer->shape.name},
                       {"geometry", a.layer->shape.geometry()},
                       {"gap", a.gap},
                       {"why", a.why}});
  return {{"conclusion", conclusion(all)}, {"all_layers", shares}, {"mean_gaps", means}, {"above", above}};
}

}  // namespace

Json json_of(const Comparison& all) {
  Json levels = Json::array(), rows = Json::array(), skipped = Json::array();
  for (const measure::Bandwidth& level : all.peaks.levels)
    levels.push_back({{"level", level.level}, {"bytes", level.bytes}, {"read_gb_per_s", level.read}});
  for (const CompareLayer& layer : all.layers)
    for (const CompareRow& row : layer.rows) rows.push_back(row_json(all, layer, row));
  for (const auto& [name, why] : all.skipped) skipped.push_back({{"layer", name}, {"why", why}});
  const Exec& exec = all.options.exec;
  return {
      {"machine",
       {{"processor", all.machine},
        {"isa", kernels_name(exec)},
        {"threads", exec.threads},
        {"bound_to", all.processors}}},
      {"peaks", {{"fma_gflops", all.peaks.gflops}, {"memory", levels}}},
      {"calibration",
       {{"kernel", "multiply-adds on registers"}, {"spread", all.calibration_spread()}, {"limit", steady}}},
      {"options",
       {{"batch", all.options.batch}, {"act", to_string(all.options.act)}, {"algo", exec.direct ? "direct" : "best"}}},
      {"summary", summary_json(all)},
      {"layers", layers_json(all)},
      {"rows", rows},
      {"skipped", skipped}};
}

std::string csv_of(const Json& comparison) {
  const auto quoted = [](const Json& value) {
    if (value.is_null()) return std::string();
    if (!value.is_string()) return value.dump();
    std::string text = "\"";
    for (const char c : value.get<std::string>()) text += c == '"' ? "\"\"" : std::string(1, c);
    return text + "\"";
  };
  std::string head, body;
  for (const Json& row : comparison["rows"]) {
    std::string line;
    const bool first = head.empty();
    const auto field = [&](const std::string& key, const Json& value) {
      if (first) head += (line.empty() ? "" : ",") + key;
      line += (line.empty() ? "" : ",") + quoted(value);
    };
    for (const auto& [key, value] : row.items()) {
      if (value.is_object())
        for (const auto& [inner, number] : value.items()) field(inner, number);
      else
        field(key, value);
    }
    body += line + "\n";
  }
  return head + "\n" + body;
}

}  // namespace slimneck::cli
