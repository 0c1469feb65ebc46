#include "slimneck/optim.hpp"

#include <algorithm>
#include <cmath>

#include "core/threads.hpp"
#include "kernels/dispatch.hpp"
#include "slimneck/error.hpp"

namespace slimneck {

namespace {

using kernels::Kernels;
using kernels::OptimArgs;

const Kernels& kernels_for(const Exec& exec) { return *kernels::kernels_of(resolve(exec.isa)); }

int threads_for(const Exec& exec) { return exec.threads > 0 ? exec.threads : core::max_threads(); }

void require_f32(const Parameters& parameters) {
  if (parameters.dtype() != DType::f32) throw Error("training: parameters are f64, and optimisers work on f32");
}

Group group_of(const Parameters::Entry& entry) {
  if (entry.name.ends_with(".bias")) return Group::bias;
  return entry.dims.size() > 1 ? Group::weight : Group::norm;
}

}  // namespace

std::string_view to_string(OptimizerKind kind) noexcept {
  constexpr std::array<std::string_view, 3> names{"SGD", "Adam", "AdamW"};
  return names[static_cast<std::size_t>(kind)];
}

OptimizerKind optimizer_of(std::string_view name) {
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adam, OptimizerKind::adamw})
    if (to_string(kind) == name) return kind;
  throw Error("optimizer: \"" + std::string(name) + "\" is none of SGD, Adam, AdamW");
}

Optimizer::Optimizer(Parameters& parameters, const OptimizerOptions& options)
    : parameters_(parameters), options_(options) {
  require_f32(parameters);
  for (const std::string& name : options.frozen)
    if (parameters.find(name) < 0) throw Error("optimizer: there is no parameter \"" + name + "\" to be frozen");
  index_t longest = 0;
  for (std::size_t i = 0; i < parameters.entries().size(); ++i) {
    const Parameters::Entry& entry = parameters.entries()[i];
    if (entry.role != Role::parameter) continue;
    if (std::find(options.frozen.begin(), options.frozen.end(), entry.name) != options.frozen.end()) continue;
    moved_.push_back({i, group_of(entry)});
    longest = std::max(longest, entry.value.numel());
  }
  const std::size_t moments = options.kind == OptimizerKind::sgd ? 1 : 2;
  for (std::size_t i = 0; i < moments; ++i) moments_.emplace_back(parameters.gradients().shape());
  workspace_.resize(static_cast<std::size_t>(kernels::sum_squares_workspace(longest)));
}

double Optimizer::gradient_norm() {
  const core::ThreadScope scope(threads_for(options_.exec));
  const Kernels& k = kernels_for(options_.exec);
  double sum = 0;
  for (const Moved& moved : moved_) {
    const Parameters::Entry& entry = parameters_.entries()[moved.entry];
    double part = 0;
    k.sum_squares({entry.value.numel(), parameters_.gradient<float>(entry).data, &part, workspace_.data()});
    sum += part;
  }
  return std::sqrt(sum);
}

double Optimizer::step(const Rates& rates, double norm) {
  const core::ThreadScope scope(threads_for(options_.exec));
  const Kernels& k = kernels_for(options_.exec);
  Tensor& gradients = parameters_.gradients();
  const double scale = options_.clip > 0 ? std::min(options_.clip / (norm + 1e-6), 1.0) : 1.0;
  OptimArgs all;
  all.count = gradients.numel();
  all.p = gradients.data<float>();
  all.lr = scale;
  if (scale < 1) k.optim_scale(all);

  ++steps_;
  for (const Moved& moved : moved_) {
    Parameters::Entry& entry = parameters_.entries()[moved.entry];
    OptimArgs a;
    a.count = entry.value.numel();
    a.p = entry.value.data<float>();
    a.g = parameters_.gradient<float>(entry).data;
    a.m = moments_[0].data<float>() + entry.gradient_offset;
    if (moments_.size() > 1) a.v = moments_[1].data<float>() + entry.gradient_offset;
    a.lr = rates.lr[static_cast<std::size_t>(moved.group)];
    a.decay = moved.group == Group::weight ? options_.weight_decay : 0;
    a.momentum = rates.momentum;
    a.beta1 = options_.beta1;
    a.step = steps_;
    a.nesterov = true;
    a.first = steps_ == 1;
    switch (options_.kind) {
      case OptimizerKind::sgd: k.optim_sgd(a); break;
      case OptimizerKind::adam: k.optim_adam(a); break;
      case OptimizerKind::adamw: k.optim_adamw(a); break;
    }
  }
  k.optim_zero(all);
  parameters_.touch();
  return scale;
}

Ema::Ema(const Parameters& parameters, const Exec& exec) : average_(parameters), exec_(exec) {
  require_f32(parameters);
}

void Ema::update(const Parameters& parameters) {
  const core::ThreadScope scope(threads_for(exec_));
  const Kernels& k = kernels_for(exec_);
  ++updates_;
  OptimArgs a;
  a.beta1 = 0.9999 * (1 - std::exp(-static_cast<double>(updates_) / 2000));
  for (std::size_t i = 0; i < average_.entries().size(); ++i) {
    Parameters::Entry& entry = average_.entries()[i];
    if (entry.name.ends_with("num_batches_tracked")) continue;
    a.count = entry.value.numel();
    a.p = entry.value.data<float>();
    a.g = parameters.entries()[i].value.data<float>();
    k.optim_ema(a);
  }
  average_.touch();
}

}  // namespace slimneck
