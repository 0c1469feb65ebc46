// The small texts of a training: label files, data.yaml and hyp.yaml. Which of them an input is, is told by what it
// holds: to give it to all three would take three times as long and show little more.
#include <optional>

#include "slimneck/data.hpp"
#include "slimneck/hyp.hpp"
#include "target.hpp"

using namespace slimneck;

namespace {

void check_labels(std::string_view text, index_t classes) {
  const LabelFile labels = parse_labels(text, "a.txt", classes);
  for (const BoxLabel& box : labels.boxes) {
    fuzz::require(box.cls >= 0 && (classes == 0 || box.cls < classes));
    for (const float part : {box.x, box.y, box.w, box.h}) fuzz::require(part >= 0 && part <= 1);
    fuzz::require(box.w > 0 && box.h > 0);
  }
  fuzz::require(!labels.unknown_class || !labels.problems.empty());
}

void check_data(std::string_view text) {
  fuzz::accepts([&] {
    const DataConfig config = parse_data(text, "data.yaml");
    fuzz::require(config.nc() > 0 && !config.sources(Split::train).empty() && !config.sources(Split::val).empty());
  });
}

/// What is written is read back.
void check_hyp(std::string_view text) {
  std::optional<Hyp> hyp;
  if (!fuzz::accepts([&] { hyp = parse_hyp(text, "hyp.yaml"); })) return;
  const std::string written = write_hyp(*hyp);
  fuzz::require(write_hyp(parse_hyp(written, "written.yaml")) == written);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  const auto holds = [text](std::string_view part) { return text.find(part) != std::string_view::npos; };
  if (!holds(":")) {
    check_labels(text, 0);
    check_labels(text, 3);
  } else if (holds("train") || holds("names")) {
    check_data(text);
  } else {
    check_hyp(text);
  }
  return 0;
}
