// Depthwise convolutions of every instruction set against the reference kernels.
#include "blocked_case.hpp"
#include "kernels/depthwise/variants.hpp"
#include "kernels/norm/moments.hpp"

using namespace slimneck;
using namespace slimneck::blocked;
using kernels::Act;
using kernels::Kernels;

namespace {

struct Case {
  index_t n, c, h, w, kh, kw, s, ph, pw, d;
  index_t gap;

  [[nodiscard]] index_t oh() const { return (h + 2 * ph - d * (kh - 1) - 1) / s + 1; }
  [[nodiscard]] index_t ow() const { return (w + 2 * pw - d * (kw - 1) - 1) / s + 1; }
  [[nodiscard]] Shape x() const { return {n, c, h, w}; }
  [[nodiscard]] Shape y() const { return {n, c, oh(), ow()}; }
  [[nodiscard]] kernels::Conv2d geometry() const { return {s, ph, pw, d, c}; }
  [[nodiscard]] std::string name() const {
    return to_string(x()) + " k" + std::to_string(kh) + "x" + std::to_string(kw) + " s" + std::to_string(s) + " p" +
           std::to_string(ph) + "," + std::to_string(pw) + " d" + std::to_string(d) + " gap " + std::to_string(gap);
  }
};

Case same(index_t n, index_t c, index_t h, index_t w, index_t k, index_t s, index_t gap = 0) {
  return {n, c, h, w, k, k, s, k / 2, k / 2, 1, gap};
}

/// Everything that has its own path: channel tails, maps smaller than the kernel, every width up to two tiles, odd
/// widths with stride 2, batches, gaps, and geometries that only the general kernel knows.
std::vector<Case> cases() {
  std::vector<Case> all = {{1, 5, 7, 6, 3, 5, 1, 0, 3, 1, 0},   {2, 17, 9, 8, 3, 3, 1, 2, 2, 2, 4},
                           {1, 3, 11, 10, 5, 3, 3, 1, 1, 1, 0}, {2, 16, 6, 7, 1, 1, 2, 0, 0, 1, 0},
                           {1, 4, 9, 9, 7, 7, 1, 3, 3, 1, 0},   {1, 4, 8, 9, 5, 5, 2, 1, 1, 1, 0},
                           {1, 4, 8, 9, 5, 5, 2, 3, 2, 1, 0},   {1, 4, 5, 5, 2, 2, 2, 0, 0, 1, 0}};
  for (const index_t k : {3, 5})
    for (const index_t s : {1, 2}) {
      for (const index_t c : {1, 3, 15, 16, 17, 64}) all.push_back(same(1, c, 6, 7, k, s, c == 17 ? 12 : 0));
      for (const index_t n : {0, 1, 3}) all.push_back(same(n, 8, 9, 12, k, s));
      for (index_t size = 1; size <= 6; ++size) {
        all.push_back(same(1, 3, size, 9, k, s));
        all.push_back(same(1, 3, 9, size, k, s));
        all.push_back(same(1, 3, size, size, k, s));
      }
      for (index_t w = 7; w <= 46; ++w) all.push_back(same(1, 2, 4, w, k, s, w % 3));
      all.push_back(same(2, 20, 40, 80, k, s));
      all.push_back(same(1, 2, 8, 85, k, s, 8));
      all.push_back(same(1, 2, 70, 160, k, s));
    }
  for (const index_t k : {7, 9}) {
    for (const index_t c : {1, 15, 17, 64}) all.push_back(same(1, c, 8, 11, k, 1, c == 17 ? 12 : 0));
    for (const index_t n : {0, 3}) all.push_back(same(n, 8, 9, 12, k, 1));
    for (index_t size = 1; size <= 6; ++size) all.push_back(same(1, 3, size, size, k, 1));
    for (index_t w = 1; w <= 46; ++w) all.push_back(same(1, 2, 5, w, k, 1, w % 3));
    all.push_back(same(1, 20, 70, 85, k, 1));
  }
  return all;
}

kernels::DepthwiseArgs forward_args(const Case& c, const Map& x, const float* w, Map& y) {
  kernels::DepthwiseArgs a;
  a.n = c.n;
  a.blocks = x.blocks;
  a.h = x.view.shape.h;
  a.w = x.view.shape.w;
  a.oh = y.view.shape.h;
  a.ow = y.view.shape.w;
  a.kh = c.kh;
  a.kw = c.kw;
  a.stride = c.s;
  a.pad_h = c.ph;
  a.pad_w = c.pw;
  a.dilation = c.d;
  a.x = x.view.data;
  a.xn = x.view.sn;
  a.xb = x.view.sc;
  a.xh = x.view.sh;
  a.weights = w;
  a.y = y.view.data;
  a.yn = y.view.sn;
  a.yb = y.view.sc;
  a.yh = y.view.sh;
  return a;
}

kernels::DepthwiseGradArgs gradient_args(const Case& c, const Map& x, const Map& dy, float* dw) {
  kernels::DepthwiseGradArgs a;
  a.n = c.n;
  a.blocks = x.blocks;
  a.h = c.h;
  a.w = c.w;
  a.oh = c.oh();
  a.ow = c.ow();
  a.kh = c.kh;
  a.kw = c.kw;
  a.stride = c.s;
  a.pad_h = c.ph;
  a.pad_w = c.pw;
  a.dilation = c.d;
  a.x = x.view.data;
  a.xn = x.view.sn;
  a.xb = x.view.sc;
  a.xh = x.view.sh;
  a.dy = dy.view.data;
  a.yn = dy.view.sn;
  a.yb = dy.view.sc;
  a.yh = dy.view.sh;
  a.dw = dw;
  return a;
}

/// Weight gradients from the order of the kernels.
void unpack(const Kernels& k, const Case& c, const Guarded& packed, Map& plain) {
  kernels::WeightArgs a;
  a.from = packed.data();
  a.to = plain.view.data;
  a.o = c.c;
  a.c = a.c_physical = 1;
  a.kh = c.kh;
  a.kw = c.kw;
  a.o_physical = packed.size() / (c.kh * c.kw);
  a.order = kernels::WeightOrder::depthwise;
  k.unpack_weights(a);
}

using Reference = void (*)(View<const float>, View<const float>, View<float>, const kernels::Conv2d&);

/// One direction of the data: from is x or dy, to is y or dx.
void check_data(const Kernels& k, const Case& c, std::span<const kernels::DepthwiseVariant> variants, bool backward) {
  const Shape from = backward ? c.y() : c.x(), to = backward ? c.x() : c.y();
  const Reference reference = backward
                                  ? Reference([](View<const float> x, View<const float> w, View<float> y,
                                                 const kernels::Conv2d& g) { kernels::conv2d_bwd_x(x, w, y, g); })
                                  : Reference([](View<const float> x, View<const float> w, View<float> y,
                                                 const kernels::Conv2d& g) { kernels::conv2d_fwd(x, w, {}, y, g); });
  for (const Fill fill : {Fill::integer, Fill::real}) {
    Map x(from, k.lanes, c.gap), wanted(to, k.lanes, c.gap), sums(to, k.lanes, c.gap);
    x.fill("x", fill);
    DepthwiseWeights w(c.c, c.kh, c.kw, k.lanes, k, fill);
    reference(x.view, w.plain.view, wanted.view, c.geometry());
    if (fill != Fill::integer) {
      Map xs(from, k.lanes, c.gap);
      DepthwiseWeights ws(c.c, c.kh, c.kw, k.lanes, k, fill);
      ws.plain.magnitude();
      reference(xs.fill("x", fill).magnitude().view, ws.plain.view, sums.view, c.geometry());
    }
    for (const kernels::DepthwiseVariant& v : variants) {
      Map y(to, k.lanes, c.gap), untouched(to, k.lanes, c.gap);
      kernels::DepthwiseArgs a = forward_args(c, x, w.packed.data(), y);
      if (!v.suits(a)) continue;
      CAPTURE(v.name);
      a.strip = v.strip(a, k.lanes);
      (k.*v.run)(a);
      if (fill == Fill::integer) {
        CHECK(mismatches(y.view, wanted.view) == 0);
        CHECK(y.gaps_kept(untouched));
        a.epilogue.add = true;  // and once more on top
        a.strip = 3;
        (k.*v.run)(a);
        y.each([](float& value, index_t) { value /= 2; });
        CHECK(mismatches(y.view, wanted.view) == 0);
      } else {
        CHECK(worst(y.view, wanted.view, sums.view) <= bound(c.kh * c.kw));
      }
    }
  }
}

void check_weights(const Kernels& k, const Case& c) {
  for (const Fill fill : {Fill::integer, Fill::positive}) {
    Map x(c.x(), k.lanes, c.gap), dy(c.y(), k.lanes, c.gap), wanted({c.c, 1, c.kh, c.kw}, 1),
        got({c.c, 1, c.kh, c.kw}, 1);
    x.fill("x", fill);
    dy.fill("dy", fill);
    kernels::conv2d_bwd_w<float>(x.view, dy.view, wanted.view, c.geometry());
    for (const kernels::DepthwiseGradVariant& v : kernels::depthwise_bwd_w_variants()) {
      Guarded dw(x.blocks * k.lanes * c.kh * c.kw);
      kernels::DepthwiseGradArgs a = gradient_args(c, x, dy, dw.data());
      if (!v.suits(a)) continue;
      CAPTURE(v.name);
      Guarded workspace(v.workspace(a, k.lanes));
      a.workspace = workspace.data();
      (k.*v.run)(a);
      unpack(k, c, dw, got);
      if (fill == Fill::integer)
        CHECK(mismatches(got.view, wanted.view) == 0);
      else  // of numbers that are not negative the sum is also the sum of magnitudes
        CHECK(worst(got.view, wanted.view, wanted.view) <= 16);
    }
  }
}

}  // namespace

TEST_CASE("depthwise forward") {
  for_each_isa([](const Kernels& k) {
    for (const Case& c : cases()) {
      CAPTURE(c.name());
      check_data(k, c, kernels::depthwise_fwd_variants(), false);
    }
  });
}

TEST_CASE("depthwise gradient of the data") {
  for_each_isa([](const Kernels& k) {
    for (const Case& c : cases()) {
      CAPTURE(c.name());
      check_data(k, c, kernels::depthwise_bwd_x_variants(), true);
    }
  });
}

TEST_CASE("depthwise gradient of the weights") {
  for_each_isa([](const Kernels& k) {
    for (const Case& c : cases()) {
      CAPTURE(c.name());
      check_weights(k, c);
    }
  });
}

TEST_CASE("what follows a depthwise convolution") {
  for_each_isa([](const Kernels& k) {
    for (const Case& c : {same(2, 17, 9, 23, 5, 1, 4), same(1, 8, 10, 21, 3, 2), same(1, 3, 6, 8, 3, 1),
                          Case{1, 20, 8, 9, 5, 5, 2, 1, 1, 1, 0}}) {
      CAPTURE(c.name());
      Map x(c.x(), k.lanes, c.gap), residual(c.y(), k.lanes, 2 * c.gap), sums(c.y(), k.lanes);
      x.fill("x", Fill::integer);
      residual.fill("r", Fill::integer);
      DepthwiseWeights w(c.c, c.kh, c.kw, k.lanes, k, Fill::integer);
      kernels::conv2d_fwd<float>(x.view, w.plain.view, {}, sums.view, c.geometry());
      std::vector<float> scale, bias;
      for (index_t i = 0; i < x.blocks * k.lanes; ++i) {
        scale.push_back(0.25F * static_cast<float>(i % 3 + 1));
        bias.push_back(static_cast<float>(i % 5) - 2);
      }
      for (const kernels::DepthwiseVariant& v : kernels::depthwise_fwd_variants())
        for (const int parts : {0, 1, 2, 3, 4, 7})
          for (const Act act : {Act::none, Act::silu, Act::relu, Act::leaky_relu, Act::sigmoid}) {
            Map y(c.y(), k.lanes, c.gap);
            kernels::DepthwiseArgs a = forward_args(c, x, w.packed.data(), y);
            if (!v.suits(a)) continue;
            CAPTURE(v.name);
            CAPTURE(parts);
            a.strip = 3;
            a.epilogue.act = act;
            a.epilogue.slope = 0.125F;
            if (parts & 1) a.epilogue.scale = scale.data();
            if (parts & 2) a.epilogue.bias = bias.data();
            if (parts & 4) {
              a.epilogue.residual = residual.view.data;
              a.epilogue.rn = residual.view.sn;
              a.epilogue.rb = residual.view.sc;
              a.epilogue.rh = residual.view.sh;
            }
            (k.*v.run)(a);
            double error = 0;
            const Shape& s = y.view.shape;
            for (index_t n = 0; n < s.n; ++n)
              for (index_t ch = 0; ch < s.c; ++ch)
                for (index_t h = 0; h < s.h; ++h)
                  for (index_t i = 0; i < s.w; ++i) {
                    const auto u = static_cast<std::size_t>(ch);
                    double z = sums.view.at(n, ch, h, i);
                    if (parts & 1) z *= scale[u];
                    if (parts & 2) z += bias[u];
                    z = kernels::act_value({act, 0.125}, z);
                    if (parts & 4) z += residual.view.at(n, ch, h, i);
                    error = std::fmax(error, std::fabs(z - y.view.at(n, ch, h, i)) / (1 + std::fabs(z)));
                  }
            const bool exact = act == Act::none || act == Act::relu || act == Act::leaky_relu;
            CHECK(error <= (exact ? 0 : 3e-7));
          }
    }
  });
}

TEST_CASE("moments of a depthwise convolution") {
  for_each_isa([](const Kernels& k) {
    for (const Case& c : {same(2, 17, 9, 23, 5, 1, 4), same(3, 8, 10, 21, 3, 2), same(1, 3, 50, 64, 3, 1),
                          Case{1, 20, 8, 9, 5, 5, 2, 1, 1, 1, 0}}) {
      CAPTURE(c.name());
      Map x(c.x(), k.lanes, c.gap);
      x.fill("x", Fill::positive);  // means far from zero
      DepthwiseWeights w(c.c, c.kh, c.kw, k.lanes, k, Fill::positive);
      for (const kernels::DepthwiseVariant& v : kernels::depthwise_fwd_variants())
        for (const index_t strip : {1, 4, 100}) {
          Map y(c.y(), k.lanes);
          kernels::DepthwiseArgs a = forward_args(c, x, w.packed.data(), y);
          if (!v.suits(a)) continue;
          CAPTURE(v.name);
          const index_t channels = x.blocks * k.lanes;
          Guarded moments(kernels::moments_floats(c.n, c.oh(), strip, channels));
          a.strip = strip;
          a.epilogue.moments = moments.data();
          (k.*v.run)(a);
          std::vector<float> mean(static_cast<std::size_t>(channels)), var(mean), mean_wanted(mean), var_wanted(mean);
          kernels::merge_moments({.n = c.n,
                                  .h = c.oh(),
                                  .w = c.ow(),
                                  .strip = strip,
                                  .first = 0,
                                  .last = channels,
                                  .channels = channels,
                                  .moments = moments.data(),
                                  .mean = mean.data(),
                                  .var = var.data()});
          const Shape vector{1, c.c, 1, 1};
          kernels::bn_stats<float>(y.view, View<float>(mean_wanted.data(), vector),
                                   View<float>(var_wanted.data(), vector));
          for (std::size_t i = 0; i < static_cast<std::size_t>(c.c); ++i) {
            CHECK(mean[i] == doctest::Approx(mean_wanted[i]).epsilon(1e-6));
            CHECK(var[i] == doctest::Approx(var_wanted[i]).epsilon(8e-6));
          }
        }
    }
  });
}

TEST_CASE("depthwise results do not depend on the number of threads") {
  for_each_isa([](const Kernels& k) {
    for (const index_t s : {1, 2})
      for (const index_t kernel : {3, 5, 7, 9}) {
        const Case c = same(2, 40, 61, 83, kernel, s);
        CAPTURE(c.name());
        Map x(c.x(), k.lanes), y(c.y(), k.lanes), dx(c.x(), k.lanes), y1(c.y(), k.lanes), dx1(c.x(), k.lanes);
        x.fill("x", Fill::real);
        DepthwiseWeights w(c.c, c.kh, c.kw, k.lanes, k, Fill::real);
        Guarded dw(w.packed.size()), dw1(w.packed.size());
        for (const int threads : {1, 2, 3}) {
          const core::ThreadScope scope(threads);
          kernels::DepthwiseArgs f = forward_args(c, x, w.packed.data(), threads == 1 ? y1 : y);
          const auto& fv = kernels::choose_depthwise_fwd(f);
          f.strip = fv.strip(f, k.lanes);
          (k.*fv.run)(f);
          kernels::DepthwiseArgs b = forward_args(c, y1, w.packed.data(), threads == 1 ? dx1 : dx);
          const auto& bv = kernels::choose_depthwise_bwd_x(b);
          b.strip = bv.strip(b, k.lanes);
          (k.*bv.run)(b);
          kernels::DepthwiseGradArgs g = gradient_args(c, x, y1, threads == 1 ? dw1.data() : dw.data());
          const auto& gv = kernels::choose_depthwise_bwd_w(g);
          Guarded workspace(gv.workspace(g, k.lanes));
          g.workspace = workspace.data();
          (k.*gv.run)(g);
          if (threads == 1) continue;
          CHECK(mismatches(y.view, y1.view) == 0);
          CHECK(mismatches(dx.view, dx1.view) == 0);
          CHECK(std::memcmp(dw.data(), dw1.data(), static_cast<std::size_t>(dw.size()) * 4) == 0);
        }
      }
  });
}

TEST_CASE("a NaN reaches what it should and nothing else") {
  for_each_isa([](const Kernels& k) {
    for (const index_t s : {1, 2})
      for (const index_t kernel : {3, 5})
        for (const index_t size : {3, 12, 30}) {
          const Case c = same(1, 2, size, size, kernel, s);
          CAPTURE(c.name());
          Map x(c.x(), k.lanes), y(c.y(), k.lanes), wanted(c.y(), k.lanes), dx(c.x(), k.lanes),
              dx_wanted(c.x(), k.lanes);
          Map dw_got({c.c, 1, c.kh, c.kw}, 1), dw_wanted({c.c, 1, c.kh, c.kw}, 1), dy(c.y(), k.lanes);
          x.fill("x", Fill::integer).view.at(0, 1, 0, size - 1) = std::numeric_limits<float>::quiet_NaN();
          dy.fill("dy", Fill::integer).view.at(0, 0, 0, 0) = std::numeric_limits<float>::infinity();
          DepthwiseWeights w(c.c, c.kh, c.kw, k.lanes, k, Fill::integer);
          kernels::conv2d_fwd<float>(x.view, w.plain.view, {}, wanted.view, c.geometry());
          kernels::conv2d_bwd_x<float>(dy.view, w.plain.view, dx_wanted.view, c.geometry());
          kernels::conv2d_bwd_w<float>(x.view, dy.view, dw_wanted.view, c.geometry());
          const kernels::DepthwiseArgs f = forward_args(c, x, w.packed.data(), y);
          (k.*kernels::choose_depthwise_fwd(f).run)(f);
          CHECK(mismatches(y.view, wanted.view) == 0);
          const kernels::DepthwiseArgs b = forward_args(c, dy, w.packed.data(), dx);
          (k.*kernels::choose_depthwise_bwd_x(b).run)(b);
          CHECK(mismatches(dx.view, dx_wanted.view) == 0);
          Guarded dw(w.packed.size());
          kernels::DepthwiseGradArgs g = gradient_args(c, x, dy, dw.data());
          const auto& gv = kernels::choose_depthwise_bwd_w(g);
          Guarded workspace(gv.workspace(g, k.lanes));
          g.workspace = workspace.data();
          (k.*gv.run)(g);
          unpack(k, c, dw, dw_got);
          CHECK(mismatches(dw_got.view, dw_wanted.view) == 0);
        }
  });
}
