// Where and how a plan runs.
#pragma once

#include <string_view>
#include <vector>

#include "slimneck/tensor.hpp"

namespace slimneck {

enum class Device : std::uint8_t { cpu, cuda };
enum class Isa : std::uint8_t { automatic, scalar, avx2, avx512, neon };

SLIMNECK_EXPORT std::string_view name_of(Isa isa) noexcept;

/// The instruction sets whose kernels this build has and this machine can run, best first; scalar is always there,
/// last.
SLIMNECK_EXPORT std::vector<Isa> available_isas();

/// The one of this name, "automatic" included; throws DeviceError when it is none.
SLIMNECK_EXPORT Isa isa_of(std::string_view name);

/// automatic becomes what the environment variable SLIMNECK_ISA names (scalar, avx2, avx512 or neon), else the best
/// one. Throws DeviceError for an ISA that cannot run here, or a name that is none.
SLIMNECK_EXPORT Isa resolve(Isa isa);

/// Where, in which precision and with what restrictions a plan or kernel runs.
struct Exec {
  Device device = Device::cpu;  ///< cuda: plans only, in builds that have it
  Isa isa = Isa::automatic;     ///< kernels of this instruction set; see resolve()
  int threads = 0;              ///< 0: all that the machine offers
  DType dtype = DType::f32;     ///< f64: every value in double precision
  bool reference = false;       ///< plain NCHW, no rewrites, every op by its scalar reference: the oracle
  index_t block = 0;            ///< channels per block of activations: 0 = the lanes of the ISA; else 1, 4, 8 or 16
  bool direct = false;          ///< no Winograd: convolutions are exact on integers, and slower
  void* stream = nullptr;       ///< cuda: queue there, a cudaStream_t; null: an own one
};

}  // namespace slimneck
