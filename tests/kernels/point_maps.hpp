// Maps for tests of kernels that work on blocked memory: with gaps between rows, blocks and images, ending where a page
// that cannot be touched begins, so that reading or writing past the extent is a crash.
#pragma once

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "core/threads.hpp"
#include "kernels/dispatch.hpp"

namespace slimneck::test {

/// Floats before a page without access.
class Guarded {
 public:
  explicit Guarded(std::size_t count) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    bytes_ = (count * sizeof(float) + page - 1) / page * page + page;
    void* p = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(p != MAP_FAILED);
    base_ = static_cast<char*>(p);
    REQUIRE(::mprotect(base_ + bytes_ - page, page, PROT_NONE) == 0);
    data_ = reinterpret_cast<float*>(base_ + bytes_ - page) - count;
    size_ = count;
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { ::munmap(base_, bytes_); }
  [[nodiscard]] float* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  char* base_ = nullptr;
  float* data_ = nullptr;
  std::size_t bytes_ = 0, size_ = 0;
};

/// A map in blocks of `block` channels (1: plain NCHW). gap is the number of pixels between rows; with a gap there is
/// one as well between blocks and images. Gaps hold a number that no result may contain.
class Map {
 public:
  static constexpr float unused = -7.25e30F;

  Map(const Shape& shape, index_t block, index_t gap = 0) : memory_(floats(shape, block, gap)) {
    const index_t blocks = (shape.c + block - 1) / block;
    view_.data = memory_.data();
    view_.shape = shape;
    view_.block = block;
    view_.sw = block;
    view_.sh = (shape.w + gap) * block;
    view_.sc = shape.h * view_.sh + gap * block;
    view_.sn = blocks * view_.sc + gap * block;
    for (std::size_t i = 0; i < memory_.size(); ++i) memory_.data()[i] = unused;
    // Lanes past the last channel hold zeros.
    for (index_t n = 0; n < shape.n; ++n)
      for (index_t c = 0; c < blocks * block; ++c)
        for (index_t h = 0; h < shape.h; ++h)
          for (index_t w = 0; w < shape.w; ++w) view_.at(n, c, h, w) = 0;
  }
  [[nodiscard]] const View<float>& view() const { return view_; }
  [[nodiscard]] View<const float> in() const { return view_; }
  [[nodiscard]] float* data() const { return memory_.data(); }
  [[nodiscard]] index_t blocks() const { return (view_.shape.c + view_.block - 1) / view_.block; }

  /// f() for every element, in logical order.
  Map& fill(const std::function<float()>& f) {
    const Shape& s = view_.shape;
    for (index_t n = 0; n < s.n; ++n)
      for (index_t c = 0; c < s.c; ++c)
        for (index_t h = 0; h < s.h; ++h)
          for (index_t w = 0; w < s.w; ++w) view_.at(n, c, h, w) = f();
    return *this;
  }
  [[nodiscard]] std::vector<float> logical() const {
    const Shape& s = view_.shape;
    std::vector<float> all;
    for (index_t n = 0; n < s.n; ++n)
      for (index_t c = 0; c < s.c; ++c)
        for (index_t h = 0; h < s.h; ++h)
          for (index_t w = 0; w < s.w; ++w) all.push_back(view_.at(n, c, h, w));
    return all;
  }
  /// Everything, gaps included, to compare runs bit by bit.
  [[nodiscard]] std::vector<float> all() const { return {memory_.data(), memory_.data() + memory_.size()}; }
  /// Gaps are as they were.
  [[nodiscard]] bool gaps_untouched() const {
    Map fresh(view_.shape, view_.block, view_.sh / view_.block - view_.shape.w);
    std::vector<float> mine = all(), theirs = fresh.all();
    for (std::size_t i = 0; i < mine.size(); ++i)
      if (theirs[i] == unused && mine[i] != unused) return false;
    return true;
  }

 private:
  static std::size_t floats(const Shape& s, index_t block, index_t gap) {
    const index_t blocks = (s.c + block - 1) / block;
    return static_cast<std::size_t>(s.n * (blocks * (s.h * (s.w + gap) * block + gap * block) + gap * block));
  }
  Guarded memory_;
  View<float> view_;
};

/// Numbers -4..4, on which sums and products are exact.
inline std::function<float()> integers(unsigned seed) {
  return [r = std::mt19937(seed)]() mutable { return static_cast<float>(static_cast<int>(r() % 9) - 4); };
}
inline std::function<float()> normal(unsigned seed, float mean = 0, float sigma = 1) {
  return [r = std::mt19937(seed), d = std::normal_distribution<float>(mean, sigma)]() mutable { return d(r); };
}

/// f(kernels, name) for every instruction set of the machine.
inline void for_each_isa(const std::function<void(const kernels::Kernels&)>& f) {
  for (const Isa isa : kernels::available_isas()) {
    CAPTURE(std::string(kernels::name_of(isa)));
    f(*kernels::kernels_of(isa));
  }
}

/// Runs with 1, 2 and 3 threads and checks that `result` has the same bits each time.
inline void same_for_all_threads(const std::function<void()>& run, const std::function<std::vector<float>()>& result) {
  std::vector<float> first;
  for (int threads = 1; threads <= 3; ++threads) {
    const core::ThreadScope scope(threads);
    run();
    std::vector<float> r = result();
    if (threads == 1) {
      first = r;
    } else {
      CAPTURE(threads);
      CHECK((r.size() == first.size() && (r.empty() || std::memcmp(r.data(), first.data(), r.size() * 4) == 0)));
    }
  }
}

/// Number of different elements; NaN equals NaN.
inline index_t mismatches(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  index_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += a[i] != b[i] && !(std::isnan(a[i]) && std::isnan(b[i]));
  return count;
}

inline const std::vector<Shape> shapes{{1, 1, 1, 1},  {2, 3, 5, 7},    {1, 15, 3, 20}, {3, 16, 4, 4}, {0, 16, 4, 4},
                                       {2, 17, 1, 9}, {1, 64, 40, 13}, {1, 16, 0, 5},  {2, 8, 7, 200}};

}  // namespace slimneck::test
