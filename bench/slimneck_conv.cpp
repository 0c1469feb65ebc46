// The library's side of single convolutions.
#include "kernels/conv2d/variants.hpp"
#include "kernels/depthwise/variants.hpp"
#include "slimneck.hpp"

namespace slimneck::bench {

namespace {

using kernels::ConvArgs;
using kernels::ConvGradArgs;
using kernels::DepthwiseArgs;
using kernels::DepthwiseGradArgs;
using kernels::Kernels;
using kernels::WeightArgs;
using kernels::WeightOrder;

/// What all four directions share: the geometry, in any of the argument structs.
template <class Args>
void set_geometry(Args& a, const Layer& l, index_t n) {
  a.n = n;
  a.kh = l.kh;
  a.kw = l.kw;
  a.stride = l.stride;
  a.pad_h = l.pad_h;
  a.pad_w = l.pad_w;
  a.dilation = l.dilation;
}

template <class Args>
void set_extents(Args& a, const Shape& x, const Shape& y) {
  a.h = x.h;
  a.w = x.w;
  a.oh = y.h;
  a.ow = y.w;
}

template <class Args>
void set_x(Args& a, const BlockedMap& x) {
  a.x = x.data();
  a.xn = x.sn();
  a.xb = x.sb();
  a.xh = x.sh();
}

template <class Args>
void set_y_strides(Args& a, const BlockedMap& y) {
  a.yn = y.sn();
  a.yb = y.sb();
  a.yh = y.sh();
}

class Convolved : public Side {
 public:
  explicit Convolved(const Problem& p)
      : p_(p),
        k_(*kernels::kernels_of(p.isa)),
        x_({p.n, p.layer().c, p.layer().h, p.layer().w}, k_.lanes),
        y_({p.n, p.layer().oc, p.layer().oh(), p.layer().ow()}, k_.lanes) {
    x_.set(p.x);
    if (!p.dy.empty()) y_.set(p.dy);
    bias_ = channel_numbers(p.bias1, y_.blocks(), k_.lanes);
  }
  [[nodiscard]] std::string kernel() const override { return name_; }

 protected:
  [[nodiscard]] kernels::Epilogue epilogue() const {
    kernels::Epilogue e;
    if (p_.epilogue) e.bias = bias_.data<float>();
    if (p_.activates()) e.act = p_.layer().act;
    e.slope = 0.01F;
    return e;
  }

  const Problem& p_;
  const Kernels& k_;
  BlockedMap x_, y_;
  Tensor bias_, workspace_;
  std::string name_;
};

// ---- Dense, and groups of whole blocks one after another ----

class Dense final : public Convolved {
 public:
  explicit Dense(const Problem& p)
      : Convolved(p), groups_(p.layer().groups), c_(p.layer().c / groups_), oc_(p.layer().oc / groups_) {
    switch (p.row.pass) {
      case Pass::fwd: forward(); break;
      case Pass::bwd_x: backward_x(); break;
      default: backward_w(); break;
    }
  }

  void run() override {
    for (const ConvArgs& a : calls_) (k_.*run_)(a);
    for (const ConvGradArgs& a : gradient_calls_) (k_.*run_gradient_)(a);
  }

  std::vector<Numbers> results() override {
    if (p_.row.pass == Pass::fwd) return {y_.plain()};
    if (p_.row.pass == Pass::bwd_x) return {x_.plain()};
    Numbers dw(static_cast<std::size_t>(p_.layer().oc * c_ * taps()));
    for (index_t g = 0; g < groups_; ++g) {
      WeightArgs a = weight_args(g, gradient_order_);
      a.from = weights_.data<float>() + g * size_;
      a.to = dw.data() + g * oc_ * c_ * taps();
      k_.unpack_weights(a);
    }
    return {std::move(dw)};
  }

 private:
  [[nodiscard]] index_t taps() const { return p_.layer().kh * p_.layer().kw; }
  [[nodiscard]] bool stem() const { return p_.layer().kind == "stem"; }

  [[nodiscard]] WeightArgs weight_args(index_t, WeightOrder order) const {
    WeightArgs a;
    a.o = oc_;
    a.c = c_;
    a.kh = p_.layer().kh;
    a.kw = p_.layer().kw;
    a.order = order;
    a.o_physical = blocks_of(oc_, k_.lanes) * k_.lanes;
    a.c_physical = order == WeightOrder::planes ? c_ : blocks_of(c_, k_.lanes) * k_.lanes;
    return a;
  }

  /// Weights of every group as the variant wants them.
  void pack(const kernels::ConvVariant& v) {
    const WeightArgs shape = weight_args(0, v.order);
    const index_t plain = shape.o_physical * shape.c_physical * taps();
    size_ = v.prepare ? v.weights(shape.o_physical, shape.c_physical, taps()) : plain;
    weights_ = floats(groups_ * size_);
    Tensor packed = floats(plain);
    for (index_t g = 0; g < groups_; ++g) {
      WeightArgs a = weight_args(g, v.order);
      float* last = weights_.data<float>() + g * size_;
      a.from = p_.w1.data() + g * oc_ * c_ * taps();
      a.to = v.prepare ? packed.data<float>() : last;
      k_.pack_weights(a);
      if (!v.prepare) continue;
      a.from = packed.data<float>();
      a.to = last;
      (k_.*v.prepare)(a);
    }
  }

  /// One call for each group. read and write are the maps of the kernel's x and y.
  void plan(ConvArgs a, const kernels::ConvVariant& v, const BlockedMap& read, BlockedMap& write, index_t read_channels,
            index_t write_channels) {
    name_ = v.name;
    run_ = v.run;
    pack(v);
    a.strip = v.strip(a, k_.lanes);
    workspace_ = floats(v.workspace(a, k_.lanes, p_.threads));
    a.workspace = workspace_.data<float>();
    for (index_t g = 0; g < groups_; ++g) {
      a.x = a.planes > 0 ? p_.x.data() : read.data() + g * (read_channels / k_.lanes) * read.sb();
      a.y = write.data() + g * (write_channels / k_.lanes) * write.sb();
      if (a.epilogue.bias) a.epilogue.bias = bias_.data<float>() + g * write_channels;
      a.weights = weights_.data<float>() + g * size_;
      calls_.push_back(a);
    }
  }

  ConvArgs args(const BlockedMap& read, const BlockedMap& write, index_t read_channels, index_t write_channels) {
    ConvArgs a;
    set_geometry(a, p_.layer(), p_.n);
    set_extents(a, read.shape(), write.shape());
    set_x(a, read);
    set_y_strides(a, write);
    a.x_blocks = blocks_of(read_channels, k_.lanes);
    a.y_blocks = blocks_of(write_channels, k_.lanes);
    return a;
  }

  void forward() {
    ConvArgs a = args(x_, y_, c_, oc_);
    a.epilogue = epilogue();
    if (stem()) {
      a.planes = c_;
      a.x_blocks = 0;
      a.xn = c_ * a.h * a.w;
      a.xb = a.h * a.w;
      a.xh = a.w;
    }
    plan(a, kernels::choose_conv_fwd(a, k_.lanes, p_.algorithm), x_, y_, c_, oc_);
  }

  void backward_x() {
    const ConvArgs a = args(y_, x_, oc_, c_);
    plan(a, kernels::choose_conv_bwd_x(a, k_.lanes, p_.algorithm), y_, x_, oc_, c_);
  }

  void backward_w() {
    ConvGradArgs a;
    set_geometry(a, p_.layer(), p_.n);
    set_extents(a, x_.shape(), y_.shape());
    set_x(a, x_);
    set_y_strides(a, y_);
    a.x_blocks = blocks_of(c_, k_.lanes);
    a.y_blocks = blocks_of(oc_, k_.lanes);
    if (stem()) {
      a.planes = c_;
      a.x_blocks = 0;
      a.xn = c_ * a.h * a.w;
      a.xb = a.h * a.w;
      a.xh = a.w;
    }
    const kernels::ConvGradVariant& v = kernels::choose_conv_bwd_w(a, k_.lanes, p_.algorithm);
    name_ = v.name;
    run_gradient_ = v.run;
    gradient_order_ = v.order;
    const WeightArgs shape = weight_args(0, v.order);
    size_ = shape.o_physical * shape.c_physical * taps();
    weights_ = floats(groups_ * size_);
    workspace_ = floats(v.workspace(a, k_.lanes, p_.threads));
    a.workspace = workspace_.data<float>();
    for (index_t g = 0; g < groups_; ++g) {
      a.x = a.planes > 0 ? p_.x.data() : x_.data() + g * (c_ / k_.lanes) * x_.sb();
      a.dy = y_.data() + g * (oc_ / k_.lanes) * y_.sb();
      a.dw = weights_.data<float>() + g * size_;
      gradient_calls_.push_back(a);
    }
  }

  index_t groups_, c_, oc_;  ///< channels of one group
  index_t size_ = 0;         ///< floats of one group's weights
  Tensor weights_;
  void (*Kernels::*run_)(const ConvArgs&) noexcept = nullptr;
  void (*Kernels::*run_gradient_)(const ConvGradArgs&) noexcept = nullptr;
  WeightOrder gradient_order_ = WeightOrder::forward;
  std::vector<ConvArgs> calls_;
  std::vector<ConvGradArgs> gradient_calls_;
};

// ---- Depthwise ----

class Depthwise final : public Convolved {
 public:
  explicit Depthwise(const Problem& p) : Convolved(p) {
    WeightArgs a = weight_args();
    weights_ = floats(a.o_physical * a.kh * a.kw);
    a.from = p.w1.data();
    a.to = weights_.data<float>();
    k_.pack_weights(a);
    if (p.row.pass == Pass::bwd_w)
      backward_w();
    else
      data();
  }

  void run() override {
    if (run_) (k_.*run_)(args_);
    if (run_gradient_) (k_.*run_gradient_)(gradient_);
  }

  std::vector<Numbers> results() override {
    if (p_.row.pass == Pass::fwd) return {y_.plain()};
    if (p_.row.pass == Pass::bwd_x) return {x_.plain()};
    Numbers dw(p_.w1.size());
    WeightArgs a = weight_args();
    a.from = weights_.data<float>();
    a.to = dw.data();
    k_.unpack_weights(a);
    return {std::move(dw)};
  }

 private:
  [[nodiscard]] WeightArgs weight_args() const {
    WeightArgs a;
    a.o = p_.layer().c;
    a.c = 1;
    a.kh = p_.layer().kh;
    a.kw = p_.layer().kw;
    a.o_physical = blocks_of(a.o, k_.lanes) * k_.lanes;
    a.c_physical = 1;
    a.order = WeightOrder::depthwise;
    return a;
  }

  void data() {
    const bool forward = p_.row.pass == Pass::fwd;
    const BlockedMap& read = forward ? x_ : y_;
    BlockedMap& write = forward ? y_ : x_;
    set_geometry(args_, p_.layer(), p_.n);
    set_extents(args_, read.shape(), write.shape());
    set_x(args_, read);
    set_y_strides(args_, write);
    args_.blocks = x_.blocks();
    args_.y = write.data();
    args_.weights = weights_.data<float>();
    if (forward) args_.epilogue = epilogue();
    const kernels::DepthwiseVariant& v =
        forward ? kernels::choose_depthwise_fwd(args_) : kernels::choose_depthwise_bwd_x(args_);
    args_.strip = v.strip(args_, k_.lanes);
    run_ = v.run;
    name_ = v.name;
  }

  void backward_w() {
    set_geometry(gradient_, p_.layer(), p_.n);
    set_extents(gradient_, x_.shape(), y_.shape());
    set_x(gradient_, x_);
    set_y_strides(gradient_, y_);
    gradient_.blocks = x_.blocks();
    gradient_.dy = y_.data();
    gradient_.dw = weights_.data<float>();
    const kernels::DepthwiseGradVariant& v = kernels::choose_depthwise_bwd_w(gradient_);
    workspace_ = floats(v.workspace(gradient_, k_.lanes));
    gradient_.workspace = workspace_.data<float>();
    run_gradient_ = v.run;
    name_ = v.name;
  }

  Tensor weights_;
  DepthwiseArgs args_;
  DepthwiseGradArgs gradient_;
  void (*Kernels::*run_)(const DepthwiseArgs&) noexcept = nullptr;
  void (*Kernels::*run_gradient_)(const DepthwiseGradArgs&) noexcept = nullptr;
};

}  // namespace

std::unique_ptr<Side> make_conv(const Problem& p) {
  const Layer& l = p.layer();
  const index_t lanes = kernels::kernels_of(p.isa)->lanes;
  // A group that begins inside of a block has no kernel.
  if (l.groups > 1 && ((l.c / l.groups) % lanes != 0 || (l.oc / l.groups) % lanes != 0)) return nullptr;
  return std::make_unique<Dense>(p);
}

std::unique_ptr<Side> make_depthwise(const Problem& p) { return std::make_unique<Depthwise>(p); }

}  // namespace slimneck::bench
