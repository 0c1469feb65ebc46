// What tests of blocked kernels share: maps that end at a page nobody may touch, weights, and the two tolerances.
#pragma once

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "core/threads.hpp"
#include "kernels/dispatch.hpp"

namespace slimneck::blocked {

/// Floats whose last one is followed by a page that faults, and whose first one follows such a page closely.
class Guarded {
 public:
  explicit Guarded(index_t count) : count_(count) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), bytes = static_cast<std::size_t>(count) * 4;
    inner_ = (bytes + page - 1) / page * page;
    size_ = inner_ + 2 * page;
    base_ = ::mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(base_ != MAP_FAILED);
    char* usable = static_cast<char*>(base_) + page;
    if (inner_ > 0) REQUIRE(::mprotect(usable, inner_, PROT_READ | PROT_WRITE) == 0);
    data_ = reinterpret_cast<float*>(usable + (inner_ - bytes));
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { ::munmap(base_, size_); }

  [[nodiscard]] float* data() const noexcept { return data_; }
  [[nodiscard]] index_t size() const noexcept { return count_; }

 private:
  index_t count_;
  std::size_t inner_ = 0, size_ = 0;
  void* base_ = nullptr;
  float* data_ = nullptr;
};

/// What fills a map: integers of -4..4 (sums are exact), real numbers, or real numbers that are not negative (the hard
/// case for sums).
enum class Fill { integer, real, positive };

inline float drawn(const core::Stream& stream, index_t i, Fill fill) {
  const double u = stream.unit(static_cast<std::uint64_t>(i));
  if (fill == Fill::integer) return static_cast<float>(std::floor(u * 9) - 4);
  return static_cast<float>(fill == Fill::real ? 2 * u - 1 : u);
}

/// A blocked map with gaps between rows, blocks and images. What is no element of it (gaps, lanes past the last
/// channel) holds a number that no sum survives.
struct Map {
  static constexpr float poison = 3e33F;

  Map(const Shape& shape, index_t lanes, index_t gap = 0)
      : blocks((shape.c + lanes - 1) / lanes), memory(extent(shape, lanes, gap)) {
    view.data = memory.data();
    view.shape = shape;
    view.block = lanes;
    view.sw = lanes;
    view.sh = shape.w * lanes + gap;
    view.sc = shape.h * view.sh + gap;
    view.sn = blocks * view.sc + gap;
    for (index_t i = 0; i < memory.size(); ++i) memory.data()[i] = poison;
  }

  static index_t extent(const Shape& s, index_t lanes, index_t gap) {
    const index_t count = (s.c + lanes - 1) / lanes, sh = s.w * lanes + gap, sc = s.h * sh + gap;
    return s.n * (count * sc + gap);
  }

  template <class F>
  void each(F&& f) const {
    const Shape& s = view.shape;
    index_t i = 0;
    for (index_t n = 0; n < s.n; ++n)
      for (index_t c = 0; c < s.c; ++c)
        for (index_t h = 0; h < s.h; ++h)
          for (index_t w = 0; w < s.w; ++w) f(view.at(n, c, h, w), i++);
  }
  Map& fill(const char* name, Fill kind) {
    const core::Stream stream(name, 1);
    each([&](float& x, index_t i) { x = drawn(stream, i, kind); });
    return *this;
  }
  /// Every element becomes its magnitude.
  Map& magnitude() {
    each([](float& x, index_t) { x = std::fabs(x); });
    return *this;
  }
  /// Are all floats that are no element still what they were?
  [[nodiscard]] bool gaps_kept(const Map& like) const {
    std::vector<bool> element(static_cast<std::size_t>(memory.size()), false);
    const index_t all = view.block * blocks;  // the lanes past the last channel may be written
    for (index_t n = 0; n < view.shape.n; ++n)
      for (index_t c = 0; c < all; ++c)
        for (index_t h = 0; h < view.shape.h; ++h)
          for (index_t w = 0; w < view.shape.w; ++w) element[static_cast<std::size_t>(view.offset(n, c, h, w))] = true;
    for (index_t i = 0; i < memory.size(); ++i)
      if (!element[static_cast<std::size_t>(i)] && memory.data()[i] != like.memory.data()[i]) return false;
    return true;
  }

  index_t blocks;
  View<float> view;
  Guarded memory;
};

/// The same elements in the same layout.
inline void assign(Map& to, const Map& from) {
  std::memcpy(to.memory.data(), from.memory.data(), static_cast<std::size_t>(to.memory.size()) * 4);
}

/// Elements that differ at all; NaN equals NaN.
inline index_t mismatches(const View<float>& a, const View<float>& b) {
  index_t wrong = 0;
  for (index_t n = 0; n < a.shape.n; ++n)
    for (index_t c = 0; c < a.shape.c; ++c)
      for (index_t h = 0; h < a.shape.h; ++h)
        for (index_t w = 0; w < a.shape.w; ++w) {
          const float x = a.at(n, c, h, w), y = b.at(n, c, h, w);
          wrong += !(x == y || (x != x && y != y));
        }
  return wrong;
}

/// The largest |a - b| / (u s), where s is the sum of the magnitudes of the terms.
inline double worst(const View<float>& a, const View<float>& b, const View<float>& s) {
  double most = 0;
  for (index_t n = 0; n < a.shape.n; ++n)
    for (index_t c = 0; c < a.shape.c; ++c)
      for (index_t h = 0; h < a.shape.h; ++h)
        for (index_t w = 0; w < a.shape.w; ++w) {
          const double error = std::fabs(static_cast<double>(a.at(n, c, h, w)) - b.at(n, c, h, w));
          const double bound = 0x1p-24 * s.at(n, c, h, w) + 1e-37;
          most = std::fmax(most, error <= 0 ? 0 : error / bound);
          if (error != error) most = std::numeric_limits<double>::infinity();
        }
  return most;
}

inline double bound(index_t terms) { return 4 + 2 * std::sqrt(static_cast<double>(terms)); }

/// Depthwise weights, c x 1 x kh x kw, and the same in the order that kernels read.
struct DepthwiseWeights {
  DepthwiseWeights(index_t c, index_t kh, index_t kw, index_t lanes, const kernels::Kernels& k, Fill kind)
      : plain({c, 1, kh, kw}, 1), packed((c + lanes - 1) / lanes * lanes * kh * kw) {
    plain.fill("w", kind);
    pack(k, lanes);
  }
  void pack(const kernels::Kernels& k, index_t lanes) {
    const Shape& s = plain.view.shape;
    kernels::WeightArgs a;
    a.from = plain.view.data;
    a.to = packed.data();
    a.o = s.n;
    a.c = 1;
    a.kh = s.h;
    a.kw = s.w;
    a.o_physical = (s.n + lanes - 1) / lanes * lanes;
    a.c_physical = 1;
    a.order = kernels::WeightOrder::depthwise;
    k.pack_weights(a);
  }
  Map plain;
  Guarded packed;
};

/// Runs body(kernels, name) for every instruction set of this machine.
template <class F>
void for_each_isa(F&& body) {
  for (const Isa isa : kernels::available_isas()) {
    const std::string name(kernels::name_of(isa));
    CAPTURE(name);
    body(*kernels::kernels_of(isa));
  }
}

}  // namespace slimneck::blocked
