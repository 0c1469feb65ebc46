// A network's primitives in the order in which they run, the memory that they hand on, and one scratchpad for all.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "networks.hpp"
#include "onednn.hpp"

namespace slimneck::bench::onednn {

class Tape {
 public:
  using Memory = dnnl::memory;
  using Arguments = std::unordered_map<int, Memory>;

  struct Step {
    dnnl::primitive primitive;
    Arguments arguments;
    Desc scratchpad;
    std::string kernel;
    Work work = Work::other;
  };
  using Steps = std::vector<Step>;
  using MakeSteps = std::function<Steps()>;

  /// Memory that goes back to the tape, for later steps, when the last owner lets go. Steps hold no share: what is free
  /// at its turn in building is free at its turn in running.
  using Buffer = std::shared_ptr<float>;

  /// general: whether convolutions may run on oneDNN's general code, which may take a thousand times as long.
  explicit Tape(bool general) : general_(general), stream_(cpu_engine()) {}

  /// Attributes of a primitive whose scratchpad is the common one.
  [[nodiscard]] static primitive_attr attributes() {
    primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attr;
  }

  template <class Primitive, class Description>
  [[nodiscard]] static Step step(const Description& d, Arguments arguments, Work work) {
    return {Primitive(d), std::move(arguments), d.scratchpad_desc(), d.impl_info_str(), work};
  }
  [[nodiscard]] static Step reorder(const Memory& from, const Memory& to, Work work = Work::other);

  /// Runs the steps once, so that later trials see numbers, and keeps them.
  void add(Steps steps);
  void add(Step step);
  /// Adds the fastest way to do something. Ways that oneDNN refuses are left out; its general code ("ref") is tried
  /// only where there is nothing else; where it may not run, throws dnnl::error. Returns which it was.
  std::size_t add_fastest(const std::vector<MakeSteps>& ways, const std::string& what);

  [[nodiscard]] Buffer buffer(std::size_t bytes);
  [[nodiscard]] Memory memory(const Desc& d) { return store_.make(d); }
  [[nodiscard]] static Memory memory(const Desc& d, float* data) { return {d, cpu_engine(), data}; }

  /// Off the clock.
  Memory load(const Numbers& plain, const Dims& dims, Tag tag, const Desc& d);
  Numbers plain(const Memory& m, const Dims& dims, Tag tag);

  void run();
  /// Seconds of every step, and what they count as.
  std::vector<double> timed();
  [[nodiscard]] std::vector<Work> works() const;
  /// "jit:avx512_core 12, ..."
  [[nodiscard]] std::string kernels() const;

 private:
  struct Block {
    Tensor memory;
    bool free = false;
  };

  void fit_scratchpad(Steps& steps);
  void execute(Step& step) { step.primitive.execute(stream_, step.arguments); }
  double seconds_of(Steps& steps);

  bool general_;
  dnnl::stream stream_;
  Steps steps_;
  std::vector<std::unique_ptr<Block>> blocks_;
  Store store_;
  Tensor scratchpad_;
};

}  // namespace slimneck::bench::onednn
