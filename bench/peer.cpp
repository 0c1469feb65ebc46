#include "peer.hpp"

#include <algorithm>
#include <array>

#include "measure/machine.hpp"
#include "side.hpp"

namespace slimneck::bench {

namespace {

Layer layer_of(const PeerTask& t) {
  Layer l;
  l.c = t.c1;
  l.oc = t.c2;
  l.h = t.h;
  l.w = t.w;
  l.kh = l.kw = t.k;
  l.stride = t.s;
  l.pad_h = l.pad_w = t.k / 2;
  l.act = t.act;
  if (t.module == PeerTask::Module::gsconv) {
    l.op = Op::gsconv;
    l.k2 = 5;
  } else if (t.module == PeerTask::Module::dsc) {
    l.op = Op::dsc;
    l.groups = t.c1;
  }
  return l;
}

Row row_of(const PeerTask& t, const std::string& peer) {
  Row row;
  row.layer = layer_of(t);
  row.pass = t.train ? Pass::fwdbwd : Pass::fwd;
  row.peer = peer;
  return row;
}

Options options_of(const PeerTask& t) {
  Options o;
  o.batch = t.n;
  o.isa = t.isa;
  o.threads = t.threads;
  o.algorithm = t.direct ? kernels::Algorithm::direct : kernels::Algorithm::best;
  return o;
}

/// Sides keep a reference to their problem.
class Composition : public Peer {
 public:
  Composition(const PeerTask& task, const std::string& peer)
      : problem_(row_of(task, peer), options_of(task)), side_(make_onednn(problem_)) {}

  [[nodiscard]] bool exists() const { return side_ != nullptr; }
  void run() override { side_->run(); }
  [[nodiscard]] std::string kernel() const override { return side_->kernel(); }

  /// The best of three, in seconds.
  double trial() {
    double best = 1e9;
    for (int i = 0; i < 3; ++i) {
      const double begin = measure::seconds_now();
      run();
      best = std::min(best, measure::seconds_now() - begin);
    }
    return best;
  }

 private:
  Problem problem_;
  std::unique_ptr<Side> side_;
};

}  // namespace

std::unique_ptr<Peer> make_peer(const PeerTask& task) {
  limit_onednn(task.isa);
  // A single convolution in inference is a peer of its own for each algorithm; the others choose for themselves.
  std::vector<std::string> names{task.framework ? "onednn-framework" : "onednn-best"};
  if (task.module == PeerTask::Module::sc && !task.train && !task.framework) {
    names = {"onednn"};
    if (!task.direct && layer_of(task).takes_winograd()) names.emplace_back("onednn-winograd");
  }
  std::unique_ptr<Composition> best;
  double best_time = 0;
  for (const std::string& name : names) {
    auto candidate = std::make_unique<Composition>(task, name);
    if (!candidate->exists()) continue;
    const double time = names.size() > 1 ? candidate->trial() : 0;
    if (best && time >= best_time) continue;
    best = std::move(candidate);
    best_time = time;
  }
  return best;
}

std::string peer_name() { return "oneDNN " + onednn_version(); }

}  // namespace slimneck::bench
