// A library for LD_PRELOAD that makes one call of a program fail: SLIMNECK_FAULT=KIND:N, where KIND is malloc, open,
// write, fsync, close or rename, and N counts the calls from main() on. When it happens the file that
// SLIMNECK_FAULT_REPORT names is made, so that a test knows when N has passed the last call. For glibc on Linux.
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

// glibc's own names of its allocator: nothing has to be looked up before the first call.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
}

namespace {

std::atomic<bool> armed{false};
std::atomic<long> left{0};
char kind[16] = "";
const char* report = nullptr;
std::uintptr_t spared_begin = 0, spared_end = 0;

// OpenMP's run-time library ends the program itself when it has no memory: that is not what is tested.
int find_spared(dl_phdr_info* info, std::size_t, void*) {
  if (info->dlpi_name == nullptr || std::strstr(info->dlpi_name, "libgomp") == nullptr) return 0;
  spared_begin = info->dlpi_addr;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type == PT_LOAD) spared_end = info->dlpi_addr + part.p_vaddr + part.p_memsz;
  }
  return 1;
}

bool fails(const char* call, const void* caller = nullptr) {
  if (!armed.load(std::memory_order_relaxed) || std::strcmp(call, kind) != 0) return false;
  const auto at = reinterpret_cast<std::uintptr_t>(caller);
  if (at >= spared_begin && at < spared_end) return false;
  if (left.fetch_sub(1) != 1) return false;
  if (report != nullptr) {
    const long handle = ::syscall(SYS_openat, AT_FDCWD, report, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ::syscall(SYS_close, handle);
  }
  return true;
}

using Main = int(int, char**, char**);
Main* program = nullptr;

int watched_main(int argc, char** argv, char** environment) {
  if (const char* fault = std::getenv("SLIMNECK_FAULT")) {
    const char* colon = std::strchr(fault, ':');
    const std::size_t length = colon != nullptr ? static_cast<std::size_t>(colon - fault) : sizeof(kind);
    if (length < sizeof(kind)) {
      std::memcpy(kind, fault, length);
      left = std::atol(colon + 1);
      report = std::getenv("SLIMNECK_FAULT_REPORT");
      ::dl_iterate_phdr(find_spared, nullptr);
      armed = true;
    }
  }
  return program(argc, argv, environment);
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

#define SLIMNECK_HOOK extern "C" __attribute__((visibility("default")))

SLIMNECK_HOOK int __libc_start_main(Main* main, int argc, char** argv, void (*init)(), void (*fini)(),
                                    void (*rtld_fini)(), void* stack_end) {
  program = main;
  using Start = int(Main*, int, char**, void (*)(), void (*)(), void (*)(), void*);
  return next<Start>("__libc_start_main")(watched_main, argc, argv, init, fini, rtld_fini, stack_end);
}

SLIMNECK_HOOK void* malloc(std::size_t size) {
  if (fails("malloc", __builtin_return_address(0))) return errno = ENOMEM, nullptr;
  return __libc_malloc(size);
}

SLIMNECK_HOOK void* calloc(std::size_t count, std::size_t size) {
  if (fails("malloc", __builtin_return_address(0))) return errno = ENOMEM, nullptr;
  return __libc_calloc(count, size);
}

SLIMNECK_HOOK void* realloc(void* memory, std::size_t size) {
  if (fails("malloc", __builtin_return_address(0))) return errno = ENOMEM, nullptr;
  return __libc_realloc(memory, size);
}

SLIMNECK_HOOK void* aligned_alloc(std::size_t alignment, std::size_t size) {
  if (fails("malloc", __builtin_return_address(0))) return errno = ENOMEM, nullptr;
  return __libc_memalign(alignment, size);
}

SLIMNECK_HOOK int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  if (fails("malloc", __builtin_return_address(0))) return ENOMEM;
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}

SLIMNECK_HOOK int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  if (fails("open")) return errno = EMFILE, -1;
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

SLIMNECK_HOOK ssize_t write(int handle, const void* bytes, std::size_t count) {
  if (fails("write")) return errno = ENOSPC, -1;
  return ::syscall(SYS_write, handle, bytes, count);
}

SLIMNECK_HOOK int fsync(int handle) {
  if (fails("fsync")) return errno = EIO, -1;
  return static_cast<int>(::syscall(SYS_fsync, handle));
}

SLIMNECK_HOOK int close(int handle) {
  const auto result = static_cast<int>(::syscall(SYS_close, handle));
  if (fails("close")) return errno = EIO, -1;
  return result;
}

SLIMNECK_HOOK int rename(const char* from, const char* to) {
  if (fails("rename")) return errno = EACCES, -1;
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
