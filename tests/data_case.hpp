// Small data sets on the disk for tests of what reads them.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "picture_data.hpp"
#include "slimneck/data.hpp"
#include "temporary_folder.hpp"

namespace slimneck::test {

inline void write_bytes(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

/// A data set of noise in a folder of its own: data.yaml with classes a, b, c, and pictures 0.png, 1.png, ...
class DataFolder {
 public:
  explicit DataFolder(const std::string& name) : folder_(name) {
    write_bytes(folder_ / "data.yaml", "train: images\nval: images\nnames: [a, b, c]\n");
  }

  /// Adds a picture with a label file, or without one.
  void add(index_t width, index_t height, const std::string* labels) {
    const std::string name = std::to_string(count_);
    std::filesystem::create_directories(folder_ / "images");
    write_image(picture(count_), noise(width, height, static_cast<unsigned>(count_)));
    if (labels != nullptr) write_bytes(folder_ / "labels" / (name + ".txt"), *labels);
    ++count_;
  }
  void add(index_t width, index_t height, const std::string& labels) { add(width, height, &labels); }

  [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }
  [[nodiscard]] std::filesystem::path picture(int number) const {
    return folder_ / "images" / (std::to_string(number) + ".png");
  }
  [[nodiscard]] DataSet scan(const ScanOptions& options = {}) const {
    return scan_data(load_data(folder_ / "data.yaml"), Split::train, options);
  }

 private:
  TemporaryFolder folder_;
  int count_ = 0;
};

/// Pictures of different aspects, smaller and larger than 64, with 0 to 2 boxes.
inline void add_various(DataFolder& folder, int count) {
  for (int i = 0; i < count; ++i) {
    const std::string x = std::to_string(0.3 + 0.05 * (i % 7)), y = std::to_string(0.6 - 0.03 * (i % 5));
    std::string labels;
    if (i % 5 != 4) labels += std::to_string(i % 3) + " " + x + " " + y + " 0.3 0.25\n";
    if (i % 2 == 0) labels += std::to_string((i + 1) % 3) + " " + y + " " + x + " 0.5 0.4\n";
    folder.add(40 + 17 * (i % 6), 30 + 23 * (i % 4), labels);
  }
}

/// All batches of an epoch.
inline std::vector<Batch> epoch_of(Loader& loader, index_t epoch) {
  std::vector<Batch> batches;
  loader.begin_epoch(epoch);
  for (Batch batch; loader.next(batch);) batches.push_back(std::move(batch));
  return batches;
}

/// Every byte and number of them is the same.
inline void check_equal(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    CHECK(a[i].indices == b[i].indices);
    CHECK(a[i].targets == b[i].targets);
    CHECK(a[i].skipped == b[i].skipped);
    REQUIRE(a[i].images.size() == b[i].images.size());
    for (std::size_t k = 0; k < a[i].images.size(); ++k) {
      CHECK(a[i].images[k].width == b[i].images[k].width);
      CHECK(a[i].images[k].rgb == b[i].images[k].rgb);
    }
    REQUIRE(a[i].geometry.size() == b[i].geometry.size());
    for (std::size_t k = 0; k < a[i].geometry.size(); ++k) CHECK(a[i].geometry[k].gain == b[i].geometry[k].gain);
  }
}

}  // namespace slimneck::test
