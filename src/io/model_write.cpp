// What a model file says, as a file that stands alone.
#include <nlohmann/json.hpp>

#include "io/model_spec.hpp"

namespace slimneck::io {

namespace {

/// JSON, which is YAML too. Nothing in it breaks a line.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string number(double value) { return nlohmann::json(value).dump(); }

std::string join(const std::vector<std::string>& items) {
  std::string text = "[";
  for (const std::string& item : items) text += (text.size() > 1 ? ", " : "") + item;
  return text + "]";
}

/// A value of a row: a scalar or lists of them.
std::string value_text(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::null) return "null";
  if (node.kind == YamlNode::Kind::sequence) {
    std::vector<std::string> items;
    for (const Yaml& item : node.items) items.push_back(value_text(*item));
    return join(items);
  }
  double value = 0;
  return to_real(node, value) ? node.text : quoted(node.text);
}

std::string row_text(const ModelRow& row) {
  std::vector<std::string> from, args;
  for (const int layer : row.from) from.push_back(std::to_string(layer));
  for (const Yaml& argument : row.args) args.push_back(value_text(*argument));
  return "[" + (row.from_is_list ? join(from) : from.front()) + ", " + std::to_string(row.number) + ", " +
         quoted(row.module->text) + ", " + join(args) + "]";
}

std::string anchors_text(const ModelSpec& spec) {
  if (spec.anchors.empty()) return std::to_string(spec.anchor_count);
  std::vector<std::string> rows;
  for (const std::vector<double>& anchors : spec.anchors) {
    std::vector<std::string> row;
    for (const double side : anchors) row.push_back(number(side));
    rows.push_back(join(row));
  }
  return join(rows);
}

}  // namespace

std::string write_model_spec(const ModelSpec& spec) {
  std::string text;
  const auto add = [&](const char* key, const std::string& value) { text.append(key).append(": ") += value + "\n"; };
  if (spec.classes) add("nc", std::to_string(*spec.classes));
  add("ch", std::to_string(spec.channels));
  add("depth_multiple", number(spec.depth));
  add("width_multiple", number(spec.width));
  if (spec.widest != max_channels) add("max_channels", std::to_string(spec.widest));
  add("channel_multiple", std::to_string(spec.multiple_of));
  for (const auto& [key, value] :
       {std::pair{"dialect", &spec.dialect}, {"activation", &spec.activation}, {"shuffle", &spec.shuffle}})
    if (!value->empty()) add(key, quoted(*value));
  if (spec.anchor_count > 0) add("anchors", anchors_text(spec));
  // The rows of both sections are counted as one list; `neck:` has replaced what it replaces.
  text += "backbone:\n";
  for (const ModelRow& row : spec.rows) text += "  - " + row_text(row) + "\n";
  return text + "head: []\n";
}

}  // namespace slimneck::io
