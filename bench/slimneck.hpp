// The library's side: kernels called as a plan calls them, on blocked memory, weights packed beforehand.
#pragma once

#include "kernels/dispatch.hpp"
#include "side.hpp"

namespace slimneck::bench {

/// A map in blocks of V lanes, dense: what lies past its last channel is zero.
class BlockedMap {
 public:
  BlockedMap() = default;
  BlockedMap(const Shape& shape, index_t lanes);

  /// Takes plain numbers; `first` and `all` for a part of the channels of a larger plain map.
  void set(const Numbers& plain, index_t first = 0, index_t all = 0);
  [[nodiscard]] Numbers plain() const;

  [[nodiscard]] float* data() { return memory_.data<float>(); }
  [[nodiscard]] const float* data() const { return memory_.data<float>(); }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] index_t blocks() const { return blocks_; }
  [[nodiscard]] index_t sn() const { return blocks_ * sb(); }
  [[nodiscard]] index_t sb() const { return shape_.h * sh(); }
  [[nodiscard]] index_t sh() const { return shape_.w * lanes_; }

 private:
  Shape shape_;
  index_t lanes_ = 1, blocks_ = 0;
  Tensor memory_;
};

/// Zeroed floats on a boundary of 64 bytes.
inline Tensor floats(index_t count) { return Tensor({1, 1, 1, std::max<index_t>(count, 1)}); }

/// One number per channel, zeros up to whole blocks.
Tensor channel_numbers(const Numbers& plain, index_t blocks, index_t lanes);

inline index_t blocks_of(index_t channels, index_t lanes) { return (channels + lanes - 1) / lanes; }

std::unique_ptr<Side> make_conv(const Problem& problem);
std::unique_ptr<Side> make_depthwise(const Problem& problem);
std::unique_ptr<Side> make_norm(const Problem& problem);

}  // namespace slimneck::bench
