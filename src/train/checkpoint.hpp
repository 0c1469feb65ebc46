// Checkpoints on the disk: two pairs of files, of which one is always whole.
//
//   resume.0.safetensors  state.0.json     generations 0, 2, 4 ...
//   resume.1.safetensors  state.1.json     generations 1, 3, 5 ...
//
// The tensors are written first, and each file gets its name when all of it is on the disk. A state counts only while
// its tensors have the size and the checksum that it names.
#pragma once

#include "slimneck/train.hpp"

namespace slimneck::train {

/// Writes generation `state.generation`; fills in what the state says about its tensors. Throws IoError.
void write_checkpoint(const std::filesystem::path& folder, TrainState& state, std::span<const TensorEntry> tensors);

/// The tensors of a checkpoint. Throws as SafeTensors::read.
SafeTensors read_tensors(const Checkpoint& checkpoint);

}  // namespace slimneck::train
