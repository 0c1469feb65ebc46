// The library's side of depthwise separable convolution.
#include "kernels/dsc/dsc.hpp"
#include "slimneck.hpp"

namespace slimneck::bench {

namespace {

using Direction = ConvCall::Direction;
using kernels::MapAt;

MapAt at(const MapRef& m) { return {m.data, m.sn, m.sb, m.sh}; }

class Separable final : public Side {
 public:
  explicit Separable(const Problem& p)
      : p_(p),
        context_(p),
        x_({p.n, p.layer().c, p.layer().h, p.layer().w}, lanes()),
        a_(map(p.layer().c), lanes()),
        y_(map(p.layer().oc), lanes()) {
    x_.set(p.x);
    depthwise_ = {context_, geometry(), Direction::forward, x_.ref(), a_.ref(), p.w1};
    pointwise_ = {context_, {}, Direction::forward, a_.ref(), y_.ref(), p.w2.data()};
    dsc_.depthwise = depthwise_.args;
    dsc_.variant = pointwise_.variant;
    dsc_.pointwise = pointwise_.args;
    dsc_.a = at(a_.ref());
    dsc_.y = at(y_.ref());
    dsc_.act = train() || p.activates() ? p.layer().act : kernels::Act::none;
    dsc_.slope = 0.01F;
    for (const Numbers* v : {&p.bias1, &p.bias2, &p.gamma1, &p.beta1, &p.gamma2, &p.beta2})
      given_.push_back(channel_numbers(*v, lanes()));
    if (train())
      set_training();
    else if (p.epilogue)
      inference_ = {nullptr, given_[0].data<float>(), nullptr, given_[1].data<float>()};
  }

  void run() override {
    if (!train()) return kernels::dsc_infer(context_.kernels, dsc_, inference_);
    kernels::dsc_train(context_.kernels, dsc_, training_);
    kernels::dsc_bwd(context_.kernels, dsc_, training_, gradient_);
  }

  std::vector<Numbers> results() override {
    if (!train()) return {y_.plain()};
    const Layer& l = p_.layer();
    return {y_.plain(),
            dx_.plain(),
            unpack_depthwise(context_.kernels, dw1_, l.c, l.kh, l.kw),
            plain_numbers(made1_[2], l.c),
            plain_numbers(made1_[3], l.c),
            weight_gradient_.plain(context_.kernels),
            plain_numbers(made2_[2], l.oc),
            plain_numbers(made2_[3], l.oc)};
  }

  [[nodiscard]] std::string kernel() const override {
    return std::string(depthwise_.variant->name) + ", " + std::string(pointwise_.variant->name);
  }

 private:
  [[nodiscard]] index_t lanes() const { return context_.lanes(); }
  [[nodiscard]] bool train() const { return p_.row.pass == Pass::fwdbwd; }
  [[nodiscard]] Shape map(index_t channels) const { return {p_.n, channels, p_.layer().oh(), p_.layer().ow()}; }
  [[nodiscard]] Geometry geometry() const {
    const Layer& l = p_.layer();
    return {l.kh, l.kw, l.stride, l.pad_h, l.pad_w, l.dilation};
  }

  void set_training() {
    const Layer& l = p_.layer();
    for (BlockedMap* m : {&z1_, &dz1_, &da_}) *m = BlockedMap(map(l.c), lanes());
    for (BlockedMap* m : {&z2_, &dz2_, &dy_}) *m = BlockedMap(map(l.oc), lanes());
    dx_ = BlockedMap(x_.shape(), lanes());
    dy_.set(p_.dy);
    // mean, variance, dgamma, dbeta of each normalisation
    for (int i = 0; i < 4; ++i) {
      made1_.push_back(floats(a_.blocks() * lanes()));
      made2_.push_back(floats(y_.blocks() * lanes()));
    }
    dw1_ = floats(a_.blocks() * lanes() * l.kh * l.kw);
    weight_gradient_ = {context_, {}, a_.ref(), dz2_.ref()};
    data_gradient_ = {context_, {}, Direction::backward, dz2_.ref(), da_.ref(), p_.w2.data()};
    set_forward();
    set_backward();
  }

  void set_forward() {
    kernels::DscTraining& t = training_;
    t.gamma1 = given_[2].data<float>();
    t.beta1 = given_[3].data<float>();
    t.gamma2 = given_[4].data<float>();
    t.beta2 = given_[5].data<float>();
    t.eps = Problem::eps;
    t.z1 = at(z1_.ref());
    t.z2 = at(z2_.ref());
    t.mean1 = made1_[0].data<float>();
    t.var1 = made1_[1].data<float>();
    t.mean2 = made2_[0].data<float>();
    t.var2 = made2_[1].data<float>();
    workspace_ = floats(kernels::dsc_train_workspace(dsc_, lanes()));
    t.workspace = workspace_.data<float>();
  }

  void set_backward() {
    kernels::DscGrad& g = gradient_;
    g.dy = at(dy_.ref());
    g.gradient = weight_gradient_.variant;
    g.pointwise_gradient = weight_gradient_.args;
    g.data = data_gradient_.variant;
    g.pointwise_data = data_gradient_.args;
    g.dz2 = at(dz2_.ref());
    g.dz1 = at(dz1_.ref());
    g.dx = at(dx_.ref());
    g.dw1 = dw1_.data<float>();
    g.dgamma1 = made1_[2].data<float>();
    g.dbeta1 = made1_[3].data<float>();
    g.dgamma2 = made2_[2].data<float>();
    g.dbeta2 = made2_[3].data<float>();
    back_workspace_ = floats(kernels::dsc_bwd_workspace(dsc_, lanes()));
    g.workspace = back_workspace_.data<float>();
  }

  const Problem& p_;
  Context context_;
  BlockedMap x_, a_, y_, z1_, z2_, da_, dz1_, dz2_, dy_, dx_;
  DepthwiseCall depthwise_;
  ConvCall pointwise_, data_gradient_;
  ConvGradCall weight_gradient_;
  Tensor dw1_, workspace_, back_workspace_;
  std::vector<Tensor> given_, made1_, made2_;
  kernels::Dsc dsc_;
  kernels::DscInference inference_;
  kernels::DscTraining training_;
  kernels::DscGrad gradient_;
};

}  // namespace

std::unique_ptr<Side> make_dsc(const Problem& p) { return std::make_unique<Separable>(p); }

}  // namespace slimneck::bench
