// Data sets in YOLO's layout: data.yaml, label files, the scan that finds out what can be trained on, and the loader
// that makes batches of it.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/export.hpp"
#include "slimneck/hyp.hpp"
#include "slimneck/image.hpp"
#include "slimneck/loss.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck {

// ---- Label files ----------------------------------------------------------------------------------------------------

/// A row of a label file: the class and a box as parts of the picture's extents.
struct BoxLabel {
  int cls = 0;                                                         ///< number of its class, from 0
  float x = 0, y = 0, w = 0, h = 0;                                    ///< centre and size, 0..1
  friend bool operator==(const BoxLabel&, const BoxLabel&) = default;  ///< equal in every member
};

/// What a label file says.
struct LabelFile {
  std::vector<BoxLabel> boxes;        ///< of the good rows, in their order
  std::vector<std::string> problems;  ///< "FILE:LINE: cause", one for each bad row
  std::vector<std::string> notices;   ///< "FILE:LINE: what", of rows that are taken but strange
  index_t duplicates = 0;             ///< rows left out because they were there already
  bool unknown_class = false;         ///< a problem is a class number that the data set does not have
};

/// Reads "class x y w h" a line, or "class x1 y1 x2 y2 x3 y3 ..." (an outline, which becomes the box around it), with
/// spaces or tabs between. Blank lines, CRLF and a byte order mark are accepted, and boxes are cut at the picture's
/// edges. Bad rows are listed, not thrown: a number that is none or outside of 0..1, another count of numbers, a class
/// that is no whole number or not below `classes` (0: any), a box without width or height, more than 100000 rows.
SLIMNECK_EXPORT LabelFile parse_labels(std::string_view text, std::string_view file_name, index_t classes = 0);

/// Where the labels of a picture lie: in the last folder `images` of its path replaced by `labels`, else beside it,
/// with the extension .txt.
SLIMNECK_EXPORT std::filesystem::path label_path(const std::filesystem::path& image);

// ---- data.yaml ------------------------------------------------------------------------------------------------------

/// Part of a data set.
enum class Split : std::uint8_t { train, val, test };
/// Its name in data.yaml.
SLIMNECK_EXPORT std::string_view to_string(Split split) noexcept;

/// A data.yaml.
struct DataConfig {
  std::string file;                ///< its name, for messages
  std::filesystem::path root;      ///< what `path:` says; empty: the folder of the file
  std::vector<std::string> names;  ///< of the classes
  /// For each Split the folders, lists (.txt) and pictures that make it up.
  std::array<std::vector<std::filesystem::path>, 3> splits;
  std::vector<std::string> warnings;  ///< "FILE:LINE:COLUMN: what"

  /// Number of classes.
  [[nodiscard]] index_t nc() const noexcept { return static_cast<index_t>(names.size()); }
  /// Sources of a split.
  [[nodiscard]] const std::vector<std::filesystem::path>& sources(Split split) const {
    return splits[static_cast<std::size_t>(split)];
  }
};

/// The content of a data.yaml: names (a list, or a map 0, 1, ...), train, val (and test) as a text or a list of texts,
/// path, nc. Other keys are left alone; `download` is never run. Throws FormatError "FILE:LINE:COLUMN: cause".
SLIMNECK_EXPORT DataConfig parse_data(std::string_view yaml, std::string_view file_name);

/// parse_data of a file, with every source as a path that exists: relative ones are seen from `path:`, and that from
/// the folder of the file. Throws FormatError when one is missing, IoError when the file cannot be read.
SLIMNECK_EXPORT DataConfig load_data(const std::filesystem::path& file);

// ---- Scan -----------------------------------------------------------------------------------------------------------

/// A picture with its labels.
struct Sample {
  std::filesystem::path image;    ///< the picture's file
  index_t width = 0, height = 0;  ///< in pixels, as it stands upright
  std::vector<BoxLabel> boxes;    ///< empty: background
};

/// A split that was looked through.
struct DataSet {
  std::string name;                   ///< where it comes from, for messages
  index_t nc = 0;                     ///< number of classes
  std::vector<Sample> samples;        ///< pictures that can be used, in the order of the split
  index_t found = 0;                  ///< pictures that the split names
  index_t missing = 0;                ///< pictures without a label file
  index_t empty = 0;                  ///< pictures whose label file is empty
  index_t corrupt = 0;                ///< pictures that were left out
  index_t duplicates = 0;             ///< rows that were left out because they occur twice
  std::vector<std::string> problems;  ///< why pictures were left out: "FILE: cause" or "FILE:LINE: cause"
  std::vector<std::string> notices;   ///< what is strange but was taken

  /// Pictures without a box.
  [[nodiscard]] index_t backgrounds() const noexcept { return missing + empty; }
  /// Number of boxes of each class.
  [[nodiscard]] SLIMNECK_EXPORT std::vector<index_t> class_counts() const;
};

/// How a split is scanned.
struct ScanOptions {
  bool single_cls = false;  ///< every box is of class 0
  bool strict = false;      ///< a picture or label file that cannot be used is an error
  bool check = false;       ///< decode every picture, and list every bad row instead of throwing
  int threads = 0;          ///< 0: one for each processor
};

/// Looks through a split: extents of pictures come from their headers, labels from label_path. A picture that cannot be
/// read or is smaller than 10 pixels, and one with a bad label row, is left out and counted. Throws FormatError when
/// there are no pictures at all and when a label's class is not one of data.yaml's; IoError when a folder or list
/// cannot be read.
SLIMNECK_EXPORT DataSet scan_data(const DataConfig& data, Split split, const ScanOptions& options = {});

// ---- Batches --------------------------------------------------------------------------------------------------------

/// Pictures of one size with what is in them.
struct Batch {
  std::vector<Image> images;         ///< of one size
  std::vector<BoxTarget> targets;    ///< ordered by image
  std::vector<index_t> indices;      ///< of the samples that were asked for (mosaics have three more)
  std::vector<Letterbox> geometry;   ///< without augmentation: how each file's picture came into its input; the gain is
                                     ///< the height's, and boxes go back as (x - pad) / gain
  index_t whole = 0;                 ///< pictures of the whole batch; more than `images` with LoaderOptions::part
  std::vector<std::string> skipped;  ///< "FILE: cause" of pictures that could not be read, each once in a loader's life
};

/// How a loader makes batches.
struct LoaderOptions {
  static constexpr index_t most_img = 4096;  ///< what img may be

  index_t batch = 16;             ///< pictures in a batch; the last one of an epoch may be shorter
  index_t img = 640;              ///< size of the network's input, a multiple of stride
  index_t stride = 32;            ///< greatest stride of the network
  bool augment = false;           ///< mosaic, mixup, warps, colours and mirrors as `hyp` says
  bool rect = false;              ///< sorted by aspect ratio, each batch as flat or as narrow as it can be
  bool shuffle = false;           ///< another order in every epoch; not with rect
  bool multi_scale = false;       ///< each batch in a size of its own, 0.5 to 1.5 times img; only with augment
  double pad = 0;                 ///< strides added to rectangular batches; YOLOv5 validates with 0.5
  Hyp hyp;                        ///< what augmentation does, and how often
  std::uint64_t seed = 0;         ///< of everything that is drawn
  int workers = 0;                ///< threads that work ahead of the caller; 0: it does all by itself
  std::uint64_t cache_bytes = 0;  ///< pictures are kept decoded and scaled while they fit into so much memory
  /// Only a part of each batch is made: of a batch of `pictures` those from the first number up to the second one. It
  /// is what the whole batch has there, except that a picture that cannot be read leaves its place empty, grey and
  /// without labels, so that parts do not depend on each other. Absent: the whole.
  std::function<std::array<index_t, 2>(index_t pictures)> part = {};
};

/// Makes batches. What they hold is a pure function of the data, the options and the epoch: neither the number of
/// workers nor the cache change a bit. Random numbers are counter-based in (seed, epoch, position).
class SLIMNECK_EXPORT Loader {
 public:
  /// `data` must live as long as the loader. Throws ShapeError on options out of range (with augment those in `hyp`,
  /// too), and FormatError when there is no picture, or no label to train with (augment).
  Loader(const DataSet& data, const LoaderOptions& options);
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;
  ~Loader();

  /// Batches of an epoch.
  [[nodiscard]] index_t batches() const noexcept;
  /// Height and width of the pictures of a batch (before multi_scale).
  [[nodiscard]] std::array<index_t, 2> shape(index_t batch) const;
  /// From the next epoch on samples are drawn with these weights, one for each; none: every sample once. Only what
  /// mixup mixes in begins with any sample, as in YOLOv5. Throws ShapeError on another number of them, on weights below
  /// 0 or without a sum, and with rect.
  void set_image_weights(std::span<const double> weights);
  /// Starts an epoch with its batch `first`, the same as after so many next(), and no work is done for those before.
  /// Workers begin at once; what is left of another epoch is dropped. Throws ShapeError when `first` exceeds batches().
  void begin_epoch(index_t epoch, index_t first = 0);
  /// The next batch, or false at the epoch's end. A picture that cannot be read any more is replaced by another one
  /// when augmenting, else left out; batches that would be empty are passed over. Throws Error when nothing can be
  /// read, and ShapeError without begin_epoch().
  bool next(Batch& batch);
  /// Pictures that could not be read so far.
  [[nodiscard]] index_t skipped() const noexcept;
  /// How many samples the cache has room for.
  [[nodiscard]] index_t cached() const noexcept;
  /// A sentence that says that these are not all, or "".
  [[nodiscard]] std::string cache_message() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// The size of a batch with multi_scale: a multiple of stride in 0.5 to 1.5 times img.
SLIMNECK_EXPORT index_t multi_scale_size(index_t img, index_t stride, std::uint64_t seed, index_t epoch, index_t batch);

// ---- What a data set says about training ----------------------------------------------------------------------------

/// Weights of classes: the inverse of how often they occur (once where never), with sum 1.
SLIMNECK_EXPORT std::vector<double> class_weights(const DataSet& data);

/// Weights for drawing samples: the sum of its boxes' class weights for each.
SLIMNECK_EXPORT std::vector<double> image_weights(const DataSet& data, std::span<const double> weights_of_classes);

/// Width and height of an anchor, in pixels of the network's input.
struct AnchorSize {
  double w = 0, h = 0;                                                     ///< in pixels
  friend bool operator==(const AnchorSize&, const AnchorSize&) = default;  ///< equal in both
};

/// How well anchors fit boxes; the fit of two is the worst of the ratios of their sides, each below 1.
struct AnchorFit {
  double recall = 0;              ///< best possible recall: boxes whose best anchor fits better than 1 / anchor_t
  double anchors_per_target = 0;  ///< mean number of anchors that fit so
  double fitness = 0;             ///< mean of the best fits, 0 where it is not better than 1 / anchor_t
};
/// The fit of `anchors` to `boxes`.
SLIMNECK_EXPORT AnchorFit anchor_fit(std::span<const AnchorSize> anchors, std::span<const AnchorSize> boxes,
                                     double anchor_t);

/// Sizes of the data set's boxes in pictures whose longer side has `img` pixels. `jitter`: each picture is scaled by a
/// number drawn in 1 - jitter .. 1 + jitter.
SLIMNECK_EXPORT std::vector<AnchorSize> box_sizes(const DataSet& data, index_t img, double jitter, std::uint64_t seed);

/// `count` anchors for the data set, by growing area: k-means of the boxes' sizes (2 pixels or more), then
/// `generations` random changes of which those are kept that fit better. YOLOv5's rule with random numbers of its own.
/// Throws FormatError when the data set has fewer than `count` different such boxes.
SLIMNECK_EXPORT std::vector<AnchorSize> kmean_anchors(const DataSet& data, index_t count, index_t img, double anchor_t,
                                                      std::uint64_t seed, int generations = 1000);

/// What auto_anchors did.
struct AutoAnchors {
  std::vector<AnchorSize> anchors;  ///< to be used
  AnchorFit before, after;          ///< fit of the given anchors, and of these
  bool changed = false;             ///< others than were given
};
/// Keeps `anchors` when their best possible recall exceeds 0.98, else replaces them by kmean_anchors if those recall
/// more; also keeps them where there are too few different boxes.
SLIMNECK_EXPORT AutoAnchors auto_anchors(const DataSet& data, std::span<const AnchorSize> anchors, index_t img,
                                         double anchor_t, std::uint64_t seed);

// ---- A data set out of nothing --------------------------------------------------------------------------------------

/// A data set of drawn shapes.
struct ShapesOptions {
  index_t images = 600;    ///< pictures: 8 of 10 to train, 1 to validate, 1 to test
  index_t img = 320;       ///< width and height in pixels, 32..4096
  std::uint64_t seed = 0;  ///< another one, other pictures
};

/// Names of its classes.
SLIMNECK_EXPORT const std::vector<std::string>& shape_names();

/// Picture `index` of the data set, and its boxes. Integer arithmetic alone: the same bits on every machine.
SLIMNECK_EXPORT Image draw_shapes(const ShapesOptions& options, index_t index, std::vector<BoxLabel>& boxes);

/// Writes folder/data.yaml, folder/images/{train,val,test} and folder/labels. Throws IoError when the folder is there
/// and not empty, or cannot be written.
SLIMNECK_EXPORT void make_shapes(const std::filesystem::path& folder, const ShapesOptions& options);

}  // namespace slimneck
