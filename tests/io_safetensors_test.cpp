#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <fstream>
#include <limits>

#include "io/files.hpp"
#include "shared_data.hpp"
#include "slimneck/weights.hpp"

using namespace slimneck;
namespace fs = std::filesystem;

namespace {

// A folder that vanishes with the test.
struct Folder {
  fs::path path = fs::temp_directory_path() / ("slimneck_st_" + std::to_string(::getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  [[nodiscard]] std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator()));
  }
};

std::vector<std::byte> file_of(const std::string& header, const std::string& data = "",
                               std::uint64_t length = ~std::uint64_t{0}) {
  if (length == ~std::uint64_t{0}) length = header.size();
  std::vector<std::byte> content(8 + header.size() + data.size());
  std::memcpy(content.data(), &length, 8);
  std::memcpy(content.data() + 8, header.data(), header.size());
  std::memcpy(content.data() + 8 + header.size(), data.data(), data.size());
  return content;
}

std::string message_of(std::vector<std::byte> content) {
  try {
    SafeTensors::parse(std::move(content), "f.safetensors");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "accepted";
}

std::string refusal(const std::string& header, const std::string& data = "") {
  return message_of(file_of(header, data));
}

// {"a": {...}} with these fields.
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

#define CHECK_REFUSED(header, data, reason)               \
  do {                                                    \
    const std::string got = refusal(header, data);        \
    CHECK_MESSAGE(contains(got, reason), got);            \
    CHECK(contains(got, "f.safetensors: safetensors: ")); \
  } while (false)

// Kilobytes by which the memory of a copy of this process grows at most while it does `work`.
template <class Work>
long peak_growth(Work work) {
  long all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  const pid_t child = ::fork();
  if (child == 0) {
    work();
    ::_exit(0);
  }
  int status = 0;
  rusage usage{};
  REQUIRE(::wait4(child, &status, 0, &usage) == child);
  REQUIRE(status == 0);
  return usage.ru_maxrss - resident * ::sysconf(_SC_PAGESIZE) / 1024;
}

}  // namespace

TEST_CASE("safetensors: every dtype, rank and order of entries is read") {
  const std::string header =
      R"({"__metadata__":{"format":"pt","né":"ü"},"b":{"shape":[2],"data_offsets":[3,7],"dtype":"F16"},)"
      R"("s":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"z":{"dtype":"F32","shape":[3,0],"data_offsets":[7,7]},)"
      R"("t":{"dtype":"BOOL","shape":[1,2,1],"data_offsets":[1,3]},)"
      R"("i":{"dtype":"I32","shape":[1,1,1,1,1],"data_offsets":[7,11]},)"
      R"("bf":{"dtype":"BF16","shape":[2,1],"data_offsets":[11,15]}}   )";
  const std::string data("\x07\x00\x02\x00\x3c\x01\x80\xff\xff\xff\xff\xc0\x7f\x80\x3f", 15);
  const SafeTensors file = SafeTensors::parse(file_of(header, data), "f");
  CHECK(file.entries().size() == 6);
  CHECK(file.metadata().at("né") == "ü");
  CHECK(file.entries().front().name == "s");
  CHECK(file.find("nothing") == nullptr);
  REQUIRE(file.find("b") != nullptr);
  CHECK(file.find("b")->dims == std::vector<index_t>{2});

  const Tensor half = file.tensor("b");
  CHECK(half.shape() == Shape{1, 2, 1, 1});
  CHECK(half.data<float>()[0] == 1.0F);
  CHECK(half.data<float>()[1] == -std::ldexp(1.0F, -24));
  CHECK(file.tensor("s", DType::u8).data<std::uint8_t>()[0] == 7);
  CHECK(file.tensor("s").shape() == Shape{1, 1, 1, 1});
  CHECK(file.tensor("z").empty());
  CHECK(file.tensor("z").shape() == Shape{1, 1, 3, 0});
  const Tensor truth = file.tensor("t", DType::i32);
  CHECK(truth.shape() == Shape{1, 1, 2, 1});
  CHECK(truth.data<std::int32_t>()[1] == 1);  // any byte but 0 is true
  CHECK(file.tensor("i", DType::f64).data<double>()[0] == -1.0);
  CHECK(std::isnan(file.tensor("bf").data<float>()[0]));
  CHECK(file.tensor("bf").data<float>()[1] == 1.0F);
  CHECK_THROWS_WITH_AS(static_cast<void>(file.tensor("q")), "f: safetensors: no tensor 'q'", FormatError);
  CHECK_THROWS_AS(static_cast<void>(file.tensor("b", DType::i32)), FormatError);
  CHECK_THROWS_AS(static_cast<void>(file.tensor("i", DType::u8)), FormatError);
}

TEST_CASE("safetensors: shapes by rank") {
  const auto shape = [](std::vector<index_t> dims) { return shape_of(dims); };
  CHECK(shape({}) == Shape{1, 1, 1, 1});
  CHECK(shape({5}) == Shape{1, 5, 1, 1});
  CHECK(shape({5, 6}) == Shape{1, 1, 5, 6});
  CHECK(shape({5, 6, 7}) == Shape{1, 5, 6, 7});
  CHECK(shape({2, 3, 5, 6, 7}) == Shape{6, 5, 6, 7});
  CHECK(shape({4, 2, 3, 5, 6, 7}) == Shape{24, 5, 6, 7});
  CHECK_THROWS_AS(shape({index_t{1} << 40, index_t{1} << 40}), ShapeError);
  CHECK_THROWS_AS(shape({-1}), ShapeError);
}

TEST_CASE("safetensors: whatever the format forbids is refused with its reason") {
  const std::string four(4, 'x'), eight(8, 'x');
  CHECK_REFUSED("", "", "at least 10");
  CHECK_REFUSED("[]", "", "begin with '{'");
  CHECK_REFUSED(" {}", "", "begin with '{'");
  CHECK_REFUSED("{\"a\":", "", "no valid JSON");
  CHECK_REFUSED("{}x", "", "no valid JSON");
  CHECK_REFUSED("{} {}", "", "no valid JSON");
  CHECK_REFUSED("{}", four, "belong to no tensor");
  CHECK(refusal("{}") == "accepted");
  CHECK(contains(message_of(file_of("{}", "", 3)), "header of 3 bytes in a file of 10"));
  CHECK(contains(message_of(file_of("{}", "", std::uint64_t{1} << 63)), "header of 9223372036854775808 bytes"));
  CHECK(contains(message_of(file_of("{}", "", 100'000'001)), "the limit is 100000000"));
  CHECK(contains(message_of(std::vector<std::byte>(5)), "only 5 bytes"));

  CHECK(refusal(one("F32", "[1]", "[0,4]"), four) == "accepted");
  CHECK_REFUSED(one("F32", "[1]", "[0,4]"), "xxx", "truncated");
  CHECK_REFUSED(one("F32", "[1]", "[4,0]"), four, "wrong data_offsets");
  CHECK_REFUSED(one("F32", "[2]", "[0,4]"), four, "shape and dtype want 8");
  CHECK_REFUSED(one("F32", "[1]", "[4,8]"), eight, "hole");
  CHECK_REFUSED(one("F32", "[1]", "[0,18446744073709551615]"), four, "truncated");
  CHECK_REFUSED(one("F32", "[1]", "[0,18446744073709551616]"), four, "fraction");
  CHECK_REFUSED(one("F32", "[4611686018427387904,4]", "[0,0]"), "", "overflows");
  CHECK_REFUSED(one("F32", "[9223372036854775808]", "[0,0]"), "", "extent beyond");
  CHECK_REFUSED(one("F32", "[-1]", "[0,4]"), four, "negative");
  CHECK_REFUSED(one("F32", "[1.0]", "[0,4]"), four, "fraction");
  CHECK_REFUSED(one("F32", "[[1]]", "[0,4]"), four, "nested deeper");
  CHECK_REFUSED(one("F32", "[1]", "[0]"), four, "fewer than two");
  CHECK_REFUSED(one("F32", "[1]", "[0,4,4]"), four, "more than two");
  CHECK_REFUSED(one("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]"), four, "16 extents");
  CHECK_REFUSED(one("F8_E4M3", "[4]", "[0,4]"), four, "dtype 'F8_E4M3'");
  CHECK_REFUSED(one("F32", "null", "[0,4]"), four, "null");
  CHECK_REFUSED(one("F32", "true", "[0,4]"), four, "boolean");
  CHECK_REFUSED(one("F32", "\"1\"", "[0,4]"), four, "a string");
  CHECK_REFUSED(one("F32", "4", "[0,4]"), four, "a number");
  CHECK_REFUSED(one("F32", "{}", "[0,4]"), four, "an object");

  CHECK_REFUSED(R"({"a":[]})", "", "a list");
  CHECK_REFUSED(R"({"a":{}})", "", "has no dtype");
  CHECK_REFUSED(R"({"a":{"dtype":"U8","shape":[0]}})", "", "has no data_offsets");
  CHECK_REFUSED(R"({"a":{"dtype":"U8","dtype":"U8"}})", "", "a second dtype");
  CHECK_REFUSED(R"({"a":{"dtype":["U8"]}})", "", "a list");
  CHECK_REFUSED(R"({"a":{"colour":"red"}})", "", "the key 'colour'");
  CHECK_REFUSED(R"({"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", "", "empty or contains NUL");
  CHECK_REFUSED(R"({"a\u0000b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", "", "empty or contains NUL");
  CHECK_REFUSED("{\"a\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", "", "UTF-8");
  CHECK_REFUSED("{\"\xed\xa0\x80\":{}}", "", "UTF-8");  // half of a surrogate pair
  CHECK_REFUSED(R"({"__metadata__":{"k":1}})", "", "a number");
  CHECK_REFUSED(R"({"__metadata__":{"k":"1","\u006b":"2"}})", "", "metadata 'k' occurs twice");
  CHECK_REFUSED(R"({"__metadata__":{},"__metadata__":{}})", "", "occurs twice");
  CHECK_REFUSED(R"({"__metadata__":[]})", "", "a list");

  const std::string body = R"(:{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  CHECK_REFUSED("{\"a\"" + body + ",\"a\"" + body + "}", four, "name 'a' occurs twice");
  CHECK_REFUSED("{\"a\"" + body + ",\"\\u0061\"" + body + "}", four, "name 'a' occurs twice");
  CHECK_REFUSED("{\"a\"" + body + ",\"b\"" + body + "}", four, "overlaps");
  CHECK_REFUSED("{\"a\"" + body + R"(,"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", "xxxxxx", "overlaps");
}

TEST_CASE("safetensors: every truncation and every flipped header bit is refused or still consistent") {
  const std::vector<std::byte> whole = file_of(one("F32", "[2,1]", "[0,8]"), "12345678");
  for (std::size_t length = 0; length < whole.size(); ++length)
    CHECK(message_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)}) != "accepted");
  for (std::size_t i = 0; i < whole.size() - 8; ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<std::byte> damaged = whole;
      damaged[i] ^= static_cast<std::byte>(1 << bit);
      try {
        const SafeTensors file = SafeTensors::parse(std::move(damaged), "f");
        REQUIRE(file.entries().size() == 1);
        CHECK(file.entries()[0].bytes.size() == 8);
      } catch (const Error& error) {
        CHECK(std::strlen(error.what()) > 10);
      }
    }
}

TEST_CASE("safetensors: hostile headers need little memory") {
  constexpr std::size_t large = std::size_t{40} << 20;
  CHECK_REFUSED("{" + std::string(1000, '['), "", "nested deeper");
  CHECK_REFUSED("{\"a\":" + std::string(2000, '9') + "}", "", "digits");
  const std::string entry = R"(":{"dtype":"U8","shape":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"data_offsets":[0,0]},")";
  const auto repeated = [](std::string header, const std::string& piece) {
    header.reserve(large + 1000);
    while (header.size() < large) header += std::to_string(header.size()) + piece;
    return header;
  };
  const std::vector<std::pair<std::string, const char*>> headers{
      {"{\"" + std::string(large, 'a'), "a string in the header is longer"},
      {"{ " + std::string(large, ' ') + "}", "a gap in the header is longer"},
      {repeated("{\"", entry), "more than 65536 tensors"},
      {repeated("{\"", std::string(1000, 'n') + entry), "more than 8 MiB"},
      {repeated(R"({"__metadata__":{")", R"(":"",")"), "more than 65536 metadata texts"},
      {repeated(R"({"__metadata__":{")", "\":\"" + std::string(1000, 'x') + "\",\""), "more than 8 MiB"}};
  for (const auto& [header, reason] : headers) {
    std::vector<std::byte> file = file_of(header);
#if !defined(__SANITIZE_ADDRESS__)  // which keeps freed memory
    CHECK(peak_growth([&] { message_of(std::move(file)); }) < 64 * 1024);
#endif
    const std::string got = message_of(std::move(file));
    CHECK_MESSAGE(contains(got, reason), got);
  }
}

TEST_CASE("safetensors: what is written is read back, aligned and the same every time") {
  const Folder folder;
  const fs::path path = folder.path / "w.safetensors";
  const std::vector<float> floats{1.0F, -2.5F, 65504.0F, 1e-8F, 0.1F, -0.0F};
  const std::vector<double> doubles{0.1, std::numeric_limits<double>::infinity(), -3e300};
  const std::vector<std::int64_t> counts{std::numeric_limits<std::int64_t>::min()};
  const std::vector<TensorEntry> entries{{"half", {2, 3}, std::span(floats), StoredType::f16},
                                         {"brain", {6}, std::span(floats), StoredType::bf16},
                                         {"single \"quoted\" \n", {1, 2, 3}, std::span(floats), StoredType::f32},
                                         {"double", {3}, std::span(doubles), StoredType::f64},
                                         {"empty", {0, 4}, std::span<const float>(), StoredType::f32},
                                         {"count", {}, std::span(counts), StoredType::i64}};
  write_safetensors(path, entries, {{"format", "pt"}, {"text", "line\nline"}});
  const auto first = io::read_file(path, 1 << 20);
  const SafeTensors file = SafeTensors::read(path);
  CHECK(file.metadata().at("text") == "line\nline");
  CHECK(file.entries().size() == entries.size());
  const Tensor half = file.tensor("half"), brain = file.tensor("brain"), exact = file.tensor("single \"quoted\" \n");
  for (std::size_t i = 0; i < floats.size(); ++i) {
    CHECK(exact.data<float>()[i] == floats[i]);
    // Half an ulp: 11 bits of mantissa (or the smallest subnormal) and 8 bits.
    CHECK(std::abs(half.data<float>()[i] - floats[i]) <= std::max(std::abs(floats[i]) * 0x1p-11F, 0x1p-25F));
    CHECK(std::abs(brain.data<float>()[i] - floats[i]) <= std::abs(floats[i]) * 0x1p-8F);
  }
  CHECK(half.data<float>()[2] == 65504.0F);
  CHECK(file.tensor("double", DType::f64).data<double>()[2] == -3e300);
  CHECK(std::isinf(file.tensor("double").data<float>()[1]));
  CHECK(file.find("count")->dtype == "I64");
  CHECK(file.find("empty")->dims == std::vector<index_t>{0, 4});
  std::vector<std::byte> zeros(8);
  CHECK(std::memcmp(first.data(), zeros.data(), 8) != 0);
  for (const auto& entry : file.entries())
    CHECK((entry.bytes.data() - file.entries()[0].bytes.data()) % (entry.dtype == "F32" ? 4 : 2) == 0);
  write_safetensors(path, entries, {{"format", "pt"}, {"text", "line\nline"}});
  CHECK(io::read_file(path, 1 << 20) == first);
  CHECK(folder.files() == 1);

  Tensor tensor({2, 3, 1, 1});
  tensor.data<float>()[5] = 4;
  write_safetensors(path, std::vector{tensor_entry("t", tensor), tensor_entry("v", tensor, StoredType::f64, {6})});
  CHECK(SafeTensors::read(path).tensor("t").shape() == tensor.shape());
  CHECK(SafeTensors::read(path).tensor("v", DType::f64).data<double>()[5] == 4);
}

TEST_CASE("safetensors: rounding to 16 bits is to nearest, ties to even") {
  const Folder folder;
  const auto stored = [&](float value, StoredType type) {
    const std::vector<float> values{value};
    write_safetensors(folder.path / "r", std::vector<TensorEntry>{{"r", {1}, std::span(values), type}});
    const SafeTensors file = SafeTensors::read(folder.path / "r");
    std::uint16_t bits = 0;
    std::memcpy(&bits, file.find("r")->bytes.data(), 2);
    return bits;
  };
  CHECK(stored(1.0F + 0x1p-11F, StoredType::f16) == 0x3c00);
  CHECK(stored(1.0F + 3 * 0x1p-11F, StoredType::f16) == 0x3c02);
  CHECK(stored(1.0F + 0x1p-11F + 0x1p-20F, StoredType::f16) == 0x3c01);
  CHECK(stored(2.0F - 0x1p-12F, StoredType::f16) == 0x4000);
  CHECK(stored(0x1p-25F, StoredType::f16) == 0);
  CHECK(stored(3 * 0x1p-25F, StoredType::f16) == 2);
  CHECK(stored(0x1p-14F - 0x1p-26F, StoredType::f16) == 0x0400);  // largest subnormal rounds up to the smallest normal
  CHECK(stored(-0.0F, StoredType::f16) == 0x8000);
  CHECK(stored(65519.0F, StoredType::f16) == 0x7bff);
  CHECK_THROWS_AS(stored(65520.0F, StoredType::f16), FormatError);
  CHECK(stored(std::numeric_limits<float>::infinity(), StoredType::f16) == 0x7c00);
  CHECK((stored(std::numeric_limits<float>::quiet_NaN(), StoredType::f16) & 0x7fff) == 0x7e00);
  CHECK(stored(1.0F + 0x1p-8F, StoredType::bf16) == 0x3f80);
  CHECK(stored(1.0F + 3 * 0x1p-8F, StoredType::bf16) == 0x3f82);
  CHECK_THROWS_AS(stored(std::numeric_limits<float>::max(), StoredType::bf16), FormatError);
}

TEST_CASE("safetensors: a failed write says why and leaves nothing torn") {
  const Folder folder;
  const fs::path path = folder.path / "w.safetensors";
  const std::vector<float> one_value{1.0F}, huge{1e30F};
  const auto write = [&](const fs::path& to, const std::vector<TensorEntry>& entries,
                         const std::map<std::string, std::string>& metadata = {}) {
    write_safetensors(to, entries, metadata);
  };
  const TensorEntry good{"a", {1}, std::span(one_value)};
  write(path, {good});
  const auto before = io::read_file(path, 1000);
  CHECK_THROWS_AS(write(path, {good, good}), FormatError);
  CHECK_THROWS_AS(write(path, {{"", {1}, std::span(one_value)}}), FormatError);
  CHECK_THROWS_AS(write(path, {{"\xff", {1}, std::span(one_value)}}), FormatError);
  CHECK_THROWS_AS(write(path, {good}, {{"k", "\xff"}}), FormatError);
  CHECK_THROWS_AS(write(path, {{"a", {2}, std::span(one_value)}}), FormatError);
  CHECK_THROWS_AS(write(path, {{"a", {-1}, std::span(one_value)}}), ShapeError);
  CHECK_THROWS_AS(write(path, {{"a", {1}, std::span(one_value), StoredType::i64}}), FormatError);
  CHECK_THROWS_AS(write(path, {{"a", {1}, std::span(huge), StoredType::f16}}), FormatError);  // found while writing
  CHECK(io::read_file(path, 1000) == before);
  CHECK(folder.files() == 1);

  CHECK_THROWS_AS(write(folder.path / "none" / "w", {good}), IoError);
  CHECK_THROWS_AS(write(folder.path, {good}), IoError);
  CHECK_THROWS_AS(write("/dev/full", {good}), IoError);
  CHECK(fs::is_character_file("/dev/full"));

  // No room: the kernel refuses the bytes in the middle of the file.
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{100, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  const std::vector<float> many(1000);
  CHECK_THROWS_AS(write(path, {{"m", {1000}, std::span(many)}}), IoError);
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, handler);
  CHECK(io::read_file(path, 1000) == before);
  CHECK(folder.files() == 1);

  // Through a link the file behind it is replaced.
  fs::create_symlink("w.safetensors", folder.path / "link");
  write(folder.path / "link", {{"b", {1}, std::span(one_value)}});
  CHECK(fs::is_symlink(folder.path / "link"));
  CHECK(SafeTensors::read(path).find("b") != nullptr);
}

TEST_CASE("safetensors: only regular files are read") {
  const Folder folder;
  const auto reason = [](const fs::path& path, std::uint64_t limit = 1000) -> std::string {
    try {
      SafeTensors::read(path, limit);
    } catch (const IoError& error) {
      return error.what();
    } catch (const FormatError& error) {
      return std::string("format: ") + error.what();
    }
    return "accepted";
  };
  CHECK(contains(reason(folder.path), "a directory, wanted a regular file"));
  CHECK(contains(reason(folder.path / "none"), "cannot open"));
  CHECK(contains(reason("/dev/zero"), "a device"));
  REQUIRE(::mkfifo((folder.path / "fifo").c_str(), 0600) == 0);
  CHECK(contains(reason(folder.path / "fifo"), "a pipe"));  // and does not wait for a writer
  std::ofstream(folder.path / "empty").close();
  CHECK(contains(reason(folder.path / "empty"), "format: "));
  std::ofstream(folder.path / "large") << std::string(2000, ' ');
  CHECK(contains(reason(folder.path / "large"), "2000 bytes, the limit is 1000"));
  // A huge sparse file is refused by its first bytes.
  std::ofstream(folder.path / "sparse").close();
  fs::resize_file(folder.path / "sparse", std::uintmax_t{1} << 40);
  CHECK(contains(reason(folder.path / "sparse", ~std::uint64_t{0}), "header of 0 bytes"));
  CHECK(io::in_quotes("a\nb\x7f") == "'a\\x0ab\\x7f'");
}

TEST_CASE("safetensors: published weights are read") {
  const auto path = test::shared_data("data/weights/yolov5n-v7.0.safetensors");
  if (!path) {
    MESSAGE("skipped: the reference weights are not here");
    return;
  }
  const SafeTensors file = SafeTensors::read(*path);
  index_t parameters = 0;
  for (const auto& entry : file.entries())
    if (entry.name.ends_with(".weight") || entry.name.ends_with(".bias")) parameters += shape_of(entry.dims).numel();
  CHECK(parameters == 1872157);
  const Tensor stem = file.tensor("model.0.conv.weight");
  CHECK(stem.shape() == Shape{16, 3, 6, 6});
  for (index_t i = 0; i < stem.numel(); ++i) REQUIRE(std::isfinite(stem.data<float>()[i]));
}
