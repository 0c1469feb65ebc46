// Placement: which memory every value of a graph has, and which values share it. Concats are written in place by those
// who make their parts, slices and shuffles are looks at their input, and a result lies over an operand that nobody
// reads any more, where its op allows that.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "graph/program.hpp"
#include "graph/rewrite.hpp"

namespace slimneck::graph {

class Placement {
 public:
  /// What may share memory: parts with their concat, slices and shuffles with what they look at; results with operands.
  struct Sharing {
    bool channels = true, in_place = true;
  };

  /// Fills program.places and buffers, and the ports that are given. `live`: nodes that run; `constant`: nodes whose
  /// values are computed once.
  Placement(Program& program, const std::vector<char>& live, const std::vector<char>& constant,
            const std::function<Layout(Value)>& layout_of, const Sharing& sharing);

  /// The place of a value, -1 for parameters, state and values that nobody needs.
  [[nodiscard]] int home(Value v) const {
    return home_[static_cast<std::size_t>(v.node)][static_cast<std::size_t>(v.index)];
  }
  /// Is the output of this gather a look at its input?
  [[nodiscard]] bool looks(int node) const { return looks_[static_cast<std::size_t>(node)] != 0; }
  /// A place with memory of its own.
  static int add(Program& program, const Shape& logical, const Layout& layout, bool persistent);

 private:
  void place(int node, const std::function<Layout(Value)>& layout_of);
  void share_concat(int node);
  void share_gather(int node);
  void share_in_place(int node);
  [[nodiscard]] bool may_overwrite(int node, std::size_t input) const;
  bool move_into(int place, int buffer, index_t first);
  [[nodiscard]] const Place& place_of(Value v) const { return p_.places[static_cast<std::size_t>(home(v))]; }

  Program& p_;
  const Graph& g_;
  const std::vector<char>&live_, &constant_;
  Readers readers_;
  std::vector<std::vector<int>> home_;
  std::vector<char> looks_;
  std::map<int, int> moved_;               ///< buffers that became part of another one
  std::vector<std::vector<Value>> lying_;  ///< the values in each buffer
};

}  // namespace slimneck::graph
