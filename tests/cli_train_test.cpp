// slimneck train as users start, stop and resume it: real processes on a tiny model and tiny pictures.
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "io/yaml.hpp"
#include "slimneck/hyp.hpp"
#include "slimneck/train.hpp"
#include "train_place.hpp"

#ifdef SLIMNECK_CLI

using namespace slimneck;
using slimneck::test::check_failed;
using slimneck::test::contains;
using slimneck::test::lines_of;
using slimneck::test::Outcome;
using slimneck::test::TrainPlace;
using slimneck::test::wait_for_checkpoint;

namespace {

namespace fs = std::filesystem;

/// The weights and the results of two runs are the same bytes.
void check_same_run(const TrainPlace& place, const std::string& a, const std::string& b) {
  for (const char* name : {"weights/last.safetensors", "weights/best.safetensors", "results.csv"}) {
    CAPTURE(name);
    const std::string first = place.read("runs/train/" + a + "/" + name);
    CHECK(!first.empty());
    CHECK(first == place.read("runs/train/" + b + "/" + name));
  }
}

/// A row of a label file: a box of that size in the middle.
std::string format_label(double w, double h) {
  return "0 0.5 0.5 " + std::to_string(w) + " " + std::to_string(h) + "\n";
}

}  // namespace

TEST_SUITE_BEGIN("cli_train");

TEST_CASE("a run leaves what YOLOv5's does") {
  const TrainPlace place;
  const Outcome done = place.train("--epochs 3 --save-period 2 --hyp hyp.yaml --cos-lr --freeze 1");
  CHECK(done.code == 1);  // there is no hyp.yaml, and no empty folder stays behind
  CHECK(!place.has("runs/train/exp"));
  Hyp hyp;
  hyp.lr0 = 0.02;
  place.text("hyp.yaml", write_hyp(hyp));
  const Outcome outcome = place.train("--epochs 3 --save-period 2 --hyp hyp.yaml --cos-lr --freeze 1");
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  for (const char* name : {"weights/last.safetensors",
                           "weights/best.safetensors",
                           "weights/epoch0.safetensors",
                           "weights/epoch2.safetensors",
                           "opt.yaml",
                           "hyp.yaml",
                           "results.csv",
                           "results.png",
                           "labels.jpg",
                           "labels_correlogram.jpg",
                           "train_batch0.jpg",
                           "train_batch1.jpg",
                           "train_batch2.jpg",
                           "val_batch0_labels.jpg",
                           "val_batch0_pred.jpg",
                           "confusion_matrix.png",
                           "F1_curve.png",
                           "P_curve.png",
                           "R_curve.png",
                           "PR_curve.png",
                           "metrics.json",
                           "report.html"}) {
    CAPTURE(name);
    CHECK(place.has("runs/train/exp/" + std::string(name)));
  }
  CHECK(!place.has("runs/train/exp/weights/epoch1.safetensors"));
  CHECK(parse_hyp(place.read("runs/train/exp/hyp.yaml"), "hyp.yaml") == hyp);
  const io::Yaml options = io::parse_yaml(place.read("runs/train/exp/opt.yaml"), "opt.yaml");
  for (const auto& option : {std::pair{"epochs", "3"},
                             {"cos_lr", "true"},
                             {"rect", "false"},
                             {"freeze", "1"},
                             {"data", "data.yaml"},
                             {"batch_size", "4"},
                             {"imgsz", "64"}}) {
    CAPTURE(option.first);
    REQUIRE(options->find(option.first) != nullptr);
    CHECK((*options->find(option.first))->text == option.second);
  }

  // The console: a head and a row for each epoch, the table of the validation, the folder.
  CHECK(contains(outcome.out,
                 "      Epoch        RSS   box_loss   obj_loss   cls_loss  Instances       Size\n"
                 "        0/2"));
  CHECK(contains(outcome.out,
                 "                 Class     Images  Instances          P          R      mAP50   mAP50-95\n"
                 "                   all          4          4"));
  CHECK(contains(outcome.out, "\n3 epochs completed in "));
  CHECK(contains(outcome.out, "\nResults saved to runs/train/exp\n"));
  CHECK(!contains(outcome.err, "\r"));

  // Weights that say what they are: no --cfg and no names are needed.
  const SafeTensors weights = read_weights(place / "runs/train/exp/weights/best.safetensors");
  CHECK(weights.metadata().at("names") == R"(["square","bar"])");
  CHECK(weights.metadata().at("stride") == "16");
  const Outcome found = place.run(
      "detect --weights runs/train/exp/weights/best.safetensors --img 64 --source set/images/val/8.png --nosave");
  CHECK_MESSAGE(found.code == 0, found.err);
  const Outcome judged =
      place.run("val --weights runs/train/exp/weights/best.safetensors --img 64 --data data.yaml --noplots");
  CHECK_MESSAGE(judged.code == 0, judged.err);
}

TEST_CASE("results.csv is YOLOv5's to the character") {
  const TrainPlace place;
  REQUIRE(place.train("--epochs 2 --noplots").code == 0);
  const std::vector<std::string> rows = lines_of(place.read("runs/train/exp/results.csv"));
  REQUIRE(rows.size() == 3);
  CHECK(rows[0] ==
        "               epoch,      train/box_loss,      train/obj_loss,      train/cls_loss,   metrics/precision,"
        "      metrics/recall,     metrics/mAP_0.5,metrics/mAP_0.5:0.95,        val/box_loss,        val/obj_loss,"
        "        val/cls_loss,               x/lr0,               x/lr1,               x/lr2");
  for (std::size_t i = 1; i < rows.size(); ++i) {
    CHECK(rows[i].size() == rows[0].size());
    CHECK(rows[i].starts_with("                   " + std::to_string(i - 1) + ","));
    CHECK(std::count(rows[i].begin(), rows[i].end(), ',') == 13);
  }
  // The same numbers, unrounded, are in metrics.json.
  const nlohmann::json metrics = nlohmann::json::parse(place.read("runs/train/exp/metrics.json"));
  CHECK(metrics.at("speed").at("batches").get<int>() == 3);  // of two epochs of two, without the first
  CHECK(metrics.at("speed").at("pictures_per_second").get<double>() > 0);
  CHECK(metrics.at("speed").at("waiting_share").get<double>() <= 1);
  CHECK(metrics.at("history").size() == 2);
  CHECK(metrics.at("classes").size() == 2);
  CHECK(metrics.at("validation").at("images") == 4);
  // The last look at the best weights sees what the epoch's own validation saw.
  const nlohmann::json& best = metrics.at("history")[metrics.at("best_epoch").get<std::size_t>()];
  CHECK(metrics.at("validation").at("mAP50_95") == best.at("mAP50_95"));
  std::array<char, 32> field{};
  std::snprintf(field.data(), field.size(), "%20.5g,",
                metrics.at("history")[1].at("train").at("box_loss").get<double>());
  CHECK(rows[2].substr(21, 21) == field.data());
  for (const char* name : {"report.html", "results.png", "labels.jpg", "train_batch0.jpg", "F1_curve.png"})
    CHECK(!place.has("runs/train/exp/" + std::string(name)));
}

TEST_CASE("the report stands alone and carries its numbers") {
  const TrainPlace place;
  place.text("data.yaml", "path: set\ntrain: images/train\nval: images/val\nnames: ['<b>square</b>', '</script>']\n");
  REQUIRE(place.train("--epochs 2").code == 0);
  const std::string page = place.read("runs/train/exp/report.html");
  CHECK(page.size() < 2'000'000);
  for (const char* fetched : {" src=", "http", "@import", "url("}) CHECK(!contains(page, fetched));
  CHECK(contains(page, "prefers-color-scheme:dark"));
  const std::string shown = page.substr(0, page.find("<script"));  // behind it come the numbers, as JSON
  CHECK(!contains(shown, "<b>square"));
  CHECK(contains(shown, "&lt;b&gt;square"));
  const std::string open = "<script type=\"application/json\" id=\"data\">";
  const std::size_t at = page.find(open) + open.size();
  CHECK(nlohmann::json::parse(page.substr(at, page.find("</script>", at) - at)) ==
        nlohmann::json::parse(place.read("runs/train/exp/metrics.json")));
  // Every element that is opened is closed.
  for (const char* element : {"section", "figure", "svg", "table", "tr", "td", "dl", "div", "main", "details"}) {
    CAPTURE(element);
    const auto count = [&](const std::string& tag) {
      std::size_t found = 0;
      for (std::size_t i = 0; (i = page.find(tag, i)) != std::string::npos; ++i)
        found += contains(" >\n", page.substr(i + tag.size(), 1)) ? 1U : 0U;
      return found;
    };
    CHECK(count("<" + std::string(element)) == count("</" + std::string(element)));
    CHECK(count("<" + std::string(element)) > 0);
  }
}

TEST_CASE("killed and resumed is the same as never stopped") {
  const TrainPlace place;
  const std::string options = "--epochs 12 --noplots --seed 3";
  REQUIRE(place.train(options + " --name straight").code == 0);
  const Outcome killed =
      place.script("killed", options, std::string(wait_for_checkpoint) + "kill -9 $pid; wait $pid\n");
  CHECK(killed.code == 137);
  REQUIRE(find_checkpoint(place / "runs/train/killed/weights").state.epoch < 12);
  for (const char* half : {"runs/train/killed/.slimneck-4-2.tmp", "runs/train/killed/weights/.slimneck-1-0.tmp"})
    place.text(half, "half a file");
  const Outcome resumed = place.run("train --resume runs/train/killed --workers 2 --threads 2");
  REQUIRE_MESSAGE(resumed.code == 0, resumed.err);
  CHECK(contains(resumed.err, "Resuming training from epoch "));
  check_same_run(place, "straight", "killed");
  for (const char* folder : {"runs/train/killed", "runs/train/killed/weights"})
    for (const fs::directory_entry& entry : fs::directory_iterator(place / folder))
      CHECK_FALSE(entry.path().extension() == ".tmp");
  for (const char* run : {"runs/train/killed", "runs/train/killed/weights/last.safetensors"})
    check_failed(place.run("train --resume " + std::string(run)), 1, "nothing to resume");
}

TEST_CASE("signals: the batch is finished, everything saved, and nothing lost") {
  const TrainPlace place;
  const std::string options = "--epochs 12 --noplots";
  REQUIRE(place.train(options + " --name straight").code == 0);
  struct Case {
    std::string name, kill;
    int code;
  };
  for (const Case& c : {Case{"int", "kill -INT $pid", 130}, Case{"term", "kill -TERM $pid", 143},
                        Case{"twice", "kill -INT $pid; sleep 0.005; kill -INT $pid", 130}}) {
    const std::string &name = c.name, &kill = c.kill;
    const int code = c.code;
    CAPTURE(name);
    const Outcome stopped = place.script(name, options, wait_for_checkpoint + kill + "\nwait $pid\n");
    CHECK_MESSAGE(stopped.code == code, place.read("runs/train/" + name + ".err"));
    if (name != "twice")
      CHECK(contains(place.read("runs/train/" + name + ".err"),
                     "go on with: slimneck train --resume runs/train/" + name));
    const Outcome resumed = place.run("train --resume runs/train/" + name);
    REQUIRE_MESSAGE(resumed.code == 0, resumed.err);
    check_same_run(place, "straight", name);
  }
}

TEST_CASE("resume: stored options win, conflicts are named, changes are told") {
  const TrainPlace place;
  const Outcome stopped =
      place.script("exp", "--epochs 12 --noplots", std::string(wait_for_checkpoint) + "kill -INT $pid; wait $pid\n");
  REQUIRE(stopped.code == 130);
  check_failed(place.run("train --resume --epochs 13"), 2,
               "--epochs 13 was given, but runs/train/exp was begun with 12");
  check_failed(place.run("train --resume runs/train/exp --adam"), 2, "--adam");
  check_failed(place.run("train --resume runs/train/exp --cfg other.yaml"), 2, "begun with detector.yaml");
  check_failed(place.run("train --resume none"), 1, "none: does not exist");
  check_failed(place.run("train --resume set"), 1, "set: is not the folder of a run");
  place.picture("train", 20);
  const Outcome strict = place.run("train --resume --strict");
  CHECK(strict.code == 1);
  CHECK(contains(strict.err, "error: "));
  const Outcome resumed = place.run("train --resume --epochs 12");
  REQUIRE_MESSAGE(resumed.code == 0, resumed.err);
  CHECK(contains(resumed.err, "\nwarning: "));
}

TEST_CASE("a damaged checkpoint gives way to the one before") {
  const TrainPlace place;
  const Outcome stopped = place.script("exp", "--epochs 12 --noplots",
                                       "train & pid=$!\nwhile [ ! -e $run/weights/state.0.json ] || [ ! -e "
                                       "$run/weights/state.1.json ]; do kill -0 $pid || break; sleep 0.01; done\n"
                                       "kill -9 $pid; wait $pid\n");
  REQUIRE(stopped.code == 137);
  const Checkpoint newest = find_checkpoint(place / "runs/train/exp/weights");
  fs::resize_file(place / ("runs/train/exp/weights/" + newest.state.tensors), 1000);
  const Outcome resumed = place.run("train --resume");
  REQUIRE_MESSAGE(resumed.code == 0, resumed.err);
  CHECK(contains(resumed.err, "warning: runs/train/exp/weights/" + newest.state.tensors));
  REQUIRE(place.train("--epochs 12 --noplots --name straight").code == 0);
  check_same_run(place, "straight", "exp");
}

TEST_CASE("two runs never share a folder") {
  const TrainPlace place;
  const Outcome many = place.shell("for i in 1 2 3 4 5 6 7 8; do '" + std::string(test::program_file) + "' " +
                                   TrainPlace::line("--epochs 0 --noplots") + " >/dev/null 2>&1 & done; wait");
  CHECK(many.code == 0);
  for (const char* name : {"exp", "exp2", "exp3", "exp4", "exp5", "exp6", "exp7", "exp8"})
    CHECK(place.has("runs/train/" + std::string(name) + "/opt.yaml"));
  CHECK(!place.has("runs/train/exp9"));

  const Outcome both = place.script("busy", "--epochs 1000 --noplots",
                                    wait_for_checkpoint + std::string("echo $pid >pid.txt\n'") + test::program_file +
                                        "' train --resume $run; code=$?\n'" + test::program_file + "' " +
                                        TrainPlace::line("--epochs 1 --name busy --exist-ok --noplots") +
                                        "; kill -9 $pid; wait $pid; exit $code\n");
  CHECK(both.code == 1);
  std::string pid = place.read("pid.txt");
  pid.pop_back();
  const std::string wanted = "error: runs/train/busy/weights: process " + pid + " trains there\n";
  CHECK_MESSAGE(both.err.starts_with(wanted), both.err);
  CHECK_MESSAGE(contains(both.err.substr(wanted.size()), wanted), both.err);
}

TEST_CASE("without epochs everything is checked and nothing trained") {
  const TrainPlace place;
  const Outcome outcome = place.train("--epochs 0");
  CHECK_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(place.has("runs/train/exp/opt.yaml"));
  CHECK(place.has("runs/train/exp/labels.jpg"));
  CHECK(!place.has("runs/train/exp/weights/last.safetensors"));
  for (const test::Failure& failure : std::vector<test::Failure>{{"--cfg none.yaml", "none.yaml"},
                                                                 {"--hyp none.yaml", "none.yaml"},
                                                                 {"--weights none.pt", "none.pt"},
                                                                 {"--project /proc/none", "/proc/none"}}) {
    const std::string &arguments = failure.arguments, &cause = failure.cause;
    CAPTURE(arguments);
    const Outcome failed =
        place.run("train --data data.yaml --epochs 0 --img 64 --noplots " +
                  (contains(arguments, "--cfg") ? "" : std::string("--cfg detector.yaml ")) + arguments);
    CHECK(failed.code == 1);
    CHECK_MESSAGE(contains(failed.err, "error: "), failed.err);
    CHECK_MESSAGE(contains(failed.err, cause), failed.err);
    CHECK(!place.has("runs/train/exp2"));
  }
}

TEST_CASE("usage errors") {
  const TrainPlace place;
  for (const test::Failure& failure :
       std::vector<test::Failure>{{"--evolve", "--evolve: "},
                                  {"--evolve 300", "--evolve: "},
                                  {"--quad", "--quad: the loader makes no quads"},
                                  {"--device 0", "--device 0: wanted cpu, or cuda:N"},
                                  {"--cache disk", "--cache disk: wanted ram"},
                                  {"--batch-size -1", "--batch-size -1: there is no GPU memory"},
                                  {"--nc 3", "--nc: "},
                                  {"--epochs 1.5", "--epochs"},
                                  {"--optimizer sgd", "--optimizer"},
                                  {"--freeze 6", "--freeze: there is no layer"},
                                  {"--rect --multi-scale", "--multi-scale"},
                                  {"--rect --image-weights", "--image-weights"},
                                  {"--bucket x", "--bucket: "}}) {
    const std::string &arguments = failure.arguments, &cause = failure.cause;
    CAPTURE(arguments);
    const Outcome failed = place.train("--noplots " + arguments);
    CHECK(failed.code == 2);
    CHECK_MESSAGE(contains(failed.err, "error: "), failed.err);
    CHECK_MESSAGE(contains(failed.err, cause), failed.err);
  }
  check_failed(place.run("train --data data.yaml --cfg detector.yaml --img 5000"), 2, "--img");
  check_failed(place.run("train --cfg detector.yaml"), 2, "--data is required");
  check_failed(place.run("train --data data.yaml"), 2, "--cfg or --weights is required");
  CHECK(!place.has("runs/train/exp"));
}

TEST_CASE("data that cannot be trained on") {
  const TrainPlace place;
  place.text("set/labels/train/3.txt", "0 0.5 0.5 0.2 0.2\n2 0.5 0.5 0.1 0.1\n");
  Outcome failed = place.train("--epochs 1 --noplots");
  CHECK(failed.code == 1);
  CHECK_MESSAGE(contains(failed.err, "set/labels/train/3.txt:2: "), failed.err);

  place.text("set/labels/train/3.txt", "0 0.5 0.5 0.2 0.2\n");
  place.text("set/images/train/3.png", "no picture");
  failed = place.train("--epochs 1 --noplots");
  CHECK(failed.code == 1);
  CHECK_MESSAGE(contains(failed.err, "1 of 8 pictures cannot be used, more than 5 %; --allow-skips goes on"),
                failed.err);
  CHECK(contains(failed.err, "ignoring corrupt image/label: "));
  const Outcome allowed = place.train("--epochs 1 --noplots --allow-skips");
  CHECK_MESSAGE(allowed.code == 0, allowed.err);
  CHECK(contains(allowed.err, "\n1 pictures could not be used\n"));
  CHECK(place.train("--epochs 1 --noplots --allow-skips --strict").code == 1);

  for (int i = 0; i < 8; ++i) place.text("set/labels/train/" + std::to_string(i) + ".txt", "");
  failed = place.train("--epochs 1 --noplots --allow-skips");
  CHECK(failed.code == 1);
  CHECK_MESSAGE(contains(failed.err, "error: train: No labels found in "), failed.err);
  CHECK(contains(failed.err, ", can not start training"));
}

TEST_CASE("pictures that go away while training") {
  const TrainPlace place;
  const std::string options = "--epochs 1000 --noplots", remove = "rm set/images/train/0.png\n";
  const Outcome stopped = place.script("few", options, wait_for_checkpoint + remove + "wait $pid\n");
  CHECK(stopped.code == 1);
  CHECK(contains(place.read("runs/train/few.err"), "1 of 8 pictures cannot be read any more, more than 5 %"));

  place.picture("train", 0);
  const Outcome allowed = place.script("many", options + " --allow-skips",
                                       wait_for_checkpoint + remove +
                                           "while ! grep -q ignoring $run.err && kill -0 $pid; do sleep 0.01; done\n"
                                           "kill -TERM $pid; wait $pid\n");
  CHECK(allowed.code == 143);
  CHECK(contains(place.read("runs/train/many.err"), "ignoring corrupt image/label: set/images/train/0.png: "));
}

TEST_CASE("anchors that do not fit are replaced, and stay replaced") {
  const TrainPlace place;
  std::string yaml = test::detector_yaml;
  for (const std::string row : {"[10, 13, 16, 30, 33, 23]", "[30, 61, 62, 45, 59, 119]"})
    yaml.replace(yaml.find(row), row.size(), "[300, 300, 400, 400, 500, 500]");
  place.text("detector.yaml", yaml);
  const std::string line = "train --data data.yaml --cfg detector.yaml --img 64 --batch 4 --epochs 1 --noplots ";
  const Outcome few = place.run(line);  // there are boxes of two sizes
  CHECK_MESSAGE(few.code == 0, few.err);
  CHECK_MESSAGE(contains(few.err, "Proceeding with original anchors"), few.err);
  for (int i = 0; i < 8; ++i)
    place.text("set/labels/train/" + std::to_string(i) + ".txt",
               format_label(0.1 + 0.05 * i, 0.5 - 0.04 * i) + format_label(0.15 + 0.04 * i, 0.1 + 0.03 * i));
  const Outcome outcome = place.run(line);
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(contains(outcome.err, "Current anchors are a poor fit to dataset, attempting to improve..."));
  CHECK(contains(outcome.err, "Done (optional: update model *.yaml"));
  const SafeTensors weights = read_weights(place / "runs/train/exp2/weights/last.safetensors");
  const Model model = parse_model(weights.metadata().at("yaml"), "last.safetensors", {.height = 64, .width = 64});
  REQUIRE(model.anchors.size() == 2);
  for (const std::vector<double>& level : model.anchors)
    for (const double side : level) CHECK(side < 64);
}

TEST_CASE("numbers that are not finite end the training") {
  const TrainPlace place;
  const std::vector<float> huge(16, 3e38F);
  write_safetensors(place / "huge.safetensors",
                    std::vector{TensorEntry{"model.2.bn.weight", {16}, std::span<const float>(huge)},
                                TensorEntry{"model.2.bn.bias", {16}, std::span<const float>(huge)}});
  const Outcome failed = place.train("--epochs 2 --noplots --weights huge.safetensors");
  CHECK(failed.code == 1);
  CHECK(contains(failed.err, "Transferred 2/"));
  CHECK_MESSAGE(contains(failed.err, "is not finite, first bad: "), failed.err);
  const std::vector<std::string> lines = lines_of(place.read("runs/train/exp/failure.txt"));
  REQUIRE(lines.size() == 5);
  CHECK(contains(lines[0], "not finite"));
  CHECK(contains(lines[1], "set/images/train/"));
  CHECK(!place.has("runs/train/exp/weights/best.safetensors"));
}

TEST_CASE("output that goes away does not stop a training") {
  const TrainPlace place;
  const Outcome piped = place.shell("{ '" + std::string(test::program_file) + "' " +
                                    TrainPlace::line("--epochs 3 --noplots") + "; echo $? >code.txt; } | head -1");
  CHECK(piped.code == 0);
  CHECK(place.read("code.txt") == "0\n");
  CHECK(lines_of(place.read("runs/train/exp/results.csv")).size() == 4);
  CHECK(place.train("--epochs 1 --noplots >/dev/full").code == 0);
  CHECK(place.has("runs/train/exp2/weights/best.safetensors"));
}

TEST_CASE("a full disk: training goes on, and the end says so") {
  const TrainPlace place;
  // Files of at most 8 KiB: the weights do not fit, everything else does.
  const Outcome full = place.shell("trap '' XFSZ; ulimit -f 16; '" + std::string(test::program_file) + "' " +
                                   TrainPlace::line("--epochs 3 --noplots"));
  CHECK(full.code == 1);
  CHECK(contains(full.err, "warning: not saved: runs/train/exp/weights/last.safetensors: "));
  CHECK(contains(full.err, "\nerror: something could not be saved: "));
  CHECK(lines_of(place.read("runs/train/exp/results.csv")).size() == 4);
  for (const fs::directory_entry& entry : fs::directory_iterator(place / "runs/train/exp/weights"))
    CHECK(entry.path().filename() == "lock");  // neither halves nor temporary files

  if (place.shell("command -v prlimit").code != 0) return;
  const Outcome later = place.script("later", "--epochs 1000 --noplots",
                                     "(trap '' XFSZ; ulimit -S -f 16; train) & pid=$!\n"
                                     "while ! grep -q 'not saved' $run.err && kill -0 $pid; do sleep 0.01; done\n"
                                     "prlimit --fsize=unlimited:unlimited --pid $pid\n"
                                     "while [ ! -e $run/weights/state.1.json ] && kill -0 $pid; do sleep 0.01; done\n"
                                     "kill -INT $pid; wait $pid\n");
  CHECK(later.code == 1);
  CHECK(place.has("runs/train/later/weights/last.safetensors"));
  CHECK(find_checkpoint(place / "runs/train/later/weights").state.epoch > 0);
}

TEST_SUITE_END();

#endif
