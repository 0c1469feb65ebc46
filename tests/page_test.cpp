// The page of `slimneck compare` in a browser: nothing fails, charts show the numbers that the page carries, and what
// can be clicked works. Skipped where Chromium is not here.
#include <nlohmann/json.hpp>

#include "program.hpp"

#ifdef SLIMNECK_CLI

using nlohmann::json;
using namespace slimneck::test;

namespace {

/// Runs first: whatever goes wrong later is kept.
constexpr const char* listen = R"js(<script>var problems=[];
window.addEventListener("error",function(e){problems.push(String(e.message||e.target.src||e.target.href))},true);
["error","warn"].forEach(function(k){console[k]=function(m){problems.push(k+": "+m)}});</script>)js";

/// Runs last, and leaves what it found in the document.
constexpr const char* probe = R"js(<script>(function(){
var found={},all=function(s,e){return Array.prototype.slice.call((e||document).querySelectorAll(s))};
function check(what,right){if(!right&&found[what]!==false)found[what]=false;else if(!(what in found))found[what]=true}
function near(a,b,e){return Math.abs(a-b)<=e}
try{
var data=JSON.parse(document.getElementById("data").textContent);
var rows=data.rows.filter(function(r){return r.engine==="slimneck"});
function rowOf(p){return rows.filter(function(r){return r.layer===p.dataset.layer&&r.op===p.dataset.op&&r.pass===p.dataset.pass})[0]}
function number(svg,name){return parseFloat(svg.getAttribute("data-"+name))}
function place(p){return p.getAttribute("transform").match(/[-\d.]+/g).map(Number)}
all("svg.scatter").forEach(function(svg){
 var points=all(".point",svg),x0=number(svg,"x0"),y0=number(svg,"y0"),k=number(svg,"scale");
 var wanted=rows.filter(function(r){return r.pass===svg.dataset.pass&&r.op!=="sc"&&r.time_vs_sc!==null});
 check("scatter has a mark for each row",points.length===wanted.length);
 points.forEach(function(p){var r=rowOf(p),at=place(p);
  check("scatter shows the data",near(at[0],x0+r.macs_vs_sc*k,.02)&&near(at[1],y0-r.time_vs_sc*k,.02))})});
all("svg.bars").forEach(function(svg){
 var wanted=rows.filter(function(r){return r.pass===svg.dataset.pass&&r.time_vs_sc!==null});
 check("there is a bar for each row",all("rect.point",svg).length===wanted.length);
 all("rect.point",svg).forEach(function(p){
  check("bars show the data",near(parseFloat(p.getAttribute("width")),rowOf(p).time_vs_sc*number(svg,"scale"),.02))})});
all("svg.roofline").forEach(function(svg){
 check("roofline has a mark for each row",all(".point",svg).length===rows.filter(function(r){return r.pass===svg.dataset.pass}).length);
 function at(v,a){var low=number(svg,a+"low"),from=number(svg,a+"from");
  return from+(Math.log2(v)-low)/(number(svg,a+"high")-low)*(number(svg,a+"to")-from)}
 all(".point",svg).forEach(function(p){var r=rowOf(p),xy=place(p);
  check("roofline shows the data",near(xy[0],at(r.intensity,"x"),.02)&&near(xy[1],at(r.flops/r.median_ms*1e-6,"y"),.02))})});
var points=all(".point");
check("marks speak and can be reached",points.length>0&&points.every(function(p){return p.tabIndex===0&&p.getAttribute("aria-label").length>20}));
points[0].focus();
check("a tooltip shows",document.getElementById("tip").textContent===points[0].getAttribute("aria-label"));
points[0].blur();
check("a tooltip goes",getComputedStyle(document.getElementById("tip")).display==="none");
var table=document.querySelector("table.sortable"),heads=all("th",table);
function column(name){return heads.map(function(h){return h.textContent}).indexOf(name)}
function values(i){return all("tbody tr",table).map(function(r){return parseFloat(r.cells[i].dataset.value)})}
function texts(i){return all("tbody tr",table).map(function(r){return r.cells[i].textContent})}
check("the table has every row",values(0).length===data.rows.length);
check("the table shows the data",JSON.stringify(values(column("MMACs")))===JSON.stringify(data.rows.map(function(r){return r.macs})));
var ms=column("ms");heads[ms].querySelector("button").click();var up=values(ms);
check("sorts numbers upwards",up.every(function(v,i){return !i||up[i-1]<=v})&&heads[ms].getAttribute("aria-sort")==="ascending");
heads[ms].querySelector("button").click();var down=values(ms);
check("sorts numbers downwards",down.every(function(v,i){return !i||down[i-1]>=v})&&heads[ms].getAttribute("aria-sort")==="descending");
heads[0].querySelector("button").click();var names=texts(0);
check("sorts texts",names.every(function(v,i){return !i||names[i-1].localeCompare(v)<=0})&&!heads[ms].hasAttribute("aria-sort"));
var times=column("% time");heads[times].querySelector("button").click();var some=values(times),end=some.findIndex(isNaN);
check("what has no number is last",end<0||some.slice(end).every(isNaN));
var tree=all(".tree details");
check("there is a tree",tree.length>20&&tree[0].open&&!tree[1].open);
tree[1].querySelector("summary").click();check("a module unfolds",tree[1].open);
document.querySelector("[data-unfold=true]").click();check("all unfold",tree.every(function(d){return d.open}));
document.querySelector("[data-unfold=false]").click();check("all fold",tree.every(function(d){return !d.open}));
check("sums are those of the parts",tree.every(function(d){
 var parts=all(":scope>details,:scope>.leaf",d);
 return parts.reduce(function(s,p){return s+Number(p.dataset.macs)},0)===Number(d.dataset.macs)}));
var back=function(){return getComputedStyle(document.body).backgroundColor},theme=document.getElementById("theme"),before=back();
theme.click();var after=back();check("dark is dark",before!==after&&[before,after].indexOf("rgb(20, 24, 29)")>=0&&[before,after].indexOf("rgb(255, 255, 255)")>=0);
theme.click();check("and back",back()===before);
check("memory is drawn",all("svg[aria-label^=Memory] rect").length>10);
check("no width is too wide",document.documentElement.scrollWidth<=innerWidth);
}catch(e){problems.push(String(e))}
var result=document.createElement("pre");result.id="result";result.textContent=JSON.stringify({found:found,problems:problems});
document.body.appendChild(result);document.title="probed"})();</script>)js";

std::string with_probe(std::string page) {
  page.insert(page.find("<meta"), listen);
  page.insert(page.rfind("</body>"), probe);
  return page;
}

/// The text of the element that the probe left.
std::string result_in(const std::string& dom) {
  const std::string begin = "<pre id=\"result\">";
  const std::size_t at = dom.find(begin);
  return at == std::string::npos ? "" : dom.substr(at + begin.size(), dom.find("</pre>", at) - at - begin.size());
}

std::string browser(const ProgramFolder& place) {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"})
    if (place.shell(std::string("command -v ") + name).code == 0) return name;
  return {};
}

}  // namespace

TEST_SUITE_BEGIN("page");

TEST_CASE("the page of a comparison works in a browser") {
  const ProgramFolder place("page");
  const Outcome made = place.run(
      "compare --json --model yolov5n --img 64 --ops dsc,gsconv --repetitions 1 --time 0.01 --html page.html");
  REQUIRE_MESSAGE(made.code == 0, made.err);
  const std::string page = place.read("page.html");
  CHECK(page.size() < 2'000'000);
  for (const char* fetched : {" src=", "http", "@import", "url("}) CHECK(!contains(page, fetched));
  CHECK(contains(page, "prefers-color-scheme:dark"));
  CHECK(contains(page, "@media print"));
  // It carries what was printed.
  const std::string open = "<script type=\"application/json\" id=\"data\">";
  const std::size_t at = page.find(open) + open.size();
  CHECK(json::parse(page.substr(at, page.find("</script>", at) - at)) == json::parse(made.out));

  const std::string program = browser(place);
  if (program.empty()) {
    MESSAGE("skipped: the page in a browser, Chromium is not here");
    return;
  }
  place.text("probe.html", with_probe(page));
  for (const char* width : {"390", "1400"}) {
    CAPTURE(width);
    const Outcome run = place.shell("timeout 100 " + program +
                                    " --headless --no-sandbox --disable-gpu --no-first-run --user-data-dir=profile "
                                    "--window-size=" +
                                    width + ",900 --dump-dom \"file://$PWD/probe.html\"");
    const std::string result = result_in(run.out);
    REQUIRE_MESSAGE(!result.empty(), run.err);
    const json all = json::parse(result);
    CHECK_MESSAGE(all["problems"].empty(), all["problems"]);
    CHECK(all["found"].size() >= 20);
    for (const auto& item : all["found"].items()) CHECK_MESSAGE(item.value() == true, item.key());
  }
}

TEST_CASE("names of a hostile model change no page") {
  const ProgramFolder place("page");
  place.text("x<svg onload=alert(1)>.yaml",
             "depth_multiple: 1.0\nwidth_multiple: 1.0\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\nhead:\n  - [-1, 1, "
             "GSConv, [8, 1, 1]]\n");
  const Outcome made = place.run(
      "compare --model 'x<svg onload=alert(1)>.yaml' --img 32 --repetitions 1 --time 0.01 "
      "--ops gsconv --html page.html --svg picture.svg");
  REQUIRE_MESSAGE(made.code == 0, made.err);
  CHECK(!contains(place.read("page.html"), "<svg onload"));
  CHECK(!contains(place.read("picture.svg"), "<svg onload"));
  CHECK(contains(place.read("picture.svg"), "role=\"img\""));
}

TEST_SUITE_END();

#endif
