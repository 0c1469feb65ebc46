#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "program.hpp"
#include "shared_data.hpp"

namespace slimneck::test {

const char* const test_data_folder = SLIMNECK_TEST_DATA;
#ifdef SLIMNECK_CLI
const char* const program_file = SLIMNECK_CLI_FILE;
const char* const faults_file = SLIMNECK_FAULTS_FILE;
#endif

}  // namespace slimneck::test
