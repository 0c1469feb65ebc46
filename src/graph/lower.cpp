// From a graph to a program: places for values, steps for nodes.
#include <algorithm>
#include <map>
#include <numeric>

#include "graph/program.hpp"

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
        copies_channels_(options.exec.reference || options.copy_channels),
        block_(program.target.block),
        type_(options.exec.dtype),
        forward_nodes_(forward_nodes),
        live_(live_nodes()),
        constant_(options.mode == Mode::infer ? constants(g_) : std::vector<char>(at(g_.size()), 0)),
        signatures_(reference_ ? std::vector<Signature>(at(g_.size())) : signatures_of(g_)),
        layouts_(g_, signatures_, live_, forward_nodes, block_, reference_, options.copy_channels),
        updates_(by_node(g_.updates(), [](const Update& u) { return u.value; })),
        gradients_(by_node(g_.gradients(), [](const Gradient& g) { return g.gradient; })) {}

  void run() {
    place_values();
    share_memory();
    for (int i = 0; i < g_.size(); ++i) {
      steps_ = constant_[at(i)] ? &p_.refresh : i < forward_nodes_ ? &p_.forward : &p_.backward;
      if (live_[at(i)]) lower(i);
    }
    set_lifetimes();
  }

 private:
  // ---- what runs ----
  [[nodiscard]] std::vector<char> live_nodes() const {
    std::vector<Value> roots;
    for (const Output& o : g_.outputs()) roots.push_back(o.value);
    for (const Update& u : g_.updates()) roots.push_back(u.value);
    for (const Gradient& g : g_.gradients()) roots.push_back(g.gradient);
    return g_.needed(roots);
  }

  /// Computed nodes that depend on parameters and state alone.
  static std::vector<char> constants(const Graph& g) {
    std::vector<char> flags(at(g.size()), 0);
    for (int i = 0; i < g.size(); ++i) {
      const Node& n = g.node(i);
      flags[at(i)] = n.role == Role::computed && !n.inputs.empty() &&
                     std::all_of(n.inputs.begin(), n.inputs.end(), [&](const Value& v) {
                       return !v.valid() || is_entry(g.node(v).role) || flags[at(v.node)];
                     });
    }
    return flags;
  }

  /// Of a reference plan none has one: everything is plain.
  [[nodiscard]] const Signature& signature(int node) const { return signatures_[at(node)]; }

  // ---- places ----
  int new_place(const Shape& logical, const Layout& layout, bool persistent) {
    Place place{static_cast<int>(p_.buffers.size()), 0, logical, layout};
    Buffer buffer;
    buffer.physical = place.physical();
    buffer.block = layout.block;
    buffer.persistent = persistent;
    p_.buffers.push_back(buffer);
    p_.places.push_back(std::move(place));
    return static_cast<int>(p_.places.size()) - 1;
  }

  int& home(Value v) { return home_[at(v.node)][at(v.index)]; }

  void place_values() {
    home_.resize(at(g_.size()));
    for (int i = 0; i < g_.size(); ++i) {
      const Node& n = g_.node(i);
      home_[at(i)].assign(n.shapes.size(), -1);
      if (is_entry(n.role)) continue;
      const bool port = n.role != Role::computed;
      if (!port && !live_[at(i)]) continue;
      for (int k = 0; k < static_cast<int>(n.shapes.size()); ++k)
        home({i, k}) = new_place(n.shapes[at(k)], port ? Layout{} : layout_of(i, k), port || constant_[at(i)]);
      if (n.role == Role::input) p_.inputs.push_back({n.name, home({i, 0})});
      if (n.role == Role::gradient) p_.output_gradients.push_back({n.name, home({i, 0})});
    }
  }

  /// The solved layout; a weight gradient lies as its two axes do.
  [[nodiscard]] Layout layout_of(int node, int output) const {
    const Signature& s = signature(node);
    if (s.outputs.empty() || s.outputs[at(output)].n == '-') return layouts_.of({node, output});
    const Letters map = letters(node, s);
    Layout layout = wanted(s.outputs[at(output)], map);
    layout.order = choose(node, s, map).weights;
    return layout;
  }

  /// Concats write their inputs in place, permutations and slices are looks at their input: where the layouts allow it.
  void share_memory() {
    looks_.assign(at(g_.size()), 0);
    if (copies_channels_) return;
    for (int i = 0; i < g_.size(); ++i) {
      const Node& n = g_.node(i);
      if (!live_[at(i)] || n.role != Role::computed) continue;
      if (n.op->kind == OpKind::concat) share_concat(i);
      if (n.op->kind == OpKind::gather) share_gather(i);
    }
  }

  void share_concat(int node) {
    const Node& n = g_.node(node);
    index_t first = 0, logical = 0;
    const Place y = p_.places[at(home({node, 0}))];
    for (const Value& v : n.inputs) {
      const index_t channels = g_.shape(v).c;
      const Layout& x = is_entry(g_.node(v).role) ? Layout{} : p_.places[at(home(v))].layout;
      const index_t count = x.c.empty() ? channels : static_cast<index_t>(x.c.size());
      if (g_.node(v).role == Role::computed && x.block == y.layout.block &&
          same_part(x, y.layout, first, count, logical))
        move_into(home(v), y.buffer, first);
      first += count;
      logical += channels;
    }
  }

  /// Map x, shifted by `logical`, is what y has at [first, first + count).
  static bool same_part(const Layout& x, const Layout& y, index_t first, index_t count, index_t logical) {
    const index_t total = y.c.empty() ? first + count : static_cast<index_t>(y.c.size());
    if (first % y.block != 0 || first + count > total) return false;
    for (index_t p = 0; p < count; ++p) {
      const index_t in_x = x.c.empty() ? p : x.c[at(p)];
      const index_t in_y = y.c.empty() ? first + p : y.c[at(first + p)];
      if ((in_x < 0 ? -1 : in_x + logical) != in_y) return false;
    }
    return true;
  }

  /// The whole buffer of `place` becomes channels [first, ...) of `buffer`, if it is free to move.
  void move_into(int place, int buffer, index_t first) {
    const int old = p_.places[at(place)].buffer;
    if (old == buffer || p_.buffers[at(old)].persistent || p_.places[at(place)].first != 0 || moved_.count(old) ||
        p_.places[at(place)].channels() != p_.buffers[at(old)].physical.c)
      return;
    for (Place& p : p_.places)
      if (p.buffer == old) {
        p.buffer = buffer;
        p.first += first;
      }
    moved_[old] = buffer;
  }

  void share_gather(int node) {
    const Node& n = g_.node(node);
    if (g_.node(n.inputs[0]).role != Role::computed) return;
    const std::vector<index_t> source = n.op->source(n.attributes, input_shapes(g_, n));
    const Place x = p_.places[at(home(n.inputs[0]))];
    Place& y = p_.places[at(home({node, 0}))];
    if (x.layout.block != y.layout.block || moved_.count(y.buffer)) return;
    const ChannelMap x_map = x.layout.c.empty() ? padded_identity(x.logical.c, 1) : x.layout.c;
    const bool permutation = static_cast<index_t>(source.size()) == x.logical.c;
    const Part part = permutation ? Part{0, permuted(x_map, source)} : part_of(x_map, source, x.layout.block);
    if (part.map.empty() || part.map != (y.layout.c.empty() ? padded_identity(y.logical.c, 1) : y.layout.c)) return;
    y.buffer = x.buffer;
    y.first = x.first + part.first;
    looks_[at(node)] = 1;
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

  /// The kernel for these layouts.
  [[nodiscard]] Lowering choose(int node, const Signature& s, const Letters& map) const {
    const Node& n = g_.node(node);
    if (!n.op->lower || reference_ || s.outputs.empty()) return {};
    const auto view = [&](const Shape& logical, const Axes& axes, bool entry = false) -> AnyView {
      Layout layout = wanted(axes, map);
      if (entry) layout.block = 1;
      return View<const float>(nullptr, Place{-1, 0, logical, layout}.physical(), layout.block);
    };
    std::vector<AnyView> in, out;
    for (std::size_t k = 0; k < n.inputs.size(); ++k) {
      const Value v = n.inputs[k];
      in.push_back(v.valid() ? view(g_.shape(v), s.inputs[k], is_entry(g_.node(v).role)) : AnyView(View<float>{}));
    }
    for (std::size_t k = 0; k < n.shapes.size(); ++k) out.push_back(view(n.shapes[k], s.outputs[k]));
    return n.op->lower({&n.attributes, type_, p_.target, in, out});
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
    return {Operand::Kind::packed, static_cast<int>(p_.packed.size()) - 1};
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
    if (looks_[at(node)]) return;
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
    p_.workspace_bytes = std::max(p_.workspace_bytes, at(elements) * size_of(type_));
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
  bool reference_, copies_channels_;
  index_t block_;
  DType type_;
  int forward_nodes_;
  std::vector<char> live_, constant_;
  std::vector<Signature> signatures_;
  Layouts layouts_;
  std::vector<std::vector<std::size_t>> updates_, gradients_;
  std::vector<std::vector<int>> home_;
  std::map<int, int> moved_;
  std::vector<char> looks_;  ///< gathers whose output is a look at their input
  std::vector<std::pair<Value, int>> copies_;
  std::vector<Step>* steps_ = nullptr;
};

}  // namespace

void lower(Program& program, const Parameters& parameters, const PlanOptions& options, int forward_nodes) {
  Lowerer(program, parameters, options, forward_nodes).run();
}

}  // namespace slimneck::graph
