#include "core/threads.hpp"

#include <omp.h>

namespace slimneck::core {

int thread_index() noexcept { return omp_get_thread_num(); }

ThreadScope::ThreadScope(int threads) noexcept : before_(omp_get_max_threads()) {
  omp_set_num_threads(threads > 0 ? threads : before_);
}

ThreadScope::~ThreadScope() { omp_set_num_threads(before_); }

}  // namespace slimneck::core
