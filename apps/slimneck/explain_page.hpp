// A plan as a page: a picture of its memory over time, and a table of its steps. It stands alone, without a script.
#pragma once

#include <string>

#include "slimneck/plan.hpp"

namespace slimneck::cli {

std::string explain_page(const std::string& title, const Plan& plan);

}  // namespace slimneck::cli
