// The library's side of depthwise separable convolution, from the kernels that a plan has for it: both convolutions
// with fused ends in inference; in training with moments, one pass for each batch norm, and back.
#include "kernels/norm/args.hpp"
#include "kernels/norm/moments.hpp"
#include "slimneck.hpp"

namespace slimneck::bench {

namespace {

using Direction = ConvCall::Direction;
using kernels::BnArgs;
using kernels::BnGradArgs;
using kernels::Kernels;

/// Batch norm and activation behind one of the convolutions, in training.
class Norm {
 public:
  Norm() = default;
  Norm(const Problem& p, index_t lanes, const Shape& map, const Numbers& gamma, const Numbers& beta, index_t strip)
      : z(map, lanes), y(map, lanes), dz(map, lanes), strip_(strip), lanes_(lanes) {
    const index_t channels = z.blocks() * lanes;
    gamma_ = channel_numbers(gamma, lanes);
    beta_ = channel_numbers(beta, lanes);
    for (Tensor* t : {&mean_, &var_, &scale_, &bias_, &dgamma, &dbeta}) *t = floats(channels);
    coefficients_ = floats(3 * channels);
    moments_ = floats(kernels::moments_floats(map.n, map.h, strip, channels));
    workspace_ = floats(kernels::bn_workspace(map.n, z.blocks(), map.h, map.w, lanes));
    set(forward_, p);
    const MapRef out = y.ref(), gradient = dz.ref();
    forward_.y = out.data;
    forward_.yn = out.sn;
    forward_.yb = out.sb;
    forward_.yh = out.sh;
    set(backward_, p);
    backward_.dz = gradient.data;
    backward_.dzn = gradient.sn;
    backward_.dzb = gradient.sb;
    backward_.dzh = gradient.sh;
    backward_.dgamma = dgamma.data<float>();
    backward_.dbeta = dbeta.data<float>();
    backward_.coefficients = coefficients_.data<float>();
    backward_.workspace = workspace_.data<float>();
  }

  [[nodiscard]] float* moments() { return moments_.data<float>(); }

  void set_gradient(const MapRef& dy) {
    backward_.dy = dy.data;
    backward_.dyn = dy.sn;
    backward_.dyb = dy.sb;
    backward_.dyh = dy.sh;
  }

  /// z with its moments -> y.
  void forward(const Kernels& k) {
    const index_t channels = z.blocks() * lanes_;
    kernels::MomentsArgs m;
    m.n = z.shape().n;
    m.h = z.shape().h;
    m.w = z.shape().w;
    m.strip = strip_;
    m.last = m.channels = channels;
    m.moments = moments();
    m.mean = mean_.data<float>();
    m.var = var_.data<float>();
    kernels::merge_moments(m);
    kernels::bn_fold(channels, m.mean, m.var, gamma_.data<float>(), beta_.data<float>(), Problem::eps,
                     scale_.data<float>(), bias_.data<float>());
    k.bn_act(forward_);
  }
  void backward(const Kernels& k) const { k.bn_act_bwd(backward_); }

  BlockedMap z, y, dz;
  Tensor dgamma, dbeta;

 private:
  template <class Args>
  void set(Args& a, const Problem& p) {
    const MapRef in = z.ref();
    a.n = in.shape.n;
    a.blocks = z.blocks();
    a.h = in.shape.h;
    a.w = in.shape.w;
    a.z = in.data;
    a.zn = in.sn;
    a.zb = in.sb;
    a.zh = in.sh;
    a.mean = mean_.data<float>();
    a.var = var_.data<float>();
    a.scale = scale_.data<float>();
    a.bias = bias_.data<float>();
    a.eps = Problem::eps;
    a.act = p.layer().act;
    a.slope = 0.01F;
  }

  index_t strip_ = 1, lanes_ = 1;
  Tensor gamma_, beta_, mean_, var_, scale_, bias_, coefficients_, moments_, workspace_;
  BnArgs forward_;
  BnGradArgs backward_;
};

class Separable final : public Side {
 public:
  explicit Separable(const Problem& p)
      : p_(p),
        context_(p),
        x_({p.n, p.layer().c, p.layer().h, p.layer().w}, lanes()),
        middle_(map(p.layer().c), lanes()),
        y_(map(p.layer().oc), lanes()) {
    x_.set(p.x);
    bias1_ = channel_numbers(p.bias1, lanes());
    bias2_ = channel_numbers(p.bias2, lanes());
    first_ = {context_, geometry(), Direction::forward, x_.ref(), middle_.ref(), p.w1, epilogue(bias1_)};
    second_ = {context_, {}, Direction::forward, middle_.ref(), y_.ref(), p.w2.data(), epilogue(bias2_)};
    if (train()) set_training();
  }

  void run() override {
    const Kernels& k = context_.kernels;
    first_.run(k);
    if (train()) one_.forward(k);
    second_.run(k);
    if (!train()) return;
    two_.forward(k);
    two_.backward(k);
    second_weights_.run(k);
    second_data_.run(k);
    one_.backward(k);
    first_weights_.run(k);
    first_data_.run(k);
  }

  std::vector<Numbers> results() override {
    if (!train()) return {y_.plain()};
    const Kernels& k = context_.kernels;
    const Layer& l = p_.layer();
    return {two_.y.plain(),
            dx_.plain(),
            first_weights_.plain(k),
            plain_numbers(one_.dgamma, l.c),
            plain_numbers(one_.dbeta, l.c),
            second_weights_.plain(k),
            plain_numbers(two_.dgamma, l.oc),
            plain_numbers(two_.dbeta, l.oc)};
  }

  [[nodiscard]] std::string kernel() const override {
    return std::string(first_.variant->name) + ", " + std::string(second_.variant->name);
  }

 private:
  [[nodiscard]] index_t lanes() const { return context_.lanes(); }
  [[nodiscard]] bool train() const { return p_.row.pass == Pass::fwdbwd; }
  [[nodiscard]] Shape map(index_t channels) const { return {p_.n, channels, p_.layer().oh(), p_.layer().ow()}; }
  [[nodiscard]] Geometry geometry() const {
    const Layer& l = p_.layer();
    return {l.kh, l.kw, l.stride, l.pad_h, l.pad_w, l.dilation};
  }
  [[nodiscard]] kernels::Epilogue epilogue(const Tensor& bias) const {
    kernels::Epilogue e;
    if (p_.epilogue) e.bias = bias.data<float>();
    if (p_.activates()) e.act = p_.layer().act;
    return e;
  }

  void set_training() {
    const Layer& l = p_.layer();
    dx_ = BlockedMap(x_.shape(), lanes());
    da_ = BlockedMap(map(l.c), lanes());
    dy_ = BlockedMap(map(l.oc), lanes());
    dy_.set(p_.dy);
    one_ = Norm(p_, lanes(), map(l.c), p_.gamma1, p_.beta1, first_.args.strip);
    first_ = {context_, geometry(), Direction::forward, x_.ref(), one_.z.ref(), p_.w1, with_moments(one_)};
    two_ = Norm(p_, lanes(), map(l.oc), p_.gamma2, p_.beta2, second_.args.strip);
    second_ = {context_, {}, Direction::forward, one_.y.ref(), two_.z.ref(), p_.w2.data(), with_moments(two_)};
    two_.set_gradient(dy_.ref());
    second_weights_ = {context_, {}, one_.y.ref(), two_.dz.ref()};
    second_data_ = {context_, {}, Direction::backward, two_.dz.ref(), da_.ref(), p_.w2.data()};
    one_.set_gradient(da_.ref());
    first_weights_ = {context_, geometry(), x_.ref(), one_.dz.ref()};
    first_data_ = {context_, geometry(), Direction::backward, one_.dz.ref(), dx_.ref(), p_.w1};
  }

  static kernels::Epilogue with_moments(Norm& norm) {
    kernels::Epilogue e;
    e.moments = norm.moments();
    return e;
  }

  const Problem& p_;
  Context context_;
  BlockedMap x_, middle_, y_, dx_, da_, dy_;
  Tensor bias1_, bias2_;
  DepthwiseCall first_, first_data_;
  DepthwiseGradCall first_weights_;
  ConvCall second_, second_data_;
  ConvGradCall second_weights_;
  Norm one_, two_;
};

}  // namespace

std::unique_ptr<Side> make_dsc(const Problem& p) { return std::make_unique<Separable>(p); }

}  // namespace slimneck::bench
