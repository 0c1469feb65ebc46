// Eigen's side, for comparison only.
#include <Eigen/Core>

#include "side.hpp"

namespace slimneck::bench {

namespace {

Shape output_of(const Problem& p) { return {p.n, p.layer().oc, p.layer().oh(), p.layer().ow()}; }

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

}  // namespace

std::unique_ptr<Side> make_eigen(const Problem& p) {
  const kernels::Act act = p.layer().act;
  if (p.layer().op != Op::conv2d || p.layer().groups != 1 || p.row.pass != Pass::fwd) return nullptr;
  if (act != kernels::Act::silu && act != kernels::Act::none) return nullptr;
  return std::make_unique<Columns>(p);
}

}  // namespace slimneck::bench
