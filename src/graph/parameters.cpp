#include <algorithm>

#include "core/random.hpp"
#include "graph/packed_store.hpp"
#include "slimneck/plan.hpp"

namespace slimneck {

namespace {

template <class T>
void draw(Parameters::Entry& entry, std::uint64_t seed) {
  const core::Stream stream(entry.name, seed);
  T* value = entry.value.data<T>();
  const std::vector<double>& offset = entry.init.offset;
  for (index_t i = 0; i < entry.value.numel(); ++i) {
    const auto u = static_cast<std::size_t>(i);
    const double base = offset.empty() ? 0 : offset[u % offset.size()];
    // Rounded through float so that a double model begins with the numbers of the float model.
    value[i] = static_cast<T>(static_cast<float>(base + stream.uniform(u, -entry.init.bound, entry.init.bound)));
  }
}

}  // namespace

Parameters::Store::Store() : store(std::make_shared<graph::PackedStore>()) {}

Parameters::Store& Parameters::Store::operator=(const Store& other) {
  if (this != &other && !store) store = std::make_shared<graph::PackedStore>();  // after a move
  return *this;
}

Parameters::Parameters(const Graph& graph, DType type) : type_(type) {
  if (type != DType::f32 && type != DType::f64) throw Error("parameters are f32 or f64");
  index_t total = 0;
  for (const Node& node : graph.nodes()) {
    if (node.role != Role::parameter && node.role != Role::state) continue;
    if (find(node.name) >= 0) throw ShapeError("two parameters of the graph are named '" + node.name + "'");
    Entry entry{node.name, node.dims, node.role, node.init, Tensor(node.shapes[0], type), -1};
    if (node.role == Role::parameter) {
      entry.gradient_offset = total;
      total += entry.value.numel();
    }
    index_.emplace(node.name, static_cast<int>(entries_.size()));
    entries_.push_back(std::move(entry));
  }
  gradients_ = Tensor({1, 1, 1, total}, type);
  initialise(0);
}

void Parameters::initialise(std::uint64_t seed) {
  for (Entry& entry : entries_) {
    if (type_ == DType::f64)
      draw<double>(entry, seed);
    else
      draw<float>(entry, seed);
  }
  touch();
}

int Parameters::find(std::string_view name) const noexcept {
  const auto at = index_.find(name);
  return at == index_.end() ? -1 : at->second;
}

Parameters::Entry& Parameters::at(std::string_view name) {
  const int i = find(name);
  if (i < 0) throw Error("there is no parameter '" + std::string(name) + "'");
  return entries_[static_cast<std::size_t>(i)];
}

void Parameters::zero_grad() noexcept {
  std::fill_n(static_cast<std::byte*>(gradients_.raw()), gradients_.bytes(), std::byte{0});
}

}  // namespace slimneck
