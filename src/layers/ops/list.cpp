// The one list of ops.
#include <array>

#include "slimneck/ops.hpp"

namespace slimneck {

std::span<const OpDef* const> all_ops() noexcept {
  static constexpr std::array list = {
#define SN_OP(name) &ops::name,
#include "slimneck/ops.inc"
#undef SN_OP
  };
  return list;
}

const OpDef* find_op(std::string_view name) noexcept {
  for (const OpDef* op : all_ops())
    if (op->name == name) return op;
  return nullptr;
}

}  // namespace slimneck
