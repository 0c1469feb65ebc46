#include "graph/placement.hpp"

#include <algorithm>

namespace slimneck::graph {

namespace {

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

/// Map x, shifted by `logical`, is what y has at [first, first + count).
bool same_part(const Layout& x, const Layout& y, index_t first, index_t count, index_t logical) {
  const index_t total = y.c.empty() ? first + count : static_cast<index_t>(y.c.size());
  if (first % y.block != 0 || first + count > total) return false;
  for (index_t p = 0; p < count; ++p) {
    const index_t in_x = x.c.empty() ? p : x.c[at(p)];
    const index_t in_y = y.c.empty() ? first + p : y.c[at(first + p)];
    if ((in_x < 0 ? -1 : in_x + logical) != in_y) return false;
  }
  return true;
}

bool overlap(const Place& a, const Place& b) {
  return a.buffer == b.buffer && a.first < b.first + b.channels() && b.first < a.first + a.channels();
}

}  // namespace

Placement::Placement(Program& program, const std::vector<char>& live, const std::vector<char>& constant,
                     const std::function<Layout(Value)>& layout_of, const Sharing& sharing)
    : p_(program),
      g_(program.graph),
      live_(live),
      constant_(constant),
      readers_(program.graph),
      home_(at(program.graph.size())),
      looks_(at(program.graph.size()), 0) {
  for (int i = 0; i < g_.size(); ++i) place(i, layout_of);
  const auto runs = [&](int i) { return live_[at(i)] && g_.node(i).role == Role::computed; };
  for (int i = 0; sharing.channels && i < g_.size(); ++i) {
    if (!runs(i)) continue;
    if (g_.node(i).op->kind == OpKind::concat) share_concat(i);
    if (g_.node(i).op->kind == OpKind::gather) share_gather(i);
  }
  for (int i = 0; sharing.in_place && i < g_.size(); ++i)
    if (runs(i) && g_.node(i).op->kind == OpKind::compute) share_in_place(i);
}

int Placement::add(Program& program, const Shape& logical, const Layout& layout, bool persistent) {
  Place place{static_cast<int>(program.buffers.size()), 0, logical, layout};
  Buffer buffer;
  buffer.physical = place.physical();
  buffer.block = layout.block;
  buffer.persistent = persistent;
  program.buffers.push_back(buffer);
  program.places.push_back(std::move(place));
  return static_cast<int>(program.places.size()) - 1;
}

void Placement::place(int node, const std::function<Layout(Value)>& layout_of) {
  const Node& n = g_.node(node);
  home_[at(node)].assign(n.shapes.size(), -1);
  if (n.role == Role::parameter || n.role == Role::state) return;
  const bool port = n.role != Role::computed;
  if (!port && !live_[at(node)]) return;
  for (int k = 0; k < static_cast<int>(n.shapes.size()); ++k) {
    const Value v{node, k};
    home_[at(node)][at(k)] = add(p_, n.shapes[at(k)], port ? Layout{} : layout_of(v), port || constant_[at(node)]);
    lying_.push_back({v});
  }
  if (n.role == Role::input) p_.inputs.push_back({n.name, home({node, 0})});
  if (n.role == Role::gradient) p_.output_gradients.push_back({n.name, home({node, 0})});
}

void Placement::share_concat(int node) {
  const Node& n = g_.node(node);
  index_t first = 0, logical = 0;
  const Place y = place_of({node, 0});
  for (const Value& v : n.inputs) {
    const index_t channels = g_.shape(v).c;
    const Layout x = home(v) < 0 ? Layout{} : place_of(v).layout;
    const index_t count = x.c.empty() ? channels : static_cast<index_t>(x.c.size());
    if (g_.node(v).role == Role::computed && x.block == y.layout.block && same_part(x, y.layout, first, count, logical))
      move_into(home(v), y.buffer, first);
    first += count;
    logical += channels;
  }
}

/// The whole buffer of `place` becomes channels [first, ...) of `buffer`, if it is free to move.
bool Placement::move_into(int place, int buffer, index_t first) {
  const Place from = p_.places[at(place)];
  const int old = from.buffer;
  if (old == buffer || p_.buffers[at(old)].persistent || from.first != 0 || moved_.count(old) ||
      from.channels() != p_.buffers[at(old)].physical.c)
    return false;
  for (const Value& v : lying_[at(old)]) {
    Place& p = p_.places[at(home(v))];
    p.buffer = buffer;
    p.first += first;
    lying_[at(buffer)].push_back(v);
  }
  lying_[at(old)].clear();
  moved_[old] = buffer;
  return true;
}

void Placement::share_gather(int node) {
  const Node& n = g_.node(node);
  if (g_.node(n.inputs[0]).role != Role::computed) return;
  const std::vector<index_t> source = n.op->source(n.attributes, input_shapes(g_, n));
  const Place x = place_of(n.inputs[0]);
  Place& y = p_.places[at(home({node, 0}))];
  if (x.layout.block != y.layout.block || moved_.count(y.buffer)) return;
  const ChannelMap x_map = x.layout.c.empty() ? padded_identity(x.logical.c, 1) : x.layout.c;
  const bool permutation = static_cast<index_t>(source.size()) == x.logical.c;
  const Part part = permutation ? Part{0, permuted(x_map, source)} : part_of(x_map, source, x.layout.block);
  if (part.map.empty() || part.map != (y.layout.c.empty() ? padded_identity(y.logical.c, 1) : y.layout.c)) return;
  std::erase(lying_[at(y.buffer)], Value{node, 0});
  lying_[at(x.buffer)].push_back({node, 0});
  y.buffer = x.buffer;
  y.first = x.first + part.first;
  looks_[at(node)] = 1;
}

void Placement::share_in_place(int node) {
  const Node& n = g_.node(node);
  const Value y{node, 0};
  const std::vector<int>& reading = readers_.of(y);
  if (p_.device && n.op->apart_on_cuda) return;
  if (std::find(reading.begin(), reading.end(), -1) != reading.end()) return;  // it leaves the plan as it lies
  for (const std::size_t k : n.op->in_place) {
    if (k >= n.inputs.size() || !may_overwrite(node, k)) continue;
    const Place x = place_of(n.inputs[k]), over = place_of(y);
    if (!(x.layout == over.layout)) continue;
    if (move_into(home(y), x.buffer, x.first) || move_into(home(n.inputs[k]), over.buffer, over.first)) return;
  }
}

/// Does nobody read the memory of this operand after the node, and the node itself only element by element?
bool Placement::may_overwrite(int node, std::size_t input) const {
  const Node& n = g_.node(node);
  const Value x = n.inputs[input];
  if (!x.valid() || g_.node(x).role != Role::computed || constant_[at(x.node)] || constant_[at(node)]) return false;
  for (std::size_t k = 0; k < n.inputs.size(); ++k)
    if (n.inputs[k] == x && std::find(n.op->in_place.begin(), n.op->in_place.end(), k) == n.op->in_place.end())
      return false;
  const Place& place = place_of(x);
  const auto harmless = [&](Value v) {
    const std::vector<int>& reading = readers_.of(v);
    return std::all_of(reading.begin(), reading.end(), [&](int reader) {
      return reader >= 0 && (!live_[at(reader)] || reader < node || (reader == node && v == x));
    });
  };
  const std::vector<Value>& here = lying_[at(place.buffer)];
  return std::all_of(here.begin(), here.end(), [&](Value v) { return !overlap(place_of(v), place) || harmless(v); });
}

}  // namespace slimneck::graph
