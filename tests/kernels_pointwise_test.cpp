#include <cmath>
#include <string>

#include "core/threads.hpp"
#include "golden_case.hpp"
#include "shared_data.hpp"
#include "slimneck/kernels.hpp"

namespace slimneck::test {

namespace {

using kernels::Act;
using kernels::Activation;

struct NamedActivation {
  const char* name;
  Activation act;
};

constexpr NamedActivation activations[] = {{"silu", {Act::silu}},
                                           {"mish", {Act::mish}},
                                           {"relu", {Act::relu}},
                                           {"leaky", {Act::leaky_relu, 0.1}},
                                           {"hardswish", {Act::hardswish}},
                                           {"sigmoid", {Act::sigmoid}},
                                           {"gelu", {Act::gelu}}};

constexpr Shape shape{2, 19, 3, 5};

/// One rounding to T of a value that was computed in double. The golden values and ours are short chains of functions
/// of size 1 times x, so in double both are good to a few roundings of 1 + |x|. Tiny values meet the spacing of
/// subnormals.
template <class T>
double act_bound(double x, double value) {
  return roundoff<T> * std::abs(value) + 16 * roundoff<double> * (1 + std::abs(x)) +
         static_cast<double>(std::numeric_limits<T>::denorm_min());
}

template <class T>
void check_golden(const NamedActivation& a) {
  CAPTURE(std::string(a.name));
  const SafeTensors file = SafeTensors::read(test_data(std::string("ops/act_") + a.name + ".safetensors"));
  const Numbers x = golden(file, "x"), y = golden(file, "f64.y"), slope = golden(file, "f64.grad.x");
  Numbers ones(x.shape);
  for (double& v : ones.values) v = 1;
  const Guarded<T> gx(x, {}), dy(ones, {});
  Guarded<T> gy(x.shape, {}), dx(x.shape, {});
  kernels::act_fwd<T>(gx.read(), gy.view(), a.act);
  kernels::act_bwd<T>(gx.read(), dy.read(), dx.view(), a.act);
  check_near(gy.numbers(), y, [&](std::size_t i) { return act_bound<T>(x.values[i], y.values[i]); });
  check_near(dx.numbers(), slope, [&](std::size_t i) { return act_bound<T>(x.values[i], slope.values[i]); });
}

/// Everything here is one function per element: fn of three numbers in, one number out.
template <class T, class Kernel, class Fn>
void check_elementwise(const Kernel& kernel, const Fn& fn) {
  const Numbers a = reals(shape, 1), b = reals(shape, 2);
  Numbers want(shape);
  for (std::size_t i = 0; i < want.values.size(); ++i)
    want.values[i] = static_cast<double>(static_cast<T>(fn(a.values[i], b.values[i])));
  for (const Layout& in : layouts)
    for (const Layout& out : layouts)
      for (const int threads : {1, 2, 4}) {
        const core::ThreadScope scope(threads);
        CAPTURE(&in - layouts);
        CAPTURE(&out - layouts);
        const Guarded<T> ga(a, in), gb(b, in);
        Guarded<T> y(shape, out);
        kernel(ga.read(), gb.read(), y.view());
        CHECK(same_bits(y.numbers(), want));
        CHECK(y.intact());
      }
}

}  // namespace

TEST_SUITE("kernels_pointwise") {
  TEST_CASE("golden activations and derivatives, up to |x| = 1e4") {
    for (const NamedActivation& a : activations) {
      check_golden<float>(a);
      check_golden<double>(a);
    }
  }

  TEST_CASE("activations are finite wherever x is, and NaN where x is") {
    constexpr double points[] = {0, -0.0, 1e-320, 1e-30, 1, 3, 20, 88.8, 104, 710, 746, 1e4, 1e155, 1e308};
    for (const NamedActivation& a : activations) {
      CAPTURE(std::string(a.name));
      for (const double point : points)
        for (const double x : {point, -point}) {
          CAPTURE(x);
          const double y = act_value(a.act, x);
          const double slope = act_slope(a.act, x);
          CHECK(std::isfinite(y));
          CHECK(std::abs(slope) <= 1.5);  // hardswish has the largest, just below 3
          if (point >= 1e4 && a.act.kind != Act::sigmoid) {
            const double left = a.act.kind == Act::leaky_relu ? 0.1 : 0;
            CHECK(y == (x > 0 ? x : left * x));
            CHECK(slope == (x > 0 ? 1 : left));
          }
        }
      CHECK(std::isnan(act_value(a.act, std::nan(""))));
      CHECK(std::isnan(act_slope(a.act, std::nan(""))));
    }
  }

  TEST_CASE("no activation is the identity") {
    CHECK(kernels::act_value({}, -2.5) == -2.5);
    CHECK(kernels::act_slope({}, -2.5) == 1);
    CHECK(std::isnan(kernels::act_slope({}, std::nan(""))));
  }

  TEST_CASE("derivatives are those of the values") {
    // Central differences: error h^2/6 |f'''| with |f'''| < 4 for all of these, and cancellation of 2u|f|/h, |f| < 8.
    constexpr double h = 1e-5;
    constexpr double bound = 4 * h * h / 6 + 16 * 2 * roundoff<double> / h;
    for (const NamedActivation& a : activations)
      for (double x = -7.77; x < 7.8; x += 0.31) {
        CAPTURE(std::string(a.name));
        CAPTURE(x);
        const double difference = (act_value(a.act, x + h) - act_value(a.act, x - h)) / (2 * h);
        CHECK(std::abs(act_slope(a.act, x) - difference) <= bound);
      }
  }

  TEST_CASE_TEMPLATE("every layout, every number of threads", T, float, double) {
    using In = View<const T>;
    using Out = View<T>;
    const Activation mish{Act::mish};
    check_elementwise<T>([&](In a, In, Out y) { kernels::act_fwd<T>(a, y, mish); },
                         [&](double a, double) { return act_value(mish, a); });
    check_elementwise<T>([&](In a, In b, Out y) { kernels::act_bwd<T>(a, b, y, mish); },
                         [&](double a, double b) { return b * act_slope(mish, a); });
    check_elementwise<T>([](In a, In b, Out y) { kernels::add<T>(a, b, y); }, [](double a, double b) { return a + b; });
    check_elementwise<T>([](In a, In, Out y) { kernels::copy<T>(a, y); }, [](double a, double) { return a; });
    check_elementwise<T>([](In, In, Out y) { kernels::fill_zero<T>(y); }, [](double, double) { return 0; });
  }

  TEST_CASE("outputs may be inputs") {
    const Numbers a = reals(shape, 1), b = reals(shape, 2);
    const Activation silu{Act::silu};
    Guarded<float> apart(shape, {}), x(a, {}), dy(b, {});
    kernels::act_bwd<float>(x.read(), dy.read(), apart.view(), silu);
    kernels::act_bwd<float>(x.read(), dy.read(), dy.view(), silu);
    CHECK(same_bits(dy.numbers(), apart.numbers()));
    Guarded<float> dy_again(b, {}), x_again(a, {});
    kernels::act_bwd<float>(x_again.read(), dy_again.read(), x_again.view(), silu);
    CHECK(same_bits(x_again.numbers(), apart.numbers()));
    kernels::act_fwd<float>(x.read(), apart.view(), silu);
    kernels::act_fwd<float>(x.read(), x.view(), silu);
    CHECK(same_bits(x.numbers(), apart.numbers()));
    Guarded<float> sum(a, {}), other(b, {});
    kernels::add<float>(sum.read(), other.read(), apart.view());
    kernels::add<float>(sum.read(), other.read(), other.view());
    CHECK(same_bits(other.numbers(), apart.numbers()));
  }

  TEST_CASE("an empty batch is nothing to do") {
    Guarded<float> x(Shape{0, 3, 4, 5}, {}), y(Shape{0, 3, 4, 5}, {});
    kernels::act_fwd<float>(x.read(), y.view(), {Act::silu});
    kernels::fill_zero<float>(y.view());
    CHECK(y.intact());
  }
}

}  // namespace slimneck::test
