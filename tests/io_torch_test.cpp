// PyTorch's files: what PyTorch wrote is read, and what is broken or hostile is not.
#include <doctest/doctest.h>
#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <set>

#include "io/files.hpp"
#include "python.hpp"
#include "shared_data.hpp"
#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"
#include "slimneck/weights.hpp"
#include "temporary_folder.hpp"

using namespace slimneck;
using namespace std::string_literals;

namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

std::vector<std::byte> golden_bytes(const std::string& name) {
  return io::read_file(test::test_data("torch/" + name), std::uint64_t{1} << 24);
}

std::string little(std::uint64_t value, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += static_cast<char>(i < 8 ? value >> (8 * i) & 0xff : 0);
  return out;
}

struct Record {
  std::string name, data;
  std::uint64_t method = 0, flags = 0;
};

/// A zip archive of stored records; `gap` stands between them, `before` and `after` around all.
std::string zip(const std::vector<Record>& records, const std::string& gap = "", const std::string& before = "",
                const std::string& after = "") {
  std::string all = before, directory;
  for (const Record& r : records) {
    const auto* data = reinterpret_cast<const Bytef*>(r.data.data());
    const std::string sizes = little(::crc32_z(0, data, r.data.size()), 4) + little(r.data.size(), 4) +
                              little(r.data.size(), 4) + little(r.name.size(), 2) + little(0, 2);
    const std::string common = little(r.flags, 2) + little(r.method, 2) + little(0, 4) + sizes;
    directory += "PK\1\2"s + little(20, 2) + little(20, 2) + common + little(0, 10) + little(all.size(), 4) + r.name;
    all += "PK\3\4"s + little(20, 2) + common + r.name + r.data + gap;
  }
  const std::size_t begin = all.size();
  return all + directory + "PK\5\6"s + little(0, 4) + little(records.size(), 2) + little(records.size(), 2) +
         little(directory.size(), 4) + little(begin, 4) + little(0, 2) + after;
}

/// A .pt file with that pickle, and a record data/0 of `storage` bytes.
std::string file_with(const std::string& pickle, std::size_t storage = 16) {
  return zip({{"a/data.pkl", pickle}, {"a/data/0", std::string(storage, '\1')}, {"a/version", "3\n"}});
}

// Pieces of pickles.
const std::string start = "\x80\x02";
std::string text(const std::string& value) { return "X" + little(value.size(), 4) + value; }
std::string number(std::int64_t value) { return "\x8a\x08" + little(static_cast<std::uint64_t>(value), 8); }
std::string tuple(const std::vector<std::int64_t>& values) {
  std::string out = "(";
  for (const std::int64_t v : values) out += number(v);
  return out + "t";
}
std::string storage(std::int64_t elements, const std::string& kind = "Float", const std::string& key = "0") {
  return "(" + text("storage") + "ctorch\n" + kind + "Storage\n" + text(key) + text("cpu") + number(elements) + "tQ";
}
std::string tensor(const std::string& in, std::int64_t offset, const std::vector<std::int64_t>& dims,
                   const std::vector<std::int64_t>& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n(" + in + number(offset) + tuple(dims) + tuple(strides) +
         "\x89"
         "ccollections\nOrderedDict\n)RtR";
}
std::string state_dict(const std::string& value) { return start + "}" + text("w") + value + "s."; }

SafeTensors read(const std::string& content) { return parse_torch(bytes_of(content), "a.pt"); }

std::string refusal(const std::string& content) {
  try {
    static_cast<void>(read(content));
  } catch (const FormatError& problem) {
    CHECK(std::string(problem.what()).starts_with("a.pt: "));
    return problem.what();
  }
  return "accepted";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void check_refused(const std::string& content, const std::string& cause) {
  const std::string message = refusal(content);
  CAPTURE(message);
  CAPTURE(cause);
  CHECK(contains(message, cause));
}

/// Names, extents and numbers of both are the same.
void check_same(const SafeTensors& file, const SafeTensors& wanted, const std::set<std::string>& without = {}) {
  CHECK(file.entries().size() + without.size() == wanted.entries().size());
  for (const SafeTensors::Entry& entry : wanted.entries()) {
    if (without.contains(entry.name)) continue;
    CAPTURE(entry.name);
    const SafeTensors::Entry* found = file.find(entry.name);
    REQUIRE(found != nullptr);
    CHECK(found->dims == entry.dims);
    const Tensor a = file.tensor(entry.name, DType::f64), b = wanted.tensor(entry.name, DType::f64);
    CHECK(std::memcmp(a.raw(), b.raw(), b.bytes()) == 0);
  }
}

}  // namespace

TEST_SUITE_BEGIN("io_torch");

TEST_CASE("a state dict: every element type, shared storages, any strides") {
  const SafeTensors file = parse_torch(golden_bytes("state.pt"), "state.pt");
  const SafeTensors wanted = SafeTensors::read(test::test_data("torch/state.safetensors"));
  check_same(file, wanted);
  CHECK(file.find("bf16")->dtype == "BF16");
  CHECK(file.find("f16")->dtype == "F16");
  CHECK(file.find("whole")->bytes.data() + 16 == file.find("part")->bytes.data());  // not a copy
}

TEST_CASE("whole networks: the averaged one, with its model file, names and dialect") {
  for (const std::string name : {"y5", "paper"}) {
    CAPTURE(name);
    const SafeTensors file = read_weights(test::test_data("torch/" + name + ".pt"));
    const SafeTensors wanted = SafeTensors::read(test::test_data("torch/" + name + ".safetensors"));
    check_same(file, wanted, {"x", "pred"});
    CHECK(file.metadata().at("gsconv_dialect") == name);
    CHECK(class_names(file.metadata(), 2) == std::vector<std::string>{"cat", "d\u00f6g"});

    const Model model = parse_model(file.metadata().at("yaml"), "small.pt", {.height = 64, .width = 96});
    CHECK(model.activation == "nn.Mish()");
    CHECK(model.warnings.empty());
    Parameters parameters(model.graph);
    load_state_dict(parameters, file);
    Plan plan(model.graph, parameters);
    const Tensor x = wanted.tensor("x"), pred = wanted.tensor("pred");
    std::copy_n(x.data<float>(), x.numel(), plan.input().data);
    plan.forward();
    const View<float> y = plan.output("pred");
    REQUIRE(y.shape.numel() == pred.numel());
    // Two float implementations of a dozen layers; the bound is that of the golden networks (5e-5 of the largest).
    float largest = 0, error = 0;
    for (index_t i = 0; i < pred.numel(); ++i) {
      largest = std::max(largest, std::abs(pred.data<float>()[i]));
      error = std::max(error, std::abs(pred.data<float>()[i] - y.data[i]));
    }
    CHECK(error <= 5e-5F * largest);
  }
}

TEST_CASE("a state dict that was written is read back, by PyTorch too") {
  const test::TemporaryFolder folder("torch");
  const SafeTensors file = parse_torch(golden_bytes("state.pt"), "state.pt");
  std::vector<TensorEntry> entries;
  for (const SafeTensors::Entry& e : file.entries()) entries.push_back({e.name, e.dims, e.bytes, stored_type(e.dtype)});
  write_torch(folder / "out.pt", entries, {{"names", "[\"a\"]"}});
  const SafeTensors again = read_weights(folder / "out.pt");
  check_same(again, file);
  CHECK(again.metadata().at("names") == "[\"a\"]");
  write_torch(folder / "twice.pt", entries, {{"names", "[\"a\"]"}});
  CHECK(io::read_file(folder / "out.pt", 1 << 20) == io::read_file(folder / "twice.pt", 1 << 20));

  const test::Python python("torch");
  if (!python) return;
  std::ofstream(folder / "check.py") << R"(
import sys, torch
ours = torch.load(sys.argv[1], weights_only=True)
theirs = torch.load(sys.argv[2], weights_only=True)
assert list(ours) == list(theirs)
for name in theirs:
    assert ours[name].dtype == theirs[name].dtype, name
    assert torch.equal(ours[name], theirs[name]), name
assert ours.slimneck_metadata == {'names': '["a"]'}
)";
  CHECK(python.run((folder / "check.py").string() + " '" + (folder / "out.pt").string() + "' '" +
                   test::test_data("torch/state.pt").string() + "'") == 0);
}

TEST_CASE("names that are not allowed are refused by name, whatever a pickle does with them") {
  const std::vector<std::pair<std::string, std::string>> names{{"os", "system"},
                                                               {"posix", "system"},
                                                               {"builtins", "eval"},
                                                               {"__builtin__", "getattr"},
                                                               {"subprocess", "Popen"},
                                                               {"torch.hub", "load"},
                                                               {"torch", "load"},
                                                               {"models.common", "AutoShape"},
                                                               {"torch._utils", "_rebuild_tensor_v3"},
                                                               {"collections", "Counter"}};
  for (const auto& [module, name] : names) {
    const std::string global = "c" + module + "\n" + name + "\n", wanted = "'" + module + "." + name + "'";
    check_refused(file_with(start + global + text("id") + "\x85R."), wanted);
    check_refused(file_with(start + global + ")\x81}b."), wanted);
    check_refused(file_with(state_dict(global)), wanted);
  }
  // Allowed, but not for this.
  check_refused(file_with(start + "ctorch\nFloatStorage\n)R."), "calls 'torch.FloatStorage'");
  check_refused(file_with(start + "ccollections\nOrderedDict\n]\x85R."), "calls 'collections.OrderedDict'");
  check_refused(file_with(start + "cmodels.common\nConv\n)R."), "calls 'models.common.Conv'");
  check_refused(file_with(start + "c__builtin__\nset\n)\x81."), "makes an object of '__builtin__.set'");
  check_refused(file_with(start + "cmodels.common\nConv\nK\1\x85\x81."), "makes an object of 'models.common.Conv'");
}

TEST_CASE("pickles that do what PyTorch's never do") {
  for (const char op : {'\x93', 'i', 'o', '\x82', '\x83', '\x84', '\x92', 'P', 'I', 'S', 'V', '\x8f', '\x95', '2', '0',
                        'l', 'd', 'T', 'U'})
    check_refused(file_with(start + std::string(1, op) + "."), "is not allowed");
  check_refused(file_with("\x80\x04}."), "protocol 4");
  check_refused(file_with(""), "no pickle");
  check_refused(file_with(start + "}"), "truncated");
  check_refused(file_with(start + "X\xff\xff\xff\xff."), "truncated");
  check_refused(file_with(start + "."), "does not leave one value");
  check_refused(file_with(start + "}}."), "does not leave one value");
  check_refused(file_with(start + "}.x"), "bytes follow its end");
  check_refused(file_with(start + "s."), "a value that is not there");
  check_refused(file_with(start + "(s."), "a value that is not there");
  check_refused(file_with(start + "u."), "no mark");
  check_refused(file_with(start + "}(K\1u."), "a key without a value");
  check_refused(file_with(start + "]K\1K\2s."), "no dict");
  check_refused(file_with(start + "}K\1"
                                  "a."),
                "no list");
  check_refused(file_with(start + "K\1}b."), "a state to something that has none");
  check_refused(file_with(start + "h\7."), "was never there");
  check_refused(file_with(start + "q\7."), "not there");
  check_refused(file_with(start + "K\1)R."), "no name");
  check_refused(file_with(start + "cmodels.common\nConv\nK\1R."), "no tuple");
  check_refused(file_with(start + "\x8a\x09" + std::string(9, '\1') + "."), "an integer of 9 bytes");
  check_refused(file_with(start + std::string(1 << 20, '}') + "}."), "values");
  check_refused(file_with(start + "}q\0"s + std::string("h\0", 2) + std::string(2 << 20, '(') + "."), "too many marks");
  check_refused(file_with(start + "N."), "neither a network");
  check_refused(file_with(start + "}."), "no tensors");
  check_refused(file_with(start + "}K\1N"
                                  "s."),
                "no text");
}

TEST_CASE("circles and towers end") {
  const std::string module = "cmodels.yolo\nModel\n)\x81";
  const std::string head = start + module + "q\0}"s;
  // A module that is its own child.
  check_refused(file_with(head + text("_modules") + "}" + text("m") + "h\0ssb."s), "circular");
  // 2^60 paths to one leaf: every module has its child twice.
  std::string tower = start + module + "q\0"s;
  for (char i = 1; i <= 60; ++i)
    tower += module + "}" + text("_modules") + "}(" + text("a") + "h" + std::string(1, static_cast<char>(i - 1)) +
             text("b") + "h" + std::string(1, static_cast<char>(i - 1)) + "usbq" + std::string(1, i);
  const auto begin = std::chrono::steady_clock::now();
  const std::string message = refusal(file_with(tower + "."));
  CHECK(message != "accepted");
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
  // A model file that contains itself is left out; the tensors are read all the same.
  const std::string parameters = text("_parameters") + "}" + text("w") + tensor(storage(4), 0, {4}, {1}) + "ss";
  const SafeTensors file = read(file_with(start + module + "}" + parameters.substr(0, parameters.size() - 1) + "s" +
                                          text("yaml") + "}q\1"s + text("me") + "h\1ssb."s));
  CHECK(file.entries().size() == 1);
  CHECK(file.metadata().empty());
}

TEST_CASE("one text that a pickle uses many times is not copied so often") {
  const std::string long_text = text(std::string(1 << 20, 'n')) + "q\1", again = "h\1";
  const std::string module = "cmodels.yolo\nModel\n)\x81}(";
  const std::string one = text("_parameters") + "}" + text("w") + tensor(storage(4), 0, {4}, {1}) + "s";
  std::string many;
  for (int i = 0; i < 50000; ++i) many += again;
  for (const std::string& list : {"](" + long_text + many + "e", "}(" + long_text + "N" + many + "u"}) {
    const SafeTensors file = read(file_with(start + module + one + text("names") + list + text("yaml") + list + "ub."));
    CHECK(file.entries().size() == 1);
    CHECK(file.metadata().empty());
  }
  std::string texts = text("0") + long_text, parameters = text("0") + tensor(storage(4), 0, {4}, {1}) + "q\1";
  for (int i = 1; i < 3000; ++i) {
    texts += text(std::to_string(i)) + again;
    parameters += text(std::to_string(i)) + again;
  }
  check_refused(file_with(start + "}" + text("w") + tensor(storage(4), 0, {4}, {1}) + "s}" + text("slimneck_metadata") +
                          "}(" + texts + "usb."),
                "more than 8 MiB of names and metadata");
  check_refused(file_with(start + module + text("_modules") + "}" + text(std::string(4000, 'm')) +
                          "cmodels.common\nConv\n)\x81}" + text("_parameters") + "}(" + parameters + "usbsub."),
                "more than 8 MiB of names and metadata");
}

TEST_CASE("tensors must lie inside their storage, and a storage must be its record") {
  CHECK(read(file_with(state_dict(tensor(storage(4), 0, {2, 2}, {2, 1})))).find("w")->dims.size() == 2);
  const auto refused = [](const std::string& value, const std::string& cause, std::size_t bytes = 16) {
    check_refused(file_with(state_dict(value), bytes), cause);
  };
  const std::int64_t huge = std::int64_t{1} << 62;
  refused(tensor(storage(4), 1, {4}, {1}), "reaches beyond its storage");
  refused(tensor(storage(4), 0, {2, 2}, {3, 1}), "reaches beyond its storage");
  refused(tensor(storage(4), 0, {huge, 4}, {0, 0}), "reaches beyond its storage");
  refused(tensor(storage(4), 0, {5, 1}, {huge, 1}), "reaches beyond its storage");
  refused(tensor(storage(4), huge, {1}, {1}), "reaches beyond its storage");
  refused(tensor(storage(4), -1, {1}, {1}), "no proper offset");
  refused(tensor(storage(4), 0, {-1}, {1}), "no size");
  refused(tensor(storage(4), 0, {2}, {-1}), "no size");
  refused(tensor(storage(4), 0, {2}, {1, 1}), "1 extents and 2 strides");
  refused(tensor(storage(4), 0, std::vector<std::int64_t>(17, 1), std::vector<std::int64_t>(17, 1)),
          "no proper extents");
  refused(tensor(storage(4, "Double"), 0, {1}, {1}), "its storage has 16 bytes, 4 elements of 8");
  refused(tensor(storage(4), 0, {1}, {1}), "its storage has 17 bytes", 17);
  refused(tensor(storage(-4), 0, {1}, {1}), "its storage has 16 bytes");
  refused(tensor(storage(huge), 0, {1}, {1}), "its storage has 16 bytes");
  refused(tensor(storage(4, "Float", "../version"), 0, {1}, {1}), "no record data/../version");
  refused(tensor(storage(4, "Short"), 0, {1}, {1}), "torch.ShortStorage");
  refused(tensor("N", 0, {1}, {1}), "has no storage");
  refused("N", "is no tensor");
  // 64 MiB of copies from 16 bytes.
  refused(tensor(storage(4), 0, {1 << 25}, {0}), "larger than the file and 64 MiB");
  check_refused(file_with(start + "}(" + text("w") + tensor(storage(4), 0, {1}, {1}) + text("w") +
                          tensor(storage(4), 0, {1}, {1}) + "u."),
                "occurs twice");
}

TEST_CASE("archives that are not what PyTorch writes") {
  const std::string pickle = state_dict(tensor(storage(4), 0, {4}, {1}));
  const std::vector<Record> good{{"a/data.pkl", pickle}, {"a/data/0", std::string(16, '\1')}};
  CHECK(refusal(zip(good)) == "accepted");
  const auto with = [&](Record more) {
    std::vector<Record> all = good;
    all.push_back(std::move(more));
    return zip(all);
  };
  check_refused(with({"a/data/0", "x"}), "occurs twice");
  check_refused(with({"b/x", "x"}), "another folder");
  check_refused(with({"a/constants.pkl", "x"}), "TorchScript");
  check_refused(with({"a/byteorder", "big"}), "big-endian");
  check_refused(with({"a/x", "x", 8}), "compressed (method 8)");
  check_refused(with({"a/x", "x", 0, 1}), "encrypted");
  check_refused(with({"a/x", "x", 0, 64}), "unknown flags");
  check_refused(with({std::string("a/\0", 3), "x"}), "no proper name");
  check_refused(zip({{"a/version", "3"}}), "no data.pkl");
  check_refused(zip({{"data.pkl", pickle}}), "no data.pkl");
  check_refused(zip(good, "gap"), "does not fill its place");
  check_refused(zip(good, "", "#!/bin/sh\n"), "before the archive");
  check_refused(zip(good, "", "", "tail"), "something follows");
  check_refused("", "truncated");
  std::string damaged = zip(good);
  damaged[damaged.find(std::string(16, '\1'))] ^= 1;
  check_refused(damaged, "wrong checksum");
  check_refused(
      "\x80\x02\x8a\nl\xfc\x9c"
      "F\xf9 j\xa8P\x19.",
      "before PyTorch 1.6");

  const test::TemporaryFolder folder("torch_kinds");
  std::ofstream(folder / "lfs.pt") << "version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
  CHECK_THROWS_WITH_AS(static_cast<void>(read_weights(folder / "lfs.pt")), doctest::Contains("Git LFS"), FormatError);
  CHECK_THROWS_AS(static_cast<void>(read_weights(folder / "none.pt")), IoError);
}

TEST_CASE("every truncation is refused; every flipped bit is refused or changes nothing that is read") {
  const std::vector<std::byte> content = golden_bytes("state.pt");
  const SafeTensors whole = parse_torch(content, "a.pt");
  for (std::size_t length = 0; length < content.size(); ++length) {
    const std::vector<std::byte> part(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(length));
    CHECK_THROWS_AS(static_cast<void>(parse_torch(part, "a.pt")), FormatError);
  }
  int accepted = 0;
  for (std::size_t i = 0; i < content.size(); ++i) {
    std::vector<std::byte> flipped = content;
    flipped[i] ^= std::byte{static_cast<unsigned char>(1U << (i % 8))};
    try {
      const SafeTensors file = parse_torch(std::move(flipped), "a.pt");
      ++accepted;
      check_same(file, whole);
    } catch (const FormatError&) {
    }
  }
  // Dates, versions and padding, which say nothing about the content: a third of so small a file.
  CHECK(accepted < static_cast<int>(content.size()) / 2);
}

TEST_CASE("published weights are the same as PyTorch's file and as safetensors") {
  const auto data = test::shared_data("data/weights/yolov5n-v7.0.pt");
  if (!data) {
    MESSAGE("skipped: no published weights");
    return;
  }
  const SafeTensors file = read_weights(*data);
  check_same(file, SafeTensors::read(std::filesystem::path(*data).replace_extension(".safetensors")));
  const Model model = parse_model(file.metadata().at("yaml"), "yolov5n.pt");
  CHECK(model_stats(model).parameters == 1872157);
  CHECK(model.activation == "nn.SiLU()");
  CHECK(class_names(file.metadata(), 80)[79] == "toothbrush");
  Parameters parameters(model.graph);
  load_state_dict(parameters, file);
}

TEST_SUITE_END();
