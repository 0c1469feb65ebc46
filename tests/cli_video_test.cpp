// detect on videos, standard input and standard output, and what it does when they end or fail.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "shared_data.hpp"
#include "slimneck/image.hpp"
#include "slimneck/video.hpp"
#include "workplace.hpp"

#ifdef SLIMNECK_CLI

using namespace slimneck;
using nlohmann::json;
using slimneck::test::check_failed;
using slimneck::test::contains;
using slimneck::test::Outcome;

namespace {

namespace fs = std::filesystem;

constexpr index_t frame_count = 5;
const std::string model = "detect --cfg detector.yaml --init seed=1 --img 64 ";
const std::string detect = model + "--conf 0 --max-det 3 ";

/// Frame i of the clip, from 1.
Image frame(index_t i) {
  const auto level = static_cast<std::uint8_t>(40 * i);
  return {90, 60, {level, level, level}};
}

class Workplace : public test::Workplace {
 public:
  Workplace() : test::Workplace("cli_video") {
    std::string clip;
    VideoWriter writer(
        [&](std::span<const std::byte> bytes) {
          clip.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        },
        {.width = 90, .height = 60, .chroma = "444", .rate = "30:1", .interlacing = "p"});
    for (index_t i = 1; i <= frame_count; ++i) writer.write(frame(i));
    text("clip.y4m", clip);
    text("cut.y4m", clip.substr(0, clip.size() - 2 * 90 * 60 * 3));  // ends within the fourth frame
    write_image(*this / "d.png", Image(90, 60, {40, 90, 160}));
  }

  /// The frames of a video, which must be whole.
  [[nodiscard]] std::vector<Image> frames(const std::string& name) const {
    VideoReader reader(*this / name);
    std::vector<Image> all;
    while (std::optional<Image> image = reader.next()) all.push_back(std::move(*image));
    return all;
  }
};

/// Which frame of the clip it is; luma is rounded once on each way.
index_t number_of(const Image& image) {
  const index_t level = image.rgb.front();
  return std::abs(level - (level + 20) / 40 * 40) <= 2 ? (level + 20) / 40 : 0;
}

/// Where in `text` each part begins, one after another.
bool in_order(const std::string& text, const std::vector<std::string>& parts) {
  std::size_t at = 0;
  for (const std::string& part : parts)
    if ((at = text.find(part, at)) == std::string::npos) return false;
  return true;
}

}  // namespace

TEST_SUITE_BEGIN("cli_video");

TEST_CASE("a video leaves its frames, labels and rows, and pictures beside it stay what they are") {
  const Workplace place;
  fs::create_directory(place / "seen");
  fs::copy(place / "clip.y4m", place / "seen/b.y4m");
  fs::copy(place / "d.png", place / "seen/a.png");
  const Outcome outcome = place.run(detect + "--source seen --save-txt --save-csv --save-crop");
  CHECK(outcome.code == 0);
  CHECK(outcome.err.empty());
  CHECK(in_order(outcome.out, {"image 1/2 seen/a.png: 48x64 3 class", "video 2/2 (1/5) seen/b.y4m: 48x64 3 class",
                               "video 2/2 (5/5) seen/b.y4m: 48x64", "Speed: ", "6 images in "}));
  const std::string run = "runs/detect/exp/";
  CHECK(place.frames(run + "b.y4m").size() == frame_count);
  const VideoFormat format = VideoReader(place / (run + "b.y4m")).format();
  CHECK(format.chroma == "444");
  CHECK(format.rate == "30:1");
  CHECK(fs::exists(place / (run + "a.png")));
  for (const char* label : {"a", "b_1", "b_2", "b_3", "b_4", "b_5"})
    CHECK(fs::exists(place / (run + "labels/" + label + ".txt")));
  const std::string table = place.read(run + "predictions.csv");
  CHECK(in_order(table, {"\na.png,class", "\nb_1.y4m,class", "\nb_5.y4m,class"}));
  CHECK(std::count(table.begin(), table.end(), '\n') == 1 + 6 * 3);
  std::size_t crops = 0;
  for (const auto& at : fs::recursive_directory_iterator(place / (run + "crops"))) crops += at.is_regular_file();
  CHECK(crops == 6 * 3);

  const json items = json::parse(place.run(detect + "--source seen --nosave --json").out);
  REQUIRE(items.size() == 6);
  CHECK_FALSE(items[0].contains("frame"));
  for (std::size_t i = 1; i < 6; ++i) {
    CHECK(items[i]["source"] == "seen/b.y4m");
    CHECK(items[i]["frame"] == i);
    CHECK(items[i]["width"] == 90);
    CHECK(items[i]["detections"].size() == 3);
    for (const char* key : {"decode", "read", "pre", "inference", "nms"}) CHECK(items[i]["ms"][key] >= 0);
  }
}

TEST_CASE("standard input: a picture or a video, by its content") {
  const Workplace place;
  const Outcome picture = place.run(detect + "--source - --save-txt <d.png");
  CHECK(picture.code == 0);
  CHECK(contains(picture.out, "image 1/1 -: 48x64 3 class"));
  CHECK(fs::exists(place / "runs/detect/exp/stdin.jpg"));
  CHECK(fs::exists(place / "runs/detect/exp/labels/stdin.txt"));
  const auto found = [&](const std::string& source) {
    return json::parse(place.run(detect + "--nosave --json --source " + source).out)[0]["detections"];
  };
  CHECK(found("- <d.png") == found("d.png"));

  const Outcome video =
      place.shell("cat clip.y4m | '" + std::string(test::program_file) + "' " + detect + "--source -");
  CHECK(video.code == 0);
  CHECK(contains(video.out, "video 1/1 (5) -: 48x64"));
  CHECK(place.run(detect + "--source clip.y4m").code == 0);
  CHECK(place.read("runs/detect/exp2/stdin.y4m") == place.read("runs/detect/exp3/clip.y4m"));

  const std::string run = detect + "--nosave --source - ";
  check_failed(place.run(run + "</dev/null"), 1, "standard input: empty");
  check_failed(place.run(run + "<detector.yaml"), 1, "standard input: picture format not supported");
  check_failed(place.run(run + "<&-"), 1, "standard input: Bad file descriptor");
  check_failed(place.run(run + "- <d.png"), 2, "standard input can be read once");
}

TEST_CASE("standard output: the annotated video and nothing else") {
  const Workplace place;
  CHECK(place.run(detect + "--source clip.y4m").code == 0);
  const Outcome piped = place.run(detect + "--source - --output - --name none <clip.y4m");
  CHECK(piped.code == 0);
  CHECK(piped.out == place.read("runs/detect/exp/clip.y4m"));
  CHECK(in_order(piped.err, {"video 1/1 (1) -: ", "video 1/1 (5) -: ", "Speed: "}));
  CHECK_FALSE(fs::exists(place / "runs/detect/none"));

  // Nothing is drawn: the frames are those that came, in their order.
  CHECK(place.run(model + "--conf 1 --source clip.y4m --output plain.y4m").code == 0);
  const std::vector<Image> plain = place.frames("plain.y4m");
  REQUIRE(plain.size() == frame_count);
  for (index_t i = 1; i <= frame_count; ++i) CHECK(number_of(plain[static_cast<std::size_t>(i - 1)]) == i);

  // Pictures of one size are a video, too.
  write_image(place / "small.png", Image(30, 20));
  const Outcome slides = place.run(detect + "--source d.png small.png d.png --output slides.y4m");
  CHECK(slides.code == 1);
  CHECK(contains(slides.out, "Results saved to slides.y4m\n"));
  CHECK(slides.err ==
        "skipped: small.png: 30x20 pixels; the video has 90x60\nerror: 1 of 3 pictures could not be read\n");
  CHECK(place.frames("slides.y4m").size() == 2);

  const std::string run = detect + "--source clip.y4m ";
  check_failed(place.run(run + "--output - --json"), 2, "standard output");
  check_failed(place.run(run + "--output a.mp4"), 2, ".y4m");
  check_failed(place.run(run + "--output ./clip.y4m"), 2, "overwritten");
  check_failed(place.run(run + "--output none/a.y4m"), 1, "none/a.y4m: cannot write");
  fs::copy(place / "d.png", place / "-");
  CHECK(place.run(detect + "--source ./- --output -").code == 0);  // that is no file
  const Outcome itself = place.run(detect + "--source runs/detect/exp/clip.y4m --exist-ok");
  CHECK(itself.code == 1);
  CHECK(itself.err == "error: runs/detect/exp/clip.y4m: would be overwritten while it is read\n");
  CHECK(place.frames("runs/detect/exp/clip.y4m").size() == frame_count);
}

TEST_CASE("with a stride the last of so many frames is looked at, and the video lasts as long") {
  const Workplace place;
  const Outcome outcome = place.run(model + "--conf 1 --source clip.y4m --vid-stride 2");
  CHECK(outcome.code == 0);
  CHECK(in_order(outcome.out, {"video 1/1 (1/2)", "video 1/1 (2/2)", "Speed: "}));
  const std::vector<Image> frames = place.frames("runs/detect/exp/clip.y4m");
  REQUIRE(frames.size() == 2);
  CHECK(number_of(frames[0]) == 2);
  CHECK(number_of(frames[1]) == 4);
  CHECK(VideoReader(place / "runs/detect/exp/clip.y4m").format().rate == "15:1");
  check_failed(place.run(detect + "--source clip.y4m --vid-stride 6"), 1, "clip.y4m: Y4M: fewer frames");
  check_failed(place.run(detect + "--source clip.y4m --vid-stride 0"), 2, "--vid-stride");
}

TEST_CASE("a video that ends within a frame: those before it are kept, and the frame is named") {
  const Workplace place;
  const std::string cause = "cut.y4m: Y4M: frame 4: truncated";
  const Outcome alone = place.run(detect + "--source cut.y4m --save-txt --save-csv");
  CHECK(alone.code == 1);
  CHECK(alone.err.starts_with("error: " + cause));
  CHECK(contains(alone.out, "Results saved to runs/detect/exp\n"));
  CHECK(place.frames("runs/detect/exp/cut.y4m").size() == 3);
  CHECK(fs::exists(place / "runs/detect/exp/labels/cut_3.txt"));
  CHECK(contains(place.read("runs/detect/exp/predictions.csv"), "\ncut_3.y4m,"));

  const Outcome first = place.run(detect + "--source cut.y4m d.png --json --nosave");
  CHECK(first.code == 1);
  CHECK(json::parse(first.out).size() == 4);
  CHECK(contains(first.err, "ends early: " + cause));
  CHECK(contains(first.err, "error: 1 of 2 pictures and videos could not be read\n"));

  const Outcome piped = place.run(detect + "--source - --output - <cut.y4m");
  CHECK(piped.code == 1);
  CHECK(contains(piped.err, "error: standard input: Y4M: frame 4: truncated"));
  place.text("out.y4m", piped.out);
  CHECK(place.frames("out.y4m").size() == 3);

  place.text("head.y4m", "YUV4MPEG2 W90 H60\n");
  check_failed(place.run(detect + "--source head.y4m"), 1, "head.y4m: Y4M: no frames");
}

TEST_CASE("pictures keep their order, however far ahead they are decoded, and broken ones do not matter to others") {
  const Workplace place;
  fs::create_directory(place / "many");
  std::vector<std::string> lines;
  for (int i = 10; i < 40; ++i) {
    const std::string name = "many/" + std::to_string(i) + ".png";
    const bool broken = i % 10 == 5;
    if (broken)
      place.text(name, "\x89PNG\r\n\x1a\nnothing");
    else
      write_image(place / name, Image(90 + i % 3 * 400, 60 + i % 7 * 100));
    if (!broken) lines.push_back("image " + std::to_string(i - 9) + "/30 " + name + ": ");
  }
  const Outcome outcome = place.run(detect + "--source many");
  CHECK(outcome.code == 1);
  CHECK(in_order(outcome.out, lines));
  CHECK(in_order(outcome.err, {"skipped: many/15.png: PNG", "skipped: many/25.png: PNG", "skipped: many/35.png: PNG",
                               "error: 3 of 30 pictures could not be read\n"}));
  for (int i = 10; i < 40; ++i)
    CHECK(fs::exists(place / ("runs/detect/exp/" + std::to_string(i) + ".png")) == (i % 10 != 5));
}

TEST_CASE("where output goes wrong the program ends at once, and files are whole") {
  const Workplace place;
  const std::string full = "error: standard output: No space left on device\n";
  for (const std::string options : {"--source clip.y4m d.png", "--source d.png --json"}) {
    CAPTURE(options);
    CHECK(place.run(detect + options + " >/dev/full").err.ends_with(full));
    const Outcome closed = place.run(detect + options + " >&-");
    CHECK(closed.code == 1);
    CHECK(closed.err.ends_with("error: standard output: Bad file descriptor\n"));
  }
  const Outcome video = place.run(detect + "--source clip.y4m --output - >/dev/full");
  CHECK(video.code == 1);
  CHECK(video.err.ends_with(full));
  if (fs::exists(place / "runs/detect"))
    for (const auto& at : fs::recursive_directory_iterator(place / "runs/detect")) {
      if (at.path().extension() == ".png") CHECK_NOTHROW(static_cast<void>(read_image(at.path())));
      if (at.path().extension() == ".y4m") CHECK_NOTHROW(static_cast<void>(place.frames(at.path().string())));
    }
  // A silent source does not hold up the end.
  CHECK(place
            .shell("mkfifo pipe; exec 3<>pipe; head -c 40000 clip.y4m >&3; '" + std::string(test::program_file) + "' " +
                   detect + "--source - <pipe >/dev/full")
            .err == full);
}

TEST_CASE("a folder in which nothing may be made") {
  const Workplace place;
  fs::create_directory(place / "locked");
  fs::permissions(place / "locked",
                  fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec);
  const std::string other = geteuid() == 0 ? "setpriv --reuid 65534 --regid 65534 --clear-groups" : "";
  if (!other.empty() && place.shell(other + " test -x '" + test::program_file + "'").code != 0) {
    MESSAGE("skipped: no other user can run the program");
    return;
  }
  check_failed(place.run(detect + "--source d.png --project locked/runs", other), 1, "locked/runs/exp: cannot be made");
  check_failed(place.run(detect + "--source d.png --output locked/a.y4m", other), 1, "locked/a.y4m: cannot write");
}

TEST_CASE("Ctrl-C in a video without end: the frames so far are whole") {
  const Workplace place;
  const Outcome outcome =
      place.shell("mkfifo pipe; exec 3<>pipe; '" + std::string(test::program_file) + "' " + detect +
                  "--source - --save-csv <pipe & program=$!; cat clip.y4m >&3; tries=0; "
                  "until [ \"$(grep -c stdin_5 runs/detect/exp/predictions.csv 2>&-)\" = 3 ] || [ $tries = 300 ]; do "
                  "tries=$((tries + 1)); sleep 0.1; done; kill -INT $program; wait $program");
  CHECK(outcome.code == 130);
  CHECK(place.frames("runs/detect/exp/stdin.y4m").size() >= 4);
}

TEST_CASE("a terminal has one line that changes") {
  const Workplace place;
  if (place.shell("script -qec true none").code != 0) {
    MESSAGE("skipped: no program 'script' that can make a terminal");
    return;
  }
  const auto terminal = [&](const std::string& arguments) {
    return place.shell("TERM=xterm script -qec \"'" + std::string(test::program_file) + "' " + arguments + "\" none");
  };
  const Outcome video = terminal(detect + "--nosave --source clip.y4m");
  CHECK(video.code == 0);
  CHECK(in_order(video.out, {"\r\033[K1 images, ", "\r\033[K5 images, ", "video 1/1 (5/5) clip.y4m: ", "\r\nSpeed: "}));
  const Outcome picture = terminal(detect + "--nosave --source d.png");
  CHECK(picture.out.starts_with("image 1/1 d.png: "));
  CHECK_FALSE(contains(picture.out, "\033[K"));
  const Outcome refused = terminal(detect + "--source clip.y4m --output -");
  CHECK(refused.code == 2);
  CHECK(refused.out.starts_with("error: --output -: standard output is a terminal"));
}

TEST_CASE("options of YOLOv5 that have no place here say why; class names come from a data.yaml") {
  const Workplace place;
  for (const char* option : {"--half", "--view-img", "--visualize", "--update", "--dnn"})
    check_failed(place.run(detect + "--source d.png " + option), 2, std::string(option) + ": ");
  check_failed(place.run(detect + "--source d.png --device 0"), 2, "--device");
  place.text("data.yaml", "train: a\nval: b\nnames: [cat, dog]\n");
  const Outcome named = place.run(detect + "--source d.png --nosave --device cpu --data data.yaml");
  CHECK(named.code == 0);
  CHECK((contains(named.out, " cat") || contains(named.out, " dog")));
  place.text("three.yaml", "train: a\nval: b\nnames: [cat, dog, cow]\n");
  check_failed(place.run(detect + "--source d.png --data three.yaml"), 1, "three.yaml: names 3 classes");
}

TEST_CASE("augmented detection looks elsewhere, and finds the people in front of the bus again") {
  const Workplace place;
  const auto found = [&](const std::string& options) { return json::parse(place.run(options).out)[0]["detections"]; };
  CHECK(found(detect + "--nosave --json --source d.png --augment") != found(detect + "--nosave --json --source d.png"));

  const auto bus = test::shared_data("data/reference/bus.jpg");
  const auto weights = test::shared_data("data/weights/yolov5n-v7.0.safetensors");
  if (!bus || !weights) {
    MESSAGE("skipped: there are neither bus.jpg nor trained weights");
    return;
  }
  const std::string run = "detect --cfg yolov5n --weights '" + weights->string() + "' --source '" + bus->string() +
                          "' --img 320 --nosave --json --classes 0 ";
  const json once = found(run), thrice = found(run + "--augment");
  CHECK(once.size() >= 3);
  using Box = std::array<double, 4>;
  const auto shared = [](const Box& a, const Box& b) {
    return std::max(std::min(a[2], b[2]) - std::max(a[0], b[0]), 0.0) *
           std::max(std::min(a[3], b[3]) - std::max(a[1], b[1]), 0.0);
  };
  for (const json& item : once) {
    const auto box = item["xyxy"].get<Box>();
    CHECK(std::any_of(thrice.begin(), thrice.end(),
                      [&](const json& other) { return shared(box, other["xyxy"].get<Box>()) > shared(box, box) / 2; }));
  }
}

TEST_SUITE_END();

#endif
