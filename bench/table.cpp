#include "table.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "layers/rewrites/rewrites.hpp"
#include "slimneck/model.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::bench {

namespace {

std::string by(index_t a, index_t b) { return std::to_string(a) + "x" + std::to_string(b); }

std::string class_of(const Layer& l) {
  const bool square = l.kh == l.kw && l.dilation == 1;
  if (l.op == Op::gsconv) return "gsconv";
  if (l.op == Op::dsc) return "dsc";
  if (l.op == Op::bn_act) return "bn_act";
  if (l.op == Op::depthwise) return square && l.kh == 5 ? "dw5" : square && l.kh == 3 ? "dw3" : "other";
  if (l.groups != 1 || !square) return "other";
  if (l.c == 3 && l.kh > 1 && l.stride == 2) return "stem";
  if (l.kh == 1 && l.stride == 1) return "conv1x1";
  if (l.kh == 3 && l.stride <= 2) return l.stride == 1 ? "conv3x3s1" : "conv3x3s2";
  return "other";
}

Layer layer_of(const Shape& x, const Shape& w, const Attributes& a) {
  Layer l;
  l.c = x.c;
  l.oc = w.n;
  l.h = x.h;
  l.w = x.w;
  l.kh = w.h;
  l.kw = w.w;
  l.stride = a.integer("stride");
  l.pad_h = a.integer("pad_h");
  l.pad_w = a.integer("pad_w");
  l.dilation = a.integer("dilation");
  l.groups = a.integer("groups");
  if (l.groups == l.c && w.n == l.c && l.c > 1) l.op = Op::depthwise;
  return l;
}

/// Gathers layers, each once; the first model that has one gives its origin.
class Collection {
 public:
  void add(Layer layer) {
    if (layer.kind.empty()) layer.kind = class_of(layer);
    const auto key = std::pair(layer.op, layer.shape());
    if (seen_.emplace(key, true).second) layers_.push_back(std::move(layer));
  }
  void add_with_norm(const Layer& l) {
    add(l);
    Layer norm;
    norm.op = Op::bn_act;
    norm.c = norm.oc = l.op == Op::gsconv ? l.half() : l.oc;
    norm.h = l.oh();
    norm.w = l.ow();
    norm.act = l.act;
    norm.origin = l.origin;
    add(norm);
  }
  [[nodiscard]] std::vector<Layer>& layers() { return layers_; }

 private:
  std::map<std::pair<Op, std::string>, bool> seen_;
  std::vector<Layer> layers_;
};

/// A dense 3x3 layer as depthwise separable convolution, and the depthwise half of that.
void add_separable(Collection& all, const Layer& dense) {
  Layer l = dense;
  l.op = Op::depthwise;
  l.oc = l.groups = l.c;
  all.add(l);
  // Between two batch norms without an activation the first one's shift has no effect, and its gradient is noise.
  if (dense.act == kernels::Act::none) return;
  l.oc = dense.oc;
  l.op = Op::dsc;
  all.add(l);
}

void add_node(Collection& all, const Graph& g, const Node& n, const std::string& origin) {
  if (n.op != &ops::conv2d && n.op != &ops::conv_bn_act && n.op != &ops::gs_pair) return;
  Layer l = layer_of(g.shape(n.inputs[0]), g.shape(n.inputs[1]), n.attributes);
  l.origin = origin;
  if (n.op == &ops::conv2d) {
    l.act = kernels::Act::none;
    all.add(l);
    return;
  }
  l.act = static_cast<kernels::Act>(n.attributes.integer("act"));
  if (n.op == &ops::gs_pair) {
    // Its halves are layers of their own, too: what a plan runs one after another.
    Layer second = l;
    second.op = Op::depthwise;
    second.c = second.groups = l.oc;
    second.h = l.oh();
    second.w = l.ow();
    second.kh = second.kw = l.k2 = g.shape(n.inputs[4]).h;
    second.pad_h = second.pad_w = l.k2 / 2;
    second.stride = 1;
    all.add(l);
    all.add_with_norm(second);
    l.op = Op::gsconv;
    l.oc *= 2;
  }
  all.add_with_norm(l);
  if (l.op == Op::conv2d && l.groups == 1 && l.kh == 3 && l.kw == 3) add_separable(all, l);
}

/// YOLOv5n, YOLOv5s and every neck of those sizes that the library has.
bool small(const std::string& model) { return model.ends_with('n') || model.ends_with('s'); }

void add_models(Collection& all) {
  std::vector<std::string> names = model_names();
  std::stable_partition(names.begin(), names.end(), [](const std::string& n) { return n.starts_with("yolo"); });
  for (const std::string& name : names) {
    if (!small(name)) continue;
    for (const index_t size : {index_t{640}, index_t{320}}) {
      ModelOptions options;
      options.height = options.width = size;
      const Graph plain = load_model(name, options).graph;
      const Graph fused =
          rewrites::fuse_gs_pair.apply(rewrites::fuse_conv_bn_act.apply(plain, Mode::infer), Mode::infer);
      for (const Node& n : fused.nodes()) add_node(all, fused, n, name + "@" + std::to_string(size));
    }
  }
}

/// What models do not have: odd channels and maps, other kernels, dilation, groups, degenerate extents.
void add_awkward(Collection& all) {
  const auto conv = [&](index_t c, index_t oc, index_t h, index_t w, index_t k, index_t s, index_t d, index_t g) {
    Layer l;
    l.kind = "other";
    l.origin = "awkward";
    l.op = g == c && oc == c ? Op::depthwise : Op::conv2d;
    l.c = c, l.oc = oc, l.h = h, l.w = w, l.kh = l.kw = k, l.stride = s, l.dilation = d, l.groups = g;
    l.pad_h = l.pad_w = d * (k / 2);
    return l;
  };
  all.add(conv(17, 33, 31, 29, 3, 1, 1, 1));
  all.add(conv(33, 65, 41, 39, 3, 2, 1, 1));
  all.add(conv(3, 5, 64, 64, 1, 1, 1, 1));
  all.add(conv(100, 70, 23, 37, 1, 1, 1, 1));
  all.add(conv(64, 128, 56, 56, 1, 2, 1, 1));
  all.add(conv(512, 512, 1, 1, 1, 1, 1, 1));
  all.add(conv(256, 256, 4, 4, 3, 1, 1, 1));
  all.add(conv(16, 16, 8, 1024, 3, 1, 1, 1));
  all.add(conv(16, 16, 1024, 8, 3, 1, 1, 1));
  all.add(conv(64, 64, 40, 40, 3, 1, 2, 1));
  all.add(conv(24, 40, 40, 40, 5, 1, 1, 1));
  all.add(conv(3, 64, 224, 224, 7, 2, 1, 1));
  all.add(conv(64, 64, 40, 40, 3, 1, 1, 2));
  all.add(conv(64, 128, 40, 40, 1, 1, 1, 4));
  Layer strip = conv(32, 32, 40, 40, 3, 1, 1, 1);
  strip.kh = 1;
  strip.pad_h = 0;
  all.add(strip);
  Layer gaps = conv(32, 32, 50, 50, 3, 3, 1, 1);
  gaps.pad_h = gaps.pad_w = 0;
  all.add(gaps);
  all.add(conv(48, 48, 28, 28, 7, 1, 1, 48));
  all.add(conv(19, 19, 37, 23, 3, 1, 2, 19));
  all.add(conv(72, 72, 28, 28, 5, 2, 1, 72));
  all.add(conv(32, 32, 20, 20, 9, 1, 1, 32));
}

std::size_t class_index(const Layer& l) {
  const std::vector<std::string>& order = classes();
  return static_cast<std::size_t>(std::find(order.begin(), order.end(), l.kind) - order.begin());
}

/// Gradients of a convolution alone do not depend on what follows it: named as if it were the usual one.
Layer with_usual_activation(Layer l) {
  l.act = kernels::Act::silu;
  return l;
}

bool same(const Row& a, const Row& b) { return a.name(a.peer, 1) == b.name(b.peer, 1); }

void add_rows(std::vector<Row>& all, const Layer& l, Pass pass, bool winograd) {
  const bool composite = l.op == Op::gsconv || l.op == Op::dsc;
  if (!composite) {
    const Row row{l, pass, "onednn", true};
    if (std::any_of(all.begin(), all.end(), [&](const Row& r) { return same(r, row); })) return;
    all.push_back(row);
    if (winograd && l.takes_winograd()) all.push_back({l, pass, "onednn-winograd", true});
    return;
  }
  all.push_back({l, pass, "onednn-best", true});
  all.push_back({l, pass, "onednn-framework", true});
  if (pass == Pass::fwdbwd && l.op == Op::gsconv) all.push_back({l, pass, "onednn-best", false});
}

}  // namespace

std::string Layer::shape() const {
  std::string text = "c" + by(c, oc) + "_" + by(h, w);
  if (op == Op::bn_act) return text + (act == kernels::Act::silu ? "" : "_linear");
  text += "_k" + (kh == kw ? std::to_string(kh) : by(kh, kw)) + "s" + std::to_string(stride);
  if (pad_h != dilation * (kh - 1) / 2 || pad_w != dilation * (kw - 1) / 2) text += "p" + std::to_string(pad_h);
  if (dilation != 1) text += "d" + std::to_string(dilation);
  if (groups != 1 && op == Op::conv2d) text += "g" + std::to_string(groups);
  if (op == Op::gsconv && k2 != 5) text += "_dw" + std::to_string(k2);
  if (act != kernels::Act::silu)
    text += act == kernels::Act::none ? "_linear" : "_act" + std::to_string(static_cast<int>(act));
  return text;
}

std::string_view name_of(Pass pass) {
  switch (pass) {
    case Pass::fwd: return "fwd";
    case Pass::bwd_x: return "bwd_x";
    case Pass::bwd_w: return "bwd_w";
    case Pass::fwdbwd: return "fwdbwd";
  }
  return "";
}

std::string Row::op() const {
  switch (layer.op) {
    case Op::conv2d: return "conv2d";
    case Op::depthwise: return "depthwise";
    case Op::gsconv: return weight_gradient ? "gsconv" : "gsconv_no_dw5";
    case Op::dsc: return "dsc";
    case Op::bn_act: return "bn_act";
  }
  return "";
}

std::string Row::name(const std::string& implementation, int threads) const {
  return op() + "/" + std::string(name_of(pass)) + "/" + implementation + "/" + layer.shape() + "/t" +
         std::to_string(threads);
}

index_t Row::batch(const Options& options) const {
  if (options.batch > 0) return options.batch;
  return pass == Pass::fwdbwd ? Options::train_batch : 1;
}

index_t Row::macs(index_t n) const {
  const Layer& l = layer;
  const index_t pixels = n * l.oh() * l.ow();
  const index_t times = pass == Pass::fwdbwd ? 3 : 1;
  switch (l.op) {
    case Op::conv2d:
    case Op::depthwise: return pixels * l.oc * (l.c / l.groups) * l.kh * l.kw * times;
    case Op::gsconv: {
      const index_t dense = pixels * l.half() * l.c * l.kh * l.kw, second = pixels * l.half() * l.k2 * l.k2;
      return dense * times + second * (weight_gradient ? times : times - 1);
    }
    case Op::dsc: return pixels * l.c * (l.kh * l.kw + l.oc) * times;
    case Op::bn_act: return 0;
  }
  return 0;
}

index_t Row::bytes(index_t n) const {
  const Layer& l = layer;
  const index_t x = n * l.c * l.h * l.w, y = n * l.oc * l.oh() * l.ow();
  index_t weights = 0;
  switch (l.op) {
    case Op::conv2d:
    case Op::depthwise: weights = l.oc * (l.c / l.groups) * l.kh * l.kw; break;
    case Op::gsconv: weights = l.half() * (l.c * l.kh * l.kw + l.k2 * l.k2); break;
    case Op::dsc: weights = l.c * (l.kh * l.kw + l.oc); break;
    case Op::bn_act: weights = 2 * l.c; break;
  }
  return static_cast<index_t>(sizeof(float)) * (x + y + weights) * (pass == Pass::fwdbwd ? 2 : 1);
}

const std::vector<std::string>& classes() {
  static const std::vector<std::string> order{"conv1x1", "conv3x3s1", "conv3x3s2", "stem",   "dw5",
                                              "dw3",     "gsconv",    "dsc",       "bn_act", "other"};
  return order;
}

std::vector<Layer> layers() {
  Collection all;
  add_models(all);
  add_awkward(all);
  std::vector<Layer> found = std::move(all.layers());
  std::stable_sort(found.begin(), found.end(), [](const Layer& a, const Layer& b) {
    const auto key = [](const Layer& l) { return std::tuple(class_index(l), l.stride, -l.h * l.w, l.c, l.oc); };
    return key(a) < key(b);
  });
  return found;
}

std::vector<Row> rows(const Options& options) {
  std::vector<Row> all;
  const std::vector<Layer> table = layers();
  for (const std::string& kind : classes())
    for (const Pass pass : {Pass::fwd, Pass::bwd_x, Pass::bwd_w, Pass::fwdbwd})
      for (const Layer& l : table) {
        if (l.kind != kind) continue;
        const bool single = l.op == Op::conv2d || l.op == Op::depthwise;
        if (single ? pass == Pass::fwdbwd : pass == Pass::bwd_x || pass == Pass::bwd_w) continue;
        if (kind == "stem" && pass == Pass::bwd_x) continue;  // a picture has no gradient
        add_rows(all, pass == Pass::fwd || !single ? l : with_usual_activation(l), pass,
                 options.algorithm == kernels::Algorithm::best);
      }
  return all;
}

bool wanted(const Row& row, const Filter& filter, int threads) {
  const std::string ours = row.name("slimneck", threads), peer = row.name(row.peer, threads);
  const std::string names[] = {ours, peer, row.layer.kind + "/" + ours, row.layer.kind + "/" + peer};
  if (filter.negative()) return std::all_of(std::begin(names), std::end(names), filter);
  return std::any_of(std::begin(names), std::end(names), filter);
}

}  // namespace slimneck::bench
