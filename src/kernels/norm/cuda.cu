// Batch normalisation with an activation, per channel over the N = n h w elements, and sums over the same elements:
//
//   mean = sum x / N,  var = sum (x - mean)^2 / N,  q = 1/sqrt(var + eps)
//   u = gamma q (x - mean) + beta,  y = act(u)
//   g = dy act'(u),  dbeta = sum g,  dgamma = q sum g (x - mean)
//   dx = gamma q (g - [dbeta + q (x - mean) dgamma] / N), brackets only with batch statistics
//
// Sums have two stages. A part is a piece of one channel of one image: a block sums it. Then a block for each channel
// adds the parts in double. The variance of a part is taken about its own mean, and moved to that of all.
#include "kernels/cuda/fused.hpp"

namespace slimneck::kernels::cuda {

namespace {

constexpr int piece_pixels = 4096;

index_t pieces_of(const Shape& s) { return (s.h * s.w + piece_pixels - 1) / piece_pixels; }

/// A block for each part; parts of a channel follow each other, images in order.
Grid part_grid(const Shape& s) { return {{static_cast<unsigned>(s.n * s.c * pieces_of(s))}, {threads_for(s.h * s.w)}}; }

/// Parts of maps of this shape in a workspace.
template <int numbers>
Parts<numbers> parts_of(const Shape& s, float* workspace) {
  return {workspace, static_cast<int>(s.n * pieces_of(s))};
}

/// Pixels [first, last) of channel c of image n.
struct Part {
  int c, number, n, first, last;

  [[nodiscard]] __device__ __forceinline__ int count() const { return last - first; }
};

__device__ __forceinline__ Part part_of_block(const Map<const float>& x) {
  const int pieces = (x.h * x.w + piece_pixels - 1) / piece_pixels, parts = x.n * pieces;
  const int c = block_x() / parts, number = block_x() - c * parts, n = number / pieces;
  const int first = (number - n * pieces) * piece_pixels;
  return {c, number, n, first, min(x.h * x.w, first + piece_pixels)};
}

/// f(h, w) for the pixels of this thread.
template <class F>
__device__ __forceinline__ void for_each_pixel(const Part& part, int width, const F& f) {
  for (int i = part.first + thread_x(); i < part.last; i += threads_x()) f(i / width, i % width);
}

// ---- Sums

/// A block for each channel, whose threads share its parts.
Grid merging_grid(int channels, int parts) { return {{static_cast<unsigned>(channels)}, {threads_for(parts + 1)}}; }

/// Sums over the parts of the channel of this block, for all threads: of what f makes of a part.
template <int count, int numbers, class F>
__device__ __forceinline__ void sum_parts_of(const Parts<numbers>& parts, double (&sums)[count], const F& f) {
  auto& shared_sums = shared<SumsOfWarps<count, double>>();
  for (int i = thread_x(); i < parts.count; i += threads_x()) f(parts.of(block_x(), i));
  sum_over_block(sums, shared_sums);
}

__global__ void sum_parts(Map<const float> x, Parts<1> parts) {
  auto& shared_sums = shared<SumsOfWarps<1>>();
  const Part part = part_of_block(x);
  float sum[1] = {};
  for_each_pixel(part, x.w, [&](int h, int w) { sum[0] += x(part.n, part.c, h, w); });
  sum_over_block(sum, shared_sums);
  if (thread_x() == 0) *parts.of(part.c, part.number) = sum[0];
}

__global__ void finish_sums(Parts<1> parts, Vector<float> y, Write write) {
  double sum[1] = {};
  sum_parts_of(parts, sum, [&](const float* part) { sum[0] += static_cast<double>(*part); });
  if (thread_x() == 0) put(y(block_x()), static_cast<float>(sum[0]), write);
}

// ---- Statistics

__global__ void moments_of_parts(Map<const float> x, Moments parts) {
  auto& shared_sums = shared<SumsOfWarps<1>>();
  const Part part = part_of_block(x);
  float sum[1] = {}, squares[1] = {};
  for_each_pixel(part, x.w, [&](int h, int w) { sum[0] += x(part.n, part.c, h, w); });
  sum_over_block(sum, shared_sums);
  const float count = static_cast<float>(part.count()), mean = sum[0] / count;
  for_each_pixel(part, x.w, [&](int h, int w) {
    const float difference = x(part.n, part.c, h, w) - mean;
    squares[0] += difference * difference;
  });
  sum_over_block(squares, shared_sums);
  if (thread_x() == 0) set_moments(parts, part.c, part.number, count, mean, squares[0]);
}

__global__ void finish_moments(Moments parts, Vector<float> mean, Vector<float> var) {
  double sums[2] = {}, squares[1] = {};
  sum_parts_of(parts, sums, [&](const float* part) {
    const double count = static_cast<double>(part[0]);
    sums[0] += count;
    sums[1] += count * static_cast<double>(part[1]);
  });
  const double count = sums[0], of_all = count > 0 ? sums[1] / count : 0;
  sum_parts_of(parts, squares, [&](const float* part) {
    const double difference = static_cast<double>(part[1]) - of_all;
    squares[0] += static_cast<double>(part[2]) + static_cast<double>(part[0]) * difference * difference;
  });
  if (thread_x() > 0) return;
  mean(block_x()) = static_cast<float>(of_all);
  var(block_x()) = count > 0 ? static_cast<float>(squares[0] / count) : 0.F;
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

__global__ void fold(DeviceNorm norm, Vector<float> scale, Vector<float> bias) {
  const int c = static_cast<int>(flat_index());
  if (c >= scale.count) return;
  const Channel channel = channel_of(norm, c);
  scale(c) = channel.scale;
  bias(c) = channel.beta - channel.mean * channel.scale;
}

__global__ void apply(Map<const float> x, DeviceNorm norm, DeviceActivation act, PlacedMap<float> y, Write write) {
  const Pixel p = pixel_of(y);
  if (!p.inside) return;
  put(y(p.n, p.c, p.h, p.w), act_value(act, channel_of(norm, p.c).norm(x(p.n, p.c, p.h, p.w))), write);
}

/// Sums of g and of g (x - mean).
__global__ void gradient_sums(PlacedMap<const float> dy, Map<const float> x, DeviceNorm norm, DeviceActivation act,
                              Parts<2> parts) {
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
  if (thread_x() > 0) return;
  float* to = parts.of(part.c, part.number);
  to[0] = sums[0];
  to[1] = sums[1];
}

/// Gradients of the vectors, and the terms of dx.
__global__ void finish_gradient(Parts<2> parts, double count, DeviceNorm norm, Vector<float> terms,
                                Vector<float> dgamma, Vector<float> dbeta, bool batch_stats, Write write) {
  double sums[2] = {};
  sum_parts_of(parts, sums, [&](const float* part) {
    sums[0] += static_cast<double>(part[0]);
    sums[1] += static_cast<double>(part[1]);
  });
  if (thread_x() > 0) return;
  const int c = block_x();
  const Channel channel = channel_of(norm, c);
  const double q = static_cast<double>(channel.q);
  const double share = batch_stats && count > 0 ? static_cast<double>(channel.scale) / count : 0;
  if (dgamma.data) put(dgamma(c), static_cast<float>(q * sums[1]), write);
  if (dbeta.data) put(dbeta(c), static_cast<float>(sums[0]), write);
  terms(2 * c) = static_cast<float>(-share * q * q * sums[1]);
  terms(2 * c + 1) = static_cast<float>(-share * sums[0]);
}

__global__ void apply_gradient(PlacedMap<const float> dy, Map<const float> x, DeviceNorm norm, DeviceActivation act,
                               Vector<const float> terms, Map<float> dx, Write write) {
  const Pixel p = pixel_of(dx);
  if (!p.inside) return;
  const Channel channel = channel_of(norm, p.c);
  const float value = x(p.n, p.c, p.h, p.w), g = dy(p.n, p.c, p.h, p.w) * act_slope(act, channel.norm(value));
  put(dx(p.n, p.c, p.h, p.w), norm_gradient(channel, gradient_terms(terms, p.c), g, value), write);
}

}  // namespace

index_t norm_workspace(const Shape& x) noexcept {
  const index_t parts = x.n * pieces_of(x), gradient = 2 + Parts<2>::numbers * parts;
  const index_t statistics = Moments::numbers * parts;
  return x.c * (gradient > statistics ? gradient : statistics);
}

void channel_sum(Stream& stream, View<const float> x, View<float> y, float* workspace, Write write) noexcept {
  constexpr auto name = "channel_sum";
  if (y.shape.c == 0) return;
  const Parts<1> parts = parts_of<1>(x.shape, workspace);
  if (!is_empty(x.shape)) launch(stream, name, sum_parts, part_grid(x.shape), map_of(x), parts);
  launch(stream, name, finish_sums, merging_grid(static_cast<int>(x.shape.c), parts.count), parts, vector_of(y), write);
}

void merge_moments(Stream& stream, const char* name, const Moments& moments, View<float> mean,
                   View<float> var) noexcept {
  if (mean.shape.c == 0) return;
  launch(stream, name, finish_moments, merging_grid(static_cast<int>(mean.shape.c), moments.count), moments,
         vector_of(mean), vector_of(var));
}

void bn_stats(Stream& stream, View<const float> x, View<float> mean, View<float> var, float* workspace) noexcept {
  constexpr auto name = "bn_stats";
  const Moments parts = parts_of<Moments::numbers>(x.shape, workspace);
  if (!is_empty(x.shape)) launch(stream, name, moments_of_parts, part_grid(x.shape), map_of(x), parts);
  merge_moments(stream, name, parts, mean, var);
}

void norm_apply(Stream& stream, const char* name, View<const float> x, const DeviceNorm& norm, const Activation& act,
                const Half<float>& y) noexcept {
  if (is_empty(x.shape)) return;
  launch(stream, name, apply, pixel_grid(x.shape), map_of(x), norm, device_activation(act), placed_map_of(y),
         Write::set);
}

void bn_apply(Stream& stream, View<const float> x, const fast::Norm& norm, View<float> y, double eps,
              const Activation& act, Write write) noexcept {
  if (is_empty(y.shape)) return;
  launch(stream, "bn_apply", apply, pixel_grid(y.shape), map_of(x), device_norm(norm, eps), device_activation(act),
         placed_map_of(y), write);
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

int norm_gradient_parts(const Shape& x) noexcept { return parts_of<2>(x, nullptr).count; }

void norm_gradient_sums(Stream& stream, const char* name, const PlacedMap<const float>& dy, View<const float> x,
                        const DeviceNorm& norm, const Activation& act, const Parts<2>& sums) noexcept {
  if (is_empty(x.shape)) return;
  launch(stream, name, gradient_sums, part_grid(x.shape), dy, map_of(x), norm, device_activation(act), sums);
}

void finish_norm_gradient(Stream& stream, const char* name, const Parts<2>& sums, index_t count, const DeviceNorm& norm,
                          Vector<float> terms, View<float> dgamma, View<float> dbeta, bool batch_stats,
                          Write write) noexcept {
  launch(stream, name, finish_gradient, merging_grid(terms.count / 2, sums.count), sums, static_cast<double>(count),
         norm, terms, vector_of(dgamma), vector_of(dbeta), batch_stats, write);
}

void norm_apply_gradient(Stream& stream, const char* name, const PlacedMap<const float>& dy, View<const float> x,
                         const DeviceNorm& norm, const Activation& act, Vector<const float> terms, View<float> dx,
                         Write write) noexcept {
  if (is_empty(x.shape)) return;
  launch(stream, name, apply_gradient, pixel_grid(x.shape), dy, map_of(x), norm, device_activation(act), terms,
         map_of(dx), write);
}

void bn_bwd(Stream& stream, View<const float> dy, View<const float> x, const fast::Norm& norm, View<float> dx,
            View<float> dgamma, View<float> dbeta, double eps, const Activation& act, bool batch_stats,
            float* workspace, Write write) noexcept {
  constexpr auto name = "bn_bwd";
  if (x.shape.c == 0) return;
  const DeviceNorm n = device_norm(norm, eps);
  const Vector<float> terms = vector_of(workspace, 2 * x.shape.c);
  const Parts<2> parts = parts_of<2>(x.shape, workspace + terms.count);
  norm_gradient_sums(stream, name, placed_map_of(dy), x, n, act, parts);
  finish_norm_gradient(stream, name, parts, x.shape.n * x.shape.h * x.shape.w, n, terms, dgamma, dbeta, batch_stats,
                       write);
  if (dx.data) norm_apply_gradient(stream, name, placed_map_of(dy), x, n, act, readable(terms), dx, write);
}

void bn_fold(Stream& stream, const fast::Norm& norm, View<float> scale, View<float> bias, double eps) noexcept {
  if (scale.shape.c == 0) return;
  launch(stream, "bn_fold", fold, flat_grid(scale.shape.c), device_norm(norm, eps), vector_of(scale), vector_of(bias));
}

}  // namespace slimneck::kernels::cuda
