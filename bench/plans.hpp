// Ops of the library that have `real` cases, as plans of one op.
#pragma once

#include "options.hpp"

namespace slimneck::bench {

/// Registers plan/OP/CASE/fwd and plan/OP/CASE/bwd: NCHW in, NCHW out.
void add_plans(const Options& options);

}  // namespace slimneck::bench
