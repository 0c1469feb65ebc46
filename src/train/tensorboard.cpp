#include "train/tensorboard.hpp"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "slimneck/error.hpp"
#include "slimneck/tensorboard.hpp"

namespace slimneck {

namespace train {

namespace {

/// Numbers of fields and kinds of values in protobuf's wire format.
enum Wire : std::uint32_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

template <class Unsigned>
void little_endian(std::string& out, Unsigned value) {
  for (std::size_t i = 0; i < sizeof value; ++i) out += static_cast<char>((value >> (8 * i)) & 0xFF);
}

void put_varint(std::string& out, std::uint64_t value) {
  for (; value > 0x7F; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

void put_key(std::string& out, std::uint32_t field, Wire wire) { put_varint(out, field << 3 | wire); }

void put_bytes(std::string& out, std::uint32_t field, std::string_view value) {
  put_key(out, field, bytes);
  put_varint(out, value.size());
  out += value;
}

/// Event.wall_time
std::string begin_event(double seconds) {
  std::string event;
  put_key(event, 1, fixed64);
  little_endian(event, std::bit_cast<std::uint64_t>(seconds));
  return event;
}

constexpr std::array<std::uint32_t, 256> make_table() {
  constexpr std::uint32_t reflected = 0x82F63B78;
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t sum = i;
    for (int bit = 0; bit < 8; ++bit) sum = (sum >> 1) ^ ((sum & 1) != 0 ? reflected : 0);
    table[i] = sum;
  }
  return table;
}

/// Records store sums in this form, because a sum of data that hold sums is weak.
std::uint32_t masked(std::uint32_t sum) { return std::rotr(sum, 15) + 0xA282EAD8; }

}  // namespace

std::uint32_t crc32c(std::string_view text) {
  static constexpr std::array<std::uint32_t, 256> table = make_table();
  std::uint32_t sum = ~std::uint32_t{0};
  for (const char c : text) sum = table[(sum ^ static_cast<unsigned char>(c)) & 0xFF] ^ (sum >> 8);
  return ~sum;
}

std::string event_record(std::string_view event) {
  std::string record;
  little_endian(record, std::uint64_t{event.size()});
  little_endian(record, masked(crc32c(record)));
  record += event;
  little_endian(record, masked(crc32c(event)));
  return record;
}

std::string version_event(double seconds) {
  std::string event = begin_event(seconds);
  put_bytes(event, 3, "brain.Event:2");
  return event;
}

std::string scalar_event(std::string_view tag, double value, index_t step, double seconds) {
  std::string scalar;  // Summary.Value: tag, simple_value
  put_bytes(scalar, 1, tag);
  put_key(scalar, 2, fixed32);
  little_endian(scalar, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  std::string summary;
  put_bytes(summary, 1, scalar);
  std::string event = begin_event(seconds);
  put_key(event, 2, varint);
  put_varint(event, static_cast<std::uint64_t>(step));
  put_bytes(event, 5, summary);
  return event;
}

}  // namespace train

namespace {

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "localhost";
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& folder, double seconds)
    : path_(folder / ("events.out.tfevents." + std::to_string(static_cast<long long>(seconds)) + "." + host_name() +
                      "." + std::to_string(getpid()))),
      out_(path_, std::ios::binary) {
  write(train::version_event(seconds));
  flush();
}

void EventFile::add(std::string_view tag, double value, index_t step, double seconds) {
  write(train::scalar_event(tag, value, step, seconds));
}

void EventFile::write(std::string_view event) {
  errno = 0;
  if (!(out_ << train::event_record(event)))
    throw IoError(path_.string() + ": cannot write: " + std::strerror(errno != 0 ? errno : EIO));
}

void EventFile::flush() {
  errno = 0;
  if (!out_.flush()) throw IoError(path_.string() + ": cannot write: " + std::strerror(errno != 0 ? errno : EIO));
}

}  // namespace slimneck
