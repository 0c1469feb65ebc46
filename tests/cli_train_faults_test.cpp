// What hinders a training: numbers that run away, disks without room, folders of other people.
#include <sys/mount.h>

#include "slimneck/hyp.hpp"
#include "slimneck/train.hpp"
#include "train_place.hpp"
#include "watched_run.hpp"

#ifdef SLIMNECK_CLI

using namespace slimneck;
using slimneck::test::contains;
using slimneck::test::lines_of;
using slimneck::test::Outcome;
using slimneck::test::TrainPlace;
using slimneck::test::wait_for_checkpoint;
namespace fs = std::filesystem;

TEST_SUITE_BEGIN("cli_train_faults");

TEST_CASE("a learning rate that is far too high: what was good stays") {
  const TrainPlace place;
  Hyp hyp;
  hyp.lr0 = 1e6;
  place.text("hyp.yaml", write_hyp(hyp));
  // One batch an epoch: it comes before the first step of the weights, which is taken with a rate of 0.
  const std::string line =
      "train --data data.yaml --cfg detector.yaml --img 64 --batch 8 --workers 0 --threads 1 --noautoanchor --noplots "
      "--hyp hyp.yaml --epochs 50 ";
  const Outcome failed = place.run(line);
  CHECK(failed.code == 1);
  CHECK_MESSAGE(contains(failed.err, "error: training: epoch "), failed.err);
  CHECK_MESSAGE(contains(failed.err, " is not finite, first bad: "), failed.err);
  CHECK(contains(failed.err, "runs/train/exp/failure.txt lists the batch"));
  const std::vector<std::string> lines = lines_of(place.read("runs/train/exp/failure.txt"));
  REQUIRE(lines.size() == 9);
  for (std::size_t i = 1; i < lines.size(); ++i) CHECK(contains(lines[i], "set/images/train/"));

  const Checkpoint kept = find_checkpoint(place / "runs/train/exp/weights");
  CHECK(kept.problems.empty());
  CHECK(kept.state.epoch >= 1);
  CHECK(contains(failed.err, "training: epoch " + std::to_string(kept.state.epoch) + ", batch 0: "));
  CHECK(lines_of(place.read("runs/train/exp/results.csv")).size() == static_cast<std::size_t>(kept.state.epoch) + 1);
  for (const char* file : {"last", "best"})  // reading refuses what is not finite
    CHECK(place
              .run("detect --weights runs/train/exp/weights/" + std::string(file) +
                   ".safetensors --img 64 --source set/images/val/8.png --nosave")
              .code == 0);
  // What was kept leads to the same end.
  const Outcome resumed = place.run("train --resume");
  CHECK(resumed.code == 1);
  CHECK_MESSAGE(contains(resumed.err, lines[0]), resumed.err);
}

TEST_CASE("a disk without room for the checkpoints is refused before the first epoch") {
  const TrainPlace place;
  fs::create_directory(place / "small");
  if (::mount("tmpfs", (place / "small").c_str(), "tmpfs", 0, "size=1m") != 0) {
    MESSAGE("skipped: a small file system cannot be made here");
    return;
  }
  const std::string options = "--epochs 2 --noplots --project small";
  const Outcome fill = place.shell("head -c 1000000 /dev/zero >small/other");
  CHECK(fill.code == 0);
  const Outcome refused = place.train(options);
  CHECK(refused.code == 1);
  CHECK_MESSAGE(
      contains(refused.err, "error: small/exp: 0.0 MiB are left on the disk; weights and checkpoints take 0."),
      refused.err);
  CHECK(!place.has("small/exp"));
  fs::remove(place / "small/other");
  const Outcome done = place.train(options);
  CHECK_MESSAGE(done.code == 0, done.err);
  CHECK(place.has("small/exp/weights/best.safetensors"));
  ::umount((place / "small").c_str());
}

TEST_CASE("a folder of a run that may not be written to") {
  const TrainPlace place;
  constexpr uid_t nobody = 65534;
  const test::Watch other{.user = ::getuid() == 0 ? nobody : 0};  // to root everything is allowed
  if (test::watch(place, "--version", other).code != 0) {
    MESSAGE("skipped: another user cannot run the program here");
    return;
  }
  const Outcome stopped =
      place.script("exp", "--epochs 12 --noplots", std::string(wait_for_checkpoint) + "kill -INT $pid; wait $pid\n");
  REQUIRE(stopped.code == 130);
  const std::string before = place.read("runs/train/exp/weights/last.safetensors");
  REQUIRE(place.shell("chmod -R a+rX,a-w runs").code == 0);
  const std::string line = TrainPlace::line("--epochs 1 --noplots");
  for (const auto& [arguments, cause] : std::vector<std::pair<std::string, std::string>>{
           {line, "runs/train/exp2: cannot be made"},
           {line + " --exist-ok", "runs/train/exp/weights/lock"},
           {"train --resume runs/train/exp", "runs/train/exp/weights/lock"}}) {
    const std::string &words = arguments, &wanted = cause;
    CAPTURE(words);
    const test::Watched run = test::watch(place, words, other);
    CHECK(run.signal == 0);
    CHECK(run.code == 1);
    CHECK_MESSAGE(contains(run.err, "error: " + wanted), run.err);
    CHECK_MESSAGE(contains(run.err, "ermission denied"), run.err);
    CHECK(place.read("runs/train/exp/weights/last.safetensors") == before);
  }
  CHECK(place.shell("chmod -R u+w runs").code == 0);
}

TEST_SUITE_END();

#endif
