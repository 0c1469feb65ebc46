// GSConv:  z1 = conv(x, w1), a = act(norm1 z1), z2 = depthwise(a, w2), b = act(norm2 z2)
//
// Inference is two kernels, which write both halves where they belong. Training has three passes: the convolution,
// whose blocks leave the moments of z1; the depthwise one, which makes a of z1 while it loads its tiles, writes it, and
// leaves the moments of z2; b. Of each pixel, a is written by the thread that has it in the middle of a window.
//
// Backward, with g = dy act'(norm z): the sums of g2; then one pass that makes dz2 of db and z2 while it loads, and
// writes g1 = (da + depthwise^T dz2) act'(norm1 z1) and its sums; dw2 from dz2 and a, both made while loading; dz1 from
// g1 in place. Kernels that have no strips go through maps in memory.
#include "kernels/cuda/bands.hpp"
#include "kernels/cuda/finish.hpp"
#include "kernels/cuda/fused.hpp"

namespace slimneck::kernels::cuda {

namespace {

/// The second pass of training.
template <int kernel>
__global__ void __launch_bounds__(block_threads) activate_strips(Activated z1, Map<const float> w, StripTile tile,
                                                                 PlacedMap<float> a, Map<float> z2, Moments moments) {
  auto& s = shared<StripMemory<kernel, 1>>();
  const TilePlace at = tile_place(tile);
  const Seat seat = seat_of_thread(tile);
  const Outputs own = outputs_of(tile, at, seat, z2);
  const int rows = read_rows<kernel, 1>(tile), columns = read_columns<kernel, 1>(tile);
  begin_tile(z1, at.plane, tile.planes, at.row - kernel / 2, at.column - kernel / 2, rows, columns, s.x);
  load_taps<kernel>(w, at.plane, tile.planes, false, s.w);
  __syncthreads();

  float sums[strip] = {}, middles[strip];
  if (own.rows > 0) {
    const int first = (seat.plane * rows + seat.row) * columns + seat.column;
    strip_sums<kernel, 1>(s.x, first, columns, s.w, seat.plane * kernel * kernel, sums, middles);
#pragma unroll
    for (int o = 0; o < strip; ++o)
      if (o < own.rows) {
        a(own.n, own.c, own.h + o, own.w) = middles[o];
        z2(own.n, own.c, own.h + o, own.w) = sums[o];
      }
  }
  leave_moments(sums, tile, at, seat, own, z2, moments);
}

/// g1, and the sums of g1 and of g1 (z1 - mean1). da may be without data.
template <int kernel>
__global__ void __launch_bounds__(block_threads)
    backward_strips(NormGradient z2, Map<const float> w, StripTile tile, PlacedMap<const float> da, Map<const float> z1,
                    DeviceNorm norm1, Map<float> g1, Parts<2> parts) {
  auto& s = shared<StripMemory<kernel, 1>>();
  auto& plane_sums = shared<PlaneSums<2>>();
  const TilePlace at = tile_place(tile);
  const Seat seat = seat_of_thread(tile);
  const Outputs own = outputs_of(tile, at, seat, g1);
  const int rows = read_rows<kernel, 1>(tile), columns = read_columns<kernel, 1>(tile);
  begin_tile(z2, at.plane, tile.planes, at.row - kernel / 2, at.column - kernel / 2, rows, columns, s.x);
  load_taps<kernel>(w, at.plane, tile.planes, true, s.w);
  __syncthreads();

  float sums[2] = {};
  if (own.rows > 0) {
    float gradient[strip] = {}, middles[strip];
    const int first = (seat.plane * rows + seat.row) * columns + seat.column;
    strip_sums<kernel, 1>(s.x, first, columns, s.w, seat.plane * kernel * kernel, gradient, middles);
    const Channel channel = channel_of(norm1, own.c);
#pragma unroll
    for (int o = 0; o < strip; ++o)
      if (o < own.rows) {
        const float z = z1(own.n, own.c, own.h + o, own.w);
        if (da.data) gradient[o] += da(own.n, own.c, own.h + o, own.w);
        const float g = gradient[o] * act_slope(z2.act, channel.norm(z));
        g1(own.n, own.c, own.h + o, own.w) = g;
        sums[0] += g;
        sums[1] += g * (z - channel.mean);
      }
  }
  sum_over_planes(sums, tile, seat, plane_sums);
  if (seat.row > 0 || seat.column > 0 || own.rows == 0) return;
  float* to = parts.of(own.c, part_of_tile(tile, at, own.n));
  to[0] = sums[0];
  to[1] = sums[1];
}

/// dw2: dz2 and a are made while they are loaded.
template <int kernel>
__global__ void __launch_bounds__(block_threads)
    gradient_bands(Activated z1, NormGradient z2, StripTile tile, int bands, float* parts) {
  sum_band<kernel, 1>(z1, z2, Geometry{1, kernel / 2, kernel / 2, 1}, tile, bands, parts);
}

/// to += half.
__global__ void add_half(PlacedMap<const float> half, Map<float> to) {
  const Pixel p = pixel_of(to);
  if (p.inside) to(p.n, p.c, p.h, p.w) += half(p.n, p.c, p.h, p.w);
}

// ---- Host

/// The depthwise convolution keeps the extent.
Conv2d depthwise_geometry(const Shape& w2) {
  Conv2d g;
  g.pad_h = w2.h / 2;
  g.pad_w = w2.w / 2;
  g.groups = w2.n;
  return g;
}

/// f<kernel>() where there are strips for it.
template <class F>
bool with_strips(const Shape& w2, const F& f) {
  if (w2.h != w2.w) return false;
  if (w2.h == 3) return f.template operator()<3>(), true;
  if (w2.h == 5) return f.template operator()<5>(), true;
  return false;
}

template <int kernel>
StripTile tile_of(const Shape& z) {
  return strip_tile<kernel, 1>(static_cast<int>(z.n * z.c), static_cast<int>(z.h), static_cast<int>(z.w));
}

/// What the entries have of a workspace. The forward pass has room for its dense convolution behind it.
struct PairSpace {
  float* terms;      ///< two numbers for each channel
  float* partial;    ///< of dw2
  View<float> a, g;  ///< where a kernel has no strips
  float* sums;       ///< parts of both norms

  PairSpace(Pieces& pieces, const Shape& z, const Shape& w2) {
    terms = pieces.take(2 * z.c);
    partial = pieces.take(depthwise_workspace(w2, z));
    const int parts = depthwise_moments(w2, z, depthwise_geometry(w2));
    if (parts == 0 && !is_empty(z)) {
      a = pieces.map(z);
      g = pieces.map(z);
    }
    sums = pieces.take(larger(norm_workspace(z), z.c * Moments::numbers * parts));
  }
};

struct ForwardSpace {
  Moments first;  ///< of z1
  float* conv;

  ForwardSpace(Pieces& pieces, const Shape& x, const Shape& w1, const Conv2d& g) {
    const Shape z = convolved(x, w1, g);
    const int parts = conv2d_moments(w1, z, g);
    first = {pieces.take(z.c * Moments::numbers * parts), parts};
    conv = pieces.take(conv2d_workspace(x, w1, z, g));
  }
};

DeviceNorm norm_of(const fast::Norm& norm, const View<const float>& mean, const View<const float>& var, double eps) {
  return device_norm({norm.gamma, norm.beta, mean, var}, eps);
}

/// The channels of a (half 0) or b (half 1) among those of [a | b] in some order.
template <class T>
Half<T> half_of(const View<T>& y, fast::Halves halves, index_t half) {
  const index_t m = y.shape.c / 2;
  if (halves == fast::Halves::interleave) return y.channels(half, m, 2);
  if (halves == fast::Halves::concat) return y.channels(half * m, m);
  return {y, half * m, m};
}

}  // namespace

void gs_pair_infer(Stream& stream, View<const float> x, View<const float> w1, const fast::Finish& finish1,
                   View<const float> w2, const fast::Finish& finish2, const Half<float>& a, const Half<float>& b,
                   const Conv2d& geometry, float* workspace) noexcept {
  conv2d_fwd_moments(stream, x, w1, a, geometry, finish1, workspace, Write::set, {});
  depthwise_fwd_moments(stream, a, w2, b, depthwise_geometry(w2.shape), finish2, {});
}

void gs_pair_train(Stream& stream, View<const float> x, const fast::PairWeights& weights, const Half<float>& a,
                   const Half<float>& b, const fast::PairSaved<float>& saved, const fast::PairSettings& settings,
                   float* workspace) noexcept {
  constexpr auto name = "gs_pair_train";
  const Shape &z = saved.z1.shape, &s2 = weights.w2.shape;
  Pieces pieces(workspace);
  const PairSpace space(pieces, z, s2);
  const ForwardSpace forward(pieces, x.shape, weights.w1.shape, settings.geometry);
  conv2d_fwd_moments(stream, x, weights.w1, saved.z1, settings.geometry, {}, forward.conv, Write::set, forward.first);
  merge_moments(stream, name, forward.first, saved.mean1, saved.var1);

  const DeviceNorm norm1 = norm_of(weights.norm1, saved.mean1, saved.var1, settings.eps);
  const DeviceNorm norm2 = norm_of(weights.norm2, saved.mean2, saved.var2, settings.eps);
  const bool fused = with_strips(s2, [&]<int kernel>() {
    const int planes = static_cast<int>(z.n * z.c);
    const StripTile tile = tile_of<kernel>(z);
    const Moments second{space.sums, parts_of_channel(tile, static_cast<int>(z.n))};
    const Activated z1{map_of<const float>(saved.z1), norm1, device_activation(settings.act)};
    if (!is_empty(z))
      launch(stream, name, activate_strips<kernel>, strip_grid(tile, planes), z1, map_of(weights.w2), tile,
             placed_map_of(a), map_of(saved.z2), second);
    merge_moments(stream, name, second, saved.mean2, saved.var2);
  });
  if (!fused) {
    norm_apply(stream, name, saved.z1, norm1, settings.act, a);
    depthwise_fwd_moments(stream, a, weights.w2, saved.z2, depthwise_geometry(s2), {}, {});
    bn_stats(stream, saved.z2, saved.mean2, saved.var2, space.sums);
  }
  norm_apply(stream, name, saved.z2, norm2, settings.act, b);
}

namespace {

/// All zero, or as they were.
void clear(Stream& stream, std::initializer_list<View<float>> views, Write write) noexcept {
  if (write == Write::set)
    for (const View<float>& view : views)
      if (view.data) fill_zero(stream, view);
}

/// What is the same for both ways through the depthwise convolution.
struct PairBackward {
  const char* name;
  const Half<const float>&da, &db;
  const fast::PairWeights& weights;
  const fast::PairSaved<const float>& saved;
  const View<float>& dz1;
  const fast::PairGradients& gradients;
  const fast::PairSettings& settings;
  const PairSpace& space;
  DeviceNorm norm1, norm2;
  Vector<float> terms;
  Write write;

  [[nodiscard]] const Shape& shape() const { return saved.z1.shape; }
  [[nodiscard]] int planes() const { return static_cast<int>(shape().n * shape().c); }
  [[nodiscard]] index_t count() const { return shape().n * shape().h * shape().w; }

  /// The terms of dz2.
  void second_norm(Stream& stream) const noexcept {
    const Parts<2> sums{space.sums, norm_gradient_parts(shape())};
    norm_gradient_sums(stream, name, placed_map_of(db), saved.z2, norm2, settings.act, sums);
    finish_norm_gradient(stream, name, sums, count(), norm2, terms, gradients.dgamma2, gradients.dbeta2, true, write);
  }
  /// dw2 and dz1.
  template <int kernel>
  void by_strips(Stream& stream) const noexcept {
    const DeviceActivation act = device_activation(settings.act);
    const NormGradient z2{placed_map_of(db), map_of(saved.z2), norm2, act, readable(terms)};
    if (gradients.dw2.data) {
      const Bands<kernel, 1> bands(shape());
      launch(stream, name, gradient_bands<kernel>, bands.grid(shape()), Activated{map_of(saved.z1), norm1, act}, z2,
             bands.tile, bands.count, space.partial);
      bands.add(stream, name, shape(), space.partial, gradients.dw2, write);
    }
    const StripTile tile = tile_of<kernel>(shape());
    const Parts<2> sums{space.sums, parts_of_channel(tile, static_cast<int>(shape().n))};
    launch(stream, name, backward_strips<kernel>, strip_grid(tile, planes()), z2, map_of(weights.w2), tile,
           placed_map_of(da), map_of(saved.z1), norm1, map_of(dz1), sums);
    finish_norm_gradient(stream, name, sums, count(), norm1, terms, gradients.dgamma1, gradients.dbeta1, true, write);
    // g1 has act' already.
    norm_apply_gradient(stream, name, placed_map_of<const float>(dz1), saved.z1, norm1, {}, readable(terms), dz1,
                        Write::set);
  }
  void by_maps(Stream& stream) const noexcept {
    const Conv2d g = depthwise_geometry(weights.w2.shape);
    norm_apply_gradient(stream, name, placed_map_of(db), saved.z2, norm2, settings.act, readable(terms), space.g,
                        Write::set);
    if (gradients.dw2.data) {
      norm_apply(stream, name, saved.z1, norm1, settings.act, space.a);
      depthwise_bwd_w(stream, space.a, space.g, gradients.dw2, g, space.partial, write);
    }
    depthwise_bwd_x(stream, space.g, weights.w2, space.a, g);
    if (da.view.data) launch(stream, name, add_half, pixel_grid(shape()), placed_map_of(da), map_of(space.a));
    first_norm(stream, placed_map_of<const float>(space.a));
  }
  /// dz1 from the gradient of a.
  void first_norm(Stream& stream, const PlacedMap<const float>& gradient) const noexcept {
    const Parts<2> sums{space.sums, norm_gradient_parts(shape())};
    norm_gradient_sums(stream, name, gradient, saved.z1, norm1, settings.act, sums);
    finish_norm_gradient(stream, name, sums, count(), norm1, terms, gradients.dgamma1, gradients.dbeta1, true, write);
    norm_apply_gradient(stream, name, gradient, saved.z1, norm1, settings.act, readable(terms), dz1, Write::set);
  }
};

}  // namespace

void gs_pair_bwd(Stream& stream, const Half<const float>& da, const Half<const float>& db,
                 const fast::PairWeights& weights, const fast::PairSaved<const float>& saved, View<float> dz1,
                 const fast::PairGradients& gradients, const fast::PairSettings& settings, float* workspace,
                 Write write) noexcept {
  const bool empty = is_empty(saved.z1.shape);
  if (!db.view.data || empty) clear(stream, {gradients.dw2, gradients.dgamma2, gradients.dbeta2}, write);
  if ((!da.view.data && !db.view.data) || empty) {
    clear(stream, {gradients.dgamma1, gradients.dbeta1}, write);
    return clear(stream, {dz1}, Write::set);
  }
  Pieces pieces(workspace);
  const Shape& s2 = weights.w2.shape;
  const PairSpace space(pieces, saved.z1.shape, s2);
  const PairBackward pair{"gs_pair_bwd",
                          da,
                          db,
                          weights,
                          saved,
                          dz1,
                          gradients,
                          settings,
                          space,
                          norm_of(weights.norm1, saved.mean1, saved.var1, settings.eps),
                          norm_of(weights.norm2, saved.mean2, saved.var2, settings.eps),
                          vector_of(space.terms, 2 * saved.z1.shape.c),
                          write};
  if (!db.view.data) return pair.first_norm(stream, placed_map_of(da));
  pair.second_norm(stream);
  if (!with_strips(s2, [&]<int kernel>() { pair.by_strips<kernel>(stream); })) pair.by_maps(stream);
}

index_t gs_pair_workspace(const Shape& x, const Shape& w1, const Shape& w2, const Conv2d& geometry) noexcept {
  Pieces pieces(nullptr);
  const PairSpace space(pieces, convolved(x, w1, geometry), w2);
  const ForwardSpace forward(pieces, x, w1, geometry);
  return pieces.taken();
}

// ---- The whole

namespace {

/// What the whole needs beside the pair.
struct WholeSpace {
  View<float> scale1, bias1, scale2, bias2, dz1;
  float* pair;

  WholeSpace(Pieces& pieces, const Shape& x, const Shape& w1, const Shape& w2, const Conv2d& g) {
    const Shape z = convolved(x, w1, g), vector{1, z.c, 1, 1};
    for (View<float>* v : {&scale1, &bias1, &scale2, &bias2}) *v = pieces.map(vector);
    dz1 = pieces.map(z);
    pair = pieces.take(gs_pair_workspace(x, w1, w2, g));
  }
};

}  // namespace

void gsconv(Stream& stream, View<const float> x, const fast::PairWeights& weights, View<float> y,
            const fast::PairSettings& settings, float* workspace) noexcept {
  Pieces pieces(workspace);
  const WholeSpace space(pieces, x.shape, weights.w1.shape, weights.w2.shape, settings.geometry);
  bn_fold(stream, weights.norm1, space.scale1, space.bias1, settings.eps);
  bn_fold(stream, weights.norm2, space.scale2, space.bias2, settings.eps);
  gs_pair_infer(stream, x, weights.w1, {space.scale1, space.bias1, settings.act, {}}, weights.w2,
                {space.scale2, space.bias2, settings.act, {}}, half_of(y, settings.halves, 0),
                half_of(y, settings.halves, 1), settings.geometry, space.pair);
}

void gsconv_train(Stream& stream, View<const float> x, const fast::PairWeights& weights, View<float> y,
                  const fast::PairSaved<float>& saved, const fast::PairSettings& settings, float* workspace) noexcept {
  Pieces pieces(workspace);
  const WholeSpace space(pieces, x.shape, weights.w1.shape, weights.w2.shape, settings.geometry);
  gs_pair_train(stream, x, weights, half_of(y, settings.halves, 0), half_of(y, settings.halves, 1), saved, settings,
                space.pair);
}

void gsconv_bwd(Stream& stream, View<const float> dy, View<const float> x, const fast::PairWeights& weights,
                const fast::PairSaved<const float>& saved, const fast::PairGradients& gradients,
                const fast::PairSettings& settings, float* workspace, Write write) noexcept {
  const Conv2d& g = settings.geometry;
  Pieces pieces(workspace);
  const WholeSpace space(pieces, x.shape, weights.w1.shape, weights.w2.shape, g);
  gs_pair_bwd(stream, half_of(dy, settings.halves, 0), half_of(dy, settings.halves, 1), weights, saved, space.dz1,
              gradients, settings, space.pair, write);
  // The pair has done with its workspace, which is enough for its dense convolution.
  if (gradients.dw1.data) conv2d_bwd_w(stream, x, space.dz1, gradients.dw1, g, space.pair, write);
  if (gradients.dx.data) conv2d_bwd_x(stream, space.dz1, weights.w1, gradients.dx, g, space.pair, write);
}

index_t gsconv_workspace(const Shape& x, const Shape& w1, const Shape& w2, const Conv2d& geometry) noexcept {
  Pieces pieces(nullptr);
  const WholeSpace space(pieces, x, w1, w2, geometry);
  return pieces.taken();
}

}  // namespace slimneck::kernels::cuda
