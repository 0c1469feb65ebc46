// A comparison as a page.
#pragma once

#include <string>

#include "compare_run.hpp"

namespace slimneck::cli {

/// The page; `network` may hold the sections of a network, which go between charts and table.
std::string compare_page(const std::string& title, const Comparison& all, const std::string& network = "");

}  // namespace slimneck::cli
