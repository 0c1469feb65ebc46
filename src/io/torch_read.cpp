// PyTorch's .pt files: a zip archive with a pickle, data.pkl, and a record for every storage. The pickle is read as
// data; tensors are looked up in the records.
#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "io/files.hpp"
#include "io/stored.hpp"
#include "io/torch_model.hpp"
#include "io/torch_names.hpp"
#include "io/zip.hpp"
#include "slimneck/weights.hpp"

namespace slimneck {

namespace {

using io::in_quotes;
using io::PickleValue;
using Kind = PickleValue::Kind;
using Bytes = std::span<const std::byte>;

constexpr std::size_t max_tensors = 65536;
constexpr std::size_t max_rank = 16;
constexpr std::size_t max_name = 4096;
constexpr std::size_t max_text = std::size_t{8} << 20;  // names and metadata: a pickle can use one text many times
constexpr std::size_t copy_allowance = std::size_t{64} << 20;  // copied bytes beyond the size of the file

/// The records of an archive without the folder that all of them lie in.
class Archive {
 public:
  Archive(Bytes content, std::string_view file) : file_(file) {
    const std::vector<io::ZipRecord> records = io::read_zip(content, file);
    const auto pickle = std::find_if(records.begin(), records.end(), [](const io::ZipRecord& r) {
      return r.name.ends_with("/data.pkl") && r.name.find('/') == r.name.size() - 9;
    });
    if (pickle == records.end()) fail("there is no data.pkl in it");
    const std::string_view folder = pickle->name.substr(0, pickle->name.size() - 8);
    for (const io::ZipRecord& record : records) {
      if (!record.name.starts_with(folder)) fail("record " + in_quotes(record.name) + " lies in another folder");
      records_[record.name.substr(folder.size())] = record.bytes;
    }
    if (records_.contains("constants.pkl"))
      fail("it is a TorchScript program; wanted a checkpoint or a state dict, as torch.save writes them");
    if (const Bytes* order = find("byteorder"); order != nullptr && order->size() == 3) fail("it is big-endian");
  }

  [[nodiscard]] const Bytes* find(std::string_view name) const {
    const auto at = records_.find(name);
    return at == records_.end() ? nullptr : &at->second;
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(std::string(file_) + ": PyTorch file: " + what);
  }

 private:
  std::string_view file_;
  std::unordered_map<std::string_view, Bytes> records_;
};

/// Where a tensor lies.
struct Layout {
  const io::Stored* type = nullptr;
  Bytes storage;
  std::size_t offset = 0;  ///< elements
  std::vector<index_t> dims, strides;
};

class TorchReader {
 public:
  TorchReader(std::vector<std::byte> content, std::string_view file) : file_(file), archive_(content, file) {
    room_ = content.size() + copy_allowance;
    memory_.push_back(std::move(content));  // keeps its memory, so what looks into it stays valid
    pickle_ = io::Pickle::parse(*archive_.find("data.pkl"), io::torch_names, file);
  }

  SafeTensors read() {
    const PickleValue& model = choose(pickle_.root());
    const auto take = [this](std::string name, const PickleValue& tensor) { add(std::move(name), tensor); };
    if (model.kind == Kind::object) {
      io::visit_tensors(model, file_, take);
      metadata_ = io::model_metadata(model, file_);
    } else {
      visit_dict(model);
    }
    if (entries_.empty()) fail("there are no tensors in it");
    return SafeTensors::assemble(file_, std::move(memory_), std::move(entries_), std::move(metadata_));
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { archive_.fail(what); }

  /// A checkpoint is a dict that holds the network under one of a few names; what is averaged comes first.
  const PickleValue& choose(const PickleValue& root) const {
    for (const std::string_view key : {"ema", "model", "state_dict", "model_state_dict"}) {
      const PickleValue* found = root.find(key);
      if (found != nullptr && (found->kind == Kind::object || found->kind == Kind::dict)) return *found;
    }
    if (root.kind != Kind::object && root.kind != Kind::dict)
      fail("it holds neither a network nor a state dict nor a checkpoint");
    return root;
  }

  void visit_dict(const PickleValue& dict) {
    for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const PickleValue& key = *dict.items[i];
      if (key.kind != Kind::text) fail("a key of its state dict is no text");
      add(std::string(key.text), *dict.items[i + 1]);
    }
    const PickleValue* texts = dict.state != nullptr ? dict.state->find("slimneck_metadata") : nullptr;
    if (texts == nullptr || texts->kind != Kind::dict) return;
    for (std::size_t i = 0; i + 1 < texts->items.size(); i += 2)
      if (texts->items[i]->kind == Kind::text && texts->items[i + 1]->kind == Kind::text) {
        count_text(texts->items[i]->text.size() + texts->items[i + 1]->text.size());
        metadata_[std::string(texts->items[i]->text)] = texts->items[i + 1]->text;
      }
  }

  void count_text(std::size_t length) {
    text_ += length;
    if (text_ > max_text) fail("more than 8 MiB of names and metadata");
  }

  void add(std::string name, const PickleValue& value) {
    const std::string who = "tensor " + in_quotes(name);
    if (name.empty() || name.size() > max_name || name.find('\0') != std::string::npos || name == "__metadata__")
      fail(who + " has no proper name");
    if (entries_.size() == max_tensors) fail("more than " + std::to_string(max_tensors) + " tensors");
    count_text(name.size());
    if (!names_.insert(name).second) fail(who + " occurs twice");
    Layout layout = layout_of(value, who);
    const Bytes bytes = elements(layout, who);
    entries_.push_back({std::move(name), std::string(layout.type->dtype), std::move(layout.dims), bytes});
  }

  Layout layout_of(const PickleValue& value, const std::string& who) const {
    const PickleValue* call = &value;
    if (call->kind == Kind::call && call->text == "torch._utils._rebuild_parameter" && !call->arguments->items.empty())
      call = call->arguments->items[0];
    if (call->kind != Kind::call || !call->text.starts_with("torch._utils._rebuild_tensor") ||
        call->arguments->items.size() < 4)
      fail(who + " is no tensor");
    const auto& arguments = call->arguments->items;
    Layout layout;
    find_storage(*arguments[0], layout, who);
    if (arguments[1]->kind != Kind::integer || arguments[1]->integer < 0) fail(who + " has no proper offset");
    layout.offset = static_cast<std::size_t>(arguments[1]->integer);
    layout.dims = extents(*arguments[2], who);
    layout.strides = extents(*arguments[3], who);
    if (layout.dims.size() != layout.strides.size())
      fail(who + " has " + std::to_string(layout.dims.size()) + " extents and " +
           std::to_string(layout.strides.size()) + " strides");
    return layout;
  }

  /// ('storage', class, key, place, elements): the record data/KEY, which must have exactly these elements.
  void find_storage(const PickleValue& value, Layout& layout, const std::string& who) const {
    const PickleValue* id = value.kind == Kind::persistent ? value.items[0] : nullptr;
    if (id == nullptr || id->kind != Kind::tuple || id->items.size() < 5 || id->items[0]->text != "storage" ||
        id->items[1]->kind != Kind::name || id->items[2]->kind != Kind::text || id->items[4]->kind != Kind::integer)
      fail(who + " has no storage");
    const io::Stored* type = io::find_torch_storage(id->items[1]->text);
    if (type == nullptr) fail(who + " is stored as " + in_quotes(id->items[1]->text));
    const std::string key(id->items[2]->text);
    const Bytes* record = archive_.find("data/" + key);
    if (record == nullptr) fail(who + ": there is no record data/" + key);
    const std::int64_t count = id->items[4]->integer;
    if (count < 0 || static_cast<std::uint64_t>(count) > record->size() ||
        static_cast<std::uint64_t>(count) * type->bytes != record->size())
      fail(who + ": its storage has " + std::to_string(record->size()) + " bytes, " + std::to_string(count) +
           " elements of " + std::to_string(type->bytes) + " are wanted");
    layout.type = type;
    layout.storage = *record;
  }

  std::vector<index_t> extents(const PickleValue& value, const std::string& who) const {
    const PickleValue* list = &value;
    if (list->kind == Kind::call && list->text == "torch.Size" && !list->arguments->items.empty())
      list = list->arguments->items[0];
    if (list->kind != Kind::tuple || list->items.size() > max_rank) fail(who + " has no proper extents");
    std::vector<index_t> numbers;
    for (const PickleValue* item : list->items) {
      if (item->kind != Kind::integer || item->integer < 0) fail(who + " has an extent or stride that is no size");
      numbers.push_back(item->integer);
    }
    return numbers;
  }

  /// The tensor's elements in row-major order: where they lie, or a copy when they lie in another order.
  Bytes elements(const Layout& layout, const std::string& who) {
    std::size_t count = 1, last = layout.offset;
    bool overflow = false, in_order = true;
    for (std::size_t i = layout.dims.size(); i-- > 0;) {
      const auto extent = static_cast<std::size_t>(layout.dims[i]),
                 stride = static_cast<std::size_t>(layout.strides[i]);
      in_order = in_order && (extent == 1 || stride == count);
      std::size_t reach = 0;
      if (extent > 0) overflow |= __builtin_mul_overflow(extent - 1, stride, &reach);
      overflow |= __builtin_add_overflow(last, reach, &last);
      overflow |= __builtin_mul_overflow(count, extent, &count);
    }
    const std::size_t width = layout.type->bytes;
    if (!overflow && count == 0) return layout.storage.first(0);
    if (overflow || last >= layout.storage.size() / width)
      fail(who + " reaches beyond its storage of " + std::to_string(layout.storage.size() / width) + " elements");
    if (in_order) return layout.storage.subspan(layout.offset * width, count * width);
    if (count > room_ / width) fail(who + ": the copies of such tensors would be larger than the file and 64 MiB");
    room_ -= count * width;
    return gather(layout, count);
  }

  Bytes gather(const Layout& layout, std::size_t count) {
    const std::size_t width = layout.type->bytes;
    std::vector<std::byte>& copy = memory_.emplace_back(count * width);
    std::vector<index_t> at(layout.dims.size(), 0);
    std::size_t from = layout.offset;
    for (std::size_t i = 0; i < count; ++i) {
      std::memcpy(copy.data() + i * width, layout.storage.data() + from * width, width);
      for (std::size_t d = at.size(); d-- > 0;) {
        const auto stride = static_cast<std::size_t>(layout.strides[d]);
        from += stride;
        if (++at[d] < layout.dims[d]) break;
        from -= stride * static_cast<std::size_t>(layout.dims[d]);
        at[d] = 0;
      }
    }
    return copy;
  }

  std::string file_;
  Archive archive_;
  io::Pickle pickle_;
  std::size_t room_ = 0, text_ = 0;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<SafeTensors::Entry> entries_;
  std::unordered_set<std::string> names_;
  std::map<std::string, std::string> metadata_;
};

bool begins_with(Bytes content, std::string_view magic) {
  return content.size() >= magic.size() && std::memcmp(content.data(), magic.data(), magic.size()) == 0;
}

}  // namespace

SafeTensors parse_torch(std::vector<std::byte> content, std::string_view file_name) {
  using namespace std::string_view_literals;
  if (begins_with(content, "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."sv))
    throw FormatError(std::string(file_name) +
                      ": PyTorch file: written before PyTorch 1.6 (no zip archive); save it again with a newer one");
  return TorchReader(std::move(content), file_name).read();
}

SafeTensors read_weights(const std::filesystem::path& path, std::uint64_t max_bytes) {
  constexpr std::size_t most_magic = 32;
  std::array<std::byte, most_magic> start{};
  {
    io::InputFile file(path, max_bytes);
    file.read(std::span(start).first(std::min<std::size_t>(start.size(), file.size())));
  }
  if (begins_with(start, "version https://git-lfs"))
    throw FormatError(path.string() + ": a Git LFS pointer, not the weights themselves; fetch them with git lfs pull");
  if (begins_with(start, "PK") || begins_with(start, "\x80\x02"))
    return parse_torch(io::read_file(path, max_bytes), path.string());
  return SafeTensors::read(path, max_bytes);
}

}  // namespace slimneck
