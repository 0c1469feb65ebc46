// slimneck gradcheck: are the gradients of ops, modules and whole models derivatives?
#include "slimneck/gradcheck.hpp"

#include "cli.hpp"

namespace slimneck::cli {

namespace {

struct GradcheckArguments {
  ModelArguments model;
  std::string module, op;
  std::uint64_t seed = 1;
};

class Table {
 public:
  explicit Table(std::uint64_t seed) { options_.seed = seed; }

  void header() const {
    print(format("%-40s%9s%13s%9s%11s  %s\n", "name", "samples", "error ratio", "linear", "adjoint", "ok"));
  }

  void check(const std::string& name, const Graph& graph, bool initialise = true) {
    Parameters parameters(graph, DType::f64);
    check(name, graph, parameters, initialise);
  }

  void check(const std::string& name, const Graph& graph, Parameters& parameters, bool initialise) {
    options_.initialise = initialise;
    const GradientCheckResult result = check_gradients(graph, parameters, options_);
    print(format("%-40s%9lld%13.2g%9d%11.2g  %s\n", name.c_str(), static_cast<long long>(result.samples), result.worst,
                 result.linear_operands, result.worst_adjoint,
                 result.passed() ? "yes" : ("NO: " + result.worst_at).c_str()));
    flush_output();
    ++checks_;
    if (!result.passed()) ++failures_;
  }

  /// Throws Error when a check failed.
  void footer() const {
    print(
        format("\n%d checks. The error ratio is |numeric - analytic| / (%g + %g |analytic|), at most 1;\n"
               "adjoint is |<y,g> - <x,dx>| / sum |y g| over operands in which the function is linear, at most 1e-9.\n",
               checks_, options_.absolute, options_.relative));
    flush_output();
    if (failures_ > 0) throw Error(format("%d of %d gradient checks failed", failures_, checks_));
  }

 private:
  GradientCheckOptions options_;
  int checks_ = 0, failures_ = 0;
};

bool checkable(const OpDef* op) { return op->cases != nullptr && op->gradient != nullptr; }

void check_op(Table& table, const OpDef& op) {
  for (const OpCase& example : op.cases())
    if (!example.real) table.check(std::string(op.name) + " " + example.name, graph_of_case(op, example));
}

void check_ops(Table& table) {
  for (const OpDef* op : all_ops())
    if (checkable(op)) check_op(table, *op);
}

/// The op of that name; the message of the error lists those that can be checked.
const OpDef& op_to_check(const std::string& name) {
  if (const OpDef* op = find_op(name); op != nullptr && checkable(op)) return *op;
  std::string names;
  for (const OpDef* op : all_ops())
    if (checkable(op)) names += (names.empty() ? "" : ", ") + std::string(op->name);
  throw UsageError("--op: '" + name + "' has no gradient of its own to check; these have: " + names);
}

/// A small graph of one module. Arguments that have no default are given here.
Graph graph_of_module(const ModuleDef& module, const Dialect& dialect) {
  constexpr index_t channels = 8, size = 6;
  Graph graph;
  ModuleCall call{.inputs = {graph.input("x", {2, channels, size, size})}, .c2 = channels, .repeats = 2, .args = {}};
  if (module.many_inputs) call.inputs.push_back(graph.input("x1", {2, channels / 2, size, size}));
  if (module.name == "nn.Upsample") call.args = {std::monostate{}, index_t{2}, std::string("nearest")};
  graph.output("y", module.build(ModuleBuilder(graph, dialect, std::string(module.name)), call));
  return graph;
}

Dialect module_dialect(const ModelArguments& arguments) {
  Dialect dialect = *find_dialect(arguments.dialect.empty() ? "paper" : arguments.dialect);
  if (!arguments.act.empty()) dialect.act = *find_activation(arguments.act);
  if (!arguments.shuffle.empty()) dialect.shuffle = *find_shuffle(arguments.shuffle);
  return dialect;
}

void check_module(Table& table, const ModuleDef& module, const Dialect& dialect) {
  table.check(std::string(module.name) + " (" + std::string(dialect.name) + ")", graph_of_module(module, dialect));
}

void check_model(Table& table, const GradcheckArguments& arguments) {
  constexpr index_t batch = 2, size = 64;
  ModelArguments model = arguments.model;
  const index_t height = model.img.empty() ? size : model.img.front();
  const index_t width = model.img.empty() ? size : model.img.back();
  model.img.clear();
  const OpenModel open = open_model(model, Shape{batch, 3, height, width});
  Parameters parameters = open.parameters(DType::f64);
  table.check(open.model.name + " (" + open.model.dialect + ")", open.model.graph, parameters, false);
}

/// What would be ignored is an error.
void require_used(const GradcheckArguments& arguments) {
  const ModelArguments& model = arguments.model;
  if (!model.cfg.empty()) return;
  const auto refuse = [](bool given, const char* option, const char* user) {
    if (given) throw UsageError(std::string(option) + " says nothing about " + user);
  };
  const bool ops_only = arguments.module.empty() && !arguments.op.empty();
  refuse(!model.weights.empty(), "--weights", "a single module: it needs --cfg");
  refuse(!model.init.empty(), "--init", "a single module: use --seed, or --cfg");
  refuse(model.classes.has_value(), "--nc", "a single module: it needs --cfg");
  refuse(!model.img.empty(), "--img", "a single module: it needs --cfg");
  refuse(ops_only && !model.dialect.empty(), "--dialect", "a single op");
  refuse(ops_only && !model.act.empty(), "--act", "a single op");
  refuse(ops_only && !model.shuffle.empty(), "--shuffle", "a single op");
}

void run(const GradcheckArguments& arguments) {
  const ModuleDef* module = find_module(arguments.module);
  if (!arguments.module.empty() && module == nullptr)
    throw UsageError("--module: there is no module '" + arguments.module + "'");
  if (module != nullptr && module->head)
    throw UsageError("--module: " + arguments.module + " is checked within a model: use --cfg");
  const OpDef* op = arguments.op.empty() ? nullptr : &op_to_check(arguments.op);
  require_used(arguments);
  Table table(arguments.seed);
  table.header();
  const Dialect dialect = module_dialect(arguments.model);
  if (op != nullptr) check_op(table, *op);
  if (module != nullptr) check_module(table, *module, dialect);
  if (!arguments.model.cfg.empty()) check_model(table, arguments);
  if (op == nullptr && module == nullptr && arguments.model.cfg.empty()) {
    check_ops(table);
    for (const ModuleDef* each : all_modules())
      if (!each->head) check_module(table, *each, dialect);
  }
  table.footer();
}

}  // namespace

void add_gradcheck(CLI::App& app) {
  CLI::App* command = app.add_subcommand("gradcheck", "compare gradients with finite differences, in double precision");
  auto arguments = std::make_shared<GradcheckArguments>();
  arguments->model.add_to(*command);
  command->add_option("--module", arguments->module, "one module: GSConv, VoVGSCSP, C3, ...")->type_name("NAME");
  command->add_option("--op", arguments->op, "one op: conv2d, silu, ...")->type_name("NAME");
  command->add_option("--seed", arguments->seed, "of the numbers that are tried (1)")
      ->check(integer_in(0, largest_seed));
  command->footer(
      "Without --cfg, --module and --op every op and every module is checked, modules with --dialect, --act and\n"
      "--shuffle. A model is checked with a batch of two 64x64 pictures unless --img says otherwise.\n"
      "Examples:\n  slimneck gradcheck\n  slimneck gradcheck --module GSConv --dialect y5\n"
      "  slimneck gradcheck --op conv2d\n"
      "  slimneck gradcheck --cfg slimneck-n");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
