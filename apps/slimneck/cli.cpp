#include "cli.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>

namespace slimneck::cli {

// ---- Printing -------------------------------------------------------------------------------------------------------

std::string format(const char* pattern, ...) {
  va_list arguments, again;
  va_start(arguments, pattern);
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, pattern, arguments);
  va_end(arguments);
  std::string text(static_cast<std::size_t>(std::max(length, 0)), '\0');
  std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  return text;
}

namespace {

[[noreturn]] void fail_output() {
  throw IoError(std::string("standard output: ") + std::strerror(errno != 0 ? errno : EIO));
}

}  // namespace

namespace {
bool quiet = false;
}

void be_quiet() noexcept { quiet = true; }

void print(std::string_view text) {
  if (quiet) return;
  errno = 0;
  if (!(std::cout << text)) fail_output();
}

void flush_output() {
  errno = 0;
  if (!std::cout.flush()) fail_output();
}

void complain(std::string_view line) { std::cerr << std::string(line) + '\n'; }

void note(std::string_view line) {
  if (!quiet) complain(line);
}

void note_all(const std::string& kind, const std::vector<std::string>& lines) {
  constexpr std::size_t most = 10;
  for (std::size_t i = 0; i < std::min(lines.size(), most); ++i) note(kind + ": " + printable(lines[i]));
  if (lines.size() > most) note(kind + format(": ... and %zu more", lines.size() - most));
}

std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return std::iscntrl(c) != 0; }, ' ');
  return text;
}

bool is_terminal(int handle) {
  const char* terminal = std::getenv("TERM");
  const bool dumb = terminal == nullptr || std::string_view(terminal) == "dumb";
  return !dumb && isatty(handle) == 1;
}

std::string bold(const std::string& text) {
  const auto given = [](const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0';
  };
  const bool coloured = !given("NO_COLOR") && (given("CLICOLOR_FORCE") || is_terminal(STDOUT_FILENO));
  return coloured ? "\033[1m" + text + "\033[0m" : text;
}

// ---- Signals --------------------------------------------------------------------------------------------------------

namespace {

constexpr int interrupted = 130, terminated = 143;
std::atomic<int> shields = 0;
std::atomic<bool> pending = false;
std::atomic<bool> awaited = false;  // somebody asks for stop requests
std::atomic<int> requested = 0;     // 0, or the exit code
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

extern "C" void on_terminate(int) { requested = terminated; }

/// Either this sees a shield, or whoever takes one up sees that it is too late.
extern "C" void on_interrupt(int) {
  if (awaited && requested != interrupted) {
    requested = interrupted;
    return;
  }
  pending = true;
  if (shields == 0) _exit(interrupted);
}

}  // namespace

void reserve_standard_files() {
  // The wrong direction: reading and writing fail, as they would without a file.
  for (const int handle : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (fcntl(handle, F_GETFD) < 0 && errno == EBADF) open("/dev/null", handle == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

void handle_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGINT, on_interrupt);
}

namespace {

thread_local int depth = 0;  ///< shields of this thread

}  // namespace

Uninterrupted::Uninterrupted() noexcept {
  if (depth++ > 0) return;
  ++shields;
  if (!pending) return;
  if (--shields == 0) _exit(interrupted);
  for (;;) pause();  // the thread that has the last shield ends the program
}

Uninterrupted::~Uninterrupted() {
  if (--depth > 0) return;
  if (--shields == 0 && pending) _exit(interrupted);
}

StopRequests::StopRequests() noexcept {
  requested = 0;
  awaited = true;
  std::signal(SIGTERM, on_terminate);
}

StopRequests::~StopRequests() {
  awaited = false;
  std::signal(SIGTERM, SIG_DFL);
}

int StopRequests::code() noexcept { return requested; }

// ---- Options --------------------------------------------------------------------------------------------------------

namespace {

/// The whole text as a number, or nothing.
template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <class T>
CLI::Validator number_in(T low, T high, const std::string& range) {
  return CLI::Validator(
      [low, high, range](std::string& text) {
        const std::optional<T> value = number<T>(text);
        return value && *value >= low && *value <= high ? std::string() : "'" + text + "' is not a number in " + range;
      },
      range);
}

}  // namespace

CLI::Validator integer_in(index_t low, index_t high) {
  return number_in<index_t>(low, high, std::to_string(low) + ".." + std::to_string(high));
}

CLI::Validator activation_name() {
  return CLI::Validator(
      [](std::string& text) {
        return find_activation(text) ? std::string() : "'" + text + "' is no activation that slimneck knows";
      },
      "NAME");
}

CLI::Validator real_in(double low, double high) { return number_in(low, high, format("%g..%g", low, high)); }

CLI::Validator one_of(const std::vector<std::string_view>& names) {
  std::string list;
  for (const std::string_view name : names) list += (list.empty() ? "" : "|") + std::string(name);
  return CLI::Validator(
      [list](std::string& text) {
        const std::string wrapped = "|" + list + "|";
        const bool known =
            !text.empty() && text.find('|') == std::string::npos && wrapped.find("|" + text + "|") != std::string::npos;
        return known ? std::string() : "'" + text + "' is none of " + list;
      },
      list);
}

void refuse(CLI::App& app, const std::string& name, const std::string& reason, bool takes_value) {
  const auto fail = [name, reason](const std::string&) -> std::string { throw UsageError(name + ": " + reason); };
  CLI::Option* option = takes_value ? app.add_option_function<std::string>(name, fail)->expected(0, 1)
                                    : app.add_flag_callback(name, [fail] { static_cast<void>(fail("")); });
  option->group("");
}

void DeviceArgument::add_to(CLI::App& app) {
  app.add_option_function<std::string>(
         "--device",
         [this](const std::string& text) {
           constexpr std::string_view cuda = "cuda";
           constexpr std::size_t most_digits = 3;
           kind = text.starts_with(cuda) ? Device::cuda : Device::cpu;
           ordinal = 0;
           if (text.empty() || text == "cpu") return;
           const std::string number = text == cuda                ? "0"
                                      : text.starts_with("cuda:") ? text.substr(cuda.size() + 1)
                                                                  : std::string();
           if (number.empty() || number.size() > most_digits ||
               number.find_first_not_of("0123456789") != std::string::npos)
             throw UsageError("--device " + printable(text) + ": wanted cpu, or cuda:N for the GPU of that number");
           ordinal = std::stoi(number);
           require_device(kind, ordinal);
         },
         "where networks run: cpu, or cuda:N in builds with CUDA kernels (cpu)")
      ->expected(0, 1)
      ->type_name("DEVICE");
}

namespace {

std::vector<std::string_view> dialect_names() {
  std::vector<std::string_view> names;
  for (const Dialect& dialect : all_dialects()) names.push_back(dialect.name);
  return names;
}

std::optional<std::uint64_t> seed_of(std::string_view text) {
  constexpr std::string_view key = "seed=";
  if (!text.starts_with(key)) return std::nullopt;
  return number<std::uint64_t>(text.substr(key.size()));
}

index_t rounded_up(index_t size, index_t stride) { return (size + stride - 1) / stride * stride; }

}  // namespace

namespace {

constexpr const char* model_group = "Model";
constexpr const char* cfg_help =
    "model file, or a model of the library: yolov5n, slimneck-s, ... (what the weights hold)";

}  // namespace

void ModelArguments::add_to(CLI::App& app, bool with_size) {
  app.add_option("--cfg", cfg, cfg_help)->type_name("MODEL")->group(model_group);
  add_options(app);
  if (with_size) add_size(app);
}

void ModelArguments::add_to(CLI::App& app, std::vector<std::string>& cfgs) {
  app.add_option("--cfg", cfgs, cfg_help)->type_name("MODEL")->group(model_group);
  add_options(app);
  add_size(app);
}

void ModelArguments::add_options(CLI::App& app) {
  app.add_option("--dialect", dialect, "whose slim-neck modules")->check(one_of(dialect_names()))->group(model_group);
  app.add_option("--act", act, "activation of every Conv: SiLU, Mish, ReLU, LeakyReLU(0.1), ...")
      ->check(activation_name())
      ->group(model_group);
  const std::vector<std::string_view> kinds{to_string(ShuffleKind::interleave), to_string(ShuffleKind::deinterleave)};
  app.add_option("--shuffle", shuffle, "how GSConv shuffles")->check(one_of(kinds))->group(model_group);
  app.add_option("--nc", classes, "number of classes, instead of the model file's")
      ->check(integer_in(1, 65535))
      ->group(model_group);
  CLI::Option* file = app.add_option("--weights", weights, "weights, safetensors or PyTorch's .pt")
                          ->type_name("FILE")
                          ->group(model_group);
  app.add_option("--init", init, "random weights instead: seed=S")
      ->check(CLI::Validator(
          [](std::string& text) { return seed_of(text) ? std::string() : "'" + text + "' is not seed=NUMBER"; },
          "seed=S"))
      ->excludes(file)
      ->group(model_group);
}

void ModelArguments::add_size(CLI::App& app) {
  app.add_option("--img,--imgsz,--img-size", img, "size of the network's input: SIZE, or HEIGHT WIDTH (640)")
      ->expected(1, 2)
      ->check(integer_in(1, 65535))
      ->group(model_group);
}

std::uint64_t seed_of_init(const std::string& init) { return *seed_of(init); }

Graph with_batch(const Graph& graph, index_t batch) {
  Shape input = graph.shape({0, 0});
  if (input.n == batch) return graph;
  input.n = batch;
  return graph.with_inputs(std::span(&input, 1));
}

Graph results_only(const Graph& graph) {
  Graph results = graph.with_outputs([](const Output& o) { return o.kind == OutputKind::result; });
  return results.outputs().empty() ? graph : results;
}

void fill_like_picture(View<float> v) {
  for (index_t i = 0; i < v.shape.numel(); ++i) v.data[i] = static_cast<float>(i * 37 % 51) / 50;
}

void require_weights(const ModelArguments& arguments) {
  if (arguments.weights.empty() && arguments.init.empty())
    throw UsageError("--weights FILE or --init seed=S is required");
}

void require_writable(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code problem;
  if (std::filesystem::is_directory(path, problem))
    errno = EISDIR;
  else if (access(folder.empty() ? "." : folder.c_str(), W_OK | X_OK) == 0)
    return;
  throw IoError(path + ": cannot write: " + std::strerror(errno));
}

void ExecArguments::add_to(CLI::App& app, bool inside) {
  device.add_to(app);
  app.add_flag("--tf32", tf32, "on a GPU: convolutions by tensor cores, which round what they multiply to 10 bits");
  app.add_option("--threads", threads, "threads (0: all)")->check(integer_in(0, 1024));
  app.add_option("--isa", isa, "instruction set: scalar, avx2, avx512 or neon (the best that is here)")
      ->check(one_of(std::vector<std::string_view>{"automatic", "scalar", "avx2", "avx512", "neon"}));
  app.add_option("--algo", algo, "convolutions: best, or direct: no Winograd (best)")
      ->check(one_of(std::vector<std::string_view>{"best", "direct"}));
  app.add_flag("--tune", tune, "choose kernels by timing them once on this machine, instead of by the table");
  if (!inside) return;
  app.add_option("--block", block, "channels per block of the plan: 1, 4, 8 or 16 (0: decide)")
      ->check(one_of(std::vector<std::string_view>{"0", "1", "4", "8", "16"}));
  app.add_flag("--reference", reference, "the reference plan: no rewrites, plain NCHW, scalar kernels");
}

void ExecArguments::add_memory(CLI::App& app) {
  app.add_option("--memory", memory, "training: compute values again while the arena is larger: 300M, 2G (machine's)")
      ->transform(CLI::AsSizeValue(false));
}

Exec ExecArguments::exec(DType type) const {
  Exec exec;
  exec.device = device.kind;
  exec.threads = threads;
  exec.isa = resolve(isa_of(isa));
  exec.direct = algo == "direct";
  exec.dtype = type;
  exec.block = block;
  exec.reference = reference;
  return exec;
}

namespace {

/// What --tune has measured, in this process and before.
struct Tuned {
  TuneCache cache;
  std::string path = tune_cache_path();
  std::size_t read = 0;
  Tuned() {
    if (!path.empty()) load_tune_cache(cache, path);
    read = cache.all().size();
  }
};

std::unique_ptr<Tuned>& tuned() {
  static std::unique_ptr<Tuned> tuned;
  return tuned;
}

/// The model of --cfg, or the one that the weights hold.
Model model_of(const ModelArguments& arguments, const OpenModel& open, const ModelOptions& options) {
  if (!arguments.cfg.empty()) return load_model(arguments.cfg, options);
  const std::map<std::string, std::string> metadata = open.metadata();
  const auto yaml = metadata.find(std::string(metadata_key::yaml));
  if (yaml == metadata.end())
    throw UsageError(open.weights ? "--cfg is required: " + arguments.weights + " does not say of which network it is"
                                  : "--cfg is required");
  return parse_model(yaml->second, arguments.weights, options);
}

}  // namespace

void save_tuned() {
  if (!tuned() || tuned()->path.empty() || tuned()->cache.all().size() == tuned()->read) return;
  try {
    save_tune_cache(tuned()->cache, tuned()->path);
  } catch (const IoError& problem) {
    note(std::string("warning: ") + problem.what());
  }
}

std::string_view kernels_name(const Exec& exec) {
  if (exec.device == Device::cuda) return "cuda";
  return exec.reference ? "reference" : name_of(exec.isa);
}

PlanOptions ExecArguments::plan(Mode mode, DType type) const {
  PlanOptions options;
  options.mode = mode;
  options.exec = exec(type);
  options.ordinal = device.ordinal;
  options.tf32 = tf32;
  options.memory = memory;
  if (!tune) return options;
  if (!tuned()) tuned() = std::make_unique<Tuned>();
  options.tune = Tune::measure;
  options.tuned = &tuned()->cache;
  return options;
}

OpenModel open_model(const ModelArguments& arguments, const std::optional<Shape>& input) {
  if (arguments.cfg.empty() && arguments.weights.empty()) throw UsageError("--cfg is required");
  OpenModel open;
  if (!arguments.weights.empty()) open.weights = read_weights(arguments.weights);
  if (!arguments.init.empty()) open.seed = seed_of_init(arguments.init);

  ModelOptions options{.dialect = arguments.dialect,
                       .activation = arguments.act,
                       .shuffle = arguments.shuffle,
                       .classes = arguments.classes,
                       .anchors = arguments.anchors};
  const std::map<std::string, std::string> metadata = open.metadata();
  if (const auto at = metadata.find(std::string(metadata_key::dialect)); at != metadata.end())
    options.weights_dialect = at->second;
  if (input) {
    options.batch = input->n;
    options.height = input->h;
    options.width = input->w;
  }
  open.model = model_of(arguments, open, options);
  if (!arguments.img.empty()) {
    // Only a loaded model knows the stride to which its pictures are rounded up.
    const index_t stride = open.model.strides.empty() ? 1 : open.model.max_stride();
    options.height = rounded_up(arguments.img.front(), stride);
    options.width = rounded_up(arguments.img.back(), stride);
    if (options.height != arguments.img.front() || options.width != arguments.img.back())
      note(format("warning: --img must be a multiple of the model's stride %lld; using %lldx%lld",
                  static_cast<long long>(stride), static_cast<long long>(options.height),
                  static_cast<long long>(options.width)));
    open.model = model_of(arguments, open, options);
  }
  for (const std::string& warning : open.model.warnings) note("warning: " + warning);
  return open;
}

Parameters OpenModel::parameters(DType type) const {
  Parameters parameters(model.graph, type);
  if (weights)
    load_state_dict(parameters, *weights);
  else
    parameters.initialise(seed);
  return parameters;
}

std::map<std::string, std::string> OpenModel::metadata() const {
  return weights ? weights->metadata() : std::map<std::string, std::string>{};
}

}  // namespace slimneck::cli
