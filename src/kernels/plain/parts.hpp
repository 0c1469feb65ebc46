// What the fast kernels on plain views share: checks, the caller's workspace, and maps between plain and blocked
// memory.
#pragma once

#include <string>
#include <string_view>

#include "core/threads.hpp"
#include "kernels/dispatch.hpp"

namespace slimneck::kernels::plain {

/// The kernels that a call uses.
struct Machine {
  const Kernels* kernels;
  index_t lanes;
  int threads;

  /// Throws DeviceError.
  explicit Machine(const Exec& exec);
};

/// Hands out pieces of a workspace, each a multiple of 64 bytes. Without memory it only counts, so that the size that
/// is asked for and the pieces that are used come from the same lines.
class Workspace {
 public:
  Workspace() = default;
  explicit Workspace(std::span<float> memory) : memory_(memory) {}

  [[nodiscard]] float* take(index_t floats) {
    const index_t first = used_;
    used_ += (floats + 15) / 16 * 16;
    return memory_.data() ? memory_.data() + first : nullptr;
  }
  /// A blocked map; throws ShapeError where the extents are negative or too large.
  [[nodiscard]] View<float> map(const Shape& shape, index_t lanes);
  [[nodiscard]] index_t used() const { return used_; }
  /// Throws ShapeError where the pieces do not fit into the memory.
  void check(std::string_view name) const;

 private:
  std::span<float> memory_;
  index_t used_ = 0;
};

[[noreturn]] void fail(std::string_view name, const std::string& what);

/// Throws ShapeError unless the view has this shape, is plain and has memory.
void check_view(std::string_view name, std::string_view what, const View<const float>& view, const Shape& shape);

/// The same where the view may be left out.
void check_optional(std::string_view name, std::string_view what, const View<const float>& view, const Shape& shape);

inline Shape per_channel(index_t channels) { return {1, channels, 1, 1}; }

/// Blocks of a map.
inline index_t blocks_of(const View<const float>& v) { return (v.shape.c + v.block - 1) / v.block; }

/// Where channel c of one piece goes among the channels of the whole.
struct Place {
  index_t first = 0, step = 1;
  /// De-interleaved: even channels first; total counts both kinds.
  bool deinterleave = false;
  index_t total = 0;

  [[nodiscard]] index_t operator()(index_t c) const noexcept {
    const index_t at = first + c * step;
    return deinterleave ? (at % 2 == 0 ? at / 2 : (total + at) / 2) : at;
  }
};

/// to = from, from plain to blocked: channel c of `to` is channel place(c) of `from`. Lanes past the last channel
/// become zero.
void to_blocked(const Machine& machine, View<const float> from, View<float> to, const Place& place = {}) noexcept;

/// to = from or to += from, from blocked to plain: channel c of `from` is channel place(c) of `to`; residual, where it
/// has data, lies as `to` and is added.
void from_blocked(const Machine& machine, View<const float> from, View<const float> residual, View<float> to,
                  Write write, const Place& place = {}) noexcept;

/// The numbers of a view in NCHW order without gaps.
void to_dense(View<const float> from, float* to) noexcept;

/// to = from or to += from, from NCHW order without gaps.
void from_dense(const float* from, View<float> to, Write write) noexcept;

/// Numbers per channel of a view, with `rest` after the last; null where the view has no data.
const float* to_vector(View<const float> from, float* to, index_t count, float rest = 0) noexcept;

/// The same back; a view without data is left out.
void from_vector(const float* from, View<float> to, Write write) noexcept;

/// The pointers and strides of a blocked map in an argument struct: set_map(a.x, a.xn, a.xb, a.xh, view).
template <class T, class Data>
void set_map(Data*& data, index_t& n, index_t& b, index_t& h, const View<T>& map) noexcept {
  data = map.data;
  n = map.sn;
  b = map.sc;
  h = map.sh;
}

/// The extent of a map in an argument struct.
template <class Args>
void set_extent(Args& a, const View<const float>& map) noexcept {
  a.n = map.shape.n;
  a.blocks = blocks_of(map);
  a.h = map.shape.h;
  a.w = map.shape.w;
}

}  // namespace slimneck::kernels::plain
