#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <unordered_set>
#include <utility>

#include "io/files.hpp"
#include "io/float16.hpp"
#include "io/stored.hpp"
#include "slimneck/weights.hpp"

namespace slimneck {
namespace {

using io::in_quotes;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors data is copied as little-endian");

constexpr std::uint64_t max_header = 100'000'000;  // the format's own limit
constexpr std::size_t prefix_bytes = 8;
constexpr std::size_t max_rank = 16;
// Our own limits. They bound the memory of a hostile header: the parser below keeps the current token twice.
constexpr std::size_t max_entries = 65536;
constexpr std::size_t max_string = std::size_t{4} << 20;
constexpr std::size_t max_text = std::size_t{8} << 20;
constexpr std::size_t max_number = 64;
constexpr std::size_t max_depth = 3;  // file, tensor, list of extents

[[noreturn]] void fail(std::string_view file, const std::string& what) {
  throw FormatError(std::string(file) + ": safetensors: " + what);
}

// Length of the header; checks the first bytes of a file of `file_bytes`.
std::size_t header_length(std::span<const std::byte> start, std::uint64_t file_bytes, std::string_view file) {
  if (file_bytes < prefix_bytes + 2) fail(file, "only " + std::to_string(file_bytes) + " bytes, wanted at least 10");
  std::uint64_t length = 0;
  std::memcpy(&length, start.data(), prefix_bytes);
  if (length > max_header)
    fail(file, "header of " + std::to_string(length) + " bytes, the limit is " + std::to_string(max_header));
  if (length < 2 || length > file_bytes - prefix_bytes)
    fail(file, "header of " + std::to_string(length) + " bytes in a file of " + std::to_string(file_bytes));
  if (start[prefix_bytes] != std::byte{'{'}) fail(file, "the header does not begin with '{'");
  return static_cast<std::size_t>(length);
}

// Bounds depth and token lengths before the parser sees the header (it also keeps the spaces before a token). Does not
// judge the syntax otherwise.
void check_tokens(std::string_view header, std::string_view file) {
  constexpr std::string_view spaces = " \t\r\n", punctuation = "\"{}[],:";
  std::size_t depth = 0, number = 0, gap = 0;
  for (std::size_t i = 0; i < header.size(); ++i) {
    const char c = header[i];
    if (c == '"') {
      const std::size_t begin = i++;
      while (i < header.size() && header[i] != '"') i += header[i] == '\\' ? 2 : 1;
      if (i - begin > max_string) fail(file, "a string in the header is longer than 4 MiB");
    }
    const bool space = spaces.find(c) != std::string_view::npos;
    gap = space ? gap + 1 : 0;
    number = space || punctuation.find(c) != std::string_view::npos ? 0 : number + 1;
    if (gap > max_string) fail(file, "a gap in the header is longer than 4 MiB");
    if (number > max_number)
      fail(file, "a number in the header has more than " + std::to_string(max_number) + " digits");
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && depth > 0) --depth;
    if (depth > max_depth) fail(file, "the header is nested deeper than " + std::to_string(max_depth) + " levels");
  }
}

struct Place {
  std::uint64_t begin = 0, end = 0;
};

// Receives the parser's events and admits nothing but {name: {dtype, shape, data_offsets}} and {"__metadata__": {...}}.
class HeaderReader final : public nlohmann::json_sax<json> {
 public:
  explicit HeaderReader(std::string_view file) : file_(file) {}

  std::vector<SafeTensors::Entry> entries;
  std::vector<Place> places;
  std::map<std::string, std::string> metadata;

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { unexpected("a fraction"); }
  bool binary(binary_t&) override { unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == At::shape) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<index_t>::max())) unexpected("an extent beyond 2^63");
      if (entries.back().dims.size() == max_rank) unexpected("more than 16 extents");
      entries.back().dims.push_back(static_cast<index_t>(value));
    } else if (place_ == At::offsets) {
      if (offsets_ == 2) unexpected("more than two data_offsets");
      (offsets_++ == 0 ? places.back().begin : places.back().end) = value;
    } else {
      unexpected("a number");
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == At::metadata) {
      count_text(value.size());
      metadata[key_] = value;
    } else if (place_ == At::entry && key_ == "dtype") {
      if (io::find_stored(value) == nullptr)
        unexpected("dtype " + in_quotes(value) + " (supported: F64 F32 F16 BF16 I64 I32 U8 BOOL)");
      entries.back().dtype = value;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == At::start) {
      place_ = At::top;
    } else if (place_ == At::top && key_ == "__metadata__") {
      place_ = At::metadata;
    } else if (place_ == At::top) {
      place_ = At::entry;
      seen_ = {};
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == At::entry)
      for (std::size_t i = 0; i < fields.size(); ++i)
        if (!seen_[i]) fail(file_, "tensor " + in_quotes(entries.back().name) + " has no " + std::string(fields[i]));
    place_ = At::top;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != At::entry || key_ == "dtype") unexpected("a list");
    place_ = key_ == "shape" ? At::shape : At::offsets;
    offsets_ = 0;
    return true;
  }

  bool end_array() override {
    if (place_ == At::offsets && offsets_ != 2) unexpected("fewer than two data_offsets");
    place_ = At::entry;
    return true;
  }

  bool key(string_t& name) override {
    key_ = name;
    if (place_ == At::top) {
      if (!names_.insert(name).second) fail(file_, "name " + in_quotes(name) + " occurs twice");
      if (name == "__metadata__") return true;
      if (name.empty() || name.find('\0') != std::string::npos) fail(file_, "a name is empty or contains NUL");
      if (entries.size() == max_entries) fail(file_, "more than " + std::to_string(max_entries) + " tensors");
      count_text(name.size());
      entries.push_back({name, {}, {}, {}});
      places.emplace_back();
    } else if (place_ == At::metadata) {
      count_text(name.size());
      if (metadata.size() == max_entries) fail(file_, "more than " + std::to_string(max_entries) + " metadata texts");
      if (!metadata.emplace(name, "").second) fail(file_, "metadata " + in_quotes(name) + " occurs twice");
    } else {
      const auto field = static_cast<std::size_t>(std::find(fields.begin(), fields.end(), name) - fields.begin());
      if (field == fields.size()) unexpected("the key " + in_quotes(name));
      if (std::exchange(seen_[field], true)) unexpected("a second " + name);
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& problem) override {
    // The parser's message repeats the token that it read last, which may be long or unprintable.
    const bool utf8 = std::string_view(problem.what()).find("UTF-8") != std::string_view::npos;
    fail(file_, "the header is no valid JSON at byte " + std::to_string(position + prefix_bytes) +
                    (utf8 ? " (ill-formed UTF-8)" : ""));
  }

 private:
  enum class At { start, top, metadata, entry, shape, offsets };
  static constexpr std::array<std::string_view, 3> fields{"dtype", "shape", "data_offsets"};

  [[noreturn]] void unexpected(const std::string& what) const {
    const bool in_entry = place_ == At::entry || place_ == At::shape || place_ == At::offsets;
    fail(file_,
         "unexpected " + what + " in " + (in_entry ? "tensor " + in_quotes(entries.back().name) : in_quotes(key_)));
  }

  void count_text(std::size_t length) {
    text_ += length;
    if (text_ > max_text) fail(file_, "more than 8 MiB of names and metadata");
  }

  std::string_view file_;
  At place_ = At::start;
  std::string key_;
  std::unordered_set<std::string> names_;
  std::array<bool, fields.size()> seen_{};
  std::size_t offsets_ = 0;
  std::size_t text_ = 0;
};

std::size_t to_bytes(const SafeTensors::Entry& entry, std::string_view file) {
  std::uint64_t bytes = io::find_stored(entry.dtype)->bytes;
  for (const index_t extent : entry.dims)
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes))
      fail(file, "the size of tensor " + in_quotes(entry.name) + " overflows");
  return bytes;
}

// Gives every entry its bytes; they must cover `data` without overlap or hole. Entries come out in the order of their
// data.
void place_entries(HeaderReader& header, std::span<const std::byte> data, std::string_view file) {
  for (std::size_t i = 0; i < header.entries.size(); ++i) {
    const auto& [begin, end] = header.places[i];
    SafeTensors::Entry& entry = header.entries[i];
    const std::string who = "tensor " + in_quotes(entry.name);
    if (begin > end || end > data.size())
      fail(file, who + " lies at bytes " + std::to_string(begin) + ".." + std::to_string(end) + " of " +
                     std::to_string(data.size()) + ": truncated file or wrong data_offsets");
    const std::size_t bytes = to_bytes(entry, file);
    if (bytes != end - begin)
      fail(file,
           who + " has " + std::to_string(end - begin) + " bytes, its shape and dtype want " + std::to_string(bytes));
    entry.bytes = data.subspan(begin, bytes);
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
  });
  std::size_t covered = 0;
  for (const auto& entry : header.entries) {
    const auto begin = static_cast<std::size_t>(entry.bytes.data() - data.data());
    if (begin != covered)
      fail(file, "tensor " + in_quotes(entry.name) + " begins at byte " + std::to_string(begin) +
                     (begin < covered ? " and overlaps another, wanted " : " after a hole, wanted ") +
                     std::to_string(covered));
    covered += entry.bytes.size();
  }
  if (covered != data.size())
    fail(file, std::to_string(data.size() - covered) + " bytes at the end belong to no tensor");
}

const std::vector<float>& table_of_16(int exponent_bits) {
  const auto make = [](int bits) {
    std::vector<float> table(65536);
    for (std::size_t i = 0; i < table.size(); ++i)
      table[i] = static_cast<float>(io::from_16(static_cast<std::uint16_t>(i), bits));
    return table;
  };
  static const std::vector<float> half = make(io::half_exponent_bits);
  static const std::vector<float> bfloat = make(io::bfloat_exponent_bits);
  return exponent_bits == io::half_exponent_bits ? half : bfloat;
}

// out[i] = convert(element i), elements of type From at any alignment.
template <class From, class To, class Convert>
void convert_all(std::span<const std::byte> bytes, To* out, Convert convert) {
  for (std::size_t i = 0; i < bytes.size() / sizeof(From); ++i) {
    From element;
    std::memcpy(&element, bytes.data() + i * sizeof(From), sizeof(From));
    out[i] = convert(element);
  }
}

template <class From, class To>
void cast_all(std::span<const std::byte> bytes, To* out) {
  convert_all<From>(bytes, out, [](From v) { return static_cast<To>(v); });
}

// Elements of type `dtype` as To; false when that pair is not offered.
template <class To>
bool convert(std::string_view dtype, std::span<const std::byte> bytes, To* out) {
  if (dtype == "BOOL") return convert_all<std::uint8_t>(bytes, out, [](auto v) { return To(v != 0); }), true;
  if (dtype == "U8") return cast_all<std::uint8_t>(bytes, out), true;
  if constexpr (sizeof(To) >= sizeof(std::int32_t)) {
    if (dtype == "I32") return cast_all<std::int32_t>(bytes, out), true;
  }
  if constexpr (std::is_floating_point_v<To>) {
    if (dtype == "F32") return cast_all<float>(bytes, out), true;
    if (dtype == "F64") return cast_all<double>(bytes, out), true;
    if (dtype == "I64") return cast_all<std::int64_t>(bytes, out), true;
    const auto& table = table_of_16(dtype == "F16" ? io::half_exponent_bits : io::bfloat_exponent_bits);
    return convert_all<std::uint16_t>(bytes, out, [&](auto v) { return static_cast<To>(table[v]); }), true;
  }
  return false;
}

}  // namespace

Shape shape_of(std::span<const index_t> dims) {
  Shape shape;
  const std::array<index_t*, 4> letters{&shape.n, &shape.c, &shape.h, &shape.w};
  if (dims.size() == 1) {
    shape.c = dims[0];
  } else {
    const std::size_t folded = dims.size() > 4 ? dims.size() - 4 : 0;
    for (std::size_t i = 0; i < folded; ++i) shape.n = checked_multiply(shape.n, dims[i]);
    const auto kept = dims.subspan(folded);
    for (std::size_t i = 0; i < kept.size(); ++i) {
      index_t& letter = *letters[4 - kept.size() + i];
      letter = checked_multiply(letter, kept[i]);
    }
  }
  static_cast<void>(shape.numel());
  return shape;
}

SafeTensors SafeTensors::parse(std::vector<std::byte> content, std::string_view file_name) {
  const std::size_t length = header_length(content, content.size(), file_name);
  std::string_view text(reinterpret_cast<const char*>(content.data()) + prefix_bytes, length);
  text.remove_suffix(text.size() - 1 - text.find_last_not_of(' '));  // padding; a '{' is there
  check_tokens(text, file_name);
  HeaderReader header(file_name);
  json::sax_parse(text.begin(), text.end(), &header);
  place_entries(header, std::span<const std::byte>(content).subspan(prefix_bytes + length), file_name);

  std::vector<std::vector<std::byte>> memory;
  memory.push_back(std::move(content));  // keeps its memory, so the entries' spans stay valid
  return assemble(file_name, std::move(memory), std::move(header.entries), std::move(header.metadata));
}

SafeTensors SafeTensors::assemble(std::string_view file_name, std::vector<std::vector<std::byte>> memory,
                                  std::vector<Entry> entries, std::map<std::string, std::string> metadata) {
  SafeTensors file;
  file.file_name_ = file_name;
  file.memory_ = std::move(memory);
  file.entries_ = std::move(entries);
  file.metadata_ = std::move(metadata);
  file.by_name_.resize(file.entries_.size());
  std::iota(file.by_name_.begin(), file.by_name_.end(), 0U);
  std::sort(file.by_name_.begin(), file.by_name_.end(),
            [&](auto a, auto b) { return file.entries_[a].name < file.entries_[b].name; });
  return file;
}

SafeTensors SafeTensors::read(const std::filesystem::path& path, std::uint64_t max_bytes) {
  io::InputFile file(path, max_bytes);
  const std::string name = path.string();
  // A file that is no safetensors file shows it in its first bytes; do not read gigabytes to find out.
  std::array<std::byte, prefix_bytes + 1> start{};
  const std::size_t known = std::min<std::size_t>(start.size(), file.size());
  file.read(std::span(start).first(known));
  header_length(start, file.size(), name);
  std::vector<std::byte> content(file.size());
  std::copy_n(start.begin(), known, content.begin());
  file.read(std::span(content).subspan(known));
  return parse(std::move(content), name);
}

const SafeTensors::Entry* SafeTensors::find(std::string_view name) const noexcept {
  const auto found = std::lower_bound(by_name_.begin(), by_name_.end(), name, [&](auto index, std::string_view wanted) {
    return entries_[index].name < wanted;
  });
  return found != by_name_.end() && entries_[*found].name == name ? &entries_[*found] : nullptr;
}

Tensor SafeTensors::tensor(std::string_view name, DType type) const {
  const Entry* entry = find(name);
  if (entry == nullptr) fail(file_name_, "no tensor " + in_quotes(name));
  Tensor result(shape_of(entry->dims), type);
  bool offered = true;
  if (type == DType::f32) offered = convert(entry->dtype, entry->bytes, result.data<float>());
  if (type == DType::f64) offered = convert(entry->dtype, entry->bytes, result.data<double>());
  if (type == DType::i32) offered = convert(entry->dtype, entry->bytes, result.data<std::int32_t>());
  if (type == DType::u8) offered = convert(entry->dtype, entry->bytes, result.data<std::uint8_t>());
  if (!offered)
    fail(file_name_, "tensor " + in_quotes(name) + " is " + entry->dtype + ", wanted " +
                         (type == DType::i32 ? "I32, U8 or BOOL" : "U8 or BOOL"));
  return result;
}

}  // namespace slimneck
