// Checkpoints: states to the last bit, hostile ones, damaged files, killed writers and full disks.
#include "train/checkpoint.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <csignal>
#include <initializer_list>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "io/digest.hpp"
#include "io/files.hpp"
#include "picture_data.hpp"
#include "slimneck/error.hpp"
#include "slimneck/files.hpp"
#include "slimneck/model.hpp"
#include "temporary_folder.hpp"
#include "train/tensors.hpp"

using namespace slimneck;
using nlohmann::json;

TEST_SUITE_BEGIN("checkpoint");

namespace {

namespace fs = std::filesystem;

TrainState full_state() {
  TrainState s;
  s.generation = 12;
  s.epoch = 2;
  s.batch = 3;
  s.iteration = 11;
  s.last_move = 8;
  s.moves = 5;
  s.averages = 5;
  s.loss_sum = {0.1 + 0.2, 1e-310, -0.0};
  s.balance = {4, 1 / 3.0, std::numeric_limits<double>::max()};
  s.class_fitness = {std::numeric_limits<double>::denorm_min(), 1};
  s.best_fitness = std::nextafter(0.5, 1);
  s.best_epoch = 1;
  for (index_t epoch = 0; epoch < 2; ++epoch)
    s.history.push_back({epoch,
                         {0.7, 0.1, 1.0 / 7},
                         {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(), 2},
                         0.25,
                         1e-17,
                         1,
                         0.3,
                         {0.01, 1e-5, 0.1}});
  s.options = {{"data", "a \"b\" \\ \n \xc3\xa4"}, {"", ""}};
  s.data = "fingerprint";
  s.tensors = "resume.0.safetensors";
  s.tensors_bytes = std::uint64_t{1} << 40;
  s.tensors_sha256 = "abc";
  return s;
}

std::string refusal(const std::string& text) {
  try {
    parse_train_state(text, "s.json");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "";
}

/// What a checkpoint of this generation holds: the number in every element.
std::vector<float> numbers(index_t generation) { return std::vector<float>(600, static_cast<float>(generation)); }

void write(const fs::path& folder, index_t generation) {
  TrainState state;
  state.generation = generation;
  const std::vector<float> values = numbers(generation);
  train::write_checkpoint(folder, state, std::vector{TensorEntry{"w", {600}, std::span(values)}});
}

/// The generation of the newest whole checkpoint, whose tensors are those of that generation.
index_t found(const fs::path& folder) {
  const Checkpoint checkpoint = find_checkpoint(folder);
  const Tensor values = train::read_tensors(checkpoint).tensor("w");
  const std::vector<float> wanted = numbers(checkpoint.state.generation);
  CHECK(std::equal(wanted.begin(), wanted.end(), values.data<float>()));
  return checkpoint.state.generation;
}

void overwrite(const fs::path& file, const std::string& text) { write_text(file.string(), text); }

std::string content(const fs::path& file) { return read_text(file.string(), 1 << 20); }

/// Damages one file in each of several ways and says what find_checkpoint makes of it.
template <class Look>
void damage(const fs::path& file, const Look& look) {
  const std::string whole = content(file);
  for (std::size_t at : {std::size_t{0}, whole.size() / 3, whole.size() / 2, whole.size() - 2}) {
    INFO("cut at ", at);
    overwrite(file, whole.substr(0, at));
    look();
  }
  for (std::size_t at : {std::size_t{0}, whole.size() / 2, whole.size() - 3}) {
    INFO("garbled at ", at);
    std::string garbled = whole;
    for (std::size_t i = at; i < std::min(at + 8, whole.size()); ++i) garbled[i] = static_cast<char>(~garbled[i]);
    overwrite(file, garbled);
    look();
  }
  overwrite(file, whole);
}

/// Runs `work` in a process of its own; its exit code, or minus the signal that ended it.
template <class Work>
int in_child(const Work& work) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    try {
      _exit(work());
    } catch (...) {
      _exit(99);
    }
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// A counter that two processes see.
class SharedCounter {
 public:
  SharedCounter()
      : memory_(mmap(nullptr, sizeof(std::atomic<index_t>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
        counter_(new (memory_) std::atomic<index_t>(0)) {}
  ~SharedCounter() { munmap(memory_, sizeof(std::atomic<index_t>)); }
  SharedCounter(const SharedCounter&) = delete;
  SharedCounter& operator=(const SharedCounter&) = delete;
  std::atomic<index_t>* operator->() const noexcept { return counter_; }

 private:
  void* memory_;
  std::atomic<index_t>* counter_;
};

}  // namespace

TEST_CASE("a state comes back to the last bit") {
  const TrainState state = full_state();
  const std::string text = write_train_state(state);
  const TrainState back = parse_train_state(text, "s.json");
  CHECK(back == state);
  CHECK(std::signbit(back.loss_sum.cls));
  CHECK(write_train_state(back) == text);
  CHECK(parse_train_state(write_train_state({}), "s.json") == TrainState{});

  TrainState undefined;
  undefined.balance = {std::numeric_limits<double>::quiet_NaN()};
  CHECK(std::isnan(parse_train_state(write_train_state(undefined), "s.json").balance[0]));
}

TEST_CASE("a state that is cut off is none") {
  const std::string text = write_train_state(full_state());
  for (std::size_t size = 0; size + 1 < text.size(); ++size)
    CHECK_MESSAGE(refusal(text.substr(0, size)).starts_with("s.json: "), size);
}

TEST_CASE("a member that is missing or of another kind is named") {
  const json whole = json::parse(write_train_state(full_state()));
  const std::vector<json> others{nullptr,
                                 true,
                                 -7,
                                 1.5,
                                 "text",
                                 json::array(),
                                 json::object(),
                                 json::array({nullptr}),
                                 std::numeric_limits<std::uint64_t>::max()};
  int refused = 0;
  for (const auto& item : whole.items()) {
    if (item.key() == "program") continue;  // for people
    json changed = whole;
    changed.erase(item.key());
    CHECK(refusal(changed.dump()) == "s.json: " + item.key() + " is missing");
    for (const json& other : others) {
      changed[item.key()] = other;
      const std::string text = refusal(changed.dump());
      refused += !text.empty();
      if (!text.empty()) CHECK_MESSAGE(text.find(item.key()) != std::string::npos, text);
    }
  }
  CHECK(refused > 100);
  for (const auto& each : {std::pair<const char*, json>{"/history/1/lr", json::array({1, 2})},
                           {"/history/0/p", "x"},
                           {"/loss_sum/2", nullptr},
                           {"/tensors/bytes", -1},
                           {"/options/data", 3}}) {
    json changed = whole;
    changed[json::json_pointer(each.first)] = each.second;
    const std::string text = refusal(changed.dump());
    CHECK_MESSAGE(text.starts_with("s.json: "), each.first);
  }
  json changed = whole;
  changed["history"][1]["lr"] = json::array({1, 2});
  CHECK(refusal(changed.dump()) == "s.json: history[1].lr is no list of 3 numbers");
}

TEST_CASE("a state of a newer format is refused by its number") {
  json newer = json::parse(write_train_state(full_state()));
  newer["format"] = 2;
  CHECK(refusal(newer.dump()) == "s.json: is of format 2, which a newer slimneck wrote; this one reads format 1");
  newer["format"] = 0;
  CHECK(refusal(newer.dump()) == "s.json: format is out of range");
}

TEST_CASE("hostile texts are refused in little time and memory") {
  const std::string deep(1 << 20, '[');
  CHECK(refusal(deep) == "s.json: is no JSON object");
  std::string nested = R"({"format":1,"generation":)" + deep;
  CHECK(refusal(nested) == "s.json: is no JSON object");
  nested = R"({"format":1,"balance":)" + std::string(1 << 19, '[') + std::string(1 << 19, ']') + "}";
  CHECK(refusal(nested) == "s.json: generation is missing");
  std::string many = "{";
  for (int i = 0; i < 300000; ++i) many += "\"" + std::to_string(i) + "\":0,";
  CHECK(refusal(many + "\"x\":0}") == "s.json: format is missing");
  CHECK(refusal(std::string((8 << 20) + 1, ' ')) == "s.json: has more than 8388608 bytes");
  CHECK(refusal("{\"format\":1e999}").starts_with("s.json: "));
  CHECK(refusal("{\"a\":\"\xff\xfe\"}") == "s.json: is no JSON object");
  json huge = json::parse(write_train_state(full_state()));
  huge["epoch"] = (std::int64_t{1} << 50) + 1;
  CHECK(refusal(huge.dump()) == "s.json: epoch is out of range");
}

TEST_CASE("checksums are SHA-256, of texts and of files") {
  const test::TemporaryFolder folder("checkpoint");
  CHECK(io::sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  for (const std::size_t size : std::initializer_list<std::size_t>{1, 55, 56, 64, 1000, 3000000}) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 % 251);
    CHECK(io::sha256(text) == test::sha256({text.begin(), text.end()}));
    overwrite(folder / "file", text);
    CHECK(io::digest_file(folder / "file", size) == io::Digest{size, io::sha256(text)});
    CHECK_THROWS_AS(io::digest_file(folder / "file", size - 1), IoError);
  }
}

TEST_CASE("the newest of two generations is found, and the one before when that is damaged") {
  const test::TemporaryFolder folder("checkpoint");
  CHECK_THROWS_WITH_AS(find_checkpoint(folder.path()), doctest::Contains("no checkpoint there"), IoError);
  for (index_t generation = 1; generation <= 3; ++generation) {
    write(folder.path(), generation);
    CHECK(found(folder.path()) == generation);
    CHECK(find_checkpoint(folder.path()).problems.empty());
    CHECK(train::last_generation(folder.path()) == generation);
  }
  const std::size_t files =
      static_cast<std::size_t>(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()));
  CHECK(files == 4);
  for (const char* file : {"resume.1.safetensors", "state.1.json"}) {
    CAPTURE(file);
    damage(folder / file, [&] {
      CHECK(found(folder.path()) == 2);
      const std::vector<std::string> problems = find_checkpoint(folder.path()).problems;
      REQUIRE(problems.size() == 1);
      CHECK(problems[0].starts_with((folder / file).string() + ": "));
    });
    CHECK(found(folder.path()) == 3);
  }
}

TEST_CASE("files that are missing, swapped or left over") {
  const test::TemporaryFolder folder("checkpoint");
  write(folder.path(), 4);
  write(folder.path(), 5);
  overwrite(folder / ".slimneck-1-1.tmp", "what a killed process left");
  overwrite(folder / "resume.2.safetensors", "something else");
  CHECK(found(folder.path()) == 5);

  fs::rename(folder / "resume.1.safetensors", folder / "away");
  CHECK(found(folder.path()) == 4);
  fs::rename(folder / "resume.0.safetensors", folder / "resume.1.safetensors");
  CHECK_THROWS_WITH_AS(find_checkpoint(folder.path()), doctest::Contains("SHA-256"), IoError);
  fs::rename(folder / "away", folder / "resume.0.safetensors");
  try {
    find_checkpoint(folder.path());
    FAIL("swapped tensors were taken");
  } catch (const IoError& error) {
    for (const char* file : {"resume.0.safetensors", "resume.1.safetensors"})
      CHECK(std::string(error.what()).find(file) != std::string::npos);
  }

  write(folder.path(), 4);
  json state = json::parse(content(folder / "state.0.json"));
  for (const char* name : {"../resume.0.safetensors", "/etc/passwd", "resume.1.safetensors", ""}) {
    state["tensors"]["file"] = name;
    overwrite(folder / "state.0.json", state.dump());
    CHECK_THROWS_WITH_AS(find_checkpoint(folder.path()), doctest::Contains("names the tensors"), IoError);
  }
  write(folder.path(), 4);
  state = json::parse(content(folder / "state.0.json"));
  state["generation"] = 7;
  overwrite(folder / "state.0.json", state.dump());
  CHECK_THROWS_WITH_AS(find_checkpoint(folder.path()), doctest::Contains("generation 7 is of another file"), IoError);
}

TEST_CASE("what killed writers left goes; files of writers that live, and all others, stay") {
  const test::TemporaryFolder folder("left_overs");
  CHECK(remove_left_overs(folder / "none") == 0);
  for (int writer = 0; writer < 2; ++writer)
    CHECK(in_child([&] {
            io::AtomicFile file(folder / "killed");
            _exit(7);  // as if killed: nothing is cleaned up
            return 0;
          }) == 7);
  overwrite(folder / "kept.tmp", "of somebody else");
  overwrite(folder / ".slimneck-notes.tmp", "of somebody else");
  fs::create_directory(folder / ".slimneck-1-2.tmp");
  fs::create_symlink("kept.tmp", folder / ".slimneck-1-3.tmp");
  const auto files = [&] { return std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()); };
  CHECK(files() == 6);
  {
    io::AtomicFile living(folder / "living");
    living.write(std::as_bytes(std::span("text", 4)));
    CHECK(remove_left_overs(folder.path()) == 2);
    CHECK(files() == 5);
    living.commit();
  }
  CHECK(content(folder / "living") == "text");
  CHECK(content(folder / "kept.tmp") == "of somebody else");
  CHECK(remove_left_overs(folder.path()) == 0);
  CHECK(files() == 5);
}

TEST_CASE("whatever instant the writer is killed at, a checkpoint is whole and at most one save old") {
  const test::TemporaryFolder folder("checkpoint");
  const SharedCounter written;
  const auto begin = std::chrono::steady_clock::now();
  write(folder.path(), 1);
  const auto took = std::chrono::steady_clock::now() - begin;
  written->store(1);
  index_t newest = 1;
  for (int kill_number = 0; kill_number < 100; ++kill_number) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      try {
        for (index_t generation = written->load() + 1;; ++generation) {
          write(folder.path(), generation);
          written->store(generation);
        }
      } catch (...) {
        _exit(99);
      }
    }
    // At an instant of the first or the second save; whichever it is, what is checked holds.
    const index_t goal = newest + kill_number % 2;
    while (written->load() < goal && waitpid(child, nullptr, WNOHANG) == 0) std::this_thread::yield();
    std::this_thread::sleep_for(took * (kill_number * 37 % 100) / 100);
    kill(child, SIGKILL);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    newest = found(folder.path());
    CHECK(newest >= written->load());
    CHECK(newest <= written->load() + 1);
    written->store(newest);
  }
  CHECK(newest > 50);
}

TEST_CASE("a full disk leaves the last checkpoint whole") {
  const test::TemporaryFolder folder("checkpoint");
  write(folder.path(), 1);
  write(folder.path(), 2);
  for (const rlim_t most : std::initializer_list<rlim_t>{0, 1, 100, 2000, 2400}) {
    CAPTURE(most);
    const int code = in_child([&] {
      const rlimit limit{most, most};
      if (std::signal(SIGXFSZ, SIG_IGN) == SIG_ERR || setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
      try {
        write(folder.path(), 3);
      } catch (const IoError& error) {
        return std::string(error.what()).find("resume.1.safetensors: cannot write") != std::string::npos ? 42 : 2;
      }
      return 3;
    });
    CHECK(code == 42);
    CHECK(found(folder.path()) == 2);
    CHECK(find_checkpoint(folder.path()).problems.empty());
  }
  const auto files = std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator());
  CHECK(files == 4);  // no temporary file stays
  write(folder.path(), 3);
  CHECK(found(folder.path()) == 3);
}

TEST_CASE("tensors of another training, and numbers that are not finite, are refused before anything is changed") {
  const test::TemporaryFolder folder("checkpoint");
  const Model model = parse_model(
      "nc: 2\ndepth_multiple: 1\nwidth_multiple: 1\nbackbone: [[-1, 1, Conv, [8, 3, 2]]]\nhead: []\n", "layer.yaml");
  Parameters parameters(model.graph);
  Ema average(parameters);
  Optimizer sgd(parameters, {});
  for (Tensor& moment : sgd.moments()) std::fill_n(moment.data<float>(), moment.numel(), 0.1F);
  const std::vector<train::KeptTensor> kept = train::kept_tensors(parameters, average, sgd, true);
  const std::vector<TensorEntry> entries = train::tensor_entries(kept);
  const auto written = [&](const std::vector<TensorEntry>& tensors) {
    write_safetensors(folder / "t.safetensors", tensors);
    return SafeTensors::read(folder / "t.safetensors");
  };

  Parameters other(model.graph);
  other.initialise(9);
  Ema other_average(other);
  Optimizer other_sgd(other, {});
  const std::vector<train::KeptTensor> goal = train::kept_tensors(other, other_average, other_sgd, true);
  const auto untouched = [&](const std::vector<TensorEntry>& tensors, const char* cause) {
    const Tensor before = other.entries()[0].value;
    CHECK_THROWS_WITH_AS(train::restore_tensors(goal, written(tensors)), doctest::Contains(cause), FormatError);
    CHECK(std::equal(before.data<float>(), before.data<float>() + before.numel(),
                     other.entries()[0].value.data<float>()));
  };
  std::vector<TensorEntry> changed(entries.begin(), entries.end() - 1);
  untouched(changed, "'gradients' is missing");
  changed = entries;
  changed.push_back({"more", {1}, std::span(parameters.gradients().data<float>(), 1)});
  untouched(changed, "tensors instead of");
  changed = entries;
  changed.back().type = StoredType::f16;
  untouched(changed, "'gradients' has another shape or type");
  changed = entries;
  changed.front().dims = {3, 8, 3, 3};
  untouched(changed, "'parameters/model.0.conv.weight' has another shape or type");
  sgd.moments()[0].data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  untouched(entries, "'moment.0' holds a number that is not finite");
  sgd.moments()[0].data<float>()[3] = 0.3F;

  train::restore_tensors(goal, written(entries));
  for (std::size_t i = 0; i < kept.size(); ++i)
    CHECK(std::equal(kept[i].tensor->data<float>(), kept[i].tensor->data<float>() + kept[i].tensor->numel(),
                     goal[i].tensor->data<float>()));
}

TEST_SUITE_END();
