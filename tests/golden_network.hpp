// The networks of the golden data: how they are built, what numbers fill them, what labels they train with.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "golden_case.hpp"
#include "slimneck/loss.hpp"
#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::test {

/// The numbers that the golden generator gives to a network: functions of each tensor's name.
inline void fill_by_name(Parameters& parameters, index_t classes) {
  for (Parameters::Entry& e : parameters.entries()) {
    const std::string stem = e.name.substr(0, e.name.rfind('.'));
    const bool norm = parameters.find(stem + ".running_mean") >= 0;
    const bool biased = parameters.find(stem + ".bias") >= 0;
    double low = -0.3, high = 0.3;
    if (e.name.ends_with("num_batches_tracked"))
      low = high = 0;
    else if (e.name.ends_with("running_var"))
      low = 0.5, high = 1.5;
    else if (norm && e.name.ends_with(".weight"))
      low = 0.6, high = 1.4;
    else if (!norm && e.name.ends_with(".bias"))
      low = -0.1, high = 0.1;
    else if (e.dims.size() == 4) {
      high = std::sqrt((biased ? 1.0 : 3.0) / static_cast<double>(e.dims[1] * e.dims[2] * e.dims[3]));
      low = -high;
    } else if (e.name.ends_with("anchors"))
      continue;
    const core::Stream stream(e.name, 7);
    for (index_t i = 0; i < e.value.numel(); ++i) {
      auto value = static_cast<float>(stream.uniform(static_cast<std::uint64_t>(i), low, high));
      if (!norm && e.name.ends_with(".bias")) {  // the prior of Detect, added in float
        const double stride = 8 << (e.name[e.name.size() - 6] - '0');
        const index_t k = i % (classes + 5);
        if (k == 4) value += static_cast<float>(std::log(8 / std::pow(640 / stride, 2)));
        if (k >= 5) value += static_cast<float>(std::log(0.6 / (static_cast<double>(classes) - 0.99999)));
      }
      if (e.value.dtype() == DType::f64)
        e.value.data<double>()[i] = static_cast<double>(value);
      else
        e.value.data<float>()[i] = value;
    }
  }
  parameters.touch();
}

inline ModelOptions golden_options(const std::string& family, const std::string& act, const std::string& shuffle,
                                   index_t n, index_t h, index_t w) {
  ModelOptions o;
  o.dialect = family;
  o.activation = act;
  o.shuffle = shuffle;
  o.classes = 3;
  o.batch = n;
  o.height = h;
  o.width = w;
  return o;
}

/// The labels of a golden file: rows of image, class, centre, extents.
inline std::vector<BoxTarget> golden_targets(const SafeTensors& file) {
  const std::vector<double> rows = golden(file, "targets").values;
  std::vector<BoxTarget> targets;
  for (std::size_t i = 0; i < rows.size(); i += 6)
    targets.push_back({static_cast<int>(rows[i]), static_cast<int>(rows[i + 1]), static_cast<float>(rows[i + 2]),
                       static_cast<float>(rows[i + 3]), static_cast<float>(rows[i + 4]),
                       static_cast<float>(rows[i + 5])});
  return targets;
}

}  // namespace slimneck::test
