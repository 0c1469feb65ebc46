// Division by multiplication, at the ends of what it may be given.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "kernels/cuda/map.hpp"

using slimneck::kernels::cuda::divisor;

TEST_CASE("division by multiplication is exact for every dividend") {
  constexpr int most = std::numeric_limits<int>::max();
  for (const int d : {1,
                      2,
                      3,
                      5,
                      7,
                      10,
                      13,
                      20,
                      25,
                      64,
                      80,
                      400,
                      641,
                      6400,
                      25600,
                      65535,
                      65536,
                      65537,
                      102400,
                      1 << 24,
                      (1 << 30) - 1,
                      1 << 30,
                      (1 << 30) + 1,
                      most - 1,
                      most}) {
    CAPTURE(d);
    const auto exact = [&](int a) { return divisor(d).quotient(a) == a / d; };
    // Quotients change at multiples: those at both ends and in the middle, with their neighbours.
    for (const int times : {0, 1, 2, most / d / 2, most / d - 1, most / d})
      for (const int off : {-1, 0, 1}) {
        const long long a = static_cast<long long>(std::max(times, 0)) * d + off;
        if (a >= 0 && a <= most) CHECK(exact(static_cast<int>(a)));
      }
    CHECK(exact(most));
  }
}
