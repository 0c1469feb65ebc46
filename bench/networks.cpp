// What a network is to both sides, and what a step of it counts as.
#include "networks.hpp"

#include <algorithm>
#include <set>

#include "layers/rewrites/rewrites.hpp"
#include "slimneck/model.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::bench {

namespace {

Graph results_of(const std::string& cfg, index_t img, index_t batch) {
  ModelOptions options;
  options.batch = batch;
  options.height = options.width = img;
  return load_model(cfg, options).graph.with_outputs([](const Output& o) { return o.kind == OutputKind::result; });
}

bool is_activation(std::string_view name) {
  const std::span<const OpDef* const> all = all_ops();
  return std::any_of(all.begin(), all.end(),
                     [&](const OpDef* op) { return op->name == name && act_of(op) != kernels::Act::none; });
}

/// The most channels that a picture has.
constexpr index_t picture_channels = 4;

}  // namespace

std::string_view name_of(Work work) {
  constexpr std::array<std::string_view, work_count> names{"conv1x1",    "conv3x3s1",  "conv3x3s2", "stem",
                                                           "conv other", "depthwise",  "gsconv",    "norm/act",
                                                           "pool/up",    "parameters", "other"};
  return names[static_cast<std::size_t>(work)];
}

Network::Network(const std::string& cfg, index_t img, index_t batch)
    : name(cfg),
      graph(results_of(cfg, img, batch)),
      fused(rewrites::fuse_conv_bn_act.apply(graph, Mode::infer)),
      paired_(static_cast<std::size_t>(fused.size()), 0) {
  const Graph pairs = rewrites::fuse_gs_pair.apply(fused, Mode::infer);
  std::set<std::string> weights;
  for (const Node& n : pairs.nodes())
    if (n.op == &ops::gs_pair)
      for (const std::size_t operand : {std::size_t{1}, std::size_t{4}})
        weights.insert(pairs.node(n.inputs[operand]).name);
  for (int i = 0; i < fused.size(); ++i) {
    const Node& n = fused.node(i);
    if (n.op == &ops::conv_bn_act)
      paired_[static_cast<std::size_t>(i)] = weights.count(fused.node(n.inputs[1]).name) > 0;
  }
}

Work Network::work_of(int i) const { return paired(i) ? Work::gsconv : shape_of(i); }

Work Network::shape_of(int i) const {
  const Node& n = fused.node(i);
  const Shape &x = fused.shape(n.inputs[0]), &w = fused.shape(n.inputs[1]);
  const index_t stride = n.attributes.integer("stride");
  if (n.attributes.integer("groups") > 1) return w.c == 1 ? Work::depthwise : Work::conv_other;
  if (x.c <= picture_channels) return Work::stem;
  if (w.h == 1 && w.w == 1 && stride == 1) return Work::conv1x1;
  if (w.h == 3 && w.w == 3 && stride == 1) return Work::conv3x3s1;
  if (w.h == 3 && w.w == 3 && stride == 2) return Work::conv3x3s2;
  return Work::conv_other;
}

Work Network::work_of(const PlanStep& step) const {
  if (step.kernel == "accumulate" || step.kernel == "assign" || step.kernel == "pack") return Work::parameters;
  if (step.op == "gs_pair" || step.op == "gs_pair_bwd") return Work::gsconv;
  const auto starts = [&step](std::string_view text) { return step.op.starts_with(text); };
  if (starts("conv"))
    for (int i = 0; i < fused.size(); ++i) {
      const Node& n = fused.node(i);
      const bool convolution = n.op == &ops::conv_bn_act || n.op == &ops::conv2d;
      if (convolution && (step.name == n.name || step.name.starts_with(n.name + "."))) return shape_of(i);
    }
  if (starts("conv")) return Work::conv_other;
  if (starts("bn_") || starts("batch_norm") || starts("act_") || is_activation(step.op)) return Work::norm_act;
  if (starts("max_pool") || starts("upsample")) return Work::pool_upsample;
  return Work::other;
}

}  // namespace slimneck::bench
