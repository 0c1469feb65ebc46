// YAML as slimneck reads it: one bounded document of maps, lists and scalars, each with its place in the file.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slimneck::io {

struct YamlNode;
using Yaml = std::shared_ptr<const YamlNode>;

/// A node of a document. An alias is the node of its anchor.
struct YamlNode {
  enum class Kind { null, scalar, sequence, map } kind = Kind::null;
  std::shared_ptr<const std::string> file;     ///< name of the file, for messages
  int line = 1, column = 1;                    ///< counted from 1
  std::string text;                            ///< of a scalar
  std::vector<Yaml> items;                     ///< of a sequence
  std::vector<std::pair<Yaml, Yaml>> entries;  ///< of a map: scalar key, value
  std::size_t nodes = 1;                       ///< in this subtree, aliases written out
  int height = 1;                              ///< of this subtree

  /// The value of a map's key, or nullptr.
  [[nodiscard]] const Yaml* find(std::string_view key) const;
  /// "a list", "a map", "nothing" or the scalar in quotes.
  [[nodiscard]] std::string describe() const;
  /// FormatError "FILE:LINE:COLUMN: cause".
  [[noreturn]] void fail(const std::string& cause) const;
};

/// The document in `text`. Throws FormatError "FILE:LINE:COLUMN: cause" for what is no YAML, and for: more than 1 MiB,
/// more than 100000 nodes with aliases written out, more than 64 levels, a second document, tags, duplicate keys, keys
/// that are no scalars, aliases that contain themselves, control characters, and what is not UTF-8.
Yaml parse_yaml(std::string_view text, std::string_view file_name);

inline constexpr std::size_t max_yaml_bytes = std::size_t{1} << 20;

/// Scalars by YAML's rules; false when it is none.
bool to_integer(const YamlNode& node, long long& value);
bool to_real(const YamlNode& node, double& value);

/// "; did you mean 'GSConv' or 'DSConv'?", or "" when no candidate is near.
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace slimneck::io
