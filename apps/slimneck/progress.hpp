// The line of a terminal that says how far it is.
#pragma once

#include <chrono>
#include <string>

namespace slimneck::cli {

/// One line on standard error that is written again and again, ten times a second at most.
class Progress {
 public:
  Progress() = default;
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// What is printed next begins a line.
  ~Progress();

  /// Whether standard error is a terminal that can do that.
  static bool possible();
  /// Replaces the line. What does not fit into the terminal's width is left out.
  void show(std::string line);
  /// Takes the line away, before something else is printed.
  void clear();
  /// Leaves the last line as it is.
  void finish();

 private:
  void write();

  std::string line_;
  std::chrono::steady_clock::time_point last_;
  bool visible_ = false;
};

}  // namespace slimneck::cli
