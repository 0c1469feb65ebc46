// Every fast dense convolution on every instruction set of this machine against the reference kernels.
#include <doctest/doctest.h>

#include <string>

#include "core/threads.hpp"
#include "kernels/conv2d/variants.hpp"
#include "slimneck/kernels.hpp"
#include "support.hpp"

using namespace slimneck;
using namespace slimneck::kernels;
using namespace slimneck::testing;

namespace {

struct Case {
  index_t n, c, h, w, o, kh, kw, stride, pad_h, pad_w, dilation = 1;
  bool planes = false;  ///< x is plain NCHW

  [[nodiscard]] index_t oh() const { return (h + 2 * pad_h - dilation * (kh - 1) - 1) / stride + 1; }
  [[nodiscard]] index_t ow() const { return (w + 2 * pad_w - dilation * (kw - 1) - 1) / stride + 1; }
  [[nodiscard]] Shape x() const { return {n, c, h, w}; }
  [[nodiscard]] Shape y() const { return {n, o, oh(), ow()}; }
  [[nodiscard]] Shape weights() const { return {o, c, kh, kw}; }
  [[nodiscard]] Conv2d geometry() const { return {stride, pad_h, pad_w, dilation, 1}; }
};

std::string to_text(const Case& k) {
  return to_string(k.x()) + " -> " + to_string(k.y()) + " k" + std::to_string(k.kh) + "x" + std::to_string(k.kw) +
         " s" + std::to_string(k.stride) + " p" + std::to_string(k.pad_h) + "," + std::to_string(k.pad_w) + " d" +
         std::to_string(k.dilation);
}

/// Plain inputs and the answers of the reference, with the sums of absolute products that bound the errors.
struct Problem {
  Case shape;
  Tensor x, w, dy;
  Tensor y, dx, dw, y_bound, dx_bound, dw_bound;

  Problem(const Case& k, Fill kind)
      : shape(k),
        x(k.x()),
        w(k.weights()),
        dy(k.y()),
        y(k.y()),
        dx(k.x()),
        dw(k.weights()),
        y_bound(k.y()),
        dx_bound(k.x()),
        dw_bound(k.weights()) {
    fill(x.data<float>(), x.numel(), kind, 1);
    fill(w.data<float>(), w.numel(), kind, 2);
    fill(dy.data<float>(), dy.numel(), kind, 3);
    solve(x, w, dy, y, dx, dw);
    solve(absolute(x), absolute(w), absolute(dy), y_bound, dx_bound, dw_bound);
  }

 private:
  static Tensor absolute(const Tensor& t) {
    Tensor r = t;
    for (index_t i = 0; i < r.numel(); ++i) r.data<float>()[i] = std::fabs(r.data<float>()[i]);
    return r;
  }
  void solve(const Tensor& px, const Tensor& pw, const Tensor& pdy, Tensor& py, Tensor& pdx, Tensor& pdw) const {
    const Conv2d g = shape.geometry();
    conv2d_fwd<float>(px.view<float>(), pw.view<float>(), View<const float>{}, py.view<float>(), g);
    conv2d_bwd_x<float>(pdy.view<float>(), pw.view<float>(), pdx.view<float>(), g);
    conv2d_bwd_w<float>(px.view<float>(), pdy.view<float>(), pdw.view<float>(), g);
  }
};

index_t blocks_of(index_t channels, index_t lanes) { return (channels + lanes - 1) / lanes; }

/// The number of outputs that are further from `want` than allowed.
index_t mismatches(View<const float> got, const Tensor& want, const Tensor& bound, index_t k, bool exact,
                   double looser = 1) {
  index_t wrong = 0;
  const View<const float> w = want.view<float>(), b = bound.view<float>();
  for (index_t n = 0; n < w.shape.n; ++n)
    for (index_t c = 0; c < w.shape.c; ++c)
      for (index_t i = 0; i < w.shape.h; ++i)
        for (index_t j = 0; j < w.shape.w; ++j) {
          const double allowed = exact ? 0 : looser * sum_bound(static_cast<double>(b.at(n, c, i, j)), k);
          const double error =
              std::fabs(static_cast<double>(got.at(n, c, i, j)) - static_cast<double>(w.at(n, c, i, j)));
          if (!(error <= allowed)) ++wrong;
        }
  return wrong;
}

/// Winograd's algorithms round about ten times as much, and to the scale of their whole tile.
constexpr double winograd_factor = 30;

constexpr float sentinel = 77;

class Packed {
 public:
  Packed(const Kernels& kernels, const Case& k, WeightOrder order, const Tensor& w)
      : c_(order == WeightOrder::planes ? k.c : blocks_of(k.c, kernels.lanes) * kernels.lanes),
        o_(blocks_of(k.o, kernels.lanes) * kernels.lanes),
        memory_(c_ * o_ * k.kh * k.kw, 0) {
    WeightArgs a = args(k, order);
    a.from = w.data<float>();
    a.to = memory_.data();
    kernels.pack_weights(a);
  }
  [[nodiscard]] WeightArgs args(const Case& k, WeightOrder order) const {
    WeightArgs a;
    a.o = k.o;
    a.c = k.c;
    a.kh = k.kh;
    a.kw = k.kw;
    a.o_physical = o_;
    a.c_physical = c_;
    a.order = order;
    return a;
  }
  GuardedBuffer& memory() { return memory_; }
  [[nodiscard]] index_t o() const { return o_; }
  [[nodiscard]] index_t c() const { return c_; }

 private:
  index_t c_, o_;
  GuardedBuffer memory_;
};

template <class Args>
void set_geometry(Args& a, const Case& k, index_t lanes) {
  a.n = k.n;
  a.kh = k.kh;
  a.kw = k.kw;
  a.stride = k.stride;
  a.pad_h = k.pad_h;
  a.pad_w = k.pad_w;
  a.dilation = k.dilation;
  a.x_blocks = blocks_of(k.c, lanes);
  a.y_blocks = blocks_of(k.o, lanes);
  a.h = k.h;
  a.w = k.w;
  a.oh = k.oh();
  a.ow = k.ow();
  a.planes = k.planes ? k.c : 0;
}

template <class Args>
void set_x(Args& a, const Blocked& x) {
  a.x = x.view.data;
  a.xn = x.view.sn;
  a.xb = x.view.sc;
  a.xh = x.view.sh;
}

ConvArgs forward_args(const Case& k, index_t lanes) {
  ConvArgs a;
  set_geometry(a, k, lanes);
  return a;
}

ConvArgs backward_args(const Case& k, index_t lanes) {
  ConvArgs a;
  set_geometry(a, k, lanes);
  a.x_blocks = blocks_of(k.o, lanes);
  a.y_blocks = blocks_of(k.c, lanes);
  a.h = k.oh();
  a.w = k.ow();
  a.oh = k.h;
  a.ow = k.w;
  return a;
}

/// Runs one variant on `threads` threads; the map stays blocked.
void run(const Kernels& kernels, const ConvVariant& v, ConvArgs a, const Case& k, const Tensor& w, const Blocked& x,
         Blocked& y, int threads, index_t slack) {
  const core::ThreadScope scope(threads);
  Packed packed(kernels, k, v.order, w);
  GuardedBuffer prepared(v.prepare ? v.weights(packed.o(), packed.c(), k.kh * k.kw) : 0, slack);
  if (v.prepare) {
    WeightArgs p = packed.args(k, v.order);
    p.from = packed.memory().data();
    p.to = prepared.data();
    (kernels.*v.prepare)(p);
  }
  set_x(a, x);
  a.weights = v.prepare ? prepared.data() : packed.memory().data();
  a.y = y.view.data;
  a.yn = y.view.sn;
  a.yb = y.view.sc;
  a.yh = y.view.sh;
  a.strip = v.strip(a, kernels.lanes);
  GuardedBuffer workspace(v.workspace(a, kernels.lanes, threads), slack);
  a.workspace = workspace.data();
  (kernels.*v.run)(a);
  CHECK(workspace.intact());
  CHECK(packed.memory().intact());
  CHECK(y.memory.intact());
}

bool same_bits(const GuardedBuffer& a, const GuardedBuffer& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * 4) == 0;
}

/// One direction of the data, all variants that suit.
void check_data(const Kernels& kernels, std::span<const ConvVariant> variants, const ConvArgs& a, const Problem& p,
                const Tensor& from, const Tensor& want, const Tensor& bound, index_t sum, bool integers, index_t gap,
                index_t slack) {
  const index_t lanes = kernels.lanes;
  Blocked x(from.shape(), a.planes > 0 ? 1 : lanes, gap, slack);
  x.set(from.view<float>());
  for (const ConvVariant& v : variants) {
    if (!v.suits(a, lanes)) continue;
    INFO("variant ", std::string(v.name));
    Blocked y(want.shape(), lanes, gap, slack);
    y.fill_with(sentinel);
    run(kernels, v, a, p.shape, p.w, x, y, 1, slack);
    const bool direct = v.algorithm == Algorithm::direct;
    CHECK(mismatches(y.view, want, bound, sum, integers && direct, direct ? 1 : winograd_factor) == 0);
    CHECK(y.gaps_hold(sentinel));
    for (const int threads : {2, 3}) {
      Blocked again(want.shape(), lanes, gap, slack);
      again.fill_with(sentinel);
      run(kernels, v, a, p.shape, p.w, x, again, threads, slack);
      CHECK(same_bits(y.memory, again.memory));
    }
  }
}

void check_gradient(const Kernels& kernels, const Problem& p, bool integers, index_t gap, index_t slack) {
  const Case& k = p.shape;
  const index_t lanes = kernels.lanes;
  ConvGradArgs a;
  set_geometry(a, k, lanes);
  Blocked x(k.x(), k.planes ? 1 : lanes, gap, slack), dy(k.y(), lanes, gap, slack);
  x.set(p.x.view<float>());
  dy.set(p.dy.view<float>());
  set_x(a, x);
  a.dy = dy.view.data;
  a.yn = dy.view.sn;
  a.yb = dy.view.sc;
  a.yh = dy.view.sh;
  for (const ConvGradVariant& v : conv_bwd_w_variants()) {
    if (!v.suits(a, lanes)) continue;
    INFO("variant ", std::string(v.name));
    const bool direct = v.algorithm == Algorithm::direct;
    Tensor first;
    for (const int threads : {1, 2, 3}) {
      const core::ThreadScope scope(threads);
      Packed packed(kernels, k, v.order, p.w);  // for its extents
      fill(packed.memory().data(), packed.memory().size(), Fill::normal, 9);
      GuardedBuffer workspace(v.workspace(a, lanes, threads), slack);
      a.dw = packed.memory().data();
      a.workspace = workspace.data();
      (kernels.*v.run)(a);
      CHECK(workspace.intact());
      CHECK(packed.memory().intact());
      WeightArgs out = packed.args(k, v.order);
      Tensor dw(k.weights());
      out.from = packed.memory().data();
      out.to = dw.data<float>();
      kernels.unpack_weights(out);
      if (threads == 1) {
        const index_t sum = k.n * k.oh() * k.ow();
        CHECK(mismatches(dw.view<float>(), p.dw, p.dw_bound, sum, integers && direct, direct ? 1 : winograd_factor) ==
              0);
        first = dw;
      }
      CHECK(std::memcmp(first.data<float>(), dw.data<float>(), dw.bytes()) == 0);
    }
  }
}

void check(const Case& k, Fill kind, index_t gap, index_t slack) {
  const Problem p(k, kind);
  const bool integers = kind == Fill::integers;
  for (const Isa isa : available_isas()) {
    const Kernels& kernels = *kernels_of(isa);
    INFO(std::string(name_of(isa)), " ", to_text(k), " gap ", gap, " slack ", slack);
    {
      INFO("forward");
      check_data(kernels, conv_fwd_variants(), forward_args(k, kernels.lanes), p, p.x, p.y, p.y_bound,
                 k.c * k.kh * k.kw, integers, gap, slack);
    }
    if (!k.planes) {
      INFO("backward data");
      check_data(kernels, conv_bwd_x_variants(), backward_args(k, kernels.lanes), p, p.dy, p.dx, p.dx_bound,
                 k.o * k.kh * k.kw, integers, gap, slack);
    }
    {
      INFO("backward weights");
      check_gradient(kernels, p, integers, gap, slack);
    }
  }
}

constexpr index_t slacks[] = {0, 4, 8, 28};

const Case small_cases[] = {
    // n, c, h, w, o, kh, kw, stride, pad_h, pad_w, dilation
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 0},        {2, 3, 5, 7, 15, 1, 1, 1, 0, 0},    {1, 17, 4, 29, 33, 1, 1, 1, 0, 0},
    {1, 48, 9, 31, 80, 1, 1, 1, 0, 0},     {3, 64, 6, 6, 64, 1, 1, 1, 0, 0},   {1, 16, 5, 6, 16, 1, 1, 2, 0, 0},
    {1, 3, 1, 1, 5, 3, 3, 1, 1, 1},        {1, 16, 1, 2, 17, 3, 3, 1, 1, 1},   {2, 15, 2, 3, 16, 3, 3, 1, 1, 1},
    {1, 17, 7, 33, 48, 3, 3, 1, 1, 1},     {1, 64, 13, 20, 64, 3, 3, 1, 1, 1}, {3, 16, 5, 15, 80, 3, 3, 1, 1, 1},
    {0, 16, 5, 15, 16, 3, 3, 1, 1, 1},     {1, 16, 1, 1, 16, 3, 3, 2, 1, 1},   {1, 3, 2, 2, 5, 3, 3, 2, 1, 1},
    {2, 17, 7, 9, 33, 3, 3, 2, 1, 1},      {1, 48, 8, 34, 16, 3, 3, 2, 1, 1},  {1, 64, 12, 31, 64, 3, 3, 2, 1, 1},
    {3, 16, 9, 40, 80, 3, 3, 2, 1, 1},     {1, 16, 9, 11, 16, 3, 3, 1, 0, 0},  {1, 16, 9, 11, 16, 3, 3, 1, 2, 2, 2},
    {1, 17, 8, 9, 16, 5, 5, 1, 2, 2},      {2, 16, 4, 3, 16, 5, 5, 1, 2, 2},   {1, 16, 11, 14, 33, 5, 3, 3, 2, 0},
    {1, 16, 12, 15, 17, 3, 4, 4, 1, 3, 2}, {1, 5, 13, 12, 16, 2, 2, 2, 0, 0},  {1, 16, 14, 10, 16, 6, 6, 2, 2, 2},
};

}  // namespace

TEST_CASE("dense convolutions are exact on whole numbers") {
  index_t i = 0;
  for (const Case& k : small_cases) {
    check(k, Fill::integers, 0, slacks[i % 4]);
    check(k, Fill::integers, 1 + i % 3, slacks[(i + 1) % 4]);
    ++i;
  }
}

TEST_CASE("dense convolutions keep to the error bound of a float sum") {
  for (const Case& k : {Case{1, 64, 13, 20, 64, 3, 3, 1, 1, 1}, Case{2, 48, 14, 30, 33, 3, 3, 2, 1, 1},
                        Case{1, 80, 21, 23, 40, 1, 1, 1, 0, 0}, Case{1, 17, 8, 9, 16, 5, 5, 1, 2, 2}}) {
    check(k, Fill::normal, 0, 0);
    check(k, Fill::positive, 1, 4);
  }
}

namespace {

/// Everything that an Epilogue may hold for k.y(), as numbers per channel and a blocked residual.
struct Ends {
  GuardedBuffer scale, bias;
  Blocked residual;

  Ends(const Shape& y, index_t lanes, index_t gap, index_t slack)
      : scale(blocks_of(y.c, lanes) * lanes, slack), bias(scale.size(), slack), residual(y, lanes, gap, slack) {
    fill(scale.data(), scale.size(), Fill::normal, 5);
    fill(bias.data(), bias.size(), Fill::normal, 6);
    Tensor r(y);
    fill(r.data<float>(), r.numel(), Fill::normal, 7);
    residual.set(r.view<float>());
  }
  void give_residual(Epilogue& e) const {
    e.residual = residual.view.data;
    e.rn = residual.view.sn;
    e.rb = residual.view.sc;
    e.rh = residual.view.sh;
  }
};

/// y = act(sum * scale + bias) + residual, with an allowance for the rounding of the sum and of the activation.
index_t epilogue_mismatches(View<const float> got, const Problem& p, const Epilogue& e, const Ends& ends,
                            double looser) {
  index_t wrong = 0;
  const View<const float> sum = p.y.view<float>(), bound = p.y_bound.view<float>();
  const Activation act{e.act, static_cast<double>(e.slope)};
  for (index_t n = 0; n < sum.shape.n; ++n)
    for (index_t c = 0; c < sum.shape.c; ++c)
      for (index_t i = 0; i < sum.shape.h; ++i)
        for (index_t j = 0; j < sum.shape.w; ++j) {
          const double scale = e.scale ? static_cast<double>(e.scale[c]) : 1,
                       bias = e.bias ? static_cast<double>(e.bias[c]) : 0;
          double want = act_value(act, static_cast<double>(sum.at(n, c, i, j)) * scale + bias);
          if (e.residual) want += static_cast<double>(ends.residual.view.at(n, c, i, j));
          const double from_sum =
              sum_bound(static_cast<double>(bound.at(n, c, i, j)), p.shape.c * p.shape.kh * p.shape.kw);
          const double allowed = looser * 1.2 * std::fabs(scale) * from_sum + 1e-6 * (1 + std::fabs(want));
          if (!(std::fabs(static_cast<double>(got.at(n, c, i, j)) - want) <= allowed)) ++wrong;
        }
  return wrong;
}

/// The moments of every part together against those of the stored numbers.
void check_moments(const GuardedBuffer& moments, View<const float> y, index_t strip, index_t lanes) {
  const index_t strips = (y.shape.h + strip - 1) / strip, channels = blocks_of(y.shape.c, lanes) * lanes;
  index_t wrong = 0;
  for (index_t c = 0; c < y.shape.c; ++c)
    for (index_t n = 0; n < y.shape.n; ++n)
      for (index_t s = 0; s < strips; ++s) {
        const float* m = moments.data() + (n * strips + s) * 3 * channels + c;
        const auto offset = static_cast<double>(m[0]);
        double sum = 0, squares = 0, magnitude = 0;
        index_t count = 0;
        for (index_t i = s * strip; i < std::min(y.shape.h, (s + 1) * strip); ++i)
          for (index_t j = 0; j < y.shape.w; ++j, ++count) {
            const double d = static_cast<double>(y.at(n, c, i, j)) - offset;
            sum += d;
            magnitude += std::fabs(d);
            squares += d * d;
          }
        const double rounding = std::ldexp(4 + 2 * std::sqrt(static_cast<double>(count)), -24);
        if (!(std::fabs(static_cast<double>(m[channels]) - sum) <= rounding * magnitude)) ++wrong;
        if (!(std::fabs(static_cast<double>(m[2 * channels]) - squares) <= 2 * rounding * squares)) ++wrong;
      }
  CHECK(wrong == 0);
}

void check_epilogues(const Kernels& kernels, const Problem& p, index_t gap, index_t slack) {
  const Case& k = p.shape;
  const index_t lanes = kernels.lanes;
  Blocked x(k.x(), k.planes ? 1 : lanes, gap, slack);
  x.set(p.x.view<float>());
  const Ends ends(k.y(), lanes, gap, slack);
  for (const ConvVariant& v : conv_fwd_variants()) {
    ConvArgs a = forward_args(k, lanes);
    if (!v.suits(a, lanes)) continue;
    INFO("variant ", std::string(v.name));
    const double looser = v.algorithm == Algorithm::direct ? 1 : winograd_factor;
    for (const Act act : {Act::none, Act::silu, Act::relu, Act::leaky_relu, Act::sigmoid})
      for (const bool residual : {false, true}) {
        a.epilogue = {};
        a.epilogue.act = act;
        a.epilogue.slope = 0.1F;
        if (act != Act::relu) a.epilogue.scale = ends.scale.data();
        if (act != Act::sigmoid) a.epilogue.bias = ends.bias.data();
        if (residual) ends.give_residual(a.epilogue);
        Blocked y(k.y(), lanes, gap, slack);
        y.fill_with(sentinel);
        run(kernels, v, a, k, p.w, x, y, 2, slack);
        CHECK(epilogue_mismatches(y.view, p, a.epilogue, ends, looser) == 0);
        CHECK(y.gaps_hold(sentinel));
      }
    a.epilogue = {};
    const index_t strip = v.strip(a, lanes), strips = (k.oh() + strip - 1) / strip;
    GuardedBuffer moments(k.n * strips * 3 * blocks_of(k.o, lanes) * lanes, slack);
    a.epilogue.moments = moments.data();
    Blocked y(k.y(), lanes, gap, slack);
    run(kernels, v, a, k, p.w, x, y, 2, slack);
    CHECK(epilogue_mismatches(y.view, p, a.epilogue, ends, looser) == 0);
    check_moments(moments, y.view, strip, lanes);
    CHECK(moments.intact());
  }
}

/// y += sum, in both directions of the data.
void check_adding(const Kernels& kernels, std::span<const ConvVariant> variants, ConvArgs a, const Problem& p,
                  const Tensor& from, const Tensor& want, index_t gap, index_t slack) {
  Blocked x(from.shape(), a.planes > 0 ? 1 : kernels.lanes, gap, slack);
  x.set(from.view<float>());
  a.epilogue.add = true;
  for (const ConvVariant& v : variants) {
    if (!v.suits(a, kernels.lanes) || v.algorithm != Algorithm::direct) continue;
    INFO("variant ", std::string(v.name));
    Blocked y(want.shape(), kernels.lanes, gap, slack);
    y.fill_with(3);
    run(kernels, v, a, p.shape, p.w, x, y, 2, slack);
    Tensor sum = want;
    for (index_t i = 0; i < sum.numel(); ++i) sum.data<float>()[i] += 3;
    CHECK(mismatches(y.view, sum, want, 1, true) == 0);
    CHECK(y.gaps_hold(3));
  }
}

}  // namespace

TEST_CASE("dense convolutions end with scale, bias, activation, residual, moments, or add to what is there") {
  for (const Case& k : {Case{2, 17, 7, 33, 48, 3, 3, 1, 1, 1}, Case{1, 48, 9, 31, 80, 1, 1, 1, 0, 0},
                        Case{2, 16, 5, 18, 16, 1, 1, 1, 0, 0}, Case{1, 17, 14, 18, 33, 3, 3, 2, 1, 1},
                        Case{1, 17, 8, 9, 16, 5, 5, 1, 2, 2}, Case{1, 16, 2, 3, 16, 3, 3, 1, 1, 1},
                        Case{2, 3, 20, 42, 48, 6, 6, 2, 2, 2, 1, true}}) {
    const Problem real(k, Fill::normal), whole(k, Fill::integers);
    for (const Isa isa : available_isas()) {
      const Kernels& kernels = *kernels_of(isa);
      INFO(std::string(name_of(isa)), " ", to_text(k));
      check_epilogues(kernels, real, 1, 8);
      check_adding(kernels, conv_fwd_variants(), forward_args(k, kernels.lanes), whole, whole.x, whole.y, 1, 28);
      if (!k.planes)
        check_adding(kernels, conv_bwd_x_variants(), backward_args(k, kernels.lanes), whole, whole.dy, whole.dx, 1, 4);
    }
  }
}
