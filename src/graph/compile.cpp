// A graph becomes a program: pruned, rewritten, differentiated, lowered, placed in one arena.
#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "core/memory.hpp"
#include "core/threads.hpp"
#include "graph/liveness.hpp"
#include "graph/memory_order.hpp"
#include "graph/program.hpp"
#include "graph/rewrite.hpp"
#include "kernels/cuda/available.hpp"
#include "kernels/dispatch.hpp"
#include "slimneck/parallel.hpp"

namespace slimneck::graph {

namespace {

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

/// The nodes that this mode's outputs need, and only its outputs.
Graph prune(const Graph& old, Mode mode) {
  const Graph kept =
      old.with_outputs([&](const Output& o) { return mode == Mode::infer || o.kind != OutputKind::inference; });
  std::vector<Value> roots;
  for (const Output& o : kept.outputs()) roots.push_back(o.value);
  const std::vector<char> need = old.needed(roots);
  Rebuild fresh(kept);
  for (int i = 0; i < old.size(); ++i)
    if (need[at(i)]) fresh.copy(i);
  return fresh.finish();
}

/// What a plan on a device cannot be asked for.
void check_device(const PlanOptions& options) {
  const Exec& exec = options.exec;
  if (exec.dtype != DType::f32) throw DeviceError("cuda: plans are f32 there");
  if (exec.reference) throw DeviceError("cuda: reference plans run on the CPU");
  if (exec.block > 1) throw DeviceError("cuda: maps do not lie in blocks of channels there");
  if (options.part != nullptr) throw DeviceError("cuda: a batch is not split into parts there");
}

/// The device of a plan, and its kernels in the target.
void open_device(Program& program, const PlanOptions& options) {
  if (options.exec.device == Device::cpu) return;
  const kernels::cuda::Backend backend = kernels::cuda::backend();
  check_device(options);
  program.device = std::make_shared<const kernels::cuda::Context>(*backend.runtime, options.ordinal);
  program.target.cuda = backend.entries;
}

void check(const Exec& exec) {
  constexpr std::array<index_t, 5> blocks{0, 1, 4, 8, 16};
  if (std::find(blocks.begin(), blocks.end(), exec.block) == blocks.end())
    throw Error("a block of " + std::to_string(exec.block) + " channels came, wanted 1, 4, 8 or 16");
  constexpr int most_threads = 1024;
  if (exec.threads < 0 || exec.threads > most_threads)
    throw Error(std::to_string(exec.threads) + " threads came, wanted 0 to " + std::to_string(most_threads));
}

/// Double precision has the reference kernels only, which take any block.
constexpr index_t block_of_doubles = 8;

Target target_of(const PlanOptions& options) {
  const Exec& exec = options.exec;
  Target target;
  target.train = options.mode == Mode::train;
  target.isa = kernels::resolve(exec.isa);
  target.threads = exec.threads > 0 ? exec.threads : core::max_threads();
  target.direct = exec.direct;
  target.part = options.part;
  if (exec.reference || exec.device != Device::cpu)
    target.block = 1;
  else if (exec.block > 0)
    target.block = exec.block;
  else
    target.block = exec.dtype == DType::f64 ? block_of_doubles : kernels::kernels_of(target.isa)->lanes;
  return target;
}

void check_names(const std::vector<std::string>& without) {
  for (const std::string& name : without)
    if (std::none_of(rewrites().begin(), rewrites().end(),
                     [&](const Rewrite& r) { return r.name == name && !r.always; }))
      throw Error("there is no rewrite '" + name + "' that a plan can do without");
}

/// Parts of a batch that share the statistics of batch norms.
index_t parts_of(const PlanOptions& options) {
  return options.part != nullptr && options.mode == Mode::train ? options.part->parts() : 1;
}

bool left_out(const Rewrite& rewrite, const PlanOptions& options) {
  const bool infers_on_cuda = options.exec.device == Device::cuda && options.mode == Mode::infer;
  if (rewrite.cuda_infers_without && infers_on_cuda) return true;
  if (parts_of(options) > 1 ? rewrite.hides_statistics : rewrite.share != nullptr) return true;
  return !rewrite.always && (options.exec.reference || std::find(options.without.begin(), options.without.end(),
                                                                 rewrite.name) != options.without.end());
}

void rewrite(Program& program, const PlanOptions& options, bool late) {
  for (const Rewrite& r : rewrites()) {
    if (r.late != late || left_out(r, options)) continue;
    program.graph = r.share ? r.share(program.graph, parts_of(options)) : r.apply(program.graph, options.mode);
    program.rewrites.emplace_back(r.name);
  }
}

/// What the options allow, or the machine or its device has.
std::size_t arena_elements(const Program& program, const PlanOptions& options) {
  const std::size_t bytes = options.memory > 0 ? options.memory
                            : program.device   ? program.device->free_memory()
                                               : core::physical_memory();
  return bytes > 0 ? bytes / size_of(options.exec.dtype) : std::numeric_limits<std::size_t>::max();
}

/// Rather an error than a machine that swaps, or a process that is killed when it touches the pages. Devices say so
/// themselves.
void check_memory(const Program& program) {
  if (program.device) return;
  std::size_t wanted = 0;
  for (const std::size_t part :
       {program.arena_bytes, program.persistent_bytes, program.packed_bytes, program.workspace_bytes})
    wanted = core::add_sizes(wanted, part);
  const std::size_t there = core::physical_memory();
  const auto mib = [](std::size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; };
  if (there > 0 && wanted > there)
    throw Error("the plan needs " + mib(wanted) + " of memory, this machine has " + mib(there) +
                ": use smaller pictures or a smaller batch");
}

/// Lowers, and places the values in the arena. What is computed again is chosen by logical bytes; when holes and copies
/// then make the arena larger than it may be, once more with less to keep.
void place(Program& program, const Parameters& parameters, const PlanOptions& options) {
  constexpr int attempts = 8;
  const std::size_t limit = arena_elements(program, options);
  const bool may_choose = options.mode == Mode::train && !options.exec.reference;
  const std::optional<Program> before = may_choose ? std::optional(program) : std::nullopt;
  std::size_t most = limit;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    if (attempt > 0) program = *before;
    if (may_choose) choose_recomputed(program, most);
    lower(program, parameters, options, forward_nodes(program.graph));
    assign_offsets(program, options.exec.dtype);
    const std::size_t came = program.arena_bytes / size_of(options.exec.dtype);
    if (!may_choose || came <= limit || most == 0) return;
    most -= std::min(most, std::max(came - limit, most / 64));
  }
}

}  // namespace

Program compile(const Graph& graph, const Parameters& parameters, const PlanOptions& options) {
  check(options.exec);
  check_names(options.without);
  if (options.exec.dtype != parameters.dtype()) throw Error("the plan and its parameters differ in element type");
  Program program;
  program.target = target_of(options);
  open_device(program, options);
  program.graph = prune(graph, options.mode);
  rewrite(program, options, false);
  if (options.mode == Mode::train) {
    std::vector<Value> wrt;
    for (int i = 0; i < program.graph.size(); ++i) {
      const Role role = program.graph.node(i).role;
      if (role == Role::parameter || (role == Role::input && options.input_gradients)) wrt.push_back({i, 0});
    }
    program.graph = differentiate(program.graph, wrt);
  }
  rewrite(program, options, true);
  if (!options.exec.reference) choose_order(program, options.mode);
  place(program, parameters, options);
  check_memory(program);
  return program;
}

}  // namespace slimneck::graph

namespace slimneck {

void require_device(Device device, int ordinal) {
  if (device != Device::cpu) const kernels::cuda::Context context(*kernels::cuda::backend().runtime, ordinal);
}

}  // namespace slimneck
