// Which kernel computes a node: the op's own choice, or the fastest of those that can.
#pragma once

#include "slimneck/plan.hpp"

namespace slimneck::graph {

class Tuner {
 public:
  explicit Tuner(const PlanOptions& options) : cache_(options.tuned ? options.tuned : &own_), tune_(options.tune) {}

  /// OpDef::lower, with measuring where the options ask for it and there is a choice.
  Lowering choose(const OpDef& op, const LowerContext& context) const;

 private:
  mutable TuneCache own_;
  TuneCache* cache_;
  Tune tune_;
};

}  // namespace slimneck::graph
