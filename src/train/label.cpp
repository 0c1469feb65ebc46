// Label files: one row an object.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>

#include "io/files.hpp"
#include "slimneck/data.hpp"

namespace slimneck {

namespace {

constexpr index_t max_rows = 100000;
constexpr index_t max_class = 65534;
constexpr float tiny_side = 1e-3F;

std::vector<std::string_view> words_of(std::string_view line) {
  constexpr std::string_view spaces = " \t\r\v\f";
  std::vector<std::string_view> words;
  for (std::size_t at = line.find_first_not_of(spaces); at != std::string_view::npos;) {
    const std::size_t end = std::min(line.find_first_of(spaces, at), line.size());
    words.push_back(line.substr(at, end - at));
    at = line.find_first_not_of(spaces, end);
  }
  return words;
}

std::optional<double> number(std::string_view word) {
  if (word.starts_with('+')) word.remove_prefix(1);
  double value = 0;
  const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (problem != std::errc() || end != word.data() + word.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

/// Cuts at 0 and 1 and leaves the bits of a coordinate alone that lies between.
void cut(float& centre, float& size) {
  const double low = static_cast<double>(centre) - static_cast<double>(size) / 2;
  const double high = static_cast<double>(centre) + static_cast<double>(size) / 2;
  if (low >= 0 && high <= 1) return;
  const double a = std::max(low, 0.0), b = std::min(high, 1.0);
  centre = static_cast<float>((a + b) / 2);
  size = static_cast<float>(b - a);
}

class Reader {
 public:
  Reader(std::string_view file_name, index_t classes) : file_(file_name), classes_(classes) {}

  LabelFile read(std::string_view text) {
    if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      ++line_;
      const std::vector<std::string_view> words = words_of(text.substr(at, end - at));
      at = end + 1;
      if (words.empty()) continue;
      if (++rows_ > max_rows) {
        problem("more than " + std::to_string(max_rows) + " rows");
        break;
      }
      row(words);
    }
    return std::move(labels_);
  }

 private:
  [[nodiscard]] std::string place() const { return std::string(file_) + ":" + std::to_string(line_) + ": "; }
  void problem(const std::string& cause) { labels_.problems.push_back(place() + cause); }

  void row(const std::vector<std::string_view>& words) {
    const std::size_t count = words.size();
    if (words[0].find(',') != std::string_view::npos)
      return problem("commas between the numbers, wanted spaces: " + io::in_quotes(words[0]));
    if (count == 6) return problem("6 columns, wanted 5: class x y w h (labels have no confidence)");
    if (count != 5 && (count < 7 || count % 2 == 0))
      return problem(std::to_string(count) +
                     " columns, wanted 5 (class x y w h) or an outline (class x y x y x y ...)");
    const std::optional<int> cls = class_number(words[0]);
    if (!cls) return;
    std::vector<float> values;
    for (std::size_t i = 1; i < count; ++i) {
      const std::optional<double> value = number(words[i]);
      if (!value) return problem(io::in_quotes(words[i]) + " is no number");
      const auto narrow = static_cast<float>(*value);
      if (!(narrow >= 0 && narrow <= 1))
        return problem(std::string(words[i].substr(0, 40)) +
                       " is outside of 0..1; coordinates are parts of the picture");
      values.push_back(narrow);
    }
    add(count == 5 ? BoxLabel{*cls, values[0], values[1], values[2], values[3]} : around(*cls, values));
  }

  std::optional<int> class_number(std::string_view word) {
    const std::optional<double> value = number(word);
    if (!value || *value < 0 || *value != std::floor(*value) || *value > static_cast<double>(max_class)) {
      problem("class " + io::in_quotes(word) + ", wanted a whole number in 0.." + std::to_string(max_class));
      return std::nullopt;
    }
    const auto cls = static_cast<int>(*value);
    if (classes_ > 0 && cls >= classes_) {
      labels_.unknown_class = true;
      problem("class " + std::to_string(cls) + ", but the data set has " + std::to_string(classes_) +
              (classes_ == 1 ? " class (0)" : " classes (0.." + std::to_string(classes_ - 1) + ")"));
      return std::nullopt;
    }
    return cls;
  }

  static BoxLabel around(int cls, const std::vector<float>& points) {
    float x1 = 1, y1 = 1, x2 = 0, y2 = 0;
    for (std::size_t i = 0; i < points.size(); i += 2) {
      x1 = std::min(x1, points[i]);
      x2 = std::max(x2, points[i]);
      y1 = std::min(y1, points[i + 1]);
      y2 = std::max(y2, points[i + 1]);
    }
    return {cls, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1};
  }

  void add(BoxLabel box) {
    cut(box.x, box.w);
    cut(box.y, box.h);
    if (!(box.w > 0 && box.h > 0)) return problem("a box without width or height");
    if (!seen_.insert({static_cast<float>(box.cls), box.x, box.y, box.w, box.h}).second) {
      ++labels_.duplicates;
      labels_.notices.push_back(place() + "the same box again");
      return;
    }
    if (box.w < tiny_side || box.h < tiny_side)
      labels_.notices.push_back(place() + "a box narrower than a thousandth of the picture");
    labels_.boxes.push_back(box);
  }

  std::string_view file_;
  index_t classes_;
  index_t line_ = 0, rows_ = 0;
  LabelFile labels_;
  std::set<std::array<float, 5>> seen_;
};

}  // namespace

LabelFile parse_labels(std::string_view text, std::string_view file_name, index_t classes) {
  return Reader(file_name, classes).read(text);
}

std::filesystem::path label_path(const std::filesystem::path& image) {
  const std::filesystem::path folder = image.parent_path();
  std::vector<std::filesystem::path> parts(folder.begin(), folder.end());
  const auto last = std::find(parts.rbegin(), parts.rend(), "images");
  if (last != parts.rend()) *last = "labels";
  std::filesystem::path label;
  for (const std::filesystem::path& part : parts) label /= part;
  return label / image.filename().replace_extension(".txt");
}

}  // namespace slimneck
