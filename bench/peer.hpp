// oneDNN's modules for programs that know nothing of this folder's tables: standard, depthwise separable and GSConv.
#pragma once

#include <memory>
#include <string>

#include "slimneck/exec.hpp"
#include "slimneck/kernels.hpp"

namespace slimneck::bench {

/// A module on so many pictures, with batch norm and activation.
struct PeerTask {
  enum class Module : std::uint8_t { sc, dsc, gsconv } module = Module::sc;
  index_t n = 1, c1 = 0, c2 = 0, h = 0, w = 0, k = 1, s = 1;
  bool train = false;  ///< a training step; otherwise inference
  bool framework =
      false;  ///< concat, shuffle and activations as primitives of their own; otherwise all that it can fuse
  kernels::Act act = kernels::Act::silu;
  Isa isa = Isa::automatic;
  int threads = 1;
  bool direct = false;  ///< no Winograd
};

class Peer {
 public:
  Peer() = default;
  virtual ~Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  virtual void run() = 0;
  /// Names of the code that runs.
  [[nodiscard]] virtual std::string kernel() const = 0;
};

/// The fastest of what oneDNN offers for it; null where it has nothing.
std::unique_ptr<Peer> make_peer(const PeerTask& task);

/// "oneDNN 2.6.3".
std::string peer_name();

}  // namespace slimneck::bench
