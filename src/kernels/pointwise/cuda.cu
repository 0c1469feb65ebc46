// y = act(x), dx = dy act'(x), y = a + b, y = x.
//
// One function of two numbers per element. Dense views that are aligned go by in vectors of four, the others pixel by
// pixel.
#include "kernels/cuda/activation.hpp"
#include "kernels/cuda/kernels.hpp"

namespace slimneck::kernels::cuda {

namespace {

constexpr int vector = 4;

struct Forward {
  DeviceActivation act;
  __device__ __forceinline__ float operator()(float x, float /*unused*/) const { return act_value(act, x); }
};

struct Backward {
  DeviceActivation act;
  __device__ __forceinline__ float operator()(float x, float dy) const { return dy * act_slope(act, x); }
};

struct Sum {
  __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};

struct Same {
  __device__ __forceinline__ float operator()(float x, float /*unused*/) const { return x; }
};

/// One pixel per thread; b.data is null where there is no second operand.
template <class F>
__global__ void by_pixels(F f, Map<const float> a, Map<const float> b, Map<float> y, Write write) {
  const Pixel p = pixel_of(y);
  if (!p.inside) return;
  const float second = b.data ? b(p.n, p.c, p.h, p.w) : 0.F;
  put(y(p.n, p.c, p.h, p.w), f(a(p.n, p.c, p.h, p.w), second), write);
}

__global__ void zeros(Map<float> y) {
  const Pixel p = pixel_of(y);
  if (p.inside) y(p.n, p.c, p.h, p.w) = 0;
}

/// Four numbers per thread; the last threads take what no vector is left for.
template <class F>
__global__ void by_vectors(F f, const float* a, const float* b, float* y, index_t count, Write write) {
  const index_t first = flat_index() * vector;
  if (first + vector > count) {
    for (index_t i = first; i < count; ++i) put(y[i], f(a[i], b ? b[i] : 0.F), write);
    return;
  }
  const float4 left = *reinterpret_cast<const float4*>(a + first);
  float4 right{}, result{};
  if (b) right = *reinterpret_cast<const float4*>(b + first);
  if (write == Write::add) result = *reinterpret_cast<const float4*>(y + first);
  put(result.x, f(left.x, right.x), write);
  put(result.y, f(left.y, right.y), write);
  put(result.z, f(left.z, right.z), write);
  put(result.w, f(left.w, right.w), write);
  *reinterpret_cast<float4*>(y + first) = result;
}

bool suits_vectors(const View<const float>& v) {
  const Shape& s = v.shape;
  return v.sw == 1 && v.sh == s.w && v.sc == s.h * s.w && v.sn == s.c * v.sc &&
         reinterpret_cast<std::uintptr_t>(v.data) % sizeof(float4) == 0;
}

template <class F>
void run(Stream& stream, const char* name, const F& f, const View<const float>& a, const View<const float>& b,
         const View<float>& y, Write write) noexcept {
  if (is_empty(y.shape)) return;
  if (suits_vectors(a) && suits_vectors(y) && (!b.data || suits_vectors(b))) {
    const index_t count = y.shape.n * y.sn;
    return launch(stream, name, by_vectors<F>, flat_grid((count + vector - 1) / vector), f, a.data, b.data, y.data,
                  count, write);
  }
  launch(stream, name, by_pixels<F>, pixel_grid(y.shape), f, map_of(a), map_of(b), map_of(y), write);
}

}  // namespace

void act_fwd(Stream& stream, View<const float> x, View<float> y, const Activation& act, Write write) noexcept {
  run(stream, "act_fwd", Forward{device_activation(act)}, x, {}, y, write);
}

void act_bwd(Stream& stream, View<const float> x, View<const float> dy, View<float> dx, const Activation& act,
             Write write) noexcept {
  run(stream, "act_bwd", Backward{device_activation(act)}, x, dy, dx, write);
}

void add(Stream& stream, View<const float> a, View<const float> b, View<float> y, Write write) noexcept {
  run(stream, "add", Sum{}, a, b, y, write);
}

void copy(Stream& stream, View<const float> x, View<float> y, Write write) noexcept {
  run(stream, "copy", Same{}, x, {}, y, write);
}

void fill_zero(Stream& stream, View<float> y) noexcept {
  if (!is_empty(y.shape)) launch(stream, "fill_zero", zeros, pixel_grid(y.shape), map_of(y));
}

}  // namespace slimneck::kernels::cuda
