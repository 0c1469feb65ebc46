// One table of shapes for the tests of all kernels, the memory that they run in, and how results are judged.
//
// Rows hold what goes wrong most easily: channels at, below and above a block, maps smaller than the kernel, empty
// batches, every stride, padding and dilation that networks use and some that none does.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "core/threads.hpp"
#include "kernels/conv2d/variants.hpp"
#include "kernels/depthwise/variants.hpp"

namespace slimneck::table {

using kernels::Algorithm;
using kernels::Conv2d;
using kernels::ConvVariant;
using kernels::Kernels;

// ---- Shapes
// ----------------------------------------------------------------------------------------------------------

struct ConvRow {
  Shape x;
  index_t o, kh, kw;
  Conv2d g;

  [[nodiscard]] Shape w() const { return {o, x.c / g.groups, kh, kw}; }
  [[nodiscard]] Shape y() const {
    return {x.n, o, (x.h + 2 * g.pad_h - g.dilation * (kh - 1) - 1) / g.stride + 1,
            (x.w + 2 * g.pad_w - g.dilation * (kw - 1) - 1) / g.stride + 1};
  }
  [[nodiscard]] bool depthwise() const { return g.groups == x.c && g.groups == o && g.groups > 1; }
};

/// All of them, or every SLIMNECK_TEST_EVERY-th where the environment says so (emulators and ThreadSanitizer are slow).
const std::vector<ConvRow>& conv_rows();
std::string to_text(const ConvRow& row);
/// What a test takes of a list: see conv_rows().
index_t every();

// ---- Memory
// ----------------------------------------------------------------------------------------------------------

/// Where numbers lie: `offset` bytes from a page that faults, which is the one before or the one after; in views with
/// `gap` numbers between rows, channels and images.
struct Placement {
  index_t offset = 0;
  bool front = false;
  index_t gap = 0;
};

/// Floats between two pages that fault. The rest of their page is NaN and must stay so.
class Edge {
 public:
  Edge(index_t floats, const Placement& at) : bytes_(static_cast<std::size_t>(floats) * sizeof(float)) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), offset = static_cast<std::size_t>(at.offset);
    const std::size_t inner = (bytes_ + offset + page - 1) / page * page;
    size_ = inner + 2 * page;
    all_ = static_cast<std::byte*>(::mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (all_ == MAP_FAILED) throw std::runtime_error("mmap failed");
    first_ = all_ + page;
    last_ = first_ + inner;
    if (inner > 0 && ::mprotect(first_, inner, PROT_READ | PROT_WRITE) != 0)
      throw std::runtime_error("mprotect failed");
    std::memset(first_, 0xFF, inner);
    data_ = at.front ? first_ + offset : last_ - offset - bytes_;
  }
  Edge(const Edge&) = delete;
  Edge& operator=(const Edge&) = delete;
  ~Edge() { ::munmap(all_, size_); }

  [[nodiscard]] float* data() const { return reinterpret_cast<float*>(data_); }
  [[nodiscard]] index_t size() const { return static_cast<index_t>(bytes_ / sizeof(float)); }
  [[nodiscard]] std::span<float> span() const { return {data(), static_cast<std::size_t>(size())}; }
  /// Nothing outside of the floats was written.
  [[nodiscard]] bool intact() const { return untouched(first_, data_) && untouched(data_ + bytes_, last_); }
  static bool untouched(const std::byte* from, const std::byte* to) {
    for (; from < to; ++from)
      if (*from != std::byte{0xFF}) return false;
    return true;
  }

 private:
  std::size_t bytes_, size_ = 0;
  std::byte *all_ = nullptr, *first_ = nullptr, *last_ = nullptr, *data_ = nullptr;
};

/// A view on such memory, plain (block 1) or blocked; gaps are NaN, lanes past the last channel 3.
class Map {
 public:
  Map(const Shape& shape, index_t block, const Placement& at) : Map(layout(shape, block, at.gap), at) {}
  Map(const Tensor& values, index_t block, const Placement& at) : Map(values.shape(), block, at) {
    const View<const float> from = values.view<float>();
    visit([&](index_t n, index_t c, index_t h, index_t w, float& x) { x = c < shape().c ? from.at(n, c, h, w) : 3; });
  }

  [[nodiscard]] const View<float>& view() const { return view_; }
  [[nodiscard]] View<const float> read() const { return view_; }
  [[nodiscard]] const Shape& shape() const { return view_.shape; }
  /// All of it, gaps included.
  [[nodiscard]] std::span<float> span() const { return memory_.span(); }
  [[nodiscard]] Tensor values() const {
    Tensor t(shape());
    const View<float> to = t.view<float>();
    visit([&](index_t n, index_t c, index_t h, index_t w, const float& x) {
      if (c < shape().c) to.at(n, c, h, w) = x;
    });
    return t;
  }
  /// Nothing but elements (of whole blocks) was written. Costs a copy of the memory's size.
  [[nodiscard]] bool intact() const {
    std::vector<bool> inside(static_cast<std::size_t>(memory_.size()));
    visit([&](index_t, index_t, index_t, index_t, const float& x) {
      inside[static_cast<std::size_t>(&x - memory_.data())] = true;
    });
    for (index_t i = 0; i < memory_.size(); ++i) {
      const auto* at = reinterpret_cast<const std::byte*>(memory_.data() + i);
      if (!inside[static_cast<std::size_t>(i)] && !Edge::untouched(at, at + sizeof(float))) return false;
    }
    return memory_.intact();
  }

 private:
  struct Layout {
    View<float> view;
    index_t floats;
  };
  static Layout layout(const Shape& s, index_t block, index_t gap) {
    View<float> v(nullptr, s, block);
    const index_t blocks = (s.c + block - 1) / block;
    if (gap > 0) {
      if (block == 1) v.sw = 1 + gap % 2;
      v.sh = s.w * v.sw + gap * block;
      v.sc = v.sh * s.h + gap * block;
      v.sn = v.sc * blocks + gap * block;
    }
    if (s.n == 0 || blocks == 0 || s.h == 0 || s.w == 0) return {v, 0};
    return {v, (s.n - 1) * v.sn + (blocks - 1) * v.sc + (s.h - 1) * v.sh + (s.w - 1) * v.sw + block};
  }
  Map(const Layout& layout, const Placement& at) : view_(layout.view), memory_(layout.floats, at) {
    view_.data = memory_.data();
  }
  /// f(n, c, h, w, element), c up to whole blocks.
  template <class F>
  void visit(const F& f) const {
    const Shape& s = view_.shape;
    const index_t channels = (s.c + view_.block - 1) / view_.block * view_.block;
    for (index_t n = 0; n < s.n; ++n)
      for (index_t c = 0; c < channels; ++c)
        for (index_t h = 0; h < s.h; ++h)
          for (index_t w = 0; w < s.w; ++w) f(n, c, h, w, view_.at(n, c, h, w));
  }

  View<float> view_;
  Edge memory_;
};

// ---- Numbers
// ---------------------------------------------------------------------------------------------------------

/// Whole numbers -4..4, whose sums of products are exact; real numbers of both signs; real numbers >= 0, which are the
/// hard case for long sums.
enum class Fill { integers, reals, positives };

Tensor random_tensor(const Shape& shape, Fill fill, std::uint64_t seed);
Tensor absolute(const Tensor& x);
bool same_bits(const Tensor& a, const Tensor& b);
/// Sum of products, in double.
double dot(const Tensor& a, const Tensor& b);

/// u (4 + 2 sqrt K), for the sum of the absolute values of K products.
inline double error_factor(index_t k) {
  return std::ldexp(1.0, -24) * (4 + 2 * std::sqrt(static_cast<double>(std::max<index_t>(k, 1))));
}

/// What a result should be (f64), and how far it may be off: factor * scale element by element; exact without a scale.
struct Want {
  Tensor value, scale;
  double factor = 0;
};

/// How many elements are wrong; NaN is always wrong.
index_t mismatches(const Tensor& got, const Want& want);

/// Looser rule for Winograd's F(4x4): relative error in the L2 norm <= 1e-5 and everywhere <= 5e-5 of the largest
/// value.
bool near_in_norm(const Tensor& got, const Tensor& want);

// ---- Convolutions
// ----------------------------------------------------------------------------------------------------

/// A row of the table with numbers and the answers of the reference kernels in double.
struct ConvProblem {
  ConvRow row;
  Tensor x, w, bias, dy;
  Want y, y_bias, dx, dw;

  ConvProblem(const ConvRow& row, Fill fill);
};

enum class Direction { forward, backward_x, backward_w };

/// What one variant made of a problem.
struct Outcome {
  std::string variant;
  Algorithm algorithm;
  Tensor result;
  bool intact;  ///< nothing but the result was written
};

/// Runs every variant that suits on blocked maps; none for rows with groups that are not depthwise.
std::vector<Outcome> run_variants(const Kernels& kernels, const ConvProblem& problem, Direction direction, int threads,
                                  const Placement& at);

}  // namespace slimneck::table
