#include "train_report.hpp"

#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "page.hpp"
#include "page_lines.hpp"
#include "val_table.hpp"

namespace slimneck::cli {

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const EpochResult& e) {
  return {{"epoch", e.epoch},
          {"train", {{"box_loss", e.train.box}, {"obj_loss", e.train.obj}, {"cls_loss", e.train.cls}}},
          {"val", {{"box_loss", e.val.box}, {"obj_loss", e.val.obj}, {"cls_loss", e.val.cls}}},
          {"precision", e.p},
          {"recall", e.r},
          {"mAP50", e.map50},
          {"mAP50_95", e.map50_95},
          {"lr", e.lr}};
}

Json to_json(const ValRow& row) {
  return {{"name", row.name}, {"labels", row.labels}, {"P", row.p},
          {"R", row.r},       {"mAP50", row.ap50},    {"mAP50_95", row.ap}};
}

std::vector<ValRow> rows_of(const TrainSummary& summary) {
  return summary.metrics == nullptr ? std::vector<ValRow>{} : val_rows(*summary.metrics, nullptr, summary.names);
}

/// A line over the epochs.
template <class Value>
Series over_epochs(const TrainSummary& summary, const std::string& name, const Value& value) {
  Series series{.name = name, .x = {}, .y = {}};
  for (const EpochResult& epoch : summary.history) {
    series.x.push_back(static_cast<double>(epoch.epoch));
    series.y.push_back(value(epoch));
  }
  return series;
}

std::string loss_figure(const TrainSummary& summary, const std::string& title, double LossParts::*part) {
  return line_figure(
      {.title = title,
       .x_label = "epoch",
       .y_label = "",
       .series = {over_epochs(summary, "training", [part](const EpochResult& e) { return e.train.*part; }),
                  over_epochs(summary, "validation", [part](const EpochResult& e) { return e.val.*part; })},
       .x_range = {},
       .y_range = {}});
}

/// Every tenth point of a curve: a page is no place for thousands.
Series thinned(const std::string& name, const Curve& curve) {
  constexpr std::size_t stride = 9;  // both ends of 1000 points are kept
  Series series{.name = name, .x = {}, .y = {}};
  for (std::size_t i = 0; i < curve.size(); i += stride) {
    series.x.push_back(static_cast<double>(i) / static_cast<double>(std::max<std::size_t>(curve.size() - 1, 1)));
    series.y.push_back(curve[i]);
  }
  return series;
}

std::string curve_figure(const TrainSummary& summary, const std::string& title, const std::string& x_label,
                         Curve ClassMetrics::*curve) {
  constexpr std::size_t most_named = 7;
  const std::vector<ClassMetrics>& classes = summary.metrics->classes;
  Chart chart{
      .title = title, .x_label = x_label, .y_label = "", .series = {}, .x_range = Range{0, 1}, .y_range = Range{0, 1}};
  Curve mean(curve_points, 0);
  for (const ClassMetrics& c : classes) {
    const bool named = classes.size() <= most_named;
    Series& series = chart.series.emplace_back(
        thinned(named ? summary.names[static_cast<std::size_t>(c.cls)] : std::string(), c.*curve));
    series.quiet = !named;
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += (c.*curve)[i] / static_cast<double>(classes.size());
  }
  chart.series.push_back(thinned("mean", mean));
  chart.series.back().important = true;
  return line_figure(chart);
}

std::string curves(const TrainSummary& summary) {
  return "<div class=\"figures\">" +
         curve_figure(summary, "precision over recall, IoU 0.5", "recall", &ClassMetrics::precision_at_recall) +
         curve_figure(summary, "F1 over confidence", "confidence", &ClassMetrics::f1_curve) +
         curve_figure(summary, "precision over confidence", "confidence", &ClassMetrics::precision) +
         curve_figure(summary, "recall over confidence", "confidence", &ClassMetrics::recall) + "</div>";
}

std::string options_list(const TrainSummary& summary) {
  std::string html = "<dl>";
  for (const auto& [name, value] : summary.options)
    if (!value.empty() && value != "false") html += "<dt>" + escaped(name) + "</dt><dd>" + escaped(value) + "</dd>";
  return html + "</dl><details><summary>Hyperparameters</summary><pre>" + escaped(write_hyp(summary.hyp)) +
         "</pre></details>";
}

std::string lead(const TrainSummary& summary) {
  std::string html = "<p class=\"lead\">";
  if (summary.metrics != nullptr)
    html += format("mAP 0.5 is %.3f, mAP 0.5:0.95 is %.3f on the validation data, with the weights of epoch %lld.",
                   summary.metrics->map50, summary.metrics->map50_95, static_cast<long long>(summary.best_epoch));
  else
    html += "There was no validation.";
  html += "</p><dl>";
  for (const auto& [name, value] : summary.facts)
    html += "<dt>" + escaped(name) + "</dt><dd>" + escaped(value) + "</dd>";
  return html + "</dl>";
}

}  // namespace

std::string class_table(const std::string& caption, std::span<const ValRow> rows) {
  std::string html = table_head(
      caption,
      {{"class"}, {"labels", true}, {"precision", true}, {"recall", true}, {"mAP 0.5", true}, {"mAP 0.5:0.95", true}});
  for (const ValRow& row : rows) {
    html += "<tr>" + cell(row.name) + number_cell(std::to_string(row.labels), static_cast<double>(row.labels));
    for (const double value : {row.p, row.r, row.ap50, row.ap}) html += number_cell(format("%.3f", value), value);
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>";
}

std::string train_course(const TrainSummary& summary) {
  const Range whole{0, 1};
  const std::string scores =
      line_figure({.title = "mean average precision",
                   .x_label = "epoch",
                   .y_label = "",
                   .series = {over_epochs(summary, "mAP 0.5", [](const EpochResult& e) { return e.map50; }),
                              over_epochs(summary, "mAP 0.5:0.95", [](const EpochResult& e) { return e.map50_95; })},
                   .x_range = {},
                   .y_range = whole});
  const std::string found =
      line_figure({.title = "precision and recall",
                   .x_label = "epoch",
                   .y_label = "",
                   .series = {over_epochs(summary, "precision", [](const EpochResult& e) { return e.p; }),
                              over_epochs(summary, "recall", [](const EpochResult& e) { return e.r; })},
                   .x_range = {},
                   .y_range = whole});
  const std::string rates =
      line_figure({.title = "learning rates",
                   .x_label = "epoch",
                   .y_label = "",
                   .series = {over_epochs(summary, "biases", [](const EpochResult& e) { return e.lr[0]; }),
                              over_epochs(summary, "weights", [](const EpochResult& e) { return e.lr[1]; })},
                   .x_range = {},
                   .y_range = {}});
  return "<div class=\"figures\">" + scores + found + loss_figure(summary, "box loss", &LossParts::box) +
         loss_figure(summary, "objectness loss", &LossParts::obj) +
         loss_figure(summary, "class loss", &LossParts::cls) + rates + "</div>";
}

std::string metrics_json(const TrainSummary& summary) {
  Json json{{"best_epoch", summary.best_epoch}, {"epochs", summary.history.size()}};
  const TrainSpeed& speed = summary.speed;
  json["speed"] = {{"batches", speed.batches},
                   {"pictures_per_second", speed.pictures_per_second()},
                   {"waiting_share", speed.waiting_share()}};
  const std::vector<ValRow> rows = rows_of(summary);
  json["validation"] = rows.empty() ? Json(nullptr) : to_json(rows.front());
  if (!rows.empty()) {
    json["validation"]["images"] = summary.metrics->images;
    json["validation"]["confidence"] = summary.metrics->confidence;
  }
  json["classes"] = Json::array();
  for (std::size_t i = 1; i < rows.size(); ++i) json["classes"].push_back(to_json(rows[i]));
  json["history"] = Json::array();
  for (const EpochResult& epoch : summary.history) json["history"].push_back(to_json(epoch));
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string train_report(const TrainSummary& summary) {
  std::string body = lead(summary);
  if (!summary.history.empty())
    body +=
        section("The course of it", "Losses are means over an epoch; the validation sees the average of the weights.",
                train_course(summary));
  if (summary.metrics != nullptr) {
    body += section("Classes", "Precision and recall where the mean F1 is highest, at IoU 0.5.",
                    class_table("Validation of the best weights", rows_of(summary)));
    if (!summary.metrics->classes.empty())
      body += section("Curves", "What the weights of the best epoch find in the validation data.", curves(summary));
  }
  if (summary.confusion != nullptr)
    body += section("Confusion", "Parts of each true class above confidence 0.25 and IoU 0.45, and their counts.",
                    confusion_table(*summary.confusion, summary.names));
  body += section("How it was made", "The options of this run; opt.yaml and hyp.yaml have all of them.",
                  options_list(summary));
  return page(summary.title, body, metrics_json(summary));
}

}  // namespace slimneck::cli
