// results.png: the course of a training from its results.csv.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "slimneck/error.hpp"
#include "train/plot_chart.hpp"

namespace slimneck {
namespace {

constexpr std::size_t columns_of_csv = 14;
constexpr std::size_t most_rows = 1000000;

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r"), last = text.find_last_not_of(" \t\r");
  return first == std::string_view::npos ? std::string_view{} : text.substr(first, last - first + 1);
}

/// Cuts the part before the first `mark` off the text, and the mark with it.
std::string_view next_part(std::string_view& text, char mark) {
  const std::size_t at = std::min(text.find(mark), text.size());
  const std::string_view part = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return trimmed(part);
}

struct Table {
  std::array<std::string, columns_of_csv> names;
  std::array<std::vector<double>, columns_of_csv> columns;
};

class Reader {
 public:
  Reader(std::string_view csv, std::string_view file_name) : rest_(csv), file_(file_name) {}

  Table operator()() {
    Table table;
    fields(table.names, [](std::string_view field) { return std::string(field); });
    while (!rest_.empty()) {
      if (trimmed(rest_.substr(0, rest_.find('\n'))).empty()) {
        next_part(rest_, '\n');
        ++line_;
        continue;
      }
      std::array<double, columns_of_csv> row{};
      fields(row, [this](std::string_view field) { return number(field); });
      for (std::size_t i = 0; i < row.size(); ++i) table.columns[i].push_back(row[i]);
      if (table.columns[0].size() > most_rows) fail("more than " + std::to_string(most_rows) + " rows");
    }
    if (table.columns[0].empty()) fail("no row of results");
    return table;
  }

 private:
  [[noreturn]] void fail(const std::string& cause) const {
    throw FormatError(std::string(file_) + ":" + std::to_string(line_) + ": " + cause);
  }

  template <class Row, class Take>
  void fields(Row& row, const Take& take) {
    ++line_;
    std::string_view line = next_part(rest_, '\n');
    const auto found = static_cast<std::size_t>(std::count(line.begin(), line.end(), ',')) + 1;
    if (found != columns_of_csv)
      fail(std::to_string(found) + " columns, wanted the " + std::to_string(columns_of_csv) + " of results.csv");
    for (auto& field : row) field = take(next_part(line, ','));
  }

  /// "nan" and "inf" are numbers, too: a training may end like that.
  [[nodiscard]] double number(std::string_view field) const {
    double value = 0;
    const auto [end, problem] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (problem == std::errc::result_out_of_range) return std::numeric_limits<double>::infinity();
    if (problem != std::errc{} || end != field.data() + field.size())
      fail("'" + std::string(field.substr(0, 40)) + "' is no number");
    return value;
  }

  std::string_view rest_, file_;
  std::size_t line_ = 0;
};

/// Weighted mean of the neighbours (Gaussian, three epochs wide), of finite numbers only.
std::vector<double> smoothed(const std::vector<double>& values) {
  constexpr std::ptrdiff_t reach = 9;
  constexpr double sigma = 3;
  const auto count = static_cast<std::ptrdiff_t>(values.size());
  std::vector<double> result;
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    double sum = 0, weights = 0;
    for (std::ptrdiff_t k = std::max<std::ptrdiff_t>(i - reach, 0); k <= std::min(i + reach, count - 1); ++k) {
      const double value = values[static_cast<std::size_t>(k)], off = static_cast<double>(k - i) / sigma;
      if (!std::isfinite(value)) continue;
      sum += value * std::exp(-off * off / 2);
      weights += std::exp(-off * off / 2);
    }
    result.push_back(weights > 0 ? sum / weights : std::numeric_limits<double>::quiet_NaN());
  }
  return result;
}

}  // namespace

Image plot_results(std::string_view csv, std::string_view file_name) {
  constexpr index_t width = 480, height = 420;
  constexpr std::array<std::size_t, 10> panels{1, 2, 3, 4, 5, 8, 9, 10, 6, 7};  // YOLOv5's order
  const Table table = Reader(csv, file_name)();
  train::Canvas canvas(5 * width, 2 * height);
  for (std::size_t i = 0; i < panels.size(); ++i) {
    const std::size_t column = panels[i];
    const Chart chart{.title = table.names[column],
                      .x_label = i < 5 ? "" : "epoch",
                      .y_label = "",
                      .series = {{"", table.columns[0], table.columns[column]},
                                 {"", table.columns[0], smoothed(table.columns[column])}},
                      .x_range = {},
                      .y_range = {}};
    const auto at = static_cast<index_t>(i);
    train::draw_chart(canvas, {at % 5 * width, at / 5 * height, width, height}, chart);
  }
  return canvas.take();
}

}  // namespace slimneck
