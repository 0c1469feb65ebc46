// Cases of the tests of CUDA kernels. The same tests are built into two programs: slimneck_cuda_emulated_tests has an
// emulated device, slimneck_cuda_tests (tests/cuda_device) a real one. Both can run a part of the cases.
#pragma once

#include <functional>
#include <string>

#include "kernels/cuda/runtime.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck::cuda_cases {

// ---- What a program has

/// The table of the device that tests run on; an emulated device is as new after every call.
const kernels::cuda::Runtime& fresh_runtime();
/// What is wrong with the memory around that of the kernels: "" for nothing.
std::string damage();
/// A device that is fast: rows and sizes that an emulation has no time for are tried too.
extern const bool real_device;

// ---- Cases

struct Name {
  std::string family, pass, what;
  index_t work = 0;  ///< multiply-adds, or elements where there are none

  [[nodiscard]] std::string text() const;
  /// The same with more to say.
  [[nodiscard]] Name with(const std::string& more) const { return {family, pass, what + ", " + more, work}; }
};

/// Runs the body, unless the command line leaves the case out. What the body throws is a failure of the case, and it
/// leaves no damage.
void run_case(const Name& name, const std::function<void()>& body);

/// The part of the cases that runs. Empty texts stand for all.
struct Selection {
  std::string family, pass;
  bool small = false;  ///< only cases of at most small_work
  bool lines = false;  ///< print a line for each case

  static constexpr index_t small_work = 20000;
  [[nodiscard]] bool takes(const Name& name) const;
};

/// Takes --small, --family NAME and --pass NAME out of the command line, for doctest gets the rest. Throws Error.
Selection parse(int& argc, char** argv);

/// Runs all tests of the program and prints how many cases ran of each family and pass; the exit code.
int run_tests(int argc, char** argv, const Selection& selection);

}  // namespace slimneck::cuda_cases
