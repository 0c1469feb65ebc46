// Matrix products of dense convolution, for .cu files: squares of results per block, slices of terms in shared memory,
// two of them in turns.
#pragma once

#include "kernels/cuda/finish.hpp"
#include "kernels/cuda/fused.hpp"
#include "kernels/cuda/mma.hpp"
#include "kernels/cuda/ptx.hpp"

namespace slimneck::kernels::cuda {

inline constexpr int vector = 4;
/// Packed weights have whole tiles of all sizes, and whole slices of the deepest; sums end with a multiple of fewer,
/// and where they are cut, a multiple of what tiles that may be cut take at a time.
inline constexpr int row_multiple = 128, depth_multiple = 64, term_multiple = 16, slice_multiple = 32;

/// A row or column that no picture has; the sum of two is none either.
inline constexpr int nowhere = -(1 << 30);

/// Where (h, w) lies in a plane, which has fewer than 2^31 numbers.
__device__ __forceinline__ int offset(const Map<const float>& m, int h, int w) {
  return h * static_cast<int>(m.sh) + w * static_cast<int>(m.sw);
}

inline int round_up(index_t a, int to) { return static_cast<int>((a + to - 1) / to * to); }

__device__ __forceinline__ void read_vector(float* to, const float* from) {
  *reinterpret_cast<float4*>(to) = *reinterpret_cast<const float4*>(from);
}

/// sums += w x, each with each.
template <int own>
__device__ __forceinline__ void add_products(const float (&w)[own], const float (&x)[own], float (&sums)[own][own]) {
#pragma unroll
  for (int i = 0; i < own; ++i)
#pragma unroll
    for (int j = 0; j < own; ++j) sums[i][j] = multiply_add(w[i], x[j], sums[i][j]);
}

/// A result of whose terms `parts` groups of threads have summed a part each.
template <int parts, class Results>
__device__ __forceinline__ float sum_of_parts(Results& results, int seat, int column) {
  float sum = results(0, seat, column);
#pragma unroll
  for (int i = 1; i < parts; ++i) sum += results(i, seat, column);
  return sum;
}

/// Packed weights lie as the slices of T do. `line` is the first of the terms.
template <class T>
__device__ __forceinline__ void begin_rows(const float* weights, int line, int packed_rows, int first_row, int buffer,
                                           typename T::Slices& s) {
  constexpr int vectors = T::rows / vector, step = block_threads / vectors;
  static_assert(T::depth % step == 0 && depth_multiple % T::depth == 0);
  const int own_row = thread_x() % vectors * vector, term = thread_x() / vectors;
  const float* const from = weights + static_cast<index_t>(line + term) * packed_rows + first_row + own_row;
#pragma unroll
  for (int k = 0; k < T::depth; k += step)
    begin_copy(reinterpret_cast<float4*>(&s.w(buffer, term + k, own_row)),
               reinterpret_cast<const float4*>(from + k * packed_rows), true);
}

/// A square of `side` x `side` results per block, `own` x `own` of them per thread, `depth` terms at a time; rows of
/// shared memory have `gap` floats more than they need; so many blocks shall fit into a multiprocessor.
template <int side, int depth_, int own, int gap, int blocks_>
struct Blocking {
  static constexpr int rows = side, columns = side, depth = depth_, blocks = blocks_;
  static constexpr bool sliced = side < row_multiple;  ///< may terms be cut into slices?
  /// Results on their way out: a row of each thread row at a time.
  static constexpr int seats = side / own, passes = own;
  static_assert(seats * seats == block_threads);

  using Sums = float[own][own];
  struct Slices {
    Array<float, 2, depth, rows + gap> w;
    Array<float, 2, depth, columns + gap> x;
  };
  using Results = Array<float, seats, columns>;

  __device__ static __forceinline__ int row_seat() { return thread_x() / seats; }
  __device__ static __forceinline__ int column_seat() { return thread_x() % seats; }
  /// A thread's numbers are groups of four, as far apart as the threads reach: neighbours read neighbours.
  __device__ static constexpr int place(int seat, int i) {
    return i / vector * seats * vector + seat * vector + i % vector;
  }
  __device__ static constexpr int row(int seat, int pass) { return place(seat, pass); }

  /// sums += the product of a slice.
  __device__ static __forceinline__ void multiply(Slices& s, int buffer, Sums& sums) {
#pragma unroll(own == 8 ? 2 : 8)  // all of it at once takes more registers than two blocks have on sm_120
    for (int k = 0; k < depth; ++k) {
      float w[own], x[own];
#pragma unroll
      for (int i = 0; i < own; i += vector) {
        read_vector(w + i, &s.w(buffer, k, place(row_seat(), i)));
        read_vector(x + i, &s.x(buffer, k, place(column_seat(), i)));
      }
      add_products(w, x, sums);
    }
  }

  /// Results number `pass` of each thread row.
  __device__ static __forceinline__ void put(Results& results, int pass, const Sums& sums) {
#pragma unroll
    for (int i = 0; i < own; ++i)
      if (i == pass)
#pragma unroll
        for (int j = 0; j < own; ++j) results(row_seat(), place(column_seat(), j)) = sums[i][j];
  }
  __device__ static __forceinline__ float result(Results& results, int seat, int column) {
    return results(seat, column);
  }

  __device__ static __forceinline__ void begin_weights(const float* weights, int line, int packed_rows, int first_row,
                                                       int buffer, Slices& s) {
    begin_rows<Blocking>(weights, line, packed_rows, first_row, buffer, s);
  }
  /// Where the weight of a term (a line of all groups) and a row is packed, and as what.
  __device__ static __forceinline__ index_t packed_at(int line, int row, int packed_rows) {
    return static_cast<index_t>(line) * packed_rows + row;
  }
  __device__ static __forceinline__ float packed(float w) { return w; }
};

/// The same by tensor cores: two rows of warps, each with tiles of 16 pixels x 8 channels; where they are half of all
/// warps, the others take the second half of the terms, and both are added on their way out. A lane's four numbers of x
/// are two pixels side by side of two terms; weights are packed rounded, and as a lane reads them: the four numbers of
/// its part of 8 terms and 16 rows side by side.
template <int side, int depth_, int blocks_>
struct Tensors {
  static constexpr int rows = side, columns = side, depth = depth_, gap = 8, blocks = blocks_;
  static constexpr int tile_rows = 8, tile_columns = 16, tile_terms = 8;
  static constexpr int of_reader = 2;  ///< tiles of weights that a lane reads at once
  static constexpr int warp_rows = side / 2, warp_columns = 32;
  static constexpr int down = warp_rows / tile_rows, across = warp_columns / tile_columns;
  static constexpr int parts = block_threads / warp / 2 / (side / warp_columns), part_depth = depth / parts;
  static constexpr bool sliced = side < row_multiple;
  /// Results on their way out: as many rows as a lane reads weights of, of both rows of warps at a time.
  static constexpr int pass_rows = of_reader * tile_rows, seats = 2 * pass_rows, passes = down / of_reader;
  static_assert(parts > 0 && part_depth % tile_terms == 0);

  using Sums = float[down][across][4];
  struct Slices {
    Array<float, 2, depth * rows> w;
    Array<float, 2, depth, columns + gap> x;
  };
  using Results = Array<float, parts, seats, columns + gap>;

  __device__ static __forceinline__ int lane() { return thread_x() % warp; }
  __device__ static __forceinline__ int warp_row() { return thread_x() / warp % 2; }
  __device__ static __forceinline__ int first_column() {
    return thread_x() / warp / 2 % (side / warp_columns) * warp_columns;
  }
  __device__ static __forceinline__ int part() { return thread_x() / (block_threads / parts); }
  __device__ static constexpr int row(int seat, int pass) {
    return seat / pass_rows * warp_rows + pass * pass_rows + seat % pass_rows;
  }

  __device__ static __forceinline__ void multiply(Slices& s, int buffer, Sums& sums) {
    const int g = lane() / 4, t = lane() % 4, first = part() * part_depth;
#pragma unroll
    for (int k = 0; k < part_depth; k += tile_terms) {
      float w[down][2], x[across][4];
#pragma unroll
      for (int i = 0; i < down; i += of_reader) {
        const int tiles = (first + k) / tile_terms * (rows / pass_rows) + (warp_row() * down + i) / of_reader;
        read_vector(w[i], &s.w(buffer, (tiles * warp + lane()) * vector));
      }
#pragma unroll
      for (int j = 0; j < across; ++j)
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
          const auto pixels = *reinterpret_cast<const float2*>(
              &s.x(buffer, first + k + t + 2 * i, first_column() + j * tile_columns + 2 * g));
          x[j][i] = to_tf32(pixels.x);
          x[j][i + 1] = to_tf32(pixels.y);
        }
#pragma unroll
      for (int i = 0; i < down; ++i)
#pragma unroll
        for (int j = 0; j < across; ++j) multiply_tf32(sums[i][j], x[j], w[i]);
    }
  }

  __device__ static __forceinline__ void put(Results& results, int pass, const Sums& sums) {
    const int g = lane() / 4, t = lane() % 4, seat = warp_row() * pass_rows + 2 * t;
#pragma unroll
    for (int i = 0; i < down; ++i)
      if (i / of_reader == pass)
#pragma unroll
        for (int j = 0; j < across; ++j)
#pragma unroll
          for (int odd = 0; odd < 2; ++odd) {
            const int column = first_column() + j * tile_columns + 2 * g;
            float* const to = &results(part(), seat + i % of_reader * tile_rows + odd, column);
            *reinterpret_cast<float2*>(to) = float2{sums[i][j][odd], sums[i][j][odd + 2]};
          }
  }
  __device__ static __forceinline__ float result(Results& results, int seat, int column) {
    return sum_of_parts<parts>(results, seat, column);
  }

  __device__ static __forceinline__ void begin_weights(const float* weights, int line, int packed_rows, int first_row,
                                                       int buffer, Slices& s) {
    constexpr int of_tiles = rows * tile_terms;  // numbers of as many terms as a tile has
    constexpr int step = block_threads * vector;
    const int own = thread_x() * vector;
    const float* const from = weights + static_cast<index_t>(line + own / of_tiles * tile_terms) * packed_rows +
                              (first_row * tile_terms + own % of_tiles);
    static_assert(step % of_tiles == 0);
#pragma unroll
    for (int i = 0; i < depth * rows; i += step)
      begin_copy(reinterpret_cast<float4*>(&s.w(buffer, i + own)),
                 reinterpret_cast<const float4*>(from + i / of_tiles * tile_terms * packed_rows), true);
  }
  __device__ static __forceinline__ index_t packed_at(int line, int row, int packed_rows) {
    const int term = line % tile_terms, reader = row % tile_rows * 4 + term % 4;
    const int number = term / 4 + row % pass_rows / tile_rows * 2;
    return static_cast<index_t>(line - term) * packed_rows + row / pass_rows * pass_rows * tile_terms +
           reader * vector + number;
  }
  __device__ static __forceinline__ float packed(float w) { return to_tf32(w); }
};

/// For small maps: a square of 32 x 32 results per block, whose four groups of threads take a quarter of each slice of
/// terms each, `of_quarter` of them, with `own` x `own` results per thread; the quarters are added on their way out.
template <int of_quarter, int own>
struct Quarters {
  static constexpr int quarters = 4, threads = block_threads / quarters, gap = 4;
  static constexpr int rows = 32, columns = 32, depth = quarters * of_quarter, blocks = 3;
  static constexpr bool sliced = false;
  static constexpr int seats = rows / own, passes = own;
  static_assert(seats * seats == threads);

  using Sums = float[own][own];
  struct Slices {
    Array<float, 2, depth, rows + gap> w;
    Array<float, 2, depth, columns + gap> x;
  };
  using Results = Array<float, quarters, seats, columns>;

  __device__ static __forceinline__ int quarter() { return thread_x() / threads; }
  __device__ static __forceinline__ int row_seat() { return thread_x() % threads / seats; }
  __device__ static __forceinline__ int column_seat() { return thread_x() % seats; }
  __device__ static constexpr int row(int seat, int pass) { return seat * own + pass; }

  __device__ static __forceinline__ void multiply(Slices& s, int buffer, Sums& sums) {
#pragma unroll 8
    for (int k = 0; k < of_quarter; ++k) {
      float w[own], x[own];
      read_vector(w, &s.w(buffer, quarter() * of_quarter + k, row_seat() * own));
      read_vector(x, &s.x(buffer, quarter() * of_quarter + k, column_seat() * own));
      add_products(w, x, sums);
    }
  }
  __device__ static __forceinline__ void begin_weights(const float* weights, int line, int packed_rows, int first_row,
                                                       int buffer, Slices& s) {
    begin_rows<Quarters>(weights, line, packed_rows, first_row, buffer, s);
  }
  __device__ static __forceinline__ void put(Results& results, int pass, const Sums& sums) {
#pragma unroll
    for (int i = 0; i < own; ++i)
      if (i == pass)
#pragma unroll
        for (int j = 0; j < own; ++j) results(quarter(), row_seat(), column_seat() * own + j) = sums[i][j];
  }
  __device__ static __forceinline__ float result(Results& results, int seat, int column) {
    return sum_of_parts<quarters>(results, seat, column);
  }
};
/// Slices of a block, and, when they are done with, results on their way out.
template <class T>
union ProductMemory {
  typename T::Slices slices;
  typename T::Results results;
};

}  // namespace slimneck::kernels::cuda
