// One arena for all values: the largest buffers first, each at the lowest offset that is free during its life.
#include <algorithm>
#include <numeric>

#include "core/memory.hpp"
#include "graph/program.hpp"

namespace slimneck::graph {

namespace {

using core::add_sizes;

/// Of the CPU's vectors and cache lines; of what devices read in one piece.
constexpr std::size_t cpu_alignment = 64, device_alignment = 256;

/// A buffer that has its place. The search goes over all of them for each new one, hence nothing but what it reads.
struct Piece {
  int first_step, last_step;
  std::size_t offset, end;
};

bool alive_together(const Piece& a, const Piece& b) {
  return a.first_step <= b.last_step && b.first_step <= a.last_step;
}

}  // namespace

void assign_offsets(Program& program, DType type) {
  const std::size_t alignment = program.device ? device_alignment : cpu_alignment;
  const auto round_up = [&](std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; };
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < program.buffers.size(); ++i) {
    Buffer& b = program.buffers[i];
    if (b.persistent) {
      b.offset = program.persistent_bytes;
      program.persistent_bytes = add_sizes(program.persistent_bytes, round_up(b.bytes(type)));
    } else if (b.first_step >= 0) {
      order.push_back(i);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return program.buffers[a].bytes(type) > program.buffers[b].bytes(type);
  });

  std::vector<Piece> placed;  // by offset
  for (const std::size_t i : order) {
    Buffer& b = program.buffers[i];
    const std::size_t size = round_up(b.bytes(type));
    Piece piece{b.first_step, b.last_step, 0, size};
    for (const Piece& other : placed) {
      if (!alive_together(piece, other)) continue;
      if (piece.end <= other.offset) break;
      piece.offset = std::max(piece.offset, other.end);
      piece.end = add_sizes(piece.offset, size);
    }
    b.offset = piece.offset;
    program.arena_bytes = std::max(program.arena_bytes, piece.end);
    const auto by_offset = [](const Piece& x, const Piece& y) { return x.offset < y.offset; };
    placed.insert(std::upper_bound(placed.begin(), placed.end(), piece, by_offset), piece);
  }
}

}  // namespace slimneck::graph
