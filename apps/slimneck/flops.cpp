// slimneck flops: the work of a model in every convention in use, forward and backward, beside another model's.
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "slimneck/cost.hpp"

namespace slimneck::cli {

namespace {

using nlohmann::ordered_json;

struct FlopsArguments {
  ModelArguments model;
  std::string versus, convention = "all";
  bool layers = false, json = false;
};

/// A model with all its counts.
struct Counted {
  Model model;
  ModelStats stats;
  ModelCost cost;
};

Counted count(const ModelArguments& arguments) {
  OpenModel open = open_model(arguments);
  if (open.weights) static_cast<void>(open.parameters());  // throws when they do not fit
  Counted counted{std::move(open.model), {}, {}};
  counted.stats = model_stats(counted.model);
  counted.cost = model_cost(counted.model);
  return counted;
}

struct Pass {
  const char *name, *key;
  Cost PassCosts::*cost;
};

constexpr Pass passes[] = {{"forward", "forward", &PassCosts::forward},
                           {"input gradients", "input_gradient", &PassCosts::input_gradient},
                           {"weight gradients", "weight_gradient", &PassCosts::weight_gradient},
                           {"rest of the backward", "other_backward", &PassCosts::other_backward}};

/// Work that is no multiply-add of a convolution.
struct Kind {
  const char *name, *key;
  index_t Cost::*count;
};

constexpr Kind kinds[] = {{"multiply-adds", "macs", &Cost::macs},
                          {"bias additions", "bias_adds", &Cost::bias_adds},
                          {"batch norm, outputs", "norm_elements", &Cost::norm_elements},
                          {"activations, outputs", "act_elements", &Cost::act_elements},
                          {"upsampling, outputs", "upsample_elements", &Cost::upsample_elements},
                          {"other operations", "other_flops", &Cost::other_flops}};

long long ll(index_t number) { return static_cast<long long>(number); }

/// "   88.48 %", or "        -" of nothing.
std::string percent(index_t part, index_t whole) {
  if (whole == 0) return format("%11s", "-");
  return format("%9.2f %%", 100 * static_cast<double>(part) / static_cast<double>(whole));
}

/// The end of a line: the other model's number and the ratio, where there is another model.
std::string beside(index_t ours, const Counted* other, index_t theirs) {
  return other == nullptr ? "" : format("%16lld", ll(theirs)) + percent(ours, theirs);
}

std::string described(const Model& model) {
  return model.name + " (dialect " + model.dialect + ", " + model.activation + ", " + model.shuffle + "), input " +
         to_string(model.graph.shape({0, 0}));
}

std::string heading(const char* title, const Counted* other) {
  return bold(format("\n%-22s", title)) + format("%16s", "") +
         (other == nullptr ? "" : format("%16s%11s", other->model.name.c_str(), "ratio")) + "\n";
}

void print_parameters(const Counted& ours, const Counted* other) {
  print(heading("parameters", other));
  const auto line = [&](const char* name, index_t ModelStats::*number) {
    print(format("%-22s%16lld", name, ll(ours.stats.*number)) +
          beside(ours.stats.*number, other, other != nullptr ? other->stats.*number : 0) + "\n");
  };
  line("all", &ModelStats::parameters);
  line("dead", &ModelStats::dead_parameters);
  for (const std::string& name : ours.stats.dead) print("  no output depends on " + name + "\n");
}

void print_passes(const Counted& ours, const Counted* other, const FlopConvention& convention) {
  print(heading(("passes, " + std::string(convention.name)).c_str(), other));
  const auto line = [&](const char* name, const Cost& cost, const Cost& theirs) {
    const index_t number = convention.count(cost);
    print(format("%-22s%16lld", name, ll(number)) + beside(number, other, convention.count(theirs)) + "\n");
  };
  const PassCosts none, &theirs = other != nullptr ? other->cost.total : none;
  for (const Pass& pass : passes) line(pass.name, ours.cost.total.*pass.cost, theirs.*pass.cost);
  line("training step", ours.cost.total.step(), theirs.step());
}

/// What is no convolution, and in no convention the same.
void print_kinds(const Counted& ours) {
  print(bold(format("\n%-22s", "operations")) + format("%16s%16s\n", "forward", "backward"));
  for (const Kind& kind : kinds) {
    const index_t forward = ours.cost.total.forward.*kind.count;
    print(format("%-22s%16lld%16lld\n", kind.name, ll(forward), ll(ours.cost.total.step().*kind.count - forward)));
  }
}

void print_conventions(const Counted& ours, const Counted* other, std::span<const FlopConvention> conventions) {
  print(bold("\nforward, 1e9 operations") + format("%6s", "") +
        (other == nullptr ? "" : format("%13s%11s", other->model.name.c_str(), "ratio")) +
        "  worth: mac bias norm  act   up other\n");
  for (const FlopConvention& c : conventions) {
    const Cost &cost = ours.stats.cost, none, &theirs = other != nullptr ? other->stats.cost : none;
    print(format("%-18s%11.4f", std::string(c.name).c_str(), c.giga(cost)) +
          (other == nullptr ? "" : format("%13.4f", c.giga(theirs)) + percent(c.count(cost), c.count(theirs))) +
          format("  %10lld%5lld%5lld%5lld%5lld%6lld  ", ll(c.mac), ll(c.bias_add), ll(c.norm), ll(c.activation),
                 ll(c.upsample), ll(c.other)) +
          std::string(c.program) + "\n");
  }
}

void print_layers(const Counted& ours, const FlopConvention& convention) {
  print(bold(format("\n%3s  %-20s", "", ("layers, " + std::string(convention.name)).c_str())));
  for (const Pass& pass : passes) print(format("%21s", pass.name));
  print(format("%12s\n", "of forward"));
  for (std::size_t i = 0; i < ours.model.layers.size(); ++i) {
    const ModelLayer& layer = ours.model.layers[i];
    print(format("%3d  %-20s", layer.index, layer.module.c_str()));
    for (const Pass& pass : passes) print(format("%21lld", ll(convention.count(ours.cost.layers[i].*pass.cost))));
    print(percent(convention.count(ours.cost.layers[i].forward), convention.count(ours.cost.total.forward)) + "\n");
  }
}

ordered_json json_of(const PassCosts& costs, const FlopConvention& convention) {
  ordered_json all;
  for (const Pass& pass : passes) {
    ordered_json& item = all[pass.key];
    for (const Kind& kind : kinds) item[kind.key] = costs.*pass.cost.*kind.count;
    item["operations"] = convention.count(costs.*pass.cost);
  }
  return all;
}

ordered_json json_of(const Counted& counted, std::span<const FlopConvention> conventions, const FlopConvention& shown) {
  const Model& model = counted.model;
  const Shape& input = model.graph.shape({0, 0});
  ordered_json all{{"name", model.name},
                   {"dialect", model.dialect},
                   {"activation", model.activation},
                   {"shuffle", model.shuffle},
                   {"input", {input.n, input.c, input.h, input.w}},
                   {"parameters", counted.stats.parameters},
                   {"dead_parameters", counted.stats.dead_parameters},
                   {"dead", counted.stats.dead},
                   {"convention", shown.name},
                   {"passes", json_of(counted.cost.total, shown)}};
  for (const FlopConvention& c : conventions) all["forward"][std::string(c.name)] = c.count(counted.stats.cost);
  ordered_json layers = ordered_json::array();
  for (std::size_t i = 0; i < model.layers.size(); ++i)
    layers.push_back({{"index", model.layers[i].index},
                      {"module", model.layers[i].module},
                      {"passes", json_of(counted.cost.layers[i], shown)}});
  all["layers"] = std::move(layers);
  return all;
}

void run(const FlopsArguments& arguments) {
  const FlopConvention* const named = find_flop_convention(arguments.convention);
  const std::span<const FlopConvention> conventions =
      named != nullptr ? std::span(named, 1) : flop_conventions();  // with all of them the passes are in MACs
  const FlopConvention& shown = conventions.front();
  const Counted ours = count(arguments.model);
  std::optional<Counted> other;
  if (!arguments.versus.empty()) {
    ModelArguments model = arguments.model;
    model.cfg = arguments.versus;
    model.weights.clear();
    other = count(model);
  }
  const Counted* const beside = other ? &*other : nullptr;
  if (arguments.json) {
    ordered_json all = json_of(ours, conventions, shown);
    if (beside != nullptr) all["vs"] = json_of(*beside, conventions, shown);
    return print(all.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  }
  print(described(ours.model) + "\n");
  if (beside != nullptr) print("beside " + described(beside->model) + "\n");
  print_parameters(ours, beside);
  print_passes(ours, beside, shown);
  print_kinds(ours);
  print_conventions(ours, beside, conventions);
  if (arguments.layers) print_layers(ours, shown);
}

std::vector<std::string_view> convention_names() {
  std::vector<std::string_view> names{"all"};
  for (const FlopConvention& convention : flop_conventions()) names.push_back(convention.name);
  return names;
}

}  // namespace

void add_flops(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("flops", "operations of a model in every convention, forward and backward, beside another's");
  auto arguments = std::make_shared<FlopsArguments>();
  arguments->model.add_to(*command);
  command->add_option("--vs", arguments->versus, "another model, under the same options, and the ratios")
      ->type_name("MODEL");
  command->add_option("--convention", arguments->convention, "count all passes so (all: passes in MACs)")
      ->check(one_of(convention_names()));
  command->add_flag("--layers", arguments->layers, "every layer's share");
  command->add_flag("--json", arguments->json, "print JSON: exact integers");
  command->footer(
      "A line of the last table says what each kind of work is worth and which program counts so; with batch norm\n"
      "folded into the convolutions its column vanishes. The backward is counted node by node, not as twice the "
      "forward.\n"
      "Examples:\n  slimneck flops --cfg slimneck-s --vs yolov5s\n  slimneck flops --cfg slimneck-n --layers\n"
      "  slimneck flops --cfg yolov5n --convention thop --json");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
