// Depthwise separable convolutions over blocked maps against the reference kernels in double.
#include "kernels/dsc/dsc.hpp"

#include "norm_case.hpp"

using namespace slimneck;
using namespace slimneck::blocked;
using kernels::Act;
using kernels::Kernels;

namespace {

struct Case {
  index_t n, c1, c2, h, w, k, stride;  ///< h, w: of x
  Act act;
  index_t gap;

  [[nodiscard]] Shape x() const { return {n, c1, h, w}; }
  [[nodiscard]] Shape middle() const { return {n, c1, (h - 1) / stride + 1, (w - 1) / stride + 1}; }
  [[nodiscard]] Shape y() const { return {n, c2, middle().h, middle().w}; }
  [[nodiscard]] kernels::Conv2d geometry() const { return {stride, k / 2, k / 2, 1, c1}; }
  [[nodiscard]] std::string name() const {
    return to_string(x()) + " to " + std::to_string(c2) + " k" + std::to_string(k) + " s" + std::to_string(stride) +
           " gap " + std::to_string(gap);
  }
};

const Case cases[] = {
    {2, 17, 5, 9, 12, 3, 1, Act::silu, 4},    {3, 16, 40, 20, 20, 5, 2, Act::silu, 0},
    {1, 8, 24, 1, 3, 3, 1, Act::silu, 0},     {1, 3, 16, 40, 83, 3, 2, Act::mish, 0},
    {2, 4, 4, 13, 11, 7, 1, Act::sigmoid, 0},
};

/// The numbers of a case in the layout of one instruction set.
struct Setting : PairChannels {
  Setting(const Kernels& k, const Case& c)
      : PairChannels(physical(c.c1, k.lanes), c.c1, physical(c.c2, k.lanes), c.c2),
        x(c.x(), k.lanes, c.gap),
        a(c.middle(), k.lanes),
        y(c.y(), k.lanes, c.gap),
        z1(c.middle(), k.lanes, c.gap),
        z2(c.y(), k.lanes),
        c1(x.blocks * k.lanes),
        c2(y.blocks * k.lanes),
        w1(c.c1, c.k, c.k, k.lanes, k, Fill::real),
        w2({c.c2, c.c1, 1, 1}, 1),
        forward2(c1 * c2),
        backward2(c1 * c2) {
    x.fill("x", Fill::real);
    clear_unused(x);
    w2.fill("w2", Fill::real);
    kernels::DepthwiseArgs& d = dsc.depthwise;
    d.n = c.n;
    d.blocks = x.blocks;
    d.h = c.h;
    d.w = c.w;
    d.oh = c.middle().h;
    d.ow = c.middle().w;
    d.kh = d.kw = c.k;
    d.stride = c.stride;
    d.pad_h = d.pad_w = c.k / 2;
    d.x = x.view.data;
    d.xn = x.view.sn;
    d.xb = x.view.sc;
    d.xh = x.view.sh;
    d.weights = w1.packed.data();
    kernels::ConvArgs& p = dsc.pointwise;
    p.n = c.n;
    p.x_blocks = x.blocks;
    p.y_blocks = y.blocks;
    p.h = p.oh = d.oh;
    p.w = p.ow = d.ow;
    p.weights = forward2.data();
    dsc.variant = &kernels::choose_conv_fwd(p, k.lanes, kernels::Algorithm::direct);
    dsc.a = at(a);
    dsc.y = at(y);
    dsc.act = c.act;
    dsc.slope = static_cast<float>(slope);
    pack(k, w2, forward2.data(), c.c2, c.c1, 1, c2, c1, dsc.variant->order);

    train = training();
    train.z1 = at(z1);
    train.z2 = at(z2);
  }
  Map x, a, y, z1, z2;
  index_t c1, c2;
  DepthwiseWeights w1;
  Map w2;
  Guarded forward2, backward2;
  kernels::Dsc dsc;
  kernels::PairTraining train;
};

struct Reference : PairDoubles {
  Reference(const Case& c, const Setting& s)
      : PairDoubles(s),
        x(c.x()),
        w1(s.w1.plain.view.shape),
        w2(s.w2.view.shape),
        z1(c.middle()),
        a(c.middle()),
        z2(c.y()),
        y(c.y()) {
    x.read(s.x.view);
    w1.read(s.w1.plain.view);
    w2.read(s.w2.view);
  }
  void forward(const Case& c, bool training) {
    kernels::conv2d_fwd<double>(x.view, w1.view, {}, z1.view, c.geometry());
    if (training) kernels::bn_stats<double>(z1.view, mean1.view, var1.view);
    norm_act(z1, mean1, var1, gamma1, beta1, a, c.act);
    kernels::conv2d_fwd<double>(a.view, w2.view, {}, z2.view, {});
    if (training) kernels::bn_stats<double>(z2.view, mean2.view, var2.view);
    norm_act(z2, mean2, var2, gamma2, beta2, y, c.act);
  }
  Doubles x, w1, w2, z1, a, z2, y;
};

void run_training(const Kernels& k, Setting& s) {
  const Guarded workspace(kernels::dsc_train_workspace(s.dsc, k.lanes));
  s.train.workspace = workspace.data();
  kernels::dsc_train(k, s.dsc, s.train);
}

/// What the backward sets.
struct Grad : PairGradients {
  Grad(const Kernels& k, const Case& c, const Setting& s)
      : PairGradients(s.c1, c.c1, s.c2, c.c2),
        dz2(c.y(), k.lanes),
        dz1(c.middle(), k.lanes),
        dx(c.x(), k.lanes, c.gap),
        packed1(s.w1.packed.size()),
        packed2(s.c1 * s.c2),
        dw1(s.w1.plain.view.shape, 1),
        dw2(s.w2.view.shape, 1) {}
  void run(const Kernels& k, const Case& c, Setting& s, const Map& dy, int threads) {
    kernels::DscGrad g;
    g.dy = at(dy);
    kernels::ConvGradArgs& w = g.pointwise_gradient;
    w.n = c.n;
    w.x_blocks = s.x.blocks;
    w.y_blocks = s.y.blocks;
    w.h = w.oh = c.middle().h;
    w.w = w.ow = c.middle().w;
    w.dw = packed2.data();
    g.gradient = &kernels::choose_conv_bwd_w(w, k.lanes, kernels::Algorithm::direct);
    const Guarded w_space(g.gradient->workspace(w, k.lanes, threads));
    w.workspace = w_space.data();
    kernels::ConvArgs& d = g.pointwise_data;
    d = s.dsc.pointwise;
    d.x_blocks = s.y.blocks;
    d.y_blocks = s.x.blocks;
    g.data = &kernels::choose_conv_bwd_x(d, k.lanes, kernels::Algorithm::direct);
    pack(k, s.w2, s.backward2.data(), c.c2, c.c1, 1, s.c2, s.c1, g.data->order);
    d.weights = s.backward2.data();
    const Guarded d_space(g.data->workspace(d, k.lanes, threads));
    d.workspace = d_space.data();
    g.dz2 = at(dz2);
    g.dz1 = at(dz1);
    g.dx = at(dx);
    g.dw1 = packed1.data();
    set(g);
    const Guarded workspace(kernels::dsc_bwd_workspace(s.dsc, k.lanes));
    g.workspace = workspace.data();
    kernels::dsc_bwd(k, s.dsc, s.train, g);
    unpack(k, packed1, dw1, c.c1, 1, c.k, s.c1, 1, kernels::WeightOrder::depthwise);
    unpack(k, packed2, dw2, c.c2, c.c1, 1, s.c2, s.c1, g.gradient->order);
  }
  Map dz2, dz1, dx;
  Guarded packed1, packed2;
  Map dw1, dw2;
};

}  // namespace

TEST_CASE("depthwise separable convolution for inference") {
  for_each_isa([](const Kernels& k) {
    for (const Case& c : cases) {
      CAPTURE(c.name());
      Setting s(k, c);
      Reference r(c, s);
      r.forward(c, false);
      kernels::dsc_infer(k, s.dsc, s.folded());
      CHECK(off(s.a.view, r.a) < 2e-6);
      CHECK(off(s.y.view, r.y) < 3e-6);
    }
  });
}

TEST_CASE("depthwise separable convolution in training") {
  for_each_isa([](const Kernels& k) {
    for (const Case& c : cases) {
      CAPTURE(c.name());
      Setting s(k, c);
      Reference r(c, s);
      r.forward(c, true);
      run_training(k, s);
      CHECK(off(s.mean1.view(), r.mean1) < 2e-5);
      CHECK(off(s.var1.view(), r.var1) < 1e-5);
      CHECK(off(s.mean2.view(), r.mean2) < 2e-5);
      CHECK(off(s.var2.view(), r.var2) < 1e-5);
      CHECK(off(s.a.view, r.a) < 1e-5);
      CHECK(off(s.y.view, r.y) < 2e-5);

      Map dy(c.y(), k.lanes, c.gap);
      dy.fill("dy", Fill::real);
      Doubles dy_double(c.y()), dz2(c.y()), da(c.middle()), dz1(c.middle()), dx(c.x()), dw1(r.w1.view.shape),
          dw2(r.w2.view.shape), dgamma1(r.v1), dbeta1(r.v1), dgamma2(r.v2), dbeta2(r.v2);
      dy_double.read(dy.view);
      norm_act_bwd(dy_double, r.z2, r.mean2, r.var2, r.gamma2, r.beta2, dz2, dgamma2, dbeta2, c.act);
      kernels::conv2d_bwd_w<double>(r.a.view, dz2.view, dw2.view, {});
      kernels::conv2d_bwd_x<double>(dz2.view, r.w2.view, da.view, {});
      norm_act_bwd(da, r.z1, r.mean1, r.var1, r.gamma1, r.beta1, dz1, dgamma1, dbeta1, c.act);
      kernels::conv2d_bwd_w<double>(r.x.view, dz1.view, dw1.view, c.geometry());
      kernels::conv2d_bwd_x<double>(dz1.view, r.w1.view, dx.view, c.geometry());
      Grad g(k, c, s);
      g.run(k, c, s, dy, 2);
      CHECK(off(g.dx.view, dx) < 3e-5);
      CHECK(off(g.dw1.view, dw1) < 3e-5);
      CHECK(off(g.dw2.view, dw2) < 3e-5);
      CHECK(off(g.dgamma1.view(), dgamma1) < 3e-5);
      CHECK(off(g.dbeta1.view(), dbeta1) < 3e-5);
      CHECK(off(g.dgamma2.view(), dgamma2) < 3e-5);
      CHECK(off(g.dbeta2.view(), dbeta2) < 3e-5);
    }
  });
}
