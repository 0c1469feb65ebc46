#include "slimneck/plan.hpp"

#include <chrono>
#include <utility>

#include "core/threads.hpp"
#include "graph/explain.hpp"
#include "graph/movement.hpp"
#include "graph/packed_store.hpp"
#include "graph/program.hpp"
#include "graph/report.hpp"
#include "graph/rewrite.hpp"
#include "slimneck/kernels.hpp"
#include "slimneck/parallel.hpp"

namespace slimneck {

namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

std::int64_t now() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Tensor bytes_of(std::size_t count) { return Tensor({1, 1, 1, static_cast<index_t>(count)}, DType::u8); }

}  // namespace

struct Plan::Impl {
  Impl(const Graph& graph, Parameters& parameters, const PlanOptions& plan_options)
      : params(parameters), options(plan_options), program(graph::compile(graph, parameters, plan_options)) {
    arena = bytes_of(program.arena_bytes);
    persistent = bytes_of(program.persistent_bytes);
    take_packed();
    workspace = bytes_of(program.workspace_bytes);
    if (options.part != nullptr && !options.part->leads()) drop_updates();
    find_complete();
    for (std::vector<graph::Step>* steps : {&program.refresh, &program.forward, &program.backward})
      for (graph::Step& step : *steps) bind(step);
  }

  /// The plans of the parts of a batch share the parameters: one of them alone moves running statistics.
  void drop_updates() {
    const graph::Readers readers(program.graph);
    std::vector<char> drop(at(program.graph.size()), 0);
    for (const Update& u : program.graph.updates()) drop[at(u.value.node)] = 1;
    for (int i = 0; i < program.graph.size(); ++i)
      for (int k = 0; k < static_cast<int>(program.graph.node(i).shapes.size()); ++k)
        for (const int reader : readers.of({i, k}))
          if (reader >= 0) drop[at(i)] = 0;
    std::erase_if(program.forward, [&](const graph::Step& step) {
      return step.kind == graph::Step::Kind::assign || (step.node >= 0 && drop[at(step.node)]);
    });
  }

  /// The last step that adds to the gradient of each parameter.
  void find_complete() {
    std::vector<char> seen(params.entries().size(), 0);
    for (auto step = program.backward.rbegin(); step != program.backward.rend(); ++step)
      if (step->kind == graph::Step::Kind::accumulate) step->completes = !std::exchange(seen[at(step->entry)], char{1});
  }

  /// Training writes its packed forms in every run, so they are its own.
  void take_packed() {
    graph::PackedStore& store = params.packed_store();
    const std::lock_guard lock(store.mutex);
    for (const graph::Packed& p : program.packed)
      packed.push_back(options.mode == Mode::train ? graph::new_form(p, program.target.isa, options.exec.dtype)
                                                   : store.get(p, program.target.isa, options.exec.dtype));
  }

  template <class T>
  [[nodiscard]] AnyView view(const graph::Place& place) {
    const graph::Buffer& b = program.buffers[at(place.buffer)];
    Tensor& memory = b.persistent ? persistent : arena;
    View<T> v(reinterpret_cast<T*>(memory.data<std::uint8_t>() + b.offset), b.physical, b.block);
    v.data += place.first / b.block * v.sc;
    v.shape = place.physical();
    return v;
  }

  [[nodiscard]] AnyView view(const graph::Place& place) {
    return options.exec.dtype == DType::f64 ? view<double>(place) : view<float>(place);
  }

  template <class T>
  [[nodiscard]] AnyView view(const graph::Operand& operand) {
    using Kind = graph::Operand::Kind;
    switch (operand.kind) {
      case Kind::place: return view<T>(program.places[at(operand.index)]);
      case Kind::packed: {
        graph::PackedForm& form = *packed[static_cast<std::size_t>(operand.index)];
        return View<T>(form.memory.data<T>(), form.what.physical);
      }
      case Kind::entry: return params.entries()[at(operand.index)].value.template view<T>();
      case Kind::none: break;
    }
    AnyView absent;
    absent.type = dtype_of<T>;
    absent.shape = {0, 0, 0, 0};
    return absent;
  }

  void bind(graph::Step& step) {
    const auto views = [&](const std::vector<graph::Operand>& operands) {
      std::vector<AnyView> bound;
      for (const graph::Operand& o : operands)
        bound.push_back(options.exec.dtype == DType::f64 ? view<double>(o) : view<float>(o));
      return bound;
    };
    step.in_views = views(step.in);
    step.out_views = views(step.out);
    step.call = {&program.graph.node(step.node).attributes, step.in_views, step.out_views, workspace.raw(),
                 program.target};
    step.call.target.kernel = step.kernel;
  }

  template <class T>
  void pack(graph::PackedForm& form) noexcept {
    graph::pack<T>(form.what, program.target,
                   std::as_const(params.entries()[at(form.what.entry)].value).template view<T>(), form.memory.data<T>(),
                   static_cast<T*>(workspace.raw()));
  }

  /// Inference: what another plan packed already is there.
  void refresh_packed() noexcept {
    const core::ThreadScope threads(program.target.threads);
    for (const std::shared_ptr<graph::PackedForm>& form : packed) {
      if (form->version == params.version()) continue;
      options.exec.dtype == DType::f64 ? pack<double>(*form) : pack<float>(*form);
      form->version = params.version();
    }
    packed_version = params.version();
  }

  template <class T>
  void run(const graph::Step& step) noexcept {
    using Kind = graph::Step::Kind;
    switch (step.kind) {
      case Kind::kernel: step.run(step.call); break;
      case Kind::gather: graph::gather<T>(step, program.target); break;
      case Kind::pack: pack<T>(*packed[at(step.out[0].index)]); break;
      case Kind::accumulate:
      case Kind::assign: {
        Parameters::Entry& entry = params.entries()[at(step.entry)];
        const bool add = step.kind == Kind::accumulate;
        graph::unpack<T>(step.in_views[0].as<const T>(), program.places[at(step.in[0].index)].layout, program.target,
                         add ? gradient<T>(entry) : entry.value.view<T>(), add);
        if (step.completes && options.part != nullptr) options.part->complete(step.entry);
        break;
      }
    }
  }

  template <class T>
  [[nodiscard]] View<T> gradient(const Parameters::Entry& entry) noexcept {
    if (options.part == nullptr) return params.gradient<T>(entry);
    return View<T>(options.part->gradients().data<T>() + entry.gradient_offset, entry.value.shape());
  }

  /// spans: one for each step, or null.
  void run_all(const std::vector<graph::Step>& steps, Timeline::Span* spans) noexcept {
    const core::ThreadScope threads(program.target.threads);
    for (const graph::Step& step : steps) {
      if (options.part != nullptr && options.part->stopped()) return;
      if (spans) spans->begin = now();
      if (options.exec.dtype == DType::f64)
        run<double>(step);
      else
        run<float>(step);
      if (spans) (spans++)->end = now();
    }
  }

  /// Where the spans of steps from `first` on are written; null for a timeline that is not one of this plan.
  [[nodiscard]] Timeline::Span* spans(Timeline* timeline, std::size_t first) const noexcept {
    const bool fits = timeline && timeline->steps.size() == program.forward.size() + program.backward.size();
    return fits ? timeline->steps.data() + first : nullptr;
  }

  void require(DType type) const {
    if (type != options.exec.dtype) throw Error("the plan has another element type than was asked for");
  }

  [[nodiscard]] AnyView port(const std::vector<graph::Program::Port>& ports, std::string_view name, DType type,
                             const char* what) {
    require(type);
    for (const graph::Program::Port& p : ports)
      if (p.name == name) return view(program.places[at(p.place)]);
    throw Error("the plan has no " + std::string(what) + " '" + std::string(name) + "'");
  }

  Parameters& params;
  PlanOptions options;
  graph::Program program;
  Tensor arena, persistent, workspace;
  std::vector<std::shared_ptr<graph::PackedForm>> packed;
  std::uint64_t packed_version = 0;
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
  return impl_->view(impl_->program.places[at(impl_->program.inputs[i].place)]);
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

void Plan::refresh() {
  if (impl_->options.mode == Mode::train || impl_->packed_version == impl_->params.version()) return;
  {
    const std::lock_guard lock(impl_->params.packed_store().mutex);
    impl_->refresh_packed();
  }
  impl_->run_all(impl_->program.refresh, nullptr);
}

void Plan::forward(Timeline* timeline) noexcept {
  impl_->run_all(impl_->program.forward, impl_->spans(timeline, 0));
  // Inference plans fold running statistics when parameters change, and these just did.
  const bool leads = impl_->options.part == nullptr || impl_->options.part->leads();
  if (leads && impl_->options.mode == Mode::train && !impl_->program.graph.updates().empty()) impl_->params.touch();
}

void Plan::backward(Timeline* timeline) noexcept {
  impl_->run_all(impl_->program.backward, impl_->spans(timeline, impl_->program.forward.size()));
}

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
