#include "io/zip.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "slimneck/error.hpp"

namespace slimneck::io {

namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint32_t local_mark = 0x04034b50, central_mark = 0x02014b50, end_mark = 0x06054b50;
constexpr std::uint32_t end64_mark = 0x06064b50, locator_mark = 0x07064b50, descriptor_mark = 0x08074b50;
constexpr std::size_t local_bytes = 30, central_bytes = 46, end_bytes = 22, end64_bytes = 56, locator_bytes = 20;
constexpr std::size_t max_records = std::size_t{1} << 17;
constexpr unsigned encrypted = 1, sizes_behind = 1U << 3, utf8 = 1U << 11;

std::uint32_t checksum(Bytes bytes, std::uint32_t before = 0) {
  return static_cast<std::uint32_t>(::crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

class Reader {
 public:
  Reader(Bytes content, std::string_view file) : content_(content), file_(file) {}

  std::vector<ZipRecord> read() {
    read_directory(find_directory());
    std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.offset < b.offset; });
    std::vector<ZipRecord> records;
    std::unordered_set<std::string_view> names;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const std::size_t next = i + 1 < entries_.size() ? entries_[i + 1].offset : directory_;
      records.push_back(record(entries_[i], i == 0 ? 0 : entries_[i].offset, next));
      if (!names.insert(records.back().name).second) fail("record " + in_quotes(records.back().name) + " occurs twice");
    }
    return records;
  }

 private:
  struct Entry {
    std::string_view name;
    unsigned flags = 0;
    std::uint32_t crc = 0;
    std::size_t size = 0, offset = 0;
  };

  [[noreturn]] void fail(const std::string& what) const { throw FormatError(std::string(file_) + ": zip: " + what); }

  /// A little-endian number of `count` bytes; the caller has checked that they are there.
  [[nodiscard]] std::uint64_t number(std::size_t at, std::size_t count) const {
    std::uint64_t value = 0;
    std::memcpy(&value, content_.data() + at, count);
    return value;
  }
  [[nodiscard]] std::string_view text(std::size_t at, std::size_t count) const {
    return {reinterpret_cast<const char*>(content_.data()) + at, count};
  }

  /// Number of entries; sets where the directory begins and ends.
  std::size_t find_directory() {
    if (content_.size() < end_bytes) fail("truncated: only " + std::to_string(content_.size()) + " bytes");
    const std::size_t end = content_.size() - end_bytes;
    if (number(end, 4) != end_mark || number(end + 20, 2) != 0)
      fail("no end record in the last bytes: truncated, or something follows the archive");
    std::uint64_t disks = number(end + 4, 4), here = number(end + 8, 2), count = number(end + 10, 2);
    std::uint64_t size = number(end + 12, 4), begin = number(end + 16, 4);
    directory_end_ = end;
    if (end >= locator_bytes + end64_bytes && number(end - locator_bytes, 4) == locator_mark) {
      const std::size_t wide = end - locator_bytes - end64_bytes;
      if (number(end - locator_bytes + 8, 8) != wide || number(wide, 4) != end64_mark || number(wide + 4, 8) != 44)
        fail("the zip64 end record is not where its locator says");
      const auto agrees = [&](std::uint64_t narrow, std::uint64_t value, std::uint64_t unset) {
        return narrow == value || narrow == unset;
      };
      if (!agrees(count, number(wide + 32, 8), 0xffff) || !agrees(size, number(wide + 40, 8), 0xffffffff) ||
          !agrees(begin, number(wide + 48, 8), 0xffffffff))
        fail("the two end records disagree");
      disks = number(wide + 16, 8);
      here = number(wide + 24, 8);
      count = number(wide + 32, 8);
      size = number(wide + 40, 8);
      begin = number(wide + 48, 8);
      directory_end_ = wide;
    }
    if (disks != 0 || here != count) fail("the archive is split over several files");
    if (count > max_records) fail(std::to_string(count) + " records, the limit is " + std::to_string(max_records));
    if (begin > directory_end_ || size != directory_end_ - begin)
      fail("the directory is not where the end record says: truncated, or something was put before the archive");
    directory_ = static_cast<std::size_t>(begin);
    return static_cast<std::size_t>(count);
  }

  void read_directory(std::size_t count) {
    std::size_t at = directory_;
    for (std::size_t i = 0; i < count; ++i) {
      if (directory_end_ - at < central_bytes || number(at, 4) != central_mark) fail("the directory is damaged");
      const std::size_t name = number(at + 28, 2), extra = number(at + 30, 2), comment = number(at + 32, 2);
      if (directory_end_ - at - central_bytes < name + extra + comment) fail("the directory is damaged");
      Entry entry{.name = text(at + central_bytes, name),
                  .flags = static_cast<unsigned>(number(at + 8, 2)),
                  .crc = static_cast<std::uint32_t>(number(at + 16, 4)),
                  .size = number(at + 24, 4),
                  .offset = number(at + 42, 4)};
      const std::string who = "record " + in_quotes(entry.name);
      if ((entry.flags & encrypted) != 0) fail(who + " is encrypted");
      if ((entry.flags & ~(sizes_behind | utf8)) != 0) fail(who + " has unknown flags");
      if (const std::uint64_t method = number(at + 10, 2); method != 0)
        fail(who + " is compressed (method " + std::to_string(method) + "); PyTorch stores its records as they are");
      if (entry.name.empty() || entry.name.find('\0') != std::string_view::npos) fail("a record has no proper name");
      if (number(at + 20, 4) != entry.size) fail(who + " is stored, but has two sizes");
      if (entry.size == 0xffffffff || entry.offset == 0xffffffff) fail(who + " is larger than 4 GiB");
      if (number(at + 34, 2) != 0) fail("the archive is split over several files");
      entries_.push_back(entry);
      at += central_bytes + name + extra + comment;
    }
    if (at != directory_end_) fail("the directory has more entries than the end record says");
  }

  /// The entry's record, after its local header was compared; it must fill the bytes from `begin` to `next`.
  ZipRecord record(const Entry& entry, std::size_t begin, std::size_t next) const {
    const std::string who = "record " + in_quotes(entry.name);
    if (entry.offset != begin) fail("something was put before the archive");
    if (next < begin || next - begin < local_bytes || number(begin, 4) != local_mark)
      fail(who + ": no local header where the directory says");
    const std::size_t name = number(begin + 26, 2), extra = number(begin + 28, 2);
    const std::size_t header = local_bytes + name + extra;
    const std::size_t whole = header + entry.size, place = next - begin;
    const std::size_t behind = (entry.flags & sizes_behind) != 0 && place > whole ? place - whole : 0;
    if (place != whole + behind)
      fail(who + " does not fill its place: records overlap, or something lies between them");
    const bool same = number(begin + 6, 2) == entry.flags && number(begin + 8, 2) == 0 &&
                      text(begin + local_bytes, name) == entry.name;
    if (!same || !sizes_agree(entry, begin + 14, 4, behind != 0)) fail(who + ": local header and directory disagree");
    const Bytes bytes = content_.subspan(begin + header, entry.size);
    if (behind != 0) check_descriptor(entry, begin + whole, behind);
    if (checksum(bytes) != entry.crc) fail(who + " is damaged: wrong checksum");
    return {entry.name, bytes};
  }

  /// Checksum and two sizes of `width` bytes at `at`; `or_unset`: all zero is fine.
  [[nodiscard]] bool sizes_agree(const Entry& entry, std::size_t at, std::size_t width, bool or_unset) const {
    const std::uint64_t crc = number(at, 4), stored = number(at + 4, width), size = number(at + 4 + width, width);
    if (or_unset && crc == 0 && stored == 0 && size == 0) return true;
    return crc == entry.crc && stored == entry.size && size == entry.size;
  }

  void check_descriptor(const Entry& entry, std::size_t at, std::size_t length) const {
    const bool wide = length == 24;
    if ((!wide && length != 16) || number(at, 4) != descriptor_mark || !sizes_agree(entry, at + 4, wide ? 8 : 4, false))
      fail("record " + in_quotes(entry.name) + ": what stands behind it and the directory disagree");
  }

  Bytes content_;
  std::string_view file_;
  std::size_t directory_ = 0, directory_end_ = 0;
  std::vector<Entry> entries_;
};

/// Little-endian numbers in a row.
class Packed {
 public:
  Packed& u16(std::uint64_t value) { return put(value, 2); }
  Packed& u32(std::uint64_t value) { return put(value, 4); }
  [[nodiscard]] std::string_view text() const noexcept { return bytes_; }

 private:
  Packed& put(std::uint64_t value, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xff);
    return *this;
  }
  std::string bytes_;
};

constexpr std::uint64_t written_flags = sizes_behind | utf8;
constexpr std::size_t alignment = 64;

}  // namespace

std::vector<ZipRecord> read_zip(Bytes content, std::string_view file_name) { return Reader(content, file_name).read(); }

void ZipWriter::put(std::string_view bytes) {
  at_ += bytes.size();
  if (at_ > 0xffff0000) throw IoError(path_.string() + ": cannot write: the archive would be larger than 4 GiB");
  file_.write(std::as_bytes(std::span(bytes)));
}

void ZipWriter::begin(std::string name) {
  // A field of its own kind fills up to the alignment; its first four bytes are its mark and length.
  const std::size_t bare = at_ + local_bytes + name.size() + 4;
  const std::size_t fill = (alignment - bare % alignment) % alignment;
  records_.push_back({std::move(name), at_, 0, 0});
  const std::string& written = records_.back().name;
  Packed header;
  header.u32(local_mark).u16(0).u16(written_flags).u16(0).u32(0).u32(0).u32(0).u32(0);
  header.u16(written.size()).u16(fill + 4);
  put(header.text());
  put(written);
  put(Packed().u16(0x4246).u16(fill).text());
  put(std::string(fill, 'Z'));
}

void ZipWriter::write(Bytes bytes) {
  Written& record = records_.back();
  record.size += bytes.size();
  record.crc = checksum(bytes, record.crc);
  put({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void ZipWriter::end() {
  const Written& record = records_.back();
  put(Packed().u32(descriptor_mark).u32(record.crc).u32(record.size).u32(record.size).text());
}

void ZipWriter::commit() {
  const std::uint64_t directory = at_;
  if (records_.size() > 0xfffe) throw IoError(path_.string() + ": cannot write: too many records for an archive");
  for (const Written& record : records_) {
    Packed entry;
    entry.u32(central_mark).u16(0).u16(0).u16(written_flags).u16(0).u32(0);
    entry.u32(record.crc).u32(record.size).u32(record.size).u16(record.name.size());
    entry.u16(0).u16(0).u16(0).u16(0).u32(0).u32(record.offset);
    put(entry.text());
    put(record.name);
  }
  const std::uint64_t size = at_ - directory;
  put(Packed().u32(end_mark).u32(0).u16(records_.size()).u16(records_.size()).u32(size).u32(directory).u16(0).text());
  file_.commit();
}

}  // namespace slimneck::io
