// One implementation of one row: what is timed, and what it computed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "table.hpp"

namespace slimneck::bench {

using Numbers = std::vector<float>;

/// The numbers that both sides of a row get, plain: maps NCHW, weights OIHW. What a row does not need is empty.
struct Problem {
  Row row;
  index_t n = 1;
  bool epilogue = true;  ///< forward: bias and activation
  kernels::Algorithm algorithm = kernels::Algorithm::best;
  Isa isa = Isa::automatic;
  int threads = 1;
  Numbers x, dy;         ///< dy of gsconv holds both halves, one after another in each picture, before the shuffle
  Numbers w1, w2;        ///< of the first and the second convolution of gsconv and dsc
  Numbers bias1, bias2;  ///< inference; of bn_act: the shift
  Numbers gamma1, beta1, gamma2, beta2;  ///< training; bn_act in inference: gamma1 is the factor
  static constexpr double eps = 1e-3;

  Problem(const Row& row, const Options& options);

  [[nodiscard]] const Layer& layer() const { return row.layer; }
  /// The first convolution's channels out, and those of its map.
  [[nodiscard]] index_t middle() const;
  [[nodiscard]] bool activates() const { return epilogue && layer().act != kernels::Act::none; }
};

class Side {
 public:
  Side() = default;
  virtual ~Side() = default;
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  /// What the clock holds.
  virtual void run() = 0;
  /// What the last run computed, plain, in the order that make_* states.
  virtual std::vector<Numbers> results() = 0;
  /// Names of the code that runs.
  [[nodiscard]] virtual std::string kernel() const = 0;
};

using MakeSide = std::function<std::unique_ptr<Side>(const Problem&)>;

/// The library's kernels on blocked memory; null for what it has no kernel for.
/// Results: the output; gsconv: both halves; training adds dx, then dw, dgamma, dbeta of the first convolution (or of
/// bn_act), then of the second.
std::unique_ptr<Side> make_slimneck(const Problem& problem);
/// The row's oneDNN peer, with the same results; null where oneDNN is not built in or cannot do it.
std::unique_ptr<Side> make_onednn(const Problem& problem);
/// Eigen's matrix product over gathered columns: forward convolutions with groups = 1.
std::unique_ptr<Side> make_eigen(const Problem& problem);
/// The scalar specification.
std::unique_ptr<Side> make_ref(const Problem& problem);

/// "2.6.3", empty without oneDNN.
std::string onednn_version();
/// Limits oneDNN to an instruction set; before anything else of it is used.
void limit_onednn(Isa isa);

/// Compares what both sides computed just now. Empty when they agree, else what differs: a convolution within
/// u S (4 + 2 sqrt K), S the sum of absolute products (of which `magnitude` has the numbers, else it is estimated) and
/// ten times that for Winograd; everything also within a small distance in the mean.
std::string disagreement(const Problem& problem, const std::vector<Numbers>& ours, const std::vector<Numbers>& peer,
                         const Numbers& magnitude);

/// The same problem with absolute values and no epilogue, whose result is S.
Problem magnitudes(const Problem& problem);

}  // namespace slimneck::bench
