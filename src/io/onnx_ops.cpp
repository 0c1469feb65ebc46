#include "io/onnx_ops.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "io/files.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::io {

namespace {

using T = OnnxTranslation;
using Ints = std::vector<std::int64_t>;

constexpr std::int64_t open_end = std::numeric_limits<std::int64_t>::max();

// ---- Convolution and batch norm
// --------------------------------------------------------------------------------------

std::string conv(T& t, const Node& node, std::vector<double> weights, const std::vector<double>& bias) {
  const Attributes& a = node.attributes;
  const Shape& w = t.graph.shape(node.inputs[1]);
  const std::string& name = t.graph.node(node.inputs[1]).name;
  const std::vector<float> narrow(weights.begin(), weights.end());
  T::Inputs inputs{t.name_of(node.inputs[0]), t.onnx.floats(name, Ints{w.n, w.c, w.h, w.w}, narrow)};
  if (!bias.empty()) {
    const std::vector<float> narrow_bias(bias.begin(), bias.end());
    inputs.push_back(t.onnx.floats(name.substr(0, name.rfind('.')) + ".bias", Ints{w.n}, narrow_bias));
  }
  const std::int64_t stride = a.integer("stride"), dilation = a.integer("dilation");
  const std::int64_t ph = a.integer("pad_h"), pw = a.integer("pad_w");
  return t.onnx.node("Conv", inputs,
                     {{"kernel_shape", Ints{w.h, w.w}},
                      {"strides", Ints{stride, stride}},
                      {"pads", Ints{ph, pw, ph, pw}},
                      {"dilations", Ints{dilation, dilation}},
                      {"group", a.integer("groups")}},
                     node.name.empty() ? "conv" : node.name);
}

bool is_norm(const Node* node) { return node != nullptr && node->op == &ops::batch_norm; }

std::string conv2d(T& t) {
  // Its batch norm writes it, with the numbers of both.
  const Value self{static_cast<int>(t.node - t.graph.nodes().data()), 0};
  if (is_norm(t.only_reader(self))) return "";
  const auto& in = t.node->inputs;
  return conv(t, *t.node, t.numbers(in[1]), in.size() > 2 && in[2].valid() ? t.numbers(in[2]) : std::vector<double>{});
}

/// y = gamma (x - mean) / sqrt(var + eps) + beta
std::string batch_norm(T& t) {
  const auto& in = t.node->inputs;
  const std::vector<double> gamma = t.numbers(in[1]), beta = t.numbers(in[2]), mean = t.numbers(in[3]),
                            var = t.numbers(in[4]);
  const double eps = t.node->attributes.real("eps");
  const Node& before = t.graph.node(in[0]);
  if (before.op != &ops::conv2d || !is_norm(t.only_reader(in[0]))) {
    T::Inputs inputs{t.input(0)};
    for (std::size_t i = 1; i <= 4; ++i) {
      const std::vector<double> wide = t.numbers(in[i]);
      const std::vector<float> values(wide.begin(), wide.end());
      inputs.push_back(t.onnx.floats(t.graph.node(in[i]).name, Ints{static_cast<std::int64_t>(values.size())}, values));
    }
    return t.emit("BatchNormalization", inputs, {{"epsilon", static_cast<float>(eps)}});
  }
  std::vector<double> weights = t.numbers(before.inputs[1]), bias(gamma.size(), 0);
  if (before.inputs.size() > 2 && before.inputs[2].valid()) bias = t.numbers(before.inputs[2]);
  const std::size_t per_channel = weights.size() / gamma.size();
  for (std::size_t c = 0; c < gamma.size(); ++c) {
    const double scale = gamma[c] / std::sqrt(var[c] + eps);
    for (std::size_t i = 0; i < per_channel; ++i) weights[c * per_channel + i] *= scale;
    bias[c] = beta[c] + (bias[c] - mean[c]) * scale;
  }
  return conv(t, before, std::move(weights), bias);
}

// ---- Activations
// -----------------------------------------------------------------------------------------------------

std::string times_input(T& t, const std::string& factor) { return t.emit("Mul", {t.input(0), factor}); }

std::string silu(T& t) { return times_input(t, t.emit("Sigmoid", {t.input(0)}, {}, "sigmoid")); }
std::string mish(T& t) {
  return times_input(t, t.emit("Tanh", {t.emit("Softplus", {t.input(0)}, {}, "softplus")}, {}, "tanh"));
}
std::string relu(T& t) { return t.emit("Relu", {t.input(0)}); }
std::string leaky_relu(T& t) {
  return t.emit("LeakyRelu", {t.input(0)}, {{"alpha", static_cast<float>(t.node->attributes.real("slope"))}});
}
std::string hardswish(T& t) {
  return times_input(t, t.emit("HardSigmoid", {t.input(0)}, {{"alpha", 1.0F / 6}, {"beta", 0.5F}}, "gate"));
}
std::string sigmoid(T& t) { return t.emit("Sigmoid", {t.input(0)}); }
/// x (1 + erf(x / sqrt 2)) / 2
std::string gelu(T& t) {
  const std::string scaled = t.emit("Mul", {t.input(0), t.scalar(static_cast<float>(std::sqrt(0.5)))}, {}, "scaled");
  const std::string sum = t.emit("Add", {t.emit("Erf", {scaled}, {}, "erf"), t.scalar(1)}, {}, "sum");
  return times_input(t, t.emit("Mul", {sum, t.scalar(0.5F)}, {}, "half"));
}

// ---- Channels
// --------------------------------------------------------------------------------------------------------

/// The rows of a matrix whose transpose the permutation reads out: source[j] = (j % rows) columns + j / rows; 0: none.
std::int64_t rows_of(const std::vector<index_t>& source) {
  const auto count = static_cast<std::int64_t>(source.size());
  for (std::int64_t rows = 2; rows < count; ++rows) {
    if (count % rows != 0 || source[1] != count / rows) continue;
    bool all = true;
    for (std::int64_t j = 0; j < count && all; ++j)
      all = source[static_cast<std::size_t>(j)] == j % rows * (count / rows) + j / rows;
    if (all) return rows;
  }
  return 0;
}

/// A shuffle in groups is a transpose, any other permutation a Gather.
std::string channel_shuffle(T& t) {
  const std::vector<index_t>& source = t.node->attributes.list("source");
  const std::int64_t rows = rows_of(source);
  if (rows == 0) return t.emit("Gather", {t.input(0), t.onnx.integers(source)}, {{"axis", std::int64_t{1}}});
  const Shape& x = t.shape(0);
  const std::string apart = t.emit("Reshape", {t.input(0), t.onnx.integers({0, rows, x.c / rows, -1})}, {}, "groups");
  const std::string turned = t.emit("Transpose", {apart}, {{"perm", Ints{0, 2, 1, 3}}}, "turned");
  const std::string shape =
      t.dynamic ? t.emit("Shape", {t.input(0)}, {}, "shape") : t.onnx.integers({x.n, x.c, x.h, x.w});
  return t.emit("Reshape", {turned, shape});
}

std::string cut(T& t, const std::string& from, std::int64_t axis, std::int64_t first, std::int64_t end,
                std::string_view part) {
  return t.emit("Slice", {from, t.onnx.integers({first}), t.onnx.integers({end}), t.onnx.integers({axis})}, {}, part);
}

std::string slice(T& t) {
  const std::int64_t first = t.node->attributes.integer("first");
  return cut(t, t.input(0), 1, first, first + t.node->attributes.integer("count"), "");
}

std::string concat(T& t) {
  T::Inputs inputs;
  for (std::size_t i = 0; i < t.node->inputs.size(); ++i) inputs.push_back(t.input(i));
  return t.emit("Concat", inputs, {{"axis", std::int64_t{1}}});
}

std::string add(T& t) { return t.emit("Add", {t.input(0), t.input(1)}); }

// ---- Pooling and upsampling
// ------------------------------------------------------------------------------------------

std::string max_pool(T& t) {
  const Attributes& a = t.node->attributes;
  const std::int64_t k = a.integer("kernel"), s = a.integer("stride"), p = a.integer("pad");
  return t.emit("MaxPool", {t.input(0)},
                {{"kernel_shape", Ints{k, k}}, {"strides", Ints{s, s}}, {"pads", Ints{p, p, p, p}}});
}

std::string upsample(T& t) {
  const auto factor = static_cast<float>(t.node->attributes.integer("factor"));
  const std::array<float, 4> scales{1, 1, factor, factor};
  // Before opset 13 the region of interest, which nearest sampling does not read, may not be left out.
  const std::string region = t.opset < 13 ? t.onnx.floats(t.node->name + ".region", Ints{0}, {}) : "";
  return t.emit("Resize", {t.input(0), region, t.onnx.floats(t.node->name + ".scales", Ints{4}, scales)},
                {{"mode", "nearest"}, {"coordinate_transformation_mode", "asymmetric"}, {"nearest_mode", "floor"}});
}

// ---- Detect
// ----------------------------------------------------------------------------------------------------------

/// Decodes one level: a head n x (na no) x h x w to rows n x (na h w) x no. The cells' corners and the anchors are
/// constants, as large as what they are added to or multiplied with (not every reader of ONNX repeats them); with open
/// sizes the corners are computed.
class Level {
 public:
  Level(T& t, std::size_t index, const std::vector<double>& anchors) : t_(t), x_(t.shape(index + 1)), index_(index) {
    const Attributes& a = t.node->attributes;
    na_ = a.integer("na");
    no_ = x_.c / na_;
    stride_ = static_cast<double>(a.list("strides")[index]);
    for (std::int64_t i = 0; i < 2 * na_; ++i)
      anchors_.push_back(anchors[index * static_cast<std::size_t>(2 * na_) + static_cast<std::size_t>(i)] * stride_);
  }

  std::string rows() {
    const std::string head = t_.input(index_ + 1);
    const std::string apart = emit("Reshape", {head, t_.dynamic ? open_shape(head) : shape()}, {}, "apart");
    const std::string cells = emit("Transpose", {apart}, {{"perm", Ints{0, 1, 3, 4, 2}}}, "cells");
    const std::string s = emit("Sigmoid", {cells}, {}, "sigmoid");
    const std::string xy = emit("Mul", {part(s, 0, 2, "xy"), t_.scalar(static_cast<float>(2 * stride_))}, {}, "offset");
    const std::string wh = part(s, 2, 4, "wh");
    const std::string centre = emit("Add", {xy, t_.dynamic ? open_corners(head) : corners()}, {}, "centre");
    const std::string size = emit("Mul", {emit("Mul", {wh, wh}, {}, "square"), sizes()}, {}, "size");
    const std::string all =
        emit("Concat", {centre, size, part(s, 4, open_end, "scores")}, {{"axis", std::int64_t{4}}}, "all");
    return emit("Reshape", {all, t_.onnx.integers({t_.dynamic ? 0 : x_.n, -1, no_})}, {}, "rows");
  }

 private:
  std::string name(std::string_view part) const { return std::to_string(index_) + "." + std::string(part); }
  std::string emit(std::string_view op, const T::Inputs& inputs, const OnnxGraph::AttributeMap& attributes,
                   std::string_view part) {
    return t_.emit(op, inputs, attributes, name(part));
  }
  std::string part(const std::string& from, std::int64_t first, std::int64_t end, std::string_view what) {
    return cut(t_, from, 4, first, end, name(what));
  }
  std::string constant(std::string_view what, const Ints& dims, const std::vector<float>& values) {
    return t_.onnx.floats(t_.node->name + "." + name(what), dims, values);
  }

  std::string shape() { return t_.onnx.integers({x_.n, na_, no_, x_.h, x_.w}); }
  std::string open_shape(const std::string& head) {
    const std::string all = emit("Shape", {head}, {}, "shape");
    return emit(
        "Concat",
        {cut(t_, all, 0, 0, 1, name("batch")), t_.onnx.integers({na_, no_}), cut(t_, all, 0, 2, 4, name("extent"))},
        {{"axis", std::int64_t{0}}}, "apart_shape");
  }

  /// value(anchor, row, column, x or y) for every cell.
  template <class Value>
  std::vector<float> per_cell(Value value) const {
    std::vector<float> values;
    for (std::int64_t a = 0; a < na_; ++a)
      for (std::int64_t i = 0; i < x_.h; ++i)
        for (std::int64_t j = 0; j < x_.w; ++j)
          for (std::size_t k = 0; k < 2; ++k) values.push_back(static_cast<float>(value(a, i, j, k)));
    return values;
  }
  std::string corners() {
    return constant("corners", {1, na_, x_.h, x_.w, 2}, per_cell([&](auto, auto i, auto j, std::size_t k) {
                      return (static_cast<double>(k == 0 ? j : i) - 0.5) * stride_;
                    }));
  }
  std::string sizes() {
    const auto side = [&](std::int64_t a, std::size_t k) { return 4 * anchors_[2 * static_cast<std::size_t>(a) + k]; };
    if (!t_.dynamic)
      return constant("anchors", {1, na_, x_.h, x_.w, 2},
                      per_cell([&](auto a, auto, auto, std::size_t k) { return side(a, k); }));
    std::vector<float> values;
    for (std::int64_t a = 0; a < na_; ++a)
      for (std::size_t k = 0; k < 2; ++k) values.push_back(static_cast<float>(side(a, k)));
    return constant("anchors", {1, na_, 1, 1, 2}, values);
  }

  /// 1 x 1 x h x w x 2, from the head's own shape.
  std::string open_corners(const std::string& head) {
    const std::string all = emit("Shape", {head}, {}, "shape");
    const std::string h = cut(t_, all, 0, 2, 3, name("h")), w = cut(t_, all, 0, 3, 4, name("w"));
    const std::string one = t_.onnx.integers({1});
    const std::string extent = emit("Concat", {one, one, h, w, one}, {{"axis", std::int64_t{0}}}, "cells_shape");
    const std::string x = emit("Expand", {along(w, {1, 1, 1, -1, 1}, "x"), extent}, {}, "x");
    const std::string y = emit("Expand", {along(h, {1, 1, -1, 1, 1}, "y"), extent}, {}, "y");
    return emit("Concat", {x, y}, {{"axis", std::int64_t{4}}}, "corners");
  }
  /// (0, 1, ... count - 1) stride - stride / 2, along one axis.
  std::string along(const std::string& count, const Ints& dims, const std::string& axis) {
    const std::string number = emit("Squeeze", {count}, {}, axis + "_count");
    const std::string zero = emit("Squeeze", {t_.onnx.integers({0})}, {}, axis + "_first");
    const std::string step = emit("Squeeze", {t_.onnx.integers({1})}, {}, axis + "_step");
    const std::string range = emit("Range", {zero, number, step}, {}, axis + "_range");
    const std::string real = emit("Cast", {range}, {{"to", std::int64_t{1}}}, axis + "_real");
    const std::string pixels = emit("Mul", {real, t_.scalar(static_cast<float>(stride_))}, {}, axis + "_pixels");
    const std::string corner =
        emit("Add", {pixels, t_.scalar(static_cast<float>(-0.5 * stride_))}, {}, axis + "_corner");
    return emit("Reshape", {corner, t_.onnx.integers(dims)}, {}, axis + "_axis");
  }

  T& t_;
  const Shape& x_;
  std::size_t index_;
  std::int64_t na_ = 0, no_ = 0;
  double stride_ = 0;
  std::vector<double> anchors_;  ///< pixels
};

std::string detect_decode(T& t) {
  const std::vector<double> anchors = t.numbers(t.node->inputs[0]);
  T::Inputs levels;
  for (std::size_t i = 0; i + 1 < t.node->inputs.size(); ++i) levels.push_back(Level(t, i, anchors).rows());
  return levels.size() == 1 ? levels.front() : t.emit("Concat", levels, {{"axis", std::int64_t{1}}});
}

struct Translation {
  const OpDef* op;
  std::string (*translate)(T&);  ///< returns the name of the result
};

constexpr std::array translations{
    Translation{&ops::conv2d, conv2d},
    Translation{&ops::batch_norm, batch_norm},
    Translation{&ops::silu, silu},
    Translation{&ops::mish, mish},
    Translation{&ops::relu, relu},
    Translation{&ops::leaky_relu, leaky_relu},
    Translation{&ops::hardswish, hardswish},
    Translation{&ops::sigmoid, sigmoid},
    Translation{&ops::gelu, gelu},
    Translation{&ops::channel_shuffle, channel_shuffle},
    Translation{&ops::slice, slice},
    Translation{&ops::concat, concat},
    Translation{&ops::add, add},
    Translation{&ops::max_pool, max_pool},
    Translation{&ops::upsample, upsample},
    Translation{&ops::detect_decode, detect_decode},
};

}  // namespace

OnnxTranslation::OnnxTranslation(const Graph& g, const Parameters& parameters, OnnxGraph& file, bool open, int version)
    : graph(g),
      onnx(file),
      dynamic(open),
      opset(version),
      parameters_(parameters),
      names_(static_cast<std::size_t>(g.size())),
      readers_(static_cast<std::size_t>(g.size()), none) {
  for (int i = 0; i < g.size(); ++i)
    for (const Value& input : g.node(i).inputs)
      if (input.valid()) read(input, i);
  for (const Output& output : g.outputs()) read(output.value, several);
}

void OnnxTranslation::read(Value value, int reader) {
  int& known = readers_[static_cast<std::size_t>(value.node)];
  known = known == none ? reader : several;
}

void OnnxTranslation::add(int index) {
  node = &graph.node(index);
  if (node->role != Role::computed) return;  // translations take what they need of parameters
  const auto* found =
      std::find_if(translations.begin(), translations.end(), [&](const Translation& t) { return t.op == node->op; });
  if (found == translations.end())
    throw Error("'" + node->name + "': the op " + std::string(node->op->name) + " has no translation to ONNX");
  names_[static_cast<std::size_t>(index)] = found->translate(*this);
}

std::string OnnxTranslation::emit(std::string_view op, const Inputs& inputs, const OnnxGraph::AttributeMap& attributes,
                                  std::string_view part) {
  std::string name = node->name.empty() ? std::string(node->op->name) : node->name;
  if (!part.empty()) name.append(".").append(part);
  return onnx.node(op, inputs, attributes, name);
}

std::string OnnxTranslation::scalar(float value) {
  std::string& name = scalars_[value];
  if (name.empty()) name = onnx.floats("number." + std::to_string(scalars_.size()), {}, std::span(&value, 1));
  return name;
}

std::vector<double> OnnxTranslation::numbers(Value value) const {
  const int index = parameters_.find(graph.node(value).name);
  if (index < 0) throw Error("'" + graph.node(value).name + "': there is no such parameter");
  const Tensor exact = parameters_.entries()[static_cast<std::size_t>(index)].value.to(DType::f64);
  return {exact.data<double>(), exact.data<double>() + exact.numel()};
}

const Node* OnnxTranslation::only_reader(Value value) const {
  const int reader = readers_[static_cast<std::size_t>(value.node)];
  return reader >= 0 ? &graph.node(reader) : nullptr;
}

}  // namespace slimneck::io
