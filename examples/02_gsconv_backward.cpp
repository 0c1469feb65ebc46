// The gradient of GSConv by hand, (8) of docs/gsconv.md, by finite differences, and by the fused kernel of a plan.
#include <cmath>
#include <iostream>
#include <numeric>

#include "slimneck/slimneck.hpp"

using namespace slimneck;
using namespace slimneck::kernels;

constexpr index_t half = 4;  // channels of a and of b
constexpr Conv2d dense{.pad_h = 1, .pad_w = 1}, depthwise{.pad_h = 2, .pad_w = 2, .groups = half};
constexpr Shape x_shape{2, 6, 5, 7}, map{2, half, 5, 7}, y_shape{2, 2 * half, 5, 7}, vector{1, half, 1, 1};

View<double> d(Tensor& t) { return t.view<double>(); }
struct Part {  // one of the two convolutions: out = silu(u), u = batch norm of z, with gamma 1 and beta 0
  Tensor z{map, DType::f64}, u = z, out = z, mean{vector, DType::f64}, var = mean, gamma = mean, beta = mean;
  Tensor dgamma = mean, dbeta = mean;
  void forward() {
    std::fill_n(d(gamma).data, half, 1), bn_stats<double>(d(z), d(mean), d(var));
    bn_apply<double>(d(z), d(mean), d(var), d(gamma), d(beta), d(u), 1e-3), act_fwd<double>(d(u), d(out), {Act::silu});
  }
  void backward(View<double> g) {  // the gradient of out becomes that of z
    act_bwd<double>(d(u), g, g, {Act::silu});
    bn_bwd<double>(g, d(z), d(mean), d(var), d(gamma), g, d(dgamma), d(dbeta), 1e-3, true);
  }
} first, second;
Tensor x(x_shape, DType::f64), dy(y_shape, DType::f64), w1, w2, y = dy, dx = x, dw1, dw2;

double loss() {  // (3), and <dy, y> for y = a0 b0 a1 b1 ...: concat and shuffle are only places
  conv2d_fwd<double>(d(x), d(w1), {}, d(first.z), dense), first.forward();
  conv2d_fwd<double>(d(first.out), d(w2), {}, d(second.z), depthwise), second.forward();
  copy<double>(d(first.out), d(y).channels(0, half, 2)), copy<double>(d(second.out), d(y).channels(1, half, 2));
  return std::inner_product(d(y).data, d(y).data + y.numel(), d(dy).data, 0.0);
}

void by_hand() {  // (8), after loss()
  Tensor ga(map, DType::f64), gb = ga, through = ga;
  copy<double>(d(dy).channels(0, half, 2), d(ga)), copy<double>(d(dy).channels(1, half, 2), d(gb));
  second.backward(d(gb));
  conv2d_bwd_w<double>(d(first.out), d(gb), d(dw2), depthwise);
  conv2d_bwd_x<double>(d(gb), d(w2), d(through), depthwise), add<double>(d(ga), d(through), d(ga));  // a was read twice
  first.backward(d(ga));
  conv2d_bwd_w<double>(d(x), d(ga), d(dw1), dense), conv2d_bwd_x<double>(d(ga), d(w1), d(dx), dense);
}

bool compare(const char* name, Tensor& value, Tensor& hand, View<float> kernel) {  // derivatives of about 1
  double of_kernel = 0, of_differences = 0;
  for (index_t i = 0; i < value.numel(); ++i) {
    double &number = d(value).data[i], g = d(hand).data[i], above = (number += 1e-6, loss());
    const double below = (number -= 2e-6, loss());
    of_differences = std::max(of_differences, std::abs((above - below) / 2e-6 - g));
    number += 1e-6;
    of_kernel = std::max(of_kernel, std::abs(static_cast<double>(kernel.data[i]) - g));
  }
  std::cout << name << ": the kernel is off by " << of_kernel << ", differences by " << of_differences << '\n';
  return of_kernel < 1e-4 && of_differences < 1e-6;
}

int main() {
  Graph graph;  // the layer as a network has it: a plan makes one fused node of it
  const ModuleCall gs{.inputs = {graph.input("x", x_shape)}, .c2 = 2 * half, .args = {index_t{3}, index_t{1}}};
  graph.output("y", find_module("GSConv")->build({graph, *find_dialect("yolov5"), "gs"}, gs));
  Parameters parameters(graph);
  Plan plan(graph, parameters, {.mode = Mode::train, .exec = {}, .input_gradients = true});
  for (index_t i = 0; i < x.numel(); ++i) d(x).data[i] = plan.input().data[i] = std::sin(0.7F * static_cast<float>(i));
  for (index_t i = 0; i < dy.numel(); ++i)
    d(dy).data[i] = plan.output_gradient("y").data[i] = std::cos(0.9F * static_cast<float>(i));
  plan.forward(), plan.backward();
  Parameters::Entry &p1 = parameters.at("gs.cv1.conv.weight"), &p2 = parameters.at("gs.cv2.conv.weight");
  dw1 = w1 = p1.value.to(DType::f64), dw2 = w2 = p2.value.to(DType::f64);
  loss(), by_hand();
  const bool good = compare("dx ", x, dx, plan.input_gradient()) &&
                    compare("dw1", w1, dw1, parameters.gradient<float>(p1)) &&
                    compare("dw2", w2, dw2, parameters.gradient<float>(p2));
  std::cout << (good ? "by hand, by kernel and by differences: the same\n" : "WRONG\n");
  return good ? 0 : 1;
}
