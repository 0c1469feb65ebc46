// See onednn_wiring.hpp.
#include "onednn_wiring.hpp"

#include <algorithm>
#include <numeric>

#include "slimneck/ops.hpp"

namespace slimneck::bench::onednn {

namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }
std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

bool convolution(const Node& n) { return n.op == &ops::conv_bn_act || n.op == &ops::conv2d; }

class Wires {
 public:
  Wires(const Graph& graph, const WiringOptions& options) : g_(graph), o_(options), forced_(at(graph.size())) {
    const auto size = at(graph.size());
    w_.last_use.assign(size, -1);
    w_.joined.assign(size, -1);
    w_.in_place.assign(size, 0);
    w_.pieces.assign(size, 0);
    w_.homes.resize(size);
    w_.runs_at.resize(size);
    std::iota(w_.runs_at.begin(), w_.runs_at.end(), 0);
  }

  Wiring all() {
    std::vector<Value> roots;
    for (const Output& o : g_.outputs()) roots.push_back(o.value);
    w_.needed = g_.needed(roots);
    for (int i = 0; i < g_.size(); ++i)
      if (g_.node(i).op == &ops::bn_fold) w_.needed[at(i)] = 0;  // folded by whoever computes the convolution
    if (o_.join_sums) each_sum([this](int sum) { join(sum); });
    read();
    if (o_.join_sums) each_sum([this](int sum) { w_.in_place[at(sum)] = overwrites(sum); });
    for (int i = g_.size() - 1; i >= 0; --i)
      if (w_.needed[at(i)]) place(i);
    find_orders();
    return std::move(w_);
  }

 private:
  template <class Function>
  void each_sum(Function function) {
    for (int i = 0; i < g_.size(); ++i)
      if (w_.needed[at(i)] && g_.node(i).op == &ops::add) function(i);
  }

  [[nodiscard]] int readers(int node) const {
    int count = 0;
    for (int i = 0; i < g_.size(); ++i)
      if (w_.needed[at(i)])
        for (const Value& v : g_.node(i).inputs) count += v.node == node;
    for (const Output& o : g_.outputs()) count += o.value.node == node;
    return count;
  }

  void join(int sum) {
    for (const Value& v : g_.node(sum).inputs)
      if (convolution(g_.node(v)) && readers(v.node) == 1) w_.joined[at(sum)] = std::max(w_.joined[at(sum)], v.node);
    if (w_.joined[at(sum)] >= 0) w_.runs_at[at(w_.joined[at(sum)])] = sum;
  }

  void read() {
    for (int i = 0; i < g_.size(); ++i)
      if (w_.needed[at(i)])
        for (const Value& v : g_.node(i).inputs) {
          int& last = w_.last_use[at(v.node)];
          last = std::max(last, w_.runs_at[at(i)]);
        }
    for (const Output& o : g_.outputs()) w_.last_use[at(o.value.node)] = g_.size();
  }

  [[nodiscard]] int other_operand(int sum) const {
    const std::vector<Value>& in = g_.node(sum).inputs;
    return in[0].node == w_.joined[at(sum)] ? in[1].node : in[0].node;
  }

  /// Nodes whose memory the value of `node` may lie in.
  void memories(int node, std::vector<int>& all) const {
    all.push_back(node);
    const Node& n = g_.node(node);
    if (n.op == &ops::channel_shuffle || n.op == &ops::concat)
      for (const Value& v : n.inputs) memories(v.node, all);
  }

  /// The other operand and all that lies in the same memory is free at the sum, and not what the convolution reads.
  [[nodiscard]] bool overwrites(int sum) const {
    if (w_.joined[at(sum)] < 0) return false;
    std::vector<int> written, read;
    memories(other_operand(sum), written);
    memories(g_.node(w_.joined[at(sum)]).inputs[0].node, read);
    return std::all_of(written.begin(), written.end(), [&](int node) {
      return g_.node(node).role == Role::computed && w_.last_use[at(node)] <= sum &&
             std::find(read.begin(), read.end(), node) == read.end();
    });
  }

  void place(int node) {
    const Node& n = g_.node(node);
    const Wiring::Home home = w_.homes[at(node)];
    if (n.op == &ops::concat) return place_parts(node);
    if (home.root < 0) return;
    if (n.op == &ops::channel_shuffle && o_.free_shuffles) lend(n.inputs[0].node, home);
    if (n.op == &ops::add && w_.in_place[at(node)]) lend(other_operand(node), home);
  }

  void lend(int node, const Wiring::Home& home) {
    if (w_.homes[at(node)].root < 0 && g_.node(node).role == Role::computed) w_.homes[at(node)] = home;
  }

  void place_parts(int node) {
    const std::vector<Value>& in = g_.node(node).inputs;
    const auto whole = [this](const Value& v) { return g_.shape(v).c % o_.block == 0; };
    if (o_.block == 0 || !std::all_of(in.begin(), in.end(), whole)) return;
    w_.pieces[at(node)] = 1;
    Wiring::Home& home = w_.homes[at(node)];
    if (home.root < 0) home = {node, 0};
    Wiring::Home part = home;
    for (const Value& v : in) {
      lend(v.node, part);
      part.channel += g_.shape(v).c;
    }
  }

  // ---- orders ----

  void find_orders() {
    for (int attempts = 0; attempts <= g_.size(); ++attempts) {
      w_.orders.assign(at(g_.size()), {});
      bool settled = true;
      for (int i = 0; i < g_.size() && settled; ++i) {
        if (!w_.needed[at(i)]) continue;
        if (g_.node(i).op == &ops::add) settled = agree(i);
        w_.orders[at(i)] = order_of(i);
      }
      if (settled) return;
    }
    throw Error("orders of channels do not settle");
  }

  /// Is the sum's second operand in the order of the first? If not, some convolution is told to follow.
  bool agree(int sum) {
    const std::vector<Value>& in = g_.node(sum).inputs;
    const auto &a = w_.orders[at(in[0].node)], &b = w_.orders[at(in[1].node)];
    if (a == b) return true;
    for (const bool first : {false, true}) {
      const int source = source_of(in[first ? 0 : 1].node);
      if (source < 0 || !forced_[at(source)].empty()) continue;
      forced_[at(source)] = first ? b : a;
      return false;
    }
    throw Error("node " + g_.node(sum).name + " adds maps whose channels lie in different orders");
  }

  /// The dense convolution that decides the order of a map; -1 when there is none.
  [[nodiscard]] int source_of(int node) const {
    const Node& n = g_.node(node);
    if (n.role != Role::computed || n.op == &ops::channel_shuffle || n.op == &ops::concat || n.op == &ops::slice)
      return -1;
    if (convolution(n) && n.attributes.integer("groups") == 1) return node;
    return source_of(n.inputs[0].node);
  }

  [[nodiscard]] std::vector<index_t> order_of(int node) const {
    const Node& n = g_.node(node);
    std::vector<index_t> order(at(n.shapes[0].c));
    std::iota(order.begin(), order.end(), index_t{0});
    if (n.role != Role::computed || n.op == &ops::slice || !o_.free_shuffles) return order;
    if (convolution(n) && n.attributes.integer("groups") == 1)
      return forced_[at(node)].empty() ? order : forced_[at(node)];
    if (n.op == &ops::concat) {
      index_t first = 0;
      auto to = order.begin();
      for (const Value& v : n.inputs) {
        for (const index_t c : w_.orders[at(v.node)]) *to++ = first + c;
        first += g_.shape(v).c;
      }
      return order;
    }
    const std::vector<index_t>& from = w_.orders[at(n.inputs[0].node)];
    if (n.op != &ops::channel_shuffle) return from;
    const std::vector<index_t>& source = n.attributes.list("source");
    std::vector<index_t> target(source.size());
    for (std::size_t j = 0; j < source.size(); ++j) target[at(source[j])] = static_cast<index_t>(j);
    for (std::size_t p = 0; p < order.size(); ++p) order[p] = target[at(from[p])];
    return order;
  }

  const Graph& g_;
  WiringOptions o_;
  Wiring w_;
  std::vector<std::vector<index_t>> forced_;  ///< orders that convolutions were told
};

}  // namespace

Wiring wire(const Graph& graph, const WiringOptions& options) { return Wires(graph, options).all(); }

}  // namespace slimneck::bench::onednn
