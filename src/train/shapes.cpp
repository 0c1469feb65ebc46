// A data set out of nothing: pictures of shapes that lie over each other on patterned ground, with the boxes around
// what is seen of them.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>

#include "slimneck/data.hpp"
#include "slimneck/error.hpp"
#include "slimneck/files.hpp"
#include "train/each.hpp"
#include "train/shape_scene.hpp"

namespace slimneck {

namespace fs = std::filesystem;

namespace {

using namespace train;

constexpr index_t most_images = 1'000'000, least_img = 32, most_img = 4096;
constexpr int nobody = -1;

void check(const ShapesOptions& options) {
  if (options.img < least_img || options.img > most_img)
    throw ShapeError("shapes: pictures must have 32..4096 pixels, got " + std::to_string(options.img));
}

/// A shape that is in the picture, and how much of it is seen.
struct Placed {
  int cls = 0;
  index_t area = 0, seen = 0;  ///< pixels that are covered by half at least
  Point centre;                ///< in pixels
};

/// A picture in the making: who is seen in each pixel.
class Canvas {
 public:
  Canvas(index_t img, Random& random)
      : image_(img, img), owner_(static_cast<std::size_t>(img * img), nobody), random_(random) {
    draw_ground(image_, random_);
  }

  /// Lays a shape on top, unless too little of it or of one below would be seen.
  void add_shape();
  /// Lays a thin bar over everything, which is not of any class.
  void add_bar();
  void develop() { train::develop(image_, random_); }

  [[nodiscard]] std::vector<BoxLabel> boxes() const;
  Image& image() noexcept { return image_; }

 private:
  [[nodiscard]] index_t extent() const noexcept { return image_.width; }
  Point draw_point() noexcept {  // braces keep the order of the two draws
    return Point{random_.below(extent() * subpixels), random_.below(extent() * subpixels)};
  }
  /// The colours of what lies below a mask and of what is to be laid over it have to differ.
  std::optional<Colour> contrasting(const Mask& mask);
  /// How many of the mask's pixels are in the picture; nothing when it hides too much of a shape.
  [[nodiscard]] std::optional<index_t> visible(const Mask& mask) const;
  void own(const Mask& mask, int number);

  template <class Work>
  void for_each_covered(const Mask& mask, Work work) const {
    for (index_t y = std::max<index_t>(mask.top, 0); y < std::min(mask.top + mask.height, extent()); ++y)
      for (index_t x = std::max<index_t>(mask.left, 0); x < std::min(mask.left + mask.width, extent()); ++x)
        if (mask.at(x, y) >= Mask::half) work(static_cast<std::size_t>(y * extent() + x));
  }

  Image image_;
  std::vector<int> owner_;  ///< number of the shape that is seen, or nobody
  std::vector<Placed> placed_;
  Random& random_;
};

/// Of a shape there must be so much to be seen, in hundredths.
constexpr index_t least_seen = 55;

/// A ring whose hole is filled cannot be told from a circle.
bool fills(const Mask& mask, const Placed& below) {
  const index_t x = below.centre.x, y = below.centre.y;
  const bool around = x >= mask.left && x < mask.left + mask.width && y >= mask.top && y < mask.top + mask.height;
  return below.cls == ring_class && around && mask.at(x, y) >= Mask::half;
}

std::optional<index_t> Canvas::visible(const Mask& mask) const {
  std::vector<index_t> hidden(placed_.size());
  index_t inside = 0;
  for_each_covered(mask, [&](std::size_t at) {
    ++inside;
    if (owner_[at] != nobody) ++hidden[static_cast<std::size_t>(owner_[at])];
  });
  for (std::size_t i = 0; i < placed_.size(); ++i)
    if ((placed_[i].seen - hidden[i]) * 100 < placed_[i].area * least_seen || fills(mask, placed_[i]))
      return std::nullopt;
  return inside;
}

void Canvas::own(const Mask& mask, int number) {
  for_each_covered(mask, [&](std::size_t at) {
    if (owner_[at] != nobody) --placed_[static_cast<std::size_t>(owner_[at])].seen;
    owner_[at] = number;
  });
}

std::optional<Colour> Canvas::contrasting(const Mask& mask) {
  constexpr int tries = 12, least_distance = 150;
  const Colour below = mean_below(image_, mask);
  for (int i = 0; i < tries; ++i) {
    const Colour colour = draw_colour(random_, 110, 110);
    const int distance = std::abs(colour.r - below.r) + std::abs(colour.g - below.g) + std::abs(colour.b - below.b);
    if (distance >= least_distance) return colour;
  }
  return std::nullopt;
}

void Canvas::add_shape() {
  const int cls = static_cast<int>(random_.below(static_cast<index_t>(shape_names().size())));
  // Squared, so that small shapes are more frequent than large ones: radius 5 to 21 hundredths of the picture.
  const index_t draw = random_.below(256);
  const index_t radius = extent() * subpixels * (5 * 65536 + 16 * draw * draw) / (100 * 65536);
  const Point centre = draw_point();
  const Mask mask = mask_of(class_shape(cls, centre, radius, draw_turn(random_)));
  const auto area = static_cast<index_t>(
      std::count_if(mask.cover.begin(), mask.cover.end(), [](std::uint8_t cover) { return cover >= Mask::half; }));
  const std::optional<index_t> inside = visible(mask);
  if (!inside || *inside * 100 < area * 70) return;
  const std::optional<Colour> colour = contrasting(mask);
  if (!colour) return;
  if (random_.below(2) == 0) shade(image_, mask, std::max<index_t>(radius / subpixels / 8, 1));
  paint(image_, mask, draw_fill(random_, *colour, radius / subpixels));
  own(mask, static_cast<int>(placed_.size()));
  placed_.push_back({cls, area, *inside, {centre.x / subpixels, centre.y / subpixels}});
}

void Canvas::add_bar() {
  const index_t width = extent() * subpixels * (8 + random_.below(25)) / 1000;
  const Point centre = draw_point();
  const Mask mask = mask_of(bar_shape(centre, 3 * extent() * subpixels, width, draw_turn(random_)));
  if (!visible(mask)) return;
  paint(image_, mask, draw_fill(random_, draw_colour(random_, 0, 30), extent() / 16));
  own(mask, nobody);
}

std::vector<BoxLabel> Canvas::boxes() const {
  struct Bounds {
    index_t left = std::numeric_limits<index_t>::max(), top = left, right = 0, bottom = 0;
  };
  std::vector<Bounds> bounds(placed_.size());
  for (index_t y = 0; y < extent(); ++y)
    for (index_t x = 0; x < extent(); ++x) {
      const int number = owner_[static_cast<std::size_t>(y * extent() + x)];
      if (number == nobody) continue;
      Bounds& b = bounds[static_cast<std::size_t>(number)];
      b = {std::min(b.left, x), std::min(b.top, y), std::max(b.right, x + 1), std::max(b.bottom, y + 1)};
    }
  std::vector<BoxLabel> result;
  const auto part = [&](index_t twice) { return static_cast<float>(twice) / static_cast<float>(2 * extent()); };
  for (std::size_t i = 0; i < placed_.size(); ++i) {
    const Bounds& b = bounds[i];
    result.push_back({placed_[i].cls, part(b.left + b.right), part(b.top + b.bottom), part(2 * (b.right - b.left)),
                      part(2 * (b.bottom - b.top))});
  }
  return result;
}

/// Rows that parse_labels reads back to the last bit.
std::string label_text(const std::vector<BoxLabel>& boxes) {
  std::string text;
  for (const BoxLabel& box : boxes) {
    text += std::to_string(box.cls);
    for (const float number : {box.x, box.y, box.w, box.h}) {
      std::array<char, 32> digits{};
      const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
      text.append(" ").append(digits.data(), end);
    }
    text += '\n';
  }
  return text;
}

std::string data_yaml() {
  std::string text = "train: images/train\nval: images/val\ntest: images/test\nnames:\n";
  for (std::size_t i = 0; i < shape_names().size(); ++i)
    text += "  " + std::to_string(i) + ": " + shape_names()[i] + "\n";
  return text;
}

std::string_view split_of(index_t index, index_t images) {
  const index_t part = std::max<index_t>(images / 10, 1);
  return to_string(index < images - 2 * part ? Split::train : index < images - part ? Split::val : Split::test);
}

void make_folders(const fs::path& folder) {
  std::error_code problem;
  if (fs::exists(folder, problem) && (!fs::is_directory(folder, problem) || !fs::is_empty(folder, problem)))
    throw IoError(folder.string() + ": is there already, and not an empty folder");
  for (const char* kind : {"images", "labels"})
    for (const Split split : {Split::train, Split::val, Split::test}) {
      fs::create_directories(folder / kind / to_string(split), problem);
      if (problem) throw IoError(folder.string() + ": cannot be made: " + problem.message());
    }
}

}  // namespace

const std::vector<std::string>& shape_names() {
  static const std::vector<std::string> names{"circle", "square", "triangle", "hexagon",
                                              "star",   "cross",  "ring",     "arrow"};
  return names;
}

Image draw_shapes(const ShapesOptions& options, index_t index, std::vector<BoxLabel>& boxes) {
  check(options);
  Random random(options.seed, Purpose::shapes, 0, index);
  Canvas canvas(options.img, random);
  // One picture of 16 is background. Not every shape finds its place.
  const index_t shapes = random.below(16) == 0 ? 0 : 2 + random.below(9), bars = random.below(4);
  for (index_t i = 0; i < shapes; ++i) canvas.add_shape();
  for (index_t i = 1; i < bars; ++i) canvas.add_bar();
  canvas.develop();
  boxes = canvas.boxes();
  return std::move(canvas.image());
}

void make_shapes(const fs::path& folder, const ShapesOptions& options) {
  check(options);
  if (options.images < 3 || options.images > most_images)
    throw ShapeError("shapes: a data set has 3..1000000 pictures, got " + std::to_string(options.images));
  make_folders(folder);
  for_each_index(static_cast<std::size_t>(options.images), 0, [&](std::size_t i) {
    const auto index = static_cast<index_t>(i);
    std::string name = std::to_string(index);
    name.insert(0, 6 - std::min<std::size_t>(name.size(), 6), '0');
    const std::string_view split = split_of(index, options.images);
    std::vector<BoxLabel> boxes;
    const Image image = draw_shapes(options, index, boxes);
    write_image(folder / "images" / split / (name + ".png"), image);
    write_text((folder / "labels" / split / (name + ".txt")).string(), label_text(boxes));
  });
  write_text((folder / "data.yaml").string(), data_yaml());  // last: a data set that has one is whole
}

}  // namespace slimneck
