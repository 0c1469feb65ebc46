#include "kernels/plain/parts.hpp"

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
  if (used_ > static_cast<index_t>(memory_.size()))
    fail(name, "the workspace has " + std::to_string(memory_.size()) + " floats, wanted " + std::to_string(used_));
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

void to_blocked(View<const float> from, View<float> to, const Place& place) noexcept {
  const index_t v = to.block, blocks = blocks_of(to);
#pragma omp parallel for collapse(3) schedule(static)
  for (index_t n = 0; n < to.shape.n; ++n)
    for (index_t b = 0; b < blocks; ++b)
      for (index_t h = 0; h < to.shape.h; ++h) {
        float* row = to.data + n * to.sn + b * to.sc + h * to.sh;
        for (index_t i = 0; i < v; ++i) {
          const index_t c = b * v + i;
          if (c < to.shape.c) {
            const float* x = from.data + from.offset(n, place(c), h, 0);
            for (index_t w = 0; w < to.shape.w; ++w) row[w * v + i] = x[w * from.sw];
          } else {
            for (index_t w = 0; w < to.shape.w; ++w) row[w * v + i] = 0;
          }
        }
      }
}

void from_blocked(View<const float> from, View<const float> residual, View<float> to, Write write,
                  const Place& place) noexcept {
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
  from_blocked(View<const float>(from, to.shape), {}, to, write);
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
