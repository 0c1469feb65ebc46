#include "train/data_files.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <string>
#include <string_view>

#include "slimneck/error.hpp"
#include "slimneck/files.hpp"

namespace slimneck::train {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t max_pictures = 10'000'000;
constexpr std::uint64_t max_list_bytes = std::uint64_t{1} << 30;

std::string lower_extension(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

/// By its name; formats that are not read are pictures, too: they are counted and said, not passed over.
bool is_picture(const fs::path& path) {
  static const std::set<std::string> known{".bmp",  ".dng",  ".jpeg", ".jpg", ".mpo", ".png", ".tif",
                                           ".tiff", ".webp", ".pfm",  ".pbm", ".pgm", ".ppm", ".pnm"};
  return known.contains(lower_extension(path));
}

void limit(const std::vector<fs::path>& found, const fs::path& source) {
  if (found.size() > max_pictures) throw FormatError(source.string() + ": more than ten million pictures");
}

/// Links to folders are followed, each folder is entered once.
std::vector<fs::path> pictures_below(const fs::path& top) {
  std::vector<fs::path> found, waiting{top};
  std::set<fs::path> entered;
  while (!waiting.empty()) {
    const fs::path folder = std::move(waiting.back());
    waiting.pop_back();
    std::error_code problem;
    if (!entered.insert(fs::weakly_canonical(folder, problem)).second) continue;
    for (fs::directory_iterator at(folder, problem), end; !problem && at != end; at.increment(problem)) {
      std::error_code ignored;
      if (at->is_directory(ignored))
        waiting.push_back(at->path());
      else if (is_picture(at->path()))
        found.push_back(at->path());
    }
    if (problem) throw IoError(folder.string() + ": cannot be read: " + problem.message());
    limit(found, top);
  }
  std::sort(found.begin(), found.end());
  return found;
}

fs::path listed_picture(const fs::path& line, const fs::path& list, const fs::path& root) {
  fs::path beside = (list.parent_path() / line).lexically_normal();
  std::error_code problem;
  for (const fs::path& path : {beside, (root / line).lexically_normal(), line})
    if (fs::exists(path, problem)) return path;
  return beside;
}

std::vector<fs::path> listed_pictures(const fs::path& list, const fs::path& root) {
  std::string text = read_text(list.string(), max_list_bytes);
  std::string_view rest = text;
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  std::vector<fs::path> found;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0) line.remove_suffix(1);
    if (line.empty()) continue;
    found.push_back(listed_picture(line, list, root));
    limit(found, list);
  }
  return found;
}

}  // namespace

std::vector<fs::path> source_pictures(const fs::path& source, const fs::path& root) {
  std::error_code problem;
  if (fs::is_directory(source, problem)) return pictures_below(source);
  if (lower_extension(source) == ".txt") return listed_pictures(source, root);
  return {source};
}

}  // namespace slimneck::train
