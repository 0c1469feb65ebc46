// Running the program in a folder of its own.
#pragma once

#include <doctest/doctest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "temporary_folder.hpp"

#ifdef SLIMNECK_CLI

namespace slimneck::test {

/// The program; see test_data_folder.
extern const char* const program_file;
/// The library that makes its calls fail (faults/faults.cpp).
extern const char* const faults_file;

struct Outcome {
  int code;
  std::string out, err;
};

/// A folder with a program to run in it.
class ProgramFolder {
 public:
  explicit ProgramFolder(const std::string& name) : folder_(name) {}

  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }
  [[nodiscard]] std::string read(const std::string& name) const {
    std::ifstream in(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void text(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }

  /// Runs "slimneck ARGUMENTS" in the folder; `before` may wrap the program, and the arguments may redirect.
  [[nodiscard]] Outcome run(const std::string& arguments, const std::string& before = "") const {
    return shell(before + " '" + program_file + "' " + arguments);
  }
  /// Runs any command there.
  [[nodiscard]] Outcome shell(const std::string& line) const {
    const std::string command = "cd '" + folder_.path().string() + "' && { " + line + " ; } >stdout.txt 2>stderr.txt";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read("stdout.txt"), read("stderr.txt")};
  }

 private:
  TemporaryFolder folder_;
};

/// A command line, and what the message must name.
struct Failure {
  std::string arguments, cause;
};

inline bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// One line that begins with "error: ", and nothing on standard output.
inline void check_failed(const Outcome& outcome, int code, const std::string& cause) {
  CHECK(outcome.code == code);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.starts_with("error: "));
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
  CHECK_MESSAGE(contains(outcome.err, cause), outcome.err);
}

}  // namespace slimneck::test

#endif
