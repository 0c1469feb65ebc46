#include "train/sample_maker.hpp"

#include <new>

#include "slimneck/error.hpp"
#include "train/hsv.hpp"
#include "train/mosaic.hpp"
#include "train/warp.hpp"

namespace slimneck::train {

namespace {

constexpr Colour ground{114, 114, 114};

Extents extents_of(const Image& image) noexcept { return {image.width, image.height}; }

WarpNumbers draw_warp(const Hyp& hyp, Random& random) noexcept {
  const auto around = [&random](double centre, double reach) { return random.uniform(centre - reach, centre + reach); };
  WarpNumbers numbers;
  numbers.tilt_x = around(0, hyp.perspective);
  numbers.tilt_y = around(0, hyp.perspective);
  numbers.degrees = around(0, hyp.degrees);
  numbers.scale = around(1, hyp.scale);
  numbers.shear_x = around(0, hyp.shear);
  numbers.shear_y = around(0, hyp.shear);
  numbers.x = around(0.5, hyp.translate);
  numbers.y = around(0.5, hyp.translate);
  return numbers;
}

/// Where the sample's boxes are when its picture begins at (left, top).
void place_all(const Sample& sample, double width, double height, double left, double top,
               std::vector<PictureBox>& boxes) {
  for (const BoxLabel& label : sample.boxes) boxes.push_back(place(label, width, height, left, top));
}

/// A letterboxed sample's boxes.
std::vector<PictureBox> place_all(const Sample& sample, const Image& picture, const Letterbox& geometry) {
  std::vector<PictureBox> boxes;
  place_all(sample, static_cast<double>(picture.width) * geometry.gain,
            static_cast<double>(picture.height) * geometry.gain, geometry.pad_w, geometry.pad_h, boxes);
  return boxes;
}

}  // namespace

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

SampleMaker::Loaded SampleMaker::load_any(std::size_t sample, Made& made) {
  const std::size_t count = data_.samples.size();
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t candidate = (sample + k) % count;
    if (auto picture = try_load(candidate, made)) return {std::move(picture), candidate};
  }
  throw FormatError(data_.name + ": none of its " + std::to_string(count) +
                    " pictures can be read: " + made.failures.back().cause);
}

Made SampleMaker::plain(std::size_t sample, const std::array<index_t, 2>& shape) {
  Made made;
  const std::shared_ptr<const Image> picture = try_load(sample, made);
  if (!picture) return made;
  const Sample& from = data_.samples[sample];
  made.geometry = letterbox_geometry(picture->height, picture->width, shape[0], shape[1], false, false);
  made.image = letterbox(*picture, made.geometry);
  for (const PictureBox& box : place_all(from, *picture, made.geometry))
    made.targets.push_back(target_of(box, shape[1], shape[0]));
  // From the file's pixels to the network's by one number: that of the height, as YOLOv5 maps boxes back.
  made.geometry.gain = static_cast<double>(made.geometry.resized_h) / static_cast<double>(from.height);
  made.usable = true;
  return made;
}

SampleMaker::Scene SampleMaker::warped(const Scene& scene, const Extents& to, Random& random) const {
  const WarpNumbers numbers = draw_warp(options_.hyp, random);
  const Matrix3 matrix = warp_matrix(numbers, extents_of(scene.image), to);
  Scene result{warp(scene.image, matrix, to), {}};
  for (const PictureBox& box : scene.boxes) {
    const WarpedBox moved = warp_box(box, matrix, numbers.scale, to);
    if (moved.keep) result.boxes.push_back(moved.box);
  }
  return result;
}

SampleMaker::Scene SampleMaker::mosaic(std::size_t sample, std::span<const std::size_t> order, Random& random,
                                       Made& made) {
  const index_t size = options_.img, extent = 2 * size;
  const auto middle = [&]() {
    const auto s = static_cast<double>(size);
    return static_cast<index_t>(random.uniform(s / 2, s * 3 / 2));
  };
  const index_t y = middle(), x = middle();
  std::array<std::size_t, 4> samples{sample};
  for (std::size_t i = 1; i < samples.size(); ++i)
    samples[i] = order[static_cast<std::size_t>(random.below(static_cast<index_t>(order.size())))];
  for (std::size_t i = samples.size(); i > 1; --i)
    std::swap(samples[i - 1], samples[static_cast<std::size_t>(random.below(static_cast<index_t>(i)))]);

  Scene canvas{Image(extent, extent, ground), {}};
  for (int corner = 0; corner < 4; ++corner) {
    const auto [picture, number] = load_any(samples[static_cast<std::size_t>(corner)], made);
    const MosaicTile tile = mosaic_tile(corner, extent, x, y, extents_of(*picture));
    paste(*picture, tile, canvas.image);
    place_all(data_.samples[number], static_cast<double>(picture->width), static_cast<double>(picture->height),
              static_cast<double>(tile.left), static_cast<double>(tile.top), canvas.boxes);
  }
  for (PictureBox& box : canvas.boxes)
    for (double* at : {&box.x1, &box.y1, &box.x2, &box.y2}) *at = std::clamp(*at, 0.0, static_cast<double>(extent));
  return warped(canvas, {size, size}, random);
}

SampleMaker::Scene SampleMaker::alone(std::size_t sample, const std::array<index_t, 2>& shape, Random& random,
                                      Made& made) {
  const auto [picture, number] = load_any(sample, made);
  const Letterbox geometry = letterbox_geometry(picture->height, picture->width, shape[0], shape[1], false);
  const Scene scene{letterbox(*picture, geometry), place_all(data_.samples[number], *picture, geometry)};
  return warped(scene, extents_of(scene.image), random);
}

void SampleMaker::finish(Scene& scene, Random& random, Made& made) const {
  const Hyp& hyp = options_.hyp;
  std::array<double, 3> gains{hyp.hsv_h, hyp.hsv_s, hyp.hsv_v};
  for (double& gain : gains) gain = 1 + random.uniform(-1, 1) * gain;
  if (gains != std::array<double, 3>{1, 1, 1}) recolour(scene.image, hsv_tables(gains));
  for (const PictureBox& box : scene.boxes)
    made.targets.push_back(target_of(box, scene.image.width, scene.image.height));
  if (random.unit() < hyp.flipud) {
    mirror_y(scene.image);
    for (BoxTarget& target : made.targets) target.y = 1 - target.y;
  }
  if (random.unit() < hyp.fliplr) {
    mirror_x(scene.image);
    for (BoxTarget& target : made.targets) target.x = 1 - target.x;
  }
  made.image = std::move(scene.image);
  made.usable = true;
}

Made SampleMaker::augmented(std::span<const std::size_t> order, index_t epoch, index_t position,
                            const std::array<index_t, 2>& shape) {
  Made made;
  const Hyp& hyp = options_.hyp;
  const std::size_t sample = order[static_cast<std::size_t>(position)];
  Random random(options_.seed, Purpose::picture, epoch, position);
  Scene scene;
  if (!options_.rect && random.unit() < hyp.mosaic) {
    scene = mosaic(sample, order, random, made);
    if (random.unit() < hyp.mixup) {
      // As YOLOv5 does it: any picture, whatever the weights; those around it follow them, as in every mosaic.
      const auto other = static_cast<std::size_t>(random.below(static_cast<index_t>(data_.samples.size())));
      const Scene second = mosaic(other, order, random, made);
      mix(scene.image, second.image, random.beta32());
      scene.boxes.insert(scene.boxes.end(), second.boxes.begin(), second.boxes.end());
    }
  } else {
    scene = alone(sample, shape, random, made);
  }
  finish(scene, random, made);
  return made;
}

}  // namespace slimneck::train
