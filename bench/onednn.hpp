// The pieces that oneDNN's sides are made of.
#pragma once

#include <vector>

#include "onednn_api.hpp"
#include "side.hpp"

namespace slimneck::bench::onednn {

/// The one engine; memories of different engines do not meet.
const dnnl::engine& cpu_engine();

/// `bytes` of memory from slimneck's allocator, which asks for large pages, as oneDNN's own does not: neither side is
/// to have better memory.
Tensor floats(std::size_t bytes);

/// Makes memory and keeps it.
class Store {
 public:
  [[nodiscard]] dnnl::memory make(const Desc& d) {
    blocks_.push_back(floats(d.get_size()));
    return {d, cpu_engine(), blocks_.back().data<float>()};
  }

 private:
  std::vector<Tensor> blocks_;
};

/// A sequence of primitives, and memory for them; formats are the primitives' own, and what has to be brought into
/// them is brought there once.
class Chain : public Side {
 public:
  void run() final;
  std::vector<Numbers> results() final;
  [[nodiscard]] std::string kernel() const final;

 protected:
  using Memory = dnnl::memory;
  using Arguments = std::unordered_map<int, Memory>;

  Chain();

  template <class Primitive, class Description>
  void add(const Description& d, const Arguments& arguments) {
    steps_.push_back({Primitive(d), arguments, d.impl_info_str()});
  }
  /// Brings m into the format d, as a step; nothing where it has it.
  Memory converted(const Memory& m, const Desc& d);
  /// A new memory.
  [[nodiscard]] Memory make(const Desc& d) { return store_.make(d); }
  /// A new memory with plain numbers of these extents.
  Memory load(const Numbers& plain, const Dims& dims, Tag tag, const Desc& d);
  Memory vector(const Numbers& plain);
  [[nodiscard]] Memory vector(index_t count) { return make({{count}, f32, Tag::x}); }
  /// Runs a primitive now, off the clock.
  void once(const dnnl::primitive& primitive, const Arguments& arguments);
  void result(const Memory& m, const Dims& dims, Tag tag) { results_.push_back({m, Desc(dims, f32, tag)}); }
  [[nodiscard]] const dnnl::engine& cpu() const { return engine_; }
  [[nodiscard]] bool uses_reference() const;

 private:
  struct Step {
    dnnl::primitive primitive;
    Arguments arguments;
    std::string name;
  };
  struct Result {
    Memory memory;
    Desc plain;
  };
  const dnnl::engine& engine_;
  dnnl::stream stream_;
  Store store_;
  std::vector<Step> steps_;
  std::vector<Result> results_;

  friend std::unique_ptr<Side> fastest(const std::vector<std::function<std::unique_ptr<Chain>()>>& makers);
};

/// Builds them, leaves out those that oneDNN refuses, runs each a few times and keeps the fastest; slow general code
/// ("ref") only when there is nothing else. Null when all were refused.
std::unique_ptr<Side> fastest(const std::vector<std::function<std::unique_ptr<Chain>()>>& makers);

/// oneDNN's form of a convolution.
struct Convolution {
  Dims x, w, y, bias;
  Tag plain_w = Tag::oihw;
  Geometry geometry;
};
/// Of c channels in maps of h x w to oc.
Convolution convolution(index_t n, index_t c, index_t h, index_t w, index_t oc, index_t kh, index_t kw, index_t stride,
                        index_t pad_h, index_t pad_w, index_t dilation, index_t groups);
Convolution convolution(const Problem& problem);

/// Is the first convolution one that Winograd's algorithm may be tried for?
bool winograd_fits(const Problem& problem);

/// The formats of maps that whole chains are tried in.
std::vector<Tag> map_formats();

inline const dnnl::normalization_flags scale_and_shift =
    dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;

inline Desc any(const Dims& dims) { return {dims, f32, Tag::any}; }

/// oneDNN's name for an activation and its parameter; undef for what it lacks.
std::pair<algorithm, float> activation(kernels::Act act);

std::unique_ptr<Side> make_single(const Problem& problem);
std::unique_ptr<Side> make_composite(const Problem& problem);
std::unique_ptr<Side> make_training(const Problem& problem);
std::unique_ptr<Side> make_norm(const Problem& problem);

}  // namespace slimneck::bench::onednn
