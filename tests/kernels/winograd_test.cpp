// Winograd convolutions of stride 1 and 2 against the reference: those with M = 2 without any difference on integers,
// those with M = 4 within the tolerance that decides where they may be used; every ISA, any number of threads bit for
// bit.
#include "kernels/conv2d/winograd.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/threads.hpp"
#include "kernels/dispatch.hpp"

using namespace slimneck;
using kernels::Act;
using kernels::ConvArgs;
using kernels::Kernels;
using kernels::WeightArgs;
using kernels::WeightOrder;

namespace {

/// h x w: extent of x.
struct Case {
  index_t n, c, o, h, w;
};

index_t strided(index_t extent, index_t stride) { return (extent - 1) / stride + 1; }

/// Odd counts of channels and blocks, maps smaller than a tile, ragged borders, no image.
const Case small[] = {{1, 1, 1, 1, 1},     {1, 3, 17, 2, 3},    {3, 15, 16, 5, 4}, {2, 16, 15, 4, 4},
                      {1, 17, 33, 9, 14},  {1, 64, 16, 7, 21},  {1, 16, 64, 8, 8}, {2, 33, 49, 13, 6},
                      {0, 16, 16, 8, 8},   {1, 16, 16, 1, 40},  {9, 5, 7, 3, 3},   {1, 8, 8, 45, 2},
                      {1, 16, 16, 37, 61}, {1, 20, 12, 16, 333}};

index_t whole(index_t channels, index_t lanes) { return (channels + lanes - 1) / lanes * lanes; }

/// A blocked map with room between its rows, blocks and images; the room holds NaN, which no kernel may read.
struct Map {
  std::vector<float> memory;
  View<float> view;
  Map(const Shape& shape, index_t lanes, bool gaps) {
    const index_t blocks = whole(shape.c, lanes) / lanes, gap = gaps ? lanes : 0;
    view = View<float>(nullptr, shape, lanes);
    view.sh = shape.w * lanes + gap;
    view.sc = shape.h * view.sh + 2 * gap;
    view.sn = blocks * view.sc + 3 * gap;
    memory.assign(static_cast<std::size_t>(shape.n * view.sn), std::nanf(""));
    view.data = memory.data();
    for (index_t n = 0; n < shape.n; ++n)
      for (index_t c = 0; c < blocks * lanes; ++c)
        for (index_t h = 0; h < shape.h; ++h)
          for (index_t w = 0; w < shape.w; ++w) view.at(n, c, h, w) = 0;
  }
  template <class F>
  void fill(F&& next) {
    const Shape& s = view.shape;
    for (index_t n = 0; n < s.n; ++n)
      for (index_t c = 0; c < s.c; ++c)
        for (index_t h = 0; h < s.h; ++h)
          for (index_t w = 0; w < s.w; ++w) view.at(n, c, h, w) = next();
  }
};

struct Numbers {
  std::mt19937 engine{7};
  bool integers;
  float operator()() {
    return integers ? static_cast<float>(static_cast<int>(engine() % 9) - 4)
                    : std::normal_distribution<float>()(engine);
  }
};

enum class Way { forward, backward };

/// A form of the algorithm in one direction of the data.
struct Form {
  std::string_view name;
  Way way;
  index_t m, stride;
  const kernels::WinogradForm& form;
  void (*Kernels::*conv)(const ConvArgs&) noexcept;
  void (*Kernels::*prepare)(const WeightArgs&) noexcept;
};

const Form forms[] = {
    {"F(2, 3)", Way::forward, 2, 1, kernels::winograd2, &Kernels::winograd2_conv, &Kernels::winograd2_prepare},
    {"F(4, 3)", Way::forward, 4, 1, kernels::winograd4, &Kernels::winograd4_conv, &Kernels::winograd4_prepare},
    {"F(2, 2)", Way::forward, 2, 2, kernels::winograd2s2, &Kernels::winograd2s2_conv, &Kernels::winograd2s2_prepare},
    {"F(4, 2)", Way::forward, 4, 2, kernels::winograd4s2, &Kernels::winograd4s2_conv, &Kernels::winograd4s2_prepare},
    {"F(2, 3) back", Way::backward, 2, 1, kernels::winograd2, &Kernels::winograd2_conv, &Kernels::winograd2_prepare},
    {"F(4, 3) back", Way::backward, 4, 1, kernels::winograd4, &Kernels::winograd4_conv, &Kernels::winograd4_prepare},
    {"F(2, 2) back", Way::backward, 2, 2, kernels::winograd2s2_back, &Kernels::winograd2s2_bwd_x,
     &Kernels::winograd2s2_bwd_x_prepare},
    {"F(4, 2) back", Way::backward, 4, 2, kernels::winograd4s2_back, &Kernels::winograd4s2_bwd_x,
     &Kernels::winograd4s2_bwd_x_prepare},
};

/// Forms whose data go forward.
const std::span<const Form> forward_forms = std::span(forms).first(4);

/// Everything about one convolution on one ISA.
struct Run {
  Case q;
  const Form& f;
  bool forward;
  index_t lanes;
  Shape from, to;  ///< of what is read, of what is written
  const Kernels& k;
  Map x, y;
  std::vector<float> weights, packed, prepared, workspace;
  ConvArgs args;

  Run(const Case& shape, const Form& which, const Kernels& table, bool integers, bool gaps)
      : q(shape),
        f(which),
        forward(f.way == Way::forward),
        lanes(table.lanes),
        from{q.n, q.c, q.h, q.w},
        to{q.n, q.o, strided(q.h, f.stride), strided(q.w, f.stride)},
        k(table),
        x(forward ? from : to, lanes, gaps),
        y(forward ? to : from, lanes, gaps),
        weights(static_cast<std::size_t>(q.o * q.c * 9)) {
    Numbers next{.integers = integers};
    x.fill(next);
    for (float& w : weights) w = next();
    if (!forward) std::swap(from, to);
    prepare();
    args.n = q.n;
    args.x_blocks = whole(from.c, lanes) / lanes;
    args.y_blocks = whole(to.c, lanes) / lanes;
    args.h = from.h;
    args.w = from.w;
    args.oh = to.h;
    args.ow = to.w;
    args.stride = f.stride;
    args.kh = args.kw = 3;
    args.pad_h = args.pad_w = 1;
    args.x = x.view.data;
    args.xn = x.view.sn;
    args.xb = x.view.sc;
    args.xh = x.view.sh;
    args.y = y.view.data;
    args.yn = y.view.sn;
    args.yb = y.view.sc;
    args.yh = y.view.sh;
    args.weights = prepared.data();
    args.strip = kernels::winograd_strip(f.form, args, lanes);
  }

  void prepare() {
    const index_t o = whole(q.o, lanes), c = whole(q.c, lanes);
    packed.resize(static_cast<std::size_t>(o * c * 9));
    WeightArgs w;
    w.from = weights.data();
    w.to = packed.data();
    w.o = q.o;
    w.c = q.c;
    w.kh = w.kw = 3;
    w.o_physical = o;
    w.c_physical = c;
    w.order = forward ? WeightOrder::forward : WeightOrder::turned;
    k.pack_weights(w);
    prepared.resize(static_cast<std::size_t>(kernels::winograd_weights(f.form, o, c)));
    w.from = packed.data();
    w.to = prepared.data();
    (k.*f.prepare)(w);
  }

  void operator()(int threads) {
    const core::ThreadScope scope(threads);
    workspace.assign(static_cast<std::size_t>(kernels::winograd_workspace(f.form, args, lanes, threads)),
                     std::nanf(""));
    args.workspace = workspace.data();
    (k.*f.conv)(args);
  }

  Tensor reference() const {
    Tensor want(to);
    const View<const float> w(weights.data(), {q.o, q.c, 3, 3});
    const kernels::Conv2d geometry{.stride = f.stride, .pad_h = 1, .pad_w = 1};
    if (forward)
      kernels::conv2d_fwd<float>(x.view, w, {}, want.view<float>(), geometry);
    else
      kernels::conv2d_bwd_x<float>(x.view, w, want.view<float>(), geometry);
    return want;
  }
};

struct Difference {
  index_t mismatches = 0;
  double worst = 0, relative = 0;  ///< largest of the largest |b|; in the L2 norm
};

Difference compare(View<const float> a, View<const float> b) {
  Difference d;
  double largest = 0, errors = 0, squares = 0;
  const Shape& s = b.shape;
  for (index_t n = 0; n < s.n; ++n)
    for (index_t c = 0; c < s.c; ++c)
      for (index_t h = 0; h < s.h; ++h)
        for (index_t w = 0; w < s.w; ++w) {
          const double got = a.at(n, c, h, w), want = b.at(n, c, h, w), e = std::fabs(got - want);
          if (!(e == 0)) ++d.mismatches;
          if (!(e <= d.worst)) d.worst = e;
          largest = std::max(largest, std::fabs(want));
          errors += e * e;
          squares += want * want;
        }
  d.worst = largest > 0 ? d.worst / largest : d.worst;
  d.relative = squares > 0 ? std::sqrt(errors / squares) : std::sqrt(errors);
  return d;
}

/// By how much a form lets the rounding of its products grow, relative to the result. For data and weights of variance
/// 1 the product at point p varies by |B_p|^2 |G_p|^2, and its error, which is a share of its size, reaches y_i by
/// A_ip: so the square is the mean over i of sum_p A_ip^2 |B_p|^2 |G_p|^2 / 3 taps, squared for two dimensions; with
/// stride 2 the sums of both phases come together. Gradients have the same products of norms, in another order.
double growth(index_t m, index_t stride) { return stride == 1 ? (m == 2 ? 1.7 : 10.8) : (m == 2 ? 2.3 : 5.5); }

/// In the L2 norm: u (4 + sqrt(K) / 2) times the growth. A sum of K terms of either sign is off by 0.4 u sqrt(K) of its
/// size, as every addition rounds a partial sum; 4 u are for the transforms. The largest error may be five times that
/// of the norm, relative to the largest value.
double relative_error(index_t m, index_t stride, index_t k) {
  return growth(m, stride) * std::ldexp(1.0, -24) * (4 + std::sqrt(static_cast<double>(k)) / 2);
}

template <class F>
void on_every_isa(F&& f) {
  for (const Isa isa : kernels::available_isas()) {
    CAPTURE(std::string(kernels::name_of(isa)));
    f(*kernels::kernels_of(isa));
  }
}

}  // namespace

TEST_CASE("Winograd with M = 2 is exact on integers, with M = 4 close, whatever the shape") {
  on_every_isa([](const Kernels& k) {
    for (const Case& q : small)
      for (const Form& f : forms)
        for (const bool gaps : {false, true}) {
          CAPTURE(q.n);
          CAPTURE(q.c);
          CAPTURE(q.o);
          CAPTURE(q.h);
          CAPTURE(q.w);
          CAPTURE(f.name);
          Run run(q, f, k, true, gaps);
          const Tensor want = run.reference();
          std::vector<float> first;
          for (const int threads : {1, 2, 3}) {
            CAPTURE(threads);
            run.y.fill([] { return std::nanf(""); });
            run(threads);
            const Difference d = compare(run.y.view, want.view<float>());
            if (f.m == 2)
              CHECK(d.mismatches == 0);
            else
              CHECK(d.worst <= 2e-5);
            if (threads == 1) first = run.y.memory;
            CHECK((first.empty() || std::memcmp(first.data(), run.y.memory.data(), first.size() * sizeof(float)) == 0));
          }
        }
  });
}

TEST_CASE("Winograd keeps to the error of its form on real layers") {
  on_every_isa([](const Kernels& k) {
    for (const Case& q : {Case{1, 16, 16, 40, 40}, Case{1, 64, 64, 20, 20}, Case{1, 128, 64, 20, 20},
                          Case{1, 256, 32, 10, 10}, Case{1, 512, 32, 10, 10}})
      for (const Form& f : forms) {
        if (f.way == Way::backward && f.stride == 1) continue;
        CAPTURE(q.c);
        CAPTURE(f.name);
        Run run(q, f, k, false, false);
        run(1);
        const Difference d = compare(run.y.view, run.reference().view<float>());
        // A sum of stride 2 runs over up to four slices on the way forward.
        const double allowed =
            relative_error(f.m, f.stride, f.stride == 2 && f.way == Way::forward ? 4 * run.from.c : run.from.c);
        CHECK(d.relative <= allowed);
        CHECK(d.worst <= 5 * allowed);
      }
  });
}

TEST_CASE("Winograd finishes its sums: scale, bias, activation, residual, or adds to what is there") {
  on_every_isa([](const Kernels& k) {
    for (const Case& q : {Case{2, 17, 33, 9, 14}, Case{1, 16, 16, 8, 8}})
      for (const Form& f : forward_forms)
        for (const Act act : {Act::none, Act::silu, Act::relu, Act::leaky_relu}) {
          CAPTURE(f.name);
          CAPTURE(static_cast<int>(act));
          Run run(q, f, k, true, true);
          const Tensor sums = run.reference();
          const index_t channels = whole(q.o, run.lanes);
          std::vector<float> scale(static_cast<std::size_t>(channels), 0), bias = scale;
          Numbers next{.integers = false};
          for (index_t c = 0; c < q.o; ++c) {
            scale[static_cast<std::size_t>(c)] = next();
            bias[static_cast<std::size_t>(c)] = next();
          }
          Map residual(run.to, run.lanes, true);
          residual.fill(next);
          kernels::Epilogue& e = run.args.epilogue;
          e.act = act;
          e.slope = 0.1F;
          e.scale = scale.data();
          e.bias = bias.data();
          e.residual = residual.view.data;
          e.rn = residual.view.sn;
          e.rb = residual.view.sc;
          e.rh = residual.view.sh;
          Tensor want(run.to);
          const View<float> w = want.view<float>();
          for (index_t n = 0; n < q.n; ++n)
            for (index_t c = 0; c < q.o; ++c)
              for (index_t i = 0; i < run.to.h; ++i)
                for (index_t j = 0; j < run.to.w; ++j) {
                  const auto channel = static_cast<std::size_t>(c);
                  const double z =
                      static_cast<double>(sums.view<float>().at(n, c, i, j)) * static_cast<double>(scale[channel]) +
                      static_cast<double>(bias[channel]);
                  w.at(n, c, i, j) = static_cast<float>(kernels::act_value({act, 0.1}, z) +
                                                        static_cast<double>(residual.view.at(n, c, i, j)));
                }
          run(2);
          CHECK(compare(run.y.view, w).worst <= (f.m == 4 ? 2e-5 : 1e-6));
        }
  });
}

TEST_CASE("Winograd adds to y when asked") {
  on_every_isa([](const Kernels& k) {
    for (const Form& f : forms) {
      CAPTURE(f.name);
      Run run({2, 17, 33, 9, 14}, f, k, true, true);
      Tensor want = run.reference();
      Numbers next{.integers = true};
      run.y.fill(next);
      kernels::add<float>(want.view<float>(), run.y.view, want.view<float>());
      run.args.epilogue.add = true;
      run(3);
      const Difference d = compare(run.y.view, want.view<float>());
      if (f.m == 2)
        CHECK(d.mismatches == 0);
      else
        CHECK(d.worst <= 2e-5);
    }
  });
}

TEST_CASE("Winograd gathers the moments of each part, the same on any number of threads") {
  on_every_isa([](const Kernels& k) {
    for (const Case& q : {Case{2, 17, 33, 9, 14}, Case{3, 16, 16, 40, 160}, Case{2, 5, 40, 6, 3}})
      for (const Form& f : forward_forms) {
        CAPTURE(q.h);
        CAPTURE(f.name);
        Run run(q, f, k, false, true);
        const index_t channels = whole(q.o, run.lanes), strips = (run.to.h + run.args.strip - 1) / run.args.strip;
        std::vector<float> first;
        for (const int threads : {1, 2, 3}) {
          std::vector<float> moments(static_cast<std::size_t>(q.n * strips * 3 * channels), std::nanf(""));
          run.args.epilogue.moments = moments.data();
          run(threads);
          if (first.empty()) first = moments;
          CHECK(first == moments);
        }
        for (index_t part = 0; part < q.n * strips; ++part)
          for (index_t c = 0; c < q.o; ++c) {
            const float* row = first.data() + part * 3 * channels + c;
            const double offset = static_cast<double>(row[0]);
            double sum = 0, squares = 0, size = 0;
            const index_t top = part % strips * run.args.strip;
            for (index_t i = top; i < std::min(run.to.h, top + run.args.strip); ++i)
              for (index_t j = 0; j < run.to.w; ++j) {
                const double d = static_cast<double>(run.y.view.at(part / strips, c, i, j)) - offset;
                sum += d;
                squares += d * d;
                size += std::fabs(d);
              }
            CHECK(std::fabs(sum - static_cast<double>(row[channels])) <= 1e-5 * size);
            CHECK(std::fabs(squares - static_cast<double>(row[2 * channels])) <= 1e-5 * squares);
          }
      }
  });
}

namespace {

/// A form that makes the gradient of the weights.
struct GradForm {
  std::string_view name;
  index_t m, stride;
  const kernels::WinogradForm& form;
  void (*Kernels::*gradient)(const kernels::ConvGradArgs&) noexcept;
};

const GradForm grad_forms[] = {{"F(2, 3)", 2, 1, kernels::winograd2, &Kernels::winograd2_bwd_w},
                               {"F(4, 3)", 4, 1, kernels::winograd4, &Kernels::winograd4_bwd_w},
                               {"F(2, 2)", 2, 2, kernels::winograd2s2, &Kernels::winograd2s2_bwd_w},
                               {"F(4, 2)", 4, 2, kernels::winograd4s2, &Kernels::winograd4s2_bwd_w}};

/// The gradient of the weights of one convolution on one ISA.
struct GradRun {
  Case q;
  const GradForm& f;
  index_t lanes;
  const Kernels& k;
  Map x, dy;
  std::vector<float> packed, workspace;
  Tensor dw;
  kernels::ConvGradArgs args;

  GradRun(const Case& shape, const GradForm& which, const Kernels& table, bool integers, bool gaps)
      : q(shape),
        f(which),
        lanes(table.lanes),
        k(table),
        x({q.n, q.c, q.h, q.w}, lanes, gaps),
        dy({q.n, q.o, strided(q.h, f.stride), strided(q.w, f.stride)}, lanes, gaps),
        dw({q.o, q.c, 3, 3}) {
    Numbers next{.integers = integers};
    x.fill(next);
    dy.fill(next);
    args.n = q.n;
    args.x_blocks = whole(q.c, lanes) / lanes;
    args.y_blocks = whole(q.o, lanes) / lanes;
    args.h = q.h;
    args.w = q.w;
    args.oh = dy.view.shape.h;
    args.ow = dy.view.shape.w;
    args.stride = f.stride;
    args.kh = args.kw = 3;
    args.pad_h = args.pad_w = 1;
    args.x = x.view.data;
    args.xn = x.view.sn;
    args.xb = x.view.sc;
    args.xh = x.view.sh;
    args.dy = dy.view.data;
    args.yn = dy.view.sn;
    args.yb = dy.view.sc;
    args.yh = dy.view.sh;
    packed.resize(static_cast<std::size_t>(args.x_blocks * args.y_blocks * 9 * lanes * lanes));
    args.dw = packed.data();
  }

  void operator()(int threads) {
    const core::ThreadScope scope(threads);
    workspace.assign(static_cast<std::size_t>(kernels::winograd_grad_workspace(f.form, args, lanes, threads)),
                     std::nanf(""));
    args.workspace = workspace.data();
    for (float& w : packed) w = std::nanf("");
    (k.*f.gradient)(args);
    WeightArgs w;
    w.from = packed.data();
    w.to = dw.data<float>();
    w.o = q.o;
    w.c = q.c;
    w.kh = w.kw = 3;
    w.o_physical = args.y_blocks * lanes;
    w.c_physical = args.x_blocks * lanes;
    w.order = WeightOrder::forward;
    k.unpack_weights(w);
  }

  Tensor reference() const {
    Tensor want({q.o, q.c, 3, 3});
    kernels::conv2d_bwd_w<float>(x.view, dy.view, want.view<float>(), {.stride = f.stride, .pad_h = 1, .pad_w = 1});
    return want;
  }
};

}  // namespace

TEST_CASE(
    "Winograd weight gradients: with M = 2 exact on integers, with M = 4 close, the same on any number of threads") {
  on_every_isa([](const Kernels& k) {
    for (const Case& q : small)
      for (const GradForm& f : grad_forms)
        for (const bool gaps : {false, true}) {
          CAPTURE(q.n);
          CAPTURE(q.c);
          CAPTURE(q.o);
          CAPTURE(q.h);
          CAPTURE(q.w);
          CAPTURE(f.name);
          GradRun run(q, f, k, true, gaps);
          const Tensor want = run.reference();
          std::vector<float> first;
          for (const int threads : {1, 2, 3}) {
            CAPTURE(threads);
            run(threads);
            const Difference d = compare(run.dw.view<float>(), want.view<float>());
            if (f.m == 2)
              CHECK(d.mismatches == 0);
            else
              CHECK(d.worst <= 2e-5);
            if (threads == 1) first = run.packed;
            CHECK(first == run.packed);
          }
        }
  });
}

TEST_CASE("Winograd weight gradients keep to the error of their form on real layers") {
  on_every_isa([](const Kernels& k) {
    for (const Case& q : {Case{2, 16, 16, 80, 80}, Case{2, 64, 64, 20, 20}, Case{1, 128, 64, 20, 20},
                          Case{8, 256, 32, 10, 10}, Case{1, 512, 32, 10, 10}})
      for (const GradForm& f : grad_forms) {
        CAPTURE(q.c);
        CAPTURE(f.name);
        GradRun run(q, f, k, false, false);
        run(2);
        const Difference d = compare(run.dw.view<float>(), run.reference().view<float>());
        const Shape& s = run.dy.view.shape;
        const double allowed = relative_error(f.m, f.stride, s.n * strided(s.h, f.m) * strided(s.w, f.m));
        CHECK(d.relative <= allowed);
        CHECK(d.worst <= 5 * allowed);
      }
  });
}

namespace {

/// The first layer of a network on one ISA: a plain picture, 6x6 taps of stride 2.
struct StemRun {
  Tensor x, w, dw;
  Map y;
  const Kernels& k;
  WeightArgs order;

  StemRun(const Case& q, const Kernels& table)
      : x({q.n, q.c, q.h, q.w}),
        w({q.o, q.c, 6, 6}),
        dw(w.shape()),
        y({q.n, q.o, q.h / 2, q.w / 2}, table.lanes, true),
        k(table) {
    Numbers next{.integers = false};
    for (Tensor* t : {&x, &w})
      for (index_t i = 0; i < t->numel(); ++i) t->data<float>()[i] = next();
    y.fill(next);
    order.o = q.o;
    order.c = order.c_physical = q.c;
    order.kh = order.kw = 6;
    order.o_physical = whole(q.o, k.lanes);
    order.order = WeightOrder::planes;
  }

  template <class Args>
  void set(Args& a) const {
    const Shape &from = x.shape(), &to = y.view.shape;
    a.n = from.n;
    a.planes = from.c;
    a.h = from.h;
    a.w = from.w;
    a.oh = to.h;
    a.ow = to.w;
    a.kh = a.kw = 6;
    a.stride = a.pad_h = a.pad_w = 2;
    a.y_blocks = whole(to.c, k.lanes) / k.lanes;
    a.x = x.data<float>();
    a.xh = from.w;
    a.xb = from.h * from.w;
    a.xn = from.c * a.xb;
    a.yn = y.view.sn;
    a.yb = y.view.sc;
    a.yh = y.view.sh;
  }

  [[nodiscard]] std::size_t packed() const { return static_cast<std::size_t>(order.o_physical * order.c * 36); }

  void forward(int threads) {
    const core::ThreadScope scope(threads);
    std::vector<float> packed_w(packed());
    WeightArgs a = order;
    a.from = w.data<float>();
    a.to = packed_w.data();
    k.pack_weights(a);
    std::vector<float> prepared(static_cast<std::size_t>(kernels::winograd_stem_weights(a.o_physical)));
    a.from = packed_w.data();
    a.to = prepared.data();
    k.winograd4_stem_prepare(a);
    ConvArgs c;
    set(c);
    c.y = y.view.data;
    c.weights = prepared.data();
    c.strip = kernels::winograd_strip(kernels::winograd4_stem, c, k.lanes);
    std::vector<float> workspace(
        static_cast<std::size_t>(kernels::winograd_workspace(kernels::winograd4_stem, c, k.lanes, threads)),
        std::nanf(""));
    c.workspace = workspace.data();
    k.winograd4_stem_conv(c);
  }

  void gradient(int threads) {
    const core::ThreadScope scope(threads);
    kernels::ConvGradArgs c;
    set(c);
    std::vector<float> packed_dw(packed(), std::nanf(""));
    c.dy = y.view.data;
    c.dw = packed_dw.data();
    std::vector<float> workspace(
        static_cast<std::size_t>(kernels::winograd_grad_workspace(kernels::winograd4_stem, c, k.lanes, threads)),
        std::nanf(""));
    c.workspace = workspace.data();
    k.winograd4_stem_bwd_w(c);
    WeightArgs a = order;
    a.from = packed_dw.data();
    a.to = dw.data<float>();
    k.unpack_weights(a);
  }
};

void check_stem(const Difference& d, index_t terms) {
  const double allowed = relative_error(4, 1, terms);
  CHECK(d.relative <= allowed);
  CHECK(d.worst <= 5 * allowed);
}

}  // namespace

TEST_CASE("Winograd of a plain picture's phases keeps to the error of F(4, 3), the same on any number of threads") {
  constexpr kernels::Conv2d geometry{.stride = 2, .pad_h = 2, .pad_w = 2};
  on_every_isa([&](const Kernels& k) {
    for (const Case& q :
         {Case{1, 3, 16, 64, 96}, Case{2, 3, 32, 45, 83}, Case{1, 1, 17, 8, 200}, Case{3, 2, 33, 21, 9}}) {
      CAPTURE(q.c);
      CAPTURE(q.w);
      StemRun run(q, k);
      const Shape to = run.y.view.shape;
      Tensor dw(run.w.shape()), y(to);
      kernels::conv2d_bwd_w<float>(run.x.view<float>(), run.y.view, dw.view<float>(), geometry);
      kernels::conv2d_fwd<float>(run.x.view<float>(), run.w.view<float>(), {}, y.view<float>(), geometry);
      std::vector<float> first, first_dw;
      for (const int threads : {1, 2, 3}) {
        CAPTURE(threads);
        run.gradient(threads);
        check_stem(compare(run.dw.view<float>(), dw.view<float>()), to.n * strided(to.h, 4) * strided(to.w, 4));
        const std::span<const float> got(run.dw.data<float>(), static_cast<std::size_t>(run.dw.numel()));
        if (threads == 1) first_dw.assign(got.begin(), got.end());
        CHECK(std::equal(got.begin(), got.end(), first_dw.begin()));
      }
      for (const int threads : {1, 2, 3}) {
        CAPTURE(threads);
        run.forward(threads);
        check_stem(compare(run.y.view, y.view<float>()), 4 * q.c);
        if (threads == 1) first = run.y.memory;
        CHECK(std::memcmp(first.data(), run.y.memory.data(), first.size() * sizeof(float)) == 0);
      }
    }
  });
}
