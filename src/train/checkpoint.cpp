#include "train/checkpoint.hpp"

#include <algorithm>
#include <bit>

#include "io/digest.hpp"
#include "io/files.hpp"
#include "slimneck/error.hpp"
#include "slimneck/files.hpp"

namespace slimneck {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t max_tensor_bytes = std::uint64_t{1} << 36;

std::string tensors_name(index_t slot) { return "resume." + std::to_string(slot) + ".safetensors"; }
fs::path state_path(const fs::path& folder, index_t slot) {
  return folder / ("state." + std::to_string(slot) + ".json");
}

/// What the state of a slot says.
TrainState read_state(const fs::path& path) {
  return parse_train_state(read_text(path.string(), train::max_state_bytes), path.string());
}

/// The state of a slot, once its tensors were found to be the ones that it means.
TrainState read_slot(const fs::path& folder, index_t slot) {
  const fs::path path = state_path(folder, slot);
  TrainState state = read_state(path);
  if (state.tensors != tensors_name(slot))
    throw FormatError(path.string() + ": names the tensors " + io::in_quotes(state.tensors) + " instead of '" +
                      tensors_name(slot) + "'");
  if (state.generation % 2 != slot)
    throw FormatError(path.string() + ": generation " + std::to_string(state.generation) + " is of another file");
  const fs::path tensors = folder / state.tensors;
  const io::Digest found = io::digest_file(tensors, max_tensor_bytes);
  if (found != io::Digest{state.tensors_bytes, state.tensors_sha256})
    throw FormatError(tensors.string() + ": is not the file that " + path.filename().string() + " means: " +
                      std::to_string(found.bytes) + " bytes with SHA-256 " + found.sha256 + " instead of " +
                      std::to_string(state.tensors_bytes) + " with " + io::in_quotes(state.tensors_sha256));
  return state;
}

}  // namespace

namespace train {

void write_checkpoint(const fs::path& folder, TrainState& state, std::span<const TensorEntry> tensors) {
  const index_t slot = state.generation % 2;
  state.tensors = tensors_name(slot);
  write_safetensors(folder / state.tensors, tensors);
  const io::Digest digest = io::digest_file(folder / state.tensors, max_tensor_bytes);
  state.tensors_bytes = digest.bytes;
  state.tensors_sha256 = digest.sha256;
  const std::string text = write_train_state(state);
  if (text.size() > max_state_bytes)
    throw IoError(state_path(folder, slot).string() + ": the state has more than " + std::to_string(max_state_bytes) +
                  " bytes");
  write_text(state_path(folder, slot).string(), text);
}

SafeTensors read_tensors(const Checkpoint& checkpoint) {
  return SafeTensors::read(checkpoint.folder / checkpoint.state.tensors, max_tensor_bytes);
}

std::string fingerprint(const DataSet& data) {
  std::string text;
  for (const Sample& sample : data.samples) {
    std::error_code problem;
    const std::uintmax_t bytes = fs::file_size(sample.image, problem);
    text += sample.image.string() + '\0' + std::to_string(problem ? 0 : bytes);
    for (const BoxLabel& box : sample.boxes) {
      text += ' ' + std::to_string(box.cls);
      for (const float side : {box.x, box.y, box.w, box.h})
        text += ' ' + std::to_string(std::bit_cast<std::uint32_t>(side));
    }
    text += '\n';
  }
  return io::sha256(text);
}

index_t last_generation(const fs::path& folder) {
  index_t last = 0;
  for (const index_t slot : {0, 1}) {
    std::error_code problem;
    if (!fs::exists(state_path(folder, slot), problem)) continue;
    try {
      last = std::max(last, read_state(state_path(folder, slot)).generation);
    } catch (const FormatError&) {
      continue;  // says nothing: it may be replaced
    }
  }
  return last;
}

}  // namespace train

Checkpoint find_checkpoint(const fs::path& folder) {
  std::optional<Checkpoint> best;
  std::vector<std::string> problems;
  for (const index_t slot : {0, 1}) {
    std::error_code problem;
    if (!fs::exists(state_path(folder, slot), problem)) continue;
    try {
      TrainState state = read_slot(folder, slot);
      if (!best || state.generation > best->state.generation) best = Checkpoint{folder, std::move(state), {}};
    } catch (const Error& error) {
      problems.emplace_back(error.what());
    }
  }
  if (!best && problems.empty()) throw IoError(folder.string() + ": no checkpoint there (state.0.json, state.1.json)");
  if (!best) throw IoError(problems.front() + (problems.size() > 1 ? "; " + problems.back() : ""));
  best->problems = std::move(problems);
  return *std::move(best);
}

}  // namespace slimneck
