#include "slimneck/augmented.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "slimneck/error.hpp"

namespace slimneck {

namespace {

constexpr float ground = 0.447F;

index_t scaled(index_t extent, double scale) {
  return std::max<index_t>(static_cast<index_t>(static_cast<double>(extent) * scale), 1);
}

/// For one new coordinate: the two old ones, and their weights.
struct Tap {
  index_t first, second;
  float weight_first, weight_second;
};

std::vector<Tap> taps(index_t from, index_t to) {
  const float ratio = static_cast<float>(from) / static_cast<float>(to);
  std::vector<Tap> all;
  for (index_t i = 0; i < to; ++i) {
    const float place = std::max((static_cast<float>(i) + 0.5F) * ratio - 0.5F, 0.0F);
    const index_t first = std::min(static_cast<index_t>(place), from - 1);
    const float second_part = place - static_cast<float>(first);
    all.push_back({first, std::min(first + 1, from - 1), 1 - second_part, second_part});
  }
  return all;
}

/// Boxes in the pixels of the pictures, whose width is `width`.
void copy_rows(const View<float>& from, index_t first, const View<float>& to, index_t at, index_t count,
               const Look& look, index_t width) {
  const auto scale = static_cast<float>(look.scale);
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t n = 0; n < to.shape.n; ++n)
    for (index_t row = 0; row < count; ++row) {
      const float* const source = from.data + from.offset(n, 0, first + row, 0);
      float* const target = to.data + to.offset(n, 0, at + row, 0);
      for (index_t k = 0; k < to.shape.w; ++k) target[k] = k < 4 ? source[k] / scale : source[k];
      if (look.mirrored) target[0] = static_cast<float>(width) - target[0];
    }
}

Graph boxes_of(const Model& model) {
  if (model.strides.empty()) throw Error(model.name + ": the model has no Detect");
  return model.graph.with_outputs([](const Output& o) { return o.name == "pred"; });
}

}  // namespace

Shape look_shape(const Shape& pictures, const Look& look, index_t stride) {
  if (std::min({pictures.n, pictures.c, pictures.h, pictures.w, stride}) < 1 || !(look.scale > 0))
    throw ShapeError("look_shape: " + to_string(pictures) + " at scale " + std::to_string(look.scale) +
                     ": extents, scale and stride must be positive");
  if (look.scale == 1) return pictures;
  const auto side = [&](index_t extent) {
    return static_cast<index_t>(std::ceil(static_cast<double>(extent) * look.scale / static_cast<double>(stride))) *
           stride;
  };
  return {pictures.n, pictures.c, side(pictures.h), side(pictures.w)};
}

void look_at(View<const float> pictures, const Look& look, View<float> out) {
  const Shape& from = pictures.shape;
  look_shape(from, look, 1);
  const index_t h = scaled(from.h, look.scale), w = scaled(from.w, look.scale);
  if (out.shape.n != from.n || out.shape.c != from.c || out.shape.h < h || out.shape.w < w || pictures.block != 1 ||
      out.block != 1)
    throw ShapeError("look_at: " + to_string(from) + " at scale " + std::to_string(look.scale) + " do not fit into " +
                     to_string(out.shape));
  const std::vector<Tap> rows = taps(from.h, h), columns = taps(from.w, w);
#pragma omp parallel for collapse(3) schedule(static)
  for (index_t n = 0; n < from.n; ++n)
    for (index_t c = 0; c < from.c; ++c)
      for (index_t y = 0; y < out.shape.h; ++y) {
        float* const target = out.data + out.offset(n, c, y, 0);
        const index_t pixels = y < h ? w : 0;
        const Tap& row = rows[static_cast<std::size_t>(std::min(y, h - 1))];
        const float* const upper = pictures.data + pictures.offset(n, c, row.first, 0);
        const float* const lower = pictures.data + pictures.offset(n, c, row.second, 0);
        for (index_t x = 0; x < pixels; ++x) {
          const Tap& column = columns[static_cast<std::size_t>(x)];
          const auto across = [&](const float* line) {
            const index_t a = look.mirrored ? from.w - 1 - column.first : column.first;
            const index_t b = look.mirrored ? from.w - 1 - column.second : column.second;
            return column.weight_first * line[a * pictures.sw] + column.weight_second * line[b * pictures.sw];
          };
          target[x * out.sw] = row.weight_first * across(upper) + row.weight_second * across(lower);
        }
        for (index_t x = pixels; x < out.shape.w; ++x) target[x * out.sw] = ground;
      }
}

AugmentedPlans::AugmentedPlans(const Model& model, Parameters& parameters, const PlanOptions& options, std::size_t most)
    : plans_(boxes_of(model), parameters, options, std::max<std::size_t>(most, 1) * augmented_looks.size()),
      strides_(model.strides),
      stride_(model.max_stride()) {
  for (const std::vector<double>& level : model.anchors) anchors_.push_back(static_cast<index_t>(level.size()) / 2);
}

AugmentedPlans::Range AugmentedPlans::kept_rows(std::size_t look, const Shape& seen) const {
  Range kept;
  for (std::size_t level = 0; level < strides_.size(); ++level) {
    const index_t rows = anchors_[level] * (seen.h / strides_[level]) * (seen.w / strides_[level]);
    if (look + 1 == augmented_looks.size() && level == 0)
      kept.first = rows;
    else if (look != 0 || level + 1 < strides_.size())
      kept.count += rows;
  }
  return kept;
}

View<float> AugmentedPlans::input(const Shape& shape) {
  index_t rows = 0, numbers = 0;
  for (std::size_t i = 0; i < augmented_looks.size(); ++i) {
    const Shape seen = look_shape(shape, augmented_looks[i], stride_);
    numbers = plans_.at(seen).output("pred").shape.w;
    rows += kept_rows(i, seen).count;
  }
  if (pictures_.shape() != shape) {
    pictures_ = Tensor();  // forward() refuses until there is memory for both
    rows_ = Tensor({shape.n, 1, rows, numbers});
    pictures_ = Tensor(shape);
  }
  return pictures_.view<float>();
}

View<const float> AugmentedPlans::forward() {
  if (pictures_.empty()) throw Error("AugmentedPlans: forward() before input()");
  const View<float> all = rows_.view<float>();
  index_t at = 0;
  for (std::size_t i = 0; i < augmented_looks.size(); ++i) {
    const Look& look = augmented_looks[i];
    const Shape seen = look_shape(pictures_.shape(), look, stride_);
    Plan& plan = plans_.at(seen);
    look_at(std::as_const(pictures_).view<float>(), look, plan.input());
    plan.forward();
    plan.wait();
    const Range kept = kept_rows(i, seen);
    copy_rows(plan.output("pred"), kept.first, all, at, kept.count, look, pictures_.shape().w);
    at += kept.count;
  }
  return all;
}

}  // namespace slimneck
