#include "io/stored.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "io/files.hpp"
#include "io/float16.hpp"

namespace slimneck {

namespace io {

namespace {

constexpr std::array<Stored, 8> all{{{StoredType::f64, "F64", "torch.DoubleStorage", 8},
                                     {StoredType::f32, "F32", "torch.FloatStorage", 4},
                                     {StoredType::f16, "F16", "torch.HalfStorage", 2},
                                     {StoredType::bf16, "BF16", "torch.BFloat16Storage", 2},
                                     {StoredType::i64, "I64", "torch.LongStorage", 8},
                                     {StoredType::i32, "I32", "torch.IntStorage", 4},
                                     {StoredType::u8, "U8", "torch.ByteStorage", 1},
                                     {StoredType::boolean, "BOOL", "torch.BoolStorage", 1}}};

template <class Is>
const Stored* find_where(Is is) {
  const auto* found = std::find_if(all.begin(), all.end(), is);
  return found == all.end() ? nullptr : found;
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw FormatError(path.string() + ": " + what);
}

// Element `value` as its stored bytes; false when a finite number would become infinite.
template <class From>
bool encode(From value, StoredType type, std::byte* out) {
  const auto put = [out](auto element) { std::memcpy(out, &element, sizeof(element)); };
  if constexpr (std::is_same_v<From, std::int64_t>) {
    put(value);
  } else if (type == StoredType::f64) {
    put(static_cast<double>(value));
  } else if (type == StoredType::f32) {
    const auto rounded = static_cast<float>(value);
    put(rounded);
    return std::isinf(rounded) == std::isinf(value);
  } else {
    const int bits = type == StoredType::f16 ? half_exponent_bits : bfloat_exponent_bits;
    const std::uint16_t pattern = to_16(value, bits);
    put(pattern);
    return std::isinf(from_16(pattern, bits)) == std::isinf(value);
  }
  return true;
}

void check_entry(const TensorEntry& entry, const std::filesystem::path& path) {
  if (entry.name.empty() || entry.name == "__metadata__" || entry.name.find('\0') != std::string::npos)
    fail(path, "cannot write a tensor named " + in_quotes(entry.name));
  index_t count = 1;
  for (const index_t extent : entry.dims) count = checked_multiply(count, extent);
  const std::string who = "tensor " + in_quotes(entry.name);
  if (const auto* raw = std::get_if<std::span<const std::byte>>(&entry.values)) {
    const auto width = static_cast<index_t>(stored(entry.type).bytes);
    if (static_cast<std::size_t>(checked_multiply(count, width)) != raw->size())
      fail(path,
           who + " has " + std::to_string(raw->size()) + " bytes, its extents want " + std::to_string(count * width));
    return;
  }
  if (static_cast<std::size_t>(count) != count_of(entry))
    fail(path, who + " has " + std::to_string(count_of(entry)) + " values, its extents want " + std::to_string(count));
  const bool integers = std::holds_alternative<std::span<const std::int64_t>>(entry.values);
  if (entry.type > StoredType::i64 || integers != (entry.type == StoredType::i64))
    fail(path, who + ": integers are stored as I64 and floating point numbers as F*");
}

}  // namespace

const Stored& stored(StoredType type) noexcept { return all[static_cast<std::size_t>(type)]; }

const Stored* find_stored(std::string_view dtype) noexcept {
  return find_where([&](const Stored& s) { return s.dtype == dtype; });
}

const Stored* find_torch_storage(std::string_view name) noexcept {
  return find_where([&](const Stored& s) { return s.torch == name; });
}

std::size_t count_of(const TensorEntry& entry) {
  const std::size_t size = std::visit([](const auto& values) { return values.size(); }, entry.values);
  return std::holds_alternative<std::span<const std::byte>>(entry.values) ? size / stored(entry.type).bytes : size;
}

void check_entries(std::span<const TensorEntry> entries, const std::filesystem::path& path) {
  std::unordered_set<std::string_view> names;
  for (const TensorEntry& entry : entries) {
    check_entry(entry, path);
    if (!names.insert(entry.name).second) fail(path, "name " + in_quotes(entry.name) + " occurs twice");
  }
}

void store_values(const TensorEntry& entry, const std::filesystem::path& path,
                  const std::function<void(std::span<const std::byte>)>& sink) {
  constexpr std::size_t chunk = std::size_t{1} << 16;  // values converted at a time
  const Stored& kind = stored(entry.type);
  const auto convert = [&](const auto& values) {
    std::vector<std::byte> buffer(std::min(chunk, values.size()) * kind.bytes);
    for (std::size_t first = 0; first < values.size(); first += chunk) {
      const auto part = values.subspan(first, std::min(chunk, values.size() - first));
      for (std::size_t i = 0; i < part.size(); ++i)
        if (!encode(part[i], entry.type, buffer.data() + i * kind.bytes))
          fail(path, "tensor " + in_quotes(entry.name) + ": " + std::to_string(part[i]) + " is too large for " +
                         std::string(kind.dtype));
      sink(std::span(buffer).first(part.size() * kind.bytes));
    }
  };
  std::visit(
      [&](const auto& values) {
        if constexpr (std::is_same_v<std::decay_t<decltype(values)>, std::span<const std::byte>>)
          sink(values);
        else
          convert(values);
      },
      entry.values);
}

}  // namespace io

StoredType stored_type(std::string_view dtype) {
  const io::Stored* found = io::find_stored(dtype);
  if (found == nullptr) throw FormatError("there is no dtype " + io::in_quotes(dtype));
  return found->type;
}

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

}  // namespace slimneck
