#include "train/picture_store.hpp"

#include <algorithm>

#include "slimneck/error.hpp"

namespace slimneck::train {

namespace {

/// YOLOv5's rule (7.0): the ratio in double, extents rounded down.
Extents scaled(const Sample& sample, index_t img) {
  const double ratio = static_cast<double>(img) / static_cast<double>(std::max(sample.width, sample.height));
  const auto extent = [ratio](index_t from) {
    return std::max<index_t>(static_cast<index_t>(static_cast<double>(from) * ratio), 1);
  };
  return {extent(sample.width), extent(sample.height)};
}

std::uint64_t bytes_of(const Extents& extents) {
  return static_cast<std::uint64_t>(extents.width) * static_cast<std::uint64_t>(extents.height) * 3;
}

std::string text(index_t width, index_t height) { return std::to_string(width) + "x" + std::to_string(height); }

}  // namespace

PictureStore::PictureStore(const DataSet& data, index_t img, bool linear, std::uint64_t cache_bytes)
    : data_(data), img_(img), linear_(linear) {
  std::size_t room = 0;
  for (; room < data.samples.size(); ++room) {
    const std::uint64_t bytes = bytes_of(scaled(data.samples[room], img));
    if (bytes > cache_bytes) break;
    cache_bytes -= bytes;
  }
  kept_.resize(room);
}

std::shared_ptr<const Image> PictureStore::load(std::size_t sample) {
  if (sample < kept_.size()) {
    const std::scoped_lock lock(guard_);
    if (kept_[sample]) return kept_[sample];
  }
  const Sample& wanted = data_.samples.at(sample);
  auto picture = std::make_shared<Image>(read_image(wanted.image));
  // The boxes, and the shapes of batches, belong to the picture that was looked at before.
  if (picture->width != wanted.width || picture->height != wanted.height)
    throw FormatError(wanted.image.string() + ": " + text(picture->width, picture->height) + " pixels, " +
                      text(wanted.width, wanted.height) + " when the data set was scanned");
  const Extents extents = scaled(wanted, img_);
  const bool shrinks = img_ < std::max(wanted.width, wanted.height);
  if (extents != Extents{wanted.width, wanted.height})
    *picture = shrinks && !linear_ ? resize_area(*picture, extents.width, extents.height)
                                   : resize_bilinear(*picture, extents.width, extents.height);
  if (sample < kept_.size()) {
    const std::scoped_lock lock(guard_);
    kept_[sample] = picture;
  }
  return picture;
}

}  // namespace slimneck::train
