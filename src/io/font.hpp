// A bitmap font for labels, drawn for this project: printable ASCII, 5 columns, 7 rows for capitals and 2 below the
// line.
#pragma once

#include <array>
#include <cstdint>

namespace slimneck::io {

inline constexpr int glyph_columns = 5;
inline constexpr int glyph_rows = 9;
inline constexpr int capital_rows = 7;
inline constexpr int glyph_advance = 6;

/// One byte a row from the top; bit 4 is the left column.
using Glyph = std::array<std::uint8_t, glyph_rows>;

/// The glyph of a character; '?' for all that is not printable ASCII.
const Glyph& glyph_of(char character) noexcept;

}  // namespace slimneck::io
