#include "train/sample_maker.hpp"

#include <new>

#include "slimneck/error.hpp"
#include "train/picture_box.hpp"

namespace slimneck::train {

SampleMaker::SampleMaker(const DataSet& data, const LoaderOptions& options)
    : data_(data), options_(options), store_(data, options.img, options.augment, options.cache_bytes) {}

std::shared_ptr<const Image> SampleMaker::try_load(std::size_t sample, Made& made) {
  try {
    return store_.load(sample);
  } catch (const Error& error) {
    made.failures.push_back({sample, error.what()});
  } catch (const std::bad_alloc&) {
    made.failures.push_back({sample, data_.samples[sample].image.string() + ": not enough memory for it"});
  }
  return nullptr;
}

Made SampleMaker::plain(std::size_t sample, const std::array<index_t, 2>& shape) {
  Made made;
  const std::shared_ptr<const Image> picture = try_load(sample, made);
  if (!picture) return made;
  made.geometry = letterbox_geometry(picture->height, picture->width, shape[0], shape[1], false, false);
  made.image = letterbox(*picture, made.geometry);
  const Sample& from = data_.samples[sample];
  for (const BoxLabel& label : from.boxes) {
    const Letterbox& at = made.geometry;
    made.targets.push_back(target_of(
        place(label, static_cast<double>(at.resized_w), static_cast<double>(at.resized_h), at.pad_w, at.pad_h),
        shape[1], shape[0]));
  }
  // Scaled twice, but known by one number: that of the height, as YOLOv5 maps boxes back.
  made.geometry.gain = static_cast<double>(made.geometry.resized_h) / static_cast<double>(from.height);
  made.usable = true;
  return made;
}

}  // namespace slimneck::train
