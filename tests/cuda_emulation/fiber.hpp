// A function with a stack of its own that can stop in the middle and go on later: one thread of an emulated block.
#pragma once

#include <cstddef>

#if !defined(__x86_64__) || defined(SLIMNECK_FIBER_UCONTEXT)
#define SLIMNECK_FIBER_SWITCH_BY_UCONTEXT
#include <ucontext.h>
#endif

namespace slimneck::emulation {

/// All members are called by one thread. Where the processor is x86-64 a switch is a dozen instructions, elsewhere it
/// is ucontext's, which enters the kernel and takes some twenty times as long.
class Fiber {
 public:
  using Body = void (*)(void* argument);

  Fiber();  ///< maps the stack; throws std::bad_alloc
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next resume() begins body(argument), which must not throw. What ran before is forgotten.
  void prepare(Body body, void* argument);
  /// From outside: runs the body until it pauses or ends.
  void resume();
  /// From inside: back to the caller of resume().
  void pause() { leave(false); }

 private:
  static void enter() noexcept;
  void leave(bool for_good);

  char* stack_ = nullptr;
  Body body_ = nullptr;
  void* argument_ = nullptr;
  // What AddressSanitizer wants to know of a switch: its own record of either side, and the stack outside.
  void *fake_inside_ = nullptr, *fake_outside_ = nullptr;
  const void* outside_ = nullptr;
  std::size_t outside_bytes_ = 0;
#if defined(SLIMNECK_FIBER_SWITCH_BY_UCONTEXT)
  ucontext_t inside_context_{}, outside_context_{};
#else
  void *inside_sp_ = nullptr, *outside_sp_ = nullptr;
#endif
};

}  // namespace slimneck::emulation
