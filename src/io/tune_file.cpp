// The memory of measured kernels as a file: a line for the version and the machine, then "kernel<tab>key" lines.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "io/files.hpp"
#include "slimneck/error.hpp"
#include "slimneck/tune.hpp"
#include "slimneck/version.hpp"

namespace slimneck {

namespace {

constexpr std::uint64_t largest_cache = std::uint64_t{16} << 20;
constexpr std::size_t longest_line = 4096;

/// A folder of caches may be shared by several machines.
std::string header() { return "slimneck " SLIMNECK_VERSION_STRING " kernels on " + processor_name(); }

}  // namespace

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (const std::size_t colon = line.find(": "); colon != std::string::npos && line.starts_with("model name"))
      return line.substr(colon + 2);
  return "unknown processor";
}

std::string tune_cache_path() {
  const auto folder = [](const char* variable) -> std::filesystem::path {
    const char* value = std::getenv(variable);
    return value && *value == '/' ? value : "";  // relative ones are to be ignored, says the XDG specification
  };
  std::filesystem::path base = folder("XDG_CACHE_HOME");
  if (base.empty() && !folder("HOME").empty()) base = folder("HOME") / ".cache";
  return base.empty() ? std::string() : (base / "slimneck" / "kernels.txt").string();
}

void load_tune_cache(TuneCache& cache, const std::string& path) {
  if (!std::filesystem::exists(path)) return;
  const std::vector<std::byte> bytes = io::read_file(path, largest_cache);
  std::istringstream text(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  std::string line;
  if (!std::getline(text, line) || line != header()) return;
  while (std::getline(text, line)) {
    const std::size_t tab = line.find('\t');
    if (tab == std::string::npos || tab == 0 || tab + 1 == line.size() || line.size() > longest_line) continue;
    cache.put(line.substr(tab + 1), line.substr(0, tab));
  }
}

void save_tune_cache(const TuneCache& cache, const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code problem;
  if (!folder.empty() && (std::filesystem::create_directories(folder, problem), problem))
    throw IoError(folder.string() + ": " + problem.message());
  std::string text = header() + '\n';
  for (const auto& [key, kernel] : cache.all()) text.append(kernel).append("\t").append(key).append("\n");
  io::write_file(path, std::as_bytes(std::span(text)));
}

}  // namespace slimneck
