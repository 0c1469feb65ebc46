// The library's side of batch norm with activation.
#include "kernels/norm/args.hpp"
#include "slimneck.hpp"

namespace slimneck::bench {

namespace {

using kernels::BnArgs;
using kernels::BnGradArgs;
using kernels::Kernels;

class Normed final : public Side {
 public:
  explicit Normed(const Problem& p)
      : p_(p),
        k_(*kernels::kernels_of(p.isa)),
        x_(shape(), k_.lanes),
        y_(shape(), k_.lanes),
        dy_(shape(), k_.lanes),
        dx_(shape(), k_.lanes),
        gamma_(channel_numbers(p.gamma1, k_.lanes)),
        beta_(channel_numbers(p.beta1, k_.lanes)) {
    x_.set(p.x);
    set_forward();
    if (!train()) return;
    dy_.set(p.dy);
    set_backward();
  }

  void run() override {
    if (!train()) return k_.bn_act(forward_);
    k_.bn_act_train(forward_);
    k_.bn_act_bwd(backward_);
  }

  std::vector<Numbers> results() override {
    if (!train()) return {y_.plain()};
    return {y_.plain(), dx_.plain(), plain_numbers(dgamma_, p_.layer().c), plain_numbers(dbeta_, p_.layer().c)};
  }
  [[nodiscard]] std::string kernel() const override { return train() ? "bn_act_train + bn_act_bwd" : "bn_act"; }

 private:
  [[nodiscard]] Shape shape() const { return {p_.n, p_.layer().c, p_.layer().h, p_.layer().w}; }
  [[nodiscard]] bool train() const { return p_.row.pass == Pass::fwdbwd; }
  [[nodiscard]] index_t channels() const { return x_.blocks() * k_.lanes; }
  [[nodiscard]] Numbers plain(const Tensor& v) const { return {v.data<float>(), v.data<float>() + p_.layer().c}; }

  template <class Args>
  void set_map(Args& a) {
    a.n = p_.n;
    a.blocks = x_.blocks();
    a.h = p_.layer().h;
    a.w = p_.layer().w;
    const MapRef x = x_.ref();
    a.z = x.data;
    a.zn = x.sn;
    a.zb = x.sb;
    a.zh = x.sh;
    a.act = train() || p_.epilogue ? p_.layer().act : kernels::Act::none;
    a.slope = 0.01F;
    a.eps = Problem::eps;
  }

  void set_forward() {
    BnArgs& a = forward_;
    set_map(a);
    const MapRef y = y_.ref();
    a.y = y.data;
    a.yn = y.sn;
    a.yb = y.sb;
    a.yh = y.sh;
    mean_ = floats(channels());
    var_ = floats(channels());
    scale_ = floats(channels());
    bias_ = floats(channels());
    a.mean = mean_.data<float>();
    a.var = var_.data<float>();
    a.gamma = gamma_.data<float>();
    a.beta = beta_.data<float>();
    // In inference they are given, of batch norm with mean 0 and variance 1.
    a.scale = train() ? scale_.data<float>() : gamma_.data<float>();
    a.bias = train() ? bias_.data<float>() : beta_.data<float>();
    workspace_ = floats(kernels::bn_workspace(a.n, a.blocks, a.h, a.w, k_.lanes));
    a.workspace = workspace_.data<float>();
  }

  void set_backward() {
    BnGradArgs& a = backward_;
    set_map(a);
    const MapRef dy = dy_.ref();
    a.dy = dy.data;
    a.dyn = dy.sn;
    a.dyb = dy.sb;
    a.dyh = dy.sh;
    const MapRef dz = dx_.ref();
    a.dz = dz.data;
    a.dzn = dz.sn;
    a.dzb = dz.sb;
    a.dzh = dz.sh;
    a.mean = forward_.mean;
    a.var = forward_.var;
    a.scale = forward_.scale;
    a.bias = forward_.bias;
    dgamma_ = floats(channels());
    dbeta_ = floats(channels());
    coefficients_ = floats(3 * channels());
    a.dgamma = dgamma_.data<float>();
    a.dbeta = dbeta_.data<float>();
    a.coefficients = coefficients_.data<float>();
    a.workspace = workspace_.data<float>();
  }

  const Problem& p_;
  const Kernels& k_;
  BlockedMap x_, y_, dy_, dx_;
  Tensor gamma_, beta_, mean_, var_, scale_, bias_, dgamma_, dbeta_, coefficients_, workspace_;
  BnArgs forward_;
  BnGradArgs backward_;
};

}  // namespace

std::unique_ptr<Side> make_norm(const Problem& p) { return std::make_unique<Normed>(p); }

}  // namespace slimneck::bench
