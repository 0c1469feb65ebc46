// Matrix products of dense convolution, for .cu files: squares of results per block, slices of terms in shared memory,
// two of them in turns.
#pragma once

#include "kernels/cuda/finish.hpp"
#include "kernels/cuda/fused.hpp"
#include "kernels/cuda/mma.hpp"
#include "kernels/cuda/ptx.hpp"

namespace slimneck::kernels::cuda {

inline constexpr int vector = 4;
/// Packed weights have whole tiles of all sizes, and whole slices of the deepest; sums end with a multiple of fewer.
inline constexpr int row_multiple = 128, depth_multiple = 64, term_multiple = 16;

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

/// The same by tensor cores: two rows of four warps, each with tiles of 16 x 8 results. Weights are packed rounded, and
/// as a lane reads them: the four numbers of its part of 8 terms and 16 rows side by side.
template <int side, int blocks_>
struct Tensors {
  static constexpr int rows = side, columns = side, depth = 16, gap = 8, blocks = blocks_;
  static constexpr int tile_rows = 16, tile_columns = 8, tile_terms = 8;
  static constexpr int warp_rows = side / 2, warp_columns = side / 4;
  static constexpr int down = warp_rows / tile_rows, across = warp_columns / tile_columns;
  static constexpr bool sliced = side < row_multiple;
  /// Results on their way out: a row of tiles of both rows of warps at a time.
  static constexpr int seats = 2 * tile_rows, passes = down;

  using Sums = float[down][across][4];
  struct Slices {
    Array<float, 2, depth * rows> w;
    Array<float, 2, depth, columns + gap> x;
  };
  using Results = Array<float, seats, columns + gap>;

  __device__ static __forceinline__ int lane() { return thread_x() % warp; }
  __device__ static __forceinline__ int warp_row() { return thread_x() / warp % 2; }
  __device__ static __forceinline__ int first_column() { return thread_x() / warp / 2 * warp_columns; }
  __device__ static constexpr int row(int seat, int pass) {
    return seat / tile_rows * warp_rows + pass * tile_rows + seat % tile_rows;
  }

  __device__ static __forceinline__ void multiply(Slices& s, int buffer, Sums& sums) {
    const int g = lane() / 4, t = lane() % 4;
#pragma unroll
    for (int k = 0; k < depth; k += tile_terms) {
      float w[down][4], x[across][2];
#pragma unroll
      for (int i = 0; i < down; ++i) {
        const int tile = k / tile_terms * (rows / tile_rows) + warp_row() * down + i;
        *reinterpret_cast<float4*>(w[i]) =
            *reinterpret_cast<const float4*>(&s.w(buffer, (tile * warp + lane()) * vector));
      }
#pragma unroll
      for (int j = 0; j < across; ++j)
#pragma unroll
        for (int i = 0; i < 2; ++i)
          x[j][i] = to_tf32(s.x(buffer, k + t + 4 * i, first_column() + j * tile_columns + g));
#pragma unroll
      for (int i = 0; i < down; ++i)
#pragma unroll
        for (int j = 0; j < across; ++j) multiply_tf32(sums[i][j], w[i], x[j]);
    }
  }

  __device__ static __forceinline__ void put(Results& results, int pass, const Sums& sums) {
    const int g = lane() / 4, t = lane() % 4, seat = warp_row() * tile_rows + g;
#pragma unroll
    for (int i = 0; i < down; ++i)
      if (i == pass)
#pragma unroll
        for (int j = 0; j < across; ++j) {
          const int column = first_column() + j * tile_columns + 2 * t;
          results(seat, column) = sums[i][j][0];
          results(seat, column + 1) = sums[i][j][1];
          results(seat + 8, column) = sums[i][j][2];
          results(seat + 8, column + 1) = sums[i][j][3];
        }
  }
  __device__ static __forceinline__ float result(Results& results, int seat, int column) {
    return results(seat, column);
  }

  __device__ static __forceinline__ void begin_weights(const float* weights, int line, int packed_rows, int first_row,
                                                       int buffer, Slices& s) {
    constexpr int of_tiles = rows * tile_terms;  // numbers of as many terms as a tile has
    const float* from = weights + static_cast<index_t>(line) * packed_rows + first_row * tile_terms;
#pragma unroll
    for (int i = 0; i < depth * rows; i += block_threads * vector) {
      const int at = i + thread_x() * vector, tiles = at / of_tiles;
      begin_copy(reinterpret_cast<float4*>(&s.w(buffer, at)),
                 reinterpret_cast<const float4*>(from + static_cast<index_t>(tiles) * tile_terms * packed_rows + at -
                                                 tiles * of_tiles),
                 true);
    }
  }
  __device__ static __forceinline__ index_t packed_at(int line, int row, int packed_rows) {
    const int term = line % tile_terms, reader = row % 8 * 4 + term % 4, number = row % tile_rows / 8 + term / 4 * 2;
    return static_cast<index_t>(line - term) * packed_rows + row / tile_rows * tile_rows * tile_terms +
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
    float sum = results(0, seat, column);
#pragma unroll
    for (int i = 1; i < quarters; ++i) sum += results(i, seat, column);
    return sum;
  }
};
/// Slices of a block, and, when they are done with, results on their way out.
template <class T>
union ProductMemory {
  typename T::Slices slices;
  typename T::Results results;
};

}  // namespace slimneck::kernels::cuda
