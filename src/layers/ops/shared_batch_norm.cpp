// Batch normalisation of a batch that is in parts of one size, each with a plan of its own: what the parts have in
// common. The sums over them are BatchPart's, in double; without a BatchPart there is one part.
//
// With N elements per channel in a part and P parts: mean = sum mean_p / P, var = sum (var_p + mean_p^2) / P - mean^2.
// The gradient of bn_apply needs dgamma / (N P) and dbeta / (N P) of the whole batch, that is the parts' averages over
// N.
#include <algorithm>
#include <cmath>

#include "kernels/norm/halves.hpp"
#include "layers/ops/fast.hpp"
#include "slimneck/parallel.hpp"

namespace slimneck::ops {

namespace {

constexpr AttributeSpec parts_attribute[] = {{"parts", Kind::integer, false, 1}};
constexpr AttributeSpec eps_attribute[] = {{"eps", Kind::real, false, 1e-3}};

void require_vectors(Shapes in, std::size_t first, const Shape& x) {
  for (std::size_t i = first; i < in.size(); ++i) require_shape("a number per channel", in[i], channel_vector(x));
}

std::vector<Shape> infer_two(const Attributes& a, Shapes in) {
  require_inputs(in, 2, 2);
  require_at_least("parts", a.integer("parts"), 1);
  require_vectors(in, 0, in[0]);
  return {in[0], in[0]};
}

std::vector<Shape> infer_sums(const Attributes&, Shapes in) {
  require_inputs(in, 4, 4);
  require_shape("x", in[1], in[0]);
  require_vectors(in, 2, in[0]);
  return {channel_vector(in[0]), channel_vector(in[0])};
}

std::vector<Shape> infer_dx(const Attributes&, Shapes in) {
  require_inputs(in, 7, 7);
  require_shape("x", in[1], in[0]);
  require_vectors(in, 2, in[0]);
  return {in[0]};
}

Cost cost_dx(const Attributes&, Shapes in, Shapes) {
  Cost c;
  c.norm_elements = in[0].numel();
  return c;
}

/// Two doubles for every channel, counted in floats.
index_t two_doubles(const Attributes&, Shapes in) { return 4 * in[0].c; }

/// The averages over the parts of what `own` gives for each channel and each of two numbers.
template <class Own>
std::span<const double> averages(const KernelCall& k, const Own& own) {
  const index_t channels = k.inputs[0].shape.c;
  const std::span<double> numbers(static_cast<double*>(k.workspace), static_cast<std::size_t>(2 * channels));
  for (index_t c = 0; c < channels; ++c) {
    const auto [first, second] = own(c);
    numbers[static_cast<std::size_t>(c)] = first;
    numbers[static_cast<std::size_t>(channels + c)] = second;
  }
  if (k.target.part != nullptr) k.target.part->sum(numbers);
  for (double& v : numbers) v /= static_cast<double>(k.attributes->integer("parts"));
  return numbers;
}

template <class T>
double channel(const KernelCall& k, std::size_t input, index_t c) {
  return static_cast<double>(k.in<T>(input).at(0, c, 0, 0));
}

template <class T>
void merge(const KernelCall& k) {
  const std::span<const double> common = averages(k, [&](index_t c) {
    const double mean = channel<T>(k, 0, c);
    return std::pair(mean, channel<T>(k, 1, c) + mean * mean);
  });
  const View<T> mean = k.out<T>(0), var = k.out<T>(1);
  for (index_t c = 0; c < mean.shape.c; ++c) {
    const double m = common[static_cast<std::size_t>(c)];
    mean.at(0, c, 0, 0) = static_cast<T>(m);
    var.at(0, c, 0, 0) = static_cast<T>(std::max(common[static_cast<std::size_t>(mean.shape.c + c)] - m * m, 0.0));
  }
}

template <class T>
void average(const KernelCall& k) {
  const std::span<const double> common =
      averages(k, [&](index_t c) { return std::pair(channel<T>(k, 0, c), channel<T>(k, 1, c)); });
  const View<T> first = k.out<T>(0), second = k.out<T>(1);
  for (index_t c = 0; c < first.shape.c; ++c) {
    first.at(0, c, 0, 0) = static_cast<T>(common[static_cast<std::size_t>(c)]);
    second.at(0, c, 0, 0) = static_cast<T>(common[static_cast<std::size_t>(first.shape.c + c)]);
  }
}

/// What both halves of the gradient are called with.
kernels::BnGradArgs gradient_args(const KernelCall& k, const float* gamma) {
  Scratch s(k.workspace);
  kernels::BnGradArgs b;
  float *scale = nullptr, *bias = nullptr;
  take_norm_bwd(s, k.inputs[1], b, scale, bias);
  lay(k.inputs[0], b.dy, b.dyn, b.dyb, b.dyh);
  lay(k.inputs[1], b.z, b.zn, b.zb, b.zh);
  b.mean = k.in<float>(2).data;
  b.var = k.in<float>(3).data;
  b.eps = k.attributes->real("eps");
  kernels::bn_fold(k.inputs[1].shape.c, b.mean, b.var, gamma, nullptr, b.eps, scale, bias);
  return b;
}

void run_sums(const KernelCall& k) {
  kernels::BnGradArgs b = gradient_args(k, nullptr);
  b.dgamma = k.out<float>(0).data;
  b.dbeta = k.out<float>(1).data;
  kernels::kernels_of(k.target.isa)->bn_act_bwd_sums(b);
}

void run_dx(const KernelCall& k) {
  kernels::BnGradArgs b = gradient_args(k, k.in<float>(4).data);
  lay(k.outputs[0], b.dz, b.dzn, b.dzb, b.dzh);
  const Shape& x = k.inputs[1].shape;
  const double count = static_cast<double>(x.n * x.h * x.w);
  for (index_t c = 0; c < x.c; ++c) {
    const double scale = static_cast<double>(b.scale[c]);
    const double q = 1 / std::sqrt(static_cast<double>(b.var[c]) + b.eps);
    b.coefficients[c] = b.scale[c];
    b.coefficients[x.c + c] = static_cast<float>(-scale * q * channel<float>(k, 5, c) / count);
    b.coefficients[2 * x.c + c] = static_cast<float>(-scale * channel<float>(k, 6, c) / count);
  }
  kernels::kernels_of(k.target.isa)->bn_act_bwd_apply(b);
}

std::vector<OpCase> two_vectors() { return {{"vectors", {{1, 3, 1, 1}, {1, 3, 1, 1}}, {}}}; }

}  // namespace

/// mean, var of this part -> of all.
const OpDef bn_merge{
    .name = "bn_merge",
    .attributes = parts_attribute,
    .infer = infer_two,
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a>-a,-a"; },
    .reference = Reference::of([]<class T>(const KernelCall& k) { merge<T>(k); }),
    .workspace = two_doubles,
};

/// dgamma, dbeta of this part -> their averages over all.
const OpDef bn_average{
    .name = "bn_average",
    .attributes = parts_attribute,
    .infer = infer_two,
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a>-a,-a"; },
    .reference = Reference::of([]<class T>(const KernelCall& k) { average<T>(k); }),
    .workspace = two_doubles,
    .cases = two_vectors,
};

/// dy, x, mean, var -> dgamma, dbeta of this part.
const OpDef bn_bwd_sums{
    .name = "bn_bwd_sums",
    .attributes = eps_attribute,
    .infer = infer_sums,
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a,-a,-a>-a,-a"; },
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      kernels::bn_bwd_sums<T>(k.in<T>(0), k.in<T>(1), k.in<T>(2), k.in<T>(3), k.out<T>(0), k.out<T>(1),
                              k.attributes->real("eps"));
    }),
    .lower =
        [](const LowerContext& c) {
          return lower_in_blocks(c, "bn_act_bwd_sums", run_sums, norm_bwd_workspace(c.inputs[1]));
        },
};

/// dy, x, mean, var, gamma, averages of dgamma and dbeta -> dx.
const OpDef bn_bwd_x{
    .name = "bn_bwd_x",
    .attributes = eps_attribute,
    .in_place = first_input,
    .infer = infer_dx,
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a,-a,-a,-a,-a,-a>-a"; },
    .cost = cost_dx,
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      kernels::bn_bwd_x<T>(k.in<T>(0), k.in<T>(1), k.in<T>(2), k.in<T>(3), k.in<T>(4), k.in<T>(5), k.in<T>(6),
                           k.out<T>(0), k.attributes->real("eps"));
    }),
    .lower =
        [](const LowerContext& c) {
          return lower_in_blocks(c, "bn_act_bwd_apply", run_dx, norm_bwd_workspace(c.inputs[1]));
        },
};

}  // namespace slimneck::ops
