// Python as an oracle: never needed, used where it is.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

namespace slimneck::test {

/// The interpreter in the environment variable SLIMNECK_PYTHON, else python3; false, with a message, when it does not
/// have the modules (separated by commas).
class Python {
 public:
  explicit Python(const std::string& modules) {
    const char* chosen = std::getenv("SLIMNECK_PYTHON");
    program_ = chosen != nullptr && *chosen != '\0' ? chosen : "python3";
    found_ = std::system(("'" + program_ + "' -c 'import " + modules + "' >/dev/null 2>&1").c_str()) == 0;
    if (!found_) MESSAGE("skipped: " << program_ << " has no " << modules << " (SLIMNECK_PYTHON chooses another)");
  }

  explicit operator bool() const noexcept { return found_; }
  /// Exit status of "python ARGUMENTS"; what it prints on standard error is seen.
  [[nodiscard]] int run(const std::string& arguments) const {
    return std::system(("'" + program_ + "' " + arguments).c_str());
  }

 private:
  std::string program_;
  bool found_ = false;
};

}  // namespace slimneck::test
