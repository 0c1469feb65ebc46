// data.yaml: names of classes and where pictures lie.
#include <algorithm>
#include <map>
#include <set>

#include "io/files.hpp"
#include "io/yaml.hpp"
#include "slimneck/data.hpp"
#include "slimneck/error.hpp"
#include "slimneck/files.hpp"

namespace slimneck {

namespace fs = std::filesystem;

std::string_view to_string(Split split) noexcept {
  constexpr std::array<std::string_view, 3> names{"train", "val", "test"};
  return names[static_cast<std::size_t>(split)];
}

namespace {

using io::YamlNode;

constexpr long long most_classes = 65535;

std::string warning(const YamlNode& node, const std::string& text) {
  return *node.file + ":" + std::to_string(node.line) + ":" + std::to_string(node.column) + ": " + text;
}

const std::string& name_text(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar || node.text.empty())
    node.fail("a class name must be a text, not " + node.describe());
  return node.text;
}

std::vector<std::string> names_of_map(const YamlNode& node) {
  std::map<long long, std::string> named;
  for (const auto& [key, value] : node.entries) {
    long long number = 0;
    if (!io::to_integer(*key, number) || number < 0 || number >= most_classes)
      key->fail("a class number must be in 0.." + std::to_string(most_classes - 1) + ", not " + key->describe());
    if (!named.emplace(number, name_text(*value)).second)
      key->fail("class " + std::to_string(number) + " occurs twice");
  }
  std::vector<std::string> names;
  for (auto& [number, name] : named) {
    if (number != static_cast<long long>(names.size()))
      node.fail("names have no class " + std::to_string(names.size()) + ", but " + std::to_string(number));
    names.push_back(std::move(name));
  }
  return names;
}

std::vector<std::string> read_names(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::map) return names_of_map(node);
  if (node.kind != YamlNode::Kind::sequence)
    node.fail("names must be a list, or a map from 0 on, not " + node.describe());
  std::vector<std::string> names;
  for (const io::Yaml& item : node.items) names.push_back(name_text(*item));
  return names;
}

fs::path read_source(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar || node.text.empty())
    node.fail("wanted a folder, a list of pictures (.txt) or a list of such, not " + node.describe());
  if (node.text.find("://") != std::string::npos) node.fail(node.describe() + ": nothing is fetched; wanted a path");
  if (node.text.ends_with(".zip")) node.fail(node.describe() + ": unpack the archive and name its folder");
  return node.text;
}

std::vector<fs::path> read_sources(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::sequence) return {read_source(node)};
  std::vector<fs::path> sources;
  for (const io::Yaml& item : node.items) sources.push_back(read_source(*item));
  if (sources.empty()) node.fail("an empty list of sources");
  return sources;
}

const YamlNode& required(const YamlNode& document, std::string_view key) {
  const io::Yaml* value = document.find(key);
  if (value == nullptr) document.fail("there is no '" + std::string(key) + "'; wanted train, val and names");
  return **value;
}

void check_count(const YamlNode& document, const DataConfig& data) {
  if (data.names.empty()) document.fail("there are no names");
  if (static_cast<long long>(data.names.size()) > most_classes) document.fail("more than 65535 names");
  const io::Yaml* nc = document.find("nc");
  long long count = 0;
  if (nc != nullptr && (!io::to_integer(**nc, count) || count != static_cast<long long>(data.names.size())))
    (*nc)->fail("nc is " + (*nc)->describe() + ", but there are " + std::to_string(data.names.size()) + " names");
}

void add_warnings(const YamlNode& document, DataConfig& data) {
  std::set<std::string> seen;
  for (const std::string& name : data.names)
    if (!seen.insert(name).second)
      data.warnings.push_back(warning(**document.find("names"), "two classes are called " + io::in_quotes(name)));
  if (const io::Yaml* download = document.find("download"))
    data.warnings.push_back(warning(**download, "download is not run; nothing is fetched"));
}

/// The source as a path that exists, seen from the data set's folder.
fs::path located(const fs::path& source, const DataConfig& data, Split split) {
  std::error_code problem;
  fs::path path = (data.root / source).lexically_normal();
  if (fs::exists(path, problem)) return path;
  // Some exports say ../train/images and mean the folder of the file itself; YOLOv5 takes that, too.
  const std::string text = source.generic_string();
  fs::path inside = (data.root / text.substr(text.starts_with("../") ? 3 : 0)).lexically_normal();
  if (fs::exists(inside, problem)) return inside;
  throw FormatError(data.file + ": " + std::string(to_string(split)) + ": there is no " + path.string());
}

}  // namespace

DataConfig parse_data(std::string_view yaml, std::string_view file_name) {
  const io::Yaml document = io::parse_yaml(yaml, file_name);
  if (!document || document->kind != YamlNode::Kind::map)
    throw FormatError(std::string(file_name) + ": not a map with train, val and names");
  DataConfig data;
  data.file = file_name;
  if (const io::Yaml* path = document->find("path"); path != nullptr && (*path)->kind != YamlNode::Kind::null)
    data.root = read_source(**path);
  for (const Split split : {Split::train, Split::val})
    data.splits[static_cast<std::size_t>(split)] = read_sources(required(*document, to_string(split)));
  if (const io::Yaml* test = document->find("test"); test != nullptr && (*test)->kind != YamlNode::Kind::null)
    data.splits[static_cast<std::size_t>(Split::test)] = read_sources(**test);
  data.names = read_names(required(*document, "names"));
  check_count(*document, data);
  add_warnings(*document, data);
  return data;
}

DataConfig load_data(const fs::path& file) {
  DataConfig data = parse_data(read_text(file.string(), io::max_yaml_bytes), file.string());
  std::error_code problem;
  data.root = (file.parent_path() / data.root).lexically_normal();
  if (data.root.empty()) data.root = ".";
  if (!fs::is_directory(data.root, problem))
    throw FormatError(data.file + ": path: there is no folder " + data.root.string());
  for (const Split split : {Split::train, Split::val, Split::test})
    for (fs::path& source : data.splits[static_cast<std::size_t>(split)]) source = located(source, data, split);
  return data;
}

}  // namespace slimneck
