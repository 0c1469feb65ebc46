// fast::conv2d_*: a convolution on plain views is one or several convolutions of blocked maps. Depthwise ones with m
// outputs per channel are m depthwise convolutions, whose outputs are every m-th channel of y; others go group by
// group.
#include <algorithm>
#include <optional>

#include "kernels/plain/conv.hpp"

namespace slimneck::kernels {

namespace {

using namespace plain;  // NOLINT(google-build-using-namespace): helpers of this folder

constexpr index_t largest = (index_t{1} << 31) - 1;  // of every extent and attribute: sums and products of two fit

void check_number(std::string_view what, index_t value, index_t least) {
  if (value < least || value > largest) fail("convolution", std::string(what) + " is " + std::to_string(value));
}

void check_extents(std::string_view what, const Shape& s) {
  if (s.n < 0 || s.c < 1 || s.h < 1 || s.w < 1 || std::max({s.n, s.c, s.h, s.w}) > largest)
    fail("convolution", std::string(what) + " is " + to_string(s));
  static_cast<void>(s.numel());
}

index_t convolved(std::string_view axis, index_t extent, index_t kernel, index_t pad, const Conv2d& g) {
  const index_t room = extent + 2 * pad - g.dilation * (kernel - 1) - 1;
  if (room < 0)
    fail("convolution", "the kernel is larger than the padded input along its " + std::string(axis) + ", " +
                            std::to_string(extent) + " + 2*" + std::to_string(pad));
  return room / g.stride + 1;
}

/// The convolutions that make up one. Part i reads channels x_first(i), x_first(i) + 1, ... and writes y_first(i),
/// y_first(i) + y_step, ...
struct Split {
  ConvShape whole, part;
  bool depthwise;
  index_t parts;

  Split(const Shape& x, const Shape& w, const Conv2d& geometry) {
    whole = {x, w, fast::conv2d_shape(x, w, geometry), geometry};
    depthwise = geometry.groups > 1 && geometry.groups == x.c;
    parts = depthwise ? w.n / x.c : geometry.groups;
    part = whole;
    part.geometry.groups = 1;
    part.x.c = depthwise ? x.c : x.c / parts;
    part.y.c = part.w.n = depthwise ? x.c : w.n / parts;
  }
  [[nodiscard]] bool planes() const { return !depthwise && few_channels(part.x); }
  [[nodiscard]] index_t y_step() const { return depthwise ? parts : 1; }
  [[nodiscard]] index_t y_first(index_t i) const { return depthwise ? i : i * part.y.c; }

  template <class T>
  [[nodiscard]] View<T> x(const View<T>& v, index_t i) const {
    return depthwise ? v : v.channels(i * part.x.c, part.x.c);
  }
  template <class T>
  [[nodiscard]] View<T> y(const View<T>& v, index_t i) const {
    return v.data ? v.channels(y_first(i), part.y.c, y_step()) : v;
  }
  template <class T>
  [[nodiscard]] View<T> w(View<T> v, index_t i) const {
    v.data += y_first(i) * v.sn;
    v.sn *= y_step();
    v.shape.n = part.w.n;
    return v;
  }
};

/// What a call needs: maps, numbers per channel and the convolution of one part.
struct Data {
  Machine machine;
  Split split;
  Workspace workspace;
  View<float> from, to;
  float *scale = nullptr, *bias = nullptr;
  std::optional<ConvData> convolution;

  Data(const Exec& exec, const Shape& x, const Shape& w, const Conv2d& geometry, bool backward,
       const fast::Options& options, std::span<float> memory)
      : machine(exec), split(x, w, geometry), workspace(memory) {
    const ConvShape& s = split.part;
    const bool planes = !backward && split.planes();
    from = workspace.map(backward ? s.y : s.x, planes ? 1 : machine.lanes);
    to = workspace.map(backward ? s.x : s.y, machine.lanes);
    if (!backward) {
      scale = workspace.take(blocks_of(to) * machine.lanes);
      bias = workspace.take(blocks_of(to) * machine.lanes);
    }
    convolution.emplace(machine, s, split.depthwise, backward, planes, options.algorithm, workspace);
  }
};

struct Weights {
  Machine machine;
  Split split;
  Workspace workspace;
  View<float> x, dy;
  std::optional<ConvWeights> convolution;

  Weights(const Exec& exec, const Shape& x_shape, const Shape& w, const Conv2d& geometry, const fast::Options& options,
          std::span<float> memory)
      : machine(exec), split(x_shape, w, geometry), workspace(memory) {
    x = workspace.map(split.part.x, split.planes() ? 1 : machine.lanes);
    dy = workspace.map(split.part.y, machine.lanes);
    convolution.emplace(machine, split.part, split.depthwise, split.planes(), options.algorithm, workspace);
  }
};

/// x in blocks; or, where the convolution reads planes, x itself if its pixels lie side by side.
View<const float> blocked_or_planes(const Machine& machine, const View<const float>& x,
                                    const View<float>& memory) noexcept {
  if (memory.block == 1 && x.sw == 1) return x;
  to_blocked(machine, x, memory);
  return memory;
}

}  // namespace

namespace fast {

Shape conv2d_shape(const Shape& x, const Shape& w, const Conv2d& g) {
  check_extents("x", x);
  check_extents("w", w);
  check_number("stride", g.stride, 1);
  check_number("pad_h", g.pad_h, 0);
  check_number("pad_w", g.pad_w, 0);
  check_number("dilation", g.dilation, 1);
  check_number("groups", g.groups, 1);
  if (w.n < 1) fail("convolution", "w has no output channel");
  if (x.c % g.groups != 0 || w.n % g.groups != 0 || w.c != x.c / g.groups)
    fail("convolution", "x is " + to_string(x) + " and w is " + to_string(w) + ", which does not fit " +
                            std::to_string(g.groups) + " groups");
  return {x.n, w.n, convolved("height", x.h, w.h, g.pad_h, g), convolved("width", x.w, w.w, g.pad_w, g)};
}

void conv2d_fwd(const Exec& exec, View<const float> x, View<const float> w, View<float> y, const Conv2d& geometry,
                const Finish& finish, std::span<float> workspace, const Options& options) {
  constexpr auto name = "conv2d_fwd";
  const Data d(exec, x.shape, w.shape, geometry, false, options, workspace);
  const Shape shape = d.split.whole.y, vector = per_channel(shape.c);
  check_view(name, "x", x, x.shape);
  check_view(name, "w", w, w.shape);
  check_view(name, "y", y, shape);
  check_optional(name, "scale", finish.scale, vector);
  check_optional(name, "bias", finish.bias, vector);
  check_optional(name, "residual", finish.residual, shape);
  d.workspace.check(name);

  const core::ThreadScope scope(d.machine.threads);
  const index_t channels = blocks_of(d.to) * d.machine.lanes;
  Epilogue epilogue;
  epilogue.act = finish.act.kind;
  epilogue.slope = static_cast<float>(finish.act.slope);
  for (index_t i = 0; i < d.split.parts; ++i) {
    const View<const float> from = blocked_or_planes(d.machine, d.split.x(x, i), d.from);
    epilogue.scale = to_vector(d.split.y(finish.scale, i), d.scale, channels);
    epilogue.bias = to_vector(d.split.y(finish.bias, i), d.bias, channels);
    d.convolution->run(from, d.split.w(w, i), d.to, epilogue);
    from_blocked(d.machine, d.to, d.split.y(finish.residual, i), d.split.y(y, i), options.write);
  }
}

index_t conv2d_fwd_workspace(const Exec& exec, const Shape& x, const Shape& w, const Conv2d& geometry,
                             const Options& options) {
  return Data(exec, x, w, geometry, false, options, {}).workspace.taken();
}

void conv2d_bwd_x(const Exec& exec, View<const float> dy, View<const float> w, View<float> dx, const Conv2d& geometry,
                  std::span<float> workspace, const Options& options) {
  constexpr auto name = "conv2d_bwd_x";
  const Data d(exec, dx.shape, w.shape, geometry, true, options, workspace);
  check_view(name, "dy", dy, d.split.whole.y);
  check_view(name, "w", w, w.shape);
  check_view(name, "dx", dx, dx.shape);
  d.workspace.check(name);

  const core::ThreadScope scope(d.machine.threads);
  for (index_t i = 0; i < d.split.parts; ++i) {
    to_blocked(d.machine, d.split.y(dy, i), d.from);
    d.convolution->run(d.from, d.split.w(w, i), d.to, {});
    from_blocked(d.machine, d.to, {}, d.split.x(dx, i), d.split.depthwise && i > 0 ? Write::add : options.write);
  }
}

index_t conv2d_bwd_x_workspace(const Exec& exec, const Shape& x, const Shape& w, const Conv2d& geometry,
                               const Options& options) {
  return Data(exec, x, w, geometry, true, options, {}).workspace.taken();
}

void conv2d_bwd_w(const Exec& exec, View<const float> x, View<const float> dy, View<float> dw, const Conv2d& geometry,
                  std::span<float> workspace, const Options& options) {
  constexpr auto name = "conv2d_bwd_w";
  const Weights d(exec, x.shape, dw.shape, geometry, options, workspace);
  check_view(name, "x", x, x.shape);
  check_view(name, "dy", dy, d.split.whole.y);
  check_view(name, "dw", dw, dw.shape);
  d.workspace.check(name);

  const core::ThreadScope scope(d.machine.threads);
  for (index_t i = 0; i < d.split.parts; ++i) {
    const View<const float> from = blocked_or_planes(d.machine, d.split.x(x, i), d.x);
    to_blocked(d.machine, d.split.y(dy, i), d.dy);
    d.convolution->run(from, d.dy, d.split.w(dw, i), options.write);
  }
}

index_t conv2d_bwd_w_workspace(const Exec& exec, const Shape& x, const Shape& w, const Conv2d& geometry,
                               const Options& options) {
  return Weights(exec, x, w, geometry, options, {}).workspace.taken();
}

}  // namespace fast

}  // namespace slimneck::kernels
