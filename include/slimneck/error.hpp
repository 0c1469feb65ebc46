// Errors. The library never prints, exits or aborts: it throws one of these, while building, loading and compiling.
// A message says where (node, file:line:column), what came, and what was wanted.
#pragma once

#include <stdexcept>
#include <string>

#include "slimneck/export.hpp"

namespace slimneck {

/// Base of everything that slimneck throws on purpose.
class SLIMNECK_EXPORT Error : public std::runtime_error {
 public:
  /// With the text that what() gives.
  explicit Error(const std::string& message) : std::runtime_error(message) {}
};

/// Shapes, channel counts, attributes or sizes that do not fit together.
class SLIMNECK_EXPORT ShapeError : public Error {
 public:
  using Error::Error;  ///< with the text that what() gives
};

/// Content of a file (model, weights, picture) that is not what its format demands.
class SLIMNECK_EXPORT FormatError : public Error {
 public:
  using Error::Error;  ///< with the text that what() gives
};

/// The operating system refused to open, read or write something.
class SLIMNECK_EXPORT IoError : public Error {
 public:
  using Error::Error;  ///< with the text that what() gives
};

/// A device or instruction set that this machine does not have, or that failed.
class SLIMNECK_EXPORT DeviceError : public Error {
 public:
  using Error::Error;  ///< with the text that what() gives
};

}  // namespace slimneck
