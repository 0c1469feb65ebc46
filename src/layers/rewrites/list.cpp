#include <array>

#include "layers/rewrites/rewrites.hpp"

namespace slimneck::graph {

std::span<const Rewrite> rewrites() noexcept {
  static const std::array list = {
#define SN_REWRITE(name) rewrites::name,
#include "layers/rewrites/rewrites.inc"
#undef SN_REWRITE
  };
  return list;
}

}  // namespace slimneck::graph
