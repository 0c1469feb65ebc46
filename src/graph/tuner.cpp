#include "graph/tuner.hpp"

#include <algorithm>
#include <chrono>
#include <sstream>

#include "core/threads.hpp"

namespace slimneck::graph {

namespace {

/// What a choice depends on, as a line of text.
std::string key_of(const OpDef& op, const LowerContext& c) {
  std::ostringstream key;
  key << op.name << ' ' << name_of(c.target.isa) << " threads=" << c.target.threads
      << (c.target.direct ? " direct" : "");
  for (const auto& [name, value] : c.attributes->items()) {
    key << ' ' << name << '=';
    if (const auto* list = std::get_if<std::vector<index_t>>(&value))
      for (const index_t i : *list) key << i << ',';
    else
      std::visit(
          [&](const auto& v) {
            if constexpr (!std::is_same_v<std::decay_t<decltype(v)>, std::vector<index_t>>) key << v;
          },
          value);
  }
  for (const std::span<const AnyView>& views : {c.inputs, c.outputs}) {
    key << " |";
    for (const AnyView& v : views) key << ' ' << to_string(v.shape) << '/' << v.block;
  }
  return key.str();
}

/// A run of one kernel on memory of its own.
class Trial {
 public:
  Trial(const Lowering& lowering, const LowerContext& c, std::string_view name)
      : lowering_(lowering), workspace_(flat(lowering.workspace)) {
    inputs_ = views(c.inputs);
    outputs_ = views(c.outputs);
    call_ = {c.attributes, inputs_, outputs_, workspace_.raw(), c.target};
    call_.target.kernel = name;
  }

  double seconds() {
    const auto begin = std::chrono::steady_clock::now();
    lowering_.run(call_);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

 private:
  static Tensor flat(index_t elements) { return Tensor({1, 1, 1, std::max<index_t>(elements, 1)}); }

  /// Prepared weights may be larger than plain ones. The numbers are of no matter, as long as they are normal.
  std::vector<AnyView> views(std::span<const AnyView> shapes) {
    constexpr float any = 0.01F;
    std::vector<AnyView> result;
    for (const AnyView& v : shapes) {
      if (v.shape.numel() == 0) {
        result.push_back(v);
        continue;
      }
      memory_.push_back(flat(std::max(v.shape.numel(), v.block == 1 ? lowering_.prepared : 0)));
      std::fill_n(memory_.back().data<float>(), memory_.back().numel(), any);
      result.push_back(View<float>(memory_.back().data<float>(), v.shape, v.block));
    }
    return result;
  }

  Lowering lowering_;
  Tensor workspace_;
  std::vector<Tensor> memory_;
  std::vector<AnyView> inputs_, outputs_;
  KernelCall call_;
};

/// The alternatives take turns; the least time of each counts.
std::string_view fastest(const OpDef& op, LowerContext c, const std::vector<std::string_view>& names) {
  constexpr int rounds = 5;
  const core::ThreadScope threads(c.target.threads);
  std::vector<double> least(names.size(), std::numeric_limits<double>::infinity());
  std::vector<Trial> trials;
  trials.reserve(names.size());
  for (const std::string_view name : names) {
    c.target.kernel = name;
    trials.emplace_back(op.lower(c), c, name);
  }
  for (Trial& t : trials) t.seconds();  // pages and caches
  for (int round = 0; round < rounds; ++round)
    for (std::size_t i = 0; i < trials.size(); ++i) least[i] = std::min(least[i], trials[i].seconds());
  return names[static_cast<std::size_t>(std::min_element(least.begin(), least.end()) - least.begin())];
}

}  // namespace

Lowering Tuner::choose(const OpDef& op, const LowerContext& context) const {
  Lowering table = op.lower(context);
  if (tune_ == Tune::table || table.alternatives.size() < 2) return table;
  const std::string key = key_of(op, context);
  std::string name = cache_->find(key);
  if (name.empty()) {
    name = fastest(op, context, table.alternatives);
    cache_->put(key, name);
  }
  LowerContext asked = context;
  asked.target.kernel = name;
  return op.lower(asked);
}

}  // namespace slimneck::graph

namespace slimneck {

std::string TuneCache::find(std::string_view key) const {
  const std::lock_guard lock(mutex_);
  const auto found = kernels_.find(key);
  return found == kernels_.end() ? std::string() : found->second;
}

void TuneCache::put(std::string_view key, std::string_view kernel) {
  const std::lock_guard lock(mutex_);
  kernels_.insert_or_assign(std::string(key), std::string(kernel));
}

std::map<std::string, std::string, std::less<>> TuneCache::all() const {
  const std::lock_guard lock(mutex_);
  return kernels_;
}

}  // namespace slimneck
