// Every golden module case, forward in both modes, every gradient and the running statistics, through the reference
// plan and through plans with channel maps in blocks of 1, 8 and 16, in double and in float.
#include "golden_modules.hpp"

#include <string>

#include "kernels/dispatch.hpp"

using namespace slimneck;
using test::golden_modules::check_all;

TEST_SUITE_BEGIN("golden_modules");

namespace {

Exec exec_of(DType type, index_t block) {
  Exec exec;
  exec.dtype = type;
  exec.reference = block == 0;
  exec.block = block;
  return exec;
}

}  // namespace

TEST_CASE("reference plan, double") { check_all(exec_of(DType::f64, 0), "reference f64"); }
TEST_CASE("reference plan, float") { check_all(exec_of(DType::f32, 0), "reference f32"); }
TEST_CASE("mapped plan, double, block 1") { check_all(exec_of(DType::f64, 1), "block 1 f64"); }
TEST_CASE("mapped plan, double, block 8") { check_all(exec_of(DType::f64, 8), "block 8 f64"); }
TEST_CASE("mapped plan, double, block 16") { check_all(exec_of(DType::f64, 16), "block 16 f64"); }
TEST_CASE("mapped plan, float, block 1") { check_all(exec_of(DType::f32, 1), "block 1 f32"); }
TEST_CASE("fast plan, every instruction set, with and without Winograd") {
  for (const Isa isa : kernels::available_isas())
    for (const bool direct : {true, false}) {
      Exec exec;
      exec.isa = isa;
      exec.direct = direct;
      check_all(exec, std::string(kernels::name_of(isa)) + (direct ? " direct" : ""));
    }
}

TEST_SUITE_END();
