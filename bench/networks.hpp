// Whole networks: slimneck's plan and the same network from oneDNN's primitives, in turns.
#pragma once

#include <array>
#include <memory>

#include "pair_clock.hpp"
#include "side.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::bench {

/// What a step of a network is counted as. What a side fuses counts as that which it is fused with.
enum class Work : std::uint8_t {
  conv1x1,
  conv3x3s1,
  conv3x3s2,
  stem,
  conv_other,
  depthwise,
  gsconv,         ///< both convolutions of a GSConv, which slimneck runs as one step, and what lies between them
  norm_act,       ///< batch norm, activation
  pool_upsample,  ///< max pooling, upsampling
  parameters,     ///< training: weights into the formats of convolutions, gradients out of them
  other           ///< concat, shuffle, sums, reorders
};
inline constexpr std::size_t work_count = 11;
using Budget = std::array<double, work_count>;
std::string_view name_of(Work work);

/// What both sides run: the graph for slimneck; for the peer the same one, pruned, with convolution, batch norm and
/// activation in one node. Results are the raw heads.
struct Network {
  std::string name;
  Graph graph;
  Graph fused;

  Network(const std::string& cfg, index_t img, index_t batch);

  /// Class of a convolution of `fused`, and of a step of slimneck's plan.
  [[nodiscard]] Work work_of(int node) const;
  [[nodiscard]] Work work_of(const PlanStep& step) const;
  /// Of a convolution by its shape alone.
  [[nodiscard]] Work shape_of(int node) const;
  /// Does this convolution of `fused` belong to a pair that slimneck runs as one?
  [[nodiscard]] bool paired(int node) const { return paired_[static_cast<std::size_t>(node)] != 0; }

 private:
  std::vector<char> paired_;
};

/// The numbers that both sides get.
struct NetworkProblem {
  const Network* network = nullptr;
  Parameters* parameters = nullptr;
  Numbers x;                             ///< picture, NCHW
  std::vector<Numbers> output_gradient;  ///< of every result, NCHW; training only
  bool train = false;
  bool framework = false;  ///< onednn-framework, else onednn-best
  kernels::Algorithm algorithm = kernels::Algorithm::best;

  [[nodiscard]] std::string peer() const { return framework ? "onednn-framework" : "onednn-best"; }
};

/// One implementation of a whole network.
class NetworkPeer {
 public:
  NetworkPeer() = default;
  virtual ~NetworkPeer() = default;
  NetworkPeer(const NetworkPeer&) = delete;
  NetworkPeer& operator=(const NetworkPeer&) = delete;

  /// Inference, or a step of training without the update of the parameters.
  virtual void run() = 0;
  /// A run in which every step is timed alone: seconds, and what the steps count as.
  virtual std::vector<double> timed() = 0;
  [[nodiscard]] virtual std::vector<Work> works() const = 0;
  /// Of the last run, plain.
  virtual Numbers output(std::size_t i) = 0;
  /// Of a parameter, plain; empty where there is none.
  virtual Numbers gradient(const std::string& parameter) = 0;
  /// Formats of the maps, and how often which code runs.
  [[nodiscard]] virtual std::string describe() const = 0;
};

/// The fastest of the formats that oneDNN may run the network in. Throws Error for ops that it cannot express.
std::unique_ptr<NetworkPeer> make_onednn_network(const NetworkProblem& problem);

/// A row of results.
struct NetworkRow : PairTimes {
  std::string cfg, peer;
  index_t img = 640, batch = 1;
  bool train = false;
  double outside_convolutions = 0;  ///< part of the peer's time
  double error = 0, bound = 0;      ///< largest difference over largest value
  Budget macs{}, peak_ms{}, slimneck_budget{}, peer_budget{};
  std::string peer_kernels;
};

// networks_check.cpp

/// Fills the parameters, and makes the rest.
NetworkProblem network_problem(const Network& network, Parameters& parameters, const Options& options);
Plan plan_of(const NetworkProblem& problem, const Options& options, bool direct);
/// Inference, or forward and backward. In training slimneck packs its weights against the peer that reorders its own in
/// every step, and finds them packed against the one whose weights lie ready.
void run_step(const NetworkProblem& problem, Plan& plan, Timeline* timeline = nullptr);

struct Difference {
  double error = 0;  ///< the largest one over the largest value
  double bound = 0;
  std::string where;
};
/// The peer against slimneck's direct algorithms: results, and the gradients of all parameters.
Difference compare(const NetworkProblem& problem, NetworkPeer& peer, const Options& options);

/// Compares results, then times. Prints while it measures. Returns the exit status: 1 when the sides disagree.
int run_networks(const Options& options);

// networks_report.cpp
void print_network_heading(const Options& options, double peak);
void print_network(const NetworkRow& row);
void print_network_failure(const NetworkProblem& problem, const Difference& difference);
void write_networks(const std::string& path, const std::vector<NetworkRow>& rows, const Options& options, double peak);

}  // namespace slimneck::bench
