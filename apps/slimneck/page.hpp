// Pages that stand alone: style and script within, no network, light and dark, for screens and printers.
#pragma once

#include <filesystem>
#include <string>

#include "slimneck/plan.hpp"

namespace slimneck::cli {

/// For text and attributes of a page: names of a model file may hold anything.
std::string escaped(const std::string& text);

/// A whole page. `data` is JSON that the page carries along, for programs; empty for none.
std::string page(const std::string& title, const std::string& body, const std::string& data = "");

/// A section with its heading and what it shows.
std::string section(const std::string& title, const std::string& explanation, const std::string& content);

/// A picture as part of the page, which needs no file beside it. Throws IoError when it cannot be read.
std::string picture_figure(const std::filesystem::path& picture, const std::string& caption);

/// A column of a table that can be sorted: a number (right) or a text (left).
struct Column {
  std::string title;
  bool number = false;
};
/// The head of a sortable table; rows and "</tbody></table></div>" follow.
std::string table_head(const std::string& caption, const std::vector<Column>& columns);
std::string cell(const std::string& text);
/// A number as shown; `value` is what it is sorted by.
std::string number_cell(const std::string& shown, double value);

/// Where a plan keeps its values: time across, address upwards; and its sums.
std::string memory_map(const Plan& plan);
std::string memory_facts(const PlanStats& stats);

/// Colours of series and text as CSS, for light and dark: of pages and of pictures of their own.
std::string palette();

}  // namespace slimneck::cli
