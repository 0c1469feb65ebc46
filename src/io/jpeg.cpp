// JPEG: the markers are walked here before a decoder library sees the file, so that a truncated or unusual file is
// refused with its reason and the picture's extents are known before memory is taken.
#include <algorithm>
#include <array>
#include <cstring>

#include "io/image_detail.hpp"

namespace slimneck::io {
namespace {

using Bytes = std::span<const std::byte>;

constexpr index_t max_scan_pixels = index_t{1} << 31;  // pixels times scans: bounds the time of a progressive file

[[noreturn]] void fail(std::string_view name, const std::string& what) { bad_picture(name, "JPEG", what); }

enum Marker : unsigned {
  sof2 = 0xc2,
  dht = 0xc4,
  jpg = 0xc8,
  dac = 0xcc,
  rst0 = 0xd0,
  soi = 0xd8,
  eoi = 0xd9,
  sos = 0xda,
  dqt = 0xdb,
  app0 = 0xe0,
  app1 = 0xe1,
  app14 = 0xee,
};

/// `body` is at least as long as `text`.
bool begins(Bytes body, std::string_view text) { return std::memcmp(body.data(), text.data(), text.size()) == 0; }

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
      if (marker == sos && !skip_scan()) break;
    }
    if (scans_ == 0) fail(name_, "no picture data (SOS)");
    // A decoder shows a picture without its last scans, coarse or in the wrong colours, and says nothing.
    for (std::size_t c = 0; c < static_cast<std::size_t>(header_.components); ++c)
      for (const int missing : missing_bits_[c])
        if (missing != 0) fail(name_, "truncated: scans are missing");
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

  [[nodiscard]] std::size_t offset(Bytes body) const { return static_cast<std::size_t>(body.data() - content_.data()); }

  void take(unsigned marker, Bytes body) {
    constexpr std::string_view exif{"Exif\0\0", 6};
    if (marker == dac) fail(name_, std::string(refused_kind(marker)) + " is not supported");
    if (is_frame(marker)) frame(marker, body);
    if (marker == dht) tables_ |= 1;
    if (marker == dqt) tables_ |= 2;
    if (marker == app0 && body.size() >= 14 && begins(body, {"JFIF\0", 5})) header_.revision_at = offset(body) + 5;
    if (marker == app14 && body.size() >= 12 && begins(body, "Adobe")) header_.transform_at = offset(body) + 11;
    // An orientation behind the first scan would not be found by those who only read the header.
    if (marker == app1 && scans_ == 0 && body.size() > exif.size() && begins(body, exif))
      header_.orientation = exif_orientation(body.subspan(exif.size()));
    if (marker == sos) {
      if (header_.components == 0) fail(name_, "damaged: picture data before the frame header");
      if (tables_ != 3) fail(name_, "damaged: no DHT or DQT before the picture data");
      scan(body);
      if (scans_ == 0) check_memory(memory(std::to_integer<int>(body[0])), name_, "JPEG");
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
    progressive_ = marker == sof2;
    // There are at most 4; GCC warns of a fifth unless the loop says so.
    for (std::size_t c = 0; c < std::min(ids_.size(), static_cast<std::size_t>(header_.components)); ++c) {
      ids_[c] = body[6 + 3 * c];
      sampling_[c] = std::to_integer<unsigned>(body[7 + 3 * c]);
      missing_bits_[c].fill(unseen);
    }
  }

  // Bytes that decoding takes when the first scan has so many components. With a second scan to come, a decoder keeps
  // every coefficient.
  [[nodiscard]] std::uint64_t memory(int in_first_scan) const {
    const auto pixels = static_cast<std::uint64_t>(header_.width * header_.height);
    std::uint64_t bytes = content_.size() + pixels * (header_.components == 4 ? 7 : 3);
    if (progressive_ || in_first_scan < header_.components) {
      unsigned most = 1, all = 0;
      for (const unsigned s : sampling_) {
        most = std::max(most, (s >> 4) * (s & 15));
        all += (s >> 4) * (s & 15);
      }
      bytes += pixels * sizeof(std::int16_t) * all / most;
    }
    return std::max(bytes, header_.orientation > 1 ? content_.size() + pixels * 6 : 0);
  }

  // Notes which coefficients of which components the scan brings, and how many of their low bits are still to come.
  void scan(Bytes body) {
    const std::size_t count = body.empty() ? 0 : std::to_integer<std::size_t>(body[0]);
    if (count < 1 || count > ids_.size() || body.size() != 4 + 2 * count) fail(name_, "damaged: scan header");
    const auto first = std::to_integer<std::size_t>(body[1 + 2 * count]);
    const auto last = std::to_integer<std::size_t>(body[2 + 2 * count]);
    const int low_bits = std::to_integer<int>(body[3 + 2 * count] & std::byte{15});
    if (progressive_ && (first > last || last >= coefficients)) fail(name_, "damaged: scan header");
    for (std::size_t i = 0; i < count; ++i) {
      std::size_t c = 0;
      while (c < static_cast<std::size_t>(header_.components) && ids_[c] != body[1 + 2 * i]) ++c;
      if (c == static_cast<std::size_t>(header_.components)) fail(name_, "damaged: a scan of no component");
      if (!progressive_)
        missing_bits_[c].fill(0);
      else
        std::fill(missing_bits_[c].begin() + static_cast<std::ptrdiff_t>(first),
                  missing_bits_[c].begin() + static_cast<std::ptrdiff_t>(last) + 1, low_bits);
    }
  }

  // Moves to the marker after the entropy-coded data, in which 0xff is followed by 0 or belongs to a restart marker.
  // False when there is none: some programs forget the end marker.
  bool skip_scan() {
    for (;; ++at_) {
      const void* found =
          at_ < content_.size() ? std::memchr(content_.data() + at_, 0xff, content_.size() - at_) : nullptr;
      if (found != nullptr) at_ = static_cast<std::size_t>(static_cast<const std::byte*>(found) - content_.data());
      header_.ends = found != nullptr && at_ + 1 < content_.size();
      if (!header_.ends) return false;
      const unsigned next = std::to_integer<unsigned>(content_[at_ + 1]);
      if (next == 0 || (next >= rst0 && next < soi))
        ++at_;
      else if (next != 0xff)
        return true;
    }
  }

  [[noreturn]] void truncated() const { fail(name_, "truncated: no end marker (EOI)"); }

  Bytes content_;
  std::string_view name_;
  std::size_t at_ = 0;
  JpegHeader header_;
  unsigned tables_ = 0;
  index_t scans_ = 0;
  static constexpr std::size_t coefficients = 64;
  static constexpr int unseen = -1;
  bool progressive_ = false;
  std::array<std::byte, 4> ids_{};
  std::array<unsigned, 4> sampling_{};  ///< by component: horizontal in the high four bits, vertical in the low
  std::array<std::array<int, coefficients>, 4> missing_bits_{};  ///< by component
};

}  // namespace

JpegHeader check_jpeg(Bytes content, std::string_view name) { return Walker(content, name).walk(); }

}  // namespace slimneck::io
