// slimneck, the program: parses the command line, runs one subcommand and turns what happened into an exit code:
// 0 done, 1 it failed, 2 the command line is wrong, 130 Ctrl-C, 143 SIGTERM
// where work could be saved.
#include <algorithm>
#include <new>
#include <sstream>

#include "cli.hpp"
#include "slimneck/image.hpp"
#include "slimneck/parallel.hpp"
#include "slimneck/version.hpp"

namespace slimneck::cli {

namespace {

enum ExitCode { done = 0, failed = 1, usage = 2 };

/// "avx512 (also avx2 scalar)"
std::string isas() {
  std::string others;
  for (const Isa isa : available_isas())
    if (isa != available_isas().front()) others += ' ' + std::string(name_of(isa));
  return std::string(name_of(available_isas().front())) + (others.empty() ? "" : " (also" + others + ")");
}

/// Threads of a parallel region.
int openmp_threads() {
  int threads = 0;
#pragma omp parallel reduction(+ : threads)
  threads += 1;
  return threads;
}

std::string version() {
  return std::string("slimneck ") + SLIMNECK_VERSION_STRING + "\nISA: " + isas() +
         "\nOpenMP: " + std::to_string(openmp_threads()) + " threads\nMPI: " + (has_mpi() ? "yes" : "no") +
         "\nJPEG: " + std::string(jpeg_decoder());
}

constexpr const char* examples = R"(Examples:
  slimneck demo
  slimneck compare
  slimneck info --cfg slimneck-s
  slimneck flops --cfg slimneck-s --vs yolov5s
  slimneck detect --cfg yolov5n --weights yolov5n.safetensors --source bus.jpg zidane.jpg
  slimneck val --weights yolov5n.safetensors --data coco.yaml
  slimneck run --cfg slimneck-n --init seed=1 --input x.safetensors --output y.safetensors --mode train
  slimneck gradcheck --module GSConv
  slimneck data check shapes/data.yaml
Each command has its own --help.)";

/// The command line as far as it names commands: "slimneck data check"; `last` becomes the last of them.
std::string command_of(const CLI::App& app, const CLI::App*& last) {
  std::string text = "slimneck";
  last = &app;
  while (!last->get_subcommands().empty()) {
    last = last->get_subcommands().front();
    text += " " + last->get_name();
  }
  return text;
}

/// CLI11 only says that a command is missing: what stands in its place, or nothing.
std::string unknown_command(const CLI::App& last, int argc, char** argv) {
  if (last.get_require_subcommand_min() == 0 || !last.get_subcommands().empty()) return "";
  const auto* const end = argv + argc;
  const auto* const at = last.get_parent() == nullptr ? argv : std::find(argv, argv + argc, last.get_name());
  if (at == end || at + 1 == end) return "";
  const std::string word = at[1];
  return (word.starts_with('-') ? "there is no option '" : "there is no command '") + word + "'";
}

/// One line, whatever the message.
int fail(std::string message, ExitCode code) {
  complain("error: " + printable(std::move(message)));
  return code;
}

int parse_and_run(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // --help, --version
    std::ostringstream out, err;
    app.exit(asked, out, err);
    print(out.str());
  } catch (const CLI::ParseError& problem) {
    const CLI::App* last = nullptr;
    const std::string command = command_of(app, last), unknown = unknown_command(*last, argc, argv);
    return fail((unknown.empty() ? problem.what() : unknown) + " (see " + command + " --help)", usage);
  }
  flush_output();
  save_tuned();
  return done;
}

int run_program(int argc, char** argv) {
  reserve_standard_files();
  handle_signals();
  CLI::App app("Standard, depthwise separable and GSConv networks in C++: YOLOv5 and its slim necks.", "slimneck");
  app.set_version_flag("--version", version());
  app.set_help_flag("-h,--help", "what you are reading");
  app.get_formatter()->column_width(40);
  app.footer(examples);
  app.require_subcommand(1);
  add_demo(app);
  add_compare(app);
  add_detect(app);
  add_train(app);
  add_val(app);
  add_info(app);
  add_flops(app);
  add_convert(app);
  add_export(app);
  add_explain(app);
  add_bench(app);
  add_run(app);
  add_gradcheck(app);
  add_data(app);
  return parse_and_run(app, argc, argv);
}

/// Nothing may leave main: an exception becomes one line and an exit code.
int main(int argc, char** argv) noexcept try { return run_program(argc, argv); } catch (const UsageError& problem) {
  return fail(problem.what(), usage);
} catch (const Stopped& stopped) {
  note(printable(stopped.what()));
  return stopped.code;
} catch (const std::bad_alloc&) {
  return fail("out of memory", failed);
} catch (const std::exception& problem) {
  return fail(problem.what(), failed);
}

}  // namespace

}  // namespace slimneck::cli

int main(int argc, char** argv) { return slimneck::cli::main(argc, argv); }
