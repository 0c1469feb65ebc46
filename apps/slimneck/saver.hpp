// Drawing and writing beside the work that finds what is to be drawn.
#pragma once

#include <exception>
#include <thread>

#include "channel.hpp"
#include "gallery.hpp"

namespace slimneck::cli {

/// Saves into a gallery in a thread of its own, in order.
class Saver {
 public:
  explicit Saver(Gallery& gallery);
  Saver(const Saver&) = delete;
  Saver& operator=(const Saver&) = delete;
  /// What was not saved yet is not.
  ~Saver();

  /// Waits while too much is waiting. Throws what saving threw.
  void save(Seen seen);
  /// Waits until everything is saved; throws as save().
  void finish();

 private:
  void work();

  Gallery& gallery_;
  Channel<Seen> channel_;
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace slimneck::cli
