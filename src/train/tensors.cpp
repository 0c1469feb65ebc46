#include "train/tensors.hpp"

#include <algorithm>
#include <cmath>

#include "io/files.hpp"
#include "slimneck/error.hpp"

namespace slimneck::train {

namespace {

void check(const KeptTensor& kept, const SafeTensors& file) {
  const auto fail = [&](const std::string& cause) {
    throw FormatError(file.file_name() + ": the tensor " + io::in_quotes(kept.name) + " " + cause);
  };
  const SafeTensors::Entry* entry = file.find(kept.name);
  if (entry == nullptr) fail("is missing: the checkpoint is of another training");
  if (entry->dims != kept.dims || entry->dtype != "F32")
    fail("has another shape or type: the checkpoint is of another training");
  const Tensor value = file.tensor(kept.name);
  if (!all_finite(value.data<float>(), value.numel())) fail("holds a number that is not finite");
}

}  // namespace

bool all_finite(const float* first, index_t count) noexcept {
  return std::all_of(first, first + count, [](float v) { return std::isfinite(v); });
}

std::vector<KeptTensor> kept_tensors(Parameters& parameters, Ema& average, Optimizer& optimizer, bool gradients) {
  std::vector<KeptTensor> kept;
  for (Parameters::Entry& entry : parameters.entries())
    kept.push_back({"parameters/" + entry.name, entry.dims, &entry.value});
  for (Parameters::Entry& entry : average.parameters().entries())
    kept.push_back({"average/" + entry.name, entry.dims, &entry.value});
  for (Tensor& moment : optimizer.moments())
    kept.push_back({"moment." + std::to_string(&moment - optimizer.moments().data()), {moment.numel()}, &moment});
  if (gradients) kept.push_back({"gradients", {parameters.gradients().numel()}, &parameters.gradients()});
  return kept;
}

std::vector<TensorEntry> tensor_entries(const std::vector<KeptTensor>& kept) {
  std::vector<TensorEntry> entries;
  for (const KeptTensor& k : kept)
    entries.push_back({k.name, k.dims,
                       std::span<const float>(k.tensor->data<float>(), static_cast<std::size_t>(k.tensor->numel())),
                       StoredType::f32});
  return entries;
}

void restore_tensors(const std::vector<KeptTensor>& kept, const SafeTensors& file) {
  for (const KeptTensor& k : kept) check(k, file);
  if (file.entries().size() != kept.size())
    throw FormatError(file.file_name() + ": has " + std::to_string(file.entries().size()) + " tensors instead of " +
                      std::to_string(kept.size()) + ": the checkpoint is of another training");
  for (const KeptTensor& k : kept) {
    const Tensor value = file.tensor(k.name);
    std::copy_n(value.data<float>(), value.numel(), k.tensor->data<float>());
  }
}

}  // namespace slimneck::train
