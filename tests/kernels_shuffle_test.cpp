#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/threads.hpp"
#include "golden_case.hpp"
#include "shared_data.hpp"
#include "slimneck/kernels.hpp"

namespace slimneck::test {

namespace {

using Source = std::vector<index_t>;

template <class T>
Numbers gather(const Numbers& x, const Source& source, const Layout& in, const Layout& out) {
  const Guarded<T> gx(x, in);
  Guarded<T> y(Shape{x.shape.n, static_cast<index_t>(source.size()), x.shape.h, x.shape.w}, out);
  kernels::gather_channels<T>(gx.read(), y.view(), source);
  CHECK(y.intact());
  return y.numbers();
}

Numbers expect(const Numbers& x, const Source& source) {
  Numbers y(Shape{x.shape.n, static_cast<index_t>(source.size()), x.shape.h, x.shape.w});
  for (index_t n = 0; n < y.shape.n; ++n)
    for (index_t c = 0; c < y.shape.c; ++c)
      for (index_t h = 0; h < y.shape.h; ++h)
        for (index_t w = 0; w < y.shape.w; ++w) {
          const index_t from = source[static_cast<std::size_t>(c)];
          y.at(n, c, h, w) = from < 0 ? 0 : x.at(n, from, h, w);
        }
  return y;
}

struct Permutations {
  Source interleave, deinterleave;
};

std::vector<Permutations> golden_permutations() {
  std::ifstream file(test_data("ops/shuffle_permutations.json"));
  const auto content = nlohmann::json::parse(file);
  std::vector<Permutations> all;
  for (const auto& [channels, list] : content.at("inter").items())
    all.push_back({list.get<Source>(), content.at("deint").at(channels).get<Source>()});
  return all;
}

}  // namespace

TEST_SUITE("kernels_shuffle") {
  TEST_CASE_TEMPLATE("golden permutations in every layout; the two shuffles undo one another", T, float, double) {
    const std::vector<Permutations> all = golden_permutations();
    REQUIRE(all.size() == 9);
    for (const auto& [interleave, deinterleave] : all) {
      const Numbers x = reals({2, static_cast<index_t>(interleave.size()), 3, 5}, 1);
      for (const Layout& in : layouts)
        for (const Layout& out : layouts) {
          CHECK(same_bits(gather<T>(x, interleave, in, out), expect(x, interleave)));
          CHECK(same_bits(gather<T>(x, deinterleave, in, out), expect(x, deinterleave)));
        }
      CHECK(same_bits(gather<T>(gather<T>(x, interleave, {}, {}), deinterleave, {}, {}), x));
    }
  }

  TEST_CASE_TEMPLATE("a source below zero gives zeros, a channel may be used twice or not at all", T, float, double) {
    const Numbers x = reals({3, 5, 2, 3}, 2);
    const Source source{4, -1, 0, 0, -1, 2, 4};
    for (const int threads : {1, 2, 4}) {
      const core::ThreadScope scope(threads);
      for (const Layout& in : layouts)
        for (const Layout& out : layouts) CHECK(same_bits(gather<T>(x, source, in, out), expect(x, source)));
    }
  }
}

}  // namespace slimneck::test
