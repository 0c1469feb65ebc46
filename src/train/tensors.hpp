// The tensors that a training goes on from.
#pragma once

#include <string>
#include <vector>

#include "slimneck/optim.hpp"
#include "slimneck/weights.hpp"

namespace slimneck::train {

/// A tensor that a checkpoint keeps.
struct KeptTensor {
  std::string name;           ///< in the file
  std::vector<index_t> dims;  ///< in the file
  Tensor* tensor;             ///< in memory, f32
};

/// None of `count` numbers from `first` on is infinite or no number.
bool all_finite(const float* first, index_t count) noexcept;

/// Parameters and states, their average, the moments of the optimiser and, where `gradients`, what was added up so far.
/// All of it must outlive the list.
std::vector<KeptTensor> kept_tensors(Parameters& parameters, Ema& average, Optimizer& optimizer, bool gradients);

/// Looks into the memory of the tensors, to be written.
std::vector<TensorEntry> tensor_entries(const std::vector<KeptTensor>& kept);

/// Fills the tensors from a file. Throws FormatError, and changes nothing, when one is missing, of another type or
/// shape, or holds a number that is not finite, and when the file has others.
void restore_tensors(const std::vector<KeptTensor>& kept, const SafeTensors& file);

}  // namespace slimneck::train
