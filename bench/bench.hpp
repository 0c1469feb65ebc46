// What the benchmarks share.
#pragma once

#include <benchmark/benchmark.h>

#include <string>

#include "slimneck/ops.hpp"

namespace slimneck::bench {

/// A graph whose only computed work is the op: operand 0, and those that are no weights or vectors of it, are inputs;
/// the others are parameters. An identity permutation in front brings each input into the plan's blocks, as inside of a
/// network, and is part of what is measured, like the way back to NCHW behind.
Graph graph_of(const OpDef& op, const OpCase& example);

/// The numbers that inputs hold: multiples of 0.02 in -1..1.
void fill(float* first, index_t count);

/// Multiply-adds a second, if the work has any.
void count_macs(benchmark::State& state, index_t macs);

/// "1x64x80x80 64x64x3x3".
std::string shapes_of(const OpCase& example);

/// Adds oneDNN's convolution of every real case of conv2d; nothing where oneDNN is not built in.
void register_onednn();

}  // namespace slimneck::bench
