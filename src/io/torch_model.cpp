#include "io/torch_model.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "slimneck/error.hpp"
#include "slimneck/layers.hpp"
#include "slimneck/weights.hpp"

namespace slimneck::io {

namespace {

using Kind = PickleValue::Kind;
using nlohmann::ordered_json;

constexpr int max_depth = 64;
constexpr std::size_t max_path = 4096;
constexpr std::size_t max_items = 2'000'000;  // a hostile tree names one module many times; what is walked counts
constexpr std::size_t max_json = 100'000;
constexpr std::size_t max_text = std::size_t{1} << 20;  // as long as a model file; one text may be used many times
constexpr std::size_t max_keys = 20'000;                // an ordered map is searched from its beginning for every key

const PickleValue* attribute(const PickleValue& object, std::string_view name) {
  return object.kind == Kind::object && object.state != nullptr ? object.state->find(name) : nullptr;
}

/// Calls visit(key, value) for the pairs of an attribute that is a dict with names as keys.
template <class Visit>
void for_pairs(const PickleValue& object, std::string_view name, Visit visit) {
  const PickleValue* dict = attribute(object, name);
  if (dict == nullptr || dict->kind != Kind::dict) return;
  for (std::size_t i = 0; i + 1 < dict->items.size(); i += 2)
    if (dict->items[i]->kind == Kind::text) visit(dict->items[i]->text, *dict->items[i + 1]);
}

/// Calls visit(path, module) for a module and all below it, parents first.
class Walk {
 public:
  using Visit = std::function<void(const std::string&, const PickleValue&)>;
  Walk(std::string_view file, Visit visit) : file_(file), visit_(std::move(visit)) {}

  void operator()(const std::string& path, const PickleValue& module, int depth = 0) {
    items_ += 1 + (module.state != nullptr ? module.state->items.size() : 0);
    for (const char* part : {"_modules", "_parameters", "_buffers"})
      if (const PickleValue* dict = attribute(module, part)) items_ += dict->items.size();
    if (depth > max_depth || path.size() > max_path || items_ > max_items)
      throw FormatError(std::string(file_) + ": the pickled network is nested too deeply, too large or circular");
    visit_(path, module);
    for_pairs(module, "_modules", [&](std::string_view name, const PickleValue& child) {
      if (child.kind == Kind::object) (*this)(path + std::string(name) + ".", child, depth + 1);
    });
  }

 private:
  std::string_view file_;
  Visit visit_;
  std::size_t items_ = 0;
};

/// Whether a module saves that buffer.
bool is_kept(const PickleValue& module, std::string_view buffer) {
  const PickleValue* skipped = attribute(module, "_non_persistent_buffers_set");
  if (skipped == nullptr || skipped->kind != Kind::call || skipped->arguments->items.empty()) return true;
  const auto& names = skipped->arguments->items[0]->items;
  constexpr std::size_t most = 1000;  // no module has so many; it bounds the time
  return std::none_of(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), most)),
                      [&](const PickleValue* n) { return n->kind == Kind::text && n->text == buffer; });
}

class ToJson {
 public:
  /// Nothing when the value holds what a model file cannot, or too much of it.
  std::optional<ordered_json> operator()(const PickleValue& value) {
    ordered_json json = convert(value, 0);
    return good_ ? std::optional(std::move(json)) : std::nullopt;
  }

 private:
  ordered_json convert(const PickleValue& value, int depth) {
    text_ += value.text.size();
    if (++count_ > max_json || text_ > max_text || depth > max_depth) good_ = false;
    if (!good_) return nullptr;
    switch (value.kind) {
      case Kind::none: return nullptr;
      case Kind::boolean: return value.integer != 0;
      case Kind::integer: return value.integer;
      case Kind::real: return value.real;
      case Kind::text: return std::string(value.text);
      case Kind::tuple:
      case Kind::list: return list(value, depth);
      case Kind::dict: return map(value, depth);
      default: good_ = false; return nullptr;
    }
  }
  ordered_json list(const PickleValue& value, int depth) {
    ordered_json json = ordered_json::array();
    for (std::size_t i = 0; good_ && i < value.items.size(); ++i) json.push_back(convert(*value.items[i], depth + 1));
    return json;
  }
  ordered_json map(const PickleValue& value, int depth) {
    ordered_json json = ordered_json::object();
    if (value.items.size() > 2 * max_keys) good_ = false;
    for (std::size_t i = 0; good_ && i + 1 < value.items.size(); i += 2) {
      const PickleValue& key = *value.items[i];
      text_ += key.text.size();
      if (text_ > max_text) good_ = false;
      if (!good_) break;
      const std::string name = key.kind == Kind::integer ? std::to_string(key.integer) : std::string(key.text);
      json[name] = convert(*value.items[i + 1], depth + 1);
    }
    return json;
  }

  std::size_t count_ = 0, text_ = 0;
  bool good_ = true;
};

std::string last_part(std::string_view name) { return std::string(name.substr(name.rfind('.') + 1)); }

/// How the first Conv that has an activation spells it: "nn.SiLU()".
std::string activation_of(const PickleValue& model, std::string_view file) {
  std::string found;
  Walk(file, [&](const std::string&, const PickleValue& module) {
    if (!found.empty() || module.text != "models.common.Conv") return;
    for_pairs(module, "_modules", [&](std::string_view name, const PickleValue& child) {
      if (name != "act" || child.text.find(".activation.") == std::string_view::npos) return;
      found = "nn." + last_part(child.text);
      const PickleValue* slope = attribute(child, "negative_slope");
      found += slope != nullptr && slope->kind == Kind::real ? "(" + ordered_json(slope->real).dump() + ")" : "()";
    });
  })("", model);
  return find_activation(found) ? found : "";
}

/// The dialect whose modules look like these. What tells them apart: y5 has a chain of bottlenecks where paper has one,
/// and a 1x1 shortcut in GSBottleneckC where paper has 3x3. GSConv alone looks the same in both; in trees with YOLOv5's
/// classes it is y5's. Empty without GS modules.
std::string dialect_of(const PickleValue& model, std::string_view file) {
  bool any = false, paper = false;
  const auto child = [](const PickleValue& module, std::string_view wanted) {
    const PickleValue* found = nullptr;
    for_pairs(module, "_modules", [&](std::string_view name, const PickleValue& c) {
      if (name == wanted) found = &c;
    });
    return found;
  };
  Walk(file, [&](const std::string&, const PickleValue& module) {
    const std::string name = last_part(module.text);
    any = any || name.find("GS") != std::string::npos;
    const PickleValue* inner = child(module, "gsb");
    if (inner == nullptr) return;
    if (name == "VoVGSCSPC") {
      const PickleValue* shortcut = child(*inner, "shortcut");
      const PickleValue* conv = shortcut != nullptr ? child(*shortcut, "conv") : nullptr;
      const PickleValue* size = conv != nullptr ? attribute(*conv, "kernel_size") : nullptr;
      paper = paper || (size != nullptr && !size->items.empty() && size->items[0]->integer == 3);
    } else {
      paper = paper || inner->text.ends_with(".GSBottleneck");
    }
  })("", model);
  return !any ? "" : paper ? "paper" : "y5";
}

}  // namespace

void visit_tensors(const PickleValue& module, std::string_view file_name,
                   const std::function<void(std::string, const PickleValue&)>& visit) {
  Walk(file_name, [&](const std::string& path, const PickleValue& m) {
    for_pairs(m, "_parameters", [&](std::string_view name, const PickleValue& tensor) {
      if (tensor.kind != Kind::none) visit(path + std::string(name), tensor);
    });
    for_pairs(m, "_buffers", [&](std::string_view name, const PickleValue& tensor) {
      if (tensor.kind != Kind::none && is_kept(m, name)) visit(path + std::string(name), tensor);
    });
  })("", module);
}

std::map<std::string, std::string> model_metadata(const PickleValue& model, std::string_view file_name) {
  std::map<std::string, std::string> metadata;
  const auto dump = [](const ordered_json& json) {
    return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  };
  if (const PickleValue* names = attribute(model, "names"))
    if (const auto json = ToJson()(*names); json && json->is_structured())
      metadata[std::string(metadata_key::names)] = dump(*json);
  const std::string dialect = dialect_of(model, file_name);
  if (!dialect.empty()) metadata[std::string(metadata_key::dialect)] = dialect;
  const PickleValue* yaml = attribute(model, "yaml");
  if (yaml == nullptr || yaml->kind != Kind::dict) return metadata;
  std::optional<ordered_json> json = ToJson()(*yaml);
  if (!json) return metadata;
  if (const std::string act = activation_of(model, file_name); !act.empty() && !json->contains("activation"))
    (*json)["activation"] = act;
  if (!dialect.empty()) (*json)["dialect"] = dialect;
  metadata[std::string(metadata_key::yaml)] = dump(*json);
  return metadata;
}

}  // namespace slimneck::io
