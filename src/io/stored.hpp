// Numbers as files store them.
#pragma once

#include <functional>
#include <string_view>

#include "slimneck/weights.hpp"

namespace slimneck::io {

struct Stored {
  StoredType type;
  std::string_view dtype;  ///< in safetensors
  std::string_view torch;  ///< PyTorch's class of such storages
  std::size_t bytes;       ///< of an element
};

const Stored& stored(StoredType type) noexcept;
/// The one of that dtype, or nullptr.
const Stored* find_stored(std::string_view dtype) noexcept;
/// The one of that PyTorch class, or nullptr.
const Stored* find_torch_storage(std::string_view name) noexcept;

/// Elements of the entry.
std::size_t count_of(const TensorEntry& entry);

/// Throws FormatError unless names are proper and unique, and values fit extents and types.
void check_entries(std::span<const TensorEntry> entries, const std::filesystem::path& path);

/// Gives the stored elements to sink(bytes), some at a time. Throws FormatError when a finite number does not fit.
void store_values(const TensorEntry& entry, const std::filesystem::path& path,
                  const std::function<void(std::span<const std::byte>)>& sink);

}  // namespace slimneck::io
