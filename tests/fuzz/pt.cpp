// PyTorch's files. A fuzzer does not find checksums: what is no zip archive is taken for the pickle of a sound one.
#include <zlib.h>

#include <string>

#include "slimneck/model.hpp"
#include "slimneck/weights.hpp"
#include "target.hpp"

using namespace slimneck;

namespace {

std::string little(std::uint64_t value, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

/// An archive of stored records as PyTorch's are.
class Archive {
 public:
  void add(const std::string& name, std::string_view data) {
    const auto* bytes = reinterpret_cast<const Bytef*>(data.data());
    const std::string common = little(0, 8) + little(::crc32_z(0, bytes, data.size()), 4) + little(data.size(), 4) +
                               little(data.size(), 4) + little(name.size(), 2) + little(0, 2);
    directory_ += "PK\1\2" + little(0, 4) + common + little(0, 8) + little(0, 2) + little(all_.size(), 4) + name;
    all_ += "PK\3\4" + little(0, 2) + common + name;
    all_ += data;
    ++records_;
  }
  [[nodiscard]] std::string finish() const {
    return all_ + directory_ + "PK\5\6" + little(0, 4) + little(records_, 2) + little(records_, 2) +
           little(directory_.size(), 4) + little(all_.size(), 4) + little(0, 2);
  }

 private:
  std::string all_, directory_;
  std::uint64_t records_ = 0;
};

std::string archive_of(std::string_view pickle) {
  Archive archive;
  archive.add("a/data.pkl", pickle);
  for (const char key : {'0', '1', '2'}) archive.add(std::string("a/data/") + key, std::string(64, key));
  archive.add("a/version", "3\n");
  return archive.finish();
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  fuzz::accepts([&] {
    const SafeTensors file = parse_torch(fuzz::bytes_of(text.starts_with("PK") ? text : archive_of(text)), "a.pt");
    fuzz::require(!file.entries().empty());
    for (const SafeTensors::Entry& entry : file.entries())
      if (entry.bytes.size() < std::size_t{1} << 20) fuzz::accepts([&] { static_cast<void>(file.tensor(entry.name)); });
    if (const auto yaml = file.metadata().find("yaml"); yaml != file.metadata().end())
      fuzz::accepts([&] { static_cast<void>(parse_model(yaml->second, "a.pt", {.height = 64, .width = 64})); });
    static_cast<void>(class_names(file.metadata(), 2));
  });
  return 0;
}
