// GSConv over blocked maps against the reference kernels in double.
#include "kernels/gsconv/gsconv.hpp"

#include "norm_case.hpp"

using namespace slimneck;
using namespace slimneck::blocked;
using kernels::Act;
using kernels::Kernels;

namespace {

struct Case {
  index_t n, c1, c, h, w;  ///< h, w: of the halves
  index_t k1, stride, k2;
  Act act;
  index_t gap;

  [[nodiscard]] Shape x() const { return {n, c1, stride == 1 ? h : 2 * h - 1, stride == 1 ? w : 2 * w - 1}; }
  [[nodiscard]] Shape half() const { return {n, c, h, w}; }
  [[nodiscard]] kernels::Conv2d dense() const { return {stride, k1 / 2, k1 / 2, 1, 1}; }
  [[nodiscard]] kernels::Conv2d depthwise() const { return {1, k2 / 2, k2 / 2, 1, c}; }
  [[nodiscard]] std::string name() const {
    return to_string(half()) + " from " + std::to_string(c1) + " k" + std::to_string(k1) + " s" +
           std::to_string(stride) + " dw " + std::to_string(k2) + " act " + std::to_string(static_cast<int>(act)) +
           " gap " + std::to_string(gap);
  }
};

const Case cases[] = {
    {2, 5, 17, 9, 12, 1, 1, 5, Act::silu, 4},   {3, 16, 40, 20, 20, 3, 2, 5, Act::silu, 0},
    {1, 8, 8, 1, 3, 1, 1, 5, Act::silu, 0},     {2, 4, 3, 3, 2, 3, 1, 3, Act::silu, 0},
    {1, 3, 16, 40, 83, 1, 1, 5, Act::silu, 0},  {1, 3, 4, 23, 130, 1, 1, 3, Act::silu, 8},
    {2, 4, 20, 11, 13, 1, 1, 3, Act::mish, 0},  {2, 4, 5, 7, 8, 1, 1, 5, Act::none, 0},
    {1, 4, 5, 18, 41, 1, 1, 5, Act::relu, 0},   {1, 4, 5, 12, 9, 1, 1, 5, Act::hardswish, 0},
    {1, 4, 5, 12, 9, 1, 1, 5, Act::sigmoid, 0}, {1, 4, 5, 12, 9, 1, 1, 5, Act::leaky_relu, 0},
    {1, 4, 5, 12, 9, 1, 1, 5, Act::gelu, 0},
};
/// The numbers of a case in the layout of one instruction set, and what the reference makes of them.
struct Setting : PairChannels {
  Setting(const Kernels& k, const Case& c)
      : PairChannels(physical(c.c, k.lanes), c.c, physical(c.c, k.lanes), c.c),
        x(c.x(), k.lanes, c.gap),
        a(c.half(), k.lanes, c.gap),
        b(c.half(), k.lanes, 2 * c.gap),
        z1(c.half(), k.lanes),
        z2(c.half(), k.lanes, c.gap),
        channels(physical(c.c, k.lanes)),
        w1({c.c, c.c1, c.k1, c.k1}, 1),
        packed1(channels * physical(c.c1, k.lanes) * c.k1 * c.k1),
        w2(c.c, c.k2, c.k2, k.lanes, k, Fill::real) {
    x.fill("x", Fill::real);
    clear_unused(x);
    w1.fill("w1", Fill::real);
    pair.conv.n = c.n;
    pair.conv.x_blocks = x.blocks;
    pair.conv.y_blocks = a.blocks;
    pair.conv.h = c.x().h;
    pair.conv.w = c.x().w;
    pair.conv.oh = c.h;
    pair.conv.ow = c.w;
    pair.conv.kh = pair.conv.kw = c.k1;
    pair.conv.stride = c.stride;
    pair.conv.pad_h = pair.conv.pad_w = c.k1 / 2;
    pair.conv.x = x.view.data;
    pair.conv.xn = x.view.sn;
    pair.conv.xb = x.view.sc;
    pair.conv.xh = x.view.sh;
    pair.conv.weights = packed1.data();
    pair.variant = &kernels::choose_conv_fwd(pair.conv, k.lanes, kernels::Algorithm::direct);
    pair.k = c.k2;
    pair.w2 = w2.packed.data();
    pair.a = at(a);
    pair.b = at(b);
    pair.act = c.act;
    pair.slope = static_cast<float>(slope);
    pack(k, w1, packed1.data(), c.c, c.c1, c.k1, channels, x.blocks * k.lanes, pair.variant->order);
  }
  Map x, a, b, z1, z2;
  index_t channels;
  Map w1;
  Guarded packed1;
  DepthwiseWeights w2;
  kernels::GsPair pair;
};

struct Reference : PairDoubles {
  Reference(const Case& c, const Setting& s)
      : PairDoubles(s),
        x(c.x()),
        w1(s.w1.view.shape),
        w2(s.w2.plain.view.shape),
        z1(c.half()),
        z2(c.half()),
        a(c.half()),
        b(c.half()) {
    x.read(s.x.view);
    w1.read(s.w1.view);
    w2.read(s.w2.plain.view);
  }
  void forward(const Case& c, bool training) {
    kernels::conv2d_fwd<double>(x.view, w1.view, {}, z1.view, c.dense());
    if (training) kernels::bn_stats<double>(z1.view, mean1.view, var1.view);
    norm_act(z1, mean1, var1, gamma1, beta1, a, c.act);
    kernels::conv2d_fwd<double>(a.view, w2.view, {}, z2.view, c.depthwise());
    if (training) kernels::bn_stats<double>(z2.view, mean2.view, var2.view);
    norm_act(z2, mean2, var2, gamma2, beta2, b, c.act);
  }
  Doubles x, w1, w2, z1, z2, a, b;
};

/// Gradients as gs_pair_bwd (src/layers/ops/gs_pair.cpp) defines them.
struct ReferenceGrad {
  ReferenceGrad(const Case& c, const Reference& f)
      : dz1(c.half()), dz2(c.half()), dw2(f.w2.view.shape), dgamma1(f.v1), dbeta1(f.v1), dgamma2(f.v1), dbeta2(f.v1) {}
  void run(const Case& c, const Reference& f, const Doubles* da, const Doubles* db) {
    if (db) norm_act_bwd(*db, f.z2, f.mean2, f.var2, f.gamma2, f.beta2, dz2, dgamma2, dbeta2, c.act);
    kernels::conv2d_bwd_w<double>(f.a.view, dz2.view, dw2.view, c.depthwise());
    Doubles ga(c.half());
    kernels::conv2d_bwd_x<double>(dz2.view, f.w2.view, ga.view, c.depthwise());
    if (da) kernels::add<double>(ga.view, da->view, ga.view);
    norm_act_bwd(ga, f.z1, f.mean1, f.var1, f.gamma1, f.beta1, dz1, dgamma1, dbeta1, c.act);
  }
  Doubles dz1, dz2, dw2, dgamma1, dbeta1, dgamma2, dbeta2;
};

void train(const Kernels& k, Setting& s) {
  kernels::PairTraining t = s.training();
  t.z1 = at(s.z1);
  t.z2 = at(s.z2);
  const Guarded workspace(kernels::gs_pair_train_workspace(s.pair, k.lanes));
  t.workspace = workspace.data();
  kernels::gs_pair_train(k, s.pair, t);
}

/// What the backward sets.
struct Grad : PairGradients {
  Grad(const Kernels& k, const Case& c, const Setting& s)
      : PairGradients(s.channels, c.c, s.channels, c.c),
        dz1(c.half(), k.lanes, c.gap),
        packed(s.w2.packed.size()),
        dw2(s.w2.plain.view.shape, 1) {}
  void run(const Kernels& k, const Case& c, const Setting& s, const Map* da, const Map* db, int threads) {
    kernels::GsPairGrad g;
    g.n = c.n;
    g.blocks = s.a.blocks;
    g.h = c.h;
    g.w = c.w;
    g.k = c.k2;
    if (da) g.da = at(*da);
    if (db) g.db = at(*db);
    g.z1 = at(s.z1);
    g.z2 = at(s.z2);
    g.mean1 = s.mean1.data();
    g.var1 = s.var1.data();
    g.mean2 = s.mean2.data();
    g.var2 = s.var2.data();
    g.gamma1 = s.gamma1.data();
    g.beta1 = s.beta1.data();
    g.gamma2 = s.gamma2.data();
    g.beta2 = s.beta2.data();
    g.w2 = s.w2.packed.data();
    g.eps = eps;
    g.act = c.act;
    g.slope = static_cast<float>(slope);
    g.dz1 = at(dz1);
    g.dw2 = packed.data();
    set(g);
    const Guarded workspace(kernels::gs_pair_bwd_workspace(g, k.lanes, threads));
    g.workspace = workspace.data();
    kernels::gs_pair_bwd(k, g);
    unpack(k, packed, dw2, c.c, 1, c.k2, s.channels, 1, kernels::WeightOrder::depthwise);
  }
  Map dz1;
  Guarded packed;
  Map dw2;
};

}  // namespace

TEST_CASE("GSConv for inference") {
  for_each_isa([](const Kernels& k) {
    for (const Case& c : cases) {
      CAPTURE(c.name());
      Setting s(k, c);
      Reference r(c, s);
      r.forward(c, false);
      kernels::gs_pair_infer(k, s.pair, s.folded());
      CHECK(off(s.a.view, r.a) < 2e-6);
      CHECK(off(s.b.view, r.b) < 3e-6);
    }
  });
}

TEST_CASE("GSConv in training, forward") {
  for_each_isa([](const Kernels& k) {
    for (const Case& c : cases) {
      CAPTURE(c.name());
      Setting s(k, c);
      Reference r(c, s);
      r.forward(c, true);
      train(k, s);
      CHECK(off(s.z1.view, r.z1) < 2e-6);
      CHECK(off(s.mean1.view(), r.mean1) < 2e-5);
      CHECK(off(s.var1.view(), r.var1) < 4e-6);
      CHECK(off(s.a.view, r.a) < 1e-5);
      CHECK(off(s.z2.view, r.z2) < 1e-5);
      CHECK(off(s.mean2.view(), r.mean2) < 1e-5);
      CHECK(off(s.var2.view(), r.var2) < 1e-5);
      CHECK(off(s.b.view, r.b) < 2e-5);
    }
  });
}

TEST_CASE("GSConv in training, backward") {
  for_each_isa([](const Kernels& k) {
    for (const Case& c : cases) {
      CAPTURE(c.name());
      Setting s(k, c);
      Reference r(c, s);
      r.forward(c, true);
      train(k, s);
      Map da(c.half(), k.lanes, c.gap), db(c.half(), k.lanes);
      da.fill("da", Fill::real);
      db.fill("db", Fill::real);
      Doubles da_double(c.half()), db_double(c.half());
      da_double.read(da.view);
      db_double.read(db.view);
      for (const int given : {3, 1, 2, 0}) {
        CAPTURE(given);
        ReferenceGrad wanted(c, r);
        wanted.run(c, r, given & 1 ? &da_double : nullptr, given & 2 ? &db_double : nullptr);
        Grad got(k, c, s);
        const Map untouched(c.half(), k.lanes, c.gap);
        got.run(k, c, s, given & 1 ? &da : nullptr, given & 2 ? &db : nullptr, 2);
        // Kinked activations may fall on the other side of the kink in float: their maps differ at single pixels.
        const double map = c.act == Act::relu || c.act == Act::leaky_relu || c.act == Act::hardswish ? 1e-3 : 2e-5;
        CHECK(off(got.dz1.view, wanted.dz1) < map);
        CHECK(got.dz1.gaps_kept(untouched));
        CHECK(off(got.dw2.view, wanted.dw2) < map);
        CHECK(off(got.dgamma1.view(), wanted.dgamma1) < map);
        CHECK(off(got.dbeta1.view(), wanted.dbeta1) < map);
        CHECK(off(got.dgamma2.view(), wanted.dgamma2) < map);
        CHECK(off(got.dbeta2.view(), wanted.dbeta2) < map);
      }
    }
  });
}

TEST_CASE("GSConv does not depend on the number of threads") {
  for_each_isa([](const Kernels& k) {
    const Case c{3, 20, 40, 33, 41, 3, 1, 5, Act::silu, 0};
    Setting one(k, c);
    Map da(c.half(), k.lanes), db(c.half(), k.lanes);
    da.fill("da", Fill::real);
    db.fill("db", Fill::real);
    Grad first(k, c, one);
    {
      const core::ThreadScope scope(1);
      train(k, one);
      first.run(k, c, one, &da, &db, 1);
    }
    for (const int threads : {2, 3}) {
      const core::ThreadScope scope(threads);
      Setting s(k, c);
      train(k, s);
      Grad grad(k, c, s);
      grad.run(k, c, s, &da, &db, threads);
      CHECK(mismatches(s.a.view, one.a.view) == 0);
      CHECK(mismatches(s.b.view, one.b.view) == 0);
      CHECK(mismatches(grad.dz1.view, first.dz1.view) == 0);
      CHECK(mismatches(grad.dw2.view, first.dw2.view) == 0);
      CHECK(mismatches(grad.dgamma1.view(), first.dgamma1.view()) == 0);
      CHECK(mismatches(grad.dbeta2.view(), first.dbeta2.view()) == 0);
    }
  });
}
