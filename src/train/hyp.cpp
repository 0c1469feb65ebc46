#include "slimneck/hyp.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "io/yaml.hpp"
#include "slimneck/error.hpp"

namespace slimneck {

namespace {

struct Range {
  double least, most;
  [[nodiscard]] bool has(double value) const noexcept { return value >= least && value <= most; }  // NaN is nowhere
};

struct Field {
  std::string_view name;
  double Hyp::*number;
  Range range;
};

constexpr std::array<Field, 28> fields{{
    {"lr0", &Hyp::lr0, {0, 1e6}},
    {"lrf", &Hyp::lrf, {0, 1e3}},
    {"momentum", &Hyp::momentum, {0, 0.9999}},
    {"weight_decay", &Hyp::weight_decay, {0, 1}},
    {"warmup_epochs", &Hyp::warmup_epochs, {0, 1000}},
    {"warmup_momentum", &Hyp::warmup_momentum, {0, 0.9999}},
    {"warmup_bias_lr", &Hyp::warmup_bias_lr, {0, 1e3}},
    {"box", &Hyp::box, {0, 1e3}},
    {"cls", &Hyp::cls, {0, 1e3}},
    {"cls_pw", &Hyp::cls_pw, {0, 1e3}},
    {"obj", &Hyp::obj, {0, 1e3}},
    {"obj_pw", &Hyp::obj_pw, {0, 1e3}},
    {"iou_t", &Hyp::iou_t, {0, 1}},
    {"anchor_t", &Hyp::anchor_t, {1, 1e3}},
    {"fl_gamma", &Hyp::fl_gamma, {0, 100}},
    {"hsv_h", &Hyp::hsv_h, {0, 1}},
    {"hsv_s", &Hyp::hsv_s, {0, 1}},
    {"hsv_v", &Hyp::hsv_v, {0, 1}},
    {"degrees", &Hyp::degrees, {0, 180}},
    {"translate", &Hyp::translate, {0, 1}},
    {"scale", &Hyp::scale, {0, 0.99}},
    {"shear", &Hyp::shear, {0, 89}},
    {"perspective", &Hyp::perspective, {0, 0.001}},
    {"flipud", &Hyp::flipud, {0, 1}},
    {"fliplr", &Hyp::fliplr, {0, 1}},
    {"mosaic", &Hyp::mosaic, {0, 1}},
    {"mixup", &Hyp::mixup, {0, 1}},
    {"copy_paste", &Hyp::copy_paste, {0, 0}},
}};

/// As short as it can be without another value.
std::string shortest(double number) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number);
  return {text.data(), end.ptr};
}

constexpr Range anchors_per_level{1, 32};

std::string refusal(std::string_view name, const std::string& value, const Range& range) {
  return std::string(name) + " is " + value + "; wanted " +
         (range.least == range.most ? shortest(range.least)
                                    : "a number in " + shortest(range.least) + ".." + shortest(range.most));
}

double read_number(const io::YamlNode& node, std::string_view name, const Range& range) {
  double value = 0;
  if (!io::to_real(node, value) || !range.has(value)) node.fail(refusal(name, node.describe(), range));
  return value;
}

void check_number(double value, std::string_view name, const Range& range) {
  if (!range.has(value)) throw ShapeError("hyperparameters: " + refusal(name, shortest(value), range));
}

std::vector<std::string> known_names() {
  std::vector<std::string> names;
  for (const Field& field : fields) names.emplace_back(field.name);
  names.emplace_back("anchors");
  return names;
}

void require_known(const io::YamlNode& document) {
  const std::vector<std::string> names = known_names();
  for (const auto& [key, value] : document.entries)
    if (std::find(names.begin(), names.end(), key->text) == names.end())
      key->fail("there is no hyperparameter " + key->describe() + io::suggestion(key->text, names));
}

}  // namespace

Hyp parse_hyp(std::string_view yaml, std::string_view file_name) {
  const io::Yaml document = io::parse_yaml(yaml, file_name);
  if (document->kind != io::YamlNode::Kind::map)
    document->fail("hyperparameters are " + document->describe() + "; wanted a map of names to numbers");
  require_known(*document);
  Hyp hyp;
  std::string missing;
  for (const Field& field : fields) {
    if (const io::Yaml* node = document->find(field.name))
      hyp.*field.number = read_number(**node, field.name, field.range);
    else
      missing += (missing.empty() ? "" : ", ") + std::string(field.name);
  }
  if (!missing.empty()) document->fail("hyperparameters are missing: " + missing);
  if (const io::Yaml* node = document->find("anchors")) hyp.anchors = read_number(**node, "anchors", anchors_per_level);
  return hyp;
}

void check_hyp(const Hyp& hyp) {
  for (const Field& field : fields) check_number(hyp.*field.number, field.name, field.range);
  if (hyp.anchors) check_number(*hyp.anchors, "anchors", anchors_per_level);
}

std::string write_hyp(const Hyp& hyp) {
  std::string text;
  for (const Field& field : fields) text += std::string(field.name) + ": " + shortest(hyp.*field.number) + '\n';
  if (hyp.anchors) text += "anchors: " + shortest(*hyp.anchors) + '\n';
  return text;
}

}  // namespace slimneck
