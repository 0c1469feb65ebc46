#include "trace.hpp"

#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "slimneck/files.hpp"

namespace slimneck::cli {

namespace {

using Json = nlohmann::ordered_json;

Json event(const std::string& name, const Timeline::Span& span, std::size_t process, int row, std::int64_t zero) {
  constexpr double micro = 1e-3;
  return {{"name", name},
          {"ph", "X"},
          {"pid", process},
          {"tid", row},
          {"ts", static_cast<double>(span.begin - zero) * micro},
          {"dur", static_cast<double>(span.end - span.begin) * micro}};
}

Json title(const char* what, const std::string& name, std::size_t process, int row) {
  return {{"name", what}, {"ph", "M"}, {"pid", process}, {"tid", row}, {"args", {{"name", name}}}};
}

void add(Json& events, const Traced& run, std::size_t process) {
  const std::int64_t zero = run.timeline->steps.front().begin;
  events.push_back(title("process_name", run.name, process, 0));
  events.push_back(title("thread_name", "forward", process, 0));
  events.push_back(title("thread_name", "backward", process, 1));
  for (std::size_t i = 0; i < run.steps->size(); ++i) {
    const PlanStep& s = (*run.steps)[i];
    Json e = event(s.name, run.timeline->steps[i], process, s.backward ? 1 : 0, zero);
    e["cat"] = s.op;
    e["args"] = {{"op", s.op},
                 {"kernel", s.kernel},
                 {"macs", s.cost.macs},
                 {"bytes_read", s.bytes_read},
                 {"bytes_written", s.bytes_written}};
    events.push_back(std::move(e));
  }
}

}  // namespace

void write_trace(const std::string& path, const std::vector<Traced>& runs) {
  Json events = Json::array();
  for (std::size_t i = 0; i < runs.size(); ++i) add(events, runs[i], i);
  const Json whole{{"traceEvents", events}, {"displayTimeUnit", "ms"}};
  const Uninterrupted shield;
  write_text(path, whole.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace slimneck::cli
