// The same work for many numbers, on several threads.
#pragma once

#include <cstddef>
#include <functional>

namespace slimneck::train {

/// Calls work(0), ..., work(count - 1), each once, on `threads` threads (0: one for each processor). After the first
/// exception no more are begun; it is thrown when all have ended.
void for_each_index(std::size_t count, int threads, const std::function<void(std::size_t)>& work);

}  // namespace slimneck::train
