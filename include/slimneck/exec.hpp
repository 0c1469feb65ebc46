// Where and how a plan runs.
#pragma once

#include "slimneck/tensor.hpp"

namespace slimneck {

enum class Device : std::uint8_t { cpu, cuda };
enum class Isa : std::uint8_t { automatic, scalar, avx2, avx512, neon };

struct Exec {
  Device device = Device::cpu;
  Isa isa = Isa::automatic;
  int threads = 0;           ///< 0: all that the machine offers
  DType dtype = DType::f32;  ///< f64: every value in double precision
  bool reference = false;    ///< plain NCHW, no rewrites, every op by its scalar reference: the oracle
  index_t block = 0;         ///< channels per block of activations: 0 = the lanes of the ISA; else 1, 4, 8 or 16
  bool direct = false;       ///< no Winograd: convolutions are exact on integers, and slower
  void* stream = nullptr;    ///< for devices with streams
};

}  // namespace slimneck
