// How well a network finds the objects of a data set: the way from pictures through a plan to judged detections.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "slimneck/data.hpp"
#include "slimneck/export.hpp"
#include "slimneck/loss.hpp"
#include "slimneck/metrics.hpp"
#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"

namespace slimneck {

/// How a network is evaluated; names and defaults are YOLOv5's.
struct EvaluateOptions {
  index_t batch = 32;             ///< pictures of a batch
  index_t img = 640;              ///< size of the network's input; a multiple of its stride
  bool rect = true;               ///< batches of one aspect ratio, padded by half a stride; else squares
  float conf = 0.001F;            ///< boxes of a lower score are not looked at
  float iou = 0.6F;               ///< overlap above which the weaker of two boxes goes
  index_t max_det = 300;          ///< most detections of a picture
  bool single_cls = false;        ///< suppress and judge as if there were one class
  bool augment = false;           ///< also look at three sizes and mirrored, as YOLOv5's --augment does
  int workers = 0;                ///< threads that read pictures ahead; see LoaderOptions
  std::uint64_t cache_bytes = 0;  ///< see LoaderOptions
  DetectionLoss* loss = nullptr;  ///< measures the loss too; not rebalanced
  PlanOptions plan = {};          ///< how the network runs; its mode is set here
};

/// Milliseconds a picture, on average.
struct EvaluateTimes {
  double pre = 0, inference = 0, nms = 0;  ///< making the tensor; the network; suppression
};

/// What came of it.
struct Evaluation {
  std::vector<Judged> judged;     ///< one for each picture, in its own pixels
  std::vector<index_t> indices;   ///< of their samples in the data set; pictures that could not be read are not there
  LossParts loss;                 ///< mean over the batches; 0 without EvaluateOptions::loss
  EvaluateTimes ms;               ///< where the time went
  index_t height = 0, width = 0;  ///< of the last batch's pictures, as the network saw them
};

/// Evaluates one network on one data set, as often as its parameters change. Keeps the plans of the shapes that came
/// last.
class SLIMNECK_EXPORT Evaluator {
 public:
  /// Called after each batch with what was found in its pictures, in the order of Batch::indices.
  using AfterBatch = std::function<void(const Batch&, std::span<const Judged>)>;

  /// The model has a Detect and as many classes as the data (one, with single_cls on either side). `parameters` (f32)
  /// and `data` must outlive the evaluator. Throws ShapeError or FormatError when things do not fit.
  Evaluator(const Model& model, Parameters& parameters, const DataSet& data, const EvaluateOptions& options);
  ~Evaluator();
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  /// Looks at every picture. What comes out does not depend on the number of threads or workers. Throws Error when no
  /// picture can be read, and what `after_batch` throws.
  Evaluation operator()(const AfterBatch& after_batch = {});
  /// Batches of the data set.
  [[nodiscard]] index_t batches() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slimneck
