#include <algorithm>

#include "slimneck/plan.hpp"

namespace slimneck {

PlanCache::PlanCache(Graph graph, Parameters& parameters, const PlanOptions& options, std::size_t most)
    : graph_(std::move(graph)), parameters_(parameters), options_(options), most_(std::max<std::size_t>(1, most)) {}

Plan& PlanCache::at(const Shape& input) {
  const auto found = std::find_if(plans_.begin(), plans_.end(), [&](const Kept& k) { return k.input == input; });
  if (found != plans_.end()) {
    plans_.splice(plans_.begin(), plans_, found);
    found->plan.refresh();
    return found->plan;
  }
  const Graph sized = graph_.with_inputs(std::span(&input, 1));  // throws on shapes that do not fit
  if (plans_.size() == most_) plans_.pop_back();  // before there is another one: memory is for `most` plans
  plans_.push_front({input, Plan(sized, parameters_, options_)});
  return plans_.front().plan;
}

}  // namespace slimneck
