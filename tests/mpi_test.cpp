// Training on several processes as users start it: mpirun and the program, on a tiny model and tiny pictures. On two
// processors this is about correctness; nothing here is fast.
#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "data_case.hpp"
#include "program.hpp"
#include "slimneck/parallel.hpp"

#ifdef SLIMNECK_CLI

using namespace slimneck;
using slimneck::test::contains;
using slimneck::test::Outcome;

namespace {

namespace fs = std::filesystem;

constexpr const char* mpirun = "mpirun --allow-run-as-root --oversubscribe --bind-to none ";

class MpiPlace {
 public:
  MpiPlace() : folder_("mpi"), data_("mpi_data") {
    test::add_various(data_, 12);
    folder_.text("detector.yaml",
                 "nc: 3\ndepth_multiple: 1\nwidth_multiple: 1\nanchors: [[10,13, 30,40], [30,60, 50,40]]\n"
                 "backbone: [[-1, 1, Conv, [8, 3, 2]], [-1, 1, Conv, [16, 3, 2]], [-1, 1, GSConv, [16, 3, 2]], "
                 "[-1, 1, Conv, [32, 3, 2]]]\n"
                 "head: [[[2, 3], 1, Detect, [nc, anchors]]]\n");
  }

  /// "slimneck train ..." of a run with this name.
  [[nodiscard]] std::string train(const std::string& name, const std::string& more) const {
    return "'" + std::string(test::program_file) + "' train --data '" + (data_ / "data.yaml").string() +
           "' --cfg detector.yaml --img 64 --batch 8 --workers 0 --threads 2 --noautoanchor --noplots --name " + name +
           " " + more;
  }
  [[nodiscard]] Outcome start(int processes, const std::string& name, const std::string& more) const {
    return shell(mpirun + ("-np " + std::to_string(processes) + " ") + train(name, more));
  }
  [[nodiscard]] Outcome shell(const std::string& line) const { return folder_.shell(line); }
  [[nodiscard]] std::string read(const std::string& name, const std::string& file) const {
    return folder_.read("runs/train/" + name + "/" + file);
  }

  /// Four processes begin a training; when they have left a checkpoint, the third one is killed. Says how many seconds
  /// it took to the end, and what the end was.
  [[nodiscard]] Outcome kill_one(const std::string& options, const std::string& epochs) const {
    folder_.text("script.sh",
                 mpirun + options + " -np 4 " + train("killed", "--sync-bn --epochs " + epochs) +
                     " >run.out 2>run.err & pid=$!\n"
                     "while [ ! -e runs/train/killed/weights/state.1.json ] && kill -0 $pid; do sleep 0.02; done\n"
                     "for p in $(cat /proc/$pid/task/*/children); do\n"
                     "  tr '\\0' '\\n' </proc/$p/environ | grep -qx OMPI_COMM_WORLD_RANK=2 && victim=$p\ndone\n"
                     "begin=$(date +%s)\nkill -9 $victim\n"
                     "while kill -0 $pid 2>/dev/null && [ $(($(date +%s) - begin)) -lt 60 ]; do sleep 0.1; done\n"
                     "echo seconds $(($(date +%s) - begin))\nkill -9 $pid 2>/dev/null\nwait $pid\nexit $?\n");
    Outcome outcome = shell("sh script.sh");
    outcome.err = folder_.read("run.err");
    return outcome;
  }

 private:
  test::ProgramFolder folder_;
  test::DataFolder data_;
};

/// Says why there is nothing to test here.
bool can_run(const MpiPlace& place) {
  if (!has_mpi()) MESSAGE("skipped: this build has no MPI (SLIMNECK_MPI=ON)");
  if (!has_mpi()) return false;
  const bool found = place.shell("command -v mpirun").code == 0;
  if (!found) MESSAGE("skipped: there is no mpirun");
  return found;
}

int seconds_of(const Outcome& outcome) { return std::stoi(outcome.out.substr(outcome.out.find("seconds ") + 8)); }

}  // namespace

TEST_SUITE_BEGIN("mpi");

TEST_CASE("without MPI a program that mpirun started says so") {
  const MpiPlace place;
  if (has_mpi()) {
    MESSAGE("skipped: this build has MPI");
    return;
  }
  const Outcome outcome = place.shell("OMPI_COMM_WORLD_SIZE=2 " + place.train("lone", "--epochs 1"));
  test::check_failed(outcome, 1, "one of 2 processes");
}

TEST_CASE("one, two and four processes write the same bytes") {
  const MpiPlace place;
  if (!can_run(place)) return;
  const Outcome alone = place.shell(place.train("alone", "--epochs 2 --sync-bn"));
  REQUIRE_MESSAGE(alone.code == 0, alone.err);
  for (const int processes : {1, 2, 4}) {
    CAPTURE(processes);
    const std::string name = "n" + std::to_string(processes);
    const Outcome outcome = place.start(processes, name, "--epochs 2 --sync-bn");
    REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
    for (const char* file : {"weights/last.safetensors", "weights/best.safetensors", "results.csv"}) {
      CAPTURE(file);
      CHECK(!place.read("alone", file).empty());
      CHECK(place.read(name, file) == place.read("alone", file));
    }
    // The first one alone talks and writes.
    CHECK(outcome.out.find("2 epochs completed") == outcome.out.rfind("2 epochs completed"));
  }
}

TEST_CASE("without common statistics two processes train") {
  const MpiPlace place;
  if (!can_run(place)) return;
  const Outcome outcome = place.start(2, "plain", "--epochs 1");
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(contains(outcome.err, "data parallel: 2 processes, the first is rank 0 on "));
  CHECK(!place.read("plain", "weights/last.safetensors").empty());
}

TEST_CASE("processes that do not fit together end with the reason") {
  const MpiPlace place;
  if (!can_run(place)) return;
  const Outcome other = place.shell(mpirun + ("-np 1 " + place.train("other", "--epochs 1")) + " : -np 1 " +
                                    place.train("other", "--epochs 1 --seed 7"));
  CHECK(other.code == 1);
  CHECK(contains(other.err, "error: rank 1 on "));
  CHECK(contains(other.err, "seed 7"));
  const Outcome three = place.start(3, "three", "--epochs 1 --sync-bn");
  CHECK(three.code == 1);
  CHECK(contains(three.err, "3 processes cannot share evenly"));
}

TEST_CASE("a process that dies takes all with it within 30 s, and they say who it was") {
  const MpiPlace place;
  if (!can_run(place)) return;
  SUBCASE("the starter looks after its processes, and another number of them goes on to the same bytes") {
    const Outcome outcome = place.kill_one("", "24");
    CHECK(outcome.code != 0);
    CHECK(seconds_of(outcome) <= 30);
    CHECK_MESSAGE(contains(outcome.err, "rank 2"), outcome.err);
    const Outcome rest = place.shell(mpirun + ("-np 2 '" + std::string(test::program_file)) +
                                     "' train --resume runs/train/killed --workers 0 --threads 1");
    REQUIRE_MESSAGE(rest.code == 0, rest.err);
    const Outcome alone = place.shell(place.train("alone", "--sync-bn --epochs 24"));
    REQUIRE_MESSAGE(alone.code == 0, alone.err);
    for (const char* file : {"weights/last.safetensors", "results.csv"})
      CHECK(place.read("killed", file) == place.read("alone", file));
  }
  SUBCASE("the starter leaves it to them, and says nothing of what it saw") {
    const Outcome outcome = place.kill_one("--enable-recovery", "100000");
    CHECK(seconds_of(outcome) <= 30);
    std::size_t said = 0;
    for (std::size_t at = 0; (at = outcome.err.find("error: rank 2 on ", at)) != std::string::npos; ++at) ++said;
    CHECK_MESSAGE(said == 3, outcome.err);
  }
}

TEST_SUITE_END();

#endif
