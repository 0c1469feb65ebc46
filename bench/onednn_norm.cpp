// oneDNN's side of batch norm with activation. Inference: the faster of batch norm and swish, and of one pass that
// multiplies by a factor per channel with addition and swish as post-ops. Training: both primitives, forward and back.
#ifdef SLIMNECK_WITH_ONEDNN

#include "onednn.hpp"

namespace slimneck::bench::onednn {

namespace {

struct Variant {
  Tag maps;
  bool one_pass;  ///< inference
};

class Normed : public Chain {
 public:
  Normed(const Problem& p, const Variant& v)
      : p_(p),
        dims_{p.n, p.layer().c, p.layer().h, p.layer().w},
        maps_(dims_, f32, v.maps),
        x_(load(p.x, dims_, Tag::nchw, maps_)),
        y_(make(maps_)) {
    if (p.row.pass == Pass::fwdbwd)
      train();
    else if (v.one_pass)
      one_pass();
    else
      infer();
  }

 private:
  [[nodiscard]] index_t channels() const { return dims_[1]; }

  void one_pass() {
    const Desc per_channel({1, channels(), 1, 1}, f32, Tag::nchw);
    const auto broadcast = [&](const Numbers& v) { return load(v, {1, channels(), 1, 1}, Tag::nchw, per_channel); };
    dnnl::post_ops ops;
    ops.append_binary(algorithm::binary_add, per_channel);
    if (p_.activates()) {
      const auto [kind, alpha] = activation(p_.layer().act);
      append_activation(ops, kind, alpha, 0);
    }
    primitive_attr attr;
    attr.set_post_ops(ops);
    add<dnnl::binary>(binary(cpu(), algorithm::binary_mul, maps_, per_channel, maps_, attr),
                      {{DNNL_ARG_SRC_0, x_},
                       {DNNL_ARG_SRC_1, broadcast(p_.gamma1)},
                       {DNNL_ARG_DST, y_},
                       {DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, broadcast(p_.beta1)}});
    result(y_, dims_, Tag::nchw);
  }

  void infer() {
    const NormFwd norm = norm_fwd(cpu(), prop_kind::forward_inference, maps_, 0.F,
                                  scale_and_shift | dnnl::normalization_flags::use_global_stats);
    const Numbers zero(static_cast<std::size_t>(channels())), one(static_cast<std::size_t>(channels()), 1.F);
    add<dnnl::batch_normalization_forward>(norm, {{DNNL_ARG_SRC, x_},
                                                  {DNNL_ARG_DST, y_},
                                                  {DNNL_ARG_MEAN, vector(zero)},
                                                  {DNNL_ARG_VARIANCE, vector(one)},
                                                  {DNNL_ARG_SCALE, vector(p_.gamma1)},
                                                  {DNNL_ARG_SHIFT, vector(p_.beta1)}});
    if (p_.activates()) {
      const auto [kind, alpha] = activation(p_.layer().act);
      add<dnnl::eltwise_forward>(eltwise_fwd(cpu(), prop_kind::forward_inference, kind, maps_, alpha),
                                 {{DNNL_ARG_SRC, y_}, {DNNL_ARG_DST, y_}});
    }
    result(y_, dims_, Tag::nchw);
  }

  void train() {
    const auto eps = static_cast<float>(Problem::eps);
    const NormFwd norm = norm_fwd(cpu(), prop_kind::forward_training, maps_, eps, scale_and_shift);
    const Memory mean = vector(channels()), variance = vector(channels()), scale = vector(p_.gamma1),
                 shift = vector(p_.beta1), dscale = vector(channels()), dshift = vector(channels());
    const Memory u = make(maps_), dy = load(p_.dy, dims_, Tag::nchw, maps_), dx = make(maps_);
    const bool active = p_.layer().act != kernels::Act::none;
    add<dnnl::batch_normalization_forward>(norm, {{DNNL_ARG_SRC, x_},
                                                  {DNNL_ARG_DST, active ? u : y_},
                                                  {DNNL_ARG_MEAN, mean},
                                                  {DNNL_ARG_VARIANCE, variance},
                                                  {DNNL_ARG_SCALE, scale},
                                                  {DNNL_ARG_SHIFT, shift}});
    if (active) {
      const auto [kind, alpha] = activation(p_.layer().act);
      const EltwiseFwd act = eltwise_fwd(cpu(), prop_kind::forward_training, kind, maps_, alpha);
      add<dnnl::eltwise_forward>(act, {{DNNL_ARG_SRC, u}, {DNNL_ARG_DST, y_}});
      add<dnnl::eltwise_backward>(eltwise_bwd(cpu(), kind, maps_, alpha, act),
                                  {{DNNL_ARG_SRC, u}, {DNNL_ARG_DIFF_DST, dy}, {DNNL_ARG_DIFF_SRC, dx}});
    }
    Arguments back{{DNNL_ARG_SRC, x_},
                   {DNNL_ARG_DIFF_DST, active ? dx : dy},
                   {DNNL_ARG_DIFF_SRC, dx},
                   {DNNL_ARG_MEAN, mean},
                   {DNNL_ARG_VARIANCE, variance},
                   {DNNL_ARG_SCALE, scale},
                   {DNNL_ARG_DIFF_SCALE, dscale},
                   {DNNL_ARG_DIFF_SHIFT, dshift}};
    if (norm_bwd_takes_shift) back.insert({DNNL_ARG_SHIFT, shift});
    add<dnnl::batch_normalization_backward>(norm_bwd(cpu(), maps_, eps, scale_and_shift, norm), back);
    result(y_, dims_, Tag::nchw);
    result(dx, dims_, Tag::nchw);
    result(dscale, {channels()}, Tag::x);
    result(dshift, {channels()}, Tag::x);
  }

  const Problem& p_;
  Dims dims_;
  Desc maps_;
  Memory x_, y_;
};

}  // namespace

std::unique_ptr<Side> make_norm(const Problem& p) {
  if (p.layer().act != kernels::Act::none && activation(p.layer().act).first == algorithm::undef) return nullptr;
  std::vector<std::function<std::unique_ptr<Chain>()>> makers;
  for (const Tag tag : map_formats())
    for (const bool one_pass : {false, true})
      if (!one_pass || p.row.pass == Pass::fwd)
        makers.emplace_back([&p, v = Variant{tag, one_pass}] { return std::make_unique<Normed>(p, v); });
  return fastest(makers);
}

}  // namespace slimneck::bench::onednn

#endif
