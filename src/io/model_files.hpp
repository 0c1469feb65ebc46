// Where model files lie and how they are called.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "io/yaml.hpp"

namespace slimneck::io {

/// "yolov5" and "n" make "yolov5n"; everything else gets a dash: "slimneck-n".
std::string scaled_name(std::string_view stem, std::string_view scale);

/// The document that the key `base` names, from the same folder; null when there is no such key.
Yaml read_base(const YamlNode& document, const std::filesystem::path& folder);

}  // namespace slimneck::io
