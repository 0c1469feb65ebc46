// oneDNN's side of SC, GSConv and DSC in training: convolution, batch norm with statistics of the batch, activation, of
// GSConv and DSC twice; then the way back with every gradient.
//   onednn-best: the concat and the shuffle cost nothing, gradients are worked on in place, and the depthwise weight
//   gradient gets its operands in the format that makes it fastest, reorders on the clock.
//   onednn-framework: concat and shuffle are primitives, forward and backward, and so is cutting the gradient in two.
#ifdef SLIMNECK_WITH_ONEDNN

#include "onednn.hpp"

namespace slimneck::bench::onednn {

namespace {

struct Variant {
  Tag maps;
  Tag gradient;   ///< of maps for the depthwise weight gradient
  bool winograd;  ///< for the first convolution
};

class Training : public Chain {
 public:
  Training(const Problem& p, const Variant& v)
      : p_(p), v_(v), framework_(p.row.peer == "onednn-framework"), first_(convolution(p)), second_(first_) {
    const Layer& l = p.layer();
    if (l.op == Op::gsconv)
      second_ = convolution(p.n, l.half(), l.oh(), l.ow(), l.half(), l.k2, l.k2, 1, l.k2 / 2, l.k2 / 2, 1, l.half());
    else if (l.op == Op::dsc)
      second_ = convolution(p.n, l.c, l.oh(), l.ow(), l.oc, 1, 1, 1, 0, 0, 1, 1);
    one_ = {&first_, load(p.x, first_.x, Tag::nchw, maps(first_.x)), p.w1, p.gamma1, p.beta1, *this};
    forward(one_);
    if (single()) {
      one_.dy = load(p.dy, first_.y, Tag::nchw, maps(first_.y));
    } else {
      two_ = {&second_, one_.y, p.w2, p.gamma2, p.beta2, *this};
      forward(two_);
      if (l.op == Op::gsconv)
        halves();
      else
        two_.dy = load(p.dy, second_.y, Tag::nchw, maps(second_.y));
    }
    backward();
    report();
  }

 private:
  /// A convolution with its batch norm and activation: values and gradients.
  struct Stage {
    const Convolution* conv = nullptr;
    Memory x, z, u, y;  ///< convolved, normalised, activated
    Memory mean, variance, scale, shift;
    Memory dy, dx, dw, dscale, dshift;
    const Numbers* weights = nullptr;
    Desc w_format;

    Stage() = default;
    Stage(const Convolution* c, const Memory& in, const Numbers& w, const Numbers& gamma, const Numbers& beta,
          Training& owner)
        : conv(c),
          x(in),
          z(owner.make(owner.maps(c->y))),
          u(owner.make(owner.maps(c->y))),
          y(owner.make(owner.maps(c->y))),
          mean(owner.vector(c->bias[0])),
          variance(owner.vector(c->bias[0])),
          scale(owner.vector(gamma)),
          shift(owner.vector(beta)),
          dscale(owner.vector(c->bias[0])),
          dshift(owner.vector(c->bias[0])),
          weights(&w) {}
  };

  [[nodiscard]] Desc maps(const Dims& dims) const { return {dims, f32, v_.maps}; }
  [[nodiscard]] bool single() const { return p_.layer().op == Op::conv2d; }
  [[nodiscard]] bool depthwise(const Stage& s) const { return s.conv->w.size() == 5; }

  [[nodiscard]] algorithm how(const Stage& s) const {
    return v_.winograd && s.conv == &first_ ? algorithm::convolution_winograd : algorithm::convolution_direct;
  }
  [[nodiscard]] bool active() const { return p_.layer().act != kernels::Act::none; }
  [[nodiscard]] ConvFwd conv_of(const Stage& s, const Desc& x, const Desc& y) const {
    return conv_fwd(cpu(), prop_kind::forward_training, how(s), x, any(s.conv->w), Desc(), y, s.conv->geometry);
  }
  [[nodiscard]] NormFwd norm_of(const Stage& s) const {
    return norm_fwd(cpu(), prop_kind::forward_training, s.z.get_desc(), static_cast<float>(Problem::eps),
                    scale_and_shift);
  }
  [[nodiscard]] EltwiseFwd act_of(const Stage& s) const {
    const auto [kind, alpha] = activation(p_.layer().act);
    return eltwise_fwd(cpu(), prop_kind::forward_training, kind, s.u.get_desc(), alpha);
  }

  void forward(Stage& s) {
    const ConvFwd conv = conv_of(s, s.x.get_desc(), s.z.get_desc());
    add<dnnl::convolution_forward>(
        conv, {{DNNL_ARG_SRC, s.x},
               {DNNL_ARG_WEIGHTS, load(*s.weights, s.conv->w, s.conv->plain_w, conv.weights_desc())},
               {DNNL_ARG_DST, s.z}});
    add<dnnl::batch_normalization_forward>(norm_of(s), {{DNNL_ARG_SRC, s.z},
                                                        {DNNL_ARG_DST, s.u},
                                                        {DNNL_ARG_MEAN, s.mean},
                                                        {DNNL_ARG_VARIANCE, s.variance},
                                                        {DNNL_ARG_SCALE, s.scale},
                                                        {DNNL_ARG_SHIFT, s.shift}});
    if (active())
      add<dnnl::eltwise_forward>(act_of(s), {{DNNL_ARG_SRC, s.u}, {DNNL_ARG_DST, s.y}});
    else
      s.y = s.u;
  }

  /// Gradients of GSConv's halves; a framework first joins and shuffles what the forward made, and later undoes it.
  void halves() {
    Dims whole = first_.y;
    const index_t half = whole[1];
    whole[1] *= 2;
    const Desc together = maps(whole);
    const Memory plain({whole, f32, Tag::nchw}, cpu(), const_cast<float*>(p_.dy.data()));
    const auto cut = [&](const Memory& from, index_t channel) {
      const Memory to = make(maps(first_.y));
      const dnnl::memory part(from.get_desc().submemory_desc(first_.y, {0, channel, 0, 0}), cpu(),
                              from.get_data_handle());
      const dnnl::reorder::primitive_desc d(part, to);
      if (framework_)
        add<dnnl::reorder>(d, {{DNNL_ARG_FROM, part}, {DNNL_ARG_TO, to}});
      else
        once(dnnl::reorder(d), {{DNNL_ARG_FROM, part}, {DNNL_ARG_TO, to}});
      return to;
    };
    if (!framework_) {
      da_ = cut(plain, 0);
      two_.dy = cut(plain, half);
      return;
    }
    const Memory joined = make(together), y = make(together), dy = make(together);
    const int group = static_cast<int>(half);
    add<dnnl::concat>(concat_channels(cpu(), together, {one_.y.get_desc(), two_.y.get_desc()}),
                      {{DNNL_ARG_MULTIPLE_SRC, one_.y}, {DNNL_ARG_MULTIPLE_SRC + 1, two_.y}, {DNNL_ARG_DST, joined}});
    const ShuffleFwd shuffle = shuffle_fwd(cpu(), prop_kind::forward_training, together, group);
    add<dnnl::shuffle_forward>(shuffle, {{DNNL_ARG_SRC, joined}, {DNNL_ARG_DST, y}});
    // The gradient that comes in is that of the shuffled map.
    const Memory in_order = load(p_.dy, whole, Tag::nchw, together);
    once(dnnl::shuffle_forward(shuffle), {{DNNL_ARG_SRC, in_order}, {DNNL_ARG_DST, dy}});
    const Memory back = make(together);
    add<dnnl::shuffle_backward>(shuffle_bwd(cpu(), together, group, shuffle),
                                {{DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_DIFF_SRC, back}});
    da_ = cut(back, 0);
    two_.dy = cut(back, half);
  }

  void backward() {
    if (single()) return backward(one_);
    backward(two_);
    if (p_.layer().op == Op::gsconv)
      add<dnnl::binary>(binary(cpu(), algorithm::binary_add, two_.dx.get_desc(), da_.get_desc(), two_.dx.get_desc()),
                        {{DNNL_ARG_SRC_0, two_.dx}, {DNNL_ARG_SRC_1, da_}, {DNNL_ARG_DST, two_.dx}});
    one_.dy = two_.dx;
    backward(one_);
  }

  void backward(Stage& s) {
    // In place only where nobody needs the incoming gradient again: the caller's is used by every run.
    const bool ours = &s == &one_ && !single();
    const Memory g = ours ? s.dy : make(s.dy.get_desc());
    const auto [kind, alpha] = activation(p_.layer().act);
    if (active())
      add<dnnl::eltwise_backward>(eltwise_bwd(cpu(), kind, s.u.get_desc(), alpha, act_of(s)),
                                  {{DNNL_ARG_SRC, s.u}, {DNNL_ARG_DIFF_DST, s.dy}, {DNNL_ARG_DIFF_SRC, g}});
    Arguments norm{{DNNL_ARG_SRC, s.z},
                   {DNNL_ARG_DIFF_DST, active() ? g : s.dy},
                   {DNNL_ARG_DIFF_SRC, g},
                   {DNNL_ARG_MEAN, s.mean},
                   {DNNL_ARG_VARIANCE, s.variance},
                   {DNNL_ARG_SCALE, s.scale},
                   {DNNL_ARG_DIFF_SCALE, s.dscale},
                   {DNNL_ARG_DIFF_SHIFT, s.dshift}};
    if (norm_bwd_takes_shift) norm.insert({DNNL_ARG_SHIFT, s.shift});
    add<dnnl::batch_normalization_backward>(
        norm_bwd(cpu(), s.z.get_desc(), static_cast<float>(Problem::eps), scale_and_shift, norm_of(s)), norm);
    if (p_.row.weight_gradient || !depthwise(s)) weight_gradient(s, g);
    const ConvBwdX d = conv_bwd_x(cpu(), how(s), s.x.get_desc(), any(s.conv->w), g.get_desc(), s.conv->geometry,
                                  conv_of(s, s.x.get_desc(), g.get_desc()));
    s.dx = make(s.x.get_desc());
    add<dnnl::convolution_backward_data>(
        d, {{DNNL_ARG_DIFF_DST, g},
            {DNNL_ARG_WEIGHTS, load(*s.weights, s.conv->w, s.conv->plain_w, d.weights_desc())},
            {DNNL_ARG_DIFF_SRC, s.dx}});
  }

  void weight_gradient(Stage& s, const Memory& g) {
    const Tag tag = depthwise(s) ? v_.gradient : v_.maps;
    const Desc x(s.conv->x, f32, tag), dy(s.conv->y, f32, tag);
    const ConvBwdW d = conv_bwd_w(cpu(), how(s), x, any(s.conv->w), dy, s.conv->geometry, conv_of(s, x, dy));
    s.dw = make(d.diff_weights_desc());
    add<dnnl::convolution_backward_weights>(d, {{DNNL_ARG_SRC, converted(s.x, d.src_desc())},
                                                {DNNL_ARG_DIFF_DST, converted(g, d.diff_dst_desc())},
                                                {DNNL_ARG_DIFF_WEIGHTS, s.dw}});
  }

  void report() {
    if (p_.layer().op != Op::dsc) result(one_.y, first_.y, Tag::nchw);
    if (!single()) result(two_.y, second_.y, Tag::nchw);
    result(one_.dx, first_.x, Tag::nchw);
    for (const Stage* s : {&one_, &two_}) {
      if (s->conv == nullptr) continue;
      if (p_.row.weight_gradient || !depthwise(*s)) result(s->dw, s->conv->w, s->conv->plain_w);
      result(s->dscale, s->conv->bias, Tag::x);
      result(s->dshift, s->conv->bias, Tag::x);
    }
  }

  const Problem& p_;
  Variant v_;
  bool framework_;
  Convolution first_, second_;
  Stage one_, two_;
  Memory da_;
};

}  // namespace

std::unique_ptr<Side> make_training(const Problem& p) {
  if (p.layer().act != kernels::Act::none && activation(p.layer().act).first == algorithm::undef) return nullptr;
  std::vector<std::function<std::unique_ptr<Chain>()>> makers;
  // Its own choice for the weight gradient first; where that needs reorders, staying in the format may be faster.
  for (const Tag tag : map_formats())
    for (const Tag gradient : {Tag::any, tag})
      for (const bool winograd : {false, true})
        if (!winograd || (p.row.peer == "onednn-best" && winograd_fits(p)))
          makers.emplace_back([&p, v = Variant{tag, gradient, winograd}] { return std::make_unique<Training>(p, v); });
  return fastest(makers);
}

}  // namespace slimneck::bench::onednn

#endif
