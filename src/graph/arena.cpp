// One arena for all values: the largest buffers first, each at the lowest offset that is free during its life.
#include <algorithm>
#include <numeric>

#include "graph/program.hpp"

namespace slimneck::graph {

namespace {

constexpr std::size_t alignment = 64;

std::size_t round_up(std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

bool alive_together(const Buffer& a, const Buffer& b) {
  return a.first_step <= b.last_step && b.first_step <= a.last_step;
}

}  // namespace

void assign_offsets(Program& program, DType type) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < program.buffers.size(); ++i) {
    Buffer& b = program.buffers[i];
    if (b.persistent) {
      b.offset = program.persistent_bytes;
      program.persistent_bytes += round_up(b.bytes(type));
    } else if (b.first_step >= 0) {
      order.push_back(i);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return program.buffers[a].bytes(type) > program.buffers[b].bytes(type);
  });

  std::vector<std::size_t> placed;  // indices, by offset
  for (const std::size_t i : order) {
    Buffer& b = program.buffers[i];
    const std::size_t size = round_up(b.bytes(type));
    std::size_t offset = 0;
    for (const std::size_t other : placed) {
      const Buffer& o = program.buffers[other];
      if (!alive_together(b, o)) continue;
      if (offset + size <= o.offset) break;
      offset = std::max(offset, o.offset + round_up(o.bytes(type)));
    }
    b.offset = offset;
    program.arena_bytes = std::max(program.arena_bytes, offset + size);
    const auto by_offset = [&](std::size_t x, std::size_t y) {
      return program.buffers[x].offset < program.buffers[y].offset;
    };
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i, by_offset), i);
  }
}

}  // namespace slimneck::graph
