#include "random_graph.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <vector>

#include "core/random.hpp"
#include "graph/layout.hpp"
#include "layers/modules/arguments.hpp"
#include "layers/modules/modules.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::test {

namespace {

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

class Draw {
 public:
  Draw(std::string_view name, std::uint64_t seed) : stream_(name, seed) {}

  /// 0 .. count-1.
  index_t below(index_t count) { return static_cast<index_t>(stream_.unit(next_++) * static_cast<double>(count)); }
  bool chance(double probability) { return stream_.unit(next_++) < probability; }
  template <class List>
  auto of(const List& list) {
    return list[at(below(static_cast<index_t>(std::size(list))))];
  }
  index_t of(std::initializer_list<index_t> list) { return of(std::vector<index_t>(list)); }

 private:
  core::Stream stream_;
  std::uint64_t next_ = 0;
};

/// What both kinds of graph share: values that later steps may read, and which of them somebody has read.
class Wiring {
 public:
  Wiring(std::string_view name, std::uint64_t seed) : draw_(name, seed) {}

  [[nodiscard]] RandomGraph finish() {
    for (std::size_t i = 0; i < pool_.size(); ++i) {
      const bool extra = reads_[i] > 0 && draw_.chance(0.1);
      if (reads_[i] > 0 && !extra) continue;
      const bool probe = extra && draw_.chance(0.5);
      graph_.output("y" + std::to_string(i), pool_[i], probe ? OutputKind::probe : OutputKind::result);
      text_ += (probe ? "probe v" : "output v") + std::to_string(i) + "\n";
    }
    return {std::move(graph_), std::move(text_), std::move(made_of_)};
  }

 protected:
  Value input(const Shape& shape) {
    const std::string name = "x" + std::to_string(pool_.size());
    pool_.push_back(graph_.input(name, shape));
    reads_.push_back(0);
    text_ += "v" + std::to_string(pool_.size() - 1) + " = input " + to_string(shape) + "\n";
    return pool_.back();
  }

  void keep(Value y, std::string_view what, const std::string& details, const std::vector<std::size_t>& from) {
    text_ += "v" + std::to_string(pool_.size()) + " = " + std::string(what) + details + " of";
    for (const std::size_t i : from) {
      text_ += " v" + std::to_string(i);
      ++reads_[i];
    }
    text_ += ": " + to_string(graph_.shape(y)) + "\n";
    made_of_.insert(what);
    pool_.push_back(y);
    reads_.push_back(0);
  }

  /// The latest value half of the time, else any.
  std::size_t any() {
    return draw_.chance(0.5) ? pool_.size() - 1 : at(draw_.below(static_cast<index_t>(pool_.size())));
  }
  /// Any value for which the test holds.
  template <class Test>
  std::optional<std::size_t> any_with(const Test& test) {
    std::vector<std::size_t> fits;
    for (std::size_t i = 0; i < pool_.size(); ++i)
      if (test(graph_.shape(pool_[i]))) fits.push_back(i);
    if (fits.empty()) return std::nullopt;
    return draw_.of(fits);
  }
  [[nodiscard]] const Shape& shape(std::size_t i) const { return graph_.shape(pool_[i]); }

  /// One to three values whose maps have the size of v_first's, itself first; the same one may come twice.
  std::vector<std::size_t> joinable(std::size_t first) {
    std::vector<std::size_t> list{first};
    const Shape s = shape(first);
    for (index_t more = draw_.below(3); more > 0; --more)
      list.push_back(*any_with([&](const Shape& o) { return o.h == s.h && o.w == s.w; }));
    return list;
  }
  [[nodiscard]] std::vector<Value> values(const std::vector<std::size_t>& list) const {
    std::vector<Value> result;
    for (const std::size_t i : list) result.push_back(pool_[i]);
    return result;
  }

  bool add_sum() {
    const std::size_t a = any();
    const Shape s = shape(a);
    const std::size_t b = *any_with([&](const Shape& o) { return o == s; });
    if (a == b && !draw_.chance(0.2)) return false;
    keep(graph_.add(ops::add, {pool_[a], pool_[b]}, {}, "sum" + std::to_string(pool_.size())), "add", "", {a, b});
    return true;
  }

  bool add_slice() {
    const std::size_t x = any();
    const index_t c = shape(x).c, first = draw_.below(c), count = 1 + draw_.below(c - first);
    keep(graph_.add(ops::slice, {pool_[x]}, {{"first", first}, {"count", count}}), "slice",
         "[" + std::to_string(first) + ", " + std::to_string(count) + "]", {x});
    return true;
  }

  Draw draw_;
  Graph graph_;
  std::string text_;
  std::vector<Value> pool_;
  std::vector<int> reads_;
  std::set<std::string_view> made_of_;
};

// ---- Modules -------------------------------------------------------------------------------------------------------

constexpr std::array<index_t, 12> widths{8, 24, 40, 5, 17, 16, 32, 12, 6, 20, 48, 3};

/// Small enough that a reference plan takes milliseconds.
constexpr index_t most_macs = 1'500'000, most_numbers = 30'000, most_channels = 128;
constexpr index_t least_in_batch_norm = 8;

class Modules : public Wiring {
 public:
  explicit Modules(std::uint64_t seed) : Wiring("random modules", seed), dialect_(draw_.of(all_dialects())) {
    using kernels::Act;
    constexpr Act acts[] = {Act::none,       Act::silu,      Act::mish,    Act::relu, Act::silu,
                            Act::leaky_relu, Act::hardswish, Act::sigmoid, Act::gelu};
    if (draw_.chance(0.6)) dialect_.act = {draw_.of(acts), 0.1};
    if (draw_.chance(0.3)) dialect_.shuffle = ShuffleKind::deinterleave;
    text_ = "dialect " + std::string(dialect_.name) + ", " + to_string(dialect_.act) + ", " +
            std::string(to_string(dialect_.shuffle)) + "\n";
    const Shape x{1 + draw_.below(3), draw_.of(widths), 1 + draw_.below(13), 1 + draw_.below(13)};
    input(x);
    if (draw_.chance(0.3)) input({x.n, draw_.of(widths), x.h, x.w});
  }

  RandomGraph make() {
    const index_t count = 3 + draw_.below(6);
    for (int tries = 0, made = 0; made < count && tries < 300; ++tries)
      made += draw_.chance(0.1) ? add_sum() : draw_.chance(0.05) ? add_slice() : add_module();
    if (draw_.chance(0.15)) add_head();
    return finish();
  }

 private:
  bool add_module() {
    const ModuleDef& module = *draw_.of(all_modules());
    if (module.head) return false;
    const std::vector<std::size_t> from = module.many_inputs ? joinable(any()) : std::vector<std::size_t>{any()};
    ModuleCall call{.inputs = values(from), .args = {}};
    if (module.width == ModuleDef::Width::scaled) call.c2 = draw_.chance(0.35) ? shape(from[0]).c : draw_.of(widths);
    if (module.repeats_inside) call.repeats = 1 + draw_.below(2);
    call.args = arguments(module.name, shape(from[0]).c, call.c2);
    return add(module, call, from);
  }

  /// Detect on one to three values; they have to divide the picture, else there is none.
  void add_head() {
    std::vector<std::size_t> from;
    for (index_t levels = 1 + draw_.below(3); levels > 0; --levels) from.push_back(any());
    ModuleCall call{.inputs = values(from), .args = {}};
    call.args = {index_t{1 + draw_.below(3)},
                 std::vector<std::vector<double>>(from.size(), std::vector<double>{10, 13, 16, 30, 33, 23})};
    add(*find_module("Detect"), call, from);
  }

  /// False, and the graph is as it was, where sizes do not fit.
  bool add(const ModuleDef& module, const ModuleCall& call, const std::vector<std::size_t>& from) {
    const Graph before = graph_;
    Value y;
    try {
      y = module.build(ModuleBuilder(graph_, dialect_, "m" + std::to_string(pool_.size())), call);
    } catch (const ShapeError&) {
      graph_ = before;
      return false;
    }
    if (!small(before.size())) {
      graph_ = before;
      return false;
    }
    std::string details = "[" + std::to_string(call.c2) + " n=" + std::to_string(call.repeats);
    for (const Argument& a : call.args) details += ", " + modules::to_string(a);
    keep(y, module.name, details + "]", from);
    if (module.head) ++reads_.back();  // it has added its outputs itself
    return true;
  }

  bool small(int first) {
    index_t macs = macs_;
    for (int i = first; i < graph_.size(); ++i) {
      const Node& n = graph_.node(i);
      const std::vector<Shape> in = graph::input_shapes(graph_, n);
      if (n.op == &ops::batch_norm && in[0].n * in[0].h * in[0].w < least_in_batch_norm) return false;
      if (n.op->cost) macs += n.op->cost(n.attributes, in, n.shapes).macs;
      for (const Shape& s : n.shapes)
        if (n.role == Role::computed && (s.numel() > most_numbers || s.c > most_channels)) return false;
    }
    if (macs > most_macs) return false;
    macs_ = macs;
    return true;
  }

  index_t kernel() { return draw_.of({1, 3, 3, 5, 2, 6}); }
  index_t groups(index_t c1, index_t c2) { return draw_.chance(0.75) ? 1 : draw_.chance(0.5) ? 2 : std::gcd(c1, c2); }

  /// k, s, then what the dialect lists: [p] g [d] act.
  std::vector<Argument> of_conv(bool padding, bool dilation, index_t c1, index_t c2) {
    std::vector<Argument> args{kernel(), draw_.of({1, 1, 2})};
    if (padding) args.emplace_back(std::monostate());
    args.emplace_back(groups(c1, c2));
    if (dilation) args.emplace_back(draw_.of({1, 1, 1, 2}));
    if (draw_.chance(0.2)) args.emplace_back(false);
    return args;
  }

  /// Arguments of the module after its width, as a model file gives them; none for modules that are not named here.
  std::vector<Argument> arguments(std::string_view name, index_t c1, index_t c2) {
    const index_t stride = draw_.of({1, 1, 2});
    const double e = draw_.chance(0.5) ? 0.5 : 1.0;
    const auto starts = [&](std::string_view prefix) { return name.starts_with(prefix); };
    if (name == "Conv") return of_conv(true, dialect_.conv_dilation, c1, c2);
    if (name == "GSConv" || name == "GSConvns")
      return of_conv(dialect_.gsconv_full_args, dialect_.gsconv_full_args, c1, c2);
    if (starts("GSConvE") || name == "GhostConv") return of_conv(false, false, c1, c2);
    if (name == "DWConv" || name == "DSConv") return {kernel(), stride};
    if (name == "GSBottleneck") return {index_t{3}, index_t{1}, e};
    if (name == "GSBottleneckC") return {draw_.of({1, 3, 5}), stride};
    if (name == "VoVGSCSPC") return {};
    if (starts("VoVGSCSP") || name == "Bottleneck" || starts("C3") || name == "C2f")
      return {draw_.chance(0.7), index_t{1}, e};
    if (name == "SPP" && draw_.chance(0.5)) return {std::vector<double>{3, 7}};
    if (name == "SPPF") return {draw_.of({3, 5})};
    if (name == "GhostBottleneck") return {draw_.of({3, 5}), stride};
    if (name == "nn.Upsample") return {std::monostate(), draw_.of({2, 2, 3}), std::string("nearest")};
    if (name == "nn.MaxPool2d") {
      const index_t k = draw_.of({2, 3, 5});
      return {k, stride, draw_.of({0, k / 2})};
    }
    return {};
  }

  Dialect dialect_;
  index_t macs_ = 0;
};

// ---- Whole numbers -------------------------------------------------------------------------------------------------

class Integers : public Wiring {
 public:
  explicit Integers(std::uint64_t seed) : Wiring("random integers", seed) {
    const Shape x{1 + draw_.below(3), draw_.of(narrow), 1 + draw_.below(13), 1 + draw_.below(13)};
    input(x);
    if (draw_.chance(0.5)) input({x.n, draw_.of(narrow), x.h, x.w});
  }

  RandomGraph make() {
    const index_t count = 5 + draw_.below(8);
    for (int tries = 0, made = 0; made < count && tries < 100; ++tries) made += step();
    return finish();
  }

 private:
  static constexpr std::array<index_t, 8> narrow{8, 16, 5, 17, 3, 12, 24, 6};
  static constexpr int most_convolutions = 3;

  bool step() {
    switch (draw_.below(9)) {
      case 0: return add_sum();
      case 1: return add_slice();
      case 2: return add_concat();
      case 3: return add_shuffle();
      case 4: return add_pool();
      case 5: return add_upsample();
      case 6: return add_relu();
      default: return convolutions_ < most_convolutions && add_convolution();
    }
  }

  bool add_concat() {
    const std::vector<std::size_t> from = joinable(any());
    index_t channels = 0;
    for (const std::size_t i : from) channels += shape(i).c;
    if (channels > 64) return false;
    keep(graph_.add(ops::concat, values(from)), "concat", "", from);
    return true;
  }

  bool add_shuffle() {
    const std::size_t x = any();
    if (shape(x).c % 2 != 0) return false;
    const ShuffleKind kind = draw_.chance(0.5) ? ShuffleKind::interleave : ShuffleKind::deinterleave;
    keep(graph_.add(ops::channel_shuffle, {pool_[x]}, {{"source", shuffle_source(shape(x).c, kind)}}),
         "channel_shuffle", "[" + std::string(to_string(kind)) + "]", {x});
    return true;
  }

  bool add_pool() {
    const std::size_t x = any();
    const index_t k = draw_.of({2, 3, 5}), s = 1 + draw_.below(2), p = draw_.of({0, k / 2});
    if (k > std::min(shape(x).h, shape(x).w) + 2 * p) return false;
    keep(graph_.add(ops::max_pool, {pool_[x]}, {{"kernel", k}, {"stride", s}, {"pad", p}}), "max_pool",
         "[" + std::to_string(k) + ", " + std::to_string(s) + ", " + std::to_string(p) + "]", {x});
    return true;
  }

  bool add_upsample() {
    const std::size_t x = any();
    const index_t factor = 2 + draw_.below(2);
    if (factor * std::max(shape(x).h, shape(x).w) > 20) return false;
    keep(graph_.add(ops::upsample, {pool_[x]}, {{"factor", factor}}), "upsample", "[" + std::to_string(factor) + "]",
         {x});
    return true;
  }

  bool add_relu() {
    const std::size_t x = any();
    keep(graph_.add(ops::relu, {pool_[x]}), "relu", "", {x});
    return true;
  }

  bool add_convolution() {
    const std::size_t x = any();
    const index_t c1 = shape(x).c, c2 = draw_.chance(0.3) ? c1 : draw_.of(narrow), common = std::gcd(c1, c2);
    const index_t k = draw_.of({1, 3, 3, 5}), s = draw_.of({1, 1, 2}), d = draw_.of({1, 1, 2});
    const index_t g = draw_.chance(0.6) ? 1 : common, pad = draw_.of({d * (k - 1) / 2, 0});
    if (d * (k - 1) >= std::min(shape(x).h, shape(x).w) + 2 * pad) return false;
    const std::string name = "c" + std::to_string(pool_.size());
    std::vector<Value> inputs{pool_[x], graph_.parameter(name + ".w", {c2, c1 / g, k, k})};
    if (draw_.chance(0.3)) inputs.push_back(graph_.parameter(name + ".b", {c2}));
    const Value y = graph_.add(ops::conv2d, inputs,
                               {{"stride", s}, {"pad_h", pad}, {"pad_w", pad}, {"dilation", d}, {"groups", g}}, name);
    keep(y, "conv2d",
         "[" + std::to_string(c2) + ", k" + std::to_string(k) + " s" + std::to_string(s) + " p" + std::to_string(pad) +
             " d" + std::to_string(d) + " g" + std::to_string(g) + (inputs.size() > 2 ? " bias]" : "]"),
         {x});
    ++convolutions_;
    return true;
  }

  int convolutions_ = 0;
};

}  // namespace

RandomGraph random_modules(std::uint64_t seed) { return Modules(seed).make(); }

RandomGraph random_integers(std::uint64_t seed) { return Integers(seed).make(); }

}  // namespace slimneck::test
