// See onednn_tape.hpp.
#ifdef SLIMNECK_WITH_ONEDNN

#include "onednn_tape.hpp"

#include <algorithm>
#include <limits>
#include <map>

#include "measure/machine.hpp"

namespace slimneck::bench::onednn {

namespace {

bool general(const Tape::Steps& steps) {
  return std::any_of(steps.begin(), steps.end(), [](const Tape::Step& s) { return s.kernel.starts_with("ref"); });
}

}  // namespace

Tape::Step Tape::reorder(const Memory& from, const Memory& to, Work work) {
  primitive_attr attr = attributes();
  const dnnl::reorder::primitive_desc d(from, to, attr);
  return step<dnnl::reorder>(d, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}, work);
}

void Tape::fit_scratchpad(Steps& steps) {
  std::size_t wanted = 0;
  for (const Step& s : steps) wanted = std::max(wanted, s.scratchpad.get_size());
  const auto bind = [this](Step& s) {
    if (s.scratchpad.get_size() > 0) s.arguments[DNNL_ARG_SCRATCHPAD] = memory(s.scratchpad, scratchpad_.data<float>());
  };
  if (wanted > scratchpad_.bytes() || scratchpad_.empty()) {
    scratchpad_ = floats(wanted);
    std::for_each(steps_.begin(), steps_.end(), bind);
  }
  std::for_each(steps.begin(), steps.end(), bind);
}

void Tape::add(Steps steps) {
  fit_scratchpad(steps);
  for (Step& s : steps) {
    execute(s);
    steps_.push_back(std::move(s));
  }
  stream_.wait();
}

void Tape::add(Step step) {
  Steps one;
  one.push_back(std::move(step));
  add(std::move(one));
}

double Tape::seconds_of(Steps& steps) {
  const double begin = measure::seconds_now();
  for (Step& s : steps) execute(s);
  stream_.wait();
  return measure::seconds_now() - begin;
}

std::size_t Tape::add_fastest(const std::vector<MakeSteps>& ways, const std::string& what) {
  struct Choice {
    std::size_t way;
    Steps steps;
  };
  std::vector<Choice> own, rest;
  for (std::size_t i = 0; i < ways.size(); ++i) try {
      Steps steps = ways[i]();
      (general(steps) ? rest : own).push_back({i, std::move(steps)});
    } catch (const dnnl::error&) {
      continue;  // it does not have that
    }
  std::vector<Choice>& choices = own.empty() ? rest : own;
  if (own.empty() && !general_) throw dnnl::error(dnnl_unimplemented, "only general code");
  if (choices.empty()) throw Error("oneDNN has no way to compute " + what);
  // In turns, so that whatever else the machine does hits all of them.
  constexpr int rounds = 5;
  std::vector<double> times(choices.size(), std::numeric_limits<double>::max());
  for (int round = 0; round < rounds && choices.size() > 1; ++round)
    for (std::size_t i = 0; i < choices.size(); ++i) {
      fit_scratchpad(choices[i].steps);
      times[i] = std::min(times[i], seconds_of(choices[i].steps));
    }
  const auto best = static_cast<std::size_t>(std::min_element(times.begin(), times.end()) - times.begin());
  add(std::move(choices[best].steps));
  return choices[best].way;
}

Tape::Buffer Tape::buffer(std::size_t bytes) {
  Block* fit = nullptr;
  for (const auto& b : blocks_)
    if (b->free && b->memory.bytes() >= bytes && b->memory.bytes() <= 2 * bytes &&
        (!fit || b->memory.bytes() < fit->memory.bytes()))
      fit = b.get();
  if (!fit) {
    blocks_.push_back(std::make_unique<Block>());
    fit = blocks_.back().get();
    fit->memory = floats(bytes);
  }
  fit->free = false;
  return {fit->memory.data<float>(), [fit](float*) { fit->free = true; }};
}

dnnl::memory Tape::load(const Numbers& plain, const Dims& dims, Tag tag, const Desc& d) {
  const Memory from({dims, f32, tag}, cpu_engine(), const_cast<float*>(plain.data()));
  Memory to = memory(d);
  dnnl::reorder(from, to).execute(stream_, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
  stream_.wait();
  return to;
}

Numbers Tape::plain(const Memory& m, const Dims& dims, Tag tag) {
  const Desc d(dims, f32, tag);
  Memory to(d, cpu_engine()), from = m;
  dnnl::reorder(from, to).execute(stream_, from, to);
  stream_.wait();
  const auto* first = static_cast<const float*>(to.get_data_handle());
  return {first, first + d.get_size() / sizeof(float)};
}

void Tape::run() {
  for (Step& s : steps_) execute(s);
  stream_.wait();
}

std::vector<double> Tape::timed() {
  std::vector<double> seconds;
  for (Step& s : steps_) {
    const double begin = measure::seconds_now();
    execute(s);
    stream_.wait();
    seconds.push_back(measure::seconds_now() - begin);
  }
  return seconds;
}

std::vector<Work> Tape::works() const {
  std::vector<Work> all;
  for (const Step& s : steps_) all.push_back(s.work);
  return all;
}

std::string Tape::kernels() const {
  std::map<std::string, int> counts;
  for (const Step& s : steps_) ++counts[s.kernel];
  std::string text;
  for (const auto& [name, count] : counts) text += (text.empty() ? "" : ", ") + name + " " + std::to_string(count);
  return text;
}

}  // namespace slimneck::bench::onednn

#endif
