#include "options.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "slimneck/error.hpp"

namespace slimneck::bench {

const char* const usage = R"(usage: slimneck_bench [--ratios[=FILE.json]] [options] [Google Benchmark's flags]
       slimneck_bench --networks[=FILE.json] --cfg MODEL... [options]
  --ratios[=FILE.json]      slimneck and oneDNN in turns, one table row for each; rows as JSON into FILE
  --networks[=FILE.json]    whole networks: slimneck's plan and the same from oneDNN's primitives in turns
  --check                   no times: both sides against the scalar specification (minutes for the whole table)
  --list                    print the shape table and stop
  --algo=direct|best        without or with Winograd, on both sides (best)
  --isa=scalar|avx2|avx512  instruction set of both sides (the best one here; for scalar oneDNN gets SSE4.1)
  --threads=N               threads of both sides (1)
  --batch=N                 pictures (1; rows of training: 8)
  --time=SECONDS            time budget of a row of ratios (0.3; of a network: 5)
  --no-epilogue             forward convolutions without bias and activation
  --cfg MODEL...            of networks: names or files (yolov5n slimneck-n)
  --img=N                   of networks: height and width of the picture (640)
  --mode=infer|train        of networks: inference, or forward and backward of a step (infer)
  --peer=onednn-best|onednn-framework|both  of networks (both)
  --benchmark_filter=REGEX  some of the rows, by name (CLASS/OP/PASS/IMPL/SHAPE/tN works for --ratios, too)
)";

namespace {

template <class T>
T number(std::string_view flag, std::string_view text, T least) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size() || value < least)
    throw Error(std::string(flag) + " is '" + std::string(text) + "', wanted a number from " + std::to_string(least));
  return value;
}

Isa isa_of(std::string_view text) {
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::neon})
    if (kernels::name_of(isa) == text) return isa;
  throw Error("--isa is '" + std::string(text) + "', wanted scalar, avx2, avx512 or neon");
}

kernels::Algorithm algorithm_of(std::string_view text) {
  if (text == "direct") return kernels::Algorithm::direct;
  if (text == "best") return kernels::Algorithm::best;
  throw Error("--algo is '" + std::string(text) + "', wanted direct or best");
}

std::string one_of(std::string_view flag, std::string_view text, std::initializer_list<std::string_view> known) {
  std::string list;
  for (const std::string_view name : known) {
    if (name == text) return std::string(text);
    list += (list.empty() ? "" : ", ") + std::string(name);
  }
  throw Error(std::string(flag) + " is '" + std::string(text) + "', wanted one of " + list);
}

/// Is this one of ours, and is there a value for it?
bool takes_value(std::string_view flag) {
  constexpr std::array<std::string_view, 9> flags{"--algo", "--isa", "--threads", "--batch", "--time",
                                                  "--cfg",  "--img", "--mode",    "--peer"};
  return std::find(flags.begin(), flags.end(), flag) != flags.end();
}

void set(Options& o, std::string_view flag, std::string_view value) {
  if (flag == "--algo") o.algorithm = algorithm_of(value);
  if (flag == "--isa") o.isa = isa_of(value);
  if (flag == "--threads") o.threads = number<int>(flag, value, 1);
  if (flag == "--batch") o.batch = number<index_t>(flag, value, 1);
  if (flag == "--time") {
    o.budget = number<double>(flag, value, 0);
    o.budget_given = true;
  }
  if (flag == "--cfg") o.cfgs.emplace_back(value);
  if (flag == "--img") o.img = number<index_t>(flag, value, 32);
  if (flag == "--mode") o.train = one_of(flag, value, {"infer", "train"}) == "train";
  if (flag == "--peer") o.peer = one_of(flag, value, {"onednn-best", "onednn-framework", "both"});
}

}  // namespace

Options parse(int& argc, char** argv) {
  Options o;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::size_t equals = argument.find('=');
    const std::string_view flag = argument.substr(0, equals);
    const std::string_view value = equals == argument.npos ? std::string_view{} : argument.substr(equals + 1);
    if (flag == "--ratios" || flag == "--networks") {
      (flag == "--ratios" ? o.ratios : o.networks) = true;
      o.json = value;
    } else if (argument == "--check") {
      o.check = true;
    } else if (argument == "--list") {
      o.list = true;
    } else if (argument == "--no-epilogue") {
      o.epilogue = false;
    } else if (takes_value(flag)) {
      if (equals == argument.npos && i + 1 == argc) throw Error(std::string(flag) + " wants a value");
      set(o, flag, equals == argument.npos ? std::string_view(argv[++i]) : value);
      // Models may follow each other: --cfg yolov5n slimneck-n.
      while (flag == "--cfg" && i + 1 < argc && argv[i + 1][0] != '-') set(o, flag, argv[++i]);
    } else {
      if (flag == "--benchmark_filter") o.filter = value;
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  argv[kept] = nullptr;
  o.isa = kernels::resolve(o.isa);
  return o;
}

Filter::Filter(const std::string& text)
    : negative_(text.starts_with('-')),
      pattern_(negative_                       ? text.substr(1)
               : text.empty() || text == "all" ? "."
                                               : text,
               std::regex::extended) {}

bool Filter::operator()(const std::string& name) const { return std::regex_search(name, pattern_) != negative_; }

}  // namespace slimneck::bench
