#include "val_table.hpp"

#include <algorithm>

#include "cli.hpp"

namespace slimneck::cli {

std::vector<ValRow> val_rows(const Metrics& metrics, const CocoMetrics* coco, std::span<const std::string> names) {
  std::vector<ValRow> rows{{.name = "all",
                            .images = metrics.images,
                            .labels = metrics.labels,
                            .p = metrics.p,
                            .r = metrics.r,
                            .ap50 = coco != nullptr ? coco->ap50() : metrics.map50,
                            .ap = coco != nullptr ? coco->ap() : metrics.map50_95}};
  for (const ClassMetrics& c : metrics.classes) {
    ValRow& row = rows.emplace_back(ValRow{.cls = c.cls,
                                           .name = names[static_cast<std::size_t>(c.cls)],
                                           .images = metrics.images,
                                           .labels = c.labels,
                                           .p = c.p,
                                           .r = c.r,
                                           .ap50 = c.ap50(),
                                           .ap = c.ap50_95()});
    if (coco == nullptr) continue;
    const auto found = std::find_if(coco->classes.begin(), coco->classes.end(),
                                    [&](const CocoClass& other) { return other.cls == c.cls; });
    row.ap50 = found->ap50;
    row.ap = found->ap;
  }
  return rows;
}

std::string val_head() {
  return format("%22s%11s%11s%11s%11s%11s%11s", "Class", "Images", "Instances", "P", "R", "mAP50", "mAP50-95");
}

std::string val_line(const ValRow& row) {
  return format("%22s%11lld%11lld%11.3g%11.3g%11.3g%11.3g", printable(row.name).c_str(),
                static_cast<long long>(row.images), static_cast<long long>(row.labels), row.p, row.r, row.ap50, row.ap);
}

}  // namespace slimneck::cli
