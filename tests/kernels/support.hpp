// What the tests of fast kernels share: memory that faults when it is left, fills, blocked copies, error bounds.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#include "slimneck/tensor.hpp"

namespace slimneck::testing {

/// Floats that end `slack` bytes before a page that cannot be touched (slack 0, 4, 8, 28: every alignment a caller may
/// have). What lies between is NaN and must stay as it is, so reads show in results and writes in intact().
class GuardedBuffer {
 public:
  explicit GuardedBuffer(index_t floats, index_t slack = 0) : bytes_(static_cast<std::size_t>(floats) * 4) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), room = static_cast<std::size_t>(slack);
    const std::size_t inner = (bytes_ + room + page) / page * page;
    size_ = inner + 2 * page;
    map_ = static_cast<std::byte*>(::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (map_ == MAP_FAILED) throw std::runtime_error("mmap failed");
    ::mprotect(map_, page, PROT_NONE);
    ::mprotect(map_ + page + inner, page, PROT_NONE);
    first_ = map_ + page;
    last_ = first_ + inner;
    std::memset(first_, 0xFF, inner);
    data_ = reinterpret_cast<float*>(last_ - room - bytes_);
    std::memset(data_, 0, bytes_);
  }
  ~GuardedBuffer() { ::munmap(map_, size_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  [[nodiscard]] float* data() { return data_; }
  [[nodiscard]] const float* data() const { return data_; }
  [[nodiscard]] index_t size() const { return static_cast<index_t>(bytes_ / 4); }
  [[nodiscard]] bool intact() const {
    const auto untouched = [](const std::byte* from, const std::byte* to) {
      for (; from < to; ++from)
        if (*from != std::byte{0xFF}) return false;
      return true;
    };
    const auto* begin = reinterpret_cast<const std::byte*>(data_);
    return untouched(first_, begin) && untouched(begin + bytes_, last_);
  }

 private:
  std::size_t bytes_, size_ = 0;
  std::byte *map_ = nullptr, *first_ = nullptr, *last_ = nullptr;
  float* data_ = nullptr;
};

enum class Fill { integers, normal, positive };

/// Whole numbers -4..4 (sums of their products are exact), normal numbers, or their absolute values.
inline void fill(float* data, index_t count, Fill kind, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (index_t i = 0; i < count; ++i) {
    if (kind == Fill::integers)
      data[i] = static_cast<float>(static_cast<int>(random() % 9) - 4);
    else
      data[i] = kind == Fill::normal ? normal(random) : std::fabs(normal(random));
  }
}

/// A blocked map with room between rows, blocks and images: what a range of channels of a larger map looks like.
struct Blocked {
  View<float> view;
  GuardedBuffer memory;

  Blocked(const Shape& shape, index_t lanes, index_t gap, index_t slack) : Blocked(layout(shape, lanes, gap), slack) {}

  void set(View<const float> plain) {
    for (index_t n = 0; n < plain.shape.n; ++n)
      for (index_t c = 0; c < plain.shape.c; ++c)
        for (index_t h = 0; h < plain.shape.h; ++h)
          for (index_t w = 0; w < plain.shape.w; ++w) view.at(n, c, h, w) = plain.at(n, c, h, w);
  }
  /// Everything, gaps included.
  void fill_with(float value) {
    for (index_t i = 0; i < memory.size(); ++i) memory.data()[i] = value;
  }
  /// True when nothing but blocks of the view differs from `value`.
  [[nodiscard]] bool gaps_hold(float value) const {
    std::vector<bool> inside(static_cast<std::size_t>(memory.size()));
    const index_t blocks = (view.shape.c + view.block - 1) / view.block;
    for (index_t n = 0; n < view.shape.n; ++n)
      for (index_t c = 0; c < blocks * view.block; ++c)
        for (index_t h = 0; h < view.shape.h; ++h)
          for (index_t w = 0; w < view.shape.w; ++w) inside[static_cast<std::size_t>(view.offset(n, c, h, w))] = true;
    for (index_t i = 0; i < memory.size(); ++i)
      if (!inside[static_cast<std::size_t>(i)] && memory.data()[i] != value) return false;
    return true;
  }

 private:
  struct Layout {
    View<float> view;
    index_t size;
  };
  static Layout layout(const Shape& shape, index_t lanes, index_t gap) {
    View<float> v(nullptr, shape, lanes);
    const index_t blocks = (shape.c + lanes - 1) / lanes;
    v.sh += gap * lanes;
    v.sc = v.sh * shape.h + gap * lanes;
    v.sn = v.sc * blocks + gap * lanes;
    // The last row of the last block ends the memory.
    const index_t size = shape.n == 0 || blocks == 0
                             ? 0
                             : (shape.n - 1) * v.sn + (blocks - 1) * v.sc + (shape.h - 1) * v.sh + shape.w * lanes;
    return {v, size};
  }
  Blocked(const Layout& layout, index_t slack) : view(layout.view), memory(layout.size, slack) {
    view.data = memory.data();
  }
};

/// The bound of a sum of k products in float: u * S * (4 + 2 sqrt(k)), S the sum of the absolute products.
inline double sum_bound(double absolute_sum, index_t k) {
  return std::ldexp(1.0, -24) * absolute_sum * (4 + 2 * std::sqrt(static_cast<double>(k)));
}

}  // namespace slimneck::testing
