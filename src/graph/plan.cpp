#include "slimneck/plan.hpp"

#include "graph/explain.hpp"
#include "graph/program.hpp"
#include "graph/report.hpp"
#include "graph/runner.hpp"

namespace slimneck {

struct Plan::Impl {
  Impl(const Graph& graph, Parameters& parameters, const PlanOptions& plan_options)
      : params(parameters),
        options(plan_options),
        program(graph::compile(graph, parameters, plan_options)),
        runner(program.device ? graph::cuda_runner(program, parameters, options)
                              : graph::cpu_runner(program, parameters, options)) {}

  /// Where the spans of steps from `first` on are written; null for a timeline that is not one of this plan.
  [[nodiscard]] Timeline::Span* spans(Timeline* timeline, std::size_t first) const noexcept {
    const bool fits = timeline && timeline->steps.size() == program.forward.size() + program.backward.size();
    return fits ? timeline->steps.data() + first : nullptr;
  }

  void require(DType type) const {
    if (type != options.exec.dtype) throw Error("the plan has another element type than was asked for");
  }

  [[nodiscard]] AnyView port(const graph::Program::Port& p) {
    return runner->port(program.places[static_cast<std::size_t>(p.place)]);
  }

  [[nodiscard]] AnyView port(const std::vector<graph::Program::Port>& ports, std::string_view name, DType type,
                             const char* what) {
    require(type);
    for (const graph::Program::Port& p : ports)
      if (p.name == name) return port(p);
    throw Error("the plan has no " + std::string(what) + " '" + std::string(name) + "'");
  }

  Parameters& params;
  PlanOptions options;
  graph::Program program;
  std::unique_ptr<graph::Runner> runner;
};

Plan::Plan(const Graph& graph, Parameters& parameters, const PlanOptions& options)
    : impl_(std::make_unique<Impl>(graph, parameters, options)) {
  refresh();
}
Plan::~Plan() = default;
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;

AnyView Plan::input_any(std::size_t i, DType type) {
  if (i >= impl_->program.inputs.size()) throw Error("the plan has no input " + std::to_string(i));
  impl_->require(type);
  return impl_->port(impl_->program.inputs[i]);
}
AnyView Plan::output_any(std::string_view name, DType type) {
  return impl_->port(impl_->program.outputs, name, type, "output");
}
AnyView Plan::output_gradient_any(std::string_view name, DType type) {
  return impl_->port(impl_->program.output_gradients, "grad." + std::string(name), type, "output gradient");
}
AnyView Plan::input_gradient_any(std::size_t i, DType type) {
  if (i >= impl_->program.inputs.size()) throw Error("the plan has no input " + std::to_string(i));
  return impl_->port(impl_->program.input_gradients, impl_->program.inputs[i].name, type, "input gradient");
}

std::vector<std::string> Plan::outputs() const {
  std::vector<std::string> names;
  for (const graph::Program::Port& p : impl_->program.outputs) names.push_back(p.name);
  return names;
}

void Plan::refresh() { impl_->runner->refresh(); }

void Plan::forward(Timeline* timeline) noexcept { impl_->runner->forward(impl_->spans(timeline, 0)); }

void Plan::backward(Timeline* timeline) noexcept {
  impl_->runner->backward(impl_->spans(timeline, impl_->program.forward.size()));
}

void Plan::wait() { impl_->runner->wait(); }

std::string Plan::explain() const {
  const std::vector<PlanStep> list = steps();
  return graph::explain(impl_->program, list, graph::stats(impl_->program, list, impl_->options.exec.dtype),
                        impl_->options);
}

PlanStats Plan::stats() const { return graph::stats(impl_->program, steps(), impl_->options.exec.dtype); }

std::vector<PlanStep> Plan::steps() const {
  return graph::steps_of(impl_->program, impl_->params, impl_->options.exec.dtype);
}

std::vector<PlanBuffer> Plan::buffers() const { return graph::buffers_of(impl_->program, impl_->options.exec.dtype); }

Timeline Plan::timeline() const {
  Timeline timeline;
  timeline.steps.resize(impl_->program.forward.size() + impl_->program.backward.size());
  return timeline;
}

}  // namespace slimneck
