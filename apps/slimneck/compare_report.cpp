#include "compare_report.hpp"

#include <algorithm>

#include "cli.hpp"
#include "compare_verdict.hpp"

namespace slimneck::cli {

namespace {

long long ll(index_t v) { return static_cast<long long>(v); }
double mega(index_t v) { return 1e-6 * static_cast<double>(v); }
double mib(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

std::string threads_text(const Comparison& all) {
  std::string text =
      std::to_string(all.options.exec.threads) + (all.options.exec.threads == 1 ? " thread" : " threads");
  if (all.processors.empty()) return text + " (not bound)";
  text += " on processor";
  for (const int cpu : all.processors) text += " " + std::to_string(cpu);
  return text;
}

/// A training step is "f+b" where there is little room.
std::string heading(Pass pass) { return pass == Pass::fwdbwd ? "f+b" : std::string(name_of(pass)); }

}  // namespace

std::string machine_text(const Comparison& all) {
  std::string text =
      format("%s, %s, %s, batch %lld, %s%s\nmultiply-adds at %.1f GFLOP/s, reading", all.machine.c_str(),
             std::string(kernels_name(all.options.exec)).c_str(), threads_text(all).c_str(), ll(all.options.batch),
             to_string(all.options.act).c_str(), all.options.exec.direct ? ", without Winograd" : "", all.peaks.gflops);
  for (const measure::Bandwidth& level : all.peaks.levels)
    text +=
        format(" %.0f GB/s from %s%s", level.read, level.level.c_str(), &level == &all.peaks.levels.back() ? "" : ",");
  return text + "\n";
}

// ---- The table of all layers ----------------------------------------------------------------------------------------

namespace {

constexpr std::size_t page_width = 100;

/// Some kinds of a comparison beside SC.
class Table {
 public:
  explicit Table(const Comparison& all) : all_(all), passes_(all.options.passes) {
    width_ = std::string("all layers").size();
    for (const CompareLayer& layer : all.layers) width_ = std::max(width_, title(layer).size());
  }

  /// The kinds from `first` on that fit; returns the one after them.
  std::size_t fit(std::size_t first) {
    const std::vector<Op>& ops = all_.options.ops;
    kinds_.clear();
    std::size_t used = width_ + 8 * (1 + passes_.size());
    for (std::size_t i = first; i < ops.size(); ++i) {
      const std::size_t wanted = 3 + 5 * (passes_.size() + (says_macs(i) ? 1 : 0));
      if (!kinds_.empty() && used + wanted > page_width) return i;
      used += wanted;
      kinds_.push_back(i);
    }
    return ops.size();
  }

  [[nodiscard]] std::string text() const {
    std::string out = head();
    for (const CompareLayer& layer : all_.layers) out += line(layer);
    if (all_.layers.size() > 1) out += totals();
    return out;
  }

 private:
  static std::string title(const CompareLayer& layer) {
    const std::string times = layer.shape.times > 1 ? format(" (%d times)", layer.shape.times) : "";
    return layer.shape.name + " " + layer.shape.geometry() + times;
  }

  /// Fused and unfused have the same multiply-adds.
  [[nodiscard]] bool says_macs(std::size_t kind) const {
    const std::vector<Op>& ops = all_.options.ops;
    return kind == 0 || ops[kind].kind != ops[kind - 1].kind;
  }

  [[nodiscard]] std::string head() const {
    const std::size_t sc = 8 * (1 + passes_.size());
    std::string first = format("%*s%*s", static_cast<int>(width_), "", static_cast<int>(sc), "SC");
    std::string second = format("%-*s%8s", static_cast<int>(width_), "layer", "MMACs");
    for (const Pass pass : passes_) second += format("%5s ms", heading(pass).c_str());
    for (const std::size_t kind : kinds_) {
      const std::size_t numbers = passes_.size() + (says_macs(kind) ? 1 : 0);
      const std::string name = (says_macs(kind) ? all_.options.ops[kind].title() : "unfused") + ", %";
      first += format("  |%*s", static_cast<int>(5 * numbers), name.c_str());
      second += std::string("  |") + (says_macs(kind) ? " MACs" : "");
      for (const Pass pass : passes_) second += format("%5s", heading(pass).c_str());
    }
    return first + "\n" + second + "\n";
  }

  [[nodiscard]] std::string line(const CompareLayer& layer) const {
    std::string out =
        format("%-*s%8.1f", static_cast<int>(width_), title(layer).c_str(), mega(layer.counts[0].macs(passes_[0])));
    for (const Pass pass : passes_) out += format("%8.3f", layer.find("sc", pass)->median_ms);
    for (const std::size_t kind : kinds_) {
      const std::string name = all_.options.ops[kind].name();
      out += "  |";
      if (says_macs(kind)) out += format("%5.0f", 100 * layer.find(name, passes_[0])->macs_vs_sc);
      for (const Pass pass : passes_) out += percent(layer.find(name, pass)->time_vs_sc);
    }
    return out + "\n";
  }

  [[nodiscard]] std::string totals() const {
    double macs = 0;
    std::vector<double> ms(passes_.size());
    for (const CompareLayer& layer : all_.layers) {
      macs += layer.shape.times * mega(layer.counts[0].macs(passes_[0]));
      for (std::size_t i = 0; i < ms.size(); ++i) ms[i] += layer.shape.times * layer.find("sc", passes_[i])->median_ms;
    }
    std::string out = format("%-*s%8.1f", static_cast<int>(width_), "all layers", macs);
    for (const double t : ms) out += format("%8.3f", t);
    for (const std::size_t kind : kinds_) {
      const Op& op = all_.options.ops[kind];
      out += "  |";
      if (says_macs(kind)) out += format("%5.0f", 100 * share_of(all_, op, passes_[0]).macs);
      for (const Pass pass : passes_) out += percent(share_of(all_, op, pass).time);
    }
    return out + "\n";
  }

  static std::string percent(const std::optional<double>& part) {
    return part ? format("%5.0f", 100 * *part) : format("%5s", "-");
  }

  const Comparison& all_;
  const std::vector<Pass>& passes_;
  std::size_t width_;
  std::vector<std::size_t> kinds_;
};

}  // namespace

std::string summary(const Comparison& all) {
  Table table(all);
  std::string out;
  std::size_t next = 1;
  do {
    next = table.fit(next);
    out += (out.empty() ? "" : "\n") + table.text();
  } while (next < all.options.ops.size());
  return out + "%: of SC; fwd: inference, f+b: a training step, forward and backward\n";
}

// ---- One layer ------------------------------------------------------------------------------------------------------

namespace {

std::string paper_text(const Counts& counts) {
  return counts.paper ? format("%11.3f", mega(*counts.paper)) : "          -";
}

std::string counts_text(const Comparison& all, const CompareLayer& layer) {
  std::string out = format("%-17s%-15s%10s%11s%11s%11s%11s\n", "", "output", "params", "MMACs", "dx", "dw", "paper");
  for (std::size_t i = 0; i < layer.counts.size(); ++i) {
    const Counts& c = layer.counts[i];
    out += format("%-17s%-15s%10lld%11.3f%11.3f%11.3f%s\n", all.options.ops[i].title().c_str(),
                  to_string(c.output).c_str(), ll(c.parameters), mega(c.forward), mega(c.input_gradient),
                  mega(c.weight_gradient), paper_text(c).c_str());
  }
  for (std::size_t i = 0; i < layer.counts.size(); ++i) {
    const OpKind& kind = *all.options.ops[i].kind;
    if (kind.why.empty() || all.options.ops[i].unfused || layer.counts[i].paper == layer.counts[i].forward) continue;
    out += "  paper, " + std::string(kind.title) + ": " + std::string(kind.why) + "\n";
  }
  return out;
}

std::string row_text(const CompareRow& row) {
  const std::string who =
      row.op.title() + (row.engine == Engine::slimneck ? "" : " " + std::string(name_of(row.engine)));
  const std::string time = row.time_vs_sc ? format("%7.1f", 100 * *row.time_vs_sc) : format("%7s", "-");
  return format("%-24s%-7s%9.3f%8.1f%7.1f%s%9.2f%8.1f%10.4f%8.0f  %s\n", who.c_str(), heading(row.pass).c_str(),
                row.median_ms, 100 * row.spread, 100 * row.macs_vs_sc, time.c_str(), mib(row.bytes), row.intensity(),
                row.roofline_ms, 100 * row.reached(), row.memory_bound ? "m" : "a");
}

}  // namespace

std::string details(const Comparison& all, const CompareLayer& layer) {
  std::string out = bold(layer.shape.name + " " + layer.shape.geometry()) + "\n" + counts_text(all, layer);
  out += format("%-24s%-7s%9s%8s%7s%7s%9s%8s%10s%8s\n", "", "pass", "ms", "spread%", "MACs%", "time%", "MiB", "FLOP/B",
                "bound ms", "bound%");
  for (const CompareRow& row : layer.rows) out += row_text(row);
  for (const CompareRow& row : layer.rows)
    if (row.pass == all.options.passes[0] && row.engine == Engine::slimneck)
      out += format("  %s, MiB unfused %.2f, fused %.2f, at the least %.2f; %s\n", row.op.title().c_str(),
                    mib(row.traffic.unfused), mib(row.traffic.fused), mib(row.traffic.least), row.kernels.c_str());
  return out +
         format(
             "  %d repetitions; spread: interquartile range over median of the pairs with SC, of SC its times;\n  "
             "a: arithmetic is the bound, m: the memory that it moves\n",
             layer.repetitions);
}

// ---- All layers of a model ------------------------------------------------------------------------------------------

std::string model_text(const Comparison& all) {
  std::string out = "Geometric mean of (% of the time of SC / % of its MACs); 1: the operations saved are time saved\n";
  for (const MeanGap& m : mean_gaps(all))
    out += format("  %-17s%-7s%lldx%lld  %.3f  (%d layers)\n", m.op.title().c_str(), heading(m.pass).c_str(), ll(m.k),
                  ll(m.k), m.mean, m.layers);
  for (std::size_t i = 1; i < all.options.ops.size(); ++i) {
    const Op& op = all.options.ops[i];
    if (op.name() != "gsconv") continue;
    const std::vector<Above> above = layers_above(all, op);
    if (!above.empty()) out += "Layers where " + op.title() + " takes more of the time than of the MACs:\n";
    for (const Above& a : above)
      out += format("  %.2f %-6s%s %s\n       %s\n", a.gap, heading(a.row->pass).c_str(), a.layer->shape.name.c_str(),
                    a.layer->shape.geometry().c_str(), a.why.c_str());
  }
  for (const auto& [name, why] : all.skipped) out += format("left out: %s: %s\n", name.c_str(), why.c_str());
  return out;
}

}  // namespace slimneck::cli
