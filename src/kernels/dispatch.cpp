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

namespace {
constexpr Isa best_first[] = {Isa::avx512, Isa::avx2, Isa::neon, Isa::scalar};
}

std::vector<Isa> available_isas() {
  std::vector<Isa> found;
  for (const Isa isa : best_first)
    if (kernels_of(isa)) found.push_back(isa);
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

Isa resolve(Isa isa) {
  if (isa == Isa::automatic) {
    const char* variable = std::getenv("SLIMNECK_ISA");
    const std::string_view forced = variable ? variable : "";
    for (const Isa candidate : best_first)
      if (forced.empty() ? kernels_of(candidate) != nullptr : name_of(candidate) == forced) {
        isa = candidate;
        break;
      }
    if (isa == Isa::automatic)
      throw DeviceError("SLIMNECK_ISA is '" + std::string(forced) + "', wanted scalar, avx2, avx512 or neon");
  }
  if (!kernels_of(isa)) throw DeviceError("this machine or this build cannot run " + std::string(name_of(isa)));
  return isa;
}

}  // namespace slimneck::kernels
