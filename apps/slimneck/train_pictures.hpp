// Pictures of what a training learns from.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "slimneck/data.hpp"
#include "slimneck/plot.hpp"

namespace slimneck::cli {

/// labels.jpg and labels_correlogram.jpg
void save_labels_pictures(const std::filesystem::path& folder, const DataSet& data, std::span<const std::string> names);

/// train_batchN.jpg
void save_batch_picture(const std::filesystem::path& folder, index_t number, const Batch& batch, const DataSet& data,
                        std::span<const std::string> names);

}  // namespace slimneck::cli
