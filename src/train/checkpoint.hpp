// Checkpoints on the disk: two pairs of files, of which one is always whole.
//
//   resume.0.safetensors  state.0.json     generations 0, 2, 4 ...
//   resume.1.safetensors  state.1.json     generations 1, 3, 5 ...
//
// The tensors are written first, and each file gets its name when all of it is on the disk. A state counts only while
// its tensors have the size and the checksum that it names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "slimneck/train.hpp"
#include "slimneck/weights.hpp"

namespace slimneck::train {

/// A longer state is neither written nor read.
inline constexpr std::uint64_t max_state_bytes = std::uint64_t{8} << 20;

/// Writes generation `state.generation`; fills in what the state says about its tensors. Throws IoError.
void write_checkpoint(const std::filesystem::path& folder, TrainState& state, std::span<const TensorEntry> tensors);

/// The tensors of a checkpoint. Throws as SafeTensors::read.
SafeTensors read_tensors(const Checkpoint& checkpoint);

/// A checksum over the files of a data set, their sizes and their labels.
std::string fingerprint(const DataSet& data);

/// The highest generation that a state in the folder names; 0 when there is none.
index_t last_generation(const std::filesystem::path& folder);

}  // namespace slimneck::train
