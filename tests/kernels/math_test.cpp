// Elementary functions of every instruction set against the reference in double: every exponent, dense sweeps, limits.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kernels/dispatch.hpp"

using namespace slimneck;
using kernels::Act;
using kernels::Activation;

namespace {

struct Named {
  Act act;
  const char* name;
  double ulps;  ///< largest error of the function
};
constexpr Named functions[] = {{Act::none, "none", 0},
                               {Act::silu, "silu", 2.5},
                               {Act::mish, "mish", 4.5},
                               {Act::relu, "relu", 0},
                               {Act::leaky_relu, "leaky", 0.5001},
                               {Act::hardswish, "hardswish", 2.5},
                               {Act::sigmoid, "sigmoid", 2.5},
                               {Act::gelu, "gelu", 7}};
constexpr float slope = 0.0625F;  // exact, so that the product with it rounds once

/// Every exponent with 64 mantissas, both signs; and the range where something happens in steps of 2^-10 and finer.
std::vector<float> arguments() {
  std::vector<float> x;
  for (std::uint32_t exponent = 0; exponent < 255; ++exponent)
    for (std::uint32_t m = 0; m < 64; ++m)
      for (std::uint32_t sign = 0; sign < 2; ++sign)
        x.push_back(std::bit_cast<float>(sign << 31 | exponent << 23 | (m * 0x20821U & 0x7fffffU)));
  for (int i = -115 * 1024; i <= 115 * 1024; ++i) x.push_back(static_cast<float>(i) / 1024 + 0x1.3p-12F);
  for (int i = -8 * 16384; i <= 8 * 16384; ++i) x.push_back(static_cast<float>(i) / 16384);
  while (x.size() % 16 != 0) x.push_back(0);
  return x;
}

/// |value - exact| in units of the last place of exact as a float, subnormal or not.
double ulps(float value, double exact) {
  const float nearest = static_cast<float>(exact);
  if (std::isinf(nearest)) return value == nearest ? 0 : 1e9;
  const int exponent = nearest == 0 ? -126 : std::max(-126, std::ilogb(nearest));
  return std::abs(static_cast<double>(value) - exact) / std::ldexp(1.0, exponent - 23);
}

kernels::PointwiseArgs one_row(const std::vector<float>& x, std::vector<float>& y, index_t lanes, Act act) {
  kernels::PointwiseArgs a;
  a.n = a.blocks = a.h = 1;
  a.w = static_cast<index_t>(x.size()) / lanes;
  a.x = x.data();
  a.y = y.data();
  a.act = act;
  a.slope = slope;
  return a;
}

}  // namespace

TEST_CASE("activations are exact to a few units of the last place over the whole range") {
  const std::vector<float> x = arguments();
  std::vector<float> y(x.size());
  for (const Isa isa : kernels::available_isas())
    for (const Named& f : functions) {
      const kernels::Kernels& k = *kernels::kernels_of(isa);
      k.act_fwd(one_row(x, y, k.lanes, f.act));
      double worst = 0;
      float at = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double e = ulps(y[i], kernels::act_value({f.act, slope}, x[i]));
        if (!(e <= worst)) worst = e, at = x[i];
      }
      const std::string name = std::string(kernels::name_of(isa)) + " " + f.name;
      CAPTURE(name);
      CAPTURE(at);
      INFO(name, ": ", worst, " ulp at ", at);
      CHECK(worst <= f.ulps);
    }
}

TEST_CASE("exp and tanh") {
  const std::vector<float> x = arguments();
  std::vector<float> y(x.size());
  const auto worst = [&](double (*exact)(double)) {
    double e = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double at = ulps(y[i], exact(x[i]));
      e = at <= e ? e : at;
    }
    return e;
  };
  const float inf = std::numeric_limits<float>::infinity();
  for (const Isa isa : kernels::available_isas()) {
    CAPTURE(std::string(kernels::name_of(isa)));
    const kernels::Kernels& k = *kernels::kernels_of(isa);
    k.map_exp(one_row(x, y, k.lanes, Act::none));
    CHECK(worst([](double v) { return std::exp(v); }) <= 1.5);
    k.map_tanh(one_row(x, y, k.lanes, Act::none));
    CHECK(worst([](double v) { return std::tanh(v); }) <= 2.5);
    std::vector<float> special(16, inf), out(16);
    special[1] = -inf;
    special[2] = std::numeric_limits<float>::quiet_NaN();
    k.map_exp(one_row(special, out, k.lanes, Act::none));
    CHECK((out[0] == inf && out[1] == 0 && std::isnan(out[2])));
    k.map_tanh(one_row(special, out, k.lanes, Act::none));
    CHECK((out[0] == 1 && out[1] == -1 && std::isnan(out[2])));
  }
}

TEST_CASE("derivatives of activations") {
  const std::vector<float> x = arguments();
  const std::vector<float> ones(x.size(), 1.0F);
  std::vector<float> y(x.size());
  for (const Isa isa : kernels::available_isas())
    for (const Named& f : functions) {
      const kernels::Kernels& k = *kernels::kernels_of(isa);
      kernels::PointwiseArgs a = one_row(x, y, k.lanes, f.act);
      a.z = ones.data();
      k.act_bwd(a);
      double worst = 0;
      float at = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double exact = kernels::act_slope({f.act, slope}, x[i]);
        // The derivative is gate + x gate' where act is x gate, and near its zero the two terms cancel.
        double gate = 0;
        if (f.act == Act::silu || f.act == Act::mish || f.act == Act::gelu)
          gate = x[i] == 0 ? 0.5 : kernels::act_value({f.act}, x[i]) / x[i];
        if (f.act == Act::hardswish) gate = 0.5;
        if (f.act == Act::sigmoid) gate = kernels::act_value({Act::sigmoid}, x[i]);
        const double scale = gate + std::abs(exact - gate) + 0x1p-116;
        const double e = std::abs(static_cast<double>(y[i]) - exact) / (scale * 0x1p-24);
        if (!(e <= worst)) worst = e, at = x[i];
      }
      const std::string name = std::string(kernels::name_of(isa)) + " " + f.name;
      CAPTURE(name);
      CAPTURE(at);
      INFO(name, "': ", worst, " u at ", at);
      CHECK(worst <= 10);
    }
}

TEST_CASE("infinities are as in the reference and NaN stays NaN") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> special{inf, -inf, nan, -nan, 0.0F, -0.0F, 3e38F, -3e38F};
  std::vector<float> x(16), y(16);
  const std::vector<float> ones(16, 1.0F);
  for (std::size_t i = 0; i < 16; ++i) x[i] = special[i % 8];
  for (const Isa isa : kernels::available_isas())
    for (const Named& f : functions) {
      CAPTURE(std::string(kernels::name_of(isa)) + " " + f.name);
      const kernels::Kernels& k = *kernels::kernels_of(isa);
      kernels::PointwiseArgs a = one_row(x, y, k.lanes, f.act);
      k.act_fwd(a);
      for (std::size_t i = 0; i < 8; ++i) {
        CAPTURE(x[i]);
        const double exact = kernels::act_value({f.act, slope}, x[i]);
        CHECK(std::isnan(y[i]) == std::isnan(exact));
        if (!std::isnan(exact)) CHECK(y[i] == static_cast<float>(exact));
      }
      a.z = ones.data();
      k.act_bwd(a);
      for (std::size_t i = 0; i < 8; ++i) {
        CAPTURE(x[i]);
        const double exact = kernels::act_slope({f.act, slope}, x[i]);
        if (std::isinf(x[i]) && std::isnan(exact)) continue;  // the limit is as good as NaN
        CHECK(std::isnan(y[i]) == std::isnan(exact));
        if (!std::isnan(exact)) CHECK(y[i] == doctest::Approx(exact).epsilon(1e-6));
      }
    }
}
