// A program on the CPU: every step is done when it returns.
#include <algorithm>
#include <utility>

#include "core/threads.hpp"
#include "graph/movement.hpp"
#include "graph/packed_store.hpp"
#include "graph/rewrite.hpp"
#include "graph/runner.hpp"
#include "slimneck/parallel.hpp"

namespace slimneck::graph {

namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

Tensor bytes_of(std::size_t count) { return Tensor({1, 1, 1, static_cast<index_t>(count)}, DType::u8); }

class CpuRunner final : public Runner {
 public:
  CpuRunner(Program& program, Parameters& parameters, const PlanOptions& options)
      : program_(program),
        params_(parameters),
        mode_(options.mode),
        type_(options.exec.dtype),
        part_(options.part),
        arena_(bytes_of(program.arena_bytes)),
        persistent_(bytes_of(program.persistent_bytes)),
        workspace_(bytes_of(std::max(program.workspace_bytes, program.refresh_workspace_bytes))) {
    take_packed();
    if (part_ != nullptr && !part_->leads()) drop_updates();
    find_complete();
    for (std::vector<Step>* steps : {&program.refresh, &program.forward, &program.backward})
      for (Step& step : *steps)
        bind_step(step, program, workspace_.raw(),
                  [&](const Operand& o) { return type_ == DType::f64 ? view<double>(o) : view<float>(o); });
  }

  AnyView port(const Place& place) override {
    return type_ == DType::f64 ? AnyView(view<double>(place)) : AnyView(view<float>(place));
  }

  void refresh() override {
    if (mode_ == Mode::train || packed_version_ == params_.version()) return;
    {
      const std::lock_guard lock(params_.packed_store().mutex);
      refresh_packed();
    }
    run_all(program_.refresh, nullptr);
  }

  void forward(Timeline::Span* spans) noexcept override {
    run_all(program_.forward, spans);
    // Inference plans fold running statistics when parameters change, and these just did.
    const bool leads = part_ == nullptr || part_->leads();
    if (leads && mode_ == Mode::train && !program_.graph.updates().empty()) params_.touch_states();
  }

  void backward(Timeline::Span* spans) noexcept override { run_all(program_.backward, spans); }

  void wait() override {}

 private:
  /// The plans of the parts of a batch share the parameters: one of them alone moves running statistics.
  void drop_updates() {
    const Readers readers(program_.graph);
    std::vector<char> drop(at(program_.graph.size()), 0);
    for (const Update& u : program_.graph.updates()) drop[at(u.value.node)] = 1;
    for (int i = 0; i < program_.graph.size(); ++i)
      for (int k = 0; k < static_cast<int>(program_.graph.node(i).shapes.size()); ++k)
        for (const int reader : readers.of({i, k}))
          if (reader >= 0) drop[at(i)] = 0;
    std::erase_if(program_.forward, [&](const Step& step) {
      return step.kind == Step::Kind::assign || (step.node >= 0 && drop[at(step.node)]);
    });
  }

  /// The last step that adds to the gradient of each parameter.
  void find_complete() {
    std::vector<char> seen(params_.entries().size(), 0);
    for (auto step = program_.backward.rbegin(); step != program_.backward.rend(); ++step)
      if (step->kind == Step::Kind::accumulate) step->completes = !std::exchange(seen[at(step->entry)], char{1});
  }

  /// Training writes its packed forms while it runs, so they are its own.
  void take_packed() {
    PackedStore& store = params_.packed_store();
    const std::lock_guard lock(store.mutex);
    for (const Packed& p : program_.packed)
      packed_.push_back(mode_ == Mode::train ? new_form(p, program_.target.isa, type_)
                                             : store.get(p, program_.target.isa, type_));
  }

  template <class T>
  [[nodiscard]] View<T> view(const Place& place) {
    return view_of<T>(program_, place, static_cast<std::byte*>(arena_.raw()),
                      static_cast<std::byte*>(persistent_.raw()));
  }

  template <class T>
  [[nodiscard]] AnyView view(const Operand& operand) {
    using Kind = Operand::Kind;
    switch (operand.kind) {
      case Kind::place: return view<T>(program_.places[at(operand.index)]);
      case Kind::packed: {
        PackedForm& form = *packed_[at(operand.index)];
        return View<T>(form.memory.data<T>(), form.what.physical);
      }
      case Kind::entry: return params_.entries()[at(operand.index)].value.template view<T>();
      case Kind::none: break;
    }
    return absent_view(dtype_of<T>);
  }

  template <class T>
  void pack(PackedForm& form) noexcept {
    graph::pack<T>(form.what, program_.target,
                   std::as_const(params_.entries()[at(form.what.entry)].value).template view<T>(),
                   form.memory.data<T>(), static_cast<T*>(workspace_.raw()));
  }

  /// Training: batches between two moves of the parameters find them packed. States move in every run.
  template <class T>
  void pack_changed(PackedForm& form) noexcept {
    const bool stays = params_.entries()[at(form.what.entry)].role == Role::parameter;
    if (stays && form.version == params_.parameters_version()) return;
    pack<T>(form);
    form.version = params_.parameters_version();
  }

  /// Inference: what another plan packed already is there.
  void refresh_packed() noexcept {
    const core::ThreadScope threads(program_.target.threads);
    for (const std::shared_ptr<PackedForm>& form : packed_) {
      if (form->version == params_.version()) continue;
      type_ == DType::f64 ? pack<double>(*form) : pack<float>(*form);
      form->version = params_.version();
    }
    packed_version_ = params_.version();
  }

  template <class T>
  void run(const Step& step) noexcept {
    using Kind = Step::Kind;
    switch (step.kind) {
      case Kind::kernel: step.run(step.call); break;
      case Kind::gather: graph::gather<T>(step, program_.target); break;
      case Kind::pack: pack_changed<T>(*packed_[at(step.out[0].index)]); break;
      case Kind::accumulate:
      case Kind::assign: {
        Parameters::Entry& entry = params_.entries()[at(step.entry)];
        const bool add = step.kind == Kind::accumulate;
        graph::unpack<T>(step.in_views[0].as<const T>(), program_.places[at(step.in[0].index)].layout, program_.target,
                         add ? gradient<T>(entry) : entry.value.view<T>(), add);
        if (step.completes && part_ != nullptr) part_->complete(step.entry);
        break;
      }
    }
  }

  template <class T>
  [[nodiscard]] View<T> gradient(const Parameters::Entry& entry) noexcept {
    if (part_ == nullptr) return params_.gradient<T>(entry);
    return View<T>(part_->gradients().data<T>() + entry.gradient_offset, entry.value.shape());
  }

  /// spans: one for each step, or null.
  void run_all(const std::vector<Step>& steps, Timeline::Span* spans) noexcept {
    const core::ThreadScope threads(program_.target.threads);
    for (const Step& step : steps) {
      if (part_ != nullptr && part_->stopped()) return;
      if (spans) spans->begin = now();
      if (type_ == DType::f64)
        run<double>(step);
      else
        run<float>(step);
      if (spans) (spans++)->end = now();
    }
  }

  Program& program_;
  Parameters& params_;
  Mode mode_;
  DType type_;
  BatchPart* part_;
  Tensor arena_, persistent_, workspace_;
  std::vector<std::shared_ptr<PackedForm>> packed_;
  std::uint64_t packed_version_ = 0;
};

}  // namespace

std::unique_ptr<Runner> cpu_runner(Program& program, Parameters& parameters, const PlanOptions& options) {
  return std::make_unique<CpuRunner>(program, parameters, options);
}

}  // namespace slimneck::graph
