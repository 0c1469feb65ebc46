// JPEG: the markers are walked here before a decoder library sees the file, so that a truncated or unusual file is
// refused with its reason and the picture's extents are known before memory is taken.
#include <array>
#include <cstring>

#include "io/image_detail.hpp"

namespace slimneck::io {
namespace {

using Bytes = std::span<const std::byte>;

constexpr index_t max_scan_pixels = index_t{1} << 31;  // pixels times scans: bounds the time of a progressive file

[[noreturn]] void fail(std::string_view name, const std::string& what) { bad_picture(name, "JPEG", what); }

enum Marker : unsigned {
  dht = 0xc4,
  jpg = 0xc8,
  dac = 0xcc,
  rst0 = 0xd0,
  soi = 0xd8,
  eoi = 0xd9,
  sos = 0xda,
  dqt = 0xdb,
  app1 = 0xe1,
};

bool is_frame(unsigned marker) {
  return marker >= 0xc0 && marker <= 0xcf && marker != dht && marker != jpg && marker != dac;
}

const char* refused_kind(unsigned marker) {
  if (marker == dac || (marker >= 0xc9 && is_frame(marker))) return "arithmetic coding";
  if (marker == 0xc3 || marker == 0xc7) return "lossless coding";
  return "hierarchical coding";
}

class Walker {
 public:
  Walker(Bytes content, std::string_view name) : content_(content), name_(name) {}

  JpegHeader walk() {
    for (at_ = 2;;) {
      const unsigned marker = next_marker();
      if (marker == eoi) break;
      if (marker == soi || (marker >= rst0 && marker < soi) || marker < 2)
        fail(name_, "damaged: marker " + std::to_string(marker) + " out of place");
      const Bytes body = segment();
      take(marker, body);
      if (marker == sos) skip_scan();
    }
    if (scans_ == 0) fail(name_, "no picture data (SOS)");
    return header_;
  }

 private:
  unsigned next_marker() {
    if (at_ >= content_.size()) truncated();
    if (content_[at_] != std::byte{0xff}) fail(name_, "damaged: no marker at byte " + std::to_string(at_));
    while (at_ < content_.size() && content_[at_] == std::byte{0xff}) ++at_;  // any number of fill bytes
    if (at_ == content_.size()) truncated();
    return std::to_integer<unsigned>(content_[at_++]);
  }

  Bytes segment() {
    if (content_.size() - at_ < 2) truncated();
    const std::size_t length = big_endian(content_.subspan(at_, 2));
    if (length < 2) fail(name_, "damaged: segment of " + std::to_string(length) + " bytes");
    if (length > content_.size() - at_) truncated();
    const Bytes body = content_.subspan(at_ + 2, length - 2);
    at_ += length;
    return body;
  }

  void take(unsigned marker, Bytes body) {
    constexpr std::string_view exif{"Exif\0\0", 6};
    if (marker == dac) fail(name_, std::string(refused_kind(marker)) + " is not supported");
    if (is_frame(marker)) frame(marker, body);
    if (marker == dht) tables_ |= 1;
    if (marker == dqt) tables_ |= 2;
    if (marker == app1 && body.size() > exif.size() && std::memcmp(body.data(), exif.data(), exif.size()) == 0)
      header_.orientation = exif_orientation(body.subspan(exif.size()));
    if (marker == sos) {
      if (header_.components == 0) fail(name_, "damaged: picture data before the frame header");
      if (tables_ != 3) fail(name_, "damaged: no DHT or DQT before the picture data");
      if (++scans_ * header_.width * header_.height > max_scan_pixels)
        fail(name_, std::to_string(scans_) + " scans are too many for its size");
    }
  }

  void frame(unsigned marker, Bytes body) {
    if (marker > 0xc2) fail(name_, std::string(refused_kind(marker)) + " is not supported");
    if (header_.components != 0) fail(name_, "damaged: two frame headers");
    if (body.size() < 6) fail(name_, "damaged: short frame header");
    const unsigned precision = std::to_integer<unsigned>(body[0]);
    header_.height = big_endian(body.subspan(1, 2));
    header_.width = big_endian(body.subspan(3, 2));
    header_.components = std::to_integer<int>(body[5]);
    if (precision != 8) fail(name_, std::to_string(precision) + " bits per sample, wanted 8");
    if (header_.components != 1 && header_.components != 3 && header_.components != 4)
      fail(name_, std::to_string(header_.components) + " components, wanted 1, 3 or 4");
    if (body.size() != 6 + 3 * static_cast<std::size_t>(header_.components))
      fail(name_, "damaged: frame header of " + std::to_string(body.size()) + " bytes");
    check_extents(header_.width, header_.height, name_, "JPEG");
  }

  // Moves to the marker after the entropy-coded data, in which 0xff is followed by 0 or belongs to a restart marker.
  void skip_scan() {
    for (;; ++at_) {
      const void* found =
          at_ < content_.size() ? std::memchr(content_.data() + at_, 0xff, content_.size() - at_) : nullptr;
      if (found == nullptr) truncated();
      at_ = static_cast<std::size_t>(static_cast<const std::byte*>(found) - content_.data());
      if (at_ + 1 == content_.size()) truncated();
      const unsigned next = std::to_integer<unsigned>(content_[at_ + 1]);
      if (next == 0 || (next >= rst0 && next < soi))
        ++at_;
      else if (next != 0xff)
        return;
    }
  }

  [[noreturn]] void truncated() const { fail(name_, "truncated: no end marker (EOI)"); }

  Bytes content_;
  std::string_view name_;
  std::size_t at_ = 0;
  JpegHeader header_;
  unsigned tables_ = 0;
  index_t scans_ = 0;
};

}  // namespace

JpegHeader check_jpeg(Bytes content, std::string_view name) { return Walker(content, name).walk(); }

}  // namespace slimneck::io
