// slimneck convert: weights from one file format to another.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include "cli.hpp"

namespace slimneck::cli {

namespace {

struct ConvertArguments {
  std::string from, to;
  bool half = false;
};

using Write = void (*)(const std::filesystem::path&, std::span<const TensorEntry>,
                       const std::map<std::string, std::string>&);

Write writer_for(const std::string& path) {
  const std::string extension = std::filesystem::path(path).extension().string();
  if (extension == ".safetensors") return write_safetensors;
  if (extension == ".pt" || extension == ".pth") return write_torch;
  throw UsageError("'" + path + "': the name must end with .safetensors, .pt or .pth");
}

bool is_floating(const std::string& dtype) { return dtype.find('F') != std::string::npos; }

bool all_finite(const Tensor& tensor) {
  const auto* first = tensor.data<double>();
  return std::all_of(first, first + tensor.numel(), [](double v) { return std::isfinite(v); });
}

void run(const ConvertArguments& arguments) {
  const Write write = writer_for(arguments.to);
  require_writable(arguments.to);
  const SafeTensors file = read_weights(arguments.from);
  std::vector<TensorEntry> entries;
  std::vector<Tensor> converted;
  converted.reserve(file.entries().size());  // entries look into it
  for (const SafeTensors::Entry& entry : file.entries()) {
    TensorEntry& written = entries.emplace_back();
    written = {entry.name, entry.dims, entry.bytes, stored_type(entry.dtype)};
    if (!is_floating(entry.dtype)) continue;
    Tensor values = file.tensor(entry.name, DType::f64);  // exact for every floating type
    if (!all_finite(values)) note("warning: " + printable(entry.name) + " holds NaN or infinite numbers");
    if (!arguments.half || entry.dtype == "F16") continue;
    written = tensor_entry(entry.name, converted.emplace_back(std::move(values)), StoredType::f16);
    written.dims = entry.dims;  // a scalar has none
  }
  std::map<std::string, std::string> metadata = file.metadata();
  metadata["format"] = "pt";
  const Uninterrupted shield;
  write(arguments.to, entries, metadata);
}

}  // namespace

void add_convert(CLI::App& app) {
  CLI::App* command = app.add_subcommand("convert", "weights from PyTorch to safetensors, and back");
  auto arguments = std::make_shared<ConvertArguments>();
  command->add_option("from", arguments->from, "weights, safetensors or PyTorch")->type_name("FILE")->required();
  command->add_option("to", arguments->to, "file to write: .safetensors, or .pt for a state dict")
      ->type_name("FILE")
      ->required();
  command->add_flag("--half", arguments->half, "floating point numbers in half precision");
  command->footer(
      "A .pt file is read as data; nothing in it is executed. Class names, the model file and the dialect of a "
      "pickled\n"
      "network are kept as metadata, so that other commands need no --cfg.\n"
      "Examples:\n"
      "  slimneck convert yolov5n.pt yolov5n.safetensors\n"
      "  slimneck convert best.safetensors best.pt --half");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
