#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "io/files.hpp"
#include "io/stored.hpp"

namespace slimneck {
namespace {

using nlohmann::json;

/// Strings alone are made as JSON values: lists and objects allocate when they go, where a failure ends the program.
std::string quoted(const std::string& text, const std::filesystem::path& path) {
  try {
    return json(text).dump();
  } catch (const json::exception&) {
    throw FormatError(path.string() + ": a name or metadata text is not UTF-8");
  }
}

std::string listed(std::span<const index_t> numbers) {
  std::string text;
  for (const index_t number : numbers) text.append(text.empty() ? "" : ",").append(std::to_string(number));
  return "[" + text + "]";
}

std::string object_of(const std::map<std::string, std::string>& texts, const std::filesystem::path& path) {
  std::string text;
  for (const auto& [key, value] : texts)
    text.append(text.empty() ? "" : ",").append(quoted(key, path)).append(":").append(quoted(value, path));
  return "{" + text + "}";
}

// The header, padded so that the data begins at a multiple of 8.
std::string make_header(std::span<const TensorEntry* const> order, const std::map<std::string, std::string>& metadata,
                        const std::filesystem::path& path) {
  std::string text(1, '{');
  if (!metadata.empty()) text.append("\"__metadata__\":").append(object_of(metadata, path));
  std::size_t offset = 0;
  for (const TensorEntry* entry : order) {
    const io::Stored& kind = io::stored(entry->type);
    const std::size_t end = offset + io::count_of(*entry) * kind.bytes;
    if (text.size() > 1) text += ',';
    text.append(quoted(entry->name, path)).append(":{\"data_offsets\":");
    text.append(listed(std::array{static_cast<index_t>(offset), static_cast<index_t>(end)})).append(",\"dtype\":\"");
    text.append(kind.dtype).append("\",\"shape\":").append(listed(entry->dims)).append("}");
    offset = end;
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> entries,
                       const std::map<std::string, std::string>& metadata) {
  io::check_entries(entries, path);
  std::vector<const TensorEntry*> order;
  for (const TensorEntry& entry : entries) order.push_back(&entry);
  // Wide elements first: then each tensor is aligned to its element, whatever the counts are.
  std::sort(order.begin(), order.end(), [](const TensorEntry* a, const TensorEntry* b) {
    const std::size_t wide_a = io::stored(a->type).bytes, wide_b = io::stored(b->type).bytes;
    return wide_a != wide_b ? wide_a > wide_b : a->name < b->name;
  });
  const std::string header = make_header(order, metadata, path);
  const auto length = static_cast<std::uint64_t>(header.size());

  io::AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (const TensorEntry* entry : order)
    io::store_values(*entry, path, [&](std::span<const std::byte> bytes) { file.write(bytes); });
  file.commit();
}

}  // namespace slimneck
