// From a graph to a program: places for values, steps for nodes.
#include <algorithm>
#include <map>
#include <numeric>

#include "graph/liveness.hpp"
#include "graph/placement.hpp"
#include "graph/program.hpp"
#include "graph/tuner.hpp"

namespace slimneck::graph {

namespace {

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

bool is_entry(Role role) { return role == Role::parameter || role == Role::state; }

class Lowerer {
 public:
  Lowerer(Program& program, const Parameters& parameters, const PlanOptions& options, int forward_nodes)
      : p_(program),
        g_(program.graph),
        parameters_(parameters),
        reference_(options.exec.reference),
        train_(options.mode == Mode::train),
        device_(program.device != nullptr),
        tuner_(options),
        block_(program.target.block),
        type_(options.exec.dtype),
        forward_nodes_(forward_nodes),
        live_(running(g_)),
        constant_(options.mode == Mode::infer ? constants(g_) : std::vector<char>(at(g_.size()), 0)),
        signatures_(reference_ ? std::vector<Signature>(at(g_.size())) : signatures_of(g_)),
        layouts_(g_, signatures_, live_, forward_nodes, block_, reference_, options.copy_channels),
        updates_(by_node(g_.updates(), [](const Update& u) { return u.value; })),
        gradients_(by_node(g_.gradients(), [](const Gradient& g) { return g.gradient; })),
        placement_(program, live_, constant_, [this](Value v) { return layout_of(v); },
                   {.channels = !reference_ && !options.copy_channels, .in_place = !reference_}) {}

  void run() {
    for (int i = 0; i < g_.size(); ++i) {
      const bool forward = i < forward_nodes_ && g_.node(i).role != Role::gradient;
      steps_ = constant_[at(i)] ? &p_.refresh : forward ? &p_.forward : &p_.backward;
      if (live_[at(i)]) lower(i);
    }
    set_lifetimes();
  }

 private:
  /// Of a reference plan none has one: everything is plain.
  [[nodiscard]] const Signature& signature(int node) const { return signatures_[at(node)]; }

  // ---- places ----
  int new_place(const Shape& logical, const Layout& layout, bool persistent) {
    return Placement::add(p_, logical, layout, persistent);
  }
  [[nodiscard]] int home(Value v) const { return placement_.home(v); }

  /// The solved layout; a weight gradient lies as its two axes do.
  [[nodiscard]] Layout layout_of(Value v) const {
    const int node = v.node, output = v.index;
    const Signature& s = signature(node);
    if (s.outputs.empty() || s.outputs[at(output)].n == '-') return layouts_.of(v);
    const Letters map = letters(node, s);
    Layout layout = wanted(s.outputs[at(output)], map);
    layout.order = choose(node, s, map).weights;
    return layout;
  }

  // ---- operands ----
  using Letters = std::map<char, Layout>;

  /// The layout of each letter: that of the values it names. A letter that only graph inputs carry has none where the
  /// node can read them as they lie; else they are brought into blocks.
  [[nodiscard]] Letters letters(int node, const Signature& s) const {
    const Node& n = g_.node(node);
    Letters found;
    for (std::size_t k = 0; k < s.outputs.size(); ++k)
      if (s.outputs[k].n == '-') found.try_emplace(s.outputs[k].c, layouts_.of({node, static_cast<int>(k)}));
    for (std::size_t k = 0; k < s.inputs.size(); ++k)
      if (s.inputs[k].n == '-' && n.inputs[k].valid() && g_.node(n.inputs[k]).role == Role::computed)
        found.try_emplace(s.inputs[k].c, layouts_.of(n.inputs[k]));
    Letters blocked = found;
    for (std::size_t k = 0; k < s.inputs.size(); ++k) {
      const Axes& axes = s.inputs[k];
      if (axes.n == '-' && axes.c != '-' && n.inputs[k].valid() && !is_entry(g_.node(n.inputs[k]).role))
        blocked.try_emplace(axes.c, Layout{block_, padded_identity(g_.shape(n.inputs[k]).c, block_), {}, {}});
    }
    const bool needed = blocked.size() > found.size() && block_ > 1 && !choose(node, s, found).run;
    return needed && choose(node, s, blocked).run ? blocked : found;
  }

  /// Does the node run on a device? What depends on parameters alone is computed on the host.
  [[nodiscard]] bool on_device(int node) const { return device_ && !constant_[at(node)]; }

  /// Which inputs stay what they are as long as the parameters do, and no step changes those.
  [[nodiscard]] std::vector<char> fixed_inputs(const Node& n) const {
    std::vector<char> fixed;
    for (const Value& v : n.inputs)
      fixed.push_back(!train_ && v.valid() && (is_entry(g_.node(v).role) || constant_[at(v.node)]) ? 1 : 0);
    return fixed;
  }

  /// The kernel for these layouts.
  [[nodiscard]] Lowering choose(int node, const Signature& s, const Letters& map) const {
    const Node& n = g_.node(node);
    const bool device = on_device(node);
    if (device ? !n.op->lower_cuda : device_ || !n.op->lower || reference_ || s.outputs.empty()) return {};
    const auto axes_of = [](const std::vector<Axes>& all, std::size_t k) { return k < all.size() ? all[k] : Axes{}; };
    const auto view = [&](const Shape& logical, const Axes& axes, bool entry = false) -> AnyView {
      Layout layout = wanted(axes, map);
      if (entry) layout.block = 1;
      return View<const float>(nullptr, Place{-1, 0, logical, layout}.physical(), layout.block);
    };
    std::vector<AnyView> in, out;
    for (std::size_t k = 0; k < n.inputs.size(); ++k) {
      const Value v = n.inputs[k];
      in.push_back(v.valid() ? view(g_.shape(v), axes_of(s.inputs, k), is_entry(g_.node(v).role))
                             : AnyView(View<float>{}));
    }
    for (std::size_t k = 0; k < n.shapes.size(); ++k) out.push_back(view(n.shapes[k], axes_of(s.outputs, k)));
    const std::vector<char> fixed = fixed_inputs(n);
    const LowerContext context{&n.attributes, type_, p_.target, in, out, fixed};
    return device ? n.op->lower_cuda(context) : tuner_.choose(*n.op, context);
  }

  [[nodiscard]] static Layout wanted(const Axes& axes, const Letters& letters) {
    const auto layout = [&](char letter) {
      const auto found = letters.find(letter);
      return letter == '-' || found == letters.end() ? Layout{} : found->second;
    };
    Layout result;
    result.c = layout(axes.c).c;
    if (axes.n == '-')
      result.block = layout(axes.c).block;
    else
      result.n = layout(axes.n).c;
    return result;
  }

  /// Logical order without holes needs no map, and a number per channel then no packed form.
  static void drop_identity(ChannelMap& map, index_t channels) {
    if (map == padded_identity(channels, 1)) map.clear();
  }

  Operand entry_operand(const Node& source, const Layout& want, const Lowering& lowering = {}) {
    const int entry = parameters_.find(source.name);
    if (entry < 0) throw Error("the parameters have no '" + source.name + "'");
    const Parameters::Entry& e = parameters_.entries()[at(entry)];
    if (!(e.value.shape() == source.shapes[0]))
      throw ShapeError("parameter '" + source.name + "' is " + to_string(e.value.shape()) + ", the graph wants " +
                       to_string(source.shapes[0]));
    Packed packed;
    packed.entry = entry;
    packed.layout = want;
    packed.layout.block = 1;
    drop_identity(packed.layout.n, source.shapes[0].n);
    drop_identity(packed.layout.c, source.shapes[0].c);
    packed.prepare = lowering.prepare;
    packed.variant = lowering.variant;
    if (packed.layout.plain()) return {Operand::Kind::entry, entry};
    for (std::size_t i = 0; i < p_.packed.size(); ++i)
      if (p_.packed[i].same(packed)) return {Operand::Kind::packed, static_cast<int>(i)};
    packed.physical = Place{-1, 0, source.shapes[0], packed.layout}.physical();
    packed.elements = packed.prepare ? lowering.prepared : packed.physical.numel();
    p_.packed_bytes += at(packed.elements) * size_of(type_);
    if (packed.prepare)  // from the order that the preparation reads
      p_.workspace_bytes = std::max(p_.workspace_bytes, at(packed.physical.numel()) * size_of(type_));
    p_.packed.push_back(std::move(packed));
    const Operand form{Operand::Kind::packed, static_cast<int>(p_.packed.size()) - 1};
    if (train_ && !device_) add_pack(source.name, entry, form);
    return form;
  }

  /// Training on the CPU packs what changed just before the first reader: then that finds it in the cache.
  void add_pack(const std::string& name, int entry, Operand form) {
    Step step;
    step.kind = Step::Kind::pack;
    step.node = current_;
    step.name = name;
    step.kernel = "pack";
    step.entry = entry;
    step.in = {{Operand::Kind::entry, entry}};
    step.out = {form};
    steps_->push_back(std::move(step));
  }

  /// A value as a step wants to read it; a copy is made (once) when it lies otherwise.
  Operand read(Value v, const Layout& want) {
    if (!v.valid()) return {};
    const Node& n = g_.node(v);
    if (is_entry(n.role)) return entry_operand(n, want);
    const int place = home(v);
    if (p_.places[at(place)].layout == want) return {Operand::Kind::place, place};
    for (const auto& [value, copy] : copies_)
      if (value == v && p_.places[at(copy)].layout == want) return {Operand::Kind::place, copy};
    const int copy = new_place(n.shapes[at(v.index)], want, constant_[at(v.node)]);
    std::vector<Step>* const reader = steps_;
    if (constant_[at(v.node)]) steps_ = &p_.refresh;
    add_gather(v.node, place, copy, nullptr, n.role == Role::computed ? "copy" : "reorder",
               "lies as " + describe(p_.places[at(place)].layout) + ", is read as " + describe(want));
    steps_ = reader;
    copies_.emplace_back(v, copy);
    return {Operand::Kind::place, copy};
  }

  // ---- steps ----
  void add_gather(int node, int from, int to, const std::vector<index_t>* source, std::string_view moves,
                  std::string why) {
    const Place &x = p_.places[at(from)], &y = p_.places[at(to)];
    Step step;
    step.kind = Step::Kind::gather;
    step.node = node;
    step.name = g_.node(node).name;
    step.kernel = "gather";
    step.moves = moves;
    step.why = std::move(why);
    step.in = {{Operand::Kind::place, from}};
    step.out = {{Operand::Kind::place, to}};
    step.list = gather_list(x.layout.c, x.logical.c, y.layout.c, y.logical.c, source);
    steps_->push_back(std::move(step));
  }

  void lower(int node) {
    const Node& n = g_.node(node);
    current_ = node;
    if (n.role == Role::computed) {
      switch (n.op->kind) {
        case OpKind::concat: lower_concat(node); break;
        case OpKind::gather: lower_gather(node); break;
        default: lower_compute(node); break;
      }
    }
    for (int k = 0; k < static_cast<int>(n.shapes.size()); ++k) deliver({node, k});
  }

  void lower_concat(int node) {
    const int home_place = home({node, 0});
    const Place y = p_.places[at(home_place)];
    std::vector<ChannelMap> parts = parts_in(node, y);
    if (parts.empty()) {  // an input does not end at a block there: put them together elsewhere first
      for (const Value& v : g_.node(node).inputs) parts.push_back(padded_identity(g_.shape(v).c, y.layout.block));
      const int whole = new_place(y.logical, {y.layout.block, joined(parts), {}}, constant_[at(node)]);
      copy_parts(node, p_.places[at(whole)], parts);
      add_gather(node, whole, home_place, nullptr, g_.node(node).op->name, "an input does not end at a block");
    } else {
      copy_parts(node, y, parts);
    }
  }

  /// The maps of the inputs of a concat in its output; none when one of them does not lie in whole blocks there.
  [[nodiscard]] std::vector<ChannelMap> parts_in(int node, const Place& y) const {
    const ChannelMap y_map = y.layout.c.empty() ? padded_identity(y.logical.c, 1) : y.layout.c;
    std::vector<ChannelMap> parts;
    index_t logical = 0, first = 0;
    for (const Value& v : g_.node(node).inputs) {
      std::vector<index_t> source(at(g_.shape(v).c));
      std::iota(source.begin(), source.end(), logical);
      const Part part = part_of(y_map, source, y.layout.block);
      if (part.map.empty() || part.first != first) return {};
      first += static_cast<index_t>(part.map.size());
      logical += g_.shape(v).c;
      parts.push_back(part.map);
    }
    return parts;
  }

  /// Copies the inputs of a concat that do not lie in place already.
  void copy_parts(int node, const Place& y, const std::vector<ChannelMap>& parts) {
    index_t first = y.first;
    const int y_buffer = y.buffer;
    const Shape logical = y.logical;
    const index_t block = y.layout.block;
    for (std::size_t k = 0; k < parts.size(); ++k) {
      const Value v = g_.node(node).inputs[k];
      if (is_entry(g_.node(v).role)) throw ShapeError("concat '" + g_.node(node).name + "' of a parameter");
      if (p_.places[at(home(v))].buffer != y_buffer || p_.places[at(home(v))].first != first) {
        const Shape part{logical.n, g_.shape(v).c, logical.h, logical.w};
        p_.places.push_back({y_buffer, first, part, {block, parts[k], {}}});
        add_gather(node, home(v), static_cast<int>(p_.places.size()) - 1, nullptr, g_.node(node).op->name,
                   "input " + std::to_string(k) + " lies elsewhere");
      }
      first += static_cast<index_t>(parts[k].size());
    }
  }

  void lower_gather(int node) {
    const Node& n = g_.node(node);
    if (is_entry(g_.node(n.inputs[0]).role))
      throw ShapeError(std::string(n.op->name) + " '" + n.name + "' of a parameter");
    // One buffer alone does not tell: input and output may be two parts of a concat.
    if (placement_.looks(node)) return;
    const int y = home({node, 0});
    const Operand x = read(n.inputs[0], p_.places[at(home(n.inputs[0]))].layout);
    const std::vector<index_t> source = n.op->source(n.attributes, input_shapes(g_, n));
    add_gather(node, x.index, y, &source, n.op->name, "no layout of its input is that of its output");
  }

  void lower_compute(int node) {
    const Node& n = g_.node(node);
    const Signature& s = signature(node);
    const Letters map = letters(node, s);
    const Lowering lowering = choose(node, s, map);
    Step step;
    step.node = node;
    step.name = n.name;
    step.kernel = "reference";
    step.run = type_ == DType::f64 ? n.op->reference.f64 : n.op->reference.f32;
    if (!step.run) throw Error(std::string(n.op->name) + " '" + n.name + "' has no kernel for this element type");
    if (lowering.run) {
      step.kernel = lowering.kernel;
      step.run = lowering.run;
      step.kept = lowering.kept;
      p_.packed_bytes += at(lowering.kept) * size_of(type_);
      step.prepare_kept = lowering.prepare_kept;
    } else if (on_device(node)) {
      throw DeviceError("cuda: there is no kernel for " + std::string(n.op->name) + " '" + n.name + "'");
    }
    for (std::size_t k = 0; k < n.inputs.size(); ++k) step.in.push_back(operand(node, s, k, map, lowering));
    std::vector<std::pair<int, int>> copy_out;  // from a plain result to its home
    for (int k = 0; k < static_cast<int>(n.shapes.size()); ++k) {
      const int target = home({node, k});
      const bool weights = !s.outputs.empty() && s.outputs[at(k)].n != '-';  // lie as layout_of said
      const Layout want = s.outputs.empty() ? Layout{} : wanted(s.outputs[at(k)], map);
      if (weights || p_.places[at(target)].layout == want) {
        step.out.push_back({Operand::Kind::place, target});
      } else {
        step.out.push_back({Operand::Kind::place, new_place(n.shapes[at(k)], want, constant_[at(node)])});
        copy_out.emplace_back(step.out.back().index, target);
      }
    }
    set_workspace(n, step, lowering);
    steps_->push_back(std::move(step));
    for (const auto& [from, to] : copy_out)
      add_gather(
          node, from, to, nullptr, "copy",
          "is written as " + describe(p_.places[at(from)].layout) + ", read as " + describe(p_.places[at(to)].layout));
  }

  Operand operand(int node, const Signature& s, std::size_t k, const Letters& map, const Lowering& lowering) {
    const Value v = g_.node(node).inputs[k];
    if (s.inputs.empty()) return read(v, {});
    if (s.inputs[k].n == '-' || !v.valid()) return read(v, input_layout(v, s.inputs[k], map));
    constexpr kernels::WeightOrder plain = kernels::WeightOrder::plain;
    Layout want = wanted(s.inputs[k], map);
    const bool dense = s.inputs[k].c != '-';
    want.order = dense || lowering.weights == plain ? lowering.weights : kernels::WeightOrder::depthwise;
    return entry_operand(g_.node(v), want, dense ? lowering : Lowering{});
  }

  /// A graph input that alone carries its letter is read as it lies.
  Layout input_layout(Value v, const Axes& axes, const Letters& map) {
    if (v.valid() && !is_entry(g_.node(v).role) && axes.c != '-' && !map.count(axes.c))
      return p_.places[at(home(v))].layout;
    return wanted(axes, map);
  }

  [[nodiscard]] AnyView shape_of(const Operand& o) const {
    View<const float> v;
    if (o.kind == Operand::Kind::place) {
      const Place& place = p_.places[at(o.index)];
      const Buffer& b = p_.buffers[at(place.buffer)];
      v = View<const float>(nullptr, b.physical, b.block);
      v.shape = place.physical();
    } else if (o.kind == Operand::Kind::packed) {
      v = View<const float>(nullptr, p_.packed[at(o.index)].physical);
    } else if (o.kind == Operand::Kind::entry) {
      v = View<const float>(nullptr, parameters_.entries()[at(o.index)].value.shape());
    }
    return v;
  }

  void set_workspace(const Node& n, const Step& step, const Lowering& lowering) {
    index_t elements = lowering.workspace;
    if (!lowering.run && n.op->workspace) {
      std::vector<Shape> physical;
      for (const Operand& o : step.in) physical.push_back(shape_of(o).shape);
      elements = n.op->workspace(n.attributes, physical);
    }
    std::size_t& bytes = steps_ == &p_.refresh ? p_.refresh_workspace_bytes : p_.workspace_bytes;
    bytes = std::max(bytes, at(elements) * size_of(type_));
  }

  // ---- what leaves the program ----
  /// The indices of a list's items by the node that each takes its numbers from: deep networks have thousands.
  template <class Item, class From>
  [[nodiscard]] std::vector<std::vector<std::size_t>> by_node(const std::vector<Item>& list, const From& from) const {
    std::vector<std::vector<std::size_t>> indices(at(g_.size()));
    for (std::size_t i = 0; i < list.size(); ++i) indices[at(from(list[i]).node)].push_back(i);
    return indices;
  }

  void deliver(Value v) {
    for (const Output& o : g_.outputs())
      if (o.value == v) p_.outputs.push_back({o.name, port(v)});
    for (const std::size_t i : updates_[at(v.node)])
      if (const Update& u = g_.updates()[i]; u.value == v) sink(Step::Kind::assign, g_.node(u.state), v);
    for (const std::size_t i : gradients_[at(v.node)]) {
      const Gradient& g = g_.gradients()[i];
      if (!(g.gradient == v)) continue;
      if (g_.node(g.of).role == Role::parameter)
        sink(Step::Kind::accumulate, g_.node(g.of), v);
      else
        p_.input_gradients.push_back({g_.node(g.of).name, port(v)});
    }
  }

  /// A plain place that stays readable: the value's own if it is alone in a plain buffer.
  int port(Value v) {
    const int place = home(v);
    if (place < 0) throw ShapeError("output '" + g_.node(v).name + "' is a parameter");
    const Place p = p_.places[at(place)];
    const bool alone = std::count_if(p_.places.begin(), p_.places.end(),
                                     [&](const Place& other) { return other.buffer == p.buffer; }) == 1;
    if (p.layout.plain() && alone) {
      p_.buffers[at(p.buffer)].persistent = true;
      return place;
    }
    const int copy = new_place(p.logical, {}, true);
    add_gather(v.node, place, copy, nullptr, "reorder", "leaves the plan as nchw");
    return copy;
  }

  void sink(Step::Kind kind, const Node& entry, Value v) {
    if (home(v) < 0) throw ShapeError("'" + entry.name + "' cannot take the numbers of a parameter");
    Step step;
    step.kind = kind;
    step.node = v.node;
    step.name = entry.name;
    step.kernel = kind == Step::Kind::assign ? "assign" : "accumulate";
    step.in = {{Operand::Kind::place, home(v)}};
    step.entry = parameters_.find(entry.name);
    // A device hands these over together when its work is done.
    if (device_) p_.buffers[at(p_.places[at(home(v))].buffer)].persistent = true;
    steps_->push_back(std::move(step));
  }

  void set_lifetimes() {
    int index = 0;
    const auto touch = [&](const std::vector<Operand>& operands) {
      for (const Operand& o : operands) {
        if (o.kind != Operand::Kind::place) continue;
        Buffer& b = p_.buffers[at(p_.places[at(o.index)].buffer)];
        if (b.first_step < 0) b.first_step = index;
        b.last_step = index;
      }
    };
    for (const std::vector<Step>* steps : {&p_.forward, &p_.backward})
      for (const Step& step : *steps) {
        touch(step.in);
        touch(step.out);
        ++index;
      }
  }

  Program& p_;
  const Graph& g_;
  const Parameters& parameters_;
  bool reference_, train_, device_;
  Tuner tuner_;
  index_t block_;
  DType type_;
  int forward_nodes_;
  std::vector<char> live_, constant_;
  std::vector<Signature> signatures_;
  Layouts layouts_;
  std::vector<std::vector<std::size_t>> updates_, gradients_;
  Placement placement_;
  std::vector<std::pair<Value, int>> copies_;
  std::vector<Step>* steps_ = nullptr;
  int current_ = -1;  ///< the node that is being lowered
};

}  // namespace

void lower(Program& program, const Parameters& parameters, const PlanOptions& options, int forward_nodes) {
  Lowerer(program, parameters, options, forward_nodes).run();
}

}  // namespace slimneck::graph
