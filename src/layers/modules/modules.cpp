#include "layers/modules/modules.hpp"

#include <algorithm>
#include <array>

namespace slimneck {

namespace {

constexpr std::array list{
#define SN_MODULE(name) &modules::name,
#include "layers/modules/modules.inc"
#undef SN_MODULE
};

}  // namespace

std::span<const ModuleDef* const> all_modules() noexcept { return list; }

const ModuleDef* find_module(std::string_view name) noexcept {
  const auto at = std::find_if(list.begin(), list.end(), [&](const ModuleDef* m) {
    return m->name == name || (!m->alias.empty() && m->alias == name);
  });
  return at == list.end() ? nullptr : *at;
}

}  // namespace slimneck
