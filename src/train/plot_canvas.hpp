// What plots are drawn with, and the one place that decides their colours and sizes of text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "slimneck/image.hpp"

namespace slimneck::train {

namespace style {
inline constexpr Colour paper{255, 255, 255}, ink{32, 36, 42}, faint{96, 104, 114}, grid{226, 230, 235};
inline constexpr Colour accent{31, 95, 178}, quiet{178, 186, 196};
inline constexpr index_t text = 2, title = 3;  ///< scales of draw_text
inline constexpr double line = 2.5, bold = 6;  ///< pixels
/// Of a series, told from its neighbours on paper.
Colour series(std::size_t number);
/// From paper (0) to the accent (1), for areas.
Colour shade(double part);
}  // namespace style

struct Point {
  double x = 0, y = 0;
};

enum class Align : std::uint8_t { left, centre, right };

/// Extents of a line of text in pixels.
index_t text_width(std::string_view text, index_t scale = style::text);
index_t text_height(index_t scale = style::text);

/// At most `letters` letters, with dots in place of what was cut.
std::string shortened(const std::string& text, std::size_t letters);

/// Pixels left..left+width-1, top..top+height-1.
struct Area {
  index_t left = 0, top = 0, width = 0, height = 0;
  [[nodiscard]] index_t right() const noexcept { return left + width; }
  [[nodiscard]] index_t bottom() const noexcept { return top + height; }
};

/// A picture that is drawn on. What lies outside is cut off.
class Canvas {
 public:
  Canvas(index_t width, index_t height, Colour ground = style::paper) : image_(width, height, ground) {}

  void fill(const Area& area, Colour colour, float cover = 1);
  void frame(const Area& area, Colour colour);  ///< one pixel wide, inside the area
  /// Lines from point to point with round joints; a point that is not finite makes a gap.
  void path(const std::vector<Point>& points, double thickness, Colour colour, float cover = 1);
  /// One line; `x` is its left end, centre or right end, `y` its top.
  void text(index_t x, index_t y, std::string_view text, Align align = Align::left, Colour colour = style::ink,
            index_t scale = style::text);
  /// One line that reads upwards; `x` is its left side, `y` its lower end, centre or upper end.
  void text_upwards(index_t x, index_t y, std::string_view text, Align align = Align::left, Colour colour = style::ink,
                    index_t scale = style::text);
  void paste(const Image& image, index_t x, index_t y);

  [[nodiscard]] Image& image() noexcept { return image_; }
  [[nodiscard]] Image take() { return std::move(image_); }

 private:
  Image image_;
};

}  // namespace slimneck::train
