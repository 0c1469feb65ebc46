// Where a program runs: its memory and its steps, on the CPU or on a CUDA device.
#pragma once

#include <chrono>
#include <memory>

#include "graph/program.hpp"

namespace slimneck::graph {

class Runner {
 public:
  Runner() = default;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  virtual ~Runner() = default;

  /// A view, in memory of the host, of a place in a persistent buffer.
  virtual AnyView port(const Place& place) = 0;
  /// What Plan does under these names; spans: one for each step, or null.
  virtual void refresh() = 0;
  virtual void forward(Timeline::Span* spans) noexcept = 0;
  virtual void backward(Timeline::Span* spans) noexcept = 0;
  virtual void wait() = 0;
};

/// The program, the parameters and what the options point to must outlive the runner. Steps are bound to its memory.
std::unique_ptr<Runner> cpu_runner(Program& program, Parameters& parameters, const PlanOptions& options);
std::unique_ptr<Runner> cuda_runner(Program& program, Parameters& parameters, const PlanOptions& options);

/// The view of a place, its buffer being at `offset` of the persistent memory or of the arena.
template <class T>
View<T> view_of(const Program& program, const Place& place, std::byte* arena, std::byte* persistent) {
  const Buffer& b = program.buffers[static_cast<std::size_t>(place.buffer)];
  View<T> v(reinterpret_cast<T*>((b.persistent ? persistent : arena) + b.offset), b.physical, b.block);
  v.data += place.first / b.block * v.sc;
  v.shape = place.physical();
  return v;
}

/// Of an operand that was left out.
inline AnyView absent_view(DType type) {
  AnyView absent;
  absent.type = type;
  absent.shape = {0, 0, 0, 0};
  return absent;
}

/// Gives a step its views, from `view` of an operand, and what its kernel is called with.
template <class ViewOf>
void bind_step(Step& step, const Program& program, void* workspace, const ViewOf& view) {
  const auto views = [&](const std::vector<Operand>& operands) {
    std::vector<AnyView> bound;
    for (const Operand& o : operands) bound.push_back(view(o));
    return bound;
  };
  step.in_views = views(step.in);
  step.out_views = views(step.out);
  step.call = {&program.graph.node(step.node).attributes, step.in_views, step.out_views, workspace, program.target};
  step.call.target.kernel = step.kernel;
}

/// Nanoseconds of the clock of timelines.
inline std::int64_t now() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace slimneck::graph
