// slimneck demo: what the library does, without network, weights or pictures of one's own.
#include "demo.hpp"

#include <array>
#include <cmath>

#include "cli.hpp"
#include "compare_report.hpp"
#include "compare_verdict.hpp"
#include "page_compare.hpp"
#include "page_network.hpp"
#include "slimneck/files.hpp"
#include "stopwatch.hpp"

namespace slimneck::cli {

namespace fs = std::filesystem;

namespace {

constexpr index_t net_size = 320;

struct DemoArguments {
  std::string output = "runs/demo";
  std::uint64_t seed = 0;
};

/// slimneck-n in training on one picture. Its loss is half the mean square of everything that the heads say, so no
/// labels are needed.
class Network {
 public:
  explicit Network(std::uint64_t seed)
      : model_(open()), parameters_(model_.graph), plan_(model_.graph, parameters_, options()) {
    parameters_.initialise(seed);
  }

  Plan& plan() noexcept { return plan_; }
  View<float> input() { return plan_.input(); }
  View<float> output(std::string_view name) { return plan_.output(name); }
  View<float> input_gradient() { return plan_.input_gradient(); }
  [[nodiscard]] const Model& model() const noexcept { return model_; }

  /// Returns the loss and leaves its gradient at the outputs.
  double forward() {
    plan_.forward();
    double count = 0, sum = 0;
    for (const char* head : heads) count += static_cast<double>(output(head).shape.numel());
    for (const char* head : heads) {
      const View<float> y = output(head), g = plan_.output_gradient(head);
      for (index_t i = 0; i < y.shape.numel(); ++i) {
        const double v = y.data[i];
        sum += v * v;
        g.data[i] = static_cast<float>(v / count);
      }
    }
    return sum / (2 * count);
  }

  /// Returns the sum of the squares of all gradients of parameters.
  double backward() {
    parameters_.zero_grad();
    plan_.backward();
    const Tensor& gradients = parameters_.gradients();
    double sum = 0;
    for (index_t i = 0; i < gradients.numel(); ++i) {
      const double g = gradients.data<float>()[i];
      sum += g * g;
    }
    return sum;
  }

  void step(double rate) {
    for (Parameters::Entry& entry : parameters_.entries()) {
      if (entry.role != Role::parameter) continue;
      const View<float> g = parameters_.gradient<float>(entry);
      float* value = entry.value.data<float>();
      for (index_t i = 0; i < entry.value.numel(); ++i) value[i] -= static_cast<float>(rate) * g.data[i];
    }
    parameters_.touch();
  }

 private:
  static constexpr std::array<const char*, 3> heads{"head.0", "head.1", "head.2"};

  static PlanOptions options() {
    PlanOptions options;
    options.mode = Mode::train;
    options.input_gradients = true;
    return options;
  }

  static Model open() {
    Model model = load_model("slimneck-n", {.height = net_size, .width = net_size});
    for (const int layer : {17, 20, 23})
      model.graph.output("layer." + std::to_string(layer), model.layers[static_cast<std::size_t>(layer)].outputs[0],
                         OutputKind::probe);
    return model;
  }

  Model model_;
  Parameters parameters_;
  Plan plan_;
};

void save(const fs::path& path, const Image& image) {
  const Uninterrupted shield;
  write_image(path, image);
}

/// Returns the network's part of the report.
std::string show_network(const DemoArguments& arguments, const fs::path& directory) {
  const Image picture = drawn_picture(arguments.seed);
  save(directory / "picture.png", picture);
  const Image input = letterbox(picture, letterbox_geometry(picture.height, picture.width, net_size, net_size, false));

  Network network(arguments.seed);
  const ModelStats stats = model_stats(network.model());
  print(
      format("\nA drawn picture (%lldx%lld) through slimneck-n (%.2f M parameters, %.2f GMACs at %lldx%lld), random "
             "weights of seed %llu:\n",
             static_cast<long long>(picture.width), static_cast<long long>(picture.height),
             static_cast<double>(stats.parameters) / 1e6, static_cast<double>(stats.macs) / 1e9,
             static_cast<long long>(net_size), static_cast<long long>(net_size),
             static_cast<unsigned long long>(arguments.seed)));
  image_to_tensor(input, network.input());
  Stopwatch watch;
  const double loss = network.forward();
  print(format("  forward   %7.1f ms  half the mean square of its heads is %.6f\n", watch.lap(), loss));
  flush_output();
  const double squares = network.backward();
  print(format("  backward  %7.1f ms  the norm of its gradient in %lld parameters is %.6f\n", watch.lap(),
               static_cast<long long>(stats.parameters - stats.dead_parameters), std::sqrt(squares)));
  flush_output();

  std::vector<Panel> panels{{input, "input"}};
  for (const auto& [layer, title] :
       {std::pair("layer.17", "P3, layer 17"), {"layer.20", "P4, layer 20"}, {"layer.23", "P5, layer 23"}})
    panels.push_back({heat_map(network.output(layer), net_size), title});
  panels.push_back({heat_map(network.input_gradient(), net_size), "gradient"});
  save(directory / "features.png", side_by_side(panels));

  // To first order, a step against the gradient of this length takes away a ten thousandth.
  constexpr double wanted = 1e-4;
  network.step(wanted * loss / squares);
  const double after = network.forward();
  print(format("  a step against the gradient should lower it by %.4f %% to first order; it did by %.4f %%\n",
               100 * wanted, 100 * (loss - after) / loss));
  print(
      "The network has learned nothing yet, so there is nothing to detect: features.png shows what its levels see,\n"
      "and how strongly each pixel acts on the heads.\n\n");
  flush_output();
  constexpr int runs = 9;
  return network_sections(network.model(), network.plan(), time_steps(network.plan(), true, runs));
}

/// SC, DSC and GSConv in ten layers of YOLOv5s on one thread.
Comparison compare_layers() {
  CompareOptions options;
  for (const char* op : {"sc", "dsc", "gsconv", "gsconv-unfused"}) options.ops.push_back(op_of(op));
  options.passes = {Pass::fwd, Pass::fwdbwd};
  options.exec.isa = resolve(Isa::automatic);
  options.exec.threads = 1;
  options.time = 2;  // of a layer: the demonstration shall not take long on a busy machine
  note("comparing SC, DSC and GSConv in ten layers of YOLOv5s, which takes about half a minute ...");
  Comparison all = compare(options, default_layers());
  print(machine_text(all) + "\n" + summary(all) + "\n" + bold(conclusion(all)) + "\n");
  return all;
}

void run(const DemoArguments& arguments) {
  Stopwatch watch;
  const fs::path directory(arguments.output);
  std::error_code problem;
  fs::create_directories(directory, problem);
  if (problem) throw IoError(directory.string() + ": cannot be made: " + problem.message());
  const std::string network = show_network(arguments, directory);
  const Comparison all = compare_layers();
  const fs::path report = directory / "report.html";
  {
    const Uninterrupted shield;
    write_text(report.string(), compare_page("slimneck demo: ten layers of YOLOv5s and a small network", all, network));
  }
  print(format("\n%.0f s. All of it with charts: %s\nThe pictures: %s and %s\n", watch.lap() / 1000,
               bold(report.string()).c_str(), (directory / "picture.png").string().c_str(),
               (directory / "features.png").string().c_str()));
}

}  // namespace

void add_demo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("demo", "a network on a drawn picture, and SC, DSC and GSConv compared");
  auto arguments = std::make_shared<DemoArguments>();
  command->add_option("--output", arguments->output, "folder for the pictures (runs/demo)")->type_name("DIR");
  command->add_option("--seed", arguments->seed, "of the picture and the weights (0)")
      ->check(integer_in(0, largest_seed));
  command->footer("Example:\n  slimneck demo --seed 7");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
