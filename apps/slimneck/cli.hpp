// What the subcommands share: the options of a model, printing, errors and signals.
#pragma once

#include <CLI/CLI.hpp>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"
#include "slimneck/weights.hpp"

namespace slimneck::cli {

/// Options that parse but do not fit together or into the model. The program ends with 2.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// ---- The subcommands ------------------------------------------------------------------------------------------------
// Each adds itself with its options and a callback that does the work.

void add_info(CLI::App& app);
void add_flops(CLI::App& app);
void add_convert(CLI::App& app);
void add_export(CLI::App& app);
void add_detect(CLI::App& app);
void add_val(CLI::App& app);
void add_run(CLI::App& app);
void add_gradcheck(CLI::App& app);
void add_explain(CLI::App& app);
void add_bench(CLI::App& app);
void add_compare(CLI::App& app);
void add_demo(CLI::App& app);
void add_train(CLI::App& app);
void add_data(CLI::App& app);

// ---- Printing -------------------------------------------------------------------------------------------------------

/// As printf, into a string.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

/// A result, to standard output. Call flush_output() where somebody may be waiting. Both throw IoError when standard
/// output does not take everything.
void print(std::string_view text);
void flush_output();
/// A line for the person in front of it, to standard error.
void note(std::string_view line);
/// The same for what everybody must hear: the end of the program, and what only this process knows.
void complain(std::string_view line);
/// From now on print() and note() do nothing: another process says the same.
void be_quiet() noexcept;
/// The first of these lines, each after `kind`, and how many more there are.
void note_all(const std::string& kind, const std::vector<std::string>& lines);

/// The text on one line that changes no terminal: control characters become spaces.
std::string printable(std::string text);

/// Whether it is a terminal whose lines can be changed (TERM).
bool is_terminal(int handle);

/// `text` in bold where standard output is a terminal that may be coloured (NO_COLOR, CLICOLOR_FORCE, TERM).
std::string bold(const std::string& text);

// ---- Signals --------------------------------------------------------------------------------------------------------

/// Standard input, output and error that are closed become ones that fail, so that no file takes their place.
void reserve_standard_files();

/// Ctrl-C ends the program with 130; a reader that goes away (SIGPIPE) becomes a write error.
void handle_signals();

/// While one lives, in any thread, Ctrl-C waits, so that no half-written temporary file stays behind.
class Uninterrupted {
 public:
  Uninterrupted() noexcept;
  ~Uninterrupted();
  Uninterrupted(const Uninterrupted&) = delete;
  Uninterrupted& operator=(const Uninterrupted&) = delete;
};

/// While one lives, the first Ctrl-C and SIGTERM are only noted, for work that can be saved; a second Ctrl-C ends the
/// program at once.
class StopRequests {
 public:
  StopRequests() noexcept;
  ~StopRequests();
  StopRequests(const StopRequests&) = delete;
  StopRequests& operator=(const StopRequests&) = delete;

  /// The code to exit with, 130 or 143; 0 while nothing came.
  [[nodiscard]] static int code() noexcept;
};

/// The work was saved after a request to stop.
class Stopped : public std::runtime_error {
 public:
  explicit Stopped(int exit_code, const std::string& message) : std::runtime_error(message), code(exit_code) {}
  int code;
};

// ---- Options --------------------------------------------------------------------------------------------------------

/// Numbers in low..high; anything else, NaN too, is a usage error.
CLI::Validator integer_in(index_t low, index_t high);
CLI::Validator real_in(double low, double high);
/// One of these words.
CLI::Validator one_of(const std::vector<std::string_view>& names);
/// The name of an activation.
CLI::Validator activation_name();
inline constexpr index_t largest_seed = std::numeric_limits<index_t>::max();

/// An option of YOLOv5 that makes no sense here: whoever gives it reads why, and it is not in --help.
void refuse(CLI::App& app, const std::string& name, const std::string& reason, bool takes_value = false);
/// The options of every command that takes a model.
struct ModelArguments {
  std::string cfg, dialect, act, shuffle, weights, init;
  std::optional<index_t> classes;
  std::vector<index_t> img;                  ///< [size] or [height, width]; empty: 640
  std::vector<std::vector<double>> anchors;  ///< as ModelOptions::anchors

  void add_to(CLI::App& app, bool with_size = true);
  /// The same, for a command that takes several models in `cfgs`.
  void add_to(CLI::App& app, std::vector<std::string>& cfgs);

 private:
  void add_options(CLI::App& app);
  void add_size(CLI::App& app);
};

/// The seed in --init, which was checked.
std::uint64_t seed_of_init(const std::string& init);

/// A model and where its weights come from.
struct OpenModel {
  Model model;
  std::optional<SafeTensors> weights;
  std::uint64_t seed = 0;  ///< when there are no weights

  /// New parameters of the model, loaded or drawn.
  [[nodiscard]] Parameters parameters(DType type = DType::f32) const;
  [[nodiscard]] std::map<std::string, std::string> metadata() const;
};

/// The same model for a batch of so many.
Graph with_batch(const Graph& graph, index_t batch);

/// The model for `input` (n, h and w of it), or for a batch of one at --img, which is rounded up to a multiple of the
/// model's stride. Notes the model's warnings.
OpenModel open_model(const ModelArguments& arguments, const std::optional<Shape>& input = std::nullopt);

/// The graph with its raw results alone, as training has them too: decoding boxes belongs to detection.
Graph results_only(const Graph& graph);

/// Multiples of 0.02 in 0..1: numbers like a picture's, without denormal ones.
void fill_like_picture(View<float> v);

/// Throws UsageError unless --weights or --init is given.
void require_weights(const ModelArguments& arguments);

/// Throws IoError unless files can be made where `path` is to stand: better said before the work than after it.
void require_writable(const std::string& path);

/// Where a plan runs: --device cpu, or cuda:N. A device that cannot be used is refused while options are read.
struct DeviceArgument {
  Device kind = Device::cpu;
  int ordinal = 0;
  void add_to(CLI::App& app);
};

/// How a plan runs: --device, --tf32, --threads, --isa, --algo, --tune and, for those who look into plans, --memory,
/// --block and
/// --reference.
struct ExecArguments {
  DeviceArgument device;
  int threads = 0;
  std::string isa = "automatic", algo = "best";
  bool tune = false, tf32 = false;
  std::uint64_t memory = 0;
  index_t block = 0;
  bool reference = false;
  void add_to(CLI::App& app, bool inside);
  void add_memory(CLI::App& app);  ///< for commands that train
  /// Throws DeviceError for an ISA that cannot run here.
  [[nodiscard]] Exec exec(DType type = DType::f32) const;
  [[nodiscard]] PlanOptions plan(Mode mode, DType type = DType::f32) const;
};

/// Whose kernels: "reference", "cuda", or an instruction set.
std::string_view kernels_name(const Exec& exec);

/// Keeps what --tune has measured, for the next time. Notes when that cannot be written: it is not what was asked for.
void save_tuned();

}  // namespace slimneck::cli
