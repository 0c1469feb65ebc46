// Steps of a network from oneDNN's primitives that are no convolutions, forward.
#ifdef SLIMNECK_WITH_ONEDNN

#include <algorithm>

#include "onednn_network.hpp"

namespace slimneck::bench::onednn {

namespace {

/// oneDNN's shuffle with groups of g: y[i (n / g) + j] = x[j g + i].
bool shuffles(const std::vector<index_t>& source, index_t g) {
  const auto n = static_cast<index_t>(source.size());
  if (n % g != 0) return false;
  for (index_t i = 0; i < n; ++i)
    if (source[static_cast<std::size_t>(i)] != i % (n / g) * g + i / (n / g)) return false;
  return true;
}

}  // namespace

Map NetworkForward::part(const Map& whole, index_t channels, const Dims& dims, index_t first) {
  if (pieces_ && first % block_ == 0 && dims[1] % block_ == 0)
    return {whole.data, Tape::memory(maps(dims), static_cast<float*>(whole.at()) + first * dims[2] * dims[3])};
  Map copied = fresh(maps(dims));
  const auto cut = [&](const Map& from) {
    const Memory there(from.desc().submemory_desc(dims, {0, first, 0, 0}), cpu_engine(), from.at());
    tape_.add(Tape::reorder(there, copied.memory));
  };
  if (block_ == 0 || (first % block_ == 0 && dims[1] % block_ == 0)) {
    cut(whole);
    return copied;
  }
  // Formats in blocks cannot be cut within one.
  Dims all = dims;
  all[1] = channels;
  const Map plain = fresh({all, f32, Tag::nhwc});
  copy(whole, plain);
  cut(plain);
  return copied;
}

Map NetworkForward::concatenate(int i) {
  Map y = place(i);
  if (wiring_.pieces[index(i)]) {
    index_t first = 0;
    for (std::size_t k = 0; k < node(i).inputs.size(); ++k) {
      const Dims size = dims(node(i).inputs[k].node);
      const Map piece = part(y, node(i).shapes[0].c, size, first);
      if (piece.at() != in(i, k).at()) copy(in(i, k), piece);
      first += size[1];
    }
    return y;
  }
  std::vector<Desc> parts;
  Tape::Arguments arguments{{DNNL_ARG_DST, y.memory}};
  for (std::size_t k = 0; k < node(i).inputs.size(); ++k) {
    parts.push_back(in(i, k).desc());
    arguments.insert({DNNL_ARG_MULTIPLE_SRC + static_cast<int>(k), in(i, k).memory});
  }
  const Concat d = concat_channels(cpu_engine(), y.desc(), parts);
  tape_.add(Tape::step<dnnl::concat>(d, arguments, Work::other));
  return y;
}

Map NetworkForward::shuffle(int i) {
  Map x = in(i);
  if (best()) {
    const Wiring::Home home = wiring_.homes[index(i)];
    if (home.root < 0 || home == wiring_.homes[index(node(i).inputs[0].node)]) return x;
    Map y = place(i);
    copy(x, y);
    return y;
  }
  Map y = place(i);
  tape_.add(Tape::step<dnnl::shuffle_forward>(shuffle_fwd(cpu_engine(), prop(), x.desc(), shuffle_group(i)),
                                              {{DNNL_ARG_SRC, x.memory}, {DNNL_ARG_DST, y.memory}}, Work::other));
  return y;
}

int NetworkForward::shuffle_group(int i) const {
  const std::vector<index_t>& source = node(i).attributes.list("source");
  for (const index_t g : {index_t{2}, static_cast<index_t>(source.size()) / 2})
    if (shuffles(source, g)) return static_cast<int>(g);
  throw Error("node " + node(i).name + " is no shuffle of two groups");
}

Map NetworkForward::slice(int i) {
  const std::vector<index_t>& channels = order(node(i).inputs[0].node);
  if (!std::is_sorted(channels.begin(), channels.end())) throw Error("node " + node(i).name + " slices a shuffled map");
  Map piece = part(in(i), graph_.shape(node(i).inputs[0]).c, dims(i), node(i).attributes.integer("first"));
  if (wiring_.homes[index(i)].root < 0) return piece;
  Map y = place(i);
  copy(piece, y);
  return y;
}

Map NetworkForward::add(int i) {
  Map y = place(i);
  const Binary d = binary(cpu_engine(), algorithm::binary_add, in(i).desc(), in(i, 1).desc(), y.desc());
  tape_.add(Tape::step<dnnl::binary>(
      d, {{DNNL_ARG_SRC_0, in(i).memory}, {DNNL_ARG_SRC_1, in(i, 1).memory}, {DNNL_ARG_DST, y.memory}}, Work::other));
  return y;
}

Map NetworkForward::activate(int i) {
  const auto [kind, alpha] = activation_of(i);
  if (kind == algorithm::undef) throw Error("the peer has nothing for the op " + std::string(node(i).op->name));
  Map y = place(i);
  tape_.add(Tape::step<dnnl::eltwise_forward>(eltwise_fwd(cpu_engine(), prop(), kind, y.desc(), alpha),
                                              {{DNNL_ARG_SRC, in(i).memory}, {DNNL_ARG_DST, y.memory}},
                                              Work::norm_act));
  return y;
}

Window NetworkForward::window(int i) const {
  const Attributes& a = node(i).attributes;
  const index_t k = a.integer("kernel"), s = a.integer("stride"), pad = a.integer("pad");
  const Dims x = dims(node(i).inputs[0].node), y = dims(i);
  return {{s, s}, {k, k}, {pad, pad}, {(y[2] - 1) * s + k - x[2] - pad, (y[3] - 1) * s + k - x[3] - pad}};
}

Map NetworkForward::pool(int i) {
  Map y = place(i);
  const PoolFwd d = pool_fwd(cpu_engine(), prop(), in(i).desc(), y.desc(), window(i), Tape::attributes());
  Tape::Arguments arguments{{DNNL_ARG_SRC, in(i).memory}, {DNNL_ARG_DST, y.memory}};
  if (problem_.train) {
    pools_.insert({i, d});
    workspaces_[i] = tape_.memory(d.workspace_desc());
    arguments.insert({DNNL_ARG_WORKSPACE, workspaces_[i]});
  }
  tape_.add(Tape::step<dnnl::pooling_forward>(d, arguments, Work::pool_upsample));
  return y;
}

Map NetworkForward::upsample(int i) {
  Map y = place(i);
  tape_.add(Tape::step<dnnl::resampling_forward>(resample_fwd(cpu_engine(), prop(), in(i).desc(), y.desc()),
                                                 {{DNNL_ARG_SRC, in(i).memory}, {DNNL_ARG_DST, y.memory}},
                                                 Work::pool_upsample));
  return y;
}

}  // namespace slimneck::bench::onednn

#endif
