#include "page.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <vector>

#include "cli.hpp"
#include "slimneck/files.hpp"

namespace slimneck::cli {

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  return out;
}

namespace {

// Series differ by shape or label, too: colours are for those who see them.
constexpr const char* light =
    "--bg:#fff;--fg:#1b1f24;--muted:#59636e;--line:#c9d1d9;--soft:#f3f5f7;--warn:#fde3c8;--mark:#b42318;"
    "--s0:#4d5b6a;--s1:#c77700;--s2:#00795a;--s3:#b4483c;--s4:#8a4fa3;--s5:#1f6fb2;--s6:#7a7000;--s7:#5b7fa6";
constexpr const char* dark =
    "--bg:#14181d;--fg:#e6e9ec;--muted:#a3adb8;--line:#3a434d;--soft:#1e242b;--warn:#54371a;--mark:#ff8a7a;"
    "--s0:#a9b6c4;--s1:#f0a63c;--s2:#3fc79a;--s3:#f08a7c;--s4:#c79be0;--s5:#6cb4f0;--s6:#cfc44a;--s7:#93b3d6";

constexpr const char* style = R"css(
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:1280px;padding:1em;background:var(--bg);color:var(--fg)}
h1{font-size:1.5em;margin:.3em 0}h2{font-size:1.15em;margin:2em 0 .3em}
p{max-width:75ch;margin:.4em 0}.muted,figcaption,summary small{color:var(--muted)}
.lead{font-size:1.1em;font-weight:600}
button{font:inherit;color:inherit;background:var(--soft);border:1px solid var(--line);border-radius:5px;padding:.2em .7em;cursor:pointer}
:focus-visible{outline:3px solid var(--s5);outline-offset:2px}
.figures{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0;flex:1 1 320px;min-width:0;max-width:620px}
img{display:block;max-width:100%;height:auto}
figure.wide{max-width:none;flex-basis:100%}
svg{display:block;width:100%;height:auto;background:var(--bg);font:12px system-ui,sans-serif}
svg text{fill:var(--fg)}svg .muted{fill:var(--muted)}svg .axis{stroke:var(--line);stroke-width:1}
svg .macs{stroke:var(--fg);stroke-width:2}svg .roof{stroke:var(--fg);stroke-width:1.5}svg .mark{stroke:var(--mark);fill:none;stroke-dasharray:6 4}svg a,svg .point{cursor:default}
svg .point:focus,svg .point:hover{outline:none;stroke:var(--fg);stroke-width:2}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}caption{text-align:left;color:var(--muted)}
td,th{padding:3px 8px;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}td.n,th.n{text-align:right}
th{position:sticky;top:0;background:var(--bg)}th button{border:0;background:none;padding:0;font-weight:600}
th[aria-sort=ascending] button::after{content:" \25B2"}th[aria-sort=descending] button::after{content:" \25BC"}
tr.moves{background:var(--warn)}
details{margin-left:1.1em}details>summary{cursor:pointer;padding:2px 0}.leaf{margin-left:2.2em;padding:2px 0}
.row{display:inline-flex;width:calc(100% - 1.4em);gap:.8em;align-items:baseline;font-size:13px}.row b{flex:1;font-weight:500;overflow-wrap:anywhere}
.leaf .row{width:100%}.row span{width:9ch;text-align:right;font-variant-numeric:tabular-nums}.row i{width:90px;height:.6em;background:var(--soft);align-self:center}
.row i i{display:block;width:0;height:100%;background:var(--s2)}
dl{display:grid;grid-template-columns:max-content auto;gap:2px 1em}dd{margin:0}
#tip{position:fixed;pointer-events:none;background:var(--fg);color:var(--bg);font-size:12px;padding:4px 8px;border-radius:4px;max-width:300px;display:none}
@media (max-width:600px){.row i{display:none}.row span{width:8ch}dl{grid-template-columns:1fr}dd{margin-left:1em}}
@media print{button.tool,#tip{display:none}body{max-width:none;font-size:11px}figure,tr{break-inside:avoid}.scroll{overflow:visible}th{position:static}}
)css";

// What a page does besides showing: theme, tooltips, sorting, unfolding. Without it everything can still be read.
constexpr const char* script = R"js(
(function(){
var root=document.documentElement,$=function(s){return Array.prototype.slice.call(document.querySelectorAll(s))};
var dark=matchMedia("(prefers-color-scheme: dark)");
function isDark(){return (root.dataset.theme||(dark.matches?"dark":"light"))==="dark"}
function label(){$("#theme").forEach(function(b){b.textContent=isDark()?"Light":"Dark";b.setAttribute("aria-pressed",isDark())})}
$("#theme").forEach(function(b){b.onclick=function(){root.dataset.theme=isDark()?"light":"dark";label()}});dark.onchange=label;label();
var tip=document.getElementById("tip");
function show(e){var t=e.currentTarget,r=t.getBoundingClientRect();tip.textContent=t.getAttribute("aria-label");tip.style.display="block";
 tip.style.left=Math.max(4,Math.min(innerWidth-tip.offsetWidth-4,r.left+r.width/2-tip.offsetWidth/2))+"px";
 tip.style.top=(r.top>tip.offsetHeight+10?r.top-tip.offsetHeight-6:r.bottom+6)+"px"}
function hide(){tip.style.display="none"}
$(".point").forEach(function(p){p.onmouseenter=show;p.onfocus=show;p.onmouseleave=hide;p.onblur=hide});
document.addEventListener("keydown",function(e){if(e.key==="Escape")hide()});
function value(row,i){var c=row.cells[i],v=c.dataset.value;return v===undefined?c.textContent:parseFloat(v)}
$("table.sortable").forEach(function(table){
 var heads=Array.prototype.slice.call(table.tHead.rows[0].cells);
 heads.forEach(function(th,i){th.firstChild.onclick=function(){
  var up=th.getAttribute("aria-sort")!=="ascending",body=table.tBodies[0],rows=Array.prototype.slice.call(body.rows);
  heads.forEach(function(h){h.removeAttribute("aria-sort")});th.setAttribute("aria-sort",up?"ascending":"descending");
  rows.map(function(r,k){return{r:r,k:k,v:value(r,i)}}).sort(function(a,b){
   var an=a.v!==a.v,bn=b.v!==b.v;if(an||bn)return an&&bn?a.k-b.k:an?1:-1;
   var d=typeof a.v==="number"&&typeof b.v==="number"?a.v-b.v:String(a.v).localeCompare(String(b.v));
   return (up?d:-d)||a.k-b.k}).forEach(function(o){body.appendChild(o.r)})}})});
$("[data-unfold]").forEach(function(b){b.onclick=function(){var open=b.dataset.unfold==="true";
 $(".tree details").forEach(function(d){d.open=open})}});
})();
)js";

std::string guarded(std::string json) {
  for (std::size_t at = 0; (at = json.find("</", at)) != std::string::npos; at += 3) json.replace(at, 2, "<\\/");
  return json;
}

}  // namespace

std::string palette() {
  return std::string(":root{color-scheme:light dark;") + light + "}@media (prefers-color-scheme:dark){:root{" + dark +
         "}}";
}

std::string page(const std::string& title, const std::string& body, const std::string& data) {
  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
      "<link rel=\"icon\" href=\"data:,\"><title>" +
      escaped(title) + "</title><style>" + palette() + ":root[data-theme=light]{color-scheme:light;" + light +
      "}:root[data-theme=dark]{color-scheme:dark;" + dark + "}@media print{:root,:root[data-theme=dark]{" + light +
      "}}" + style +
      "</style></head>\n<body><header><button id=\"theme\" class=\"tool\" type=\"button\" "
      "style=\"float:right\">Dark</button><h1>" +
      escaped(title) + "</h1></header>\n<main>" + body + "</main><div id=\"tip\" role=\"status\"></div>\n";
  if (!data.empty()) html += "<script type=\"application/json\" id=\"data\">" + guarded(data) + "</script>\n";
  return html + "<script>" + script + "</script></body></html>\n";
}

std::string section(const std::string& title, const std::string& explanation, const std::string& content) {
  return "<section><h2>" + escaped(title) + "</h2><p class=\"muted\">" + explanation + "</p>" + content +
         "</section>\n";
}

std::string picture_figure(const std::filesystem::path& picture, const std::string& caption) {
  constexpr std::uint64_t most = 4 << 20;
  const std::string bytes = read_text(picture.string(), most);
  std::vector<unsigned char> text(4 * ((bytes.size() + 2) / 3) + 1);
  const int length = EVP_EncodeBlock(text.data(), reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  const std::string kind = picture.extension() == ".png" ? "png" : "jpeg";
  return "<figure class=\"wide\"><figcaption>" + escaped(caption) + "</figcaption><img alt=\"" + escaped(caption) +
         "\" src=\"data:image/" + kind + ";base64," + std::string(text.begin(), text.begin() + length) + "\"></figure>";
}

std::string table_head(const std::string& caption, const std::vector<Column>& columns) {
  std::string html = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" + escaped(caption) +
                     "\"><table class=\"sortable\"><caption>" + escaped(caption) + "</caption><thead><tr>";
  for (const Column& column : columns)
    html += std::string("<th scope=\"col\"") + (column.number ? " class=\"n\"" : "") + "><button type=\"button\">" +
            escaped(column.title) + "</button></th>";
  return html + "</tr></thead><tbody>\n";
}

std::string cell(const std::string& text) { return "<td>" + escaped(text) + "</td>"; }

std::string number_cell(const std::string& shown, double value) {
  return format("<td class=\"n\" data-value=\"%.9g\">", value) + shown + "</td>";
}

// ---- The memory of a plan -------------------------------------------------------------------------------------------

namespace {

double mib(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

constexpr double width = 1160, height = 460, left = 60, bottom = 24;
constexpr int colours = 8;

}  // namespace

std::string memory_map(const Plan& plan) {
  const PlanStats stats = plan.stats();
  const std::vector<PlanStep> list = plan.steps();
  const auto forward = std::count_if(list.begin(), list.end(), [](const PlanStep& s) { return !s.backward; });
  const double bytes = std::max<double>(1, static_cast<double>(stats.arena_bytes)),
               steps = std::max<double>(1, static_cast<double>(stats.steps));
  const auto x = [&](double step) { return left + step / steps * (width - left); };
  const auto y = [&](double offset) { return (1 - offset / bytes) * (height - bottom); };
  std::string svg =
      format("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"Memory over time: %zu steps, %.1f MiB\">", width,
             height, stats.steps, mib(stats.arena_bytes));
  for (const PlanBuffer& b : plan.buffers()) {
    const double from = x(b.first_step), to = x(b.last_step + 1), top = y(static_cast<double>(b.offset + b.bytes));
    svg += format(
        "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"var(--s%d)\" "
        "stroke=\"var(--bg)\" stroke-width=\"0.5\"><title>",
        from, top, to - from, y(static_cast<double>(b.offset)) - top, b.first_step % colours);
    svg += escaped(b.name) + format(": %.3f MiB at %zu, steps %d to %d</title></rect>", mib(b.bytes), b.offset,
                                    b.first_step, b.last_step);
  }
  const double bound = y(static_cast<double>(stats.arena_lower_bound));
  svg += format("<line class=\"mark\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.2f\" y2=\"%.2f\"/>", left, width, bound, bound);
  if (static_cast<std::size_t>(forward) < stats.steps)
    svg += format("<line x1=\"%.2f\" x2=\"%.2f\" y1=\"0\" y2=\"%.0f\" stroke=\"var(--fg)\"/>",
                  x(static_cast<double>(forward)), x(static_cast<double>(forward)), height - bottom);
  return svg + format(
                   "<text x=\"4\" y=\"14\">%.1f MiB</text><text x=\"4\" y=\"%.0f\">0</text>"
                   "<text x=\"%.0f\" y=\"%.0f\">step 0</text><text x=\"%.0f\" y=\"%.0f\" "
                   "text-anchor=\"end\">%zu</text></svg>",
                   mib(stats.arena_bytes), height - bottom, left, height - 6, width - 4, height - 6, stats.steps);
}

std::string memory_facts(const PlanStats& stats) {
  std::string moved;
  for (const auto& [what, bytes] : stats.bytes_moved)
    moved += (moved.empty() ? "" : ", ") + escaped(what) + format(" %.2f MiB", mib(bytes));
  return "<dl>" +
         format(
             "<dt>arena</dt><dd>%.2f MiB, %.3f of the least that must be kept at once (%.2f MiB)</dd>",
             mib(stats.arena_bytes),
             static_cast<double>(stats.arena_bytes) / std::max<double>(1, static_cast<double>(stats.arena_lower_bound)),
             mib(stats.arena_lower_bound)) +
         format("<dt>inputs, outputs, constants</dt><dd>%.2f MiB</dd>", mib(stats.persistent_bytes)) +
         format("<dt>packed parameters</dt><dd>%.2f MiB</dd>", mib(stats.packed_bytes)) +
         format("<dt>workspace</dt><dd>%.2f MiB</dd>", mib(stats.workspace_bytes)) + "<dt>only moved</dt><dd>" +
         (moved.empty() ? "nothing" : moved) + "</dd>" +
         format("<dt>lone activations</dt><dd>%zu</dd></dl>", stats.lone_activations);
}

}  // namespace slimneck::cli
