#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>

#include "core/threads.hpp"
#include "golden_case.hpp"
#include "shared_data.hpp"
#include "slimneck/kernels.hpp"

namespace slimneck::test {

namespace {

using kernels::Conv2d;

struct Case {
  Shape x;
  index_t outputs, kh, kw;
  Conv2d p;

  [[nodiscard]] Shape w() const { return {outputs, x.c / p.groups, kh, kw}; }
  [[nodiscard]] Shape bias() const { return {1, outputs, 1, 1}; }
  [[nodiscard]] Shape y() const {
    return {x.n, outputs, (x.h + 2 * p.pad_h - p.dilation * (kh - 1) - 1) / p.stride + 1,
            (x.w + 2 * p.pad_w - p.dilation * (kw - 1) - 1) / p.stride + 1};
  }
};

// Every k, s, p, d, g that the networks use and odd ones besides; channel counts on both sides of the kernels' tiles,
// rows longer than their row buffers, empty batches, maps of one pixel, outputs that see nothing but padding.
constexpr Case cases[] = {
    {{1, 5, 7, 9}, 7, 1, 1, {}},
    {{2, 7, 9, 6}, 5, 1, 1, {2}},
    {{3, 16, 4, 5}, 24, 1, 1, {3}},
    {{1, 17, 6, 5}, 9, 3, 3, {1, 1, 1}},
    {{3, 8, 9, 7}, 12, 3, 3, {2, 1, 1}},
    {{1, 4, 10, 11}, 5, 3, 3, {3, 1, 1}},
    {{1, 4, 6, 7}, 5, 3, 3, {}},
    {{0, 4, 6, 7}, 5, 3, 3, {1, 1, 1}},
    {{1, 3, 16, 12}, 16, 6, 6, {2, 2, 2}},
    {{3, 3, 17, 13}, 8, 6, 6, {2, 2, 2}},
    {{1, 6, 9, 9}, 4, 5, 5, {1, 2, 2}},
    {{1, 6, 11, 10}, 4, 5, 5, {2, 2, 2}},
    {{3, 12, 7, 7}, 12, 5, 5, {1, 2, 2, 1, 12}},
    {{1, 19, 9, 9}, 19, 3, 3, {2, 1, 1, 1, 19}},
    {{1, 6, 5, 5}, 12, 3, 3, {1, 1, 1, 1, 6}},
    {{1, 4, 5, 6}, 4, 17, 17, {1, 8, 8, 1, 4}},
    {{3, 8, 6, 5}, 12, 3, 3, {1, 1, 1, 1, 2}},
    {{1, 20, 6, 5}, 20, 3, 3, {2, 1, 1, 1, 2}},
    {{1, 6, 9, 8}, 8, 3, 3, {1, 2, 2, 2, 1}},
    {{1, 4, 15, 14}, 3, 3, 3, {2, 3, 3, 3, 1}},
    {{1, 4, 13, 14}, 4, 5, 5, {3, 4, 4, 2, 4}},
    {{2, 4, 5, 6}, 6, 1, 3, {1, 0, 1}},
    {{2, 4, 6, 5}, 6, 3, 1, {2, 1, 0}},
    {{3, 9, 1, 1}, 5, 3, 3, {1, 1, 1}},
    {{1, 9, 1, 1}, 9, 5, 5, {1, 2, 2, 1, 9}},
    {{1, 3, 1, 1}, 2, 6, 6, {2, 3, 3}},
    {{1, 2, 3, 4}, 3, 3, 3, {1, 5, 6}},
    {{1, 2, 3, 300}, 3, 3, 3, {1, 1, 1}},
    {{1, 2, 3, 301}, 3, 6, 6, {2, 3, 3}},
    {{1, 3, 3, 129}, 3, 5, 5, {1, 2, 2, 1, 3}},
};

/// f(index in y, index in w, index in x) for every product of the convolution: the definition, in seven loops.
template <class F>
void for_each_product(const Case& k, const F& f) {
  const Numbers x(k.x), w(k.w()), y(k.y());
  for (index_t n = 0; n < y.shape.n; ++n)
    for (index_t o = 0; o < y.shape.c; ++o)
      for (index_t i = 0; i < y.shape.h; ++i)
        for (index_t j = 0; j < y.shape.w; ++j)
          for (index_t c = 0; c < w.shape.c; ++c)
            for (index_t u = 0; u < k.kh; ++u)
              for (index_t v = 0; v < k.kw; ++v) {
                const index_t h = i * k.p.stride - k.p.pad_h + u * k.p.dilation;
                const index_t l = j * k.p.stride - k.p.pad_w + v * k.p.dilation;
                if (h < 0 || h >= x.shape.h || l < 0 || l >= x.shape.w) continue;
                const index_t channel = o / (k.outputs / k.p.groups) * w.shape.c + c;
                f(y.index(n, o, i, j), w.index(o, c, u, v), x.index(n, channel, h, l));
              }
}

/// What the three convolutions and the bias gradient should be.
struct Expected {
  Numbers y, dx, dw, db;
};

Expected expect(const Case& k, const Numbers& x, const Numbers& w, const Numbers& bias, const Numbers& dy) {
  Expected e{Numbers(k.y()), Numbers(k.x), Numbers(k.w()), Numbers(k.bias())};
  const Shape s = k.y();
  for (std::size_t i = 0; i < e.y.values.size(); ++i) {
    const std::size_t channel = i / static_cast<std::size_t>(s.h * s.w) % static_cast<std::size_t>(s.c);
    e.y.values[i] = bias.values[channel];
    e.db.values[channel] += dy.values[i];
  }
  for_each_product(k, [&](std::size_t yi, std::size_t wi, std::size_t xi) {
    e.y.values[yi] += w.values[wi] * x.values[xi];
    e.dx.values[xi] += w.values[wi] * dy.values[yi];
    e.dw.values[wi] += x.values[xi] * dy.values[yi];
  });
  return e;
}

/// What the kernels give, with everything in one layout (bias and weights dense or sliced alike).
template <class T>
Expected run(const Case& k, const Numbers& x, const Numbers& w, const Numbers& bias, const Numbers& dy,
             const Layout& layout) {
  const Guarded<T> gx(x, layout), gw(w, layout), gb(bias, layout), gdy(dy, layout);
  Guarded<T> y(k.y(), layout), dx(k.x, layout), dw(k.w(), layout), db(k.bias(), layout);
  kernels::conv2d_fwd<T>(gx.read(), gw.read(), gb.read(), y.view(), k.p);
  kernels::conv2d_bwd_x<T>(gdy.read(), gw.read(), dx.view(), k.p);
  kernels::conv2d_bwd_w<T>(gx.read(), gdy.read(), dw.view(), k.p);
  kernels::channel_sum<T>(gdy.read(), db.view());
  CHECK(y.intact());
  CHECK(dx.intact());
  CHECK(dw.intact());
  CHECK(db.intact());
  return {y.numbers(), dx.numbers(), dw.numbers(), db.numbers()};
}

void check_same(const Expected& got, const Expected& want) {
  CHECK(same_bits(got.y, want.y));
  CHECK(same_bits(got.dx, want.dx));
  CHECK(same_bits(got.dw, want.dw));
  CHECK(same_bits(got.db, want.db));
}

/// 0 and -0 are one number to a sum of integers.
Expected without_signed_zeros(Expected e) {
  for (Numbers* x : {&e.y, &e.dx, &e.dw, &e.db})
    for (double& v : x->values) v += 0.0;
  return e;
}

double dot(const Numbers& a, const Numbers& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) sum += a.values[i] * b.values[i];
  return sum;
}

Numbers absolute(Numbers x) {
  for (double& v : x.values) v = std::abs(v);
  return x;
}

/// Products in the longest sum of each kind: y, dx, dw, db.
std::array<index_t, 4> lengths(const Case& k) {
  const index_t area = k.kh * k.kw;
  const Shape y = k.y();
  return {k.x.c / k.p.groups * area + 1, k.outputs / k.p.groups * area, y.n * y.h * y.w, y.n * y.h * y.w};
}

template <class T>
void check_adjoint(const Case& k) {
  const Numbers x = reals(k.x, 1), w = reals(k.w(), 2), dy = reals(k.y(), 3), zero(k.bias());
  const Expected r = run<T>(k, x, w, zero, dy, {});
  double magnitude = 0;
  for_each_product(k, [&](std::size_t yi, std::size_t wi, std::size_t xi) {
    magnitude += std::abs(dy.values[yi] * w.values[wi] * x.values[xi]);
  });
  // Each of the three numbers below carries the roundings of its kernel and of its dot product here.
  const auto [ky, kx, kw, kb] = lengths(k);
  const index_t longest = std::max({ky, kx, kw}) + static_cast<index_t>(dy.values.size() + x.values.size());
  const double bound =
      2 * (roundoff<T> * sum_factor(std::max({ky, kx, kw})) + roundoff<double> * sum_factor(longest)) * magnitude;
  CHECK(std::abs(dot(r.y, dy) - dot(r.dx, x)) <= bound);
  CHECK(std::abs(dot(r.y, dy) - dot(r.dw, w)) <= bound);
}

constexpr const char* golden_names[] = {"c1x1", "c1x1s2",     "c3x3",    "c3x3s2_odd", "c6x6s2p2", "c6x6s2p2_odd",
                                        "dil2", "dw17_small", "dw3x3s2", "dw5x5",      "dw_mult2", "g2",
                                        "k1x3", "odd_ch",     "pad0",    "s3"};

/// Geometry from the metadata; the padding is a number or "[height, width]".
Case golden_geometry(const SafeTensors& file, const Shape& x, const Shape& w) {
  const auto number = [&](const char* key) { return std::strtoll(file.metadata().at(key).c_str(), nullptr, 10); };
  Case k{x, w.n, w.h, w.w, {number("stride"), number("pad"), number("pad"), number("dilation"), number("groups")}};
  const std::string& pad = file.metadata().at("pad");
  if (pad[0] == '[') {
    char* rest = nullptr;
    k.p.pad_h = std::strtoll(pad.c_str() + 1, &rest, 10);
    k.p.pad_w = std::strtoll(rest + 1, nullptr, 10);
  }
  return k;
}

template <class T>
void check_golden(const std::string& name) {
  CAPTURE(name);
  const SafeTensors file = SafeTensors::read(test_data("ops/conv2d_" + name + ".safetensors"));
  const Numbers x = golden(file, "x"), w = golden(file, "w"), dy = golden(file, "R");
  const Case k = golden_geometry(file, x.shape, w.shape);
  const bool has_bias = file.find("b") != nullptr;
  const Numbers bias = has_bias ? golden(file, "b") : Numbers(k.bias());
  const Expected got = run<T>(k, x, w, bias, dy, {});
  const Expected size = expect(k, absolute(x), absolute(w), absolute(bias), absolute(dy));
  const auto [ky, kx, kw, kb] = lengths(k);
  const auto compare = [&](const Numbers& value, const char* tensor, index_t terms, const Numbers& magnitude) {
    CAPTURE(tensor);
    check_near(value, golden(file, tensor), [&](std::size_t i) { return sum_bound<T>(terms, magnitude.values[i]); });
  };
  compare(got.y, "f64.y", ky, size.y);
  compare(got.dx, "f64.grad.x", kx, size.dx);
  compare(got.dw, "f64.grad.w", kw, size.dw);
  if (has_bias) compare(got.db, "f64.grad.b", kb, size.db);
}

}  // namespace

TEST_SUITE("kernels_conv2d") {
  TEST_CASE_TEMPLATE("integers are exact in every geometry and layout, and nothing else is touched", T, float, double) {
    for (const Case& k : cases) {
      CAPTURE(&k - cases);
      const Numbers x = integers(k.x, 1), w = integers(k.w(), 2), bias = integers(k.bias(), 3), dy = integers(k.y(), 4);
      const Expected want = expect(k, x, w, bias, dy);
      for (const Layout& layout : layouts) {
        CAPTURE(&layout - layouts);
        check_same(without_signed_zeros(run<T>(k, x, w, bias, dy, layout)), without_signed_zeros(want));
      }
    }
  }

  TEST_CASE_TEMPLATE("a bias without data is zero", T, float, double) {
    const Case& k = cases[3];
    const Numbers x = integers(k.x, 1), w = integers(k.w(), 2), zero(k.bias()), dy(k.y());
    const Guarded<T> gx(x, {}), gw(w, {});
    Guarded<T> y(k.y(), {});
    kernels::conv2d_fwd<T>(gx.read(), gw.read(), {}, y.view(), k.p);
    CHECK(same_bits(y.numbers(), run<T>(k, x, w, zero, dy, {}).y));
  }

  TEST_CASE_TEMPLATE("the gradients are adjoint to the forward pass", T, float, double) {
    for (const Case& k : cases) {
      CAPTURE(&k - cases);
      check_adjoint<T>(k);
    }
  }

  TEST_CASE_TEMPLATE("threads and layouts change no bit", T, float, double) {
    for (const Case& k : cases) {
      CAPTURE(&k - cases);
      const Numbers x = reals(k.x, 1), w = reals(k.w(), 2), bias = reals(k.bias(), 3), dy = reals(k.y(), 4);
      const auto with_threads = [&](int threads, const Layout& layout) {
        const core::ThreadScope scope(threads);
        return run<T>(k, x, w, bias, dy, layout);
      };
      const Expected one = with_threads(1, {});
      for (const int threads : {2, 4}) check_same(with_threads(threads, {}), one);
      for (const Layout& layout : layouts) check_same(with_threads(2, layout), one);
    }
  }

  TEST_CASE("taps that meet only padding do not count, whatever their weight") {
    const Case k{{1, 2, 1, 1}, 1, 3, 3, {1, 1, 1}};
    Numbers w(k.w());
    for (double& v : w.values) v = std::numeric_limits<double>::quiet_NaN();
    w.at(0, 0, 1, 1) = 2;
    w.at(0, 1, 1, 1) = 3;
    Numbers x(k.x), dy(k.y());
    x.values = {5, 7};
    dy.values = {1};
    const Expected r = run<float>(k, x, w, Numbers(k.bias()), dy, {});
    CHECK(r.y.values == std::vector<double>{31});
    CHECK(r.dx.values == std::vector<double>{2, 3});
    CHECK(r.dw.at(0, 0, 1, 1) == 5);
    CHECK(r.dw.at(0, 0, 0, 1) == 0);
  }

  TEST_CASE("golden convolutions") {
    for (const char* name : golden_names) {
      check_golden<float>(name);
      check_golden<double>(name);
    }
  }
}

}  // namespace slimneck::test
