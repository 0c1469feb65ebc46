// Gradients of the parts of a batch become one, while the backward still runs.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "slimneck/parallel.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::train {

/// Sums the gradients of this process's parts, and those of all processes, into the parameters' gradients. These are
/// cut into buckets, from the last parameter to the first as the backward completes them, and a thread takes each
/// bucket when it is complete in all parts. Along the tree, so that the bits depend on the parts alone.
class Buckets {
 public:
  /// Names in `never` belong to parameters that no backward reaches. `bytes`: of a bucket, at least, but for the last.
  Buckets(Parameters& parameters, std::span<const std::string> never, Communicator& communicator, std::size_t bytes);
  ~Buckets();
  Buckets(const Buckets&) = delete;
  Buckets& operator=(const Buckets&) = delete;

  /// A batch begins: the gradients of its parts here, a power of two of them (or one of zeros, with `parts` 0).
  void begin(std::vector<Tensor*> gradients, std::size_t parts);
  /// The gradient of an entry is complete in one of the parts.
  void complete(int entry) noexcept;
  /// All gradients are complete in all parts. Returns when they are in the parameters; throws what went wrong.
  void finish();
  /// Ends without the rest.
  void stop() noexcept;

 private:
  struct Range {
    index_t first = 0, last = 0;  ///< elements
    std::size_t entries = 0;      ///< that backwards reach
    std::size_t missing = 0;      ///< of entries, in all parts
  };

  void run() noexcept;
  void take(const Range& range);

  Parameters& parameters_;
  Communicator& communicator_;
  std::vector<Range> ranges_;
  std::vector<std::size_t> range_of_;  ///< each entry
  std::vector<char> reached_;          ///< each entry
  std::vector<Tensor*> gradients_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool all_ = false, stopped_ = false;
  std::exception_ptr problem_;
  std::thread thread_;
};

}  // namespace slimneck::train
