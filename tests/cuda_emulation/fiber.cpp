#include "fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <exception>
#include <new>

#include "sanitizer.hpp"

#if !defined(SLIMNECK_FIBER_SWITCH_BY_UCONTEXT)
// Saves what a function has to keep, changes the stack, takes back what the other side saved.
extern "C" void slimneck_fiber_switch(void** save, void* load);
__asm__(
    ".text\n"
    ".globl slimneck_fiber_switch\n"
    ".type slimneck_fiber_switch,@function\n"
    "slimneck_fiber_switch:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp,(%rdi)\n"
    "  movq %rsi,%rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size slimneck_fiber_switch,.-slimneck_fiber_switch\n");
#endif

namespace slimneck::emulation {

namespace {

/// Sanitized code has frames several times as large.
constexpr std::size_t stack_bytes = (address_sanitizer ? 256 : 64) << 10;

/// Of a fiber whose body is about to begin: a new stack has no argument.
Fiber* entering = nullptr;

std::size_t page() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

Fiber::Fiber() {
  // A page below the stack that faults when the stack is too small.
  void* memory =
      ::mmap(nullptr, stack_bytes + page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  ::mprotect(memory, page(), PROT_NONE);
  stack_ = static_cast<char*>(memory) + page();
}

Fiber::~Fiber() { ::munmap(stack_ - page(), stack_bytes + page()); }

void Fiber::prepare(Body body, void* argument) {
  body_ = body;
  argument_ = argument;
  fake_inside_ = nullptr;
  allow(stack_, stack_bytes);  // frames of a body that never ended
#if defined(SLIMNECK_FIBER_SWITCH_BY_UCONTEXT)
  ::getcontext(&inside_context_);
  inside_context_.uc_stack.ss_sp = stack_;
  inside_context_.uc_stack.ss_size = stack_bytes;
  inside_context_.uc_link = nullptr;
  ::makecontext(&inside_context_, reinterpret_cast<void (*)()>(&Fiber::enter), 0);
#else
  // What the switch finds: six registers, where to return to, and where that would return to.
  auto** sp = reinterpret_cast<void**>(stack_ + stack_bytes);
  *--sp = nullptr;
  *--sp = reinterpret_cast<void*>(&Fiber::enter);
  for (int i = 0; i < 6; ++i) *--sp = nullptr;
  inside_sp_ = sp;
#endif
}

void Fiber::resume() {
  entering = this;
  begin_switch(&fake_outside_, stack_, stack_bytes);
#if defined(SLIMNECK_FIBER_SWITCH_BY_UCONTEXT)
  ::swapcontext(&outside_context_, &inside_context_);
#else
  slimneck_fiber_switch(&outside_sp_, inside_sp_);
#endif
  end_switch(fake_outside_, nullptr, nullptr);
}

void Fiber::leave(bool for_good) {
  begin_switch(for_good ? nullptr : &fake_inside_, outside_, outside_bytes_);
#if defined(SLIMNECK_FIBER_SWITCH_BY_UCONTEXT)
  ::swapcontext(&inside_context_, &outside_context_);
#else
  slimneck_fiber_switch(&inside_sp_, outside_sp_);
#endif
  end_switch(fake_inside_, &outside_, &outside_bytes_);
}

void Fiber::enter() noexcept {
  Fiber& self = *entering;
  end_switch(nullptr, &self.outside_, &self.outside_bytes_);
  self.body_(self.argument_);
  self.leave(true);
  std::terminate();  // nobody resumes a fiber that has ended
}

}  // namespace slimneck::emulation
