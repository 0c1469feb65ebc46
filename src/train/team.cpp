#include "train/team.hpp"

#include <algorithm>
#include <thread>

#include "core/threads.hpp"
#include "slimneck/error.hpp"

namespace slimneck::train {

namespace {

constexpr index_t most_parts = 8;
constexpr std::size_t bucket_bytes = std::size_t{4} << 20;
constexpr std::size_t losses = 3;  ///< box, obj, cls

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

bool power_of_two(index_t n) { return (n & (n - 1)) == 0; }

const TeamOptions& checked(const TeamOptions& options, int processes) {
  const Cut cut = Cut::of(options.batch, processes, options.sync_bn);
  if (cut.ranks == processes && (!options.sync_bn || power_of_two(processes))) return options;
  const std::string what = "training: a batch of " + std::to_string(options.batch) + " pictures";
  if (!options.sync_bn) throw Error(what + " is too small for " + std::to_string(processes) + " processes");
  throw Error(what + " with common statistics is worked on in " + std::to_string(cut.parts) +
              " parts of one size, which " + std::to_string(processes) + " processes cannot share evenly: take " +
              std::to_string(cut.parts) + " processes, a half or a quarter of that, or another batch");
}

void fill(const View<float>& input, std::span<const Image> images) {
  for (std::size_t i = 0; i < images.size(); ++i)
    image_to_tensor(images[i], View<float>(input.data + static_cast<index_t>(i) * input.sn,
                                           {1, 3, images[i].height, images[i].width}));
}

/// Those of pictures [first, last), numbered from 0.
std::vector<BoxTarget> targets_of(const Batch& batch, index_t first, index_t last) {
  std::vector<BoxTarget> targets;
  for (BoxTarget target : batch.targets) {
    if (target.image < first || target.image >= last) continue;
    target.image -= static_cast<int>(first);
    targets.push_back(target);
  }
  return targets;
}

}  // namespace

Cut Cut::of(index_t pictures, int processes, bool sync_bn) {
  Cut cut;
  if (sync_bn) {
    cut.parts = most_parts;
    while (pictures % cut.parts != 0) cut.parts /= 2;
  } else {
    cut.parts = std::max<index_t>(std::min<index_t>(processes, pictures), 1);
  }
  cut.ranks = static_cast<int>(std::min<index_t>(processes, cut.parts));
  return cut;
}

/// The part that a slot works on, when a batch is in so many.
class Team::Member final : public BatchPart {
 public:
  Member(Team& team, index_t slot, index_t parts, index_t here)
      : team_(team), slot_(slot), parts_(team.options_.sync_bn ? parts : 1) {
    PlanOptions plan = team.options_.plan;
    plan.mode = Mode::train;
    plan.part = this;
    const int threads = plan.exec.threads > 0 ? plan.exec.threads : core::max_threads();
    plan.exec.threads = std::max(1, threads / static_cast<int>(here));
    threads_ = plan.exec.threads;
    // Measured times differ from part to part, and sums only meet where all parts take the same steps.
    if (plan.tune == Tune::measure) plan.tune = Tune::table;
    plans_ = std::make_unique<PlanCache>(team.model_.graph, team.parameters_, plan, team.options_.most_plans);
  }

  [[nodiscard]] index_t parts() const noexcept override { return parts_; }
  void sum(std::span<double> numbers) noexcept override { team_.sum(slot_, numbers); }
  [[nodiscard]] bool leads() const noexcept override { return slot_ == 0; }
  [[nodiscard]] Tensor& gradients() noexcept override { return team_.gradients_[at(slot_)]; }
  void complete(int entry) noexcept override { team_.buckets_.complete(entry); }
  [[nodiscard]] bool stopped() const noexcept override { return team_.stopped_; }

  [[nodiscard]] PlanCache& plans() noexcept { return *plans_; }
  [[nodiscard]] int threads() const noexcept { return threads_; }

 private:
  Team& team_;
  index_t slot_, parts_;
  int threads_ = 1;
  std::unique_ptr<PlanCache> plans_;
};

Team::Team(const Model& model, Parameters& parameters, const TeamOptions& options)
    : model_(model),
      parameters_(parameters),
      options_(checked(options, options.communicator != nullptr ? options.communicator->size() : 1)),
      single_(options.communicator != nullptr ? nullptr : make_single()),
      communicator_(options.communicator != nullptr ? *options.communicator : *single_),
      buckets_(parameters, options.dead, communicator_, bucket_bytes) {
  const Cut cut = Cut::of(options_.batch, communicator_.size(), options_.sync_bn);
  for (index_t slot = 0; slot < cut.each(); ++slot) gradients_.emplace_back(parameters.gradients().shape());
}

Team::~Team() = default;

std::array<index_t, 2> Team::pictures(index_t batch) const {
  const Cut cut = Cut::of(batch, communicator_.size(), options_.sync_bn);
  const index_t rank = std::min(communicator_.rank(), cut.ranks);
  return {cut.first(rank * cut.each(), batch), cut.first(std::min(rank + 1, index_t{cut.ranks}) * cut.each(), batch)};
}

Shape Team::part_of(const Shape& batch) const {
  const Cut cut = Cut::of(batch.n, communicator_.size(), options_.sync_bn);
  return {cut.first(1, batch.n), batch.c, batch.h, batch.w};
}

Plan& Team::plan(const Shape& batch) {
  const Cut cut = Cut::of(batch.n, communicator_.size(), options_.sync_bn);
  return member(0, cut.parts).plans().at(part_of(batch));
}

Team::Member& Team::member(index_t slot, index_t parts) {
  std::unique_ptr<Member>& found = members_[{slot, parts}];
  const index_t here = std::max<index_t>(parts / communicator_.size(), 1);
  if (!found) found = std::make_unique<Member>(*this, slot, parts, here);
  return *found;
}

/// Plans are made here, one after another: it may throw, and then no part waits for another.
void Team::prepare(const Batch& batch, const Cut& cut) {
  here_ = communicator_.rank() < cut.ranks ? cut.each() : 0;
  ranks_ = cut.ranks;
  arrived_ = 0;
  problem_ = nullptr;
  stopped_ = false;
  numbers_.assign(at(here_), {});
  result_.assign(losses + model_.strides.size(), 0);
  while (gradients_.size() < at(here_)) gradients_.emplace_back(parameters_.gradients().shape());
  tasks_.clear();
  const index_t begin = pictures(batch.whole)[0];
  for (index_t slot = 0; slot < here_; ++slot) {
    const index_t part = communicator_.rank() * cut.each() + slot;
    const index_t first = cut.first(part, batch.whole), last = cut.first(part + 1, batch.whole);
    const Image& image = batch.images.front();
    Member& own = member(slot, cut.parts);
    Plan& plan = own.plans().at({last - first, 3, image.height, image.width});
    tasks_.push_back({&plan, own.threads(), first - begin, last - begin});
  }
}

LossParts Team::operator()(const Batch& batch, DetectionLoss& loss) {
  const Cut cut = Cut::of(batch.whole, communicator_.size(), options_.sync_bn);
  prepare(batch, cut);
  std::vector<Tensor*> gradients;
  for (index_t slot = 0; slot < std::max<index_t>(here_, 1); ++slot) {
    Tensor& own = gradients_[at(slot)];
    std::fill_n(own.data<float>(), own.numel(), 0.0F);
    gradients.push_back(&own);
  }
  buckets_.begin(std::move(gradients), at(here_));
  run_parts(batch, loss);
  try {
    buckets_.finish();
  } catch (...) {
    if (!problem_) problem_ = std::current_exception();
  }
  if (problem_) std::rethrow_exception(problem_);
  if (cut.ranks < communicator_.size()) communicator_.broadcast(std::as_writable_bytes(std::span(result_)));
  loss.rebalance(std::span(result_).subspan(losses));
  return {result_[0], result_[1], result_[2]};
}

void Team::run_parts(const Batch& batch, const DetectionLoss& loss) {
  std::vector<std::thread> threads;
  try {
    for (index_t slot = 1; slot < here_; ++slot)
      threads.emplace_back([this, slot, &batch, &loss] { run(slot, batch, loss); });
  } catch (...) {  // no more threads to be had
    stop(std::current_exception());
  }
  if (here_ > 0) run(0, batch, loss);
  for (std::thread& thread : threads) thread.join();
}

void Team::run(index_t slot, const Batch& batch, const DetectionLoss& loss) noexcept try {
  work(slot, batch, loss);
} catch (...) {
  stop(std::current_exception());
}

void Team::work(index_t slot, const Batch& batch, const DetectionLoss& loss) {
  const Task& task = tasks_[at(slot)];
  const core::ThreadScope scope(task.threads);
  Plan& plan = *task.plan;
  fill(plan.input(), std::span(batch.images).subspan(at(task.first), at(task.last - task.first)));
  const std::vector<BoxTarget> targets = targets_of(batch, task.first, task.last);
  plan.forward();
  if (stopped_) return;

  std::vector<View<const float>> heads;
  std::vector<View<float>> gradients;
  BatchShare share{batch.whole, {}, {}};
  for (std::size_t i = 0; i < model_.strides.size(); ++i) {
    heads.emplace_back(plan.output("head." + std::to_string(i)));
    gradients.push_back(plan.output_gradient("head." + std::to_string(i)));
    share.pairs.push_back(
        static_cast<double>(loss.match<float>(i, heads[i].shape.h, heads[i].shape.w, targets).size()));
  }
  sum(slot, share.pairs);
  const LossParts own =
      loss.part(std::span<const View<const float>>(heads), targets, std::span<const View<float>>(gradients), share);
  std::vector<double> numbers{own.box, own.obj, own.cls};
  numbers.insert(numbers.end(), share.objectness.begin(), share.objectness.end());
  sum(slot, numbers);
  if (slot == 0) result_ = numbers;
  plan.backward();
}

/// The one that comes last adds up; the others wait until it has.
void Team::sum(index_t slot, std::span<double> numbers) noexcept {
  std::unique_lock lock(mutex_);
  if (problem_) return;
  numbers_[at(slot)] = numbers;
  const std::int64_t round = round_;
  if (++arrived_ < here_) {
    changed_.wait(lock, [&] { return round_ != round || (problem_ && !adding_); });
    return;
  }
  arrived_ = 0;
  adding_ = true;
  lock.unlock();
  std::exception_ptr problem;
  try {
    add_up();
  } catch (...) {
    problem = std::current_exception();
  }
  lock.lock();
  if (problem && !problem_) problem_ = problem;
  stopped_ = problem_ != nullptr;
  adding_ = false;
  ++round_;
  lock.unlock();
  changed_.notify_all();
}

void Team::add_up() {
  for (std::size_t step = 1; step < numbers_.size(); step *= 2)
    for (std::size_t i = 0; i + step < numbers_.size(); i += 2 * step)
      for (std::size_t k = 0; k < numbers_[i].size(); ++k) numbers_[i][k] += numbers_[i + step][k];
  communicator_.all_reduce(numbers_[0], ranks_);
  for (std::size_t i = 1; i < numbers_.size(); ++i)
    std::copy(numbers_[0].begin(), numbers_[0].end(), numbers_[i].begin());
}

/// Whoever waits for this part, here or elsewhere, hears of it.
void Team::stop(const std::exception_ptr& problem) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!problem_) problem_ = problem;
    stopped_ = true;
  }
  changed_.notify_all();
  try {
    std::rethrow_exception(problem);
  } catch (const std::exception& cause) {
    communicator_.leave(cause.what());
  } catch (...) {
    communicator_.leave("an unknown error");
  }
  buckets_.stop();
}

}  // namespace slimneck::train
