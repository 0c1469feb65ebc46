// Choice of kernels by measuring them on this machine, and the memory of what was measured.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "slimneck/export.hpp"

namespace slimneck {

/// How a plan chooses among the kernels that can compute a node.
enum class Tune : std::uint8_t {
  table,   ///< by rules that were measured when the kernels were made: the same choice everywhere
  measure  ///< by timing each of them once for shapes that are not known yet: another choice may round differently
};

/// Which kernel was the fastest for an op, its attributes and shapes, an instruction set and a number of threads. Plans
/// of several threads may share one.
class SLIMNECK_EXPORT TuneCache {
 public:
  /// Empty when nothing is known.
  [[nodiscard]] std::string find(std::string_view key) const;
  /// From now on this one.
  void put(std::string_view key, std::string_view kernel);
  /// Every key and its kernel.
  [[nodiscard]] std::map<std::string, std::string, std::less<>> all() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string, std::less<>> kernels_;
};

/// What the processor calls itself; measurements are true of one kind.
SLIMNECK_EXPORT std::string processor_name();

/// What load_tune_cache and save_tune_cache use by default: slimneck/kernels.txt in $XDG_CACHE_HOME, or in
/// $HOME/.cache; empty when neither variable is set.
SLIMNECK_EXPORT std::string tune_cache_path();

/// Adds what the file says. A file that is missing, or of another version or machine, says nothing; so do lines that
/// are no choices: a cache may be deleted or broken at any time. Throws IoError for a file that cannot be read.
SLIMNECK_EXPORT void load_tune_cache(TuneCache& cache, const std::string& path);
/// Writes a new file beside the old one and puts it in its place; makes the folder. Throws IoError.
SLIMNECK_EXPORT void save_tune_cache(const TuneCache& cache, const std::string& path);

}  // namespace slimneck
