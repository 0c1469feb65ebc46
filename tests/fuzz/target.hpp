// What the fuzz targets share. A target gives bytes to parsers: they may refuse them with an Error and nothing else,
// and what they accept must hold. Everything else (a crash, a sanitizer's report, another exception, much memory or
// time) is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "slimneck/error.hpp"

/// What libFuzzer and replay.cpp call, once for each input.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace slimneck::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline std::vector<std::byte> bytes_of(std::string_view text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

/// Ends the program when what must hold does not.
inline void require(bool holds) {
  if (!holds) std::abort();
}

/// Whether `parse` took its input.
template <class Parse>
bool accepts(Parse parse) {
  try {
    parse();
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace slimneck::fuzz
