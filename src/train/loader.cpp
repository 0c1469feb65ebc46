// Batches of a data set: in which order its samples come, in which shapes, and how they are handed out.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "slimneck/data.hpp"
#include "slimneck/error.hpp"
#include "train/look_ahead.hpp"
#include "train/random.hpp"
#include "train/sample_maker.hpp"

namespace slimneck {

namespace {

using train::Made;
using train::Purpose;
using train::Random;
using HeightWidth = std::array<index_t, 2>;

constexpr index_t max_batch = 65536, max_img = LoaderOptions::most_img;
constexpr double max_pad = 8;
constexpr int max_workers = 256;

void check(const DataSet& data, const LoaderOptions& options) {
  const auto refuse = [](const std::string& what) { throw ShapeError("Loader: " + what); };
  if (options.batch < 1 || options.batch > max_batch) refuse("batch must be in 1..65536");
  if (options.stride < 1 || options.img < options.stride || options.img > max_img || options.img % options.stride != 0)
    refuse("img must be a multiple of stride " + std::to_string(options.stride) + " up to 4096, got " +
           std::to_string(options.img));
  if (!(options.pad >= 0 && options.pad <= max_pad)) refuse("pad must be in 0..8");
  if (options.workers < 0 || options.workers > max_workers) refuse("workers must be in 0..256");
  if (options.rect && options.shuffle) refuse("rectangular batches cannot be shuffled");
  if (options.multi_scale && !options.augment) refuse("multi_scale belongs to augment");
  if (options.augment) check_hyp(options.hyp);
  if (data.samples.empty()) throw FormatError(data.name + ": no picture can be used");
  const bool labelled =
      std::any_of(data.samples.begin(), data.samples.end(), [](const Sample& sample) { return !sample.boxes.empty(); });
  if (options.augment && !labelled)
    throw FormatError(data.name + ": no picture has a label, there is nothing to learn");
}

double aspect(const Sample& sample) { return static_cast<double>(sample.height) / static_cast<double>(sample.width); }

/// The smallest shape with a side of img in which pictures between two aspects fit, in whole strides and `pad` more.
HeightWidth rectangle(double flattest, double narrowest, const LoaderOptions& options) {
  const auto extent = [&](double part) {
    const double strides = part * static_cast<double>(options.img) / static_cast<double>(options.stride) + options.pad;
    return static_cast<index_t>(std::ceil(strides)) * options.stride;
  };
  return {extent(narrowest < 1 ? narrowest : 1), extent(flattest > 1 ? 1 / flattest : 1)};
}

/// Grey and without labels in the place of a picture that cannot be read.
void leave_empty(Made& made, const HeightWidth& shape) {
  constexpr Colour grey{114, 114, 114};
  made.image = Image(shape[1], shape[0], grey);
  made.targets.clear();
  made.usable = true;
}

}  // namespace

class Loader::Impl {
 public:
  Impl(const DataSet& data, const LoaderOptions& options)
      : data_(data), options_((check(data, options), options)), maker_(data_, options_), order_(data.samples.size()) {
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    if (options_.rect) sort_by_aspect();
  }

  [[nodiscard]] index_t batches() const noexcept { return (samples() + options_.batch - 1) / options_.batch; }

  [[nodiscard]] HeightWidth shape(index_t batch) const {
    if (batch < 0 || batch >= batches()) throw ShapeError("Loader: there is no batch " + std::to_string(batch));
    return options_.rect ? shapes_[static_cast<std::size_t>(batch)] : HeightWidth{options_.img, options_.img};
  }

  void set_image_weights(std::span<const double> weights);
  void begin_epoch(index_t epoch, index_t first);
  bool next(Batch& batch);

  [[nodiscard]] index_t skipped() const noexcept { return static_cast<index_t>(failed_.size()); }
  [[nodiscard]] index_t cached() const noexcept { return maker_.store().cached(); }
  [[nodiscard]] std::string cache_message() const;

 private:
  [[nodiscard]] index_t samples() const noexcept { return static_cast<index_t>(data_.samples.size()); }
  void sort_by_aspect();
  void draw_order(index_t epoch);
  Made make(index_t epoch, index_t position);
  void add(Made& made, std::size_t sample, Batch& batch);
  [[nodiscard]] index_t end_of(index_t position) const noexcept;
  [[nodiscard]] bool wanted(index_t position) const;

  const DataSet& data_;
  const LoaderOptions options_;
  train::SampleMaker maker_;
  std::vector<std::size_t> order_;
  std::vector<HeightWidth> shapes_;  ///< with rect
  std::vector<double> weights_;
  std::set<std::size_t> failed_;
  std::string first_failure_;
  index_t position_ = 0;
  bool delivered_ = false;
  std::unique_ptr<train::LookAhead> ahead_;  ///< last: it uses the others
};

void Loader::Impl::sort_by_aspect() {
  std::stable_sort(order_.begin(), order_.end(),
                   [&](std::size_t a, std::size_t b) { return aspect(data_.samples[a]) < aspect(data_.samples[b]); });
  for (index_t first = 0; first < samples(); first += options_.batch) {
    const index_t last = std::min(first + options_.batch, samples()) - 1;
    const auto aspect_at = [&](index_t i) { return aspect(data_.samples[order_[static_cast<std::size_t>(i)]]); };
    shapes_.push_back(rectangle(aspect_at(first), aspect_at(last), options_));
  }
}

void Loader::Impl::set_image_weights(std::span<const double> weights) {
  if (options_.rect && !weights.empty()) throw ShapeError("Loader: rectangular batches have no image weights");
  if (!weights.empty() && weights.size() != data_.samples.size())
    throw ShapeError("Loader: " + std::to_string(weights.size()) + " image weights for " +
                     std::to_string(data_.samples.size()) + " pictures");
  const bool fit = std::all_of(weights.begin(), weights.end(), [](double w) { return std::isfinite(w) && w >= 0; });
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (!weights.empty() && (!fit || !(sum > 0) || !std::isfinite(sum)))
    throw ShapeError("Loader: image weights must be at least 0, and one of them above");
  weights_.assign(weights.begin(), weights.end());
}

void Loader::Impl::draw_order(index_t epoch) {
  if (options_.rect) return;
  std::iota(order_.begin(), order_.end(), std::size_t{0});
  Random random(options_.seed, Purpose::order, epoch, 0);
  if (!weights_.empty()) {
    std::vector<double> sums(weights_.size());
    std::partial_sum(weights_.begin(), weights_.end(), sums.begin());
    for (std::size_t& sample : order_) {
      const auto at = std::upper_bound(sums.begin(), sums.end(), random.unit() * sums.back());
      sample = static_cast<std::size_t>(std::min(at, sums.end() - 1) - sums.begin());
    }
  } else if (options_.shuffle) {
    for (std::size_t i = order_.size(); i > 1; --i)
      std::swap(order_[i - 1], order_[static_cast<std::size_t>(random.below(static_cast<index_t>(i)))]);
  }
}

void Loader::Impl::begin_epoch(index_t epoch, index_t first) {
  if (first < 0 || first > batches()) throw ShapeError("Loader: there is no batch " + std::to_string(first));
  ahead_.reset();
  draw_order(epoch);
  const index_t begin = std::min(first * options_.batch, samples());
  position_ = begin;
  delivered_ = begin > 0;
  const index_t bound = std::max<index_t>(2 * options_.batch, options_.workers);
  ahead_ = std::make_unique<train::LookAhead>(samples() - begin, bound, options_.workers,
                                              [this, epoch, begin](index_t i) { return make(epoch, begin + i); });
}

Made Loader::Impl::make(index_t epoch, index_t position) {
  if (!wanted(position)) return {};
  const index_t batch = position / options_.batch;
  Made made = options_.augment ? maker_.augmented(order_, epoch, position, shape(batch))
                               : maker_.plain(order_[static_cast<std::size_t>(position)], shape(batch));
  if (!made.usable && options_.part) leave_empty(made, shape(batch));
  if (!made.usable || !options_.multi_scale) return made;
  const index_t size = multi_scale_size(options_.img, options_.stride, options_.seed, epoch, batch);
  // Whole numbers: rounded up from a quotient, the longer side would sometimes be a stride longer than `size`.
  const index_t unit = std::max(made.image.width, made.image.height) * options_.stride;
  const auto extent = [&](index_t from) { return (from * size + unit - 1) / unit * options_.stride; };
  made.image = resize_bilinear(made.image, extent(made.image.width), extent(made.image.height));
  return made;
}

void Loader::Impl::add(Made& made, std::size_t sample, Batch& batch) {
  for (Made::Failure& failure : made.failures)
    if (failed_.insert(failure.sample).second) {
      if (first_failure_.empty()) first_failure_ = failure.cause;
      batch.skipped.push_back(std::move(failure.cause));
    }
  if (!made.usable) return;
  const int image = static_cast<int>(batch.images.size());
  for (BoxTarget& target : made.targets) target.image = image;
  batch.targets.insert(batch.targets.end(), made.targets.begin(), made.targets.end());
  batch.images.push_back(std::move(made.image));
  batch.indices.push_back(static_cast<index_t>(sample));
  if (!options_.augment) batch.geometry.push_back(made.geometry);
}

bool Loader::Impl::next(Batch& batch) {
  if (!ahead_) throw ShapeError("Loader: next() without begin_epoch()");
  batch = {};
  while (batch.whole == 0 && position_ < samples())
    for (const index_t begin = position_, end = end_of(position_); position_ < end;) {
      const std::size_t sample = order_[static_cast<std::size_t>(position_++)];
      Made made = ahead_->take();
      add(made, sample, batch);
      if (position_ == end) batch.whole = options_.part ? end - begin : static_cast<index_t>(batch.images.size());
    }
  delivered_ = delivered_ || batch.whole > 0;
  if (!delivered_)
    throw FormatError(data_.name + ": none of its " + std::to_string(samples()) +
                      " pictures can be read: " + first_failure_);
  return batch.whole > 0;
}

index_t Loader::Impl::end_of(index_t position) const noexcept {
  return std::min((position / options_.batch + 1) * options_.batch, samples());
}

/// Is the position in the part of its batch?
bool Loader::Impl::wanted(index_t position) const {
  if (!options_.part) return true;
  const index_t begin = position / options_.batch * options_.batch;
  const auto [first, last] = options_.part(end_of(position) - begin);
  return position >= begin + first && position < begin + last;
}

std::string Loader::Impl::cache_message() const {
  if (options_.cache_bytes == 0 || cached() == samples()) return "";
  return "the cache has room for " + std::to_string(cached()) + " of " + std::to_string(samples()) + " pictures";
}

Loader::Loader(const DataSet& data, const LoaderOptions& options) : impl_(std::make_unique<Impl>(data, options)) {}
Loader::~Loader() = default;
index_t Loader::batches() const noexcept { return impl_->batches(); }
std::array<index_t, 2> Loader::shape(index_t batch) const { return impl_->shape(batch); }
void Loader::set_image_weights(std::span<const double> weights) { impl_->set_image_weights(weights); }
void Loader::begin_epoch(index_t epoch, index_t first) { impl_->begin_epoch(epoch, first); }
bool Loader::next(Batch& batch) { return impl_->next(batch); }
index_t Loader::skipped() const noexcept { return impl_->skipped(); }
index_t Loader::cached() const noexcept { return impl_->cached(); }
std::string Loader::cache_message() const { return impl_->cache_message(); }

index_t multi_scale_size(index_t img, index_t stride, std::uint64_t seed, index_t epoch, index_t batch) {
  if (stride < 1 || img < stride || img > max_img) throw ShapeError("multi_scale_size: img must be in stride..4096");
  const index_t least = (img + 2 * stride - 1) / (2 * stride), most = 3 * img / (2 * stride);
  Random random(seed, Purpose::size, epoch, batch);
  return (least + random.below(most - least + 1)) * stride;
}

}  // namespace slimneck
