#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/files.hpp"
#include "io/stored.hpp"

namespace slimneck {
namespace {

using nlohmann::json;

std::string dump(const json& value, const std::filesystem::path& path) {
  try {
    return value.dump();
  } catch (const json::exception&) {
    throw FormatError(path.string() + ": a name or metadata text is not UTF-8");
  }
}

// The header, padded so that the data begins at a multiple of 8.
std::string make_header(std::span<const TensorEntry* const> order, const std::map<std::string, std::string>& metadata,
                        const std::filesystem::path& path) {
  std::string text(1, '{');
  if (!metadata.empty()) text.append("\"__metadata__\":").append(dump(json(metadata), path));
  std::size_t offset = 0;
  for (const TensorEntry* entry : order) {
    const io::Stored& kind = io::stored(entry->type);
    const std::size_t end = offset + io::count_of(*entry) * kind.bytes;
    const json fields = {{"dtype", kind.dtype}, {"shape", entry->dims}, {"data_offsets", {offset, end}}};
    if (text.size() > 1) text += ',';
    text.append(dump(json(entry->name), path)).append(":").append(fields.dump());
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
