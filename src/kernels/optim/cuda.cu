// Optimiser steps, element by element, with the formulas of optim/args.hpp:
//
//   SGD:   g += decay p; m = momentum m + g; p -= lr (nesterov ? g + momentum m : m)
//   Adam:  m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p -= lr / (1 - beta1^t) m / (sqrt(v / (1 -
//   beta2^t)) + eps) EMA:   p = beta1 p + (1 - beta1) g
//
// Hyperparameters are double; what is made of them is rounded once. Sums of squares are taken in double: a block for
// each piece, then one thread adds the pieces in order.
#include <cmath>

#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/reduce.hpp"

namespace slimneck::kernels::cuda {

namespace {

float rounded(double x) { return static_cast<float>(x); }

struct Sgd {
  float rate, momentum, decay;
  bool nesterov, first;
};

__global__ void sgd(Sgd how, Vector<float> p, Vector<const float> g, Vector<float> m) {
  const index_t at = flat_index();
  if (at >= p.count) return;
  const int i = static_cast<int>(at);
  const float gradient = multiply_add(how.decay, p(i), g(i));
  float step = gradient;
  if (how.momentum != 0) {
    const float kept = how.first ? gradient : multiply_add(how.momentum, m(i), gradient);
    m(i) = kept;
    step = how.nesterov ? multiply_add(how.momentum, kept, gradient) : kept;
  }
  p(i) = multiply_add(how.rate, step, p(i));
}

struct Adam {
  float beta1, rest1, beta2, rest2, eps, decay, keep, rate, correction;
  bool first;
};

__global__ void adam(Adam how, Vector<float> p, Vector<const float> g, Vector<float> m, Vector<float> v) {
  const index_t at = flat_index();
  if (at >= p.count) return;
  const int i = static_cast<int>(at);
  const float value = how.keep * p(i), gradient = multiply_add(how.decay, value, g(i));
  const float mean = multiply_add(how.beta1, how.first ? 0.F : m(i), how.rest1 * gradient);
  const float square = multiply_add(how.beta2, how.first ? 0.F : v(i), how.rest2 * (gradient * gradient));
  m(i) = mean;
  v(i) = square;
  p(i) = multiply_add(how.rate, mean / (sqrtf(square) / how.correction + how.eps), value);
}

__global__ void mix(float keep, float rest, Vector<float> p, Vector<const float> g) {
  const index_t i = flat_index();
  if (i >= p.count) return;
  float& value = p(static_cast<int>(i));
  value = multiply_add(keep, value, rest * g(static_cast<int>(i)));
}

__global__ void scale(float by, Vector<float> p) {
  const index_t i = flat_index();
  if (i < p.count) p(static_cast<int>(i)) *= by;
}

__global__ void squares_of_pieces(Vector<const float> x, double* pieces) {
  auto& shared_sums = shared<SumsOfWarps<1, double>>();
  const index_t first = static_cast<index_t>(block_x()) * optim_piece;
  const index_t last = first + optim_piece < x.count ? first + optim_piece : x.count;
  double sum[1] = {};
  for (index_t i = first + thread_x(); i < last; i += threads_x()) {
    const double value = static_cast<double>(x(static_cast<int>(i)));
    sum[0] += value * value;
  }
  sum_over_block(sum, shared_sums);
  if (thread_x() == 0) pieces[block_x()] = sum[0];
}

__global__ void add_pieces(const double* pieces, int count, double* result) {
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += pieces[i];
  *result = sum;
}

/// decoupled: decay acts on the parameter, not on the gradient.
void run_adam(Stream& stream, const char* name, const OptimArgs& a, bool decoupled) noexcept {
  if (a.count == 0) return;
  const double step = static_cast<double>(a.step);
  const Adam how{rounded(a.beta1),
                 rounded(1 - a.beta1),
                 rounded(a.beta2),
                 rounded(1 - a.beta2),
                 rounded(a.eps),
                 decoupled ? 0.F : rounded(a.decay),
                 decoupled ? rounded(1 - a.lr * a.decay) : 1.F,
                 rounded(-a.lr / (1 - std::pow(a.beta1, step))),
                 rounded(std::sqrt(1 - std::pow(a.beta2, step))),
                 a.first};
  launch(stream, name, adam, flat_grid(a.count), how, vector_of(a.p, a.count), vector_of(a.g, a.count),
         vector_of(a.m, a.count), vector_of(a.v, a.count));
}

}  // namespace

void optim_sgd(Stream& stream, const OptimArgs& a) noexcept {
  if (a.count == 0) return;
  const Sgd how{rounded(-a.lr), rounded(a.momentum), rounded(a.decay), a.nesterov, a.first};
  launch(stream, "optim_sgd", sgd, flat_grid(a.count), how, vector_of(a.p, a.count), vector_of(a.g, a.count),
         vector_of(a.m, a.count));
}

void optim_adam(Stream& stream, const OptimArgs& a) noexcept { run_adam(stream, "optim_adam", a, false); }
void optim_adamw(Stream& stream, const OptimArgs& a) noexcept { run_adam(stream, "optim_adamw", a, true); }

void optim_ema(Stream& stream, const OptimArgs& a) noexcept {
  if (a.count == 0) return;
  launch(stream, "optim_ema", mix, flat_grid(a.count), a.beta1, 1 - a.beta1, vector_of(a.p, a.count),
         vector_of(a.g, a.count));
}

void optim_scale(Stream& stream, const OptimArgs& a) noexcept {
  if (a.count == 0) return;
  launch(stream, "optim_scale", scale, flat_grid(a.count), a.lr, vector_of(a.p, a.count));
}

void sum_squares(Stream& stream, const SumSquaresArgs& a) noexcept {
  const index_t pieces = sum_squares_workspace(a.count);
  if (pieces > 0)
    launch(stream, "sum_squares", squares_of_pieces, Grid{{static_cast<unsigned>(pieces)}, {block_threads}},
           vector_of(a.x, a.count), a.workspace);
  launch(stream, "sum_squares", add_pieces, Grid{{1}, {1}}, a.workspace, pieces, a.result);
}

}  // namespace slimneck::kernels::cuda
