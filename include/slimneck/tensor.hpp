// Tensors: memory with a shape and a layout.
//
// A Shape is logical NCHW. A View says where its elements lie; a Tensor owns memory that is dense NCHW.
// Weights use the same four letters: n = output channels, c = input channels per group, h w = kernel. Vectors of one
// number per channel (bias, mean, ...) are 1 x c x 1 x 1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "slimneck/error.hpp"
#include "slimneck/export.hpp"

namespace slimneck {

using index_t = std::int64_t;

enum class DType : std::uint8_t { f32, f64, i32, u8 };

template <class T>
inline constexpr DType dtype_of = DType::f32;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::u8;

/// Bytes of one element.
SLIMNECK_EXPORT std::size_t size_of(DType type) noexcept;

/// a * b for sizes; throws ShapeError when either is negative or the product does not fit.
SLIMNECK_EXPORT index_t checked_multiply(index_t a, index_t b);

/// Logical extent: batch, channels, height, width.
struct Shape {
  index_t n = 1, c = 1, h = 1, w = 1;  ///< pictures, channels, rows, columns

  friend bool operator==(const Shape&, const Shape&) = default;  ///< every extent is the same
  /// Number of elements; throws ShapeError on a negative extent or on overflow.
  [[nodiscard]] SLIMNECK_EXPORT index_t numel() const;
};

/// "1x3x640x640".
SLIMNECK_EXPORT std::string to_string(const Shape& shape);

/// Non-owning look at elements of type T. Element (n,c,h,w) lies at
///     data[n*sn + (c/block)*sc + h*sh + w*sw + c%block],
/// so block 1 is NCHW (with any strides) and block 16 is nChw16c, where sw is a multiple of 16.
template <class T>
struct View {
  T* data = nullptr;                       ///< element (0,0,0,0)
  Shape shape;                             ///< logical extent
  index_t sn = 0, sc = 0, sh = 0, sw = 0;  ///< steps in elements: picture, block of channels, row, column
  index_t block = 1;                       ///< channels that lie side by side

  View() = default;
  /// Dense NCHW for block 1, dense nChw[block]c otherwise (channels rounded up to whole blocks).
  View(T* first, const Shape& extent, index_t lanes = 1)
      : data(first),
        shape(extent),
        sn((extent.c + lanes - 1) / lanes * lanes * extent.h * extent.w),
        sc(extent.h * extent.w * lanes),
        sh(extent.w * lanes),
        sw(lanes),
        block(lanes) {}

  /// Of an element, in elements from data; nothing is checked.
  [[nodiscard]] index_t offset(index_t n, index_t c, index_t h, index_t w) const noexcept {
    return n * sn + (c / block) * sc + h * sh + w * sw + c % block;
  }
  /// The element; nothing is checked.
  [[nodiscard]] T& at(index_t n, index_t c, index_t h, index_t w) const noexcept { return data[offset(n, c, h, w)]; }

  /// Channels first, first + step, ... (count of them) of the same memory. In a blocked view the range must begin at a
  /// block and step must be 1. Throws ShapeError otherwise.
  [[nodiscard]] View channels(index_t first, index_t count, index_t step = 1) const {
    if (first < 0 || count < 0 || step < 1 || (count > 0 && first + (count - 1) * step >= shape.c))
      throw ShapeError("View::channels: range leaves the " + std::to_string(shape.c) + " channels");
    if (block > 1 && (first % block != 0 || step != 1))
      throw ShapeError("View::channels: a blocked range begins at a block and has step 1");
    View part = *this;
    part.data = data + (first / block) * sc;
    part.shape.c = count;
    part.sc = sc * step;
    return part;
  }

  /// A view of read-only elements.
  operator View<const T>() const noexcept  // NOLINT(google-explicit-constructor): as T* converts to const T*
  {
    View<const T> v;
    v.data = data;
    v.shape = shape;
    v.sn = sn;
    v.sc = sc;
    v.sh = sh;
    v.sw = sw;
    v.block = block;
    return v;
  }
};

/// Owns 64-byte aligned, zero-initialised, dense NCHW memory. Copies are deep.
class SLIMNECK_EXPORT Tensor {
 public:
  Tensor() = default;
  /// Zeros. Throws ShapeError for a size that no memory has.
  explicit Tensor(const Shape& shape, DType type = DType::f32);
  Tensor(const Tensor& other);                     ///< copies the numbers
  Tensor& operator=(const Tensor& other);          ///< copies the numbers
  Tensor(Tensor&&) noexcept = default;             ///< takes the memory over
  Tensor& operator=(Tensor&&) noexcept = default;  ///< takes the memory over
  ~Tensor() = default;

  /// Logical NCHW.
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  /// Of the elements.
  [[nodiscard]] DType dtype() const noexcept { return type_; }
  /// Number of elements.
  [[nodiscard]] index_t numel() const noexcept { return numel_; }
  /// Of the elements.
  [[nodiscard]] std::size_t bytes() const noexcept { return static_cast<std::size_t>(numel_) * size_of(type_); }
  /// No elements.
  [[nodiscard]] bool empty() const noexcept { return numel_ == 0; }

  /// First byte.
  [[nodiscard]] void* raw() noexcept { return memory_.get(); }
  /// First byte.
  [[nodiscard]] const void* raw() const noexcept { return memory_.get(); }

  /// Elements in NCHW order; throws ShapeError when T is not the element type.
  template <class T>
  [[nodiscard]] T* data() {
    require(dtype_of<T>);
    return static_cast<T*>(raw());
  }
  /// The same, read-only.
  template <class T>
  [[nodiscard]] const T* data() const {
    require(dtype_of<T>);
    return static_cast<const T*>(raw());
  }
  /// Dense NCHW; throws as data().
  template <class T>
  [[nodiscard]] View<T> view() {
    return View<T>(data<T>(), shape_);
  }
  /// The same, read-only.
  template <class T>
  [[nodiscard]] View<const T> view() const {
    return View<const T>(data<T>(), shape_);
  }
  /// The same numbers as f32 or f64 (rounded to nearest).
  [[nodiscard]] Tensor to(DType type) const;

 private:
  struct Free {
    void operator()(std::byte* p) const noexcept;
  };
  void require(DType type) const;

  Shape shape_{0, 0, 0, 0};
  DType type_ = DType::f32;
  index_t numel_ = 0;
  std::unique_ptr<std::byte[], Free> memory_;
};

}  // namespace slimneck
