// What the fast kernels on plain views share: checks, the caller's workspace, and maps between plain and blocked
// memory.
#pragma once

#include <string>
#include <string_view>

#include "core/threads.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/lay.hpp"

namespace slimneck::kernels::plain {

/// The kernels that a call uses.
struct Machine {
  const Kernels* kernels;
  index_t lanes;
  int threads;

  /// Throws DeviceError.
  explicit Machine(const Exec& exec);
};

/// The caller's workspace in pieces.
class Workspace : public Pieces {
 public:
  Workspace() = default;
  explicit Workspace(std::span<float> memory) : Pieces(memory.data()), size_(static_cast<index_t>(memory.size())) {}

  /// A blocked map; throws ShapeError where the extents are negative or too large.
  [[nodiscard]] View<float> map(const Shape& shape, index_t lanes);
  /// Throws ShapeError where the pieces do not fit into the memory.
  void check(std::string_view name) const;

 private:
  index_t size_ = 0;
};

[[noreturn]] void fail(std::string_view name, const std::string& what);

/// Throws ShapeError unless the view has this shape, is plain and has memory.
void check_view(std::string_view name, std::string_view what, const View<const float>& view, const Shape& shape);

/// The same where the view may be left out.
void check_optional(std::string_view name, std::string_view what, const View<const float>& view, const Shape& shape);

inline Shape per_channel(index_t channels) { return {1, channels, 1, 1}; }

/// Blocks of a map.
inline index_t blocks_of(const View<const float>& v) { return kernels::blocks_of(v.shape.c, v.block); }

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

}  // namespace slimneck::kernels::plain
