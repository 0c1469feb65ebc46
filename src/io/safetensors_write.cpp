#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "io/files.hpp"
#include "io/float16.hpp"
#include "slimneck/weights.hpp"

namespace slimneck {
namespace {

using io::in_quotes;
using nlohmann::json;

struct Storage {
  std::string_view name;
  std::size_t bytes;
};

Storage storage_of(StoredType type) {
  constexpr std::array<Storage, 5> all{{{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}}};
  return all.at(static_cast<std::size_t>(type));
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw FormatError(path.string() + ": safetensors: " + what);
}

std::size_t count_of(const TensorEntry& entry) {
  return std::visit([](const auto& values) { return values.size(); }, entry.values);
}

void check_entry(const TensorEntry& entry, const std::filesystem::path& path) {
  if (entry.name.empty() || entry.name == "__metadata__" || entry.name.find('\0') != std::string::npos)
    fail(path, "cannot write a tensor named " + in_quotes(entry.name));
  index_t count = 1;
  for (const index_t extent : entry.dims) count = checked_multiply(count, extent);
  if (static_cast<std::size_t>(count) != count_of(entry))
    fail(path, "tensor " + in_quotes(entry.name) + " has " + std::to_string(count_of(entry)) +
                   " values, its extents want " + std::to_string(count));
  const bool integers = std::holds_alternative<std::span<const std::int64_t>>(entry.values);
  if (integers != (entry.type == StoredType::i64))
    fail(path, "tensor " + in_quotes(entry.name) + ": integers are stored as I64 and floating point numbers as F*");
}

std::string dump(const json& value, const std::filesystem::path& path) {
  try {
    return value.dump();
  } catch (const json::exception&) {
    fail(path, "a name or metadata text is not UTF-8");
  }
}

// The header, padded so that the data begins at a multiple of 8.
std::string make_header(std::span<const TensorEntry* const> order, const std::map<std::string, std::string>& metadata,
                        const std::filesystem::path& path) {
  std::string text(1, '{');
  if (!metadata.empty()) text.append("\"__metadata__\":").append(dump(json(metadata), path));
  std::size_t offset = 0;
  for (const TensorEntry* entry : order) {
    const Storage storage = storage_of(entry->type);
    const std::size_t end = offset + count_of(*entry) * storage.bytes;
    const json fields = {{"dtype", storage.name}, {"shape", entry->dims}, {"data_offsets", {offset, end}}};
    if (text.size() > 1) text += ',';
    text.append(dump(json(entry->name), path)).append(":").append(fields.dump());
    offset = end;
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

// Element `value` as its stored bytes; false when a finite number would become infinite.
template <class From>
bool encode(From value, StoredType type, std::byte* out) {
  const auto put = [out](auto stored) { std::memcpy(out, &stored, sizeof(stored)); };
  if constexpr (std::is_same_v<From, std::int64_t>) {
    put(value);
  } else if (type == StoredType::f64) {
    put(static_cast<double>(value));
  } else if (type == StoredType::f32) {
    const auto rounded = static_cast<float>(value);
    put(rounded);
    return std::isinf(rounded) == std::isinf(value);
  } else {
    const int bits = type == StoredType::f16 ? io::half_exponent_bits : io::bfloat_exponent_bits;
    const std::uint16_t pattern = io::to_16(value, bits);
    put(pattern);
    return std::isinf(io::from_16(pattern, bits)) == std::isinf(value);
  }
  return true;
}

void write_values(io::AtomicFile& file, const TensorEntry& entry, const std::filesystem::path& path) {
  constexpr std::size_t chunk = std::size_t{1} << 16;  // values converted at a time
  const std::size_t width = storage_of(entry.type).bytes;
  std::visit(
      [&](const auto& values) {
        std::vector<std::byte> buffer(std::min(chunk, values.size()) * width);
        for (std::size_t first = 0; first < values.size(); first += chunk) {
          const auto part = values.subspan(first, std::min(chunk, values.size() - first));
          for (std::size_t i = 0; i < part.size(); ++i)
            if (!encode(part[i], entry.type, buffer.data() + i * width))
              fail(path, "tensor " + in_quotes(entry.name) + ": " + std::to_string(part[i]) + " is too large for " +
                             std::string(storage_of(entry.type).name));
          file.write(std::span(buffer).first(part.size() * width));
        }
      },
      entry.values);
}

}  // namespace

TensorEntry tensor_entry(std::string name, const Tensor& tensor, StoredType type, std::vector<index_t> dims) {
  const Shape& shape = tensor.shape();
  if (dims.empty()) dims = {shape.n, shape.c, shape.h, shape.w};
  TensorEntry entry{std::move(name), std::move(dims), {}, type};
  const auto count = static_cast<std::size_t>(tensor.numel());
  if (tensor.dtype() == DType::f64)
    entry.values = std::span(tensor.data<double>(), count);
  else
    entry.values = std::span(tensor.data<float>(), count);
  return entry;
}

void write_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> entries,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const TensorEntry*> order;
  std::unordered_set<std::string_view> names;
  for (const TensorEntry& entry : entries) {
    check_entry(entry, path);
    if (!names.insert(entry.name).second) fail(path, "name " + in_quotes(entry.name) + " occurs twice");
    order.push_back(&entry);
  }
  // Wide elements first: then each tensor is aligned to its element, whatever the counts are.
  std::sort(order.begin(), order.end(), [](const TensorEntry* a, const TensorEntry* b) {
    const std::size_t wide_a = storage_of(a->type).bytes, wide_b = storage_of(b->type).bytes;
    return wide_a != wide_b ? wide_a > wide_b : a->name < b->name;
  });
  const std::string header = make_header(order, metadata, path);
  const auto length = static_cast<std::uint64_t>(header.size());

  io::AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (const TensorEntry* entry : order) write_values(file, *entry, path);
  file.commit();
}

}  // namespace slimneck
