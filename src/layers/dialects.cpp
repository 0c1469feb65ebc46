// The published dialects of the slim-neck modules, and the names of what they are chosen by.
#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "slimneck/layers.hpp"

namespace slimneck {

namespace {

using kernels::Act;
using kernels::Activation;

constexpr Activation silu{Act::silu, 0.01};
constexpr Activation mish{Act::mish, 0.01};

constexpr Dialect yolov5{.name = "yolov5",
                         .act = silu,
                         .shuffle = ShuffleKind::interleave,
                         .bottleneck_width_e = true,
                         .bottleneck_last_act = false,
                         .bottleneck_c_kernel = true,
                         .csp = Dialect::Csp::chain,
                         .gsconve_gelu = false,
                         .conv_dilation = true,
                         .gsconv_full_args = false};

constexpr Dialect y5{.name = "y5",
                     .act = mish,
                     .shuffle = ShuffleKind::deinterleave,
                     .bottleneck_width_e = true,
                     .bottleneck_last_act = false,
                     .bottleneck_c_kernel = true,
                     .csp = Dialect::Csp::chain,
                     .gsconve_gelu = false,
                     .conv_dilation = false,
                     .gsconv_full_args = false};

constexpr Dialect paper{.name = "paper",
                        .act = mish,
                        .shuffle = ShuffleKind::interleave,
                        .bottleneck_width_e = false,
                        .bottleneck_last_act = false,
                        .bottleneck_c_kernel = false,
                        .csp = Dialect::Csp::single,
                        .gsconve_gelu = false,
                        .conv_dilation = false,
                        .gsconv_full_args = false};

constexpr Dialect v4{.name = "v4",
                     .act = mish,
                     .shuffle = ShuffleKind::deinterleave,
                     .bottleneck_width_e = false,
                     .bottleneck_last_act = false,
                     .bottleneck_c_kernel = false,
                     .csp = Dialect::Csp::single,
                     .gsconve_gelu = false,
                     .conv_dilation = false,
                     .gsconv_full_args = false};

constexpr Dialect v8{.name = "v8",
                     .act = silu,
                     .shuffle = ShuffleKind::interleave,
                     .bottleneck_width_e = false,
                     .bottleneck_last_act = true,
                     .bottleneck_c_kernel = false,
                     .csp = Dialect::Csp::c2f,
                     .gsconve_gelu = true,
                     .conv_dilation = true,
                     .gsconv_full_args = true};

// yolov5 has no GS modules of its own; it builds them in y5's topology with its own activation and the interleave,
// which is what most ports do.
constexpr std::array dialects{yolov5, y5, paper, v4, v8};

struct ActName {
  Act act;
  std::string_view name;
};

constexpr std::array act_names{
    ActName{Act::none, "Identity"},
    ActName{Act::silu, "SiLU"},
    ActName{Act::mish, "Mish"},
    ActName{Act::relu, "ReLU"},
    ActName{Act::leaky_relu, "LeakyReLU"},
    ActName{Act::hardswish, "Hardswish"},
    ActName{Act::sigmoid, "Sigmoid"},
    ActName{Act::gelu, "GELU"},
};

std::string compact_lower(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (c != ' ' && c != '_') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// The slope in "0.1", "0.1,inplace=true" or "negativeslope=0.1"; nothing when it is none of these.
std::optional<double> leaky_slope(std::string_view args) {
  constexpr std::string_view key = "negativeslope=";
  if (args.starts_with(key)) args.remove_prefix(key.size());
  args = args.substr(0, args.find(','));
  double slope = 0;
  const auto [end, problem] = std::from_chars(args.data(), args.data() + args.size(), slope);
  if (problem != std::errc() || end != args.data() + args.size() || !std::isfinite(slope)) return std::nullopt;
  return slope;
}

}  // namespace

std::span<const Dialect> all_dialects() noexcept { return dialects; }

const Dialect* find_dialect(std::string_view name) noexcept {
  const auto at = std::find_if(dialects.begin(), dialects.end(), [&](const Dialect& d) { return d.name == name; });
  return at == dialects.end() ? nullptr : &*at;
}

std::string_view to_string(ShuffleKind kind) noexcept {
  return kind == ShuffleKind::interleave ? "interleave" : "deinterleave";
}

std::optional<ShuffleKind> find_shuffle(std::string_view name) noexcept {
  for (const ShuffleKind kind : {ShuffleKind::interleave, ShuffleKind::deinterleave})
    if (to_string(kind) == name) return kind;
  return std::nullopt;
}

std::vector<index_t> shuffle_source(index_t channels, ShuffleKind kind) {
  if (channels < 0 || channels % 2 != 0)
    throw ShapeError("a channel shuffle in two groups needs an even number of channels, not " +
                     std::to_string(channels));
  const index_t half = channels / 2;
  std::vector<index_t> source(static_cast<std::size_t>(channels));
  for (index_t j = 0; j < channels; ++j)
    source[static_cast<std::size_t>(j)] = kind == ShuffleKind::interleave ? j / 2 + (j % 2) * half
                                          : j < half                      ? 2 * j
                                                                          : 2 * (j - half) + 1;
  return source;
}

std::string to_string(const kernels::Activation& act) {
  const auto at = std::find_if(act_names.begin(), act_names.end(), [&](const ActName& a) { return a.act == act.kind; });
  std::string args;
  if (act.kind == Act::leaky_relu) {
    char digits[32];
    args.assign(digits, std::to_chars(digits, digits + sizeof digits, act.slope).ptr);
  }
  return "nn." + std::string(at->name) + "(" + args + ")";
}

std::optional<kernels::Activation> find_activation(std::string_view name) {
  std::string text = compact_lower(name);
  for (const std::string_view prefix : {"torch.", "nn."})
    if (text.starts_with(prefix)) text.erase(0, prefix.size());
  std::string args;
  if (const std::size_t open = text.find('('); open != std::string::npos) {
    if (text.back() != ')') return std::nullopt;
    args = text.substr(open + 1, text.size() - open - 2);
    text.erase(open);
  }
  const auto at =
      std::find_if(act_names.begin(), act_names.end(), [&](const ActName& a) { return compact_lower(a.name) == text; });
  if (at == act_names.end()) return std::nullopt;
  Activation act{at->act, 0.01};
  if (args.empty() || args == "inplace=true" || args == "inplace=false") return act;
  if (act.kind != Act::leaky_relu) return std::nullopt;
  const std::optional<double> slope = leaky_slope(args);
  if (!slope) return std::nullopt;
  act.slope = *slope;
  return act;
}

}  // namespace slimneck
