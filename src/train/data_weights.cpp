// What the labels of a data set say about drawing its samples.
#include <algorithm>
#include <numeric>

#include "slimneck/data.hpp"
#include "slimneck/error.hpp"

namespace slimneck {

std::vector<double> class_weights(const DataSet& data) {
  std::vector<double> weights;
  for (const index_t count : data.class_counts())
    weights.push_back(1 / static_cast<double>(std::max<index_t>(count, 1)));
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (double& weight : weights) weight /= sum;
  return weights;
}

std::vector<double> image_weights(const DataSet& data, std::span<const double> weights_of_classes) {
  if (static_cast<index_t>(weights_of_classes.size()) != data.nc)
    throw ShapeError("image_weights: " + std::to_string(weights_of_classes.size()) + " weights for " +
                     std::to_string(data.nc) + " classes");
  std::vector<double> weights;
  for (const Sample& sample : data.samples) {
    double sum = 0;
    for (const BoxLabel& box : sample.boxes) sum += weights_of_classes[static_cast<std::size_t>(box.cls)];
    weights.push_back(sum);
  }
  return weights;
}

}  // namespace slimneck
