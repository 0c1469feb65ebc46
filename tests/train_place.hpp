// A small data set and a small model to run trainings on, as users do.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "slimneck/image.hpp"
#include "workplace.hpp"

#ifdef SLIMNECK_CLI

namespace slimneck::test {

/// A data set of two classes: light squares and dark bars on grey.
class TrainPlace : public Workplace {
 public:
  TrainPlace() : Workplace("cli_train") {
    text("data.yaml", "path: set\ntrain: images/train\nval: images/val\nnames: [square, bar]\n");
    for (int i = 0; i < 8; ++i) picture("train", i);
    for (int i = 8; i < 12; ++i) picture("val", i);
  }

  void picture(const std::string& split, int number) const {
    const bool square = number % 2 == 0;
    const index_t w = square ? 24 : 40, h = square ? 24 : 12, left = 2 + number * 5 % 20, top = 3 + number * 7 % 30;
    Image image(64, 64, {120, 120, 120});
    for (index_t y = top; y < top + h; ++y)
      for (index_t x = left; x < left + w; ++x)
        for (index_t c = 0; c < 3; ++c) image.rgb[static_cast<std::size_t>((y * 64 + x) * 3 + c)] = square ? 230 : 20;
    const std::string name = std::to_string(number);
    for (const char* kind : {"images", "labels"})
      std::filesystem::create_directories(*this / ("set/" + (kind + ("/" + split))));
    write_image(*this / ("set/images/" + split + "/" + name + ".png"), image);
    std::ostringstream label;
    label << (square ? 0 : 1) << ' ' << static_cast<double>(left) / 64 + static_cast<double>(w) / 128 << ' '
          << static_cast<double>(top) / 64 + static_cast<double>(h) / 128 << ' ' << static_cast<double>(w) / 64 << ' '
          << static_cast<double>(h) / 64 << '\n';
    text("set/labels/" + split + "/" + name + ".txt", label.str());
  }

  /// What every run here has in common.
  static std::string line(const std::string& more) {
    return "train --data data.yaml --cfg detector.yaml --img 64 --batch 4 --workers 0 --threads 1 --noautoanchor " +
           more;
  }
  [[nodiscard]] Outcome train(const std::string& more, const std::string& before = "") const {
    return run(line(more), before);
  }
  /// Runs a script in which $train is the program with that line, and $run the folder of the run of this name.
  [[nodiscard]] Outcome script(const std::string& name, const std::string& more, const std::string& lines) const {
    text("script.sh", "run=runs/train/" + name + "\ntrain() { exec '" + program_file + "' " +
                          line(more + " --name " + name) + " >$run.out 2>$run.err; }\nmkdir -p runs/train\n" + lines);
    return shell("sh script.sh");
  }

  [[nodiscard]] bool has(const std::string& name) const { return std::filesystem::exists(*this / name); }
};

/// Waits for the first checkpoint of a process in the background, $pid.
inline constexpr const char* wait_for_checkpoint =
    "train & pid=$!\n"
    "while [ ! -e $run/weights/state.1.json ] && kill -0 $pid; do sleep 0.01; done\n";

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

}  // namespace slimneck::test

#endif
