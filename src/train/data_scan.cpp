// The scan of a split: which pictures are there, how large they are, and what their labels say.
#include <algorithm>
#include <iterator>

#include "slimneck/data.hpp"
#include "slimneck/error.hpp"
#include "slimneck/files.hpp"
#include "train/data_files.hpp"
#include "train/each.hpp"

namespace slimneck {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t max_label_bytes = std::uint64_t{64} << 20;
constexpr index_t least_extent = 10;

/// What is known about one picture.
struct Looked {
  Sample sample;
  LabelFile labels;
  bool no_label_file = false, usable = true;
};

Extents extents_of(const fs::path& picture, bool whole) {
  if (!whole) return read_extents(picture);
  const Image image = read_image(picture);
  return {image.width, image.height};
}

Looked look(const fs::path& picture, index_t classes, const ScanOptions& options) {
  Looked found;
  found.sample.image = picture;
  const fs::path label = label_path(picture);
  std::error_code problem;
  found.no_label_file = fs::status(label, problem).type() == fs::file_type::not_found;
  try {
    if (!found.no_label_file)
      found.labels =
          parse_labels(read_text(label.string(), max_label_bytes), label.string(), options.single_cls ? 0 : classes);
    const Extents extents = extents_of(picture, options.check);
    found.sample.width = extents.width;
    found.sample.height = extents.height;
    if (std::min(extents.width, extents.height) < least_extent)
      throw FormatError(picture.string() + ": " + std::to_string(extents.width) + "x" + std::to_string(extents.height) +
                        " pixels, wanted at least 10x10");
  } catch (const Error& error) {
    found.labels.problems.emplace_back(error.what());
  }
  found.usable = found.labels.problems.empty();
  found.sample.boxes = std::move(found.labels.boxes);
  if (options.single_cls)
    for (BoxLabel& box : found.sample.boxes) box.cls = 0;
  return found;
}

/// look() for all, on several threads; the results stand in the pictures' order.
std::vector<Looked> look_at_all(const std::vector<fs::path>& pictures, index_t classes, const ScanOptions& options) {
  std::vector<Looked> found(pictures.size());
  train::for_each_index(pictures.size(), options.threads,
                        [&](std::size_t i) { found[i] = look(pictures[i], classes, options); });
  return found;
}

void append(std::vector<std::string>& to, std::vector<std::string>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

/// In training one bad row is as bad as all: the first is told, with the number of the others.
std::string summary(const std::vector<std::string>& problems) {
  const std::size_t more = problems.size() - 1;
  return problems[0] + (more == 0 ? "" : " (and " + std::to_string(more) + " more)");
}

void add(DataSet& data, Looked& found, const ScanOptions& options) {
  if (!options.check && !found.usable && (found.labels.unknown_class || options.strict)) {
    const auto& problems = found.labels.problems;
    const auto named = std::find_if(problems.begin(), problems.end(), [&](const std::string& text) {
      return !found.labels.unknown_class || text.find(": class ") != std::string::npos;
    });
    throw FormatError(named == problems.end() ? problems[0] : *named);
  }
  append(data.notices, found.labels.notices);
  data.duplicates += found.labels.duplicates;
  if (!found.usable) {
    ++data.corrupt;
    if (options.check)
      append(data.problems, found.labels.problems);
    else
      data.problems.push_back(summary(found.labels.problems));
    return;
  }
  if (found.no_label_file)
    ++data.missing;
  else if (found.sample.boxes.empty())
    ++data.empty;
  data.samples.push_back(std::move(found.sample));
}

}  // namespace

std::vector<index_t> DataSet::class_counts() const {
  std::vector<index_t> counts(static_cast<std::size_t>(nc));
  for (const Sample& sample : samples)
    for (const BoxLabel& box : sample.boxes) ++counts.at(static_cast<std::size_t>(box.cls));
  return counts;
}

DataSet scan_data(const DataConfig& config, Split split, const ScanOptions& options) {
  const std::vector<fs::path>& sources = config.sources(split);
  const std::string key(to_string(split));
  if (sources.empty()) throw FormatError(config.file + ": there is no '" + key + "'");
  std::vector<fs::path> pictures;
  for (const fs::path& source : sources) {
    std::vector<fs::path> found = train::source_pictures(source, config.root);
    if (found.empty()) throw FormatError(config.file + ": " + key + ": there are no pictures in " + source.string());
    pictures.insert(pictures.end(), found.begin(), found.end());
  }
  DataSet data;
  data.name = config.file + ": " + key;
  data.nc = options.single_cls ? 1 : config.nc();
  data.found = static_cast<index_t>(pictures.size());
  std::vector<Looked> looked = look_at_all(pictures, config.nc(), options);
  for (Looked& one : looked) add(data, one, options);
  return data;
}

}  // namespace slimneck
