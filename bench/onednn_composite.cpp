// oneDNN's side of GSConv and DSC in inference.
//   onednn-best: both convolutions with bias and activation fused; GSConv's halves are parts of one map, so the concat
//   costs nothing, and the shuffle is taken as folded into the next layer.
//   onednn-framework: activations, concat and shuffle are primitives of their own.
#ifdef SLIMNECK_WITH_ONEDNN

#include "onednn.hpp"

namespace slimneck::bench::onednn {

namespace {

struct Variant {
  Tag maps;
  bool parts;     ///< GSConv's halves lie in one map; false: in two
  bool winograd;  ///< for the first convolution, activation not fused
};

class Composite : public Chain {
 public:
  Composite(const Problem& p, const Variant& v)
      : p_(p), v_(v), fused_(p.row.peer != "onednn-framework"), first_(convolution(p)) {
    const Layer& l = p.layer();
    if (l.op == Op::gsconv)
      gsconv(convolution(p.n, l.half(), l.oh(), l.ow(), l.half(), l.k2, l.k2, 1, l.k2 / 2, l.k2 / 2, 1, l.half()));
    else
      separable(convolution(p.n, l.c, l.oh(), l.ow(), l.oc, 1, 1, 1, 0, 0, 1, 1));
  }

 private:
  [[nodiscard]] Desc maps(const Dims& dims) const { return {dims, f32, v_.maps}; }

  /// A convolution with bias from src to dst, where dst already has its format; and its activation.
  void step(const Convolution& c, const Memory& src, const Memory& dst, const Numbers& w, const Numbers& bias) {
    const auto [kind, alpha] = activation(p_.layer().act);
    const bool winograd = v_.winograd && &c == &first_, fused = fused_ && !winograd;
    primitive_attr attr;
    dnnl::post_ops ops;
    if (fused && p_.activates()) {
      append_activation(ops, kind, alpha, 0);
      attr.set_post_ops(ops);
    }
    const algorithm how = winograd ? algorithm::convolution_winograd : algorithm::convolution_direct;
    const ConvFwd d = conv_fwd(cpu(), prop_kind::forward_inference, how, src.get_desc(), any(c.w),
                               Desc(c.bias, f32, Tag::x), dst.get_desc(), c.geometry, attr);
    add<dnnl::convolution_forward>(d, {{DNNL_ARG_SRC, src},
                                       {DNNL_ARG_WEIGHTS, load(w, c.w, c.plain_w, d.weights_desc())},
                                       {DNNL_ARG_BIAS, vector(bias)},
                                       {DNNL_ARG_DST, dst}});
    if (fused || !p_.activates()) return;
    const EltwiseFwd act = eltwise_fwd(cpu(), prop_kind::forward_inference, kind, dst.get_desc(), alpha);
    add<dnnl::eltwise_forward>(act, {{DNNL_ARG_SRC, dst}, {DNNL_ARG_DST, dst}});
  }

  Memory input() { return load(p_.x, first_.x, Tag::nchw, maps(first_.x)); }

  void gsconv(const Convolution& second) {
    const index_t half = p_.layer().half();
    Dims whole = first_.y;
    whole[1] = 2 * half;
    const Memory y = make(maps(whole));
    Memory a = make(maps(first_.y)), b = make(maps(first_.y));
    if (v_.parts) {
      a = {y.get_desc().submemory_desc(first_.y, {0, 0, 0, 0}), cpu(), y.get_data_handle()};
      b = {y.get_desc().submemory_desc(first_.y, {0, half, 0, 0}), cpu(), y.get_data_handle()};
      whole_ = y;
    }
    step(first_, input(), a, p_.w1, p_.bias1);
    step(second, a, b, p_.w2, p_.bias2);
    result(a, first_.y, Tag::nchw);
    result(b, first_.y, Tag::nchw);
    if (fused_) return;
    const Concat concat = concat_channels(cpu(), y.get_desc(), {a.get_desc(), b.get_desc()});
    add<dnnl::concat>(concat, {{DNNL_ARG_MULTIPLE_SRC, a}, {DNNL_ARG_MULTIPLE_SRC + 1, b}, {DNNL_ARG_DST, y}});
    const Memory shuffled = make(y.get_desc());
    const ShuffleFwd shuffle = shuffle_fwd(cpu(), prop_kind::forward_inference, y.get_desc(), static_cast<int>(half));
    add<dnnl::shuffle_forward>(shuffle, {{DNNL_ARG_SRC, y}, {DNNL_ARG_DST, shuffled}});
  }

  void separable(const Convolution& second) {
    const Memory z = make(maps(first_.y)), y = make(maps(second.y));
    step(first_, input(), z, p_.w1, p_.bias1);
    step(second, z, y, p_.w2, p_.bias2);
    result(y, second.y, Tag::nchw);
  }

  const Problem& p_;
  Variant v_;
  bool fused_;
  Convolution first_;
  Memory whole_;  ///< owns the memory that both halves lie in
};

}  // namespace

std::unique_ptr<Side> make_composite(const Problem& p) {
  if (p.activates() && activation(p.layer().act).first == algorithm::undef) return nullptr;
  const bool best = p.row.peer == "onednn-best", halves = best && p.layer().op == Op::gsconv;
  std::vector<std::function<std::unique_ptr<Chain>()>> makers;
  for (const Tag tag : map_formats())
    for (const bool parts : {false, true})
      for (const bool winograd : {false, true})
        if ((!parts || halves) && (!winograd || (best && winograd_fits(p))))
          makers.emplace_back([&p, v = Variant{tag, parts, winograd}] { return std::make_unique<Composite>(p, v); });
  return fastest(makers);
}

}  // namespace slimneck::bench::onednn

#endif
