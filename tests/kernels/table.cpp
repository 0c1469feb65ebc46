#include "table.hpp"

#include <algorithm>
#include <optional>

#include "slimneck/kernels.hpp"

namespace slimneck::table {

// ---- Shapes
// ----------------------------------------------------------------------------------------------------------

namespace {

/// Every kernel and stride at every number of channels; sizes, batches and outputs take turns.
void add_regular(std::vector<ConvRow>& rows) {
  constexpr index_t channels[] = {1, 3, 15, 16, 17, 64}, extents[][2] = {{7, 13}, {13, 7}, {2, 33}, {5, 5}, {9, 2}};
  constexpr index_t batches[] = {1, 1, 3};
  std::size_t i = 0;
  for (const index_t k : {1, 3, 5, 6})
    for (const index_t stride : {1, 2})
      for (const index_t c : channels) {
        const auto& extent = extents[i % 5];
        const index_t o = channels[(i + i / 6 + 1) % 6], pad = k == 6 ? 2 : k / 2;
        rows.push_back({{batches[i % 3], c, extent[0], extent[1]}, o, k, k, {stride, pad, pad}});
        if (k == 6 && extent[1] + 2 * pad < k) rows.back().x.w = 6;
        ++i;
      }
}

/// The same for depthwise kernels.
void add_depthwise(std::vector<ConvRow>& rows) {
  constexpr index_t channels[] = {3, 15, 16, 17, 64, 33}, extents[][2] = {{7, 13}, {1, 1}, {2, 41}, {13, 6}, {4, 27}};
  std::size_t i = 0;
  for (const index_t k : {3, 5})
    for (const index_t stride : {1, 2})
      for (const index_t c : channels) {
        const auto& extent = extents[i % 5];
        rows.push_back({{index_t(1 + i % 2), c, extent[0], extent[1]}, c, k, k, {stride, k / 2, k / 2, 1, c}});
        ++i;
      }
}

std::vector<ConvRow> all_rows() {
  std::vector<ConvRow> rows{
      // batch of none; one pixel; maps smaller than the kernel
      {{0, 16, 7, 9}, 16, 3, 3, {1, 1, 1}},
      {{0, 17, 7, 9}, 5, 1, 1, {}},
      {{1, 1, 1, 1}, 1, 1, 1, {}},
      {{3, 17, 1, 1}, 15, 3, 3, {1, 1, 1}},
      {{1, 16, 2, 2}, 64, 5, 5, {1, 2, 2}},
      {{1, 64, 1, 3}, 16, 3, 3, {2, 1, 1}},
      {{1, 3, 2, 3}, 16, 6, 6, {2, 2, 2}},
      {{1, 15, 3, 1}, 17, 5, 5, {2, 2, 2}},
      // padding of none, of less and of more than the kernel needs
      {{1, 16, 9, 20}, 16, 3, 3, {}},
      {{1, 16, 9, 20}, 33, 3, 3, {2}},
      {{1, 5, 8, 9}, 7, 3, 3, {1, 2, 3}},
      {{1, 2, 3, 4}, 3, 3, 3, {1, 5, 6}},
      {{2, 17, 6, 6}, 16, 5, 5, {1, 1, 3}},
      // larger strides, kernels that are no squares, dilation
      {{1, 16, 10, 11}, 16, 3, 3, {3, 1, 1}},
      {{1, 4, 12, 15}, 17, 1, 1, {3}},
      {{2, 16, 9, 14}, 15, 5, 3, {4, 2, 1}},
      {{2, 4, 5, 6}, 6, 1, 3, {1, 0, 1}},
      {{1, 17, 6, 5}, 16, 3, 1, {2, 1, 0}},
      {{1, 32, 9, 30}, 32, 1, 7, {1, 0, 3}},
      {{1, 6, 9, 8}, 8, 3, 3, {1, 2, 2, 2}},
      {{1, 16, 15, 14}, 16, 3, 3, {2, 3, 3, 3}},
      {{3, 17, 13, 14}, 4, 5, 5, {3, 4, 4, 2}},
      // groups, two outputs per channel, depthwise ones that are not regular
      {{3, 8, 6, 5}, 12, 3, 3, {1, 1, 1, 1, 2}},
      {{1, 34, 6, 5}, 34, 3, 3, {2, 1, 1, 1, 2}},
      {{1, 64, 7, 7}, 32, 1, 1, {1, 0, 0, 1, 4}},
      {{1, 6, 5, 5}, 12, 3, 3, {1, 1, 1, 1, 6}},
      {{2, 17, 5, 9}, 34, 5, 5, {2, 2, 2, 1, 17}},
      {{0, 16, 5, 5}, 16, 5, 5, {1, 2, 2, 1, 16}},
      {{1, 16, 9, 9}, 16, 3, 3, {1, 0, 0, 1, 16}},
      {{1, 16, 9, 9}, 16, 3, 3, {1, 2, 2, 2, 16}},
      {{1, 20, 13, 14}, 20, 5, 5, {3, 4, 4, 2, 20}},
      {{1, 17, 5, 6}, 17, 17, 17, {1, 8, 8, 1, 17}},
      {{1, 16, 6, 7}, 16, 9, 9, {1, 4, 4, 1, 16}},
      {{1, 16, 11, 8}, 16, 6, 6, {2, 2, 2, 1, 16}},
      {{3, 64, 8, 24}, 64, 1, 1, {1, 0, 0, 1, 64}},
      {{1, 16, 5, 8}, 16, 5, 3, {1, 2, 1, 1, 16}},
      // maps wide enough for whole tiles of pixels and of Winograd, in blocks of every kind
      {{1, 64, 12, 31}, 64, 3, 3, {1, 1, 1}},
      {{2, 32, 17, 28}, 48, 3, 3, {1, 1, 1}},
      {{1, 48, 16, 64}, 32, 3, 3, {1, 1, 1}},
      {{1, 33, 9, 17}, 65, 3, 3, {1, 1, 1}},
      {{1, 64, 21, 40}, 64, 3, 3, {2, 1, 1}},
      {{2, 48, 19, 20}, 65, 3, 3, {2, 1, 1}},
      {{1, 64, 24, 23}, 80, 3, 3, {2, 1, 1}},
      {{1, 224, 4, 5}, 208, 3, 3, {1, 1, 1}},
      {{2, 80, 10, 29}, 96, 1, 1, {}},
      {{1, 160, 7, 23}, 48, 1, 1, {}},
      {{1, 32, 31, 43}, 32, 1, 1, {}},
      {{1, 32, 9, 83}, 32, 3, 3, {2, 1, 1}},
      {{1, 3, 30, 46}, 32, 6, 6, {2, 2, 2}},
      {{2, 3, 8, 9}, 17, 6, 6, {2, 2, 2}},
      {{3, 1, 21, 34}, 16, 6, 6, {2, 2, 2}},
      {{1, 2, 13, 77}, 33, 6, 6, {2, 2, 2}},
      {{1, 3, 31, 33}, 16, 3, 3, {2, 1, 1}},
      {{1, 3, 25, 70}, 32, 7, 7, {2, 3, 3}},
      {{2, 4, 13, 37}, 33, 5, 5, {1, 2, 2}},
      {{1, 48, 12, 45}, 48, 5, 5, {1, 2, 2, 1, 48}},
      {{1, 32, 12, 31}, 32, 7, 7, {1, 3, 3, 1, 32}},
      {{2, 17, 11, 24}, 17, 9, 9, {1, 4, 4, 1, 17}},
      {{1, 32, 23, 44}, 32, 3, 3, {2, 1, 1, 1, 32}},
      {{1, 32, 24, 43}, 32, 3, 3, {1, 1, 1, 1, 32}},
  };
  add_regular(rows);
  add_depthwise(rows);
  return rows;
}

}  // namespace

index_t every() {
  const char* text = std::getenv("SLIMNECK_TEST_EVERY");
  return text ? std::max<index_t>(1, std::strtol(text, nullptr, 10)) : 1;
}

const std::vector<ConvRow>& conv_rows() {
  static const std::vector<ConvRow> rows = [] {
    const std::vector<ConvRow> all = all_rows();
    std::vector<ConvRow> some;
    for (std::size_t i = 0; i < all.size(); i += static_cast<std::size_t>(every())) some.push_back(all[i]);
    return some;
  }();
  return rows;
}

std::string to_text(const ConvRow& r) {
  const auto number = [](const char* name, index_t v) { return std::string(name) + std::to_string(v); };
  return to_string(r.x) + " * " + to_string(r.w()) + number(" s", r.g.stride) + number(" p", r.g.pad_h) +
         number(",", r.g.pad_w) + number(" d", r.g.dilation) + number(" g", r.g.groups);
}

// ---- Numbers
// ---------------------------------------------------------------------------------------------------------

Tensor random_tensor(const Shape& shape, Fill fill, std::uint64_t seed) {
  Tensor t(shape);
  const core::Stream stream("table", seed);
  for (index_t i = 0; i < t.numel(); ++i) {
    const double u = stream.unit(static_cast<std::uint64_t>(i));
    t.data<float>()[i] = static_cast<float>(fill == Fill::integers ? std::floor(u * 9) - 4
                                            : fill == Fill::reals  ? 4 * u - 2
                                                                   : u);
  }
  return t;
}

Tensor absolute(const Tensor& x) {
  Tensor t = x.to(DType::f64);
  for (index_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = std::fabs(t.data<double>()[i]);
  return t;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && (a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

double dot(const Tensor& a, const Tensor& b) {
  const Tensor x = a.to(DType::f64), y = b.to(DType::f64);
  double sum = 0;
  for (index_t i = 0; i < x.numel(); ++i) sum += x.data<double>()[i] * y.data<double>()[i];
  return sum;
}

index_t mismatches(const Tensor& got, const Want& want) {
  if (got.shape() != want.value.shape()) return std::max<index_t>(1, got.numel());
  index_t wrong = 0;
  for (index_t i = 0; i < got.numel(); ++i) {
    const double error = std::fabs(static_cast<double>(got.data<float>()[i]) - want.value.data<double>()[i]);
    const double allowed = want.scale.empty() ? 0 : want.factor * want.scale.data<double>()[i];
    if (!(error <= allowed)) ++wrong;
  }
  return wrong;
}

bool near_in_norm(const Tensor& got, const Tensor& want) {
  double error = 0, norm = 0, worst = 0, largest = 0;
  for (index_t i = 0; i < got.numel(); ++i) {
    const double w = want.data<double>()[i], e = static_cast<double>(got.data<float>()[i]) - w;
    error += e * e;
    norm += w * w;
    worst = std::max(worst, std::isnan(e) ? INFINITY : std::fabs(e));
    largest = std::max(largest, std::fabs(w));
  }
  return std::sqrt(error) <= 1e-5 * std::sqrt(norm) && worst <= 5e-5 * largest;
}

// ---- Convolutions
// ----------------------------------------------------------------------------------------------------

ConvProblem::ConvProblem(const ConvRow& r, Fill fill)
    : row(r),
      x(random_tensor(r.x, fill, 1)),
      w(random_tensor(r.w(), fill, 2)),
      bias(random_tensor({1, r.o, 1, 1}, fill, 3)),
      dy(random_tensor(r.y(), fill, 4)) {
  const index_t taps = r.kh * r.kw, groups = r.g.groups;
  y.factor = error_factor(r.x.c / groups * taps);
  y_bias.factor = error_factor(r.x.c / groups * taps + 1);
  dx.factor = error_factor(r.o / groups * taps);
  dw.factor = error_factor(r.x.n * r.y().h * r.y().w);
  const auto solve = [&](const Tensor& px, const Tensor& pw, const Tensor& pb, const Tensor& pdy, Tensor Want::*part) {
    for (Want* want : {&y, &y_bias}) want->*part = Tensor(r.y(), DType::f64);
    dx.*part = Tensor(r.x, DType::f64);
    dw.*part = Tensor(r.w(), DType::f64);
    const View<const double> vx = px.view<double>(), vw = pw.view<double>(), vdy = pdy.view<double>();
    kernels::conv2d_fwd<double>(vx, vw, {}, (y.*part).view<double>(), r.g);
    kernels::conv2d_fwd<double>(vx, vw, pb.view<double>(), (y_bias.*part).view<double>(), r.g);
    kernels::conv2d_bwd_x<double>(vdy, vw, (dx.*part).view<double>(), r.g);
    kernels::conv2d_bwd_w<double>(vx, vdy, (dw.*part).view<double>(), r.g);
  };
  solve(x.to(DType::f64), w.to(DType::f64), bias.to(DType::f64), dy.to(DType::f64), &Want::value);
  if (fill != Fill::integers) solve(absolute(x), absolute(w), absolute(bias), absolute(dy), &Want::scale);
}

namespace {

using kernels::ConvArgs;
using kernels::ConvGradArgs;
using kernels::DepthwiseArgs;
using kernels::DepthwiseGradArgs;
using kernels::WeightArgs;
using kernels::WeightOrder;

index_t blocks_of(index_t channels, index_t lanes) { return (channels + lanes - 1) / lanes; }

/// Everything but pointers, for any of the four argument structs; from is what is read.
template <class Args>
void set_geometry(Args& a, const ConvRow& r, const Shape& from, const Shape& to) {
  a.n = from.n;
  a.h = from.h;
  a.w = from.w;
  a.oh = to.h;
  a.ow = to.w;
  a.kh = r.kh;
  a.kw = r.kw;
  a.stride = r.g.stride;
  a.pad_h = r.g.pad_h;
  a.pad_w = r.g.pad_w;
  a.dilation = r.g.dilation;
}

template <class Args>
void set_x(Args& a, const Map& x) {
  a.x = x.view().data;
  a.xn = x.view().sn;
  a.xb = x.view().sc;
  a.xh = x.view().sh;
}

template <class Args>
void set_y(Args& a, float*& data, const Map& y) {
  data = y.view().data;
  a.yn = y.view().sn;
  a.yb = y.view().sc;
  a.yh = y.view().sh;
}

template <class Args>
void set_dy(Args& a, const Map& dy) {
  float* data = nullptr;
  set_y(a, data, dy);
  a.dy = data;
}

WeightArgs weight_args(const ConvRow& r, WeightOrder order, index_t lanes) {
  WeightArgs a;
  const bool per_channel = order == WeightOrder::depthwise;
  a.o = r.o;
  a.c = per_channel ? 1 : r.x.c;
  a.kh = r.kh;
  a.kw = r.kw;
  a.o_physical = blocks_of(r.o, lanes) * lanes;
  a.c_physical = per_channel ? 1 : order == WeightOrder::planes ? r.x.c : blocks_of(r.x.c, lanes) * lanes;
  a.order = order;
  return a;
}

index_t floats_of(const WeightArgs& a) { return a.o_physical * a.c_physical * a.kh * a.kw; }

/// Packed, and prepared where the variant wants that.
class Packed {
 public:
  Packed(const Kernels& kernels, const ConvProblem& p, WeightOrder order, const ConvVariant* variant,
         const Placement& at)
      : args_(weight_args(p.row, order, kernels.lanes)), packed_(floats_of(args_), at) {
    args_.from = p.w.data<float>();
    args_.to = packed_.data();
    kernels.pack_weights(args_);
    if (!variant || !variant->prepare) return;
    prepared_.emplace(variant->weights(args_.o_physical, args_.c_physical, args_.kh * args_.kw), at);
    args_.from = packed_.data();
    args_.to = prepared_->data();
    (kernels.*variant->prepare)(args_);
  }
  [[nodiscard]] const float* data() const { return prepared_ ? prepared_->data() : packed_.data(); }
  [[nodiscard]] bool intact() const { return packed_.intact() && (!prepared_ || prepared_->intact()); }

 private:
  WeightArgs args_;
  Edge packed_;
  std::optional<Edge> prepared_;
};

Tensor unpacked(const Kernels& kernels, const ConvRow& r, WeightOrder order, const Edge& dw) {
  WeightArgs a = weight_args(r, order, kernels.lanes);
  Tensor t(r.w());
  a.from = dw.data();
  a.to = t.data<float>();
  kernels.unpack_weights(a);
  return t;
}

/// A run of a variant that makes a map.
template <class Args, class Variant>
Outcome run_map(const Kernels& kernels, const Variant& v, Args a, const Packed& w, const Map& x, const Map& y,
                Algorithm algorithm, index_t workspace_floats, const Placement& at) {
  Edge workspace(workspace_floats, at);
  set_x(a, x);
  set_y(a, a.y, y);
  a.weights = w.data();
  if constexpr (std::is_same_v<Args, ConvArgs>) a.workspace = workspace.data();
  (kernels.*v.run)(a);
  return {std::string(v.name), algorithm, y.values(), y.intact() && w.intact() && x.intact() && workspace.intact()};
}

std::vector<Outcome> dense_data(const Kernels& kernels, const ConvProblem& p, bool backward, int threads,
                                const Placement& at) {
  std::vector<Outcome> outcomes;
  const Tensor& from = backward ? p.dy : p.x;
  const Shape to = backward ? p.row.x : p.row.y();
  const index_t lanes = kernels.lanes;
  // A stem reads its few channels from plain memory; every variant may say that it suits.
  for (const bool planes : {false, true}) {
    if (planes && (backward || p.row.x.c > 4)) continue;
    Placement place = at;
    if (planes && place.gap % 2 == 1) ++place.gap;  // pixels of planes lie side by side
    const Map x(from, planes ? 1 : lanes, place);
    for (const ConvVariant& v : backward ? kernels::conv_bwd_x_variants() : kernels::conv_fwd_variants()) {
      ConvArgs a;
      set_geometry(a, p.row, from.shape(), to);
      a.x_blocks = blocks_of(from.shape().c, lanes);
      a.y_blocks = blocks_of(to.c, lanes);
      a.planes = planes ? p.row.x.c : 0;
      set_x(a, x);
      if (!v.suits(a, lanes) || (v.order == WeightOrder::planes) != planes) continue;
      const Map y(to, lanes, at);
      a.strip = v.strip(a, lanes);
      outcomes.push_back(run_map(kernels, v, a, Packed(kernels, p, v.order, &v, at), x, y, v.algorithm,
                                 v.workspace(a, lanes, threads), at));
    }
  }
  return outcomes;
}

std::vector<Outcome> dense_weights(const Kernels& kernels, const ConvProblem& p, int threads, const Placement& at) {
  std::vector<Outcome> outcomes;
  const index_t lanes = kernels.lanes;
  for (const bool planes : {false, true}) {
    if (planes && p.row.x.c > 4) continue;
    Placement place = at;
    if (planes && place.gap % 2 == 1) ++place.gap;
    const Map x(p.x, planes ? 1 : lanes, place), dy(p.dy, lanes, at);
    for (const kernels::ConvGradVariant& v : kernels::conv_bwd_w_variants()) {
      ConvGradArgs a;
      set_geometry(a, p.row, p.row.x, p.row.y());
      a.x_blocks = blocks_of(p.row.x.c, lanes);
      a.y_blocks = blocks_of(p.row.o, lanes);
      a.planes = planes ? p.row.x.c : 0;
      set_x(a, x);
      set_dy(a, dy);
      if (!v.suits(a, lanes) || (v.order == WeightOrder::planes) != planes) continue;
      Edge dw(floats_of(weight_args(p.row, v.order, lanes)), at), workspace(v.workspace(a, lanes, threads), at);
      a.dw = dw.data();
      a.workspace = workspace.data();
      (kernels.*v.run)(a);
      outcomes.push_back({std::string(v.name), v.algorithm, unpacked(kernels, p.row, v.order, dw),
                          dw.intact() && workspace.intact() && x.intact() && dy.intact()});
    }
  }
  return outcomes;
}

std::vector<Outcome> depthwise_data(const Kernels& kernels, const ConvProblem& p, bool backward, const Placement& at) {
  std::vector<Outcome> outcomes;
  const Tensor& from = backward ? p.dy : p.x;
  const Shape to = backward ? p.row.x : p.row.y();
  const Map x(from, kernels.lanes, at);
  for (const kernels::DepthwiseVariant& v :
       backward ? kernels::depthwise_bwd_x_variants() : kernels::depthwise_fwd_variants()) {
    DepthwiseArgs a;
    set_geometry(a, p.row, from.shape(), to);
    a.blocks = blocks_of(to.c, kernels.lanes);
    if (!v.suits(a)) continue;
    const Map y(to, kernels.lanes, at);
    a.strip = v.strip(a, kernels.lanes);
    outcomes.push_back(run_map(kernels, v, a, Packed(kernels, p, WeightOrder::depthwise, nullptr, at), x, y,
                               Algorithm::direct, 0, at));
  }
  return outcomes;
}

std::vector<Outcome> depthwise_weights(const Kernels& kernels, const ConvProblem& p, const Placement& at) {
  std::vector<Outcome> outcomes;
  const Map x(p.x, kernels.lanes, at), dy(p.dy, kernels.lanes, at);
  for (const kernels::DepthwiseGradVariant& v : kernels::depthwise_bwd_w_variants()) {
    DepthwiseGradArgs a;
    set_geometry(a, p.row, p.row.x, p.row.y());
    a.blocks = blocks_of(p.row.o, kernels.lanes);
    if (!v.suits(a)) continue;
    Edge dw(floats_of(weight_args(p.row, WeightOrder::depthwise, kernels.lanes)), at);
    Edge workspace(v.workspace(a, kernels.lanes), at);
    set_x(a, x);
    set_dy(a, dy);
    a.dw = dw.data();
    a.workspace = workspace.data();
    (kernels.*v.run)(a);
    outcomes.push_back({std::string(v.name), Algorithm::direct, unpacked(kernels, p.row, WeightOrder::depthwise, dw),
                        dw.intact() && workspace.intact() && x.intact() && dy.intact()});
  }
  return outcomes;
}

}  // namespace

std::vector<Outcome> run_variants(const Kernels& kernels, const ConvProblem& p, Direction direction, int threads,
                                  const Placement& at) {
  const core::ThreadScope scope(threads);
  const bool weights = direction == Direction::backward_w, backward = direction == Direction::backward_x;
  if (p.row.depthwise()) return weights ? depthwise_weights(kernels, p, at) : depthwise_data(kernels, p, backward, at);
  if (p.row.g.groups != 1) return {};
  return weights ? dense_weights(kernels, p, threads, at) : dense_data(kernels, p, backward, threads, at);
}

}  // namespace slimneck::table
