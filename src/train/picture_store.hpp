// The pictures of a data set as a network of one input size takes them: decoded, scaled, kept as far as memory allows.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "slimneck/data.hpp"

namespace slimneck::train {

class PictureStore {
 public:
  /// Pictures are scaled so that their longer side has `img` pixels; without `linear` they are averaged over areas when
  /// they shrink. The first ones whose scaled pixels fit into cache_bytes are kept once they were read.
  PictureStore(const DataSet& data, index_t img, bool linear, std::uint64_t cache_bytes);

  /// Picture `sample`, from any thread. Throws Error, or std::bad_alloc.
  std::shared_ptr<const Image> load(std::size_t sample);

  /// For how many there is room.
  [[nodiscard]] index_t cached() const noexcept { return static_cast<index_t>(kept_.size()); }

 private:
  const DataSet& data_;
  index_t img_;
  bool linear_;
  std::mutex guard_;
  std::vector<std::shared_ptr<const Image>> kept_;  ///< of the first samples; empty until they are read
};

}  // namespace slimneck::train
