// One picture of a batch: from a sample of the data set to what the network sees of it.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "slimneck/data.hpp"
#include "train/look_ahead.hpp"
#include "train/picture_box.hpp"
#include "train/picture_store.hpp"
#include "train/random.hpp"

namespace slimneck::train {

/// Makes pictures; for any number of threads at a time.
class SampleMaker {
 public:
  SampleMaker(const DataSet& data, const LoaderOptions& options);

  /// The sample on grey ground of height x width, unchanged but for its size.
  Made plain(std::size_t sample, const std::array<index_t, 2>& shape);

  /// Position `position` of an epoch whose samples are `order`, changed as the hyperparameters say: a mosaic or the
  /// sample alone, warped, perhaps mixed with another mosaic, in other colours, mirrored. Pictures that cannot be read
  /// are replaced. Throws FormatError when none can be read.
  Made augmented(std::span<const std::size_t> order, index_t epoch, index_t position,
                 const std::array<index_t, 2>& shape);

  [[nodiscard]] const PictureStore& store() const noexcept { return store_; }

 private:
  struct Scene {
    Image image;
    std::vector<PictureBox> boxes;
  };
  struct Loaded {
    std::shared_ptr<const Image> picture;
    std::size_t sample;
  };

  /// Nothing, and a failure in `made`, when the picture cannot be read.
  std::shared_ptr<const Image> try_load(std::size_t sample, Made& made);
  /// The sample, or the first one behind it that can be read.
  Loaded load_any(std::size_t sample, Made& made);
  Scene mosaic(std::size_t sample, std::span<const std::size_t> order, Random& random, Made& made);
  Scene alone(std::size_t sample, const std::array<index_t, 2>& shape, Random& random, Made& made);
  [[nodiscard]] Scene warped(const Scene& scene, const Extents& to, Random& random) const;
  void finish(Scene& scene, Random& random, Made& made) const;

  const DataSet& data_;
  const LoaderOptions& options_;
  PictureStore store_;
};

}  // namespace slimneck::train
