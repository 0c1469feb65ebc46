// The scalar specification of every row: slow, plain, and what the others are held to by --check.
#include "side.hpp"

namespace slimneck::bench {

namespace {

using kernels::Conv2d;

/// A plain map or vector that owns its numbers.
class Plain {
 public:
  Plain() = default;
  explicit Plain(const Shape& shape) : shape_(shape), numbers_(static_cast<std::size_t>(shape.numel())) {}
  Plain(const Shape& shape, const Numbers& numbers) : shape_(shape), numbers_(numbers) {}

  [[nodiscard]] View<float> view() { return {numbers_.data(), shape_}; }
  [[nodiscard]] View<const float> read() const { return {numbers_.data(), shape_}; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] const Numbers& numbers() const { return numbers_; }

 private:
  Shape shape_;
  Numbers numbers_;
};

Shape per_channel(index_t c) { return {1, c, 1, 1}; }

/// Convolution, then bias or batch norm, then activation; and back.
struct Stage {
  Conv2d geometry;
  Plain w, bias, gamma, beta;
  Plain z, u, y, mean, var;
  Plain dz, dx, dw, dgamma, dbeta;
  kernels::Activation act;

  void size(const Shape& x, const Shape& map) {
    z = u = y = dz = Plain(map);
    mean = var = dgamma = dbeta = Plain(per_channel(map.c));
    dx = Plain(x);
    dw = Plain(w.shape());
  }
  void activate() {
    if (act.kind != kernels::Act::none) kernels::act_fwd<float>(y.read(), y.view(), act);
  }
  void infer(View<const float> x, bool with_bias) {
    kernels::conv2d_fwd<float>(x, w.read(), with_bias ? bias.read() : View<const float>{}, y.view(), geometry);
    activate();
  }
  void normalise() {
    kernels::bn_stats<float>(z.read(), mean.view(), var.view());
    kernels::bn_apply<float>(z.read(), mean.read(), var.read(), gamma.read(), beta.read(), u.view(), Problem::eps);
    y = u;
    activate();
  }
  void train(View<const float> x) {
    kernels::conv2d_fwd<float>(x, w.read(), {}, z.view(), geometry);
    normalise();
  }
  void normalise_back(View<const float> dy) {
    if (act.kind != kernels::Act::none)
      kernels::act_bwd<float>(u.read(), dy, dz.view(), act);
    else
      kernels::copy<float>(dy, dz.view());
    kernels::bn_bwd<float>(dz.read(), z.read(), mean.read(), var.read(), gamma.read(), dz.view(), dgamma.view(),
                           dbeta.view(), Problem::eps, true);
  }
  void back(View<const float> x, View<const float> dy) {
    normalise_back(dy);
    kernels::conv2d_bwd_w<float>(x, dz.read(), dw.view(), geometry);
    kernels::conv2d_bwd_x<float>(dz.read(), w.read(), dx.view(), geometry);
  }
};

class Reference final : public Side {
 public:
  explicit Reference(const Problem& p) : p_(p), x_(Shape{p.n, p.layer().c, p.layer().h, p.layer().w}, p.x) {
    const Layer& l = p.layer();
    const index_t m = p.middle();
    const Shape map{p.n, m, l.oh(), l.ow()};
    one_.geometry = {l.stride, l.pad_h, l.pad_w, l.dilation, l.op == Op::dsc ? l.c : l.groups};
    one_.w = Plain({m, l.op == Op::dsc ? 1 : l.c / l.groups, l.kh, l.kw}, p.w1);
    one_.bias = Plain(per_channel(m), p.bias1);
    one_.gamma = Plain(per_channel(m), p.gamma1);
    one_.beta = Plain(per_channel(m), p.beta1);
    one_.act.kind = two_.act.kind = p.row.pass == Pass::fwdbwd || p.activates() ? l.act : kernels::Act::none;
    one_.size(x_.shape(), map);
    if (!p.dy.empty()) dy_ = Plain({p.n, l.oc, l.oh(), l.ow()}, p.dy);
    if (l.op != Op::gsconv && l.op != Op::dsc) return;
    const index_t c = l.op == Op::dsc ? l.oc : m, k = l.op == Op::dsc ? 1 : l.k2;
    two_.geometry = {1, k / 2, k / 2, 1, l.op == Op::dsc ? 1 : m};
    two_.w = Plain({c, l.op == Op::dsc ? l.c : 1, k, k}, p.w2);
    two_.bias = Plain(per_channel(c), p.bias2);
    two_.gamma = Plain(per_channel(c), p.gamma2);
    two_.beta = Plain(per_channel(c), p.beta2);
    two_.size(map, {p.n, c, l.oh(), l.ow()});
  }

  void run() override {
    switch (p_.layer().op) {
      case Op::conv2d:
      case Op::depthwise: return single();
      case Op::gsconv:
      case Op::dsc: return p_.row.pass == Pass::fwd ? infer() : train();
      case Op::bn_act: return norm();
    }
  }

  std::vector<Numbers> results() override {
    const bool gs = p_.layer().op == Op::gsconv, composite = gs || p_.layer().op == Op::dsc;
    switch (p_.row.pass) {
      case Pass::bwd_x: return {one_.dx.numbers()};
      case Pass::bwd_w: return {one_.dw.numbers()};
      case Pass::fwd:
        if (gs) return {one_.y.numbers(), two_.y.numbers()};
        return {composite ? two_.y.numbers() : one_.y.numbers()};
      case Pass::fwdbwd: break;
    }
    if (!composite) return {one_.y.numbers(), one_.dz.numbers(), one_.dgamma.numbers(), one_.dbeta.numbers()};
    std::vector<Numbers> all;
    if (gs) all.push_back(one_.y.numbers());
    for (const Plain* v : {&two_.y, &one_.dx, &one_.dw, &one_.dgamma, &one_.dbeta, &two_.dw, &two_.dgamma, &two_.dbeta})
      if (v != &two_.dw || p_.row.weight_gradient) all.push_back(v->numbers());
    return all;
  }
  [[nodiscard]] std::string kernel() const override { return "scalar, double sums"; }

 private:
  void single() {
    if (p_.row.pass == Pass::fwd) return one_.infer(x_.read(), p_.epilogue);
    if (p_.row.pass == Pass::bwd_x)
      return kernels::conv2d_bwd_x<float>(dy_.read(), one_.w.read(), one_.dx.view(), one_.geometry);
    kernels::conv2d_bwd_w<float>(x_.read(), dy_.read(), one_.dw.view(), one_.geometry);
  }

  void infer() {
    one_.infer(x_.read(), p_.epilogue);
    two_.infer(one_.y.read(), p_.epilogue);
  }

  void train() {
    one_.train(x_.read());
    two_.train(one_.y.read());
    if (p_.layer().op == Op::dsc) {
      two_.back(one_.y.read(), dy_.read());
      one_.back(x_.read(), two_.dx.read());
      return;
    }
    const index_t half = p_.layer().half();
    two_.back(one_.y.read(), dy_.read().channels(half, half));
    kernels::add<float>(two_.dx.read(), dy_.read().channels(0, half), two_.dx.view());
    one_.back(x_.read(), two_.dx.read());
  }

  void norm() {
    if (p_.row.pass == Pass::fwdbwd) {
      one_.z = x_;
      one_.normalise();
      one_.normalise_back(dy_.read());
      return;
    }
    const Numbers zero(p_.gamma1.size()), one(p_.gamma1.size(), 1.F);
    const Plain mean(per_channel(p_.middle()), zero), var(per_channel(p_.middle()), one);
    kernels::bn_apply<float>(x_.read(), mean.read(), var.read(), one_.gamma.read(), one_.beta.read(), one_.y.view(), 0);
    one_.activate();
  }

  const Problem& p_;
  Plain x_, dy_;
  Stage one_, two_;
};

}  // namespace

std::unique_ptr<Side> make_ref(const Problem& p) { return std::make_unique<Reference>(p); }

}  // namespace slimneck::bench
