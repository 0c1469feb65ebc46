// The way back of a step of training from oneDNN's primitives: everything but convolutions.
#ifdef SLIMNECK_WITH_ONEDNN

#include <algorithm>
#include <utility>

#include "onednn_network_training.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::bench::onednn {

void NetworkTraining::build() {
  NetworkForward::build();
  gradients_.resize(index(graph_.size()));
  for (std::size_t k = 0; k < graph_.outputs().size(); ++k) {
    const int result = graph_.outputs()[k].value.node;
    given_.push_back(fresh({dims(result), f32, Tag::nchw}));
    const std::vector<index_t>& channels = order(result);
    if (!std::is_sorted(channels.begin(), channels.end())) throw Error("a result of the network is shuffled");
    const Numbers& numbers = problem_.output_gradient[k];
    std::copy(numbers.begin(), numbers.end(), static_cast<float*>(given_.back().at()));
    Gradient g{fresh(maps(dims(result)))};
    copy(given_.back(), g.map);
    if (gradients_[index(result)].map.valid()) throw Error("a map is a result twice");
    gradients_[index(result)] = std::move(g);
  }
  for (int i = graph_.size() - 1; i >= 0; --i)
    if (node(i).role == Role::computed && gradients_[index(i)].map.valid())
      back(i, std::exchange(gradients_[index(i)], {}));
}

void NetworkTraining::back(int i, Gradient g) {
  const OpDef* op = node(i).op;
  if (op == &ops::conv_bn_act || op == &ops::conv2d) return convolution_back(i, std::move(g));
  if (op == &ops::concat) return concat_back(i, g);
  if (op == &ops::channel_shuffle) return shuffle_back(i, std::move(g));
  if (op == &ops::max_pool) return pool_back(i, g);
  if (op == &ops::upsample) return upsample_back(i, g);
  if (op == &ops::add) {
    contribute(i, 0, g);
    return contribute(i, 1, std::move(g));
  }
  if (op == &ops::slice) throw Error("the peer has no gradient of slices");
  activation_back(i, g);
}

void NetworkTraining::sum(const Map& into, const Map& other) {
  tape_.add(Tape::step<dnnl::binary>(
      binary(cpu_engine(), algorithm::binary_add, into.desc(), other.desc(), into.desc()),
      {{DNNL_ARG_SRC_0, into.memory}, {DNNL_ARG_SRC_1, other.memory}, {DNNL_ARG_DST, into.memory}}, Work::other));
}

void NetworkTraining::contribute(int i, std::size_t k, Gradient g) {
  if (graph_.node(node(i).inputs[k]).role != Role::computed) return;
  Gradient& there = gradients_[index(node(i).inputs[k].node)];
  if (!there.map.valid()) {
    there = std::move(g);
    return;
  }
  if (there.writable()) return sum(there.map, g.map);
  if (!g.writable()) {
    Gradient own{fresh(g.map.desc())};
    copy(g.map, own.map);
    g = std::move(own);
  }
  sum(g.map, there.map);
  there = std::move(g);
}

void NetworkTraining::concat_back(int i, const Gradient& g) {
  const bool own = g.writable();
  index_t first = 0;
  for (std::size_t k = 0; k < node(i).inputs.size(); ++k) {
    const Dims size = dims(node(i).inputs[k].node);
    Map piece = part(g.map, node(i).shapes[0].c, size, first);
    const bool copied = piece.data != g.map.data;
    // Counts its own owners, not those of the other pieces.
    if (!copied) piece.data = Tape::Buffer(piece.data.get(), [whole = g.map.data](float*) {});
    contribute(i, k, {std::move(piece), own || copied});
    first += size[1];
  }
}

void NetworkTraining::shuffle_back(int i, Gradient g) {
  if (best()) return contribute(i, 0, std::move(g));
  const Map dx = fresh(g.map.desc());
  const ShuffleFwd hint = shuffle_fwd(cpu_engine(), prop_kind::forward_training, g.map.desc(), shuffle_group(i));
  tape_.add(Tape::step<dnnl::shuffle_backward>(shuffle_bwd(cpu_engine(), g.map.desc(), shuffle_group(i), hint),
                                               {{DNNL_ARG_DIFF_DST, g.map.memory}, {DNNL_ARG_DIFF_SRC, dx.memory}},
                                               Work::other));
  contribute(i, 0, {dx});
}

void NetworkTraining::activation_back(int i, const Gradient& g) {
  const auto [kind, alpha] = activation_of(i);
  const Map dx = fresh(g.map.desc());
  const EltwiseFwd hint = eltwise_fwd(cpu_engine(), prop_kind::forward_training, kind, g.map.desc(), alpha);
  tape_.add(Tape::step<dnnl::eltwise_backward>(
      eltwise_bwd(cpu_engine(), kind, g.map.desc(), alpha, hint),
      {{DNNL_ARG_SRC, in(i).memory}, {DNNL_ARG_DIFF_DST, g.map.memory}, {DNNL_ARG_DIFF_SRC, dx.memory}},
      Work::norm_act));
  contribute(i, 0, {dx});
}

void NetworkTraining::pool_back(int i, const Gradient& g) {
  const Map dx = fresh(in(i).desc());
  const PoolBwd d = pool_bwd(cpu_engine(), dx.desc(), g.map.desc(), window(i), pools_.at(i), Tape::attributes());
  tape_.add(Tape::step<dnnl::pooling_backward>(
      d, {{DNNL_ARG_DIFF_DST, g.map.memory}, {DNNL_ARG_WORKSPACE, workspaces_.at(i)}, {DNNL_ARG_DIFF_SRC, dx.memory}},
      Work::pool_upsample));
  contribute(i, 0, {dx});
}

void NetworkTraining::upsample_back(int i, const Gradient& g) {
  const Map dx = fresh(in(i).desc());
  const ResampleFwd hint = resample_fwd(cpu_engine(), prop_kind::forward_training, dx.desc(), g.map.desc());
  tape_.add(Tape::step<dnnl::resampling_backward>(resample_bwd(cpu_engine(), dx.desc(), g.map.desc(), hint),
                                                  {{DNNL_ARG_DIFF_DST, g.map.memory}, {DNNL_ARG_DIFF_SRC, dx.memory}},
                                                  Work::pool_upsample));
  contribute(i, 0, {dx});
}

}  // namespace slimneck::bench::onednn

#endif
