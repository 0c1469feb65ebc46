// The library's side of single convolutions.
#include "kernels/plain/conv.hpp"
#include "slimneck.hpp"

namespace slimneck::bench {

namespace {

using Direction = ConvCall::Direction;

class Convolved : public Side {
 public:
  explicit Convolved(const Problem& p)
      : p_(p),
        context_(p),
        x_({p.n, p.layer().c, p.layer().h, p.layer().w}, context_.lanes()),
        y_({p.n, p.layer().oc, p.layer().oh(), p.layer().ow()}, context_.lanes()),
        bias_(channel_numbers(p.bias1, context_.lanes())) {
    x_.set(p.x);
    if (!p.dy.empty()) y_.set(p.dy);
  }
  [[nodiscard]] std::string kernel() const override { return name_; }

 protected:
  /// What a forward ends with, for the channels from `first` on.
  [[nodiscard]] kernels::Epilogue epilogue(index_t first) const {
    kernels::Epilogue e;
    if (p_.epilogue) e.bias = bias_.data<float>() + first;
    if (p_.activates()) e.act = p_.layer().act;
    e.slope = 0.01F;
    return e;
  }

  const Problem& p_;
  Context context_;
  BlockedMap x_, y_;
  Tensor bias_;
  std::string name_;
};

/// Groups of whole blocks are run one after another.
class Dense final : public Convolved {
 public:
  explicit Dense(const Problem& p) : Convolved(p), stem_(reads_planes(p)) {
    const Layer& l = p.layer();
    const index_t c = l.c / l.groups, oc = l.oc / l.groups;
    for (index_t g = 0; g < l.groups; ++g) {
      const MapRef x = stem_ ? plain_picture(p.x, x_.shape()) : x_.part(g * c, c), y = y_.part(g * oc, oc);
      const float* w = p.w1.data() + g * oc * c * l.kh * l.kw;
      if (p.row.pass == Pass::fwd)
        calls_.emplace_back(context_, geometry_of(l), Direction::forward, x, y, w, epilogue(g * oc), stem_);
      else if (p.row.pass == Pass::bwd_x)
        calls_.emplace_back(context_, geometry_of(l), Direction::backward, y, x, w);
      else
        gradients_.emplace_back(context_, geometry_of(l), x, y, stem_);
    }
    name_ = calls_.empty() ? gradients_[0].variant->name : calls_[0].variant->name;
  }

  void run() override {
    for (const ConvCall& call : calls_) call.run(context_.kernels);
    for (const ConvGradCall& call : gradients_) call.run(context_.kernels);
  }

  std::vector<Numbers> results() override {
    if (p_.row.pass == Pass::fwd) return {y_.plain()};
    if (p_.row.pass == Pass::bwd_x) return {x_.plain()};
    Numbers dw;
    for (const ConvGradCall& call : gradients_) {
      const Numbers part = call.plain(context_.kernels);
      dw.insert(dw.end(), part.begin(), part.end());
    }
    return {std::move(dw)};
  }

 private:
  /// A picture as it comes: neither library gives its few channels a block.
  static bool reads_planes(const Problem& p) {
    const Layer& l = p.layer();
    return l.groups == 1 && p.row.pass != Pass::bwd_x && kernels::plain::few_channels({p.n, l.c, l.h, l.w});
  }

  bool stem_;
  std::vector<ConvCall> calls_;
  std::vector<ConvGradCall> gradients_;
};

class Depthwise final : public Convolved {
 public:
  explicit Depthwise(const Problem& p) : Convolved(p) {
    const Geometry g = geometry_of(p.layer());
    if (p.row.pass == Pass::fwd)
      call_ = {context_, g, Direction::forward, x_.ref(), y_.ref(), p.w1, epilogue(0)};
    else if (p.row.pass == Pass::bwd_x)
      call_ = {context_, g, Direction::backward, y_.ref(), x_.ref(), p.w1};
    else
      gradient_ = {context_, g, x_.ref(), y_.ref()};
    name_ = call_.variant ? call_.variant->name : gradient_.variant->name;
  }

  void run() override { call_.variant ? call_.run(context_.kernels) : gradient_.run(context_.kernels); }

  std::vector<Numbers> results() override {
    if (p_.row.pass == Pass::fwd) return {y_.plain()};
    if (p_.row.pass == Pass::bwd_x) return {x_.plain()};
    return {gradient_.plain(context_.kernels)};
  }

 private:
  DepthwiseCall call_;
  DepthwiseGradCall gradient_;
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
