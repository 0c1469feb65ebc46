// A program on a CUDA device. One piece of device memory holds everything: the arena, scratch memory, ports, lists of
// channels, an image of the parameters as kernels read them, and what steps made of it for themselves; ports and image
// have a twin in memory of the host. The forward is copies of inputs, steps, copies of outputs, the backward likewise,
// each captured once as a graph. Sums into gradients, new running statistics and what depends on parameters alone are
// the host's.
#include <algorithm>
#include <cstdlib>
#include <utility>

#include "graph/movement.hpp"
#include "graph/runner.hpp"
#include "kernels/cuda/entries.hpp"

namespace slimneck::graph {

namespace {

namespace cuda = kernels::cuda;
using cuda::Direction;

std::size_t at(int i) { return static_cast<std::size_t>(i); }

/// Pieces one after another, each where a device likes to begin.
class Sections {
 public:
  std::size_t take(std::size_t bytes) {
    constexpr std::size_t alignment = 256;
    return std::exchange(taken_, taken_ + (bytes + alignment - 1) / alignment * alignment);
  }
  [[nodiscard]] std::size_t taken() const noexcept { return taken_; }

 private:
  std::size_t taken_ = 0;
};

/// Bytes of the persistent memory.
struct Range {
  std::size_t begin = 0, end = 0;
};

/// Every step by itself, and done before the next one: failures inside kernels then name their node.
bool one_by_one() {
  const char* text = std::getenv("SLIMNECK_CUDA_SYNC");
  return text != nullptr && std::string_view(text) == "1";
}

class CudaRunner final : public Runner {
 public:
  CudaRunner(Program& program, Parameters& parameters, const PlanOptions& options)
      : program_(program),
        params_(parameters),
        train_(options.mode == Mode::train),
        stream_(*program.device, options.exec.stream),
        sections_(divide()),
        device_(*program.device, sections_.all, "the plan"),
        host_(*program.device, program.persistent_bytes + sections_.image_bytes, "the plan's ports and parameters"),
        workspace_({1, 1, 1, static_cast<index_t>(program.refresh_workspace_bytes)}, DType::u8) {
    stream_.set_tf32(options.tf32);
    load_lists();
    bind();
    if (one_by_one()) return;
    forward_graph_ = captured([&] { queue_forward(nullptr); });
    if (train_) backward_graph_ = captured([&] { queue_backward(nullptr); });
  }

  AnyView port(const Place& place) override { return view_of<float>(program_, place, nullptr, host_.data()); }

  void refresh() override {
    if (train_) return keep_parameters();
    if (version_ == params_.version()) return;
    stream_.select();
    stream_.finish();
    for (const Role role : {Role::parameter, Role::state}) fill_image(role);
    for (const Step& step : program_.refresh)
      step.kind == Step::Kind::gather ? gather<float>(step, program_.target) : step.run(step.call);
    upload_image(0, sections_.image_bytes);
    for (const Step& step : program_.forward)
      if (step.prepare_kept) step.prepare_kept(step.call);
    copy(constants_, Direction::to_device);
    stream_.wait();
    version_ = params_.version();
  }

  void forward(Timeline::Span* spans) noexcept override {
    if (train_) {
      keep_parameters();
      fill_image(Role::state);
    }
    run(forward_graph_, "the forward", spans, [&] { queue_forward(spans); });
    forward_ran_ = true;
  }

  void backward(Timeline::Span* spans) noexcept override {
    run(backward_graph_, "the backward", spans, [&] { queue_backward(spans); });
    backward_ran_ = true;
  }

  void wait() override {
    const bool forward = std::exchange(forward_ran_, false), backward = std::exchange(backward_ran_, false);
    stream_.select();
    stream_.wait();
    if (forward && train_) {
      deliver(program_.forward);
      // Inference plans fold running statistics when parameters change, and these just did.
      if (!program_.graph.updates().empty()) params_.touch_states();
    }
    if (backward) deliver(program_.backward);
  }

 private:
  static bool is_sink(const Step& step) {
    return step.kind == Step::Kind::accumulate || step.kind == Step::Kind::assign;
  }

  // ---- memory ----
  struct Parts {
    std::size_t workspace = 0, ports = 0, lists = 0, image = 0, kept = 0, all = 0;  ///< where they begin, and their end
    std::size_t image_bytes = 0, states = 0;  ///< the image, and where states begin in it, behind the parameters
  };

  /// The parts of the device's memory; the arena comes first.
  Parts divide() {
    Parts parts;
    Sections image;
    packed_at_.assign(program_.packed.size(), none);
    entry_at_.assign(params_.entries().size(), none);
    take_entries(Role::parameter, image);
    parts.states = image.taken();
    take_entries(Role::state, image);
    std::size_t listed = 0;
    Sections kept;
    for (const std::vector<Step>* steps : {&program_.forward, &program_.backward})
      for (const Step& step : *steps) {
        listed += step.list.size();
        kept_at_.push_back(kept.take(at_floats(step.kept)));
      }
    Sections all;
    static_cast<void>(all.take(program_.arena_bytes));
    parts.workspace = all.take(program_.workspace_bytes);
    parts.ports = all.take(program_.persistent_bytes);
    parts.lists = all.take(listed * sizeof(int));
    parts.image = all.take(image.taken());
    parts.kept = all.take(kept.taken());
    parts.all = all.taken();
    parts.image_bytes = image.taken();
    return parts;
  }

  [[nodiscard]] bool has_role(int entry, Role role) const { return params_.entries()[at(entry)].role == role; }

  /// Room in the image for what steps read of the entries of this role.
  void take_entries(Role role, Sections& image) {
    for (std::size_t i = 0; i < packed_at_.size(); ++i)
      if (const Packed& p = program_.packed[i]; has_role(p.entry, role))
        packed_at_[i] = image.take(at_floats(p.elements));
    for (const std::vector<Step>* steps : {&program_.forward, &program_.backward})
      for (const Step& step : *steps)
        for (const Operand& o : step.in)
          if (o.kind == Operand::Kind::entry && entry_at_[at(o.index)] == none && has_role(o.index, role))
            entry_at_[at(o.index)] = image.take(params_.entries()[at(o.index)].value.bytes());
  }

  static std::size_t at_floats(index_t count) { return static_cast<std::size_t>(count) * sizeof(float); }

  [[nodiscard]] std::byte* device(std::size_t offset) const { return static_cast<std::byte*>(device_.data()) + offset; }
  [[nodiscard]] std::byte* host_image() const { return host_.data() + program_.persistent_bytes; }

  /// The channel lists of gathers, for the device.
  void load_lists() {
    std::vector<int> lists;
    for (std::vector<Step>* steps : {&program_.forward, &program_.backward})
      for (const Step& step : *steps) {
        list_at_.push_back(reinterpret_cast<const int*>(device(sections_.lists)) + lists.size());
        std::transform(step.list.begin(), step.list.end(), std::back_inserter(lists),
                       [](index_t channel) { return static_cast<int>(channel); });
      }
    stream_.copy(device(sections_.lists), lists.data(), lists.size() * sizeof(int), Direction::to_device);
    stream_.wait();
  }

  /// The view of an operand, its places at `arena` and `ports`, its packed forms in `image`.
  [[nodiscard]] AnyView view(const Operand& o, std::byte* arena, std::byte* ports, std::byte* image) const {
    using Kind = Operand::Kind;
    switch (o.kind) {
      case Kind::place: return view_of<float>(program_, program_.places[at(o.index)], arena, ports);
      case Kind::packed:
        return View<float>(reinterpret_cast<float*>(image + packed_at_[at(o.index)]),
                           program_.packed[at(o.index)].physical);
      case Kind::entry: return entry_view(o.index, image);
      case Kind::none: break;
    }
    return absent_view(DType::f32);
  }

  /// On the host those of the parameters themselves.
  [[nodiscard]] AnyView entry_view(int entry, std::byte* image) const {
    Tensor& value = params_.entries()[at(entry)].value;
    if (image == host_image()) return value.view<float>();
    return View<float>(reinterpret_cast<float*>(image + entry_at_[at(entry)]), value.shape());
  }

  void bind() {
    const auto on_host = [&](const Operand& o) { return view(o, nullptr, host_.data(), host_image()); };
    const auto on_device = [&](const Operand& o) {
      return view(o, device(0), device(sections_.ports), device(sections_.image));
    };
    for (Step& step : program_.refresh) {
      bind_step(step, program_, workspace_.raw(), on_host);
      for (const Operand& o : step.out) constants_.push_back(range_of(o.index));
    }
    std::size_t index = 0;
    for (std::vector<Step>* steps : {&program_.forward, &program_.backward})
      for (Step& step : *steps) {
        const std::size_t kept = kept_at_[index++];
        if (is_sink(step)) {
          bind_step(step, program_, nullptr, on_host);
          (steps == &program_.forward ? results_ : gradients_).push_back(range_of(step.in[0].index));
        } else {
          bind_step(step, program_, device(sections_.workspace), on_device);
          step.call.kept = step.kept > 0 ? device(sections_.kept + kept) : nullptr;
          step.call.stream = &stream_;
        }
      }
    const auto ports = [&](const std::vector<Program::Port>& list, std::vector<Range>& ranges) {
      for (const Program::Port& p : list) ranges.push_back(range_of(p.place));
    };
    ports(program_.inputs, inputs_);
    ports(program_.outputs, results_);
    ports(program_.output_gradients, slopes_);
    ports(program_.input_gradients, gradients_);
    for (std::vector<Range>* ranges : {&constants_, &inputs_, &results_, &slopes_, &gradients_}) merge(*ranges);
  }

  [[nodiscard]] Range range_of(int place) const {
    const Buffer& b = program_.buffers[at(program_.places[at(place)].buffer)];
    constexpr std::size_t alignment = 256;  // as assign_offsets has it: neighbours become one
    return {b.offset, b.offset + (b.bytes(DType::f32) + alignment - 1) / alignment * alignment};
  }

  static void merge(std::vector<Range>& ranges) {
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
    std::vector<Range> merged;
    for (const Range& r : ranges) {
      if (merged.empty() || merged.back().end < r.begin)
        merged.push_back(r);
      else
        merged.back().end = std::max(merged.back().end, r.end);
    }
    ranges = std::move(merged);
  }

  // ---- work ----
  /// Entries of a role as kernels read them, in memory of the host.
  void fill_image(Role role) noexcept {
    for (std::size_t i = 0; i < packed_at_.size(); ++i) {
      const Packed& p = program_.packed[i];
      if (!has_role(p.entry, role)) continue;
      pack<float>(p, program_.target, std::as_const(params_.entries()[at(p.entry)].value).view<float>(),
                  reinterpret_cast<float*>(host_image() + packed_at_[i]), nullptr);
    }
    for (std::size_t i = 0; i < entry_at_.size(); ++i)
      if (const Tensor& value = params_.entries()[i].value; entry_at_[i] != none && has_role(static_cast<int>(i), role))
        std::copy_n(static_cast<const std::byte*>(value.raw()), value.bytes(), host_image() + entry_at_[i]);
  }

  void upload_image(std::size_t begin, std::size_t end) noexcept {
    stream_.copy(device(sections_.image + begin), host_image() + begin, end - begin, Direction::to_device);
  }

  /// Training: parameters go to the device when they have moved, which is after a wait(), and stay there.
  void keep_parameters() noexcept {
    if (version_ == params_.parameters_version()) return;
    stream_.select();
    fill_image(Role::parameter);
    upload_image(0, sections_.states);
    version_ = params_.parameters_version();
  }

  void copy(const std::vector<Range>& ranges, Direction direction) noexcept {
    for (const Range& r : ranges) {
      std::byte *here = host_.data() + r.begin, *there = device(sections_.ports + r.begin);
      const bool up = direction == Direction::to_device;
      stream_.copy(up ? there : here, up ? here : there, r.end - r.begin, direction);
    }
  }

  void queue_forward(Timeline::Span* spans) noexcept {
    if (train_) upload_image(sections_.states, sections_.image_bytes);
    copy(inputs_, Direction::to_device);
    queue(program_.forward, list_at_.data(), spans);
    copy(results_, Direction::to_host);
  }

  void queue_backward(Timeline::Span* spans) noexcept {
    copy(slopes_, Direction::to_device);
    queue(program_.backward, list_at_.data() + program_.forward.size(), spans);
    copy(gradients_, Direction::to_host);
  }

  /// With spans, or without graphs, each step is done before the next one.
  void queue(const std::vector<Step>& steps, const int* const* lists, Timeline::Span* spans) noexcept {
    const bool alone = spans != nullptr || (!capturing_ && !forward_graph_);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const Step& step = steps[i];
      stream_.set_node(step.name);
      if (spans) spans->begin = now();
      if (step.kind == Step::Kind::kernel)
        step.run(step.call);
      else if (step.kind == Step::Kind::gather)
        program_.target.cuda->gather_channels(stream_, step.in_views[0].as<const float>(),
                                              step.out_views[0].as<float>(), lists[i], kernels::Write::set);
      if (alone) stream_.finish();
      if (spans) (spans++)->end = now();
    }
  }

  template <class Queue>
  [[nodiscard]] std::unique_ptr<cuda::Graph> captured(const Queue& queue_all) {
    stream_.begin_capture();
    capturing_ = true;
    queue_all();
    capturing_ = false;
    return stream_.end_capture();
  }

  template <class Queue>
  void run(const std::unique_ptr<cuda::Graph>& graph, std::string_view name, const Timeline::Span* spans,
           const Queue& queue_all) noexcept {
    stream_.select();
    if (!graph || spans) return queue_all();
    stream_.set_node(name);
    stream_.launch(*graph);
  }

  /// What the device computed goes where it belongs in the parameters.
  void deliver(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
      if (!is_sink(step)) continue;
      Parameters::Entry& entry = params_.entries()[at(step.entry)];
      const bool add = step.kind == Step::Kind::accumulate;
      unpack<float>(step.in_views[0].as<const float>(), program_.places[at(step.in[0].index)].layout, program_.target,
                    add ? params_.gradient<float>(entry) : entry.value.view<float>(), add);
    }
  }

  static constexpr std::size_t none = ~std::size_t{0};

  Program& program_;
  Parameters& params_;
  bool train_, capturing_ = false, forward_ran_ = false, backward_ran_ = false;
  cuda::Stream stream_;
  std::vector<std::size_t> packed_at_, entry_at_;  ///< bytes into the image; `none`: no step reads the entry
  std::vector<std::size_t> kept_at_;               ///< of each step of the forward, then of the backward
  Parts sections_;
  cuda::Memory device_;
  cuda::HostMemory host_;            ///< ports, then the image
  Tensor workspace_;                 ///< of the refresh
  std::vector<const int*> list_at_;  ///< of each step of the forward, then of the backward
  std::vector<Range> constants_, inputs_, results_, slopes_, gradients_;
  std::unique_ptr<cuda::Graph> forward_graph_, backward_graph_;
  std::uint64_t version_ = 0;  ///< of what the image holds
};

}  // namespace

std::unique_ptr<Runner> cuda_runner(Program& program, Parameters& parameters, const PlanOptions& options) {
  return std::make_unique<CudaRunner>(program, parameters, options);
}

}  // namespace slimneck::graph
