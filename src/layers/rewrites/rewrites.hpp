// The rewrites that know particular ops; one file each.
#pragma once

#include "graph/rewrite.hpp"

namespace slimneck::rewrites {

#define SN_REWRITE(name) extern const graph::Rewrite name;
#include "layers/rewrites/rewrites.inc"
#undef SN_REWRITE

}  // namespace slimneck::rewrites
