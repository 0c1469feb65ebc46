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

/// The best of some runs: neighbours only make it longer.
double seconds_of(NetworkPeer& peer) {
  constexpr int runs = 6;
  double best = 0;
  for (int i = 0; i < runs; ++i) {
    const double begin = measure::seconds_now();
    peer.run();
    const double time = measure::seconds_now() - begin;
    if (i == 0 || time < best) best = time;
  }
  return best;
}

}  // namespace

NetworkForward::NetworkForward(const NetworkProblem& problem, Tag maps, bool general)
    : problem_(problem),
      network_(*problem.network),
      graph_(network_.fused),
      tag_(maps),
      block_(block_of(maps)),
      pieces_(!problem.framework && block_ > 0 && graph_.shape(graph_.outputs()[0].value).n == 1),
      tape_(general) {
  WiringOptions options;
  options.free_shuffles = best();
  options.join_sums = best() && !problem.train;
  options.block = pieces_ ? block_ : 0;
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
  Map map{root, Tape::memory(maps(dims(i)), root.get() + home.channel * s.h * s.w)};
  if (home.root == i) roots_.erase(i);
  return map;
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
  const auto make = [&problem](onednn::Tag tag, bool general) -> Made {
    Made made = problem.train ? std::make_unique<onednn::NetworkTraining>(problem, tag, general)
                              : std::make_unique<NetworkForward>(problem, tag, general);
    made->build();
    return made;
  };
  for (const bool general : {false, true}) {
    // One at a time, as networks in training fill the memory; and again later, when a neighbour may have left.
    constexpr int rounds = 3;
    double best_time = 0;
    std::optional<onednn::Tag> best;
    for (int round = 0; round < rounds; ++round)
      for (const onednn::Tag tag : onednn::map_formats()) try {
          const double time = onednn::seconds_of(*make(tag, general));
          if (best && time >= best_time) continue;
          best = tag;
          best_time = time;
        } catch (const dnnl::error&) {
          continue;  // it does not have that
        }
    if (best) return make(*best, general);
  }
  throw Error("oneDNN refuses the network in every format");
}

}  // namespace slimneck::bench

#else

#include "networks.hpp"

namespace slimneck::bench {

std::unique_ptr<NetworkPeer> make_onednn_network(const NetworkProblem&) { return nullptr; }

}  // namespace slimneck::bench

#endif
