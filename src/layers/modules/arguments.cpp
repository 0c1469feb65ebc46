#include "layers/modules/arguments.hpp"

#include <charconv>

namespace slimneck::modules {

namespace {

std::string number(double value) {
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}

template <class T, class F>
std::string joined(const std::vector<T>& items, F text) {
  std::string out = "[";
  for (const T& item : items) out += (out.size() > 1 ? ", " : "") + text(item);
  return out + "]";
}

}  // namespace

std::string to_string(const Argument& argument) {
  struct Print {
    std::string operator()(std::monostate) const { return "None"; }
    std::string operator()(bool value) const { return value ? "True" : "False"; }
    std::string operator()(index_t value) const { return std::to_string(value); }
    std::string operator()(double value) const { return number(value); }
    std::string operator()(const std::string& value) const { return "'" + value + "'"; }
    std::string operator()(const std::vector<double>& values) const { return joined(values, number); }
    std::string operator()(const std::vector<std::vector<double>>& rows) const {
      return joined(rows, [](const std::vector<double>& row) { return joined(row, number); });
    }
  };
  return std::visit(Print{}, argument);
}

const Argument* Arguments::next() { return at_ < call_.args.size() ? &call_.args[at_++] : nullptr; }

void Arguments::refuse(std::string_view name, const Argument& came, const std::string& wanted) const {
  builder_.fail("argument " + std::string(name) + " is " + to_string(came) + "; wanted " + wanted);
}

index_t Arguments::integer(std::string_view name, index_t fallback, index_t least, index_t most) {
  const Argument* argument = next();
  if (argument == nullptr) return fallback;
  const auto* value = std::get_if<index_t>(argument);
  if (value == nullptr || *value < least || *value > most)
    refuse(name, *argument, "an integer in " + std::to_string(least) + ".." + std::to_string(most));
  return *value;
}

double Arguments::real(std::string_view name, double fallback, double least, double most) {
  const Argument* argument = next();
  if (argument == nullptr) return fallback;
  double value = least - 1;
  if (const auto* real = std::get_if<double>(argument)) value = *real;
  if (const auto* integer = std::get_if<index_t>(argument)) value = static_cast<double>(*integer);
  if (!(value >= least && value <= most)) refuse(name, *argument, "a number in " + number(least) + ".." + number(most));
  return value;
}

bool Arguments::flag(std::string_view name, bool fallback) {
  const Argument* argument = next();
  if (argument == nullptr) return fallback;
  if (const auto* value = std::get_if<bool>(argument)) return *value;
  refuse(name, *argument, "True or False");
}

index_t Arguments::padding() {
  if (at_ < call_.args.size() && std::holds_alternative<std::monostate>(call_.args[at_])) {
    ++at_;
    return -1;
  }
  return integer("p", -1, 0);
}

kernels::Activation Arguments::act() {
  const Argument* argument = next();
  if (argument == nullptr) return builder_.act(true);
  if (const auto* on = std::get_if<bool>(argument)) return builder_.act(*on);
  if (std::holds_alternative<std::monostate>(*argument)) return builder_.act(false);
  if (const auto* name = std::get_if<std::string>(argument))
    if (const auto act = find_activation(*name)) return *act;
  refuse("act", *argument, "True, False or an activation like nn.SiLU()");
}

void Arguments::end() const {
  if (at_ < call_.args.size())
    builder_.fail("argument " + to_string(call_.args[at_]) + " is one too many: this module takes " +
                  std::to_string(at_) + " of them after its width");
}

}  // namespace slimneck::modules
