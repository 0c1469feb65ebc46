// The state of a training as JSON.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "slimneck/error.hpp"
#include "slimneck/train.hpp"
#include "slimneck/version.hpp"

namespace slimneck {

namespace {

using Json = nlohmann::ordered_json;

constexpr int format = 1;
constexpr std::size_t max_bytes = std::size_t{16} << 20;
constexpr index_t max_count = index_t{1} << 50;

Json to_json(const LossParts& p) { return {p.box, p.obj, p.cls}; }

Json to_json(const EpochResult& e) {
  return {e.epoch, to_json(e.train), to_json(e.val), e.p, e.r, e.map50, e.map50_95, e.lr};
}

/// Reads members and says which of them is not what it should be.
class Reader {
 public:
  Reader(std::string_view text, std::string_view file_name) : file_(file_name) {
    if (text.size() > max_bytes) fail("has more than 16 MiB");
    root_ = Json::parse(text, nullptr, false);
    if (!root_.is_object()) fail("is no JSON object");
  }

  [[noreturn]] void fail(const std::string& cause) const { throw FormatError(file_ + ": " + cause); }

  [[nodiscard]] const Json& at(const Json& parent, const std::string& key) const {
    const auto found = parent.find(key);
    if (found == parent.end()) fail("\"" + key + "\" is missing");
    return *found;
  }
  [[nodiscard]] const Json& object(const std::string& key) const {
    const Json& value = at(root_, key);
    if (!value.is_object()) fail("\"" + key + "\" is no object");
    return value;
  }
  [[nodiscard]] const Json& list(const Json& value, const std::string& key, std::size_t size) const {
    if (!value.is_array() || value.size() != size)
      fail("\"" + key + "\" is no list of " + std::to_string(size));
    return value;
  }
  [[nodiscard]] const Json& list(const std::string& key) const {
    const Json& value = at(root_, key);
    if (!value.is_array()) fail("\"" + key + "\" is no list");
    return value;
  }

  [[nodiscard]] index_t count(const Json& value, const std::string& key, index_t low = 0) const {
    if (!value.is_number_integer()) fail("\"" + key + "\" is no whole number");
    const bool huge = value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(max_count);
    if (huge || value.get<index_t>() < low || value.get<index_t>() > max_count) fail("\"" + key + "\" is out of range");
    return value.get<index_t>();
  }
  [[nodiscard]] index_t count(const Json& parent, const char* key, index_t low = 0) const {
    return count(at(parent, key), key, low);
  }
  /// Infinity and NaN, which JSON does not have, are null.
  [[nodiscard]] double number(const Json& value, const std::string& key) const {
    if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
    if (!value.is_number()) fail("\"" + key + "\" is no number");
    return value.get<double>();
  }
  [[nodiscard]] std::string text(const Json& parent, const std::string& key) const {
    const Json& value = at(parent, key);
    if (!value.is_string()) fail("\"" + key + "\" is no text");
    return value.get<std::string>();
  }
  [[nodiscard]] LossParts parts(const Json& value, const std::string& key) const {
    list(value, key, 3);
    return {number(value[0], key), number(value[1], key), number(value[2], key)};
  }
  [[nodiscard]] std::vector<double> numbers(const std::string& key) const {
    std::vector<double> values;
    for (const Json& value : list(key)) values.push_back(number(value, key));
    return values;
  }
  [[nodiscard]] EpochResult epoch(const Json& row) const {
    const std::string key = "history";
    list(row, key, 8);
    list(row[7], key, 3);
    EpochResult e;
    e.epoch = count(row[0], key);
    e.train = parts(row[1], key);
    e.val = parts(row[2], key);
    e.p = number(row[3], key);
    e.r = number(row[4], key);
    e.map50 = number(row[5], key);
    e.map50_95 = number(row[6], key);
    for (std::size_t i = 0; i < 3; ++i) e.lr[i] = number(row[7][i], key);
    return e;
  }
  [[nodiscard]] const Json& root() const noexcept { return root_; }

 private:
  std::string file_;
  Json root_;
};

}  // namespace

std::string write_train_state(const TrainState& s) {
  Json history = Json::array();
  for (const EpochResult& e : s.history) history.push_back(to_json(e));
  const Json json{
      {"format", format},
      {"program", "slimneck " SLIMNECK_VERSION_STRING},
      {"generation", s.generation},
      {"progress",
       {{"epoch", s.epoch},
        {"batch", s.batch},
        {"iteration", s.iteration},
        {"last_move", s.last_move},
        {"moves", s.moves},
        {"averages", s.averages},
        {"best_fitness", s.best_fitness},
        {"best_epoch", s.best_epoch}}},
      {"loss_sum", to_json(s.loss_sum)},
      {"balance", s.balance},
      {"class_fitness", s.class_fitness},
      {"history", history},
      {"options", s.options},
      {"data", s.data},
      {"tensors", {{"file", s.tensors}, {"bytes", s.tensors_bytes}, {"sha256", s.tensors_sha256}}}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

TrainState parse_train_state(std::string_view text, std::string_view file_name) {
  const Reader in(text, file_name);
  if (const index_t found = in.count(in.root(), "format", 1); found > format)
    in.fail("is of format " + std::to_string(found) + ", which a newer slimneck wrote; this one reads format " +
            std::to_string(format));
  TrainState s;
  s.generation = in.count(in.root(), "generation");
  const Json& progress = in.object("progress");
  s.epoch = in.count(progress, "epoch");
  s.batch = in.count(progress, "batch");
  s.iteration = in.count(progress, "iteration");
  s.last_move = in.count(progress, "last_move", -1);
  s.moves = in.count(progress, "moves");
  s.averages = in.count(progress, "averages");
  s.best_fitness = in.number(in.at(progress, "best_fitness"), "best_fitness");
  s.best_epoch = in.count(progress, "best_epoch");
  s.loss_sum = in.parts(in.at(in.root(), "loss_sum"), "loss_sum");
  s.balance = in.numbers("balance");
  s.class_fitness = in.numbers("class_fitness");
  for (const Json& row : in.list("history")) s.history.push_back(in.epoch(row));
  for (const auto& item : in.object("options").items()) s.options[item.key()] = in.text(in.object("options"), item.key());
  s.data = in.text(in.root(), "data");
  const Json& tensors = in.object("tensors");
  s.tensors = in.text(tensors, "file");
  s.tensors_bytes = static_cast<std::uint64_t>(in.count(tensors, "bytes"));
  s.tensors_sha256 = in.text(tensors, "sha256");
  return s;
}

}  // namespace slimneck
