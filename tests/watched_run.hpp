// Running the program without a shell: with variables of its own, limits, another user, and what it used.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "program.hpp"

#ifdef SLIMNECK_CLI

namespace slimneck::test {

struct Watch {
  std::vector<std::pair<std::string, std::string>> variables = {};
  rlim_t cpu_seconds = 60;    ///< more of them end it with SIGXCPU
  uid_t user = 0;             ///< not 0: run as this one
  bool close_output = false;  ///< there is no standard output
};

struct Watched {
  int code = -1;   ///< of exit(); -1: a signal
  int signal = 0;  ///< that ended it
  long peak = 0;   ///< KiB of memory
  std::string out, err;
};

/// Words at single spaces.
inline std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words{""};
  for (const char c : line)
    if (c == ' ')
      words.emplace_back();
    else
      words.back() += c;
  return words;
}

/// Runs "slimneck ARGUMENTS" in the folder.
inline Watched watch(const ProgramFolder& folder, const std::string& arguments, const Watch& watch = {}) {
  std::vector<std::string> words = words_of(arguments);
  std::vector<char*> argv{const_cast<char*>(program_file)};
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string place = (folder / "").string(), out = (folder / "stdout.txt").string(),
                    err = (folder / "stderr.txt").string();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
    if (watch.close_output) ::close(STDOUT_FILENO);
    const rlimit limit{watch.cpu_seconds, watch.cpu_seconds};
    ::setrlimit(RLIMIT_CPU, &limit);
    for (const auto& [name, value] : watch.variables) ::setenv(name.c_str(), value.c_str(), 1);
    const bool ready =
        ::chdir(place.c_str()) == 0 && (watch.user == 0 || (::setgid(watch.user) == 0 && ::setuid(watch.user) == 0));
    if (ready) ::execv(program_file, argv.data());
    ::_exit(127);
  }
  int status = 0;
  rusage used{};
  REQUIRE(::wait4(child, &status, 0, &used) == child);
  Watched result;
  if (WIFEXITED(status)) result.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.peak = used.ru_maxrss;
  result.out = folder.read("stdout.txt");
  result.err = folder.read("stderr.txt");
  return result;
}

/// Exit code 1, and one line that begins with "error: ".
inline void check_one_error(const Watched& run) {
  CHECK(run.signal == 0);
  CHECK(run.code == 1);
  CHECK(run.err.starts_with("error: "));
  CHECK(std::count(run.err.begin(), run.err.end(), '\n') == 1);
}

}  // namespace slimneck::test

#endif
