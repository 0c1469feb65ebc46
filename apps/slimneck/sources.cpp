#include "sources.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>

#include "cli.hpp"

namespace slimneck::cli {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t max_pictures = 1'000'000;
constexpr std::uintmax_t max_list_bytes = std::uintmax_t{64} << 20;

std::string lower_extension(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

bool is_picture_or_video(const fs::path& path) {
  static const std::set<std::string> known{".jpg", ".jpeg", ".png", ".bmp", ".pbm", ".pgm", ".ppm", ".pnm", ".y4m"};
  return known.contains(lower_extension(path));
}

/// Whether `name` matches the pattern of * ? and [a-z] or [!a-z].
bool matches(std::string_view pattern, std::string_view name) {
  std::size_t p = 0, n = 0, star = std::string_view::npos, resume = 0;
  const auto one = [&]() {  // matches pattern[p...] against name[n]; moves p
    if (pattern[p] == '?') return ++p, true;
    const std::size_t close = pattern[p] == '[' ? pattern.find(']', p + 2) : std::string_view::npos;
    if (close == std::string_view::npos) return pattern[p++] == name[n];
    const bool negated = pattern[p + 1] == '!';
    bool found = false;
    for (std::size_t i = p + (negated ? 2 : 1); i < close; ++i) {
      const bool range = i + 2 < close && pattern[i + 1] == '-';
      found = found || (range ? pattern[i] <= name[n] && name[n] <= pattern[i + 2] : pattern[i] == name[n]);
      if (range) i += 2;
    }
    p = close + 1;
    return found != negated;
  };
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
      continue;
    }
    if (p < pattern.size() && one()) {
      ++n;
      continue;
    }
    if (star == std::string_view::npos) return false;
    p = star + 1;  // the star takes one letter more
    n = ++resume;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool is_pattern(const std::string& text) { return text.find_first_of("*?[") != std::string::npos; }

/// Entries of a folder that keep() is true of, sorted.
template <class Keep>
std::vector<fs::path> entries_of(const fs::path& folder, Keep keep) {
  std::vector<fs::path> found;
  std::error_code problem;
  for (fs::directory_iterator at(folder, problem), end; !problem && at != end; at.increment(problem))
    if (keep(at->path())) found.push_back(folder == "." ? at->path().filename() : at->path());
  if (problem) throw IoError(folder.string() + ": cannot be read: " + problem.message());
  std::sort(found.begin(), found.end());
  return found;
}

bool is_folder(const fs::path& path) {
  std::error_code problem;
  return fs::is_directory(path, problem);
}

bool is_there(const fs::path& path) {
  std::error_code problem;
  return fs::exists(path, problem);
}

/// Files that match, whose folders may be patterns as well.
std::vector<fs::path> matching(const fs::path& pattern) {
  std::vector<fs::path> found{pattern.is_absolute() ? fs::path("/") : fs::path(".")};
  for (const fs::path& part : pattern.relative_path()) {
    std::vector<fs::path> next;
    for (const fs::path& folder : found) {
      if (!is_folder(folder)) continue;
      if (!is_pattern(part.string())) {
        const fs::path path = folder == "." ? part : folder / part;
        if (is_there(path)) next.push_back(path);
        continue;
      }
      const bool hidden = part.string().starts_with('.');
      for (fs::path& path : entries_of(folder, [&](const fs::path& p) {
             const std::string name = p.filename().string();
             return (hidden || !name.starts_with('.')) && matches(part.string(), name);
           }))
        next.push_back(std::move(path));
    }
    found = std::move(next);
  }
  std::erase_if(found, is_folder);
  return found;
}

std::vector<fs::path> listed(const fs::path& list) {
  std::error_code problem;
  if (!fs::is_regular_file(list, problem) || fs::file_size(list, problem) > max_list_bytes)
    throw IoError(list.string() + ": is no regular file of at most 64 MiB");
  std::ifstream in(list);
  if (!in) throw IoError(list.string() + ": cannot be read");
  std::vector<fs::path> found;
  std::string line;
  for (bool first = true; std::getline(in, line); first = false) {
    if (first && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0) line.pop_back();
    if (line.empty()) continue;
    const fs::path beside = list.parent_path() / line;
    found.push_back(!is_there(line) && is_there(beside) ? beside : fs::path(line));
  }
  return found;
}

std::vector<fs::path> pictures_of(const std::string& source) {
  if (source.empty()) throw UsageError("--source may not be empty");
  if (is_folder(source))
    return entries_of(source, [](const fs::path& p) { return is_picture_or_video(p) && !is_folder(p); });
  if (!is_there(source)) {
    if (source.find("://") != std::string::npos) throw IoError(source + ": nothing is fetched; --source takes files");
    if (!is_pattern(source)) throw IoError(source + ": there is no such file");
    return matching(source);
  }
  if (lower_extension(source) == ".txt") return listed(source);
  return {source};
}

}  // namespace

std::vector<std::string> find_pictures(const std::vector<std::string>& sources) {
  std::vector<std::string> pictures;
  for (const std::string& source : sources) {
    if (source == "-") {
      pictures.push_back(source);
      continue;
    }
    const std::vector<fs::path> found = pictures_of(source);
    if (found.empty())
      throw IoError(source + ": there are no pictures (.jpg .jpeg .png .bmp .pbm .pgm .ppm .pnm) or videos (.y4m)");
    if (found.size() > max_pictures - pictures.size()) throw IoError(source + ": more than a million pictures");
    for (const fs::path& path : found) pictures.push_back(path == "-" ? "./-" : path.string());
  }
  return pictures;
}

}  // namespace slimneck::cli
