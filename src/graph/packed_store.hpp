// Packed forms of parameters that several inference plans read: one copy for all plans of the same ISA and layout.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "graph/program.hpp"

namespace slimneck::graph {

struct PackedForm {
  Packed what;
  Isa isa = Isa::scalar;
  Tensor memory;
  std::uint64_t version = 0;  ///< of the parameters whose numbers it holds; 0: none yet
};

class PackedStore {
 public:
  /// The form that a living plan has, or a new one.
  std::shared_ptr<PackedForm> get(const Packed& what, Isa isa, DType type);
  /// Held while forms are looked up and filled.
  std::mutex mutex;

 private:
  std::map<int, std::vector<std::weak_ptr<PackedForm>>> forms_;  ///< by entry of Parameters
};

std::shared_ptr<PackedForm> new_form(const Packed& what, Isa isa, DType type);

}  // namespace slimneck::graph
