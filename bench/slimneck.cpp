#include "slimneck.hpp"

namespace slimneck::bench {

BlockedMap::BlockedMap(const Shape& shape, index_t lanes)
    : shape_(shape), lanes_(lanes), blocks_(blocks_of(shape.c, lanes)), memory_(floats(shape.n * sn())) {}

void BlockedMap::set(const Numbers& plain, index_t first, index_t all) {
  if (all == 0) all = shape_.c;
  const View<const float> from(plain.data(), {shape_.n, all, shape_.h, shape_.w});
  kernels::copy<float>(from.channels(first, shape_.c), View<float>(data(), shape_, lanes_));
}

Numbers BlockedMap::plain() const {
  Numbers v(static_cast<std::size_t>(shape_.numel()));
  kernels::copy<float>(View<const float>(data(), shape_, lanes_), View<float>(v.data(), shape_));
  return v;
}

Tensor channel_numbers(const Numbers& plain, index_t blocks, index_t lanes) {
  Tensor t = floats(blocks * lanes);
  std::copy(plain.begin(), plain.end(), t.data<float>());
  return t;
}

std::unique_ptr<Side> make_slimneck(const Problem& problem) {
  switch (problem.layer().op) {
    case Op::conv2d: return make_conv(problem);
    case Op::depthwise: return make_depthwise(problem);
    case Op::bn_act: return make_norm(problem);
    default: return nullptr;
  }
}

}  // namespace slimneck::bench
