// How rows become tasks.
#include "kernels/strips.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace slimneck::kernels {

namespace {

/// Rows of the first and of the second half of the strips, as two threads share them.
double larger_share(index_t rows, index_t strip, index_t others) {
  const index_t tasks = round_up_divide(rows, strip) * others, first = tasks / 2 * strip;
  const index_t half = std::min(rows * others, first);
  return static_cast<double>(std::max(half, rows * others - half)) / static_cast<double>(rows * others);
}

}  // namespace

TEST_CASE("few tasks are shared out evenly, many are left as they are") {
  CHECK(even_strip(40, 40, 40, 1) == 10);  // one task becomes four
  CHECK(even_strip(20, 20, 20, 1) == 10);  // and two where 200 pixels are the least
  CHECK(even_strip(10, 10, 10, 1) == 10);  // or stays alone
  CHECK(even_strip(80, 80, 25, 1) == 20);  // 25 25 25 5
  CHECK(even_strip(20, 20, 20, 3) == 10);  // three tasks
  CHECK(even_strip(40, 40, 12, 4) == 12);  // sixteen
  CHECK(even_strip(160, 160, 20, 8) == 20);
  CHECK(even_strip(0, 7, 3, 4) == 3);
  CHECK(even_strip(5, 5, 2, 0) == 2);
}

TEST_CASE("of few tasks of maps of 40 x 40 and more a thread of two never has more than two thirds") {
  for (index_t rows = 40; rows <= 160; ++rows)
    for (const index_t others : {1, 2, 3, 5, 8})
      for (index_t strip = round_up_divide(rows, 15 / others); strip <= rows; ++strip) {
        const index_t even = even_strip(rows, rows, strip, others);
        CAPTURE(rows);
        CAPTURE(strip);
        CAPTURE(others);
        CHECK(even >= 1);
        CHECK(even <= strip);
        CHECK(larger_share(rows, even, others) <= 2.0 / 3);
      }
}

}  // namespace slimneck::kernels
