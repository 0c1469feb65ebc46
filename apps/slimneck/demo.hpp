// The parts of `slimneck demo`. Each says on standard output what it does and returns its sections of the report.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "slimneck/data.hpp"

namespace slimneck::cli {

struct DemoArguments {
  std::filesystem::path output = "runs/demo";
  std::uint64_t seed = 1;  ///< of the pictures and of what is trained; the weights have seen those of seed 0
};

/// Pictures of shapes that were drawn for this run.
struct DemoData {
  DataConfig config;
  DataSet train, val, test;
};

/// The network whose weights come with the library looks at the test pictures.
std::string show_detection(const DemoArguments& arguments, const DemoData& data);

/// That network learns another task: families of shapes instead of shapes. The data's classes become these.
std::string show_training(const DemoArguments& arguments, DemoData& data);

}  // namespace slimneck::cli
