// The library's side of GSConv: both halves are parts of one map.
#include "kernels/gsconv/gsconv.hpp"
#include "slimneck.hpp"

namespace slimneck::bench {

namespace {

using Direction = ConvCall::Direction;

class GsConv final : public Side {
 public:
  explicit GsConv(const Problem& p)
      : p_(p),
        context_(p),
        x_({p.n, p.layer().c, p.layer().h, p.layer().w}, lanes()),
        y_({p.n, 2 * channels(), half().h, half().w}, lanes()),
        a_(y_.part(0, half().c)),
        b_(y_.part(channels(), half().c)) {
    const Layer& l = p.layer();
    x_.set(p.x);
    conv_ = {context_, geometry(), Direction::forward, x_.ref(), a_, p.w1.data()};
    weights_ = pack_depthwise(context_.kernels, p.w2, l.half(), l.k2, l.k2);
    pair_.variant = conv_.variant;
    pair_.conv = conv_.args;
    pair_.k = l.k2;
    pair_.w2 = weights_.data<float>();
    pair_.a = at(a_);
    pair_.b = at(b_);
    pair_.act = train() || p.activates() ? l.act : kernels::Act::none;
    pair_.slope = 0.01F;
    numbers_ = {p, lanes()};
    if (train())
      set_training();
    else
      inference_ = numbers_.inference(p);
  }

  void run() override {
    if (!train()) return kernels::gs_pair_infer(context_.kernels, pair_, inference_);
    kernels::gs_pair_train(context_.kernels, pair_, training_);
    kernels::gs_pair_bwd(context_.kernels, gradient_);
    weight_gradient_.run(context_.kernels);
    data_gradient_.run(context_.kernels);
  }

  std::vector<Numbers> results() override {
    std::vector<Numbers> all{plain_of(a_, lanes()), plain_of(b_, lanes())};
    if (!train()) return all;
    const Layer& l = p_.layer();
    all.push_back(dx_.plain());
    all.push_back(weight_gradient_.plain(context_.kernels));
    all.push_back(numbers_.dgamma1(l.half()));
    all.push_back(numbers_.dbeta1(l.half()));
    if (p_.row.weight_gradient) all.push_back(unpack_depthwise(context_.kernels, dw2_, l.half(), l.k2, l.k2));
    all.push_back(numbers_.dgamma2(l.half()));
    all.push_back(numbers_.dbeta2(l.half()));
    return all;
  }

  [[nodiscard]] std::string kernel() const override {
    std::string text(conv_.variant->name);
    if (train())
      text += ", " + std::string(weight_gradient_.variant->name) + ", " + std::string(data_gradient_.variant->name);
    return text;
  }

 private:
  [[nodiscard]] index_t lanes() const { return context_.lanes(); }
  [[nodiscard]] bool train() const { return p_.row.pass == Pass::fwdbwd; }
  [[nodiscard]] Shape half() const { return {p_.n, p_.layer().half(), p_.layer().oh(), p_.layer().ow()}; }
  /// Of a half, in whole blocks.
  [[nodiscard]] index_t channels() const { return blocks_of(half().c, lanes()) * lanes(); }
  [[nodiscard]] Geometry geometry() const { return geometry_of(p_.layer()); }

  void set_training() {
    const Layer& l = p_.layer();
    for (BlockedMap* m : {&z1_, &z2_, &da_, &db_, &dz1_}) *m = BlockedMap(half(), lanes());
    dx_ = BlockedMap(x_.shape(), lanes());
    da_.set(p_.dy, 0, l.oc);
    db_.set(p_.dy, l.half(), l.oc);
    numbers_.make(channels(), channels());
    dw2_ = floats(channels() * l.k2 * l.k2);
    set_forward();
    set_backward();
    data_gradient_ = {context_, geometry(), Direction::backward, dz1_.ref(), dx_.ref(), p_.w1.data()};
    weight_gradient_ = {context_, geometry(), x_.ref(), dz1_.ref()};
  }

  void set_forward() {
    training_ = numbers_.training();
    kernels::PairTraining& t = training_;
    t.z1 = at(z1_.ref());
    t.z2 = at(z2_.ref());
    workspace_ = floats(kernels::gs_pair_train_workspace(pair_, lanes()));
    t.workspace = workspace_.data<float>();
  }

  void set_backward() {
    kernels::GsPairGrad& g = gradient_;
    g.n = p_.n;
    g.blocks = blocks_of(half().c, lanes());
    g.h = half().h;
    g.w = half().w;
    g.k = p_.layer().k2;
    g.da = at(da_.ref());
    g.db = at(db_.ref());
    g.z1 = training_.z1;
    g.z2 = training_.z2;
    g.mean1 = training_.mean1;
    g.var1 = training_.var1;
    g.mean2 = training_.mean2;
    g.var2 = training_.var2;
    g.gamma1 = training_.gamma1;
    g.beta1 = training_.beta1;
    g.gamma2 = training_.gamma2;
    g.beta2 = training_.beta2;
    g.w2 = pair_.w2;
    g.eps = Problem::eps;
    g.act = pair_.act;
    g.slope = pair_.slope;
    g.dz1 = at(dz1_.ref());
    g.dw2 = dw2_.data<float>();
    numbers_.set_gradients(g);
    back_workspace_ = floats(kernels::gs_pair_bwd_workspace(g, lanes(), p_.threads));
    g.workspace = back_workspace_.data<float>();
  }

  const Problem& p_;
  Context context_;
  BlockedMap x_, y_, z1_, z2_, da_, db_, dz1_, dx_;
  MapRef a_, b_;
  ConvCall conv_, data_gradient_;
  ConvGradCall weight_gradient_;
  Tensor weights_, dw2_, workspace_, back_workspace_;
  PairNumbers numbers_;
  kernels::GsPair pair_;
  kernels::PairInference inference_;
  kernels::PairTraining training_;
  kernels::GsPairGrad gradient_;
};

}  // namespace

std::unique_ptr<Side> make_gsconv(const Problem& p) { return std::make_unique<GsConv>(p); }

}  // namespace slimneck::bench
