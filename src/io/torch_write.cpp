// A state dict as torch.save writes it: a zip archive with a pickle of protocol 2 and a record for every tensor.
#include <nlohmann/json.hpp>

#include "io/files.hpp"
#include "io/stored.hpp"
#include "io/zip.hpp"

namespace slimneck {

namespace {

/// Writes the opcodes of the few Python values that a state dict needs.
class PickleText {
 public:
  explicit PickleText(const std::filesystem::path& path) : path_(path) {}

  void raw(std::string_view opcodes) { text_ += opcodes; }
  void name(std::string_view qualified) {
    const std::size_t dot = qualified.rfind('.');
    text_.append("c").append(qualified.substr(0, dot)).append("\n").append(qualified.substr(dot + 1)).append("\n");
  }
  void text(const std::string& value) {
    try {
      static_cast<void>(nlohmann::json(value).dump());
    } catch (const nlohmann::json::exception&) {
      throw FormatError(path_.string() + ": a name or metadata text is not UTF-8");
    }
    text_ += 'X';
    number(value.size(), 4);
    text_ += value;
  }
  void integer(index_t value) {
    text_ += "\x8a\x08";
    number(static_cast<std::uint64_t>(value), 8);
  }
  void tuple(std::span<const index_t> values) {
    text_ += '(';
    for (const index_t value : values) integer(value);
    text_ += 't';
  }
  void empty_ordered_dict() {
    name("collections.OrderedDict");
    text_ += ")R";
  }
  [[nodiscard]] std::span<const std::byte> bytes() const { return std::as_bytes(std::span(text_)); }

 private:
  void number(std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) text_ += static_cast<char>(value >> (8 * i) & 0xff);
  }

  const std::filesystem::path& path_;
  std::string text_;
};

std::vector<index_t> row_major_strides(const std::vector<index_t>& dims) {
  std::vector<index_t> strides(dims.size(), 1);
  for (std::size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<index_t>(dims[i], 1);
  return strides;
}

/// _rebuild_tensor_v2(storage, 0, size, stride, requires_grad=False, hooks)
void put_tensor(PickleText& pickle, const TensorEntry& entry, std::size_t key) {
  pickle.name("torch._utils._rebuild_tensor_v2");
  pickle.raw("((");
  pickle.text("storage");
  pickle.name(io::stored(entry.type).torch);
  pickle.text(std::to_string(key));
  pickle.text("cpu");
  pickle.integer(static_cast<index_t>(io::count_of(entry)));
  pickle.raw("tQ");
  pickle.integer(0);
  pickle.tuple(entry.dims);
  pickle.tuple(row_major_strides(entry.dims));
  pickle.raw("\x89");
  pickle.empty_ordered_dict();
  pickle.raw("tR");
}

PickleText make_pickle(std::span<const TensorEntry> entries, const std::map<std::string, std::string>& metadata,
                       const std::filesystem::path& path) {
  PickleText pickle(path);
  pickle.raw("\x80\x02");
  pickle.empty_ordered_dict();
  pickle.raw("(");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    pickle.text(entries[i].name);
    put_tensor(pickle, entries[i], i);
  }
  pickle.raw("u");
  if (!metadata.empty()) {
    pickle.raw("}");
    pickle.text("slimneck_metadata");
    pickle.raw("}(");
    for (const auto& [key, value] : metadata) {
      pickle.text(key);
      pickle.text(value);
    }
    pickle.raw("usb");
  }
  pickle.raw(".");
  return pickle;
}

}  // namespace

void write_torch(const std::filesystem::path& path, std::span<const TensorEntry> entries,
                 const std::map<std::string, std::string>& metadata) {
  io::check_entries(entries, path);
  const PickleText pickle = make_pickle(entries, metadata, path);
  io::ZipWriter zip(path);
  const auto record = [&](const std::string& name, std::span<const std::byte> bytes) {
    zip.begin("archive/" + name);
    zip.write(bytes);
    zip.end();
  };
  record("data.pkl", pickle.bytes());
  record("byteorder", std::as_bytes(std::span(std::string_view("little"))));
  for (std::size_t i = 0; i < entries.size(); ++i) {
    zip.begin("archive/data/" + std::to_string(i));
    io::store_values(entries[i], path, [&](std::span<const std::byte> bytes) { zip.write(bytes); });
    zip.end();
  }
  record("version", std::as_bytes(std::span(std::string_view("3\n"))));
  zip.commit();
}

}  // namespace slimneck
