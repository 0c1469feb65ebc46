#include "graph/report.hpp"

#include "graph/liveness.hpp"

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

/// What a step of Kind::pack writes.
void show_packed(const Packed& form, const Parameters& parameters, PlanStep& s) {
  s.shape = parameters.entries()[at(form.entry)].value.shape();
  s.layout = form.prepare ? "prepared" : "packed";
  s.moves = true;
  s.port = true;
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

bool lies_over_input(const Program& p, const Step& step) {
  const Place& y = p.places[at(step.out[0].index)];
  for (const Operand& o : step.in)
    if (o.kind == Operand::Kind::place)
      if (const Place& x = p.places[at(o.index)]; x.buffer == y.buffer && x.first == y.first) return true;
  return false;
}

PlanStep step_of(const Program& p, const Parameters& parameters, const Step& step, DType type) {
  PlanStep s;
  s.name = step.name;
  s.kernel = step.kernel;
  s.why = step.why;
  set_kind(p, step, s);
  for (const Operand& o : step.in) s.bytes_read += bytes_of(p, parameters, o, type);
  for (const Operand& o : step.out) s.bytes_written += bytes_of(p, parameters, o, type);
  if (step.kind == Step::Kind::pack) {
    show_packed(p.packed[at(step.out[0].index)], parameters, s);
    return s;
  }
  if (step.entry >= 0) {
    const std::size_t entry = bytes_of(p, parameters, {Operand::Kind::entry, step.entry}, type);
    s.bytes_written += entry;
    if (step.kind == Step::Kind::accumulate) s.bytes_read += entry;
  }
  const Place& shown = p.places[at((step.out.empty() ? step.in : step.out)[0].index)];
  const Buffer& buffer = p.buffers[at(shown.buffer)];
  s.shape = shown.logical;
  s.layout = describe(shown.layout);
  s.in_place = step.kind == Step::Kind::kernel && lies_over_input(p, step);
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
  s.order = program.order;
  s.recomputed = program.recomputed;
  s.kept_bytes = program.kept * size_of(type);
  for (auto& [name, bytes] : s.recomputed) bytes *= size_of(type);
  for (const PlanStep& step : steps) {
    if (step.moves) s.bytes_moved[step.op] += step.bytes_written;
    const Cost& c = step.cost;
    if (c.act_elements > 0 && c.macs == 0 && c.norm_elements == 0) ++s.lone_activations;
  }
  return s;
}

std::size_t arena_lower_bound(const Program& program, DType type) {
  const Graph& g = program.graph;
  std::vector<char> runs = running(g);
  for (const Step& step : program.refresh) runs[at(step.node)] = 0;  // lies elsewhere
  std::vector<char> movement = movements(g);
  for (const std::vector<Step>* steps : {&program.forward, &program.backward})
    for (const Step& step : *steps)
      if (const OpDef& op = *g.node(step.node).op;
          step.kind == Step::Kind::gather && op.kind == OpKind::gather && step.moves == op.name)
        movement[at(step.node)] = 0;  // had to be copied: a value of its own
  return at(liveness(g, runs, movement).peak()) * size_of(type);
}

}  // namespace slimneck::graph
