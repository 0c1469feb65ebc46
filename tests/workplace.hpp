// The program as its users meet it: a folder to run it in, and what it answered.
#pragma once

#include <doctest/doctest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/weights.hpp"
#include "temporary_folder.hpp"

namespace slimneck::test {

inline constexpr const char* detector_yaml = R"(nc: 2
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [10, 13, 16, 30, 33, 23]
  - [30, 61, 62, 45, 59, 119]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, GSConv, [16, 3, 2]]
head:
  - [[2, 3], 1, Detect, [nc, anchors]]
)";
inline constexpr const char* plain_yaml = R"(depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
head:
  - [-1, 1, GSConv, [8, 1, 1]]
)";

struct Outcome {
  int code;
  std::string out, err;
};

#ifdef SLIMNECK_CLI

/// A folder with a program to run in it.
class Workplace {
 public:
  explicit Workplace(const std::string& name = "cli") : folder_(name) {
    text("detector.yaml", detector_yaml);
    text("plain.yaml", plain_yaml);
  }

  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream in(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void text(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  void tensor(const std::string& name, const char* key, const std::vector<index_t>& dims, float scale = 1) const {
    std::vector<float> values(static_cast<std::size_t>(shape_of(dims).numel()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = scale * static_cast<float>((i * 37) % 64) / 64;
    write_safetensors(folder_ / name, std::vector{TensorEntry{key, dims, std::span<const float>(values)}});
  }

  /// Runs "slimneck ARGUMENTS" in the folder; `before` may wrap the program, and the arguments may redirect.
  [[nodiscard]] Outcome run(const std::string& arguments, const std::string& before = "") const {
    const std::string command = "cd '" + folder_.path().string() + "' && { " + before + " '" + SLIMNECK_CLI + "' " +
                                arguments + " ; } >stdout.txt 2>stderr.txt";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read("stdout.txt"), read("stderr.txt")};
  }

 private:
  TemporaryFolder folder_;
};

#endif

inline bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// One line that begins with "error: ", and nothing on standard output.
inline void check_failed(const Outcome& outcome, int code, const std::string& cause) {
  CHECK(outcome.code == code);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.starts_with("error: "));
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
  CHECK(contains(outcome.err, cause));
}

}  // namespace slimneck::test
