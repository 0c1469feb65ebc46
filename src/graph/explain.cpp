#include "graph/explain.hpp"

#include <algorithm>
#include <iomanip>
#include <sstream>

namespace slimneck::graph {

namespace {

void write(std::ostream& out, const PlanStep& s) {
  out << "  " << std::left << std::setw(18) << s.op << std::setw(44) << s.name << std::setw(16) << to_string(s.shape)
      << std::setw(24) << s.layout << std::setw(16) << s.kernel << std::setw(20)
      << ((s.port ? "port +" : "arena +") + std::to_string(s.offset)) << s.bytes_read << " -> " << s.bytes_written;
  if (s.cost.macs > 0) out << ", " << s.cost.macs << " MACs";
  if (!s.fused.empty()) out << "; fused: " << s.fused;
  if (s.in_place) out << "; in place";
  if (!s.why.empty()) out << "; moved: " << s.why;
  out << '\n';
}

void list(std::ostream& out, const char* title, std::vector<PlanStep>::const_iterator begin,
          std::vector<PlanStep>::const_iterator end) {
  if (begin == end) return;
  out << title << ": " << end - begin << " steps; bytes read -> written\n";
  std::for_each(begin, end, [&](const PlanStep& s) { write(out, s); });
}

std::string where(const Program& program, const PlanOptions& options) {
  if (program.device) return "cuda:" + std::to_string(options.ordinal) + " (" + program.device->info().name + ")";
  return std::string(name_of(program.target.isa)) + ", " + std::to_string(program.target.threads) + " threads";
}

/// Keep or compute again.
void memory_choice(std::ostream& out, const PlanStats& stats) {
  std::size_t again = 0;
  for (const auto& [name, bytes] : stats.recomputed) again += bytes;
  out << "kept for the backward: " << stats.kept_bytes << " bytes; computed again: " << again << " bytes";
  for (const auto& [name, bytes] : stats.recomputed) out << ' ' << name;
  out << '\n';
}

}  // namespace

std::string explain(const Program& program, const std::vector<PlanStep>& steps, const PlanStats& stats,
                    const PlanOptions& options) {
  std::ostringstream out;
  out << (options.mode == Mode::train ? "training" : "inference") << " plan, "
      << (options.exec.dtype == DType::f64 ? "f64" : "f32") << (options.exec.reference ? ", reference" : "") << ", "
      << where(program, options) << "; rewrites:";
  for (const std::string& name : program.rewrites) out << ' ' << name;
  out << '\n';
  if (!program.refresh.empty()) out << "when parameters change: " << program.refresh.size() << " steps\n";
  const auto backward = steps.begin() + static_cast<std::ptrdiff_t>(program.forward.size());
  list(out, "forward", steps.begin(), backward);
  list(out, "backward", backward, steps.end());
  out << "arena " << stats.arena_bytes << " bytes (not below " << stats.arena_lower_bound << "), ports and constants "
      << stats.persistent_bytes << ", packed parameters " << stats.packed_bytes << ", workspace "
      << stats.workspace_bytes << "\norder of the nodes: " << stats.order << '\n';
  if (options.mode == Mode::train) memory_choice(out, stats);
  out << "lone activations: " << stats.lone_activations << "\nmoved:";
  for (const auto& [what, bytes] : stats.bytes_moved) out << ' ' << what << ' ' << bytes;
  if (stats.bytes_moved.empty()) out << " nothing";
  out << '\n';
  return out.str();
}

}  // namespace slimneck::graph
