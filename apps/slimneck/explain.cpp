// slimneck explain: what a plan does, step by step.
#include "cli.hpp"

namespace slimneck::cli {

namespace {

struct ExplainArguments {
  ModelArguments model;
  std::string mode = "infer";
  index_t batch = 1;
  ExecArguments exec;
};

void run(const ExplainArguments& arguments) {
  OpenModel open = open_model(arguments.model);
  if (arguments.batch > 1) {
    Shape input = open.model.graph.shape({0, 0});
    input.n = arguments.batch;
    open.model.graph = open.model.graph.with_inputs(std::span(&input, 1));
  }
  Parameters parameters = open.parameters();
  PlanOptions options;
  options.mode = arguments.mode == "train" ? Mode::train : Mode::infer;
  options.exec = arguments.exec.exec();
  print(Plan(open.model.graph, parameters, options).explain());
}

}  // namespace

void add_explain(CLI::App& app) {
  CLI::App* command = app.add_subcommand("explain", "the steps of a model's plan: kernels, layouts, bytes");
  auto arguments = std::make_shared<ExplainArguments>();
  arguments->model.add_to(*command);
  command->add_option("--mode", arguments->mode, "infer or train (infer)")->check(CLI::IsMember({"infer", "train"}));
  command->add_option("--batch", arguments->batch, "pictures at once (1)")->check(integer_in(1, 4096));
  arguments->exec.add_to(*command, true);
  command->footer("Example:\n  slimneck explain --cfg slimneck-n --mode train --img 320");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
