#include "cli.hpp"
namespace slimneck::cli {
void add_demo(CLI::App&) {}
}  // namespace slimneck::cli
