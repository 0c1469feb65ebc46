// One picture of a batch: from a sample of the data set to what the network sees of it.
#pragma once

#include <array>
#include <memory>

#include "slimneck/data.hpp"
#include "train/look_ahead.hpp"
#include "train/picture_store.hpp"

namespace slimneck::train {

/// Makes pictures; for any number of threads at a time.
class SampleMaker {
 public:
  SampleMaker(const DataSet& data, const LoaderOptions& options);

  /// The sample on grey ground of height x width, unchanged but for its size.
  Made plain(std::size_t sample, const std::array<index_t, 2>& shape);

  [[nodiscard]] const PictureStore& store() const noexcept { return store_; }

 private:
  /// Nothing, and a failure in `made`, when the picture cannot be read.
  std::shared_ptr<const Image> try_load(std::size_t sample, Made& made);

  const DataSet& data_;
  const LoaderOptions& options_;
  PictureStore store_;
};

}  // namespace slimneck::train
