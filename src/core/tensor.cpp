#include "slimneck/tensor.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace slimneck {

namespace {

constexpr std::size_t alignment = 64;

template <class To, class From>
void convert(const Tensor& from, Tensor& to) {
  const From* source = from.data<From>();
  std::transform(source, source + from.numel(), to.data<To>(), [](From v) { return static_cast<To>(v); });
}

template <class To>
void convert_from_any(const Tensor& from, Tensor& to) {
  switch (from.dtype()) {
    case DType::f32: return convert<To, float>(from, to);
    case DType::f64: return convert<To, double>(from, to);
    case DType::i32: return convert<To, std::int32_t>(from, to);
    case DType::u8: return convert<To, std::uint8_t>(from, to);
  }
}

}  // namespace

std::size_t size_of(DType type) noexcept {
  switch (type) {
    case DType::f64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::u8: return 1;
  }
  return 0;
}

index_t checked_multiply(index_t a, index_t b) {
  index_t product = 0;
  if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product))
    throw ShapeError("size " + std::to_string(a) + " x " + std::to_string(b) + " is negative or too large");
  return product;
}

index_t Shape::numel() const { return checked_multiply(checked_multiply(n, c), checked_multiply(h, w)); }

std::string to_string(const Shape& s) {
  return std::to_string(s.n) + "x" + std::to_string(s.c) + "x" + std::to_string(s.h) + "x" + std::to_string(s.w);
}

namespace {

/// Asks for large pages, where the system has them on request: the maps of a training step lie on more small ones than
/// a core finds at once, and take 3 to 5 % longer. A block that is never written still takes no memory.
void use_large_pages([[maybe_unused]] void* block, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef MADV_HUGEPAGE
  constexpr std::size_t worth_it = std::size_t{4} << 20;
  if (bytes < worth_it) return;
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE)), at = reinterpret_cast<std::uintptr_t>(block);
  const std::size_t skipped = (page - at % page) % page;
  static_cast<void>(madvise(static_cast<std::byte*>(block) + skipped, (bytes - skipped) / page * page, MADV_HUGEPAGE));
#endif
}

/// Zeros, aligned. From calloc, whose large blocks take no memory until they are written: nobody pays for gradients
/// that are never computed. What calloc gave lies just before them.
std::byte* zeros(std::size_t bytes) {
  void* block =
      bytes > SIZE_MAX - alignment - sizeof(void*) ? nullptr : std::calloc(bytes + alignment + sizeof(void*), 1);
  if (!block) throw std::bad_alloc();
  use_large_pages(block, bytes);
  auto* first = static_cast<std::byte*>(block) + sizeof(void*);
  first += (alignment - reinterpret_cast<std::uintptr_t>(first) % alignment) % alignment;
  std::memcpy(first - sizeof(void*), &block, sizeof(void*));
  return first;
}

}  // namespace

void Tensor::Free::operator()(std::byte* p) const noexcept {
  void* block = nullptr;
  std::memcpy(&block, p - sizeof(void*), sizeof(void*));
  std::free(block);
}

Tensor::Tensor(const Shape& shape, DType type) : shape_(shape), type_(type), numel_(shape.numel()) {
  const auto size = static_cast<std::size_t>(checked_multiply(numel_, static_cast<index_t>(size_of(type))));
  memory_.reset(zeros(size));
}

Tensor::Tensor(const Tensor& other) {
  if (!other.memory_) return;
  *this = Tensor(other.shape_, other.type_);
  std::memcpy(raw(), other.raw(), bytes());
}

Tensor& Tensor::operator=(const Tensor& other) {
  if (this != &other) *this = Tensor(other);
  return *this;
}

Tensor Tensor::to(DType type) const {
  if (type == type_) return *this;
  Tensor result(shape_, type);
  if (type == DType::f32)
    convert_from_any<float>(*this, result);
  else if (type == DType::f64)
    convert_from_any<double>(*this, result);
  else
    throw ShapeError("Tensor::to converts to f32 or f64 only");
  return result;
}

void Tensor::require(DType type) const {
  if (type != type_) throw ShapeError("tensor " + to_string(shape_) + " is read as another element type than it has");
}

}  // namespace slimneck
