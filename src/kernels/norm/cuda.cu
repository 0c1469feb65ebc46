// Batch normalisation with an activation, per channel over the N = n h w elements, and sums over the same elements:
//
//   mean = sum x / N,  var = sum (x - mean)^2 / N,  q = 1/sqrt(var + eps)
//   u = gamma q (x - mean) + beta,  y = act(u)
//   g = dy act'(u),  dbeta = sum g,  dgamma = q sum g (x - mean)
//   dx = gamma q (g - [dbeta + q (x - mean) dgamma] / N), brackets only with batch statistics
//
// Sums have two stages. A part is a piece of one channel of one image: a block sums it. Then a thread for each channel
// adds the parts in order, in double. The variance of a part is taken about its own mean, and parts are merged by
// Chan's formula.
#include "kernels/cuda/activation.hpp"
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/reduce.hpp"

namespace slimneck::kernels::cuda {

namespace {

constexpr int piece_pixels = 4096, numbers_of_part = 2;

index_t pieces_of(const Shape& s) { return (s.h * s.w + piece_pixels - 1) / piece_pixels; }

/// A block for each part; parts of a channel follow each other, images in order.
Grid part_grid(const Shape& s) { return {{static_cast<unsigned>(s.n * s.c * pieces_of(s))}, {threads_for(s.h * s.w)}}; }

/// Pixels [first, last) of channel c of image n.
struct Part {
  int n, c, first, last;

  [[nodiscard]] __device__ __forceinline__ int count() const { return last - first; }
};

__device__ __forceinline__ int pieces_of(const Map<const float>& x) {
  return (x.h * x.w + piece_pixels - 1) / piece_pixels;
}

/// Part `number` of channel c, 0 ... n * pieces - 1.
__device__ __forceinline__ Part part_of(const Map<const float>& x, int c, int number) {
  const int pieces = pieces_of(x), n = number / pieces, first = (number - n * pieces) * piece_pixels;
  return {n, c, first, min(x.h * x.w, first + piece_pixels)};
}

__device__ __forceinline__ Part part_of_block(const Map<const float>& x) {
  const int parts = x.n * pieces_of(x), c = block_x() / parts;
  return part_of(x, c, block_x() - c * parts);
}

/// f(h, w) for the pixels of this thread.
template <class F>
__device__ __forceinline__ void for_each_pixel(const Part& part, int width, const F& f) {
  for (int i = part.first + thread_x(); i < part.last; i += threads_x()) f(i / width, i % width);
}

/// Two numbers of each part.
struct PartSums {
  float* data;

  __device__ __forceinline__ void set(float a, float b) const {
    if (thread_x() > 0) return;
    data[block_x() * numbers_of_part] = a;
    data[block_x() * numbers_of_part + 1] = b;
  }
  [[nodiscard]] __device__ __forceinline__ const float* of(int c, int parts) const {
    return data + static_cast<index_t>(c) * parts * numbers_of_part;
  }
};

// ---- Sums

__global__ void sum_parts(Map<const float> x, PartSums parts) {
  auto& shared_sums = shared<SumsOfWarps<1>>();
  const Part part = part_of_block(x);
  float sum[1] = {};
  for_each_pixel(part, x.w, [&](int h, int w) { sum[0] += x(part.n, part.c, h, w); });
  sum_over_block(sum, shared_sums);
  parts.set(sum[0], 0);
}

__global__ void finish_sums(Map<const float> x, PartSums parts, Vector<float> y, Write write) {
  const int c = static_cast<int>(flat_index()), count = x.n * pieces_of(x);
  if (c >= x.c) return;
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += static_cast<double>(parts.of(c, count)[i * numbers_of_part]);
  put(y(c), static_cast<float>(sum), write);
}

// ---- Statistics

__global__ void moments_of_parts(Map<const float> x, PartSums parts) {
  auto& shared_sums = shared<SumsOfWarps<1>>();
  const Part part = part_of_block(x);
  float sum[1] = {}, squares[1] = {};
  for_each_pixel(part, x.w, [&](int h, int w) { sum[0] += x(part.n, part.c, h, w); });
  sum_over_block(sum, shared_sums);
  const float mean = sum[0] / static_cast<float>(part.count());
  for_each_pixel(part, x.w, [&](int h, int w) {
    const float difference = x(part.n, part.c, h, w) - mean;
    squares[0] += difference * difference;
  });
  sum_over_block(squares, shared_sums);
  parts.set(mean, squares[0]);
}

__global__ void finish_moments(Map<const float> x, PartSums parts, Vector<float> mean, Vector<float> var) {
  const int c = static_cast<int>(flat_index()), number = x.n * pieces_of(x);
  if (c >= x.c) return;
  double count = 0, m = 0, squares = 0;
  for (int i = 0; i < number; ++i) {
    const float* part = parts.of(c, number) + i * numbers_of_part;
    const double more = part_of(x, c, i).count(), all = count + more;
    const double difference = static_cast<double>(part[0]) - m;
    m += difference * (more / all);
    squares += static_cast<double>(part[1]) + difference * difference * (count * more / all);
    count = all;
  }
  mean(c) = static_cast<float>(m);
  var(c) = count > 0 ? static_cast<float>(squares / count) : 0.F;
}

__global__ void update_running(Vector<const float> mean, Vector<const float> var, float momentum, float keep,
                               float unbiased, Vector<const float> mean_in, Vector<const float> var_in,
                               Vector<const float> tracked_in, Vector<float> mean_out, Vector<float> var_out,
                               Vector<float> tracked_out) {
  const int c = static_cast<int>(flat_index());
  if (c == 0) tracked_out(0) = tracked_in(0) + 1.F;
  if (c >= mean.count) return;
  mean_out(c) = keep * mean_in(c) + momentum * mean(c);
  var_out(c) = keep * var_in(c) + momentum * unbiased * var(c);
}

// ---- Application and gradient

struct DeviceNorm {
  Vector<const float> gamma, beta, mean, var;
  float eps;
};

DeviceNorm device_norm(const fast::Norm& norm, double eps) {
  return {vector_of(norm.gamma), vector_of(norm.beta), vector_of(norm.mean), vector_of(norm.var),
          static_cast<float>(eps)};
}

/// What one channel is made of.
struct Channel {
  float mean, q, scale, beta;

  [[nodiscard]] __device__ __forceinline__ float norm(float x) const { return scale * (x - mean) + beta; }
};

__device__ __forceinline__ Channel channel_of(const DeviceNorm& norm, int c) {
  const float q = 1.F / sqrtf(norm.var(c) + norm.eps);
  return {norm.mean(c), q, norm.gamma.data ? norm.gamma(c) * q : q, norm.beta.data ? norm.beta(c) : 0.F};
}

__global__ void apply(Map<const float> x, DeviceNorm norm, DeviceActivation act, Map<float> y, Write write) {
  const Pixel p = pixel_of(y);
  if (!p.inside) return;
  put(y(p.n, p.c, p.h, p.w), act_value(act, channel_of(norm, p.c).norm(x(p.n, p.c, p.h, p.w))), write);
}

/// Sums of g and of g (x - mean).
__global__ void gradient_sums(Map<const float> dy, Map<const float> x, DeviceNorm norm, DeviceActivation act,
                              PartSums parts) {
  auto& shared_sums = shared<SumsOfWarps<2>>();
  const Part part = part_of_block(x);
  const Channel channel = channel_of(norm, part.c);
  float sums[2] = {};
  for_each_pixel(part, x.w, [&](int h, int w) {
    const float value = x(part.n, part.c, h, w);
    const float g = dy(part.n, part.c, h, w) * act_slope(act, channel.norm(value));
    sums[0] += g;
    sums[1] += g * (value - channel.mean);
  });
  sum_over_block(sums, shared_sums);
  parts.set(sums[0], sums[1]);
}

/// Gradients of the vectors, and the terms of dx = scale g + (x - mean) linear + constant.
__global__ void finish_gradient(Map<const float> x, DeviceNorm norm, PartSums parts, Vector<float> terms,
                                Vector<float> dgamma, Vector<float> dbeta, bool batch_stats, Write write) {
  const int c = static_cast<int>(flat_index()), number = x.n * pieces_of(x);
  if (c >= x.c) return;
  double sum = 0, moment = 0;
  for (int i = 0; i < number; ++i) {
    sum += static_cast<double>(parts.of(c, number)[i * numbers_of_part]);
    moment += static_cast<double>(parts.of(c, number)[i * numbers_of_part + 1]);
  }
  const Channel channel = channel_of(norm, c);
  const double q = static_cast<double>(channel.q), count = static_cast<double>(x.n) * x.h * x.w;
  const double share = batch_stats ? static_cast<double>(channel.scale) / count : 0;
  if (dgamma.data) put(dgamma(c), static_cast<float>(q * moment), write);
  if (dbeta.data) put(dbeta(c), static_cast<float>(sum), write);
  terms(2 * c) = static_cast<float>(-share * q * q * moment);
  terms(2 * c + 1) = static_cast<float>(-share * sum);
}

__global__ void apply_gradient(Map<const float> dy, Map<const float> x, DeviceNorm norm, DeviceActivation act,
                               Vector<const float> terms, Map<float> dx, Write write) {
  const Pixel p = pixel_of(dx);
  if (!p.inside) return;
  const Channel channel = channel_of(norm, p.c);
  const float value = x(p.n, p.c, p.h, p.w), g = dy(p.n, p.c, p.h, p.w) * act_slope(act, channel.norm(value));
  put(dx(p.n, p.c, p.h, p.w), channel.scale * g + (value - channel.mean) * terms(2 * p.c) + terms(2 * p.c + 1), write);
}

}  // namespace

index_t norm_workspace(const Shape& x) noexcept { return numbers_of_part * x.c * (1 + x.n * pieces_of(x)); }

void channel_sum(Stream& stream, View<const float> x, View<float> y, float* workspace, Write write) noexcept {
  if (y.shape.c == 0) return;
  const Map<const float> map = map_of(x);
  if (!is_empty(x.shape)) launch(stream, "channel_sum", sum_parts, part_grid(x.shape), map, PartSums{workspace});
  launch(stream, "channel_sum", finish_sums, flat_grid(x.shape.c), map, PartSums{workspace}, vector_of(y), write);
}

void bn_stats(Stream& stream, View<const float> x, View<float> mean, View<float> var, float* workspace) noexcept {
  if (x.shape.c == 0) return;
  const Map<const float> map = map_of(x);
  if (!is_empty(x.shape)) launch(stream, "bn_stats", moments_of_parts, part_grid(x.shape), map, PartSums{workspace});
  launch(stream, "bn_stats", finish_moments, flat_grid(x.shape.c), map, PartSums{workspace}, vector_of(mean),
         vector_of(var));
}

void bn_apply(Stream& stream, View<const float> x, const fast::Norm& norm, View<float> y, double eps,
              const Activation& act, Write write) noexcept {
  if (is_empty(y.shape)) return;
  launch(stream, "bn_apply", apply, pixel_grid(y.shape), map_of(x), device_norm(norm, eps), device_activation(act),
         map_of(y), write);
}

void bn_running(Stream& stream, View<const float> mean, View<const float> var, index_t count, double momentum,
                View<const float> mean_in, View<const float> var_in, View<const float> tracked_in, View<float> mean_out,
                View<float> var_out, View<float> tracked_out) noexcept {
  // One element has no unbiased variance; its var is 0, and stays 0 with the divisor held at 1.
  const double unbiased = static_cast<double>(count) / static_cast<double>(count > 1 ? count - 1 : 1);
  launch(stream, "bn_running", update_running, flat_grid(mean.shape.c + 1), vector_of(mean), vector_of(var), momentum,
         1 - momentum, unbiased, vector_of(mean_in), vector_of(var_in), vector_of(tracked_in), vector_of(mean_out),
         vector_of(var_out), vector_of(tracked_out));
}

void bn_bwd(Stream& stream, View<const float> dy, View<const float> x, const fast::Norm& norm, View<float> dx,
            View<float> dgamma, View<float> dbeta, double eps, const Activation& act, bool batch_stats,
            float* workspace, Write write) noexcept {
  if (x.shape.c == 0) return;
  const Map<const float> map = map_of(x), gradient = map_of(dy);
  const DeviceNorm n = device_norm(norm, eps);
  const DeviceActivation a = device_activation(act);
  const Vector<float> terms = vector_of(workspace, 2 * x.shape.c);
  const PartSums parts{workspace + terms.count};
  if (!is_empty(x.shape)) launch(stream, "bn_bwd", gradient_sums, part_grid(x.shape), gradient, map, n, a, parts);
  launch(stream, "bn_bwd", finish_gradient, flat_grid(x.shape.c), map, n, parts, terms, vector_of(dgamma),
         vector_of(dbeta), batch_stats, write);
  if (dx.data && !is_empty(x.shape))
    launch(stream, "bn_bwd", apply_gradient, pixel_grid(x.shape), gradient, map, n, a,
           Vector<const float>{terms.data, terms.count, 1}, map_of(dx), write);
}

}  // namespace slimneck::kernels::cuda
