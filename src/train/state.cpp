// The state of a training as JSON.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "slimneck/error.hpp"
#include "slimneck/train.hpp"
#include "slimneck/version.hpp"
#include "train/checkpoint.hpp"

namespace slimneck {

namespace {

using Json = nlohmann::json;  // sorted by key: many members take no quadratic time

constexpr index_t format = 1;
constexpr index_t max_count = index_t{1} << 50;
constexpr std::size_t max_list = 1000000;

/// JSON has no infinity and no NaN; they are written as texts.
Json number_json(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

template <class List>
Json numbers_json(const List& values) {
  Json json = Json::array();
  for (const double value : values) json.push_back(number_json(value));
  return json;
}

Json parts_json(const LossParts& p) { return numbers_json(std::array{p.box, p.obj, p.cls}); }

Json epoch_json(const EpochResult& e) {
  return {{"epoch", e.epoch},      {"train", parts_json(e.train)},  {"val", parts_json(e.val)},
          {"p", number_json(e.p)}, {"map50", number_json(e.map50)}, {"map50_95", number_json(e.map50_95)},
          {"r", number_json(e.r)}, {"lr", numbers_json(e.lr)}};
}

/// A member of the document, which knows what it is called.
class Member {
 public:
  Member(const std::string& file, std::string name, const Json& value)
      : file_(file), name_(std::move(name)), value_(value) {}

  [[noreturn]] void fail(const std::string& cause) const {
    throw FormatError(file_ + ": " + (name_.empty() ? "" : name_ + " ") + cause);
  }
  [[nodiscard]] Member at(const std::string& key) const {
    if (!value_.is_object()) fail("is no object");
    const auto found = value_.find(key);
    const std::string name = name_.empty() ? key : name_ + "." + key;
    if (found == value_.end()) throw FormatError(file_ + ": " + name + " is missing");
    return {file_, name, *found};
  }
  [[nodiscard]] std::vector<Member> list() const {
    if (!value_.is_array() || value_.size() > max_list) fail("is no list of at most " + std::to_string(max_list));
    std::vector<Member> items;
    for (const Json& item : value_) items.emplace_back(file_, name_ + "[" + std::to_string(items.size()) + "]", item);
    return items;
  }
  [[nodiscard]] index_t count(index_t low = 0) const {
    if (!value_.is_number_integer()) fail("is no whole number");
    const bool huge = value_.is_number_unsigned() && value_.get<std::uint64_t>() > std::uint64_t{max_count};
    if (huge || value_.get<index_t>() < low) fail("is out of range");
    return value_.get<index_t>();
  }
  [[nodiscard]] double number() const {
    if (value_ == "nan") return std::numeric_limits<double>::quiet_NaN();
    if (value_ == "inf" || value_ == "-inf")
      return value_ == "inf" ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
    if (!value_.is_number()) fail("is no number");
    return value_.get<double>();
  }
  [[nodiscard]] std::string text() const {
    if (!value_.is_string()) fail("is no text");
    return value_.get<std::string>();
  }
  [[nodiscard]] std::vector<double> numbers() const {
    std::vector<double> values;
    for (const Member& item : list()) values.push_back(item.number());
    return values;
  }
  [[nodiscard]] std::array<double, 3> three() const {
    const std::vector<double> values = numbers();
    if (values.size() != 3) fail("is no list of 3 numbers");
    return {values[0], values[1], values[2]};
  }
  [[nodiscard]] LossParts parts() const {
    const std::array<double, 3> values = three();
    return {values[0], values[1], values[2]};
  }
  [[nodiscard]] EpochResult epoch() const {
    return {at("epoch").count(), at("train").parts(),  at("val").parts(),       at("p").number(),
            at("r").number(),    at("map50").number(), at("map50_95").number(), at("lr").three()};
  }
  [[nodiscard]] std::map<std::string, std::string> texts() const {
    if (!value_.is_object()) fail("is no object");
    std::map<std::string, std::string> values;
    for (const auto& item : value_.items()) values[item.key()] = at(item.key()).text();
    return values;
  }

 private:
  const std::string& file_;
  std::string name_;
  const Json& value_;
};

}  // namespace

std::string write_train_state(const TrainState& s) {
  Json history = Json::array();
  for (const EpochResult& e : s.history) history.push_back(epoch_json(e));
  const Json json{{"format", format},
                  {"program", "slimneck " SLIMNECK_VERSION_STRING},
                  {"generation", s.generation},
                  {"epoch", s.epoch},
                  {"batch", s.batch},
                  {"iteration", s.iteration},
                  {"last_move", s.last_move},
                  {"moves", s.moves},
                  {"averages", s.averages},
                  {"loss_sum", parts_json(s.loss_sum)},
                  {"balance", numbers_json(s.balance)},
                  {"class_fitness", numbers_json(s.class_fitness)},
                  {"best_fitness", number_json(s.best_fitness)},
                  {"best_epoch", s.best_epoch},
                  {"history", std::move(history)},
                  {"options", s.options},
                  {"data", s.data},
                  {"tensors", {{"file", s.tensors}, {"bytes", s.tensors_bytes}, {"sha256", s.tensors_sha256}}}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

TrainState parse_train_state(std::string_view text, std::string_view file_name) {
  const std::string file(file_name);
  if (text.size() > train::max_state_bytes)
    throw FormatError(file + ": has more than " + std::to_string(train::max_state_bytes) + " bytes");
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) throw FormatError(file + ": is no JSON object");
  const Member in(file, "", json);
  if (const index_t found = in.at("format").count(1); found > format)
    in.fail("is of format " + std::to_string(found) + ", which a newer slimneck wrote; this one reads format " +
            std::to_string(format));
  TrainState s;
  s.generation = in.at("generation").count();
  s.epoch = in.at("epoch").count();
  s.batch = in.at("batch").count();
  s.iteration = in.at("iteration").count();
  s.last_move = in.at("last_move").count(-1);
  s.moves = in.at("moves").count();
  s.averages = in.at("averages").count();
  s.loss_sum = in.at("loss_sum").parts();
  s.balance = in.at("balance").numbers();
  s.class_fitness = in.at("class_fitness").numbers();
  s.best_fitness = in.at("best_fitness").number();
  s.best_epoch = in.at("best_epoch").count();
  for (const Member& row : in.at("history").list()) s.history.push_back(row.epoch());
  s.options = in.at("options").texts();
  s.data = in.at("data").text();
  s.tensors = in.at("tensors").at("file").text();
  s.tensors_bytes = static_cast<std::uint64_t>(in.at("tensors").at("bytes").count());
  s.tensors_sha256 = in.at("tensors").at("sha256").text();
  return s;
}

}  // namespace slimneck
