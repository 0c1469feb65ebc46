#include "train_pictures.hpp"

#include "cli.hpp"

namespace slimneck::cli {

namespace {

constexpr std::size_t most_tiles = 16;

void save(const std::filesystem::path& path, const Image& image) {
  const Uninterrupted shield;
  write_image(path, image);
}

/// The pictures that a mosaic shows, without boxes.
std::vector<Tile> tiles_of(const Batch& batch, const DataSet& data) {
  std::vector<Tile> tiles;
  for (std::size_t i = 0; i < std::min(batch.images.size(), most_tiles); ++i) {
    const Sample& sample = data.samples[static_cast<std::size_t>(batch.indices[i])];
    tiles.push_back({batch.images[i], sample.image.filename().string(), {}});
  }
  return tiles;
}

}  // namespace

void save_labels_pictures(const std::filesystem::path& folder, const DataSet& data,
                          std::span<const std::string> names) {
  std::vector<PlottedLabel> labels;
  for (const Sample& sample : data.samples)
    for (const BoxLabel& box : sample.boxes) labels.push_back({box.cls, box.x, box.y, box.w, box.h});
  save(folder / "labels.jpg", plot_labels(labels, names));
  save(folder / "labels_correlogram.jpg", plot_labels_correlogram(labels));
}

void save_batch_picture(const std::filesystem::path& folder, index_t number, const Batch& batch, const DataSet& data,
                        std::span<const std::string> names) {
  std::vector<Tile> tiles = tiles_of(batch, data);
  for (const BoxTarget& target : batch.targets) {
    if (static_cast<std::size_t>(target.image) >= tiles.size()) continue;
    Tile& tile = tiles[static_cast<std::size_t>(target.image)];
    const auto w = static_cast<float>(tile.image.width), h = static_cast<float>(tile.image.height);
    tile.boxes.push_back({.x1 = (target.x - target.w / 2) * w,
                          .y1 = (target.y - target.h / 2) * h,
                          .x2 = (target.x + target.w / 2) * w,
                          .y2 = (target.y + target.h / 2) * h,
                          .score = 1,
                          .cls = target.cls});
  }
  if (!tiles.empty())
    save(folder / ("train_batch" + std::to_string(number) + ".jpg"), plot_mosaic(tiles, names, false));
}

}  // namespace slimneck::cli
