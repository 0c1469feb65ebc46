#include "train_log.hpp"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>

#include "cli.hpp"
#include "slimneck/files.hpp"
#include "val_table.hpp"

namespace slimneck::cli {

namespace {

long long ll(index_t number) { return static_cast<long long>(number); }

/// Memory that the process holds, as YOLOv5 shows that of a GPU: "1.23G".
std::string resident() {
  long long total = 0, pages = 0;
  std::ifstream("/proc/self/statm") >> total >> pages;
  return format("%.3gG", static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e9);
}

/// The names of results.csv and, behind the epoch, of TensorBoard's scalars.
constexpr std::array<const char*, 14> columns{"epoch",
                                              "train/box_loss",
                                              "train/obj_loss",
                                              "train/cls_loss",
                                              "metrics/precision",
                                              "metrics/recall",
                                              "metrics/mAP_0.5",
                                              "metrics/mAP_0.5:0.95",
                                              "val/box_loss",
                                              "val/obj_loss",
                                              "val/cls_loss",
                                              "x/lr0",
                                              "x/lr1",
                                              "x/lr2"};

std::array<double, columns.size()> values_of(const EpochResult& e) {
  return {static_cast<double>(e.epoch),
          e.train.box,
          e.train.obj,
          e.train.cls,
          e.p,
          e.r,
          e.map50,
          e.map50_95,
          e.val.box,
          e.val.obj,
          e.val.cls,
          e.lr[0],
          e.lr[1],
          e.lr[2]};
}

}  // namespace

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void say(const std::string& line) {
  try {
    print(line + "\n");
    flush_output();
  } catch (const IoError&) {
    // The reader is gone. Everything that is still to come, the buffer too, goes nowhere.
    if (std::freopen("/dev/null", "w", stdout) != nullptr) std::cout.clear();
  }
}

std::string results_csv(std::span<const EpochResult> history) {
  std::string text;
  for (const char* name : columns) text += format("%20s,", name);
  text.back() = '\n';
  for (const EpochResult& epoch : history) {
    for (const double value : values_of(epoch)) text += format("%20.5g,", value);
    text.back() = '\n';
  }
  return text;
}

TrainLog::TrainLog(std::filesystem::path folder, index_t epochs) : folder_(std::move(folder)), epochs_(epochs) {
  try {
    events_.emplace(folder_, wall_seconds());
  } catch (const IoError& problem) {
    note(std::string("warning: ") + problem.what());
  }
}

void TrainLog::begin_epoch() {
  last_.reset();
  say(format("\n%11s%11s%11s%11s%11s%11s%11s", "Epoch", "RSS", "box_loss", "obj_loss", "cls_loss", "Instances",
             "Size"));
}

std::string TrainLog::row(index_t epoch) const {
  const std::string count = std::to_string(epoch) + "/" + std::to_string(epochs_ - 1);
  if (!last_) return format("%11s%11s", count.c_str(), resident().c_str());
  return format("%11s%11s%11.4g%11.4g%11.4g%11.4g%11.4g", count.c_str(), resident().c_str(), last_->mean.box,
                last_->mean.obj, last_->mean.cls, static_cast<double>(last_->labels),
                static_cast<double>(last_->width));
}

void TrainLog::batch(const StepResult& step, index_t pictures, index_t batches) {
  last_ = step;
  if (begun_) {
    constexpr double ms = 1e-3;
    ++speed_.batches;
    speed_.pictures += pictures;
    speed_.waiting += step.wait_ms * ms;
    speed_.seconds += (step.wait_ms + step.step_ms) * ms;
  }
  begun_ = true;
  if (!Progress::possible()) return;
  constexpr int width = 20;
  const auto done = static_cast<int>((step.batch + 1) * width / std::max<index_t>(batches, 1));
  progress_.show(row(step.epoch) + ' ' + std::string(static_cast<std::size_t>(done), '#') +
                 std::string(static_cast<std::size_t>(width - done), '.') +
                 format(" %lld/%lld %.0f ms", ll(step.batch + 1), ll(batches), step.wait_ms + step.step_ms));
}

void TrainLog::clear_bar() { progress_.clear(); }

void TrainLog::end_training(index_t epoch) {
  clear_bar();
  say(row(epoch));
}

void TrainLog::validation(Metrics m) {
  m.classes.clear();  // the row of all will do
  say(val_head() + "\n" + val_line(val_rows(m, nullptr, {}).front()));
}

void TrainLog::book(std::span<const EpochResult> history) {
  if (events_ && !history.empty()) {
    try {
      const std::array values = values_of(history.back());
      for (std::size_t i = 1; i < values.size(); ++i)
        events_->add(columns[i], values[i], history.back().epoch, wall_seconds());
      events_->flush();
    } catch (const IoError& problem) {
      note(std::string("warning: ") + problem.what());
      events_.reset();
    }
  }
  const Uninterrupted shield;
  write_text((folder_ / "results.csv").string(), results_csv(history));
}

}  // namespace slimneck::cli
