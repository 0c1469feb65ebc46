// The library's side of GSConv: both halves are parts of one map.
#include "kernels/gsconv/gsconv.hpp"
#include "slimneck.hpp"

namespace slimneck::bench {

namespace {

using Direction = ConvCall::Direction;
using kernels::MapAt;

MapAt at(const MapRef& m) { return {m.data, m.sn, m.sb, m.sh}; }

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
    for (const Numbers* v : {&p.bias1, &p.bias2, &p.gamma1, &p.beta1, &p.gamma2, &p.beta2})
      given_.push_back(channel_numbers(*v, lanes()));
    if (train())
      set_training();
    else if (p.epilogue)
      inference_ = {nullptr, given_[0].data<float>(), nullptr, given_[1].data<float>()};
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
    const auto vector = [&](std::size_t i) { return plain_numbers(made_[i], l.half()); };
    all.push_back(dx_.plain());
    all.push_back(weight_gradient_.plain(context_.kernels));
    all.push_back(vector(4));
    all.push_back(vector(5));
    if (p_.row.weight_gradient) all.push_back(unpack_depthwise(context_.kernels, dw2_, l.half(), l.k2, l.k2));
    all.push_back(vector(6));
    all.push_back(vector(7));
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
  [[nodiscard]] Geometry geometry() const {
    const Layer& l = p_.layer();
    return {l.kh, l.kw, l.stride, l.pad_h, l.pad_w, l.dilation};
  }

  void set_training() {
    const Layer& l = p_.layer();
    for (BlockedMap* m : {&z1_, &z2_, &da_, &db_, &dz1_}) *m = BlockedMap(half(), lanes());
    dx_ = BlockedMap(x_.shape(), lanes());
    da_.set(p_.dy, 0, l.oc);
    db_.set(p_.dy, l.half(), l.oc);
    for (int i = 0; i < 8; ++i) made_.push_back(floats(channels()));
    dw2_ = floats(channels() * l.k2 * l.k2);
    set_forward();
    set_backward();
    data_gradient_ = {context_, geometry(), Direction::backward, dz1_.ref(), dx_.ref(), p_.w1.data()};
    weight_gradient_ = {context_, geometry(), x_.ref(), dz1_.ref()};
  }

  void set_forward() {
    kernels::GsTraining& t = training_;
    t.gamma1 = given_[2].data<float>();
    t.beta1 = given_[3].data<float>();
    t.gamma2 = given_[4].data<float>();
    t.beta2 = given_[5].data<float>();
    t.eps = Problem::eps;
    t.z1 = at(z1_.ref());
    t.z2 = at(z2_.ref());
    t.mean1 = made_[0].data<float>();
    t.var1 = made_[1].data<float>();
    t.mean2 = made_[2].data<float>();
    t.var2 = made_[3].data<float>();
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
    g.dgamma1 = made_[4].data<float>();
    g.dbeta1 = made_[5].data<float>();
    g.dgamma2 = made_[6].data<float>();
    g.dbeta2 = made_[7].data<float>();
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
  std::vector<Tensor> given_, made_;
  kernels::GsPair pair_;
  kernels::GsInference inference_;
  kernels::GsTraining training_;
  kernels::GsPairGrad gradient_;
};

}  // namespace

std::unique_ptr<Side> make_gsconv(const Problem& p) { return std::make_unique<GsConv>(p); }

}  // namespace slimneck::bench
