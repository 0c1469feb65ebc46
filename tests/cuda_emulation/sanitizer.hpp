// AddressSanitizer, where the tests are built with it: memory that may not be touched, and switches of stacks.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define SLIMNECK_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLIMNECK_ADDRESS_SANITIZER
#endif
#endif

#if defined(SLIMNECK_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace slimneck::emulation {

#if defined(SLIMNECK_ADDRESS_SANITIZER)
inline constexpr bool address_sanitizer = true;
inline void forbid(const void* memory, std::size_t bytes) { __asan_poison_memory_region(memory, bytes); }
inline void allow(const void* memory, std::size_t bytes) { __asan_unpoison_memory_region(memory, bytes); }
inline void begin_switch(void** fake, const void* stack, std::size_t bytes) {
  __sanitizer_start_switch_fiber(fake, stack, bytes);
}
inline void end_switch(void* fake, const void** stack, std::size_t* bytes) {
  __sanitizer_finish_switch_fiber(fake, stack, bytes);
}
#else
inline constexpr bool address_sanitizer = false;
inline void forbid(const void* /*memory*/, std::size_t /*bytes*/) {}
inline void allow(const void* /*memory*/, std::size_t /*bytes*/) {}
inline void begin_switch(void** /*fake*/, const void* /*stack*/, std::size_t /*bytes*/) {}
inline void end_switch(void* /*fake*/, const void** /*stack*/, std::size_t* /*bytes*/) {}
#endif

}  // namespace slimneck::emulation
