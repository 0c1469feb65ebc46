// What --source names: pictures, videos, folders of them, patterns, lists and standard input.
#pragma once

#include <string>
#include <vector>

namespace slimneck::cli {

/// The pictures and videos that the sources name, in order: a file is itself; a folder stands for those in it (by
/// extension, sorted, without those of inner folders); a text with * ? [ that is no file, for the files that match; and
/// a .txt file for those that its lines name, as they are or from the list's folder on. "-" stays what it is: standard
/// input. Throws IoError when a source does not exist or names nothing.
std::vector<std::string> find_pictures(const std::vector<std::string>& sources);

}  // namespace slimneck::cli
