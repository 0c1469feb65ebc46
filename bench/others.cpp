// The sides that are there for comparison only: the scalar specification, and Eigen's matrix product.
#include <Eigen/Core>
#include <cmath>

#include "side.hpp"

namespace slimneck::bench {

namespace {

using View4 = View<float>;

View<const float> weights_of(const Problem& p) {
  const Layer& l = p.layer();
  return View<const float>(p.w1.data(), {l.oc, l.c / l.groups, l.kh, l.kw});
}

Shape input_of(const Problem& p) { return {p.n, p.layer().c, p.layer().h, p.layer().w}; }
Shape output_of(const Problem& p) { return {p.n, p.layer().oc, p.layer().oh(), p.layer().ow()}; }

kernels::Conv2d geometry_of(const Layer& l) { return {l.stride, l.pad_h, l.pad_w, l.dilation, l.groups}; }

class Reference final : public Side {
 public:
  explicit Reference(const Problem& p) : p_(p) {
    const Layer& l = p.layer();
    const Shape s = p.row.pass == Pass::fwd     ? output_of(p)
                    : p.row.pass == Pass::bwd_x ? input_of(p)
                                                : Shape{l.oc, l.c / l.groups, l.kh, l.kw};
    y_.resize(static_cast<std::size_t>(s.numel()));
    view_ = View4(y_.data(), s);
  }

  void run() override {
    const View<const float> x(p_.x.data(), input_of(p_)), dy(p_.dy.data(), output_of(p_)), w = weights_of(p_);
    const kernels::Conv2d g = geometry_of(p_.layer());
    if (p_.row.pass == Pass::bwd_x) return kernels::conv2d_bwd_x<float>(dy, w, view_, g);
    if (p_.row.pass == Pass::bwd_w) return kernels::conv2d_bwd_w<float>(x, dy, view_, g);
    View<const float> bias;
    if (p_.epilogue) bias = View<const float>(p_.bias1.data(), {1, p_.layer().oc, 1, 1});
    kernels::conv2d_fwd<float>(x, w, bias, view_, g);
    if (p_.activates()) kernels::act_fwd<float>(view_, view_, {p_.layer().act});
  }
  std::vector<Numbers> results() override { return {y_}; }
  [[nodiscard]] std::string kernel() const override { return "scalar, double sums"; }

 private:
  const Problem& p_;
  Numbers y_;
  View4 view_;
};

/// Columns of x, then one product per picture. Eigen is compiled for the machine that everything is compiled for (plain
/// x86-64: SSE2), so this shows what a library gives without dispatch at run time.
class Columns final : public Side {
 public:
  explicit Columns(const Problem& p) : p_(p) {
    const Layer& l = p.layer();
    direct_ = l.kh == 1 && l.kw == 1 && l.stride == 1 && l.pad_h == 0 && l.pad_w == 0;
    if (!direct_) columns_.resize(static_cast<std::size_t>(l.c * l.kh * l.kw * l.oh() * l.ow()));
    y_.resize(static_cast<std::size_t>(output_of(p).numel()));
  }

  void run() override {
    using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Layer& l = p_.layer();
    const index_t k = l.c * l.kh * l.kw, pixels = l.oh() * l.ow();
    const Eigen::Map<const Matrix> w(p_.w1.data(), l.oc, k);
    const Eigen::Map<const Eigen::VectorXf> bias(p_.bias1.data(), l.oc);
    for (index_t n = 0; n < p_.n; ++n) {
      const float* x = p_.x.data() + n * l.c * l.h * l.w;
      if (!direct_) gather(x);
      const Eigen::Map<const Matrix> in(direct_ ? x : columns_.data(), k, pixels);
      Eigen::Map<Matrix> y(y_.data() + n * l.oc * pixels, l.oc, pixels);
      y.noalias() = w * in;
      if (p_.epilogue) y.colwise() += bias;
      if (p_.activates()) y.array() /= 1 + (-y.array()).exp();
    }
  }
  std::vector<Numbers> results() override { return {y_}; }
  [[nodiscard]] std::string kernel() const override { return "Eigen"; }

 private:
  void gather(const float* x) {
    const Layer& l = p_.layer();
    float* to = columns_.data();
    for (index_t c = 0; c < l.c; ++c)
      for (index_t u = 0; u < l.kh; ++u)
        for (index_t v = 0; v < l.kw; ++v)
          for (index_t i = 0; i < l.oh(); ++i)
            for (index_t j = 0; j < l.ow(); ++j) {
              const index_t row = i * l.stride - l.pad_h + u * l.dilation;
              const index_t column = j * l.stride - l.pad_w + v * l.dilation;
              const bool inside = row >= 0 && row < l.h && column >= 0 && column < l.w;
              *to++ = inside ? x[(c * l.h + row) * l.w + column] : 0.F;
            }
  }

  const Problem& p_;
  bool direct_ = false;
  Numbers columns_, y_;
};

bool single(const Problem& p) { return p.layer().op == Op::conv2d || p.layer().op == Op::depthwise; }

}  // namespace

std::unique_ptr<Side> make_ref(const Problem& p) {
  if (!single(p)) return nullptr;
  return std::make_unique<Reference>(p);
}

std::unique_ptr<Side> make_eigen(const Problem& p) {
  const kernels::Act act = p.layer().act;
  if (p.layer().op != Op::conv2d || p.layer().groups != 1 || p.row.pass != Pass::fwd) return nullptr;
  if (act != kernels::Act::silu && act != kernels::Act::none) return nullptr;
  return std::make_unique<Columns>(p);
}

}  // namespace slimneck::bench
