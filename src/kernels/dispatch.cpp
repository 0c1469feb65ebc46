#include "kernels/dispatch.hpp"

#include <cstdlib>
#include <string>

namespace slimneck::kernels {

#define SN_TABLE(isa)         \
  namespace isa {             \
  extern const Kernels table; \
  }
SN_TABLE(scalar)
#ifdef SLIMNECK_X86
SN_TABLE(avx2)
SN_TABLE(avx512)
#endif
#ifdef SLIMNECK_NEON
SN_TABLE(neon)
#endif
#undef SN_TABLE

const Kernels* kernels_of(Isa isa) noexcept {
  switch (isa) {
    case Isa::scalar: return &scalar::table;
#ifdef SLIMNECK_X86
    case Isa::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &avx2::table : nullptr;
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
                 ? &avx512::table
                 : nullptr;
#endif
#ifdef SLIMNECK_NEON
    case Isa::neon: return &neon::table;
#endif
    default: return nullptr;
  }
}

}  // namespace slimneck::kernels

namespace slimneck {

namespace {
constexpr Isa best_first[] = {Isa::avx512, Isa::avx2, Isa::neon, Isa::scalar};
}

std::vector<Isa> available_isas() {
  std::vector<Isa> found;
  for (const Isa isa : best_first)
    if (kernels::kernels_of(isa)) found.push_back(isa);
  return found;
}

std::string_view name_of(Isa isa) noexcept {
  switch (isa) {
    case Isa::automatic: return "automatic";
    case Isa::scalar: return "scalar";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::neon: return "neon";
  }
  return "unknown";
}

Isa isa_of(std::string_view name) {
  for (const Isa isa : best_first)
    if (name_of(isa) == name) return isa;
  if (name == name_of(Isa::automatic)) return Isa::automatic;
  throw DeviceError("'" + std::string(name) + "' is no instruction set, wanted scalar, avx2, avx512 or neon");
}

Isa resolve(Isa isa) {
  if (isa == Isa::automatic) {
    const char* forced = std::getenv("SLIMNECK_ISA");
    isa = forced && *forced ? isa_of(forced) : available_isas().front();
    if (isa == Isa::automatic) isa = available_isas().front();
  }
  if (!kernels::kernels_of(isa))
    throw DeviceError("this machine or this build cannot run " + std::string(name_of(isa)));
  return isa;
}

}  // namespace slimneck
