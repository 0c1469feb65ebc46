// What happens when memory, disks and readers fail: an error that says so, and nothing half written.
#include <doctest/doctest.h>
#include <sys/mount.h>

#include <set>

#include "shared_data.hpp"
#include "slimneck/image.hpp"
#include "watched_run.hpp"
#include "workplace.hpp"

#ifdef SLIMNECK_CLI

using namespace slimneck;
using namespace slimneck::test;
namespace fs = std::filesystem;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool sanitized = true;  // the sanitizer's own allocator comes first
#else
constexpr bool sanitized = false;
#endif

/// A command, and the file that it writes.
struct Command {
  std::string name, arguments, result;
};

class Place : public Workplace {
 public:
  Place() : Workplace("faults") {
    fs::copy(test_data("torch/state.pt"), *this / "w.pt");
    write_image(*this / "a.png", Image(40, 30, {200, 100, 50}));
  }

  /// Everything in the folder but what the runs themselves leave, with the content of `result`.
  [[nodiscard]] std::set<std::string> files() const {
    std::set<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(*this / ""))
      if (entry.is_regular_file()) found.insert(entry.path().lexically_relative(*this / "").string());
    for (const char* own : {"stdout.txt", "stderr.txt", "hit"}) found.erase(own);
    return found;
  }
};

const std::vector<Command>& commands() {
  static const std::vector<Command> all{
      {"convert", "convert w.pt result.safetensors", "result.safetensors"},
      {"export", "export --cfg plain.yaml --init seed=1 --img 32 --include onnx --output result.onnx", "result.onnx"},
      {"detect",
       "detect --cfg detector.yaml --init seed=1 --img 32 --threads 1 --conf 0 --max-det 3 --source a.png --exist-ok "
       "--project runs",
       "runs/exp/a.png"}};
  return all;
}

struct Fault {
  Watched run;
  bool hit = false;
};

/// Runs a command whose n-th call of that kind fails.
Fault with_fault(const Place& place, const Command& command, const std::string& kind, int n) {
  fs::remove(place / "hit");
  Fault fault;
  fault.run = watch(place, command.arguments,
                    {.variables = {{"LD_PRELOAD", faults_file},
                                   {"SLIMNECK_FAULT", kind + ":" + std::to_string(n)},
                                   {"SLIMNECK_FAULT_REPORT", (place / "hit").string()},
                                   {"OMP_NUM_THREADS", "1"}}});
  fault.hit = fs::exists(place / "hit");
  return fault;
}

/// Success with the whole file, or an error with the old file, the whole new one or none; and nothing else anywhere.
void check_outcome(const Place& place, const Command& command, const Fault& fault, const std::string& before,
                   const std::string& after, const std::set<std::string>& files) {
  const std::string now = place.read(command.result);
  CHECK(fault.run.signal == 0);
  if (fault.run.code == 0) {
    CHECK(now == after);
  } else {
    check_one_error(fault.run);
    const bool whole = now == before || now == after;
    CHECK(whole);
  }
  std::set<std::string> left = place.files();
  left.erase(command.result);
  CHECK(left == files);
}

/// Lets call after call fail until the command no longer makes so many; returns how many failed. After the first
/// `all` calls only every `stride`-th is tried.
int sweep(const Place& place, const Command& command, const std::string& kind, bool must_fail, int all = 400,
          int stride = 1) {
  fs::remove_all(place / fs::path(command.result).begin()->string());
  REQUIRE(watch(place, command.arguments).code == 0);
  const std::string after = place.read(command.result);
  REQUIRE(!after.empty());
  std::set<std::string> files = place.files();
  files.erase(command.result);
  const std::string before = "what was there before";
  int hits = 0;
  for (int n = 1;; n += n < all ? 1 : stride) {
    CAPTURE(command.name);
    CAPTURE(kind);
    CAPTURE(n);
    place.text(command.result, before);
    const Fault fault = with_fault(place, command, kind, n);
    CAPTURE(fault.run.err);
    check_outcome(place, command, fault, before, after, files);
    if (!fault.hit) {
      CHECK(fault.run.code == 0);
      return hits;
    }
    if (must_fail) CHECK(fault.run.code == 1);
    ++hits;
  }
}

}  // namespace

TEST_SUITE_BEGIN("faults");

TEST_CASE("memory: whichever allocation fails, there is one message and no half file") {
  if (sanitized) {
    MESSAGE("skipped: a sanitizer's allocator cannot be made to fail");
    return;
  }
  const Place place;
  for (const Command& command : commands()) CHECK(sweep(place, command, "malloc", false, 150, 61) > 150);
}

TEST_CASE("disks: whichever write, sync, rename, open or close fails, there is one message and no half file") {
  if (sanitized) {
    MESSAGE("skipped: a sanitizer wants to be loaded first");
    return;
  }
  const Place place;
  for (const Command& command : commands()) {
    for (const char* kind : {"fsync", "rename"}) CHECK(sweep(place, command, kind, true) > 0);
    for (const char* kind : {"write", "open", "close"}) CHECK(sweep(place, command, kind, false) > 0);
  }
}

TEST_CASE("disks: no room on the device") {
  const Place place;
  fs::create_directory(place / "small");
  if (::mount("tmpfs", (place / "small").c_str(), "tmpfs", 0, "size=16k") != 0) {
    MESSAGE("skipped: a small file system cannot be made here");
    return;
  }
  fs::copy(test_data("torch/y5.pt"), place / "y5.pt");  // larger than that
  const Watched run = watch(place, "convert y5.pt small/result.safetensors");
  check_one_error(run);
  CHECK(contains(run.err, "small/result.safetensors: cannot write: No space left on device"));
  CHECK(fs::is_empty(place / "small"));
  ::umount((place / "small").c_str());
}

TEST_CASE("folders that may not be written to") {
  const Place place;
  fs::create_directory(place / "closed");
  fs::permissions(place / "closed", fs::perms::owner_read | fs::perms::owner_exec | fs::perms::group_read |
                                        fs::perms::group_exec | fs::perms::others_read | fs::perms::others_exec);
  constexpr uid_t nobody = 65534;
  const Watch other{.user = ::getuid() == 0 ? nobody : 0};  // to root everything is allowed
  if (watch(place, "--version", other).code != 0) {
    MESSAGE("skipped: another user cannot run the program here");
    return;
  }
  for (const std::string arguments :
       {"convert w.pt closed/w.safetensors", "export --cfg plain.yaml --init seed=1 --img 32 --output closed/a.onnx",
        "detect --cfg detector.yaml --init seed=1 --img 32 --source a.png --project closed"}) {
    CAPTURE(arguments);
    const Watched run = watch(place, arguments, other);
    check_one_error(run);
    CHECK(contains(run.err, "closed"));
    CHECK(contains(run.err, "ermission denied"));
  }
  CHECK(fs::is_empty(place / "closed"));
}

TEST_CASE("readers that go away") {
  const Place place;
  const Watched closed = watch(place, "info --cfg yolov5n", {.close_output = true});
  check_one_error(closed);
  CHECK(contains(closed.err, "standard output"));
  // The first loop ends when nobody reads any more.
  const Outcome piped = place.shell("{ (while echo; do :; done) 2>&-; '" + std::string(program_file) +
                                    "' info --cfg yolov5n; echo $? > code.txt; } | true");
  CHECK(piped.code == 0);
  CHECK(place.read("code.txt") == "1\n");
  CHECK(piped.err == "error: standard output: Broken pipe\n");
}

TEST_SUITE_END();

#endif
