// The examples of all ops that can be differentiated, but for the large ones.
#pragma once

#include <doctest/doctest.h>

#include "slimneck/gradcheck.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::test {

/// Calls check(graph) for the graph of each; there must not be too few of them.
template <class Check>
void for_each_op_case(const Check& check) {
  int checked = 0;
  for (const OpDef* op : all_ops()) {
    if (!op->cases || !op->gradient) continue;
    for (const OpCase& example : op->cases()) {
      if (example.real) continue;
      CAPTURE(op->name);
      CAPTURE(example.name);
      check(graph_of_case(*op, example));
      ++checked;
    }
  }
  CHECK(checked >= 25);
}

}  // namespace slimneck::test
