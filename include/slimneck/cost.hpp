// What a network costs: its work in every convention in use, and pass by pass. docs/flop-conventions.md explains both.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "slimneck/model.hpp"

namespace slimneck {

/// One way to count operations: how many each kind of work is worth.
struct FlopConvention {
  std::string_view name;     ///< "conv"
  std::string_view meaning;  ///< in words
  std::string_view program;  ///< who counts so
  index_t mac = 0;           ///< a multiply-add of a convolution
  index_t bias_add = 0;      ///< an addition of a convolution's own bias
  index_t norm = 0;          ///< an output of batch norm
  index_t activation = 0;    ///< an output of an activation
  index_t upsample = 0;      ///< an output of upsampling
  index_t other = 0;         ///< an operation of anything else

  /// Operations, exactly.
  [[nodiscard]] SLIMNECK_EXPORT index_t count(const Cost& cost) const noexcept;
  /// The same in units of 1e9.
  [[nodiscard]] SLIMNECK_EXPORT double giga(const Cost& cost) const noexcept;
};

/// All of them, the plainest first: mac, conv, ... , arithmetic.
SLIMNECK_EXPORT std::span<const FlopConvention> flop_conventions() noexcept;
/// The one of that name, or null.
SLIMNECK_EXPORT const FlopConvention* find_flop_convention(std::string_view name) noexcept;

/// The work of one training step, apart from updating the parameters. Every pass counts what its nodes do, for the
/// batch that the graph was built for: nothing is estimated as a multiple of another.
struct PassCosts {
  Cost forward;          ///< all outputs, decoded boxes too
  Cost input_gradient;   ///< of convolutions: dx = w^T dy. The first layer has none
  Cost weight_gradient;  ///< of convolutions: dw = dy x^T, and gradients of their biases
  Cost other_backward;   ///< of batch norm, activations, pooling, upsampling, sums at fan-outs

  /// The sum of all four.
  [[nodiscard]] SLIMNECK_EXPORT Cost step() const noexcept;
};

/// The forward of `graph` and the backward that its gradient rules give, with respect to the inputs and parameters
/// `wrt`.
SLIMNECK_EXPORT PassCosts pass_costs(const Graph& graph, std::span<const Value> wrt);

/// The passes of a model, all of it and layer by layer.
struct ModelCost {
  PassCosts total;                ///< of the whole model
  std::vector<PassCosts> layers;  ///< as Model::layers; a node's backward belongs to the node's layer
};

/// The forward of `model` and the backward that its gradient rules give, with respect to every parameter of which a
/// result depends, not to the picture.
SLIMNECK_EXPORT ModelCost model_cost(const Model& model);

}  // namespace slimneck
