#include "compare_layers.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <sstream>

#include "cli.hpp"
#include "slimneck/files.hpp"

namespace slimneck::cli {

// ---- Kinds ----------------------------------------------------------------------------------------------------------

namespace {

constexpr std::string_view unfused_ending = "-unfused";

std::optional<index_t> no_formula(const LayerShape&, index_t) { return std::nullopt; }

// Li et al., Slim-neck by GSConv, arXiv:2206.02424, as its formulas are usually quoted; docs/gsconv.md has the exact
// ones.
std::optional<index_t> paper_sc(const LayerShape& l, index_t pixels) { return pixels * l.k * l.k * l.c1 * l.c2; }
std::optional<index_t> paper_dsc(const LayerShape& l, index_t pixels) { return pixels * l.k * l.k * l.c2; }
std::optional<index_t> paper_gsconv(const LayerShape& l, index_t pixels) {
  return pixels * l.k * l.k * (l.c2 / 2) * (l.c1 + 1);
}

constexpr std::array<OpKind, 6> kinds{{
    {"sc", "Conv", "SC", paper_sc, ""},
    {"dsc", "DSConv", "DSC", paper_dsc, "k k c2: without the pointwise half, and c2 channels in place of c1"},
    {"dw", "DWConv", "DW", no_formula, "the paper has none of its own; what it calls DSC is this one for c1 = c2"},
    {"gsconv", "GSConv", "GSConv", paper_gsconv,
     "k k (c1 + 1) c2/2: it takes the depthwise kernel for k x k, which is 5 x 5"},
    {"gsconvns", "GSConvns", "GSConvns", no_formula,
     "the paper has none; a learned 1x1 convolution takes the shuffle's place"},
    {"ghost", "GhostConv", "Ghost", no_formula, "the paper has none; it is GSConv without the shuffle"},
}};

}  // namespace

std::span<const OpKind> op_kinds() noexcept { return kinds; }

std::string Op::name() const { return std::string(kind->name) + std::string(unfused ? unfused_ending : ""); }
std::string Op::title() const { return std::string(kind->title) + (unfused ? " unfused" : ""); }

Op op_of(std::string_view name) {
  const bool unfused = name.ends_with(unfused_ending);
  const std::string_view stem = unfused ? name.substr(0, name.size() - unfused_ending.size()) : name;
  std::string known;
  for (const OpKind& kind : kinds) {
    if (kind.name == stem) return {&kind, unfused};
    known += (known.empty() ? "" : ", ") + std::string(kind.name);
  }
  throw UsageError("--ops: '" + printable(std::string(name)) + "' is none of " + known +
                   ", nor one of them with -unfused behind it");
}

Graph graph_of(const Op& op, const LayerShape& layer, index_t batch, const kernels::Activation& act) {
  Dialect dialect = *find_dialect("paper");
  dialect.act = act;
  Graph graph;
  GraphBudget budget;
  // In a network a neighbour has made the map, in the plan's own layout; an input of the graph would be plain NCHW.
  const Value given = graph.input("x", {batch, layer.c1, layer.h, layer.w});
  const Value x = graph.add(ops::relu, {given}, {}, std::string(neighbour_name));
  const ModuleCall call{.inputs = {x}, .c2 = layer.c2, .repeats = 1, .args = {layer.k, layer.s}};
  const ModuleBuilder builder(graph, dialect, std::string(op.kind->title), &budget);
  graph.output("y", find_module(op.kind->module)->build(builder, call));
  return graph;
}

// ---- Layers ---------------------------------------------------------------------------------------------------------

namespace {

std::string extent(index_t h, index_t w) {
  return h == w ? std::to_string(h) : std::to_string(h) + "x" + std::to_string(w);
}

}  // namespace

std::string LayerShape::geometry() const {
  return std::to_string(c1) + "->" + std::to_string(c2) + " " + std::to_string(k) + "x" + std::to_string(k) +
         (s == 1 ? "" : "/" + std::to_string(s)) + " @" + extent(h, w);
}

std::vector<LayerShape> default_layers() {
  return {
      {"P3 down", 64, 128, 3, 2, 160, 160}, {"P3 body", 64, 64, 3, 1, 80, 80},     {"P4 body", 128, 128, 3, 1, 40, 40},
      {"P5 body", 256, 256, 3, 1, 20, 20},  {"P5 neck", 512, 256, 1, 1, 20, 20},   {"P4 C3 in", 512, 128, 1, 1, 40, 40},
      {"P4 neck", 256, 128, 1, 1, 40, 40},  {"P3 C3 out", 128, 128, 1, 1, 80, 80}, {"P4 down", 128, 128, 3, 2, 80, 80},
      {"P5 down", 256, 256, 3, 2, 40, 40},
  };
}

namespace {

constexpr std::uint64_t most_bytes = 1 << 20;
constexpr std::size_t most_layers = 1000;

/// One line of a layer file.
class Line {
 public:
  Line(std::string place, const std::string& text) : place_(std::move(place)) {
    std::istringstream words(text.substr(0, text.find('#')));
    for (std::string word; words >> word;) take(word);
  }

  [[nodiscard]] bool empty() const { return seen_.empty(); }
  [[nodiscard]] LayerShape layer() const { return layer_; }

 private:
  [[noreturn]] void fail(const std::string& cause) const { throw FormatError(place_ + ": " + printable(cause)); }

  void take(const std::string& word) {
    const std::size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    if (equals == std::string::npos) fail("'" + word + "' is not KEY=VALUE, as in c1=64");
    if (!seen_.try_emplace(key, true).second) fail(key + " comes twice");
    const std::string value = word.substr(equals + 1);
    constexpr index_t most_map = 65535, most_kernel = 1024;
    if (key == "name") {
      layer_.name = printable(value);
    } else if (key == "c1") {
      layer_.c1 = number(key, value, max_channels);
    } else if (key == "c2") {
      layer_.c2 = number(key, value, max_channels);
    } else if (key == "k") {
      layer_.k = number(key, value, most_kernel);
    } else if (key == "s") {
      layer_.s = number(key, value, most_kernel);
    } else if (key == "hw") {
      const std::size_t x = value.find('x');
      layer_.h = number(key, value.substr(0, x), most_map);
      layer_.w = x == std::string::npos ? layer_.h : number(key, value.substr(x + 1), most_map);
    } else {
      fail("'" + key + "' is none of c1, c2, k, s, hw and name");
    }
  }

  [[nodiscard]] index_t number(const std::string& key, const std::string& text, index_t most) const {
    index_t value = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (problem != std::errc{} || end != text.data() + text.size() || value < 1 || value > most)
      fail(key + " is '" + text + "'; wanted a number in 1.." + std::to_string(most));
    return value;
  }

  std::string place_;
  LayerShape layer_;
  std::map<std::string, bool> seen_;
};

}  // namespace

std::vector<LayerShape> read_layers(const std::string& path) {
  std::istringstream text(read_text(path, most_bytes));
  std::vector<LayerShape> layers;
  int number = 0;
  for (std::string one; std::getline(text, one);) {
    const Line line(path + ":" + std::to_string(++number), one);
    if (line.empty()) continue;
    layers.push_back(line.layer());
    if (layers.size() > most_layers) throw FormatError(path + ": more than " + std::to_string(most_layers) + " layers");
    if (layers.back().name.empty()) layers.back().name = "line " + std::to_string(number);
  }
  if (layers.empty()) throw FormatError(path + ": there is no layer in it");
  return layers;
}

namespace {

/// Why a module of kernel k cannot take this convolution's place; empty when it can.
std::string obstacle(const Attributes& a, const Shape& w) {
  if (a.integer("groups") != 1) return "it has groups";
  if (w.h != w.w) return "its kernel is not square";
  if (a.integer("dilation") != 1) return "it is dilated";
  if (w.h % 2 == 0 || a.integer("pad_h") != w.h / 2 || a.integer("pad_w") != w.w / 2)
    return "its kernel is " + std::to_string(w.h) + " and its padding " + std::to_string(a.integer("pad_h")) +
           ", not half of that";
  if (w.n % 2 != 0) return "its width is odd";
  return {};
}

/// "model.13.cv1" of "model.13.cv1.conv".
std::string module_of(const std::string& conv) {
  return conv.ends_with(".conv") ? conv.substr(0, conv.size() - 5) : conv;
}

}  // namespace

ModelLayers layers_of(const Model& model) {
  ModelLayers found;
  const Graph& g = model.graph;
  for (const Node& norm : g.nodes()) {
    if (norm.op != &ops::batch_norm || g.node(norm.inputs[0]).op != &ops::conv2d) continue;
    const Node& conv = g.node(norm.inputs[0]);
    const Shape &x = g.shape(conv.inputs[0]), &w = g.shape(conv.inputs[1]);
    if (conv.attributes.integer("groups") == x.c) continue;  // depthwise: no standard convolution
    if (const std::string why = obstacle(conv.attributes, w); !why.empty()) {
      found.skipped.emplace_back(module_of(conv.name), why);
      continue;
    }
    const LayerShape layer{module_of(conv.name), x.c, w.n, w.h, conv.attributes.integer("stride"), x.h, x.w};
    const auto same = std::find_if(found.layers.begin(), found.layers.end(),
                                   [&](const LayerShape& l) { return l.geometry() == layer.geometry(); });
    if (same == found.layers.end())
      found.layers.push_back(layer);
    else
      ++same->times;
  }
  return found;
}

}  // namespace slimneck::cli
