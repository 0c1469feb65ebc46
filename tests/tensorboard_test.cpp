// Event files: the bytes of records, and what TensorBoard itself reads in them where Python has it.
#include "slimneck/tensorboard.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "python.hpp"
#include "slimneck/error.hpp"
#include "temporary_folder.hpp"
#include "train/tensorboard.hpp"

using namespace slimneck;

namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    text += digits[static_cast<unsigned char>(c) >> 4];
    text += digits[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_SUITE_BEGIN("tensorboard");

TEST_CASE("CRC-32C has its published check value") {
  CHECK(train::crc32c("") == 0);
  CHECK(train::crc32c("123456789") == 0xE3069283);              // the catalogue's check
  CHECK(train::crc32c(std::string(32, '\0')) == 0x8A9136AA);    // RFC 3720, B.4
  CHECK(train::crc32c(std::string(32, '\xFF')) == 0x62A8AB43);  // RFC 3720, B.4
}

TEST_CASE("records and events byte by byte") {
  // 9 = field 1 fixed64, 1a = field 3 bytes; wall time 1.5.
  CHECK(hex(train::event_record(train::version_event(1.5))) ==
        "1800000000000000a37f4b22"
        "09000000000000f83f1a0d627261696e2e4576656e743a32"
        "2a28646c");
  // Wall time 2; 10 = field 2 varint, step 300; 2a = field 5 bytes: { a = field 1: { tag "a/b", 15 = field 2 float } }.
  CHECK(hex(train::scalar_event("a/b", 0.25, 300, 2)) == "09000000000000004010ac022a0c0a0a0a03612f62150000803e");
}

TEST_CASE("an event file is its records") {
  const test::TemporaryFolder folder("tensorboard");
  EventFile file(folder.path(), 1700000000.5);
  CHECK(file.path().filename().string().starts_with("events.out.tfevents.1700000000."));
  std::string wanted = train::event_record(train::version_event(1700000000.5));
  CHECK(content(file.path()) == wanted);  // readable before anything was added
  file.add("train/box_loss", 0.125, 0, 1700000001);
  file.add("metrics/mAP_0.5", 1, 1, 1700000002);
  file.flush();
  wanted += train::event_record(train::scalar_event("train/box_loss", 0.125, 0, 1700000001));
  wanted += train::event_record(train::scalar_event("metrics/mAP_0.5", 1, 1, 1700000002));
  CHECK(content(file.path()) == wanted);
  CHECK_THROWS_AS(EventFile(folder / "none", 0), IoError);
}

TEST_CASE("TensorBoard reads it") {
  const test::Python python("tensorboard");
  if (!python) return;
  const test::TemporaryFolder folder("tensorboard_python");
  EventFile file(folder.path(), 1);
  for (int i = 0; i < 3; ++i) file.add("a/b", 0.25 * i, 1000 * i, 2 + i);
  file.flush();
  std::ofstream(folder / "read.py") << R"py(import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
sys.exit([(e.step, e.value, e.wall_time) for e in events.Scalars("a/b")] != [(0, 0, 2), (1000, .25, 3), (2000, .5, 4)])
)py";
  CHECK(python.run("'" + (folder / "read.py").string() + "' '" + folder.path().string() + "'") == 0);
}

TEST_SUITE_END();
