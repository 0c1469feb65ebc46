#include "io/yaml.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <sstream>

#include "io/files.hpp"
#include "slimneck/error.hpp"

namespace slimneck::io {

namespace {

constexpr std::size_t max_nodes = 100000;
constexpr int max_depth = 64;

[[noreturn]] void fail_at(const std::string& file, int line, int column, const std::string& cause) {
  throw FormatError(file + ":" + std::to_string(line) + ":" + std::to_string(column) + ": " + cause);
}

/// Length of the UTF-8 character that begins `text`; 0 when there is none (overlong forms and surrogates are none).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                             : (first & 0xF0) == 0xE0         ? 3
                             : first >= 0xF0 && first <= 0xF4 ? 4
                                                              : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xC0) != 0x80) return 0;
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F) || (first == 0xF0 && byte(1) < 0x90) ||
      (first == 0xF4 && byte(1) > 0x8F))
    return 0;
  return length;
}

/// yaml-cpp takes any bytes, and ends silently at a byte 4.
void check_characters(std::string_view text, const std::string& file) {
  int line = 1, column = 1;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text.substr(i));
    if (length == 0) fail_at(file, line, column, "the file is not UTF-8 text");
    const auto c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F)
      fail_at(file, line, column, "control character " + std::to_string(c));
    i += length;
    ++column;
    if (c == '\n') {
      ++line;
      column = 1;
    }
  }
}

/// Builds the tree and keeps it within bounds while it grows.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::shared_ptr<const std::string> file) : file_(std::move(file)) {}

  [[nodiscard]] Yaml root() const { return root_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) fail(mark, "a second document begins; a file holds one");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    finish(start(YamlNode::Kind::null, mark), anchor, mark);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_tag(mark, tag);
    auto node = start(YamlNode::Kind::scalar, mark);
    node->text = value;
    finish(node, anchor, mark);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto at = anchors_.find(anchor);
    if (at == anchors_.end()) fail(mark, "an alias inside of what it stands for");
    place(at->second, at->second->nodes, mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::sequence, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::map, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    std::shared_ptr<YamlNode> node;
    YAML::anchor_t anchor;
    YAML::Mark mark;
    Yaml key;  ///< of a map, while its value is awaited
    std::set<std::string_view> keys;
  };

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& cause) const {
    fail_at(*file_, mark.line + 1, mark.column + 1, cause);
  }

  // Plain and quoted nodes have the tags "?" and "!".
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (!tag.empty() && tag != "?" && tag != "!") fail(mark, "tag " + in_quotes(tag) + "; tags are not read");
  }

  std::shared_ptr<YamlNode> start(YamlNode::Kind kind, const YAML::Mark& mark) {
    auto node = std::make_shared<YamlNode>();
    node->kind = kind;
    node->file = file_;
    node->line = mark.line + 1;
    node->column = mark.column + 1;
    return node;
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    refuse_tag(mark, tag);
    if (stack_.size() >= max_depth) fail(mark, "more than " + std::to_string(max_depth) + " levels of nesting");
    stack_.push_back({start(kind, mark), anchor, mark, nullptr, {}});
  }

  void close() {
    const Frame frame = std::move(stack_.back());
    stack_.pop_back();
    finish(frame.node, frame.anchor, frame.mark);
  }

  void finish(const Yaml& node, YAML::anchor_t anchor, const YAML::Mark& mark) {
    if (anchor != 0) anchors_[anchor] = node;
    place(node, 1, mark);
  }

  /// Gives a complete node, which adds `count` to the document, to the one that is open.
  void place(const Yaml& node, std::size_t count, const YAML::Mark& mark) {
    total_ += count;
    if (total_ > max_nodes) fail(mark, "more than " + std::to_string(max_nodes) + " values, aliases written out");
    if (stack_.empty()) {
      root_ = node;
      return;
    }
    Frame& frame = stack_.back();
    YamlNode& parent = *frame.node;
    if (static_cast<int>(stack_.size()) + node->height > max_depth + 1)
      fail(mark, "more than " + std::to_string(max_depth) + " levels of nesting");
    parent.nodes += node->nodes;
    parent.height = std::max(parent.height, node->height + 1);
    if (parent.kind == YamlNode::Kind::sequence) {
      parent.items.push_back(node);
    } else if (!frame.key) {
      if (node->kind != YamlNode::Kind::scalar) fail(mark, "a key must be a plain word, not " + node->describe());
      frame.key = node;
      if (!frame.keys.insert(node->text).second) fail(mark, "key " + in_quotes(node->text) + " occurs twice");
    } else {
      parent.entries.emplace_back(std::move(frame.key), node);
      frame.key = nullptr;
    }
  }

  std::shared_ptr<const std::string> file_;
  std::vector<Frame> stack_;
  std::map<YAML::anchor_t, Yaml> anchors_;
  Yaml root_;
  std::size_t total_ = 0;
  int documents_ = 0;
};

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

const Yaml* YamlNode::find(std::string_view key) const {
  const auto at =
      std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.first->text == key; });
  return at == entries.end() ? nullptr : &at->second;
}

std::string YamlNode::describe() const {
  switch (kind) {
    case Kind::null: return "nothing";
    case Kind::scalar: return in_quotes(text);
    case Kind::sequence: return "a list of " + std::to_string(items.size());
    case Kind::map: return "a map";
  }
  return {};
}

void YamlNode::fail(const std::string& cause) const { fail_at(*file, line, column, cause); }

Yaml parse_yaml(std::string_view text, std::string_view file_name) {
  const auto file = std::make_shared<const std::string>(file_name);
  if (text.size() > max_yaml_bytes)
    fail_at(*file, 1, 1,
            "the file has " + std::to_string(text.size()) + " bytes; at most " + std::to_string(max_yaml_bytes) +
                " are read");
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  check_characters(text, *file);
  TreeBuilder builder(file);
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::ParserException& problem) {
    fail_at(*file, std::max(problem.mark.line, 0) + 1, std::max(problem.mark.column, 0) + 1, problem.msg);
  }
  if (!builder.root()) fail_at(*file, 1, 1, "the file is empty");
  return builder.root();
}

bool to_integer(const YamlNode& node, long long& value) {
  if (node.kind != YamlNode::Kind::scalar) return false;
  std::string_view text = node.text;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || (text[0] != '-' && (text[0] < '0' || text[0] > '9'))) return false;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size();
}

bool to_real(const YamlNode& node, double& value) {
  if (node.kind != YamlNode::Kind::scalar) return false;
  std::string_view text = node.text;
  if (text.starts_with('+')) text.remove_prefix(1);
  // Words like nan and inf are no numbers here.
  if (text.empty() || text.find_first_not_of("0123456789.eE+-") != std::string_view::npos) return false;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

std::string suggestion(std::string_view name, const std::vector<std::string>& candidates) {
  if (name.size() > 64) return {};
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance <= std::max<std::size_t>(2, name.size() / 3)) near.emplace_back(distance, candidate);
  }
  if (near.empty()) return {};
  std::sort(near.begin(), near.end());
  near.resize(std::min<std::size_t>(near.size(), 3));
  std::string text = "; did you mean ";
  for (std::size_t i = 0; i < near.size(); ++i)
    text += (i == 0 ? "" : i + 1 == near.size() ? " or " : ", ") + in_quotes(near[i].second);
  return text + "?";
}

}  // namespace slimneck::io
