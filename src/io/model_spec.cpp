#include "io/model_spec.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "io/files.hpp"

namespace slimneck::io {

namespace {

constexpr std::size_t max_layers = 4096;
constexpr index_t max_repeats = 1000;
constexpr index_t max_classes = 65535;
constexpr std::size_t max_levels = 64, max_anchor_numbers = 128;

const std::vector<std::string>& known_keys() {
  static const std::vector<std::string> keys{
      "nc",      "depth_multiple",   "width_multiple", "anchors", "backbone", "head", "ch",   "activation",
      "inplace", "channel_multiple", "dialect",        "shuffle", "scales",   "base", "neck", "max_channels"};
  return keys;
}

double require_real(const YamlNode& node, std::string_view name, double least, double most) {
  double value = 0;
  if (!to_real(node, value) || !(value >= least && value <= most))
    node.fail(std::string(name) + " is " + node.describe() + "; wanted a number above 0 and at most " +
              std::to_string(static_cast<long long>(most)));
  return value;
}

void require_kind(const YamlNode& node, std::string_view name, YamlNode::Kind kind, const char* wanted) {
  if (node.kind != kind) node.fail(std::string(name) + " is " + node.describe() + "; wanted " + wanted);
}

std::string require_word(const YamlNode& node, std::string_view name) {
  require_kind(node, name, YamlNode::Kind::scalar, "a word");
  return node.text;
}

std::vector<double> number_list(const YamlNode& node, std::string_view name) {
  require_kind(node, name, YamlNode::Kind::sequence, "a list of numbers");
  std::vector<double> values;
  for (const Yaml& item : node.items) {
    double value = 0;
    if (!to_real(*item, value)) item->fail(std::string(name) + " holds " + item->describe() + "; wanted numbers");
    values.push_back(value);
  }
  return values;
}

std::vector<std::vector<double>> anchor_rows(const YamlNode& node) {
  std::vector<std::vector<double>> rows;
  if (node.items.empty() || node.items.size() > max_levels)
    node.fail("anchors is " + node.describe() + "; wanted a row for each of 1.." + std::to_string(max_levels) +
              " levels");
  for (const Yaml& item : node.items) {
    rows.push_back(number_list(*item, "a row of anchors"));
    const std::vector<double>& row = rows.back();
    if (row.empty() || row.size() % 2 != 0 || row.size() > max_anchor_numbers)
      item->fail("a row of anchors has " + std::to_string(row.size()) + " numbers; wanted pairs of width and height");
    if (row.size() != rows.front().size()) item->fail("rows of anchors differ in length");
    if (std::any_of(row.begin(), row.end(), [](double side) { return !(side > 0); }))
      item->fail("a side of an anchor is not above 0");
  }
  return rows;
}

/// The keys of a file and of its base.
class Keys {
 public:
  Keys(const Yaml& document, const Yaml& base) : document_(document), base_(base) {}

  [[nodiscard]] const YamlNode* find(std::string_view key) const {
    for (const Yaml& file : {document_, base_})
      if (file)
        if (const Yaml* value = file->find(key)) return value->get();
    return nullptr;
  }
  [[nodiscard]] const YamlNode& require(std::string_view key) const {
    if (const YamlNode* value = find(key)) return *value;
    document_->fail("key '" + std::string(key) + "' is missing");
  }

 private:
  const Yaml& document_;
  const Yaml& base_;
};

void read_scale(const Keys& keys, ModelSpec& spec, const std::string& scale, std::string_view stem) {
  const YamlNode* scales = keys.find("scales");
  std::string letter = scale;
  if (scales != nullptr) {
    require_kind(*scales, "scales", YamlNode::Kind::map, "a map from letters to [depth, width]");
    if (letter.empty() && !stem.empty() && scales->find(stem.substr(stem.size() - 1)) != nullptr)
      letter = stem.substr(stem.size() - 1);
  }
  const Yaml* chosen = scales != nullptr && !letter.empty() ? scales->find(letter) : nullptr;
  if (chosen == nullptr && (!letter.empty() || (scales != nullptr && keys.find("depth_multiple") == nullptr))) {
    if (scales == nullptr) spec.document->fail("the file has no scales, so none is " + in_quotes(letter));
    std::string known;
    for (const auto& [key, value] : scales->entries) known += (known.empty() ? "" : ", ") + key->text;
    spec.document->fail(letter.empty() ? "the model's name must end with a scale: " + known
                                       : "no scale " + in_quotes(letter) + "; wanted one of " + known);
  }
  if (chosen == nullptr) {
    spec.depth = require_real(keys.require("depth_multiple"), "depth_multiple", 1e-6, 1000);
    spec.width = require_real(keys.require("width_multiple"), "width_multiple", 1e-6, 1000);
    if (const YamlNode* most = keys.find("max_channels"))
      spec.widest = require_integer(*most, "max_channels", 1, max_channels);
    return;
  }
  const YamlNode& row = **chosen;
  if (row.kind != YamlNode::Kind::sequence || row.items.size() < 2 || row.items.size() > 3)
    row.fail("a scale is " + row.describe() + "; wanted [depth, width] or [depth, width, max_channels]");
  spec.depth = require_real(*row.items[0], "depth", 1e-6, 1000);
  spec.width = require_real(*row.items[1], "width", 1e-6, 1000);
  if (row.items.size() == 3) spec.widest = require_integer(*row.items[2], "max_channels", 1, max_channels);
}

ModelRow read_row(const Yaml& node) {
  if (node->kind != YamlNode::Kind::sequence || node->items.size() != 4)
    node->fail("a row is " + node->describe() + "; wanted [from, number, module, args]");
  ModelRow row;
  row.where = node;
  const YamlNode& from = *node->items[0];
  constexpr index_t far = static_cast<index_t>(max_layers);
  if (from.kind == YamlNode::Kind::sequence) {
    row.from_is_list = true;
    if (from.items.empty() || from.items.size() > max_levels)
      from.fail("from is " + from.describe() + "; wanted 1.." + std::to_string(max_levels) + " layers");
    for (const Yaml& item : from.items) row.from.push_back(static_cast<int>(require_integer(*item, "from", -far, far)));
  } else {
    row.from.push_back(static_cast<int>(require_integer(from, "from", -far, far)));
  }
  row.number = require_integer(*node->items[1], "number", 1, max_repeats);
  row.module = node->items[2];
  require_kind(*row.module, "module", YamlNode::Kind::scalar, "its name");
  require_kind(*node->items[3], "args", YamlNode::Kind::sequence, "a list");
  row.args = node->items[3]->items;
  return row;
}

void read_rows(const Keys& keys, ModelSpec& spec) {
  for (const char* section : {"backbone", "head"}) {
    const YamlNode& rows = keys.require(section);
    require_kind(rows, section, YamlNode::Kind::sequence, "a list of rows");
    if (spec.rows.size() + rows.items.size() > max_layers)
      rows.fail("the model has more than " + std::to_string(max_layers) + " layers");
    const std::size_t first = spec.rows.size();
    for (const Yaml& row : rows.items) spec.rows.push_back(read_row(row));
    const YamlNode* neck = keys.find("neck");
    if (neck == nullptr || std::string_view(section) != "head") continue;
    require_kind(*neck, "neck", YamlNode::Kind::map, "a map from modules to modules");
    std::set<const YamlNode*> used;
    for (std::size_t i = first; i < spec.rows.size(); ++i)
      if (const Yaml* other = neck->find(spec.rows[i].module->text)) {
        require_kind(**other, "module", YamlNode::Kind::scalar, "its name");
        spec.rows[i].module = *other;
        used.insert(other->get());
      }
    for (const auto& [key, value] : neck->entries)
      if (!used.contains(value.get())) key->fail("the head has no " + in_quotes(key->text) + " to replace");
  }
  if (spec.rows.empty()) spec.document->fail("the model has no layers");
}

}  // namespace

index_t require_integer(const YamlNode& node, std::string_view name, index_t least, index_t most) {
  long long value = 0;
  if (!to_integer(node, value) || value < least || value > most)
    node.fail(std::string(name) + " is " + node.describe() + "; wanted an integer in " + std::to_string(least) + ".." +
              std::to_string(most));
  return value;
}

ModelSpec read_model_spec(const Yaml& document, const Yaml& base, const std::string& scale, std::string_view stem) {
  ModelSpec spec;
  spec.document = document;
  for (const Yaml& file : {document, base}) {
    if (!file) continue;
    require_kind(*file, "a model file", YamlNode::Kind::map, "a map of settings");
    for (const auto& [key, value] : file->entries)
      if (std::find(known_keys().begin(), known_keys().end(), key->text) == known_keys().end())
        spec.warnings.push_back(*key->file + ":" + std::to_string(key->line) + ": key " + in_quotes(key->text) +
                                " is unknown and has no effect" + suggestion(key->text, known_keys()));
  }
  const Keys keys(document, base);
  read_scale(keys, spec, scale, stem);
  if (const YamlNode* nc = keys.find("nc")) spec.classes = require_integer(*nc, "nc", 1, max_classes);
  if (const YamlNode* ch = keys.find("ch")) spec.channels = require_integer(*ch, "ch", 1, max_channels);
  if (const YamlNode* multiple = keys.find("channel_multiple"))
    spec.multiple_of = require_integer(*multiple, "channel_multiple", 1, max_channels);
  if (const YamlNode* anchors = keys.find("anchors")) {
    if (anchors->kind == YamlNode::Kind::sequence) {
      spec.anchors = anchor_rows(*anchors);
      spec.anchor_count = static_cast<index_t>(spec.anchors.front().size()) / 2;
    } else {
      spec.anchor_count = require_integer(*anchors, "anchors", 1, max_anchor_numbers / 2);
    }
  }
  for (const auto& [key, setting] :
       {std::pair{"dialect", &spec.dialect}, {"activation", &spec.activation}, {"shuffle", &spec.shuffle}})
    if (const YamlNode* node = keys.find(key); node != nullptr && node->kind != YamlNode::Kind::null)
      *setting = require_word(*node, key);
  if (!spec.dialect.empty() && find_dialect(spec.dialect) == nullptr)
    keys.require("dialect").fail("unknown dialect " + in_quotes(spec.dialect) + "; wanted yolov5, y5, paper, v4 or v8");
  if (!spec.activation.empty() && !find_activation(spec.activation))
    keys.require("activation")
        .fail("unknown activation " + in_quotes(spec.activation) + "; wanted one like nn.SiLU() or nn.LeakyReLU(0.1)");
  if (!spec.shuffle.empty() && !find_shuffle(spec.shuffle))
    keys.require("shuffle").fail("unknown shuffle " + in_quotes(spec.shuffle) + "; wanted interleave or deinterleave");
  read_rows(keys, spec);
  return spec;
}

Argument resolve_argument(const YamlNode& node, const ModelSpec& spec, std::size_t levels) {
  if (node.kind == YamlNode::Kind::null) return std::monostate{};
  if (node.kind == YamlNode::Kind::map) node.fail("an argument is a map; wanted a number, a word or a list");
  if (node.kind == YamlNode::Kind::sequence) {
    if (std::any_of(node.items.begin(), node.items.end(),
                    [](const Yaml& item) { return item->kind == YamlNode::Kind::sequence; }))
      return anchor_rows(node);
    return number_list(node, "the list");
  }
  long long integer = 0;
  double real = 0;
  if (to_integer(node, integer)) return index_t{integer};
  if (to_real(node, real)) return real;
  std::string text = node.text;
  if (text.size() >= 2 && (text.front() == '\'' || text.front() == '"') && text.back() == text.front())
    return text.substr(1, text.size() - 2);
  if (text == "None") return std::monostate{};
  if (text == "True" || text == "true") return true;
  if (text == "False" || text == "false") return false;
  if (text == "nc") {
    if (!spec.classes) node.fail("nc is used, but the file does not set it");
    return *spec.classes;
  }
  if (text == "anchors") {
    if (spec.anchor_count == 0) node.fail("anchors is used, but the file does not set it");
    if (!spec.anchors.empty()) return spec.anchors;
    std::vector<double> row;
    for (index_t i = 0; i < 2 * spec.anchor_count; ++i) row.push_back(static_cast<double>(i));
    return std::vector<std::vector<double>>(levels, row);
  }
  return text;
}

}  // namespace slimneck::io
