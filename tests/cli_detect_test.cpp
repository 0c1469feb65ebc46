// detect as YOLOv5's users know it: what --source names, what a run leaves, and pictures that are broken.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "slimneck/image.hpp"
#include "workplace.hpp"

#ifdef SLIMNECK_CLI

using namespace slimneck;
using slimneck::test::check_failed;
using slimneck::test::contains;
using slimneck::test::Outcome;

namespace {

namespace fs = std::filesystem;

const std::string detect = "detect --cfg detector.yaml --init seed=1 --img 64 --conf 0 --max-det 3 ";

class Workplace : public test::Workplace {
 public:
  Workplace() : test::Workplace("cli_detect") {
    fs::create_directories(*this / "photos/inner");
    for (const char* name : {"photos/b.png", "photos/a.jpg", "photos/inner/c.png", "d.png"})
      write_image(*this / name, Image(90, 60, {40, 90, 160}));
    text("photos/notes.md", "no picture");
  }

  /// The sources of `detect --source SOURCE`, in order.
  [[nodiscard]] std::vector<std::string> sources(const std::string& source) const {
    const Outcome outcome = run(detect + "--nosave --json --source " + source);
    std::vector<std::string> found;
    CHECK(outcome.code == 0);
    if (outcome.code != 0) return found;
    for (const auto& picture : nlohmann::json::parse(outcome.out)) found.push_back(picture["source"]);
    return found;
  }
};

using Names = std::vector<std::string>;

/// The numbers of the lines of a text.
std::vector<std::vector<double>> numbers(const std::string& text) {
  std::vector<std::vector<double>> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    lines.emplace_back();
    for (double number = 0; words >> number;) lines.back().push_back(number);
  }
  return lines;
}

}  // namespace

TEST_SUITE_BEGIN("cli_detect");

TEST_CASE("sources: files, folders, patterns, lists, several of them") {
  const Workplace place;
  CHECK(place.sources("photos") == Names{"photos/a.jpg", "photos/b.png"});
  CHECK(place.sources(". photos/b.png") == Names{"d.png", "photos/b.png"});
  CHECK(place.sources("'photos/*.png'") == Names{"photos/b.png"});
  CHECK(place.sources("'p?oto[r-t]/[!b]*.jpg'") == Names{"photos/a.jpg"});
  CHECK(place.sources("'*/*/*c*'") == Names{"photos/inner/c.png"});
  place.text("photos/list.txt",
             "\xef\xbb\xbf"
             "b.png\r\n\n  \nd.png\n");
  CHECK(place.sources("photos/list.txt") == Names{"photos/b.png", "d.png"});
  write_image(place / "what[1].png", Image(20, 20));
  CHECK(place.sources("'what[1].png'") == Names{"what[1].png"});  // a file of that name comes before a pattern

  const std::string run = detect + "--nosave --source ";
  check_failed(place.run(run + "photos nowhere"), 1, "nowhere: there is no such file");
  check_failed(place.run(run + "'*.gif'"), 1, "*.gif: there are no pictures");
  check_failed(place.run(run + "http://example.org/a.jpg"), 1, "nothing is fetched");
  place.text("none.txt", "\n");
  check_failed(place.run(run + "none.txt"), 1, "none.txt: there are no pictures");
}

TEST_CASE("what a run leaves: labels, table, crops") {
  const Workplace place;
  const Outcome outcome =
      place.run(detect + "--source photos d.png --save-txt --save-conf --save-csv --save-crop --json");
  REQUIRE(outcome.code == 0);
  const auto found = nlohmann::json::parse(outcome.out);
  const std::string run = "runs/detect/exp/";
  std::size_t crops = 0;
  for (const auto& at : fs::recursive_directory_iterator(place / (run + "crops"))) crops += at.is_regular_file();
  CHECK(crops == 9);
  for (const char* name : {"a.jpg", "b.png", "d.png"}) CHECK(fs::exists(place / (run + name)));
  const std::string table = place.read(run + "predictions.csv");
  CHECK(table.starts_with("Image Name,Prediction,Confidence\na.jpg,class"));
  CHECK(std::count(table.begin(), table.end(), '\n') == 10);

  const auto labels = numbers(place.read(run + "labels/d.txt"));
  const auto& detections = found[2]["detections"];
  REQUIRE(labels.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& box = detections[2 - i];  // the best one is last
    REQUIRE(labels[i].size() == 6);
    const double x1 = box["xyxy"][0], x2 = box["xyxy"][2], y1 = box["xyxy"][1], y2 = box["xyxy"][3];
    // Six digits are written.
    const auto close = [](double a, double b) { return std::abs(a - b) <= 1e-5 * std::max(1.0, std::abs(b)); };
    CHECK(labels[i][0] == box["class"]);
    CHECK(close(labels[i][1], (x1 + x2) / 2 / 90));
    CHECK(close(labels[i][2], (y1 + y2) / 2 / 60));
    CHECK(close(labels[i][3], (x2 - x1) / 90));
    CHECK(close(labels[i][4], (y2 - y1) / 60));
    CHECK(close(labels[i][5], box["conf"]));
    const std::string crop = run + "crops/" + box["name"].get<std::string>();
    CHECK(fs::exists(place / crop));
  }

  CHECK(place.run(detect + "--source d.png --save-txt --save-format 1 --nosave").code == 0);
  const auto corners = numbers(place.read("runs/detect/exp2/labels/d.txt"));
  REQUIRE(corners.size() == 3);
  CHECK(corners[2].size() == 5);
  CHECK(std::abs(corners[2][3] - detections[0]["xyxy"][2].get<double>()) <= 1e-3);  // six digits of up to 90
  CHECK_FALSE(fs::exists(place / "runs/detect/exp2/d.png"));
  check_failed(place.run(detect + "--source d.png --save-conf"), 2, "--save-txt");
}

TEST_CASE("how boxes are drawn") {
  const Workplace place;
  const auto drawn = [&](const std::string& options) {
    CHECK(place.run(detect + "--source d.png --exist-ok " + options).code == 0);
    return read_image(place / "runs/detect/exp/d.png").rgb;
  };
  const auto usual = drawn("");
  CHECK(drawn("") == usual);
  CHECK(drawn("--hide-labels") != usual);
  CHECK(drawn("--hide-conf") != usual);
  CHECK(drawn("--hide-conf") != drawn("--hide-labels"));
  CHECK(drawn("--line-thickness 7") != usual);
}

TEST_CASE("broken pictures are named and skipped, and the exit code says so") {
  const Workplace place;
  place.text("photos/aa.png", "\x89PNG\r\n\x1a\nnothing");
  const Outcome outcome = place.run(detect + "--source photos");
  CHECK(outcome.code == 1);
  CHECK(contains(outcome.out, "image 1/3 photos/a.jpg"));
  CHECK(contains(outcome.out, "image 3/3 photos/b.png"));
  CHECK(contains(outcome.out, "Results saved to runs/detect/exp\n"));
  CHECK(outcome.err == "skipped: photos/aa.png: PNG: truncated: no IEND\nerror: 1 of 3 pictures could not be read\n");
  CHECK(fs::exists(place / "runs/detect/exp/b.png"));
  // Nothing was saved: there is no folder.
  check_failed(place.run(detect + "--source photos/aa.png"), 1, "photos/aa.png: PNG");
  CHECK_FALSE(fs::exists(place / "runs/detect/exp2"));
}

TEST_SUITE_END();

#endif
