// The way forward of a network from oneDNN's primitives: maps, and everything but convolutions.
#ifdef SLIMNECK_WITH_ONEDNN

#include <algorithm>
#include <optional>

#include "measure/machine.hpp"
#include "onednn_network_training.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::bench::onednn {

namespace {

index_t block_of(Tag tag) { return tag == Tag::nChw16c ? 16 : tag == Tag::nChw8c ? 8 : 0; }

double seconds_of(NetworkPeer& peer) {
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    const double begin = measure::seconds_now();
    peer.run();
    const double time = measure::seconds_now() - begin;
    if (i == 0 || time < best) best = time;
  }
  return best;
}

/// oneDNN's shuffle with groups of g: y[i (n / g) + j] = x[j g + i].
bool shuffles(const std::vector<index_t>& source, index_t g) {
  const auto n = static_cast<index_t>(source.size());
  if (n % g != 0) return false;
  for (index_t i = 0; i < n; ++i)
    if (source[static_cast<std::size_t>(i)] != i % (n / g) * g + i / (n / g)) return false;
  return true;
}

}  // namespace

NetworkForward::NetworkForward(const NetworkProblem& problem, Tag maps)
    : problem_(problem), network_(*problem.network), graph_(network_.fused), tag_(maps), block_(block_of(maps)) {
  WiringOptions options;
  options.free_shuffles = best();
  options.join_sums = best() && !problem.train;
  // Of one picture, blocks of channels are pieces of memory; of several they are strided, which few primitives take.
  const bool pieces = graph_.shape(graph_.outputs()[0].value).n == 1;
  options.block = best() && pieces ? block_ : 0;
  if (!pieces) block_ = 0;
  wiring_ = wire(graph_, options);
  values_.resize(index(graph_.size()));
}

void NetworkForward::build() {
  for (int i = 0; i < graph_.size(); ++i) {
    if (!wiring_.needed[index(i)]) continue;
    if (node(i).role == Role::input) {
      values_[index(i)] = fresh({dims(i), f32, Tag::nchw});
      std::copy(problem_.x.begin(), problem_.x.end(), static_cast<float*>(values_[index(i)].at()));
      pictures_.push_back(values_[index(i)]);
    }
    if (node(i).role == Role::computed && wiring_.runs_at[index(i)] == i) {
      compute(i);
      forget(i);
    }
  }
  for (const Output& o : graph_.outputs()) {
    results_.push_back(fresh({dims(o.value.node), f32, Tag::nchw}));
    copy(values_[index(o.value.node)], results_.back());
  }
}

void NetworkForward::compute(int i) {
  const OpDef* op = node(i).op;
  const auto make = [&]() -> Map {
    if (op == &ops::conv_bn_act || op == &ops::conv2d) return convolve(i);
    if (op == &ops::concat) return concatenate(i);
    if (op == &ops::channel_shuffle) return shuffle(i);
    if (op == &ops::slice) return slice(i);
    if (op == &ops::add) return wiring_.joined[index(i)] < 0 ? add(i) : convolve(wiring_.joined[index(i)]);
    if (op == &ops::max_pool) return pool(i);
    if (op == &ops::upsample) return upsample(i);
    if (node(i).inputs.size() == 1) return activate(i);
    throw Error("the peer has nothing for the op " + std::string(op->name));
  };
  values_[index(i)] = make();
}

/// Maps that nobody reads after node i give their memory back. Training keeps them for the way back.
void NetworkForward::forget(int i) {
  if (problem_.train) return;
  for (int k = 0; k <= i; ++k)
    if (wiring_.last_use[index(k)] <= i && wiring_.runs_at[index(k)] <= i) values_[index(k)] = {};
}

Dims NetworkForward::dims(int i) const {
  const Shape& s = node(i).shapes[0];
  return {s.n, s.c, s.h, s.w};
}

Map NetworkForward::fresh(const Desc& d) {
  const Tape::Buffer data = tape_.buffer(d.get_size());
  return {data, Tape::memory(d, data.get())};
}

Map NetworkForward::place(int i) {
  const Wiring::Home home = wiring_.homes[index(i)];
  if (home.root < 0) return fresh(maps(dims(i)));
  Tape::Buffer& root = roots_[home.root];
  if (!root) root = tape_.buffer(maps(dims(home.root)).get_size());
  const Shape& s = node(i).shapes[0];
  const Map map{root, Tape::memory(maps(dims(i)), root.get() + home.channel * s.h * s.w)};
  if (home.root == i) roots_.erase(i);
  return map;
}

Map NetworkForward::part(const Map& whole, index_t channels, const Dims& dims, index_t first) {
  if (block_ > 0 && best() && first % block_ == 0 && dims[1] % block_ == 0)
    return {whole.data, Tape::memory(maps(dims), static_cast<float*>(whole.at()) + first * dims[2] * dims[3])};
  const Map copied = fresh(maps(dims));
  const auto cut = [&](const Map& from) {
    const Memory there(from.desc().submemory_desc(dims, {0, first, 0, 0}), cpu_engine(), from.at());
    tape_.add(Tape::reorder(there, copied.memory));
  };
  if (tag_ == Tag::nhwc || (first % block_of(tag_) == 0 && dims[1] % block_of(tag_) == 0)) {
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
  const Map y = place(i);
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
  const Map x = in(i);
  if (best()) {
    const Wiring::Home home = wiring_.homes[index(i)];
    if (home.root < 0 || home == wiring_.homes[index(node(i).inputs[0].node)]) return x;
    const Map y = place(i);
    copy(x, y);
    return y;
  }
  const Map y = place(i);
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
  const Map piece = part(in(i), graph_.shape(node(i).inputs[0]).c, dims(i), node(i).attributes.integer("first"));
  if (wiring_.homes[index(i)].root < 0) return piece;
  const Map y = place(i);
  copy(piece, y);
  return y;
}

Map NetworkForward::add(int i) {
  const Map y = place(i);
  const Binary d = binary(cpu_engine(), algorithm::binary_add, in(i).desc(), in(i, 1).desc(), y.desc());
  tape_.add(Tape::step<dnnl::binary>(
      d, {{DNNL_ARG_SRC_0, in(i).memory}, {DNNL_ARG_SRC_1, in(i, 1).memory}, {DNNL_ARG_DST, y.memory}}, Work::other));
  return y;
}

Map NetworkForward::activate(int i) {
  const auto [kind, alpha] = activation_of(i);
  if (kind == algorithm::undef) throw Error("the peer has nothing for the op " + std::string(node(i).op->name));
  const Map y = place(i);
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
  const Map y = place(i);
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
  const Map y = place(i);
  tape_.add(Tape::step<dnnl::resampling_forward>(resample_fwd(cpu_engine(), prop(), in(i).desc(), y.desc()),
                                                 {{DNNL_ARG_SRC, in(i).memory}, {DNNL_ARG_DST, y.memory}},
                                                 Work::pool_upsample));
  return y;
}

Numbers NetworkForward::output(std::size_t i) {
  const int result = graph_.outputs()[i].value.node;
  const Dims size = dims(result);
  const Numbers placed = tape_.plain(results_[i].memory, size, Tag::nchw);
  Numbers logical(placed.size());
  const index_t plane = size[2] * size[3];
  for (index_t n = 0; n < size[0]; ++n)
    for (index_t c = 0; c < size[1]; ++c)
      std::copy_n(placed.begin() + (n * size[1] + c) * plane, plane,
                  logical.begin() + (n * size[1] + order(result)[static_cast<std::size_t>(c)]) * plane);
  return logical;
}

std::string NetworkForward::describe() const {
  return std::string(tag_ == Tag::nhwc ? "nhwc" : tag_ == Tag::nChw8c ? "nChw8c" : "nChw16c") + ": " + tape_.kernels();
}

}  // namespace slimneck::bench::onednn

namespace slimneck::bench {

std::unique_ptr<NetworkPeer> make_onednn_network(const NetworkProblem& problem) {
  using onednn::NetworkForward;
  using Made = std::unique_ptr<NetworkForward>;
  const auto make = [&problem](onednn::Tag tag) -> Made {
    Made made = problem.train ? std::make_unique<onednn::NetworkTraining>(problem, tag)
                              : std::make_unique<NetworkForward>(problem, tag);
    made->build();
    return made;
  };
  // One at a time: networks in training fill the memory.
  double best_time = 0;
  std::optional<onednn::Tag> best;
  for (const onednn::Tag tag : onednn::map_formats()) try {
      const Made made = make(tag);
      const double time = onednn::seconds_of(*made);
      if (best && time >= best_time) continue;
      best = tag;
      best_time = time;
    } catch (const dnnl::error&) {
      continue;  // it does not have that
    }
  if (!best) throw Error("oneDNN refuses the network in every format");
  return make(*best);
}

}  // namespace slimneck::bench

#else

#include "networks.hpp"

namespace slimneck::bench {

std::unique_ptr<NetworkPeer> make_onednn_network(const NetworkProblem&) { return nullptr; }

}  // namespace slimneck::bench

#endif
