// State dicts: the parameters of a network as a file of named tensors.
#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/files.hpp"
#include "slimneck/plan.hpp"
#include "slimneck/weights.hpp"

namespace slimneck {

namespace {

using io::in_quotes;

bool is_counter(std::string_view name) { return name.ends_with("num_batches_tracked"); }

bool is_floating(std::string_view dtype) {
  return dtype == "F32" || dtype == "F16" || dtype == "BF16" || dtype == "F64";
}

std::string list_of(const std::vector<index_t>& dims) {
  std::string text = "[";
  for (std::size_t i = 0; i < dims.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(dims[i]);
  return text + "]";
}

/// How the names of a file differ from ours: a prefix that only the file has, or only we have.
struct Naming {
  std::string_view add = {}, strip = {};

  [[nodiscard]] std::string in_file(std::string_view ours) const {
    if (ours.starts_with(strip)) ours.remove_prefix(strip.size());
    return std::string(add) + std::string(ours);
  }
};

/// The naming under which the file has most of the parameters.
Naming naming_of(const Parameters& parameters, const SafeTensors& file) {
  constexpr std::array<Naming, 3> namings{Naming{}, Naming{.add = "model."}, Naming{.strip = "model."}};
  const auto hits = [&](const Naming& naming) {
    return std::count_if(parameters.entries().begin(), parameters.entries().end(),
                         [&](const Parameters::Entry& e) { return file.find(naming.in_file(e.name)) != nullptr; });
  };
  return *std::max_element(namings.begin(), namings.end(),
                           [&](const Naming& a, const Naming& b) { return hits(a) < hits(b); });
}

/// Problems of one kind. A file can have as many as it has tensors; a message that long would help nobody.
class Problems {
 public:
  void add(std::string_view kind, const std::string& what) {
    for (Kind& known : kinds_)
      if (known.name == kind) return add(known, what);
    add(kinds_.emplace_back(Kind{std::string(kind), "", 0}), what);
  }

  [[nodiscard]] bool empty() const noexcept { return kinds_.empty(); }
  [[nodiscard]] std::string text() const {
    std::string text;
    for (const Kind& kind : kinds_) {
      text += (text.empty() ? "" : "; ") + std::to_string(kind.count) + " " + kind.name + ": " + kind.list;
      if (kind.count > most) text += " and " + std::to_string(kind.count - most) + " more";
    }
    return text;
  }

 private:
  static constexpr int most = 1000;
  struct Kind {
    std::string name, list;
    int count;
  };

  static void add(Kind& kind, const std::string& what) {
    if (kind.count++ < most) kind.list += (kind.list.empty() ? "" : ", ") + what;
  }

  std::vector<Kind> kinds_;
};

/// True when the numbers may be weights; otherwise the problem is noted.
template <class T>
bool check_numbers(const Tensor& tensor, const std::string& name, Problems& problems) {
  const T* value = tensor.data<T>();
  const bool finite = std::all_of(value, value + tensor.numel(), [](T v) { return std::isfinite(v); });
  const bool variance = name.ends_with("running_var");
  constexpr double largest_counter = 9007199254740992.0;  // 2^53: every count up to it is exact
  const auto is_count = [](double v) { return v >= 0 && v <= largest_counter && v == std::floor(v); };
  if (!finite)
    problems.add("with NaN or infinity", in_quotes(name));
  else if (is_counter(name) && !std::all_of(value, value + tensor.numel(), is_count))
    problems.add("that count no batches", in_quotes(name));
  else if (variance && std::any_of(value, value + tensor.numel(), [](T v) { return v < 0; }))
    problems.add("with a negative variance", in_quotes(name));
  else
    return true;
  return false;
}

/// The entry's new numbers; an empty tensor when there are none or a problem was noted.
Tensor convert(const Parameters::Entry& entry, const SafeTensors::Entry* stored, const SafeTensors& file,
               Problems& problems) {
  const bool counter = is_counter(entry.name);
  if (stored == nullptr) {
    if (counter) return Tensor(entry.value.shape(), entry.value.dtype());
    problems.add("missing", in_quotes(entry.name));
    return {};
  }
  if (stored->dims != entry.dims) {
    problems.add("of wrong shape",
                 in_quotes(stored->name) + " " + list_of(stored->dims) + " instead of " + list_of(entry.dims));
    return {};
  }
  if (!is_floating(stored->dtype) && !(counter && stored->dtype == "I64")) {
    problems.add("of wrong type", in_quotes(stored->name) + " " + stored->dtype);
    return {};
  }
  Tensor value = file.tensor(stored->name, entry.value.dtype());
  const bool good = entry.value.dtype() == DType::f64 ? check_numbers<double>(value, stored->name, problems)
                                                      : check_numbers<float>(value, stored->name, problems);
  return good ? std::move(value) : Tensor();
}

/// The entries' new numbers; where there are none the old ones stay.
void put(const std::vector<Tensor>& values, Parameters& parameters) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i].numel() > 0)
      std::copy_n(static_cast<const std::byte*>(values[i].raw()), values[i].bytes(),
                  static_cast<std::byte*>(parameters.entries()[i].value.raw()));
  parameters.touch();
}

constexpr std::array<const char*, 80> coco_names{
    "person",         "bicycle",    "car",           "motorcycle",    "airplane",     "bus",           "train",
    "truck",          "boat",       "traffic light", "fire hydrant",  "stop sign",    "parking meter", "bench",
    "bird",           "cat",        "dog",           "horse",         "sheep",        "cow",           "elephant",
    "bear",           "zebra",      "giraffe",       "backpack",      "umbrella",     "handbag",       "tie",
    "suitcase",       "frisbee",    "skis",          "snowboard",     "sports ball",  "kite",          "baseball bat",
    "baseball glove", "skateboard", "surfboard",     "tennis racket", "bottle",       "wine glass",    "cup",
    "fork",           "knife",      "spoon",         "bowl",          "banana",       "apple",         "sandwich",
    "orange",         "broccoli",   "carrot",        "hot dog",       "pizza",        "donut",         "cake",
    "chair",          "couch",      "potted plant",  "bed",           "dining table", "toilet",        "tv",
    "laptop",         "mouse",      "remote",        "keyboard",      "cell phone",   "microwave",     "oven",
    "toaster",        "sink",       "refrigerator",  "book",          "clock",        "vase",          "scissors",
    "teddy bear",     "hair drier", "toothbrush"};

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

/// Names in a JSON list, an object {"0": name}, or separated by |; nothing when the text is neither.
std::vector<std::string> parse_names(const std::string& text) {
  const nlohmann::json parsed = nlohmann::json::parse(text, nullptr, false);
  std::vector<std::string> names;
  if (parsed.is_discarded() && text.find('|') != std::string::npos) return split(text, '|');
  if (!parsed.is_array() && !parsed.is_object()) return names;
  for (std::size_t i = 0; i < parsed.size(); ++i) {
    const std::string key = std::to_string(i);
    if (parsed.is_object() && !parsed.contains(key)) return {};
    const nlohmann::json& name = parsed.is_array() ? parsed[i] : parsed[key];
    if (!name.is_string()) return {};
    names.push_back(name);
  }
  return names;
}

}  // namespace

void load_state_dict(Parameters& parameters, const SafeTensors& file) {
  const Naming naming = naming_of(parameters, file);
  Problems problems;
  std::vector<Tensor> values;
  std::vector<char> expected(file.entries().size(), 0);
  for (const Parameters::Entry& entry : parameters.entries()) {
    const SafeTensors::Entry* stored = file.find(naming.in_file(entry.name));
    if (stored != nullptr) expected[static_cast<std::size_t>(stored - file.entries().data())] = 1;
    values.push_back(convert(entry, stored, file, problems));
  }
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (!expected[i]) problems.add("unexpected", in_quotes(file.entries()[i].name));
  if (!problems.empty()) throw FormatError(file.file_name() + ": not the weights of this network: " + problems.text());
  put(values, parameters);
}

Transfer transfer_state_dict(Parameters& parameters, const SafeTensors& file) {
  const Naming naming = naming_of(parameters, file);
  Problems problems;
  std::vector<Tensor> values;
  Transfer transfer;
  for (const Parameters::Entry& entry : parameters.entries()) {
    const SafeTensors::Entry* stored = file.find(naming.in_file(entry.name));
    const bool fits = stored != nullptr && stored->dims == entry.dims && !entry.name.ends_with(".anchors");
    values.push_back(fits ? convert(entry, stored, file, problems) : Tensor());
    transfer.taken += fits;
    ++transfer.entries;
  }
  if (!problems.empty()) throw FormatError(file.file_name() + ": " + problems.text());
  put(values, parameters);
  return transfer;
}

void save_state_dict(const std::filesystem::path& path, const Parameters& parameters,
                     std::map<std::string, std::string> metadata) {
  metadata["format"] = "pt";
  const StoredType type = parameters.dtype() == DType::f64 ? StoredType::f64 : StoredType::f32;
  std::vector<TensorEntry> entries;
  std::vector<std::vector<std::int64_t>> counters;
  counters.reserve(parameters.entries().size());  // spans look into it
  for (const Parameters::Entry& entry : parameters.entries()) {
    if (is_counter(entry.name)) {
      const Tensor exact = entry.value.to(DType::f64);
      const double* count = exact.data<double>();
      const std::vector<std::int64_t>& kept = counters.emplace_back(count, count + exact.numel());
      entries.push_back({entry.name, entry.dims, std::span(kept), StoredType::i64});
    } else if (type == StoredType::f64) {
      const double* first = entry.value.data<double>();
      entries.push_back(
          {entry.name, entry.dims, std::span(first, static_cast<std::size_t>(entry.value.numel())), type});
    } else {
      const float* first = entry.value.data<float>();
      entries.push_back(
          {entry.name, entry.dims, std::span(first, static_cast<std::size_t>(entry.value.numel())), type});
    }
  }
  write_safetensors(path, entries, metadata);
}

std::vector<std::string> class_names(const std::map<std::string, std::string>& metadata, index_t classes) {
  std::vector<std::string> names;
  if (const auto at = metadata.find(std::string(metadata_key::names)); at != metadata.end() && !at->second.empty()) {
    constexpr std::size_t longest = std::size_t{1} << 20;  // 16 bytes for each of 65535 names
    if (at->second.size() > longest)
      throw FormatError("the weights' class names have " + std::to_string(at->second.size()) + " bytes; at most " +
                        std::to_string(longest) + " are read");
    names = parse_names(at->second);
    if (names.empty())
      throw FormatError("the weights' class names are neither a JSON list nor an object nor separated by |");
    for (std::string& name : names)  // they end up on terminals
      std::replace_if(
          name.begin(), name.end(), [](unsigned char c) { return std::iscntrl(c) != 0; }, ' ');
  }
  if (!names.empty() && static_cast<index_t>(names.size()) != classes)
    throw FormatError("the weights name " + std::to_string(names.size()) + " classes; the model has " +
                      std::to_string(classes));
  if (names.empty() && classes == static_cast<index_t>(coco_names.size()))
    names.assign(coco_names.begin(), coco_names.end());
  for (auto i = static_cast<index_t>(names.size()); i < classes; ++i) names.push_back("class" + std::to_string(i));
  return names;
}

}  // namespace slimneck
