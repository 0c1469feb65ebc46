// slimneck demo: what the library does, without network or pictures of one's own.
#include "demo.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "cli.hpp"
#include "compare_report.hpp"
#include "compare_verdict.hpp"
#include "page_compare.hpp"
#include "run_folder.hpp"
#include "slimneck/files.hpp"
#include "stopwatch.hpp"

namespace slimneck::cli {

namespace fs = std::filesystem;

namespace {

/// A new folder that goes with everything in it.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const fs::path& parent) : path_((parent / "pictures-XXXXXX").string()) {
    if (mkdtemp(path_.data()) == nullptr) throw IoError(path_ + ": cannot be made: " + std::strerror(errno));
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] fs::path path() const { return path_; }

 private:
  std::string path_;
};

DemoData draw(const DemoArguments& arguments, const fs::path& folder) {
  ShapesOptions shapes;
  shapes.images = 320;
  shapes.seed = arguments.seed;
  make_shapes(folder, shapes);
  DemoData data;
  data.config = load_data(folder / "data.yaml");
  data.train = scan_data(data.config, Split::train);
  data.val = scan_data(data.config, Split::val);
  data.test = scan_data(data.config, Split::test);
  return data;
}

/// SC, DSC and GSConv in ten layers of YOLOv5s on one thread.
Comparison compare_layers() {
  CompareOptions options;
  for (const char* op : {"sc", "dsc", "gsconv", "gsconv-unfused"}) options.ops.push_back(op_of(op));
  options.passes = {Pass::fwd, Pass::fwdbwd};
  options.exec.isa = resolve(Isa::automatic);
  options.exec.threads = 1;
  options.time = 2;  // of a layer: the demonstration shall not take long on a busy machine
  note("comparing SC, DSC and GSConv in ten layers of YOLOv5s ...");
  Comparison all = compare(options, default_layers());
  print(machine_text(all) + "\n" + summary(all) + "\n" + bold(conclusion(all)) + "\n");
  return all;
}

void run(const DemoArguments& arguments) {
  Stopwatch watch;
  make_folders(arguments.output, arguments.output);
  note("drawing pictures ...");
  const TemporaryFolder folder(arguments.output);
  DemoData data = draw(arguments, folder.path() / "shapes");
  std::string sections = show_detection(arguments, data);
  sections += show_training(arguments, data);
  const Comparison all = compare_layers();
  const fs::path report = arguments.output / "report.html";
  {
    const Uninterrupted shield;
    write_text(report.string(), compare_page("slimneck demo", all, sections));
  }
  print(format("\n%.0f s. All of it with charts: %s\nThe pictures, with what was found: %s\n", watch.ms() / 1000,
               bold(report.string()).c_str(), (arguments.output / "found").string().c_str()));
}

}  // namespace

void add_demo(CLI::App& app) {
  CLI::App* command = app.add_subcommand("demo", "find shapes, learn others, and compare SC, DSC and GSConv");
  auto arguments = std::make_shared<DemoArguments>();
  command->add_option("--output", arguments->output, "folder for pictures and report (runs/demo)")->type_name("DIR");
  command->add_option("--seed", arguments->seed, "of the pictures (1)")->check(integer_in(1, largest_seed));
  command->footer("Example:\n  slimneck demo --seed 7");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
