// slimneck run: tensors in, tensors out. With it any network can be compared with the same one in another framework.
#include <algorithm>

#include "cli.hpp"

namespace slimneck::cli {

namespace {

struct RunArguments {
  ModelArguments model;
  std::string input, output, mode = "infer", grad_output;
  bool layers = false, double_precision = false;
  ExecArguments exec;
};

std::string list_of(const std::vector<index_t>& dims) {
  std::string text;
  for (const index_t d : dims) text += (text.empty() ? "" : "x") + std::to_string(d);
  return text.empty() ? "a scalar" : text;
}

/// Calls visit(element) in the order of n, anchors, h, w, no for a head with anchors * no channels; no = 1 is NCHW.
template <class T, class Visit>
void visit_head(const View<T>& v, index_t no, Visit visit) {
  for (index_t n = 0; n < v.shape.n; ++n)
    for (index_t a = 0; a < v.shape.c / no; ++a)
      for (index_t y = 0; y < v.shape.h; ++y)
        for (index_t x = 0; x < v.shape.w; ++x)
          for (index_t o = 0; o < no; ++o) visit(v.at(n, a * no + o, y, x));
}

/// Tensors by name, as they will be written.
template <class T>
class Results {
 public:
  explicit Results(const Model& model) : model_(model) {}

  void add(std::string name, std::vector<index_t> dims, std::vector<T> values) {
    results_.push_back({std::move(name), std::move(dims), std::move(values)});
  }
  void add(std::string name, const View<T>& v) {
    add(std::move(name), {v.shape.n, v.shape.c, v.shape.h, v.shape.w}, {v.data, v.data + v.shape.numel()});
  }

  /// An output in PyTorch's form: heads n, anchors, h, w, 5 + classes; decoded rows n, rows, 5 + classes.
  void add_output(const std::string& name, const View<T>& v) {
    if (name == "pred")
      add(name, {v.shape.n, v.shape.h, v.shape.w}, {v.data, v.data + v.shape.numel()});
    else if (is_head(name))
      add_head(name, v);
    else
      add(name, v);
  }

  [[nodiscard]] bool is_head(std::string_view name) const {
    return !model_.strides.empty() && name.starts_with("head.");
  }

  void write(const std::string& path, const std::map<std::string, std::string>& metadata) const {
    constexpr StoredType type = dtype_of<T> == DType::f64 ? StoredType::f64 : StoredType::f32;
    std::vector<TensorEntry> entries;
    for (const Result& r : results_) entries.push_back({r.name, r.dims, std::span<const T>(r.values), type});
    const Uninterrupted shield;
    write_safetensors(path, entries, metadata);
  }

 private:
  struct Result {
    std::string name;
    std::vector<index_t> dims;
    std::vector<T> values;
  };

  void add_head(const std::string& name, const View<T>& v) {
    const index_t no = model_.classes + 5, na = v.shape.c / no;
    std::vector<T> values;
    values.reserve(static_cast<std::size_t>(v.shape.numel()));
    visit_head(v, no, [&](const T& element) { values.push_back(element); });
    add(name, {v.shape.n, na, v.shape.h, v.shape.w, no}, std::move(values));
  }

  const Model& model_;
  std::vector<Result> results_;
};

template <class T>
class Run {
 public:
  Run(const RunArguments& arguments, const SafeTensors& file, OpenModel& open)
      : arguments_(arguments),
        file_(file),
        model_(open.model),
        training_(arguments.mode == "train"),
        parameters_(open.parameters(dtype_of<T>)),
        plan_(model_.graph, parameters_, options()),
        results_(model_) {}

  void operator()() {
    const Tensor x = file_.tensor("x", dtype_of<T>);
    std::copy_n(x.data<T>(), x.numel(), plan_.template input<T>().data);
    plan_.forward();
    plan_.wait();
    for (const std::string& name : plan_.outputs()) results_.add_output(name, plan_.template output<T>(name));
    if (training_) backward();
    results_.write(arguments_.output, {{"format", "pt"},
                                       {std::string(metadata_key::dialect), model_.dialect},
                                       {"model", model_.name},
                                       {"mode", arguments_.mode}});
  }

 private:
  PlanOptions options() const {
    PlanOptions options = arguments_.exec.plan(training_ ? Mode::train : Mode::infer, dtype_of<T>);
    options.input_gradients = training_;
    return options;
  }

  void backward() {
    fill_output_gradients();
    parameters_.zero_grad();
    plan_.backward();
    plan_.wait();
    results_.add("grad.x", plan_.template input_gradient<T>());
    const GraphCost cost = model_.graph.cost();
    for (const Parameters::Entry& entry : parameters_.entries()) {
      if (entry.role == Role::state) {
        const T* value = entry.value.data<T>();
        results_.add("buf." + entry.name, entry.dims, {value, value + entry.value.numel()});
      } else if (std::find(cost.dead.begin(), cost.dead.end(), entry.name) == cost.dead.end()) {
        const View<T> g = parameters_.template gradient<T>(entry);
        results_.add("grad." + entry.name, entry.dims, {g.data, g.data + g.shape.numel()});
      }
    }
  }

  void fill_output_gradients() {
    std::optional<SafeTensors> given;
    if (!arguments_.grad_output.empty()) given = SafeTensors::read(arguments_.grad_output);
    for (const Output& output : model_.graph.outputs()) {
      if (output.kind != OutputKind::result) continue;
      const View<T> g = plan_.template output_gradient<T>(output.name);
      if (given)
        read_gradient(*given, output.name, g);
      else
        std::fill_n(g.data, g.shape.numel(), T(1));
    }
  }

  /// From the form in which the output of that name is written.
  void read_gradient(const SafeTensors& given, const std::string& name, const View<T>& g) const {
    const SafeTensors::Entry* entry = given.find(name);
    if (entry == nullptr) throw FormatError(given.file_name() + ": there is no tensor '" + name + "'");
    const bool head = results_.is_head(name);
    const index_t no = head ? model_.classes + 5 : 1, na = g.shape.c / no;
    const std::vector<index_t> wanted = head ? std::vector<index_t>{g.shape.n, na, g.shape.h, g.shape.w, no}
                                             : std::vector<index_t>{g.shape.n, g.shape.c, g.shape.h, g.shape.w};
    if (entry->dims != wanted)
      throw FormatError(given.file_name() + ": '" + name + "' is " + list_of(entry->dims) + "; wanted " +
                        list_of(wanted));
    const Tensor values = given.tensor(name, dtype_of<T>);
    const T* next = values.data<T>();
    visit_head(g, no, [&](T& element) { element = *next++; });
  }

  const RunArguments& arguments_;
  const SafeTensors& file_;
  const Model& model_;
  bool training_;
  Parameters parameters_;
  Plan plan_;
  Results<T> results_;
};

void add_layer_outputs(Model& model) {
  for (const ModelLayer& layer : model.layers) {
    if (!model.strides.empty() && &layer == &model.layers.back()) continue;  // the heads are outputs already
    model.graph.output("layer." + std::to_string(layer.index), layer.outputs.front(), OutputKind::probe);
  }
}

void run(const RunArguments& arguments) {
  require_weights(arguments.model);
  if (!arguments.grad_output.empty() && arguments.mode != "train")
    throw UsageError("--grad-output goes with --mode train");
  require_writable(arguments.output);
  const SafeTensors file = SafeTensors::read(arguments.input);
  const SafeTensors::Entry* x = file.find("x");
  if (x == nullptr) throw FormatError(arguments.input + ": there is no tensor 'x'");
  if (x->dims.size() != 4)
    throw FormatError(arguments.input + ": 'x' is " + list_of(x->dims) + "; wanted n x c x h x w");
  const Shape shape = shape_of(x->dims);
  OpenModel open = open_model(arguments.model, shape);
  if (const Shape& wanted = open.model.graph.shape({0, 0}); wanted != shape)
    throw FormatError(arguments.input + ": 'x' is " + to_string(shape) + "; the model takes " + to_string(wanted));
  if (arguments.layers) add_layer_outputs(open.model);
  if (arguments.double_precision)
    Run<double>(arguments, file, open)();
  else
    Run<float>(arguments, file, open)();
}

}  // namespace

void add_run(CLI::App& app) {
  CLI::App* command = app.add_subcommand("run", "run a model on a tensor, forward or forward and backward");
  auto arguments = std::make_shared<RunArguments>();
  arguments->model.add_to(*command, false);
  command->add_option("--input", arguments->input, "safetensors file with x: n x c x h x w")
      ->type_name("FILE")
      ->required();
  command->add_option("--output", arguments->output, "safetensors file to write")->type_name("FILE")->required();
  command->add_option("--mode", arguments->mode, "infer, or train: also gradients and running statistics (infer)")
      ->check(CLI::IsMember({"infer", "train"}));
  command
      ->add_option("--grad-output", arguments->grad_output,
                   "safetensors file with the gradient of every output, named and shaped as they are written (ones)")
      ->type_name("FILE");
  command->add_flag("--layers", arguments->layers, "also write the output of every layer");
  command->add_flag("--double", arguments->double_precision, "in double precision; writes F64");
  arguments->exec.add_to(*command, true);
  arguments->exec.add_memory(*command);
  command->footer(
      "Writes head.0 head.1 ... (n, anchors, h, w, 5 + classes) and pred (n, rows, 5 + classes), or y for a model\n"
      "without Detect; in training grad.x, grad.PARAMETER and buf.STATE instead of pred. Parameters that no output\n"
      "depends on have no gradient.\n"
      "Examples:\n"
      "  slimneck run --cfg slimneck-n --init seed=1 --input x.safetensors --output y.safetensors --layers\n"
      "  slimneck run --cfg slimneck-n --weights w.safetensors --input x.safetensors --output y.safetensors --mode "
      "train "
      "--double");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
