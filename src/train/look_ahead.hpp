// Work done ahead of the one who needs it, on threads of its own, handed out in order.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "slimneck/data.hpp"

namespace slimneck::train {

/// What becomes of one position of an epoch.
struct Made {
  struct Failure {
    std::size_t sample;
    std::string cause;  ///< "FILE: cause"
  };

  bool usable = false;             ///< false: there is no picture for this position
  Image image;                     ///< for the network
  std::vector<BoxTarget> targets;  ///< of image 0
  Letterbox geometry;              ///< without augmentation
  std::vector<Failure> failures;   ///< pictures that could not be read for it
};

class LookAhead {
 public:
  using Make = std::function<Made(index_t position)>;

  /// Makes positions 0 .. count - 1, at most `bound` of them before they are taken. Without workers, and where the
  /// system gives no thread, take() does the work.
  LookAhead(index_t count, index_t bound, int workers, Make make);

  /// The next one, at most `count` times; throws what `make` threw for it.
  Made take();

 private:
  struct Slot {
    bool full = false;
    Made made;
    std::exception_ptr failure;
  };

  Slot& slot(index_t position) { return slots_[static_cast<std::size_t>(position) % slots_.size()]; }
  void work(const std::stop_token& stop);

  index_t count_;
  Make make_;
  std::mutex guard_;
  std::condition_variable_any room_, ready_;
  index_t begun_ = 0, taken_ = 0;
  std::vector<Slot> slots_;
  std::vector<std::jthread> threads_;  ///< last: they end before anything else goes
};

}  // namespace slimneck::train
