// How many threads the kernels of one call use, without touching the rest of the process.
#pragma once

namespace slimneck::core {

/// Of the calling thread in its team, from 0: where its private scratch lies.
int thread_index() noexcept;

/// Sets the number of OpenMP threads for the parallel regions that the current thread starts; restores it at the end.
class ThreadScope {
 public:
  explicit ThreadScope(int threads) noexcept;
  ~ThreadScope();
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int before_;
};

}  // namespace slimneck::core
