#include "io/model_files.hpp"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "io/files.hpp"
#include "slimneck/files.hpp"
#include "slimneck/model.hpp"
#include "slimneck/weights.hpp"

namespace slimneck {

namespace fs = std::filesystem;

namespace {

std::string read_model(const fs::path& path) { return read_text(path.string(), io::max_yaml_bytes); }

/// Where the library's models may lie, the first place that has a model first.
std::vector<fs::path> model_folders() {
  std::vector<fs::path> folders;
  if (const char* chosen = std::getenv("SLIMNECK_MODELS"); chosen != nullptr && *chosen != '\0')
    folders.emplace_back(chosen);
  folders.emplace_back(SLIMNECK_MODELS_SOURCE);
  folders.emplace_back(SLIMNECK_MODELS_INSTALL);
  std::error_code problem;
  const fs::path program = fs::read_symlink("/proc/self/exe", problem);
  if (!problem) folders.push_back(program.parent_path().parent_path() / "share" / "slimneck" / "models");
  return folders;
}

bool is_file(const fs::path& path) {
  std::error_code problem;
  const fs::file_status status = fs::status(path, problem);
  return fs::exists(status) && !fs::is_directory(status);
}

struct Found {
  fs::path file;
  std::string scale;
};

/// `stem`.yaml in the folder, or the file of which it is a scale. An empty path when there is neither.
Found find_in(const fs::path& folder, const std::string& stem) {
  if (is_file(folder / (stem + ".yaml"))) return {folder / (stem + ".yaml"), ""};
  if (stem.size() < 2) return {};
  std::string whole = stem.substr(0, stem.size() - 1);
  if (whole.back() == '-') whole.pop_back();
  if (!whole.empty() && is_file(folder / (whole + ".yaml")))
    return {folder / (whole + ".yaml"), stem.substr(stem.size() - 1)};
  return {};
}

Found find_model(const fs::path& name) {
  if (is_file(name)) return {name, ""};
  const bool ends_yaml = name.extension() == ".yaml" || name.extension() == ".yml";
  const std::string stem = ends_yaml ? name.stem().string() : name.filename().string();
  if (!stem.empty()) {
    const std::vector<fs::path> folders =
        name.has_parent_path() ? std::vector<fs::path>{name.parent_path()} : model_folders();
    for (const fs::path& folder : folders)
      if (Found found = find_in(folder, stem); !found.file.empty()) return found;
  }
  throw IoError(io::in_quotes(name.string()) + ": no such file, and no model of that name" +
                io::suggestion(stem, model_names()));
}

}  // namespace

std::string io::scaled_name(std::string_view stem, std::string_view scale) {
  return std::string(stem) + (stem.starts_with("yolo") ? "" : "-") + std::string(scale);
}

io::Yaml io::read_base(const YamlNode& document, const fs::path& folder) {
  const Yaml* key = document.find("base");
  if (key == nullptr) return nullptr;
  const YamlNode& node = **key;
  if (node.kind != YamlNode::Kind::scalar || node.text.empty() || node.text.front() == '.' || node.text.size() > 255 ||
      node.text.find('/') != std::string::npos)
    node.fail("base is " + node.describe() + "; wanted the name of a file in the same folder");
  const fs::path path = folder / node.text;
  std::string text;
  try {
    text = read_model(path);
  } catch (const IoError& problem) {
    throw IoError(*node.file + ":" + std::to_string(node.line) + ":" + std::to_string(node.column) +
                  ": base: " + problem.what());
  }
  Yaml base = parse_yaml(text, path.string());
  if (const Yaml* second = base->find("base")) (*second)->fail("a base has no base of its own");
  return base;
}

Model load_model(const fs::path& name, const ModelOptions& options) {
  const Found found = find_model(name);
  ModelOptions with_scale = options;
  if (options.scale.empty()) with_scale.scale = found.scale;
  return parse_model(read_model(found.file), found.file.string(), with_scale);
}

fs::path default_weights() {
  const std::string name = "slimneck-n-shapes.safetensors";
  for (const fs::path& folder : model_folders())
    if (fs::path file = folder.parent_path() / "weights" / name; is_file(file)) return file;
  throw IoError(name + ": the library's weights are not where its models are");
}

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const fs::path& folder : model_folders()) {
    std::error_code problem;
    for (fs::directory_iterator at(folder, problem), end; !problem && at != end; at.increment(problem)) {
      if (at->path().extension() != ".yaml" || !is_file(at->path())) continue;
      const std::string stem = at->path().stem().string();
      try {
        const io::Yaml document = io::parse_yaml(read_model(at->path()), at->path().string());
        const io::Yaml base = io::read_base(*document, folder);
        const io::Yaml* scales = document->find("scales");
        if (scales == nullptr && base) scales = base->find("scales");
        if (scales == nullptr)
          names.push_back(stem);
        else
          for (const auto& [scale, row] : (*scales)->entries) names.push_back(io::scaled_name(stem, scale->text));
      } catch (const Error&) {
        continue;  // a broken file has no names; loading it says what is wrong
      }
    }
    if (!names.empty()) break;
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace slimneck
