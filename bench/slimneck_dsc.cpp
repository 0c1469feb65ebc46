// The library's side of depthwise separable convolution.
#include "kernels/dsc/dsc.hpp"
#include "slimneck.hpp"

namespace slimneck::bench {

namespace {

using Direction = ConvCall::Direction;

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
    numbers_ = {p, lanes()};
    if (train())
      set_training();
    else
      inference_ = numbers_.inference(p);
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
            numbers_.dgamma1(l.c),
            numbers_.dbeta1(l.c),
            weight_gradient_.plain(context_.kernels),
            numbers_.dgamma2(l.oc),
            numbers_.dbeta2(l.oc)};
  }

  [[nodiscard]] std::string kernel() const override {
    return std::string(depthwise_.variant->name) + ", " + std::string(pointwise_.variant->name);
  }

 private:
  [[nodiscard]] index_t lanes() const { return context_.lanes(); }
  [[nodiscard]] bool train() const { return p_.row.pass == Pass::fwdbwd; }
  [[nodiscard]] Shape map(index_t channels) const { return {p_.n, channels, p_.layer().oh(), p_.layer().ow()}; }
  [[nodiscard]] Geometry geometry() const { return geometry_of(p_.layer()); }

  void set_training() {
    const Layer& l = p_.layer();
    for (BlockedMap* m : {&z1_, &dz1_, &da_}) *m = BlockedMap(map(l.c), lanes());
    for (BlockedMap* m : {&z2_, &dz2_, &dy_}) *m = BlockedMap(map(l.oc), lanes());
    dx_ = BlockedMap(x_.shape(), lanes());
    dy_.set(p_.dy);
    numbers_.make(a_.blocks() * lanes(), y_.blocks() * lanes());
    dw1_ = floats(a_.blocks() * lanes() * l.kh * l.kw);
    weight_gradient_ = {context_, {}, a_.ref(), dz2_.ref()};
    data_gradient_ = {context_, {}, Direction::backward, dz2_.ref(), da_.ref(), p_.w2.data()};
    set_forward();
    set_backward();
  }

  void set_forward() {
    training_ = numbers_.training();
    kernels::PairTraining& t = training_;
    t.z1 = at(z1_.ref());
    t.z2 = at(z2_.ref());
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
    numbers_.set_gradients(g);
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
  PairNumbers numbers_;
  kernels::Dsc dsc_;
  kernels::PairInference inference_;
  kernels::PairTraining training_;
  kernels::DscGrad gradient_;
};

}  // namespace

std::unique_ptr<Side> make_dsc(const Problem& p) { return std::make_unique<Separable>(p); }

}  // namespace slimneck::bench
