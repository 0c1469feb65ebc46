// Which instruction sets are there, and that the one that is asked for is the one that runs.
#include "kernels/dispatch.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

using namespace slimneck;

TEST_CASE("the best instruction set comes first and scalar is always there") {
  const std::vector<Isa> isas = kernels::available_isas();
  REQUIRE_FALSE(isas.empty());
  CHECK(isas.back() == Isa::scalar);
  for (const Isa isa : isas) {
    CAPTURE(std::string(kernels::name_of(isa)));
    REQUIRE(kernels::kernels_of(isa) != nullptr);
    CHECK(kernels::kernels_of(isa)->lanes >= 4);
    CHECK(kernels::resolve(isa) == isa);
  }
}

TEST_CASE("SLIMNECK_ISA names what automatic means") {
  const char* before = std::getenv("SLIMNECK_ISA");
  const std::string kept = before ? before : "";
  ::setenv("SLIMNECK_ISA", "scalar", 1);
  CHECK(kernels::resolve(Isa::automatic) == Isa::scalar);
  ::setenv("SLIMNECK_ISA", "sse9", 1);
  CHECK_THROWS_AS(static_cast<void>(kernels::resolve(Isa::automatic)), DeviceError);
  ::unsetenv("SLIMNECK_ISA");
  CHECK(kernels::resolve(Isa::automatic) == kernels::available_isas().front());
  if (before) ::setenv("SLIMNECK_ISA", kept.c_str(), 1);
}
