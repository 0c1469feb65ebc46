// hyp.yaml: what YOLOv5's users have, and what is refused.
#include "slimneck/hyp.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "slimneck/error.hpp"

using namespace slimneck;

TEST_SUITE_BEGIN("hyp");

namespace {

/// The message with which `text` is refused, "" when it is not.
std::string refusal(const std::string& text) {
  try {
    static_cast<void>(parse_hyp(text, "h.yaml"));
    return {};
  } catch (const FormatError& error) {
    return error.what();
  }
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("hyperparameters are read back to the last bit, as PyYAML's users write numbers") {
  Hyp hyp;
  CHECK(parse_hyp(write_hyp(hyp), "h") == hyp);
  hyp.lr0 = 0.1 + 0.2;
  hyp.weight_decay = 1.0 / 3;
  hyp.fl_gamma = 5e-300;
  hyp.anchors = 3;
  CHECK(parse_hyp(write_hyp(hyp), "h") == hyp);
  const std::string text = write_hyp(Hyp{});
  CHECK(parse_hyp(replaced(text, "lr0: 0.01", "lr0: 1e-2  # initial"), "h") == Hyp{});
  CHECK(parse_hyp("\xEF\xBB\xBF" + replaced(text, "mosaic: 1", "mosaic: 1.0"), "h") == Hyp{});
}

TEST_CASE("hyperparameters that a program sets have the ranges of files") {
  CHECK_NOTHROW(check_hyp({}));
  const auto refused = [](double Hyp::*field, double value) {
    Hyp hyp;
    hyp.*field = value;
    try {
      check_hyp(hyp);
    } catch (const ShapeError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(refused(&Hyp::hsv_h, 1.5) == "hyperparameters: hsv_h is 1.5; wanted a number in 0..1");
  CHECK(refused(&Hyp::scale, -0.5) == "hyperparameters: scale is -0.5; wanted a number in 0..0.99");
  CHECK(refused(&Hyp::copy_paste, 0.5) == "hyperparameters: copy_paste is 0.5; wanted 0");
  CHECK(refused(&Hyp::lr0, std::numeric_limits<double>::quiet_NaN()) ==
        "hyperparameters: lr0 is nan; wanted a number in 0..1e+06");
  CHECK(refused(&Hyp::box, std::numeric_limits<double>::infinity()).starts_with("hyperparameters: box is inf; "));
  CHECK(refused(&Hyp::lr0, 1e6).empty());
  Hyp hyp;
  hyp.anchors = 0;
  CHECK_THROWS_WITH_AS(check_hyp(hyp), "hyperparameters: anchors is 0; wanted a number in 1..32", ShapeError);
}

TEST_CASE("hyperparameters that are missing, unknown, repeated or out of range are refused by name") {
  const std::string text = write_hyp(Hyp{});
  CHECK(refusal(replaced(text, "lr0: 0.01\n", "")) == "h.yaml:1:1: hyperparameters are missing: lr0");
  CHECK(refusal(replaced(text, "lrf", "lfr")) ==
        "h.yaml:2:1: there is no hyperparameter 'lfr'; did you mean 'lr0' or 'lrf'?");
  CHECK(refusal(text + "lr0: 0.1\n").find("lr0") != std::string::npos);
  CHECK(refusal(replaced(text, "lr0: 0.01", "lr0: .nan")) == "h.yaml:1:6: lr0 is '.nan'; wanted a number in 0..1e+06");
  CHECK(refusal(replaced(text, "mosaic: 1", "mosaic: 1.5")).find("wanted a number in 0..1") != std::string::npos);
  CHECK(refusal(replaced(text, "copy_paste: 0", "copy_paste: 0.1")).find("wanted 0") != std::string::npos);
  CHECK(refusal(text + "anchors: -3\n").find("anchors is '-3'") != std::string::npos);
  CHECK(refusal("[1, 2]").find("wanted a map") != std::string::npos);
  CHECK(refusal("") != "");
}

TEST_SUITE_END();
