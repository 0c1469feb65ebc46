// The bytes of TensorBoard's event files: protobuf messages in records with masked CRC-32C sums.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "slimneck/tensor.hpp"

namespace slimneck::train {

/// CRC-32C (Castagnoli) of the bytes.
std::uint32_t crc32c(std::string_view bytes);

/// The record that holds `event`: length, sum of the length, the event, sum of the event.
std::string event_record(std::string_view event);

/// The event that begins a file.
std::string version_event(double seconds);

/// An event with one scalar.
std::string scalar_event(std::string_view tag, double value, index_t step, double seconds);

}  // namespace slimneck::train
