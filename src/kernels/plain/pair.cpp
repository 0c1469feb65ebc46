// fast::gsconv and fast::dsc: two convolutions, each with batch norm and activation, on blocked maps.
//
// Backward, with da' the part of dy that belongs to a itself (GSConv only):
//   dz2 = bn2'(dy_b),  dw2 = bwd_w(a, dz2),  da = bwd_x(dz2, w2) + da',  dz1 = bn1'(da),  dw1 = bwd_w(x, dz1),
//   dx = bwd_x(dz1, w1);  a = act(norm1 z1) is computed again.
#include "kernels/gsconv/gsconv.hpp"
#include "kernels/plain/conv.hpp"
#include "kernels/plain/norm.hpp"

namespace slimneck::kernels {

namespace {

using namespace plain;  // NOLINT(google-build-using-namespace): helpers of this folder
using fast::Halves;

enum class Kind { gsconv, dsc };

const char* name_of(Kind kind) { return kind == Kind::gsconv ? "gsconv" : "dsc"; }

/// The two convolutions as they run, and y.
struct Shapes {
  ConvShape first, second;
  Shape y;

  Shapes(Kind kind, const Shape& x, const Shape& w1, const Shape& w2, Conv2d geometry) {
    const bool gs = kind == Kind::gsconv;
    if (gs && geometry.groups != 1) fail(name_of(kind), "groups are not supported");
    geometry.groups = gs ? 1 : x.c;
    if (!gs && w1.n != x.c) fail(name_of(kind), "w1 is " + to_string(w1) + ", wanted a filter for each channel of x");
    const Shape z1 = fast::conv2d_shape(x, w1, geometry);
    if (gs ? w2.h % 2 == 0 || w2.w % 2 == 0 || w2.n != z1.c : w2.h != 1 || w2.w != 1)
      fail(name_of(kind), "w2 is " + to_string(w2) +
                              (gs ? ", wanted an odd filter for each channel of the first half" : ", wanted 1x1"));
    const Conv2d second_geometry{1, w2.h / 2, w2.w / 2, 1, gs ? z1.c : 1};
    const Shape z2 = fast::conv2d_shape(z1, w2, second_geometry);
    geometry.groups = 1;
    first = {x, w1, z1, geometry};
    second = {z1, w2, z2, second_geometry};
    second.geometry.groups = 1;
    y = z2;
    if (gs) y.c *= 2;
  }
};

MapAt map_at(const View<float>& v) { return {v.data, v.sn, v.sc, v.sh}; }

/// Everything that any of the three calls needs.
struct Pair {
  Kind kind;
  Machine machine;
  Shapes shapes;
  Workspace workspace;
  View<float> x, z1, a, z2, b;
  BlockedNorm norm1, norm2;
  ConvData first, second;
  std::optional<ConvData> first_back, second_back;
  std::optional<ConvWeights> first_weights, second_weights;
  /// GSConv with a 3x3 or 5x5 second kernel: training in fused passes.
  bool fused;
  View<float> own;  ///< gradient of a from its part of y
  float *train_scratch = nullptr, *backward_scratch = nullptr;

  Pair(Kind what, const Exec& exec, const Shape& x_shape, const Shape& w1, const Shape& w2,
       const fast::PairSettings& settings, const fast::Options& options, std::span<float> memory)
      : kind(what),
        machine(exec),
        shapes(what, x_shape, w1, w2, settings.geometry),
        workspace(memory),
        x(workspace.map(shapes.first.x, machine.lanes)),
        z1(workspace.map(shapes.first.y, machine.lanes)),
        a(workspace.map(shapes.first.y, machine.lanes)),
        z2(workspace.map(shapes.second.y, machine.lanes)),
        b(workspace.map(shapes.second.y, machine.lanes)),
        norm1(machine, shapes.first.y, workspace),
        norm2(machine, shapes.second.y, workspace),
        first(machine, shapes.first, dsc(), false, false, options.algorithm, workspace),
        second(machine, shapes.second, !dsc(), false, false, options.algorithm, workspace) {
    first_back.emplace(machine, shapes.first, dsc(), true, false, options.algorithm, workspace);
    second_back.emplace(machine, shapes.second, !dsc(), true, false, options.algorithm, workspace);
    first_weights.emplace(machine, shapes.first, dsc(), false, options.algorithm, workspace);
    second_weights.emplace(machine, shapes.second, !dsc(), false, options.algorithm, workspace);
    const Shape& k = shapes.second.w;
    fused = !dsc() && k.h == k.w && (k.h == 3 || k.h == 5);
    if (!fused) return;
    own = workspace.map(shapes.first.y, machine.lanes);
    train_scratch = workspace.take(gs_pair_train_workspace(fused_forward(settings), machine.lanes));
    backward_scratch = workspace.take(gs_pair_bwd_workspace(fused_backward(settings), machine.lanes, machine.threads));
  }

  /// Without what depends on the weights.
  [[nodiscard]] GsPair fused_forward(const fast::PairSettings& settings) const {
    GsPair g;
    g.variant = &first.dense().variant();
    g.conv = first.dense().args();
    g.k = shapes.second.w.h;
    g.a = map_at(a);
    g.b = map_at(b);
    g.act = settings.act.kind;
    g.slope = static_cast<float>(settings.act.slope);
    return g;
  }
  [[nodiscard]] GsPairGrad fused_backward(const fast::PairSettings& settings) const {
    const BlockedNorm::Vectors &v1 = norm1.vectors(), &v2 = norm2.vectors();
    GsPairGrad g;
    set_extent(g, View<const float>(a));
    g.k = shapes.second.w.h;
    g.da = map_at(own);
    g.db = map_at(b);
    g.z1 = map_at(z1);
    g.z2 = map_at(z2);
    g.mean1 = v1.mean;
    g.var1 = v1.var;
    g.mean2 = v2.mean;
    g.var2 = v2.var;
    g.gamma1 = v1.gamma;
    g.beta1 = v1.beta;
    g.gamma2 = v2.gamma;
    g.beta2 = v2.beta;
    g.eps = settings.eps;
    g.act = settings.act.kind;
    g.slope = static_cast<float>(settings.act.slope);
    g.dz1 = map_at(a);
    g.dw2 = second_weights->depthwise().packed();
    g.dgamma1 = v1.dgamma;
    g.dbeta1 = v1.dbeta;
    g.dgamma2 = v2.dgamma;
    g.dbeta2 = v2.dbeta;
    return g;
  }
  [[nodiscard]] bool dsc() const { return kind == Kind::dsc; }

  void check(const View<const float>& x_view, const View<const float>& y_view, const char* y_name,
             const fast::PairWeights& weights, bool statistics) const {
    const char* name = name_of(kind);
    check_view(name, "x", x_view, shapes.first.x);
    check_view(name, y_name, y_view, shapes.y);
    check_view(name, "w1", weights.w1, shapes.first.w);
    check_view(name, "w2", weights.w2, shapes.second.w);
    const Shape v1 = per_channel(shapes.first.y.c), v2 = per_channel(shapes.second.y.c);
    check_optional(name, "gamma1", weights.norm1.gamma, v1);
    check_optional(name, "beta1", weights.norm1.beta, v1);
    check_optional(name, "gamma2", weights.norm2.gamma, v2);
    check_optional(name, "beta2", weights.norm2.beta, v2);
    if (statistics) {
      check_view(name, "mean1", weights.norm1.mean, v1);
      check_view(name, "var1", weights.norm1.var, v1);
      check_view(name, "mean2", weights.norm2.mean, v2);
      check_view(name, "var2", weights.norm2.var, v2);
    }
    workspace.check(name);
  }
  template <class T>
  void check_saved(const fast::PairSaved<T>& saved, double eps) const {
    const char* name = name_of(kind);
    const Shape v1 = per_channel(shapes.first.y.c), v2 = per_channel(shapes.second.y.c);
    check_view(name, "z1", saved.z1, shapes.first.y);
    check_view(name, "mean1", saved.mean1, v1);
    check_view(name, "var1", saved.var1, v1);
    check_view(name, "z2", saved.z2, shapes.second.y);
    check_view(name, "mean2", saved.mean2, v2);
    check_view(name, "var2", saved.var2, v2);
    const Shape& z = shapes.first.y;
    if (z.n * z.h * z.w == 1) fail(name, "training needs more than one value per channel");
    // Lanes past the last channel have no variance, and must stay finite.
    if (!(eps > 0)) fail(name, "training needs eps > 0");
  }
  void check_gradients(const fast::PairGradients& g) const {
    const char* name = name_of(kind);
    const Shape v1 = per_channel(shapes.first.y.c), v2 = per_channel(shapes.second.y.c);
    check_optional(name, "dx", g.dx, shapes.first.x);
    check_optional(name, "dw1", g.dw1, shapes.first.w);
    check_optional(name, "dgamma1", g.dgamma1, v1);
    check_optional(name, "dbeta1", g.dbeta1, v1);
    check_optional(name, "dw2", g.dw2, shapes.second.w);
    check_optional(name, "dgamma2", g.dgamma2, v2);
    check_optional(name, "dbeta2", g.dbeta2, v2);
  }

  /// Where the channels of a (half 0) and b (half 1) lie in y.
  [[nodiscard]] Place place(Halves halves, index_t half) const {
    const index_t m = shapes.first.y.c;
    if (dsc()) return {};
    if (halves == Halves::interleave) return {half, 2};
    return {half * m, 1, halves == Halves::deinterleave, 2 * m};
  }
  void write_y(View<float> y, const fast::PairSettings& settings, Write write) const noexcept {
    if (!dsc()) from_blocked(machine, a, {}, y, write, place(settings.halves, 0));
    from_blocked(machine, b, {}, y, write, place(settings.halves, 1));
  }
};

Epilogue finish(const BlockedNorm& norm, const Activation& act) {
  return ending(norm.vectors().scale, norm.vectors().bias, act.kind, static_cast<float>(act.slope));
}

void infer(Kind kind, const Exec& exec, View<const float> x, const fast::PairWeights& weights, View<float> y,
           const fast::PairSettings& settings, std::span<float> workspace, const fast::Options& options) {
  Pair p(kind, exec, x.shape, weights.w1.shape, weights.w2.shape, settings, options, workspace);
  p.check(x, y, "y", weights, true);

  const core::ThreadScope scope(p.machine.threads);
  p.norm1.set_affine(weights.norm1.gamma, weights.norm1.beta);
  p.norm2.set_affine(weights.norm2.gamma, weights.norm2.beta);
  p.norm1.set_statistics(weights.norm1.mean, weights.norm1.var);
  p.norm2.set_statistics(weights.norm2.mean, weights.norm2.var);
  p.norm1.fold(settings.eps);
  p.norm2.fold(settings.eps);
  to_blocked(p.machine, x, p.x);
  p.first.run(p.x, weights.w1, p.a, finish(p.norm1, settings.act));
  p.second.run(p.a, weights.w2, p.b, finish(p.norm2, settings.act));
  p.write_y(y, settings, options.write);
}

/// x -> a, b, z1, z2 and their statistics.
void train_fused(const Pair& p, const fast::PairWeights& weights, const fast::PairSettings& settings) noexcept {
  GsPair g = p.fused_forward(settings);
  g.conv = p.first.dense().prepare(p.x, weights.w1);
  g.w2 = p.second.depthwise().prepare(weights.w2);
  const BlockedNorm::Vectors &v1 = p.norm1.vectors(), &v2 = p.norm2.vectors();
  PairTraining t;
  t.gamma1 = v1.gamma;
  t.beta1 = v1.beta;
  t.gamma2 = v2.gamma;
  t.beta2 = v2.beta;
  t.eps = settings.eps;
  t.z1 = map_at(p.z1);
  t.z2 = map_at(p.z2);
  t.mean1 = v1.mean;
  t.var1 = v1.var;
  t.mean2 = v2.mean;
  t.var2 = v2.var;
  t.workspace = p.train_scratch;
  gs_pair_train(*p.machine.kernels, g, t);
}

void train(Kind kind, const Exec& exec, View<const float> x, const fast::PairWeights& weights, View<float> y,
           const fast::PairSaved<float>& saved, const fast::PairSettings& settings, std::span<float> workspace,
           const fast::Options& options) {
  Pair p(kind, exec, x.shape, weights.w1.shape, weights.w2.shape, settings, options, workspace);
  p.check(x, y, "y", weights, false);
  p.check_saved(saved, settings.eps);

  const core::ThreadScope scope(p.machine.threads);
  p.norm1.set_affine(weights.norm1.gamma, weights.norm1.beta);
  p.norm2.set_affine(weights.norm2.gamma, weights.norm2.beta);
  to_blocked(p.machine, x, p.x);
  if (p.fused) {
    train_fused(p, weights, settings);
  } else {
    p.first.run(p.x, weights.w1, p.z1, {});
    p.norm1.train(p.z1, p.a, settings.act, settings.eps);
    p.second.run(p.a, weights.w2, p.z2, {});
    p.norm2.train(p.z2, p.b, settings.act, settings.eps);
  }
  from_blocked(p.machine, p.z1, {}, saved.z1, Write::set);
  from_blocked(p.machine, p.z2, {}, saved.z2, Write::set);
  from_vector(p.norm1.vectors().mean, saved.mean1, Write::set);
  from_vector(p.norm1.vectors().var, saved.var1, Write::set);
  from_vector(p.norm2.vectors().mean, saved.mean2, Write::set);
  from_vector(p.norm2.vectors().var, saved.var2, Write::set);
  p.write_y(y, settings, Write::set);
}

void add_blocked(const Machine& machine, View<const float> x, View<float> y) noexcept {
  PointwiseArgs a;
  set_extent(a, x);
  lay_x(x, a);
  lay(y, a.z, a.zn, a.zb, a.zh);
  lay_y(y, a);
  machine.kernels->map_add(a);
}

/// b (db) -> a (dz1), dw2 and the gradients of both norms.
void backward_by_passes(Pair& p, View<const float> dy, const fast::PairWeights& weights,
                        const fast::PairGradients& gradients, const fast::PairSettings& settings,
                        const fast::Options& options) noexcept {
  const Activation& act = settings.act;
  p.norm2.backward(p.b, p.z2, p.b, act, settings.eps, true);  // b is dz2 now
  p.norm1.apply(p.z1, p.a, act);
  if (gradients.dw2.data) p.second_weights->run(p.a, p.b, gradients.dw2, options.write);
  p.second_back->run(p.b, weights.w2, p.a, {});  // a is da now
  if (p.kind == Kind::gsconv) {
    to_blocked(p.machine, dy, p.b, p.place(settings.halves, 0));
    add_blocked(p.machine, p.b, p.a);
  }
  p.norm1.backward(p.a, p.z1, p.a, act, settings.eps, true);  // dz1
}

void backward(Kind kind, const Exec& exec, View<const float> dy, View<const float> x, const fast::PairWeights& weights,
              const fast::PairSaved<const float>& saved, const fast::PairGradients& gradients,
              const fast::PairSettings& settings, std::span<float> workspace, const fast::Options& options) {
  Pair p(kind, exec, x.shape, weights.w1.shape, weights.w2.shape, settings, options, workspace);
  p.check(x, dy, "dy", weights, false);
  p.check_saved(saved, settings.eps);
  p.check_gradients(gradients);

  const core::ThreadScope scope(p.machine.threads);
  p.norm1.set_affine(weights.norm1.gamma, weights.norm1.beta);
  p.norm2.set_affine(weights.norm2.gamma, weights.norm2.beta);
  p.norm1.set_statistics(saved.mean1, saved.var1);
  p.norm2.set_statistics(saved.mean2, saved.var2);
  p.norm1.fold(settings.eps);
  p.norm2.fold(settings.eps);
  to_blocked(p.machine, x, p.x);
  to_blocked(p.machine, saved.z1, p.z1);
  to_blocked(p.machine, saved.z2, p.z2);
  to_blocked(p.machine, dy, p.b, p.place(settings.halves, 1));

  if (p.fused) {
    to_blocked(p.machine, dy, p.own, p.place(settings.halves, 0));
    GsPairGrad g = p.fused_backward(settings);
    g.w2 = p.second.depthwise().prepare(weights.w2);
    g.workspace = p.backward_scratch;
    gs_pair_bwd(*p.machine.kernels, g);
    if (gradients.dw2.data) p.second_weights->depthwise().unpack(gradients.dw2, options.write);
  } else {
    backward_by_passes(p, dy, weights, gradients, settings, options);
  }
  if (gradients.dw1.data) p.first_weights->run(p.x, p.a, gradients.dw1, options.write);
  if (gradients.dx.data) {
    p.first_back->run(p.a, weights.w1, p.x, {});
    from_blocked(p.machine, p.x, {}, gradients.dx, options.write);
  }
  from_vector(p.norm1.vectors().dgamma, gradients.dgamma1, options.write);
  from_vector(p.norm1.vectors().dbeta, gradients.dbeta1, options.write);
  from_vector(p.norm2.vectors().dgamma, gradients.dgamma2, options.write);
  from_vector(p.norm2.vectors().dbeta, gradients.dbeta2, options.write);
}

index_t floats(Kind kind, const Exec& exec, const Shape& x, const Shape& w1, const Shape& w2,
               const fast::PairSettings& settings, const fast::Options& options) {
  return Pair(kind, exec, x, w1, w2, settings, options, {}).workspace.taken();
}

}  // namespace

namespace fast {

void gsconv(const Exec& exec, View<const float> x, const PairWeights& weights, View<float> y,
            const PairSettings& settings, std::span<float> workspace, const Options& options) {
  infer(Kind::gsconv, exec, x, weights, y, settings, workspace, options);
}
void dsc(const Exec& exec, View<const float> x, const PairWeights& weights, View<float> y, const PairSettings& settings,
         std::span<float> workspace, const Options& options) {
  infer(Kind::dsc, exec, x, weights, y, settings, workspace, options);
}

void gsconv_train(const Exec& exec, View<const float> x, const PairWeights& weights, View<float> y,
                  const PairSaved<float>& saved, const PairSettings& settings, std::span<float> workspace,
                  const Options& options) {
  train(Kind::gsconv, exec, x, weights, y, saved, settings, workspace, options);
}
void dsc_train(const Exec& exec, View<const float> x, const PairWeights& weights, View<float> y,
               const PairSaved<float>& saved, const PairSettings& settings, std::span<float> workspace,
               const Options& options) {
  train(Kind::dsc, exec, x, weights, y, saved, settings, workspace, options);
}

void gsconv_bwd(const Exec& exec, View<const float> dy, View<const float> x, const PairWeights& weights,
                const PairSaved<const float>& saved, const PairGradients& gradients, const PairSettings& settings,
                std::span<float> workspace, const Options& options) {
  backward(Kind::gsconv, exec, dy, x, weights, saved, gradients, settings, workspace, options);
}
void dsc_bwd(const Exec& exec, View<const float> dy, View<const float> x, const PairWeights& weights,
             const PairSaved<const float>& saved, const PairGradients& gradients, const PairSettings& settings,
             std::span<float> workspace, const Options& options) {
  backward(Kind::dsc, exec, dy, x, weights, saved, gradients, settings, workspace, options);
}

index_t gsconv_workspace(const Exec& exec, const Shape& x, const Shape& w1, const Shape& w2,
                         const PairSettings& settings, const Options& options) {
  return floats(Kind::gsconv, exec, x, w1, w2, settings, options);
}
index_t dsc_workspace(const Exec& exec, const Shape& x, const Shape& w1, const Shape& w2, const PairSettings& settings,
                      const Options& options) {
  return floats(Kind::dsc, exec, x, w1, w2, settings, options);
}

}  // namespace fast

}  // namespace slimneck::kernels
