#include "kernels/plain/parts.hpp"

#include <algorithm>

namespace slimneck::kernels::plain {

Machine::Machine(const Exec& exec) {
  if (exec.device != Device::cpu) throw DeviceError("fast kernels run on the cpu only");
  kernels = kernels_of(resolve(exec.isa));
  lanes = kernels->lanes;
  threads = exec.threads > 0 ? exec.threads : core::max_threads();
}

void fail(std::string_view name, const std::string& what) { throw ShapeError(std::string(name) + ": " + what); }

View<float> Workspace::map(const Shape& shape, index_t lanes) {
  const index_t floats = checked_multiply(shape.numel(), lanes);  // at most: one channel takes a whole block
  static_cast<void>(checked_multiply(floats, sizeof(float)));
  View<float> v(nullptr, shape, lanes);
  v.data = take(shape.n * v.sn);
  return v;
}

void Workspace::check(std::string_view name) const {
  if (taken() > size_)
    fail(name, "the workspace has " + std::to_string(size_) + " floats, wanted " + std::to_string(taken()));
}

void check_view(std::string_view name, std::string_view what, const View<const float>& view, const Shape& shape) {
  if (view.shape != shape)
    fail(name, std::string(what) + " is " + to_string(view.shape) + ", wanted " + to_string(shape));
  if (view.block != 1) fail(name, std::string(what) + " is blocked, wanted a plain view");
  if (!view.data && shape.numel() > 0) fail(name, std::string(what) + " has no data");
}

void check_optional(std::string_view name, std::string_view what, const View<const float>& view, const Shape& shape) {
  if (view.data) check_view(name, what, view, shape);
}

namespace {

constexpr index_t widest = 16;  // lanes

/// Channels [0, count) of a block at distance `step`, as kernels want to be told; -1 up to `length`.
struct List {
  index_t channel[widest];
  List(index_t first, index_t count, index_t length, index_t step) {
    for (index_t i = 0; i < length; ++i) channel[i] = i < count ? first + i * step : -1;
  }
};

/// For pixels that lie side by side: by the kernel of channel gathers, block by block.
void to_blocked_side_by_side(const Machine& machine, const View<const float>& from, const View<float>& to,
                             const Place& place) noexcept {
  const index_t v = to.block;
  GatherArgs a;
  a.n = to.shape.n;
  a.channels = v;
  a.h = to.shape.h;
  a.w = to.shape.w;
  lay_x(from, a);
  lay_y(to, a);
  a.y_block = v;
  for (index_t b = 0; b < blocks_of(to); ++b, a.y += to.sc) {
    index_t list[widest];
    for (index_t i = 0; i < v; ++i) list[i] = b * v + i < to.shape.c ? place(b * v + i) : -1;
    a.list = list;
    machine.kernels->gather_channels(a);
  }
}

/// Channels whose places lie at one distance are written by one call: all of a block, or its even and its odd ones.
void from_blocked_side_by_side(const Machine& machine, const View<const float>& from, const View<float>& to,
                               const Place& place) noexcept {
  const index_t v = from.block, strides = place.deinterleave ? 2 : 1;
  GatherArgs a;
  a.n = from.shape.n;
  a.h = from.shape.h;
  a.w = from.shape.w;
  lay_x(from, a);
  a.x_block = v;
  for (index_t b = 0; b < blocks_of(from); ++b, a.x += from.sc)
    for (index_t k = 0; k < strides && b * v + k < from.shape.c; ++k) {
      const index_t first = b * v + k, last = std::min(from.shape.c, (b + 1) * v);
      a.channels = (last - first + strides - 1) / strides;
      const List list(k, a.channels, a.channels, strides);
      a.list = list.channel;
      lay_y(to, a);
      a.y += to.sc * place(first);
      if (a.channels > 1) a.yb *= place(first + strides) - place(first);
      machine.kernels->gather_channels(a);
    }
}

}  // namespace

void to_blocked(const Machine& machine, View<const float> from, View<float> to, const Place& place) noexcept {
  const index_t v = to.block, blocks = blocks_of(to);
  if (from.sw == 1 && v == machine.lanes) return to_blocked_side_by_side(machine, from, to, place);
#pragma omp parallel for collapse(3) schedule(static)
  for (index_t n = 0; n < to.shape.n; ++n)
    for (index_t b = 0; b < blocks; ++b)
      for (index_t h = 0; h < to.shape.h; ++h) {
        float* row = to.data + n * to.sn + b * to.sc + h * to.sh;
        for (index_t i = 0; i < v; ++i) {
          const index_t c = b * v + i;
          const float* x = c < to.shape.c ? from.data + from.offset(n, place(c), h, 0) : nullptr;
          for (index_t w = 0; w < to.shape.w; ++w) row[w * v + i] = x ? x[w * from.sw] : 0;
        }
      }
}

void from_blocked(const Machine& machine, View<const float> from, View<const float> residual, View<float> to,
                  Write write, const Place& place) noexcept {
  if (to.sw == 1 && from.block == machine.lanes && !residual.data && write == Write::set)
    return from_blocked_side_by_side(machine, from, to, place);
#pragma omp parallel for collapse(3) schedule(static)
  for (index_t n = 0; n < from.shape.n; ++n)
    for (index_t c = 0; c < from.shape.c; ++c)
      for (index_t h = 0; h < from.shape.h; ++h) {
        const float* x = from.data + from.offset(n, c, h, 0);
        float* y = to.data + to.offset(n, place(c), h, 0);
        const float* r = residual.data ? residual.data + residual.offset(n, place(c), h, 0) : nullptr;
        for (index_t w = 0; w < from.shape.w; ++w) {
          float value = x[w * from.sw];
          if (r) value += r[w * residual.sw];
          y[w * to.sw] = write == Write::add ? y[w * to.sw] + value : value;
        }
      }
}

void to_dense(View<const float> from, float* to) noexcept { copy<float>(from, View<float>(to, from.shape)); }

void from_dense(const float* from, View<float> to, Write write) noexcept {
  const View<const float> dense(from, to.shape);
  if (write == Write::set)
    copy<float>(dense, to);
  else
    add<float>(dense, to, to);
}

const float* to_vector(View<const float> from, float* to, index_t count, float rest) noexcept {
  if (!from.data) return nullptr;
  for (index_t c = 0; c < count; ++c) to[c] = c < from.shape.c ? from.at(0, c, 0, 0) : rest;
  return to;
}

void from_vector(const float* from, View<float> to, Write write) noexcept {
  if (!to.data) return;
  for (index_t c = 0; c < to.shape.c; ++c) {
    float& y = to.at(0, c, 0, 0);
    y = write == Write::add ? y + from[c] : from[c];
  }
}

}  // namespace slimneck::kernels::plain
