// oneDNN's side of single convolutions.
#ifdef SLIMNECK_WITH_ONEDNN

#include "onednn.hpp"

namespace slimneck::bench::onednn {

namespace {

/// Formats of maps for a convolution: any, or one for both sides.
struct Formats {
  algorithm kind;
  Tag maps;
  bool fused = true;  ///< the activation is a post-op; Winograd's algorithm takes only some of them
};

class Convolved : public Chain {
 public:
  Convolved(const Problem& p, const Formats& formats) : p_(p), c_(convolution(p)), formats_(formats) {
    switch (p.row.pass) {
      case Pass::fwd: forward(); break;
      case Pass::bwd_x: backward_x(); break;
      default: backward_w(); break;
    }
  }

 private:
  [[nodiscard]] Desc maps(const Dims& dims) const { return {dims, f32, formats_.maps}; }

  void forward() {
    primitive_attr attr;
    dnnl::post_ops ops;
    const auto [kind, alpha] = activation(p_.layer().act);
    if (p_.activates() && formats_.fused) {
      append_activation(ops, kind, alpha, 0);
      attr.set_post_ops(ops);
    }
    const Desc bias = p_.epilogue ? Desc(c_.bias, f32, Tag::x) : Desc();
    const ConvFwd d = conv_fwd(cpu(), prop_kind::forward_inference, formats_.kind, maps(c_.x), any(c_.w), bias,
                               maps(c_.y), c_.geometry, attr);
    const Memory y = make(d.dst_desc());
    Arguments arguments{{DNNL_ARG_SRC, load(p_.x, c_.x, Tag::nchw, d.src_desc())},
                        {DNNL_ARG_WEIGHTS, load(p_.w1, c_.w, c_.plain_w, d.weights_desc())},
                        {DNNL_ARG_DST, y}};
    if (p_.epilogue) arguments.insert({DNNL_ARG_BIAS, vector(p_.bias1)});
    add<dnnl::convolution_forward>(d, arguments);
    if (p_.activates() && !formats_.fused)
      add<dnnl::eltwise_forward>(eltwise_fwd(cpu(), prop_kind::forward_inference, kind, y.get_desc(), alpha),
                                 {{DNNL_ARG_SRC, y}, {DNNL_ARG_DST, y}});
    result(y, c_.y, Tag::nchw);
  }

  [[nodiscard]] ConvFwd hint() const {
    return conv_fwd(cpu(), prop_kind::forward_training, formats_.kind, maps(c_.x), any(c_.w), Desc(), maps(c_.y),
                    c_.geometry);
  }

  void backward_x() {
    const ConvBwdX d = conv_bwd_x(cpu(), formats_.kind, maps(c_.x), any(c_.w), maps(c_.y), c_.geometry, hint());
    const Memory dx = make(d.diff_src_desc());
    add<dnnl::convolution_backward_data>(d, {{DNNL_ARG_DIFF_DST, load(p_.dy, c_.y, Tag::nchw, d.diff_dst_desc())},
                                             {DNNL_ARG_WEIGHTS, load(p_.w1, c_.w, c_.plain_w, d.weights_desc())},
                                             {DNNL_ARG_DIFF_SRC, dx}});
    result(dx, c_.x, Tag::nchw);
  }

  void backward_w() {
    const ConvBwdW d = conv_bwd_w(cpu(), formats_.kind, maps(c_.x), any(c_.w), maps(c_.y), c_.geometry, hint());
    const Memory dw = make(d.diff_weights_desc());
    add<dnnl::convolution_backward_weights>(d, {{DNNL_ARG_SRC, load(p_.x, c_.x, Tag::nchw, d.src_desc())},
                                                {DNNL_ARG_DIFF_DST, load(p_.dy, c_.y, Tag::nchw, d.diff_dst_desc())},
                                                {DNNL_ARG_DIFF_WEIGHTS, dw}});
    result(dw, c_.w, c_.plain_w);
  }

  const Problem& p_;
  Convolution c_;
  Formats formats_;
};

}  // namespace

std::unique_ptr<Side> make_single(const Problem& p) {
  if (p.activates() && activation(p.layer().act).first == algorithm::undef) return nullptr;
  std::vector<Formats> formats;
  if (p.row.peer == "onednn-winograd")
    formats = {{algorithm::convolution_winograd, Tag::any, true}, {algorithm::convolution_winograd, Tag::any, false}};
  else
    formats = {{algorithm::convolution_direct, Tag::any, p.row.peer != "onednn-framework"}};
  // "any" is oneDNN's own choice and nearly always the best. For depthwise convolutions it is not: of their weight
  // gradient some formats have no code of their own.
  if (p.layer().op == Op::depthwise)
    for (const Tag tag : map_formats()) formats.push_back({algorithm::convolution_direct, tag, true});
  std::vector<std::function<std::unique_ptr<Chain>()>> makers;
  for (const Formats& f : formats) makers.emplace_back([&p, f] { return std::make_unique<Convolved>(p, f); });
  return fastest(makers);
}

}  // namespace slimneck::bench::onednn

#endif
