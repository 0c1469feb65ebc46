#include "graph/explain.hpp"

#include <iomanip>
#include <sstream>

namespace slimneck::graph {

namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

const Place& target(const Program& p, const Step& step) { return p.places[at(step.out[0].index)]; }

std::size_t bytes_written(const Program& p, const Step& step, DType type) {
  return static_cast<std::size_t>(target(p, step).physical().numel()) * size_of(type);
}

/// "nChw16c", with the number of holes and whether the channels are in another order.
std::string describe(const Layout& layout) {
  std::string text = layout.block == 1 ? "nchw" : "nChw" + std::to_string(layout.block) + "c";
  index_t holes = 0, next = 0;
  bool moved = false;
  for (const index_t c : layout.c) {
    if (c < 0)
      ++holes;
    else
      moved = moved || c != next++;
  }
  if (moved) text += " permuted";
  if (holes > 0) text += " +" + std::to_string(holes) + " holes";
  return text;
}

void list(std::ostream& out, const Program& p, const std::vector<Step>& steps, const char* title, DType type) {
  out << title << ": " << steps.size() << " steps\n";
  for (const Step& step : steps) {
    const Node& node = p.graph.node(step.node);
    std::string op(node.op->name);
    if (step.kind == Step::Kind::gather)
      op = step.moves;
    else if (step.kind != Step::Kind::kernel)
      op = step.kernel;
    out << "  " << std::left << std::setw(18) << op << std::setw(44) << step.name;
    if (!step.out.empty()) {
      const Place& y = target(p, step);
      const Buffer& b = p.buffers[at(y.buffer)];
      out << std::setw(16) << to_string(y.logical) << std::setw(24) << describe(y.layout) << std::setw(12)
          << step.kernel << (b.persistent ? "port " : "arena ") << "+" << b.offset;
      if (y.first > 0) out << " channel " << y.first;
      if (step.kind == Step::Kind::gather) out << " moves " << bytes_written(p, step, type) << " bytes";
    }
    out << '\n';
  }
}

}  // namespace

PlanStats stats(const Program& program, const PlanOptions& options) {
  PlanStats s;
  s.arena_bytes = program.arena_bytes;
  s.persistent_bytes = program.persistent_bytes;
  s.packed_bytes = program.packed_bytes;
  s.workspace_bytes = program.workspace_bytes;
  s.steps = program.forward.size() + program.backward.size();
  for (const std::vector<Step>* steps : {&program.forward, &program.backward})
    for (const Step& step : *steps)
      if (step.kind == Step::Kind::gather)
        s.bytes_moved[step.moves] += bytes_written(program, step, options.exec.dtype);
  return s;
}

std::string explain(const Program& program, const PlanOptions& options) {
  std::ostringstream out;
  out << (options.mode == Mode::train ? "training" : "inference") << " plan, "
      << (options.exec.dtype == DType::f64 ? "f64" : "f32") << (options.exec.reference ? ", reference" : "") << ", "
      << name_of(program.target.isa) << ", " << program.target.threads << " threads"
      << "; rewrites:";
  for (const std::string& name : program.rewrites) out << ' ' << name;
  out << '\n';
  list(out, program, program.forward, "forward", options.exec.dtype);
  if (!program.backward.empty()) list(out, program, program.backward, "backward", options.exec.dtype);
  const PlanStats s = stats(program, options);
  out << "arena " << s.arena_bytes << " bytes, ports " << s.persistent_bytes << ", packed parameters " << s.packed_bytes
      << ", workspace " << s.workspace_bytes << "\nmoved:";
  for (const auto& [what, bytes] : s.bytes_moved) out << ' ' << what << ' ' << bytes;
  if (s.bytes_moved.empty()) out << " nothing";
  out << '\n';
  return out.str();
}

}  // namespace slimneck::graph
