#include "slimneck/op.hpp"

#include <algorithm>

namespace slimneck {

Attributes& Attributes::set(std::string_view name, AttributeValue value) {
  const auto at = std::find_if(items_.begin(), items_.end(), [&](const Item& item) { return item.first == name; });
  if (at == items_.end())
    items_.emplace_back(std::string(name), std::move(value));
  else
    at->second = std::move(value);
  return *this;
}

const AttributeValue* Attributes::find(std::string_view name) const noexcept {
  for (const Item& item : items_)
    if (item.first == name) return &item.second;
  return nullptr;
}

const AttributeValue& Attributes::at(std::string_view name) const {
  if (const AttributeValue* value = find(name)) return *value;
  throw ShapeError("attribute '" + std::string(name) + "' is missing");
}

index_t Attributes::integer(std::string_view name) const {
  if (const auto* value = std::get_if<index_t>(&at(name))) return *value;
  throw ShapeError("attribute '" + std::string(name) + "' must be an integer");
}

double Attributes::real(std::string_view name) const {
  const AttributeValue& value = at(name);
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* number = std::get_if<index_t>(&value)) return static_cast<double>(*number);
  throw ShapeError("attribute '" + std::string(name) + "' must be a number");
}

const std::vector<index_t>& Attributes::list(std::string_view name) const {
  if (const auto* value = std::get_if<std::vector<index_t>>(&at(name))) return *value;
  throw ShapeError("attribute '" + std::string(name) + "' must be a list of integers");
}

index_t Cost::flops() const noexcept {
  return 2 * (macs + norm_elements) + bias_adds + act_elements + upsample_elements + other_flops;
}

Cost& Cost::operator+=(const Cost& other) noexcept {
  macs += other.macs;
  bias_adds += other.bias_adds;
  norm_elements += other.norm_elements;
  act_elements += other.act_elements;
  upsample_elements += other.upsample_elements;
  other_flops += other.other_flops;
  bytes_read += other.bytes_read;
  bytes_written += other.bytes_written;
  return *this;
}

}  // namespace slimneck
