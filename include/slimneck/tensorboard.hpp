// A file of scalars that TensorBoard shows.
#pragma once

#include <filesystem>
#include <fstream>
#include <string_view>

#include "slimneck/export.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck {

/// An event file: records of scalars over steps, each with its checksums. It can be read while it grows.
class SLIMNECK_EXPORT EventFile {
 public:
  /// Begins folder/events.out.tfevents.SECONDS.HOST.PROCESS; `seconds` since 1970. Throws IoError when it cannot be
  /// written.
  EventFile(const std::filesystem::path& folder, double seconds);

  /// Adds a number. Throws IoError.
  void add(std::string_view tag, double value, index_t step, double seconds);
  /// Hands everything over to the system. Throws IoError.
  void flush();
  /// Where it lies.
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  void write(std::string_view event);

  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace slimneck
