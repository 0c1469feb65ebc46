// Tensor files: safetensors (an 8-byte little-endian header length, a JSON header, raw little-endian data) and
// PyTorch's .pt. PyTorch's names and order of extents are kept, so files pass to and from other tools unchanged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "slimneck/export.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck {

/// The four letters for a tensor of any rank: none -> 1x1x1x1, (c), (h,w), (c,h,w), (n,c,h,w); of more than four
/// extents the leading ones are multiplied into n. Throws ShapeError on negative extents or overflow.
SLIMNECK_EXPORT Shape shape_of(std::span<const index_t> dims);

/// A tensor file in memory: a safetensors file, or what another format held as if it had been one. It owns the file's
/// bytes; its entries point into them and live as long as it does.
class SLIMNECK_EXPORT SafeTensors {
 public:
  /// One tensor of the file, as it lies there.
  struct Entry {
    std::string name;                  ///< unique
    std::string dtype;                 ///< F64 F32 F16 BF16 I64 I32 U8 BOOL
    std::vector<index_t> dims;         ///< of any rank
    std::span<const std::byte> bytes;  ///< little-endian elements, at any alignment
  };

  /// Takes over the content of a whole file; `file_name` is for messages. Throws FormatError on everything that the
  /// format forbids, on more than 65536 tensors and on more than 8 MiB of names and metadata. Needs less than 64 MB
  /// besides `content`.
  static SafeTensors parse(std::vector<std::byte> content, std::string_view file_name);
  /// Reads and parses a regular file; IoError when it cannot be read or is larger than `max_bytes`.
  static SafeTensors read(const std::filesystem::path& path, std::uint64_t max_bytes = std::uint64_t{1} << 32);

  /// From parts: `entries`, whose names differ, look into `memory`.
  static SafeTensors assemble(std::string_view file_name, std::vector<std::vector<std::byte>> memory,
                              std::vector<Entry> entries, std::map<std::string, std::string> metadata);

  SafeTensors(SafeTensors&&) noexcept = default;             ///< entries stay valid
  SafeTensors& operator=(SafeTensors&&) noexcept = default;  ///< entries stay valid
  SafeTensors(const SafeTensors&) = delete;
  SafeTensors& operator=(const SafeTensors&) = delete;
  ~SafeTensors() = default;

  /// All tensors, in the order of the file.
  [[nodiscard]] const std::vector<Entry>& entries() const noexcept { return entries_; }
  /// What the file says about itself.
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  /// For messages.
  [[nodiscard]] const std::string& file_name() const noexcept { return file_name_; }
  /// The tensor of that name, or nullptr.
  [[nodiscard]] const Entry* find(std::string_view name) const noexcept;

  /// A copy of the tensor's numbers with shape_of(dims). f32 and f64 are made from every dtype, rounded to nearest; i32
  /// only from I32, U8, BOOL and u8 only from U8, BOOL. Throws FormatError when the name is missing or the dtype
  /// differs.
  [[nodiscard]] Tensor tensor(std::string_view name, DType type = DType::f32) const;

 private:
  SafeTensors() = default;

  std::string file_name_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> by_name_;  // indices into entries_, sorted by name
  std::map<std::string, std::string> metadata_;
};

/// The tensors of a PyTorch file (.pt, torch 1.6 or newer): a state dict, or a checkpoint or a whole pickled network,
/// of which the averaged one, `ema`, is taken where there is one. The pickle is read as data: names in it must stand in
/// a list, and nothing is imported, called or executed. Metadata come from a pickled network: names, yaml and
/// gsconv_dialect. Throws FormatError on what is not allowed (naming it), on every damage (checksums are verified), and
/// on compressed, encrypted, big-endian, older and TorchScript files.
SLIMNECK_EXPORT SafeTensors parse_torch(std::vector<std::byte> content, std::string_view file_name);

/// Reads a safetensors or PyTorch file, told apart by its content. Throws as parse_torch and SafeTensors::read.
SLIMNECK_EXPORT SafeTensors read_weights(const std::filesystem::path& path,
                                         std::uint64_t max_bytes = std::uint64_t{1} << 32);

/// How numbers are stored in a file.
enum class StoredType : std::uint8_t { f64, f32, f16, bf16, i64, i32, u8, boolean };

/// The type that an entry's `dtype` names. Throws FormatError when there is none.
SLIMNECK_EXPORT StoredType stored_type(std::string_view dtype);

/// One tensor to be written. `values` is a look at the caller's memory in row-major order; floating point numbers are
/// stored as any floating type (rounded to nearest even), integers as i64. Bytes are written as they are: elements that
/// are stored as `type` already.
struct TensorEntry {
  std::string name;           ///< not empty, unique
  std::vector<index_t> dims;  ///< of any rank
  /// Row-major, as many as dims say.
  std::variant<std::span<const float>, std::span<const double>, std::span<const std::int64_t>,
               std::span<const std::byte>>
      values;
  StoredType type = StoredType::f32;  ///< of floating point values
};

/// A TensorEntry for an f32 or f64 tensor with extents `dims` (empty: its four); `tensor` must outlive it.
SLIMNECK_EXPORT TensorEntry tensor_entry(std::string name, const Tensor& tensor, StoredType type = StoredType::f32,
                                         std::vector<index_t> dims = {});

/// Writes a safetensors file; the same arguments give the same bytes. `path` is replaced when everything is on the
/// disk, otherwise it stays as it was. Throws IoError when writing fails; FormatError on an empty, duplicate or
/// non-UTF-8 name, a size that is not the product of `dims`, or a finite number too large for f16, bf16 or f32.
SLIMNECK_EXPORT void write_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> entries,
                                       const std::map<std::string, std::string>& metadata = {});

/// Writes a state dict that PyTorch loads, also with weights_only=True: an OrderedDict of tensors in the order of
/// `entries`, with `metadata` as its attribute slimneck_metadata. Throws as write_safetensors.
SLIMNECK_EXPORT void write_torch(const std::filesystem::path& path, std::span<const TensorEntry> entries,
                                 const std::map<std::string, std::string>& metadata = {});

class Parameters;

/// Metadata keys that slimneck writes and reads.
namespace metadata_key {
inline constexpr std::string_view names = "names";             ///< class names: a JSON list, or an object by number
inline constexpr std::string_view dialect = "gsconv_dialect";  ///< see Dialect
inline constexpr std::string_view yaml = "yaml";               ///< the model file that the weights are of
}  // namespace metadata_key

/// The weights that come with the library, of slimneck-n for the shapes of make_shapes (data.hpp). They lie in the
/// folder `weights` beside that of load_model's models. Throws IoError when they are not there.
SLIMNECK_EXPORT std::filesystem::path default_weights();

/// Copies the weights of a PyTorch state dict into the tensors of `parameters`, converted to their element type, and
/// calls touch(); gradients stay. Names are PyTorch's; all of them may have one "model." more or less in front.
/// Counters `num_batches_tracked` may be absent and then become 0. Throws one FormatError that lists everything that
/// does not fit (missing, unexpected, wrong shape or type, NaN or infinity, negative running_var); nothing is changed
/// then.
SLIMNECK_EXPORT void load_state_dict(Parameters& parameters, const SafeTensors& file);

/// What transfer_state_dict did.
struct Transfer {
  index_t taken = 0, entries = 0;  ///< tensors that were copied, of so many that the model has
};

/// Copies every tensor of the file that has the name (with or without "model." in front) and the shape of a parameter
/// or state, except anchors; the rest of `parameters` stays as it is. Throws FormatError as load_state_dict does for
/// what would be copied; nothing is changed then.
SLIMNECK_EXPORT Transfer transfer_state_dict(Parameters& parameters, const SafeTensors& file);

/// Writes every parameter and state under its own name and extents; counters `num_batches_tracked` as I64. `metadata`
/// gains format=pt. Reading it again gives the same bits. Throws as write_safetensors.
SLIMNECK_EXPORT void save_state_dict(const std::filesystem::path& path, const Parameters& parameters,
                                     std::map<std::string, std::string> metadata = {});

/// Names of `classes` classes: those in the metadata, else COCO's where there are 80, else class0, class1, ... Throws
/// FormatError when the metadata has another number of names.
SLIMNECK_EXPORT std::vector<std::string> class_names(const std::map<std::string, std::string>& metadata,
                                                     index_t classes);

}  // namespace slimneck
