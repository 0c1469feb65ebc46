#include "graph/report.hpp"

#include <algorithm>

namespace slimneck::graph {

namespace {

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

/// Bytes of an operand as it lies in memory.
std::size_t bytes_of(const Program& p, const Parameters& parameters, const Operand& o, DType type) {
  index_t elements = 0;
  switch (o.kind) {
    case Operand::Kind::place: elements = p.places[at(o.index)].physical().numel(); break;
    case Operand::Kind::packed: elements = p.packed[at(o.index)].elements; break;
    case Operand::Kind::entry: elements = parameters.entries()[at(o.index)].value.numel(); break;
    case Operand::Kind::none: break;
  }
  return at(elements) * size_of(type);
}

void set_kind(const Program& p, const Step& step, PlanStep& s) {
  const OpDef& op = *p.graph.node(step.node).op;
  if (step.kind == Step::Kind::gather) {
    s.op = step.moves;
    s.moves = true;
  } else if (step.kind == Step::Kind::kernel) {
    s.op = op.name;
    s.fused = op.stands_for;
    s.moves = op.rearranges;
    const Node& n = p.graph.node(step.node);
    if (op.cost) s.cost = op.cost(n.attributes, input_shapes(p.graph, n), n.shapes);
  } else {
    s.op = step.kernel;
  }
}

PlanStep step_of(const Program& p, const Parameters& parameters, const Step& step, DType type) {
  PlanStep s;
  s.name = step.name;
  s.kernel = step.kernel;
  s.why = step.why;
  set_kind(p, step, s);
  for (const Operand& o : step.in) s.bytes_read += bytes_of(p, parameters, o, type);
  for (const Operand& o : step.out) s.bytes_written += bytes_of(p, parameters, o, type);
  if (step.entry >= 0) {
    const std::size_t entry = bytes_of(p, parameters, {Operand::Kind::entry, step.entry}, type);
    s.bytes_written += entry;
    if (step.kind == Step::Kind::accumulate) s.bytes_read += entry;
  }
  const Place& shown = p.places[at((step.out.empty() ? step.in : step.out)[0].index)];
  const Buffer& buffer = p.buffers[at(shown.buffer)];
  s.shape = shown.logical;
  s.layout = describe(shown.layout);
  s.port = buffer.persistent;
  s.offset = buffer.offset + at(shown.first * buffer.physical.h * buffer.physical.w) * size_of(type);
  return s;
}

}  // namespace

std::vector<PlanStep> steps_of(const Program& program, const Parameters& parameters, DType type) {
  std::vector<PlanStep> list;
  for (const std::vector<Step>* steps : {&program.forward, &program.backward})
    for (const Step& step : *steps) {
      list.push_back(step_of(program, parameters, step, type));
      list.back().backward = steps == &program.backward;
    }
  return list;
}

std::vector<PlanBuffer> buffers_of(const Program& program, DType type) {
  std::vector<PlanBuffer> list(program.buffers.size());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Buffer& b = program.buffers[i];
    list[i] = {{}, b.offset, b.bytes(type), b.first_step, b.last_step};
  }
  for (const std::vector<Step>* steps : {&program.forward, &program.backward})
    for (const Step& step : *steps)
      for (const Operand& o : step.out)
        if (o.kind == Operand::Kind::place)
          if (PlanBuffer& b = list[at(program.places[at(o.index)].buffer)]; b.name.empty()) b.name = step.name;
  std::size_t next = 0;
  std::erase_if(list, [&](const PlanBuffer& b) { return program.buffers[next++].persistent || b.first_step < 0; });
  return list;
}

PlanStats stats(const Program& program, const std::vector<PlanStep>& steps, DType type) {
  PlanStats s;
  s.arena_bytes = program.arena_bytes;
  s.arena_lower_bound = arena_lower_bound(program, type);
  s.persistent_bytes = program.persistent_bytes;
  s.packed_bytes = program.packed_bytes;
  s.workspace_bytes = program.workspace_bytes;
  s.steps = steps.size();
  for (const PlanStep& step : steps) {
    if (step.moves) s.bytes_moved[step.op] += step.bytes_written;
    const Cost& c = step.cost;
    if (c.act_elements > 0 && c.macs == 0 && c.norm_elements == 0) ++s.lone_activations;
  }
  return s;
}

namespace {

/// Flags of the nodes whose output is other values, put together or looked at. A permutation or slice that had to be
/// copied is a value of its own.
std::vector<char> movements(const Program& p) {
  std::vector<char> flags;
  for (const Node& n : p.graph.nodes())
    flags.push_back(n.role == Role::computed && (n.op->kind == OpKind::concat || n.op->kind == OpKind::gather));
  for (const std::vector<Step>* steps : {&p.forward, &p.backward})
    for (const Step& step : *steps)
      if (const OpDef& op = *p.graph.node(step.node).op;
          step.kind == Step::Kind::gather && op.kind == OpKind::gather && step.moves == op.name)
        flags[at(step.node)] = 0;
  return flags;
}

/// A number for every output of every node.
template <class T>
std::vector<std::vector<T>> for_each_value(const Graph& g, T number) {
  std::vector<std::vector<T>> all;
  for (const Node& n : g.nodes()) all.emplace_back(n.shapes.size(), number);
  return all;
}

/// Flags of the values that leave the plan, so that they may be computed where the caller reads them.
std::vector<std::vector<char>> leaving(const Graph& g) {
  std::vector<std::vector<char>> flags = for_each_value<char>(g, 0);
  const auto flag = [&](Value v) { flags[at(v.node)][at(v.index)] = 1; };
  for (const Output& o : g.outputs()) flag(o.value);
  for (const Gradient& d : g.gradients())
    if (g.node(d.of).role != Role::parameter) flag(d.gradient);
  return flags;
}

}  // namespace

std::size_t arena_lower_bound(const Program& program, DType type) {
  const Graph& g = program.graph;
  std::vector<Value> roots;
  for (const Output& o : g.outputs()) roots.push_back(o.value);
  for (const Update& u : g.updates()) roots.push_back(u.value);
  for (const Gradient& d : g.gradients()) roots.push_back(d.gradient);
  std::vector<char> live = g.needed(roots);
  for (const Step& step : program.refresh) live[at(step.node)] = 0;  // constants lie elsewhere
  const std::vector<char> movement = movements(program);

  // The last node that reads each node's values, found from the end: a movement keeps what it reads as long as it is
  // kept itself, and is no value of its own.
  std::vector<std::vector<int>> last = for_each_value(g, 0);
  for (int i = 0; i < g.size(); ++i) std::fill(last[at(i)].begin(), last[at(i)].end(), i);
  for (int i = g.size() - 1; i >= 0; --i) {
    const Node& n = g.node(i);
    if (!live[at(i)] || n.role != Role::computed) continue;
    const int until = movement[at(i)] ? *std::max_element(last[at(i)].begin(), last[at(i)].end()) : i;
    for (const Value& v : n.inputs)
      if (v.valid()) last[at(v.node)][at(v.index)] = std::max(last[at(v.node)][at(v.index)], until);
  }
  const std::vector<std::vector<char>> leaves = leaving(g);
  std::vector<index_t> change(at(g.size()) + 1, 0);
  for (int i = 0; i < g.size(); ++i) {
    const Node& n = g.node(i);
    if (!live[at(i)] || n.role != Role::computed || movement[at(i)]) continue;
    for (std::size_t k = 0; k < n.shapes.size(); ++k) {
      if (leaves[at(i)][k]) continue;
      change[at(i)] += n.shapes[k].numel();
      change[at(last[at(i)][k]) + 1] -= n.shapes[k].numel();
    }
  }
  index_t now = 0, most = 0;
  for (const index_t c : change) most = std::max(most, now += c);
  return at(most) * size_of(type);
}

}  // namespace slimneck::graph
