// The emulation itself: kernels that are right give the right numbers, and each kind of error is found.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <numeric>
#include <vector>

#include "device.hpp"
#include "kernels/cuda/launch.hpp"
#include "kernels/cuda/ptx.hpp"
#include "sanitizer.hpp"

using namespace slimneck;
using emulation::Schedule;
namespace cuda = slimneck::kernels::cuda;

namespace {

constexpr int threads = 64;

__device__ int thread() { return static_cast<int>(threadIdx.x); }

/// A device as new, a stream, and one array of numbers.
struct Bench {
  /// What kernel(data) makes of 0, 1, 2, ...; data are the `threads` numbers of each block.
  template <class... A>
  std::vector<float> run(void (*kernel)(float*, A...), unsigned blocks, std::size_t shared_bytes, A... more) {
    std::vector<float> numbers(static_cast<std::size_t>(threads) * blocks);
    std::iota(numbers.begin(), numbers.end(), 0.F);
    const cuda::Memory memory(context, numbers.size() * sizeof(float), "numbers");
    stream.copy(memory.data(), numbers.data(), memory.bytes(), cuda::Direction::to_device);
    cuda::launch(stream, "kernel", kernel, {{blocks}, {threads}, shared_bytes}, memory.floats(), more...);
    stream.copy(numbers.data(), memory.data(), memory.bytes(), cuda::Direction::to_host);
    stream.wait();
    return numbers;
  }

  cuda::Context context{emulation::Device::renewed()};
  cuda::Stream stream{context};
};

/// What a kernel is blamed for, "" for nothing.
template <class... A>
std::string blame(void (*kernel)(float*, A...), A... more) {
  Bench bench;
  try {
    bench.run(kernel, 1, 0, more...);
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

/// Does it end badly? In a process of its own, since AddressSanitizer ends it.
template <class F>
bool ends_badly(const F& f) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(STDERR_FILENO);
    int code = 0;
    try {
      f();
    } catch (const DeviceError&) {
      code = 1;
    }
    ::_exit(code);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status != 0;
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

struct Numbers {
  cuda::Array<float, threads> values;
};

__global__ void reverse(float* data) {
  auto& s = cuda::shared<Numbers>();
  float* mine = data + static_cast<int>(blockIdx.x * blockDim.x);
  s.values(thread()) = mine[thread()];
  __syncthreads();
  mine[thread()] = s.values(threads - 1 - thread());
}

__global__ void reverse_without_barrier(float* data) {
  auto& s = cuda::shared<Numbers>();
  s.values(thread()) = data[thread()];
  data[thread()] = s.values(threads - 1 - thread());
}

__global__ void reverse_dynamic(float* data) {
  const cuda::DynamicShared<float> s;
  s(thread()) = data[thread()];
  __syncthreads();
  data[thread()] = s(threads - 1 - thread());
}

/// Each lane gets the sum of its warp.
__global__ void warp_sums(float* data) {
  float sum = data[thread()];
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0U, sum, lanes);
  data[thread()] = sum;
}

/// Lane 0 of each warp gets its sum, through shared memory and without a barrier of the block.
__global__ void warp_sums_down(float* data) {
  auto& s = cuda::shared<Numbers>();
  float sum = data[thread()];
  for (unsigned lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_down_sync(~0U, sum, lanes);
  if (thread() % 32 == 0) s.values(thread() / 32) = sum;
  __syncwarp();
  data[thread()] = s.values(thread() / 32);
}

enum class Copying { right, without_waiting, absent };

__global__ void copy_asynchronously(float* data, Copying how) {
  auto& s = cuda::shared<Numbers>();
  cuda::begin_copy(&s.values(thread()), data + thread(), how != Copying::absent);
  cuda::close_copies();
  if (how != Copying::without_waiting) cuda::wait_for_copies<0>();
  __syncthreads();
  data[thread()] = s.values(threads - 1 - thread());
}

__global__ void copy_two_groups(float* data) {
  auto& s = cuda::shared<cuda::Array<float, 2, threads>>();
  for (int i = 0; i < 2; ++i) {
    cuda::begin_copy(&s(i, thread()), data + thread(), true);
    cuda::close_copies();
  }
  cuda::wait_for_copies<1>();  // the second one may still be under way
  data[thread()] = s(0, thread());
  const bool second_is_open = s(1, thread()) != s(1, thread());
  cuda::wait_for_copies<0>();
  if (!second_is_open || s(1, thread()) != s(0, thread())) data[thread()] = -1;
}

__global__ void diverge(float* data) {
  if (thread() < 40)
    __syncthreads();
  else
    __syncthreads();
  data[thread()] = 0;
}

__global__ void leave_before_barrier(float* data) {
  if (thread() == 5) return;
  __syncthreads();
  data[thread()] = 0;
}

__global__ void leave_before_shuffle(float* data) {
  if (thread() == 5) return;
  data[thread()] = __shfl_xor_sync(~0U, data[thread()], 1);
}

__global__ void shuffle_unnamed(float* data) { data[thread()] = __shfl_xor_sync(1U, data[thread()], 1); }

__global__ void index_past_array(float* data) { data[0] = cuda::shared<Numbers>().values(thread() + 1); }

__global__ void index_past_dynamic(float* data) { data[0] = cuda::DynamicShared<float>()(thread()); }

__global__ void write_past_array(float* data) {
  float* all = cuda::shared<Numbers>().values.items;
  all[thread() + (thread() == threads - 1 ? 2 : 0)] = data[thread()];
}

__global__ void read_past_array(float* data) {
  float* all = cuda::shared<Numbers>().values.items;
  all[thread()] = data[thread()];
  __syncthreads();
  data[thread()] = all[thread() + 1];
}

__global__ void read_past_memory(float* data) { data[0] = data[thread() + 1]; }

__global__ void write_past_memory(float* data) { data[thread() + 1] = 1; }

/// Both threads of a pair write one number.
__global__ void race(float* data) { data[thread() / 2] = static_cast<float>(thread()); }

/// Every block writes the first number.
__global__ void race_of_blocks(float* data) { data[0] = static_cast<float>(blockIdx.x); }

/// Reads what nobody wrote.
__global__ void read_unwritten(float* data) { data[thread()] = cuda::shared<Numbers>().values(thread()); }

__global__ void take_too_much(float* data) {
  auto& a = cuda::shared<cuda::Array<float, 8, 1024>>();
  auto& b = cuda::shared<cuda::Array<int, 8, 1024>>();
  data[0] = a(0, 0) + static_cast<float>(b(0, 0));
}

float sum_of_warp(int warp) { return static_cast<float>(32 * 32 * warp + 31 * 16); }

}  // namespace

TEST_CASE("kernels with barriers, shuffles, shared memory and asynchronous copies do what they should") {
  Bench bench;
  for (const unsigned blocks : {1U, 3U}) {
    const std::vector<float> numbers = bench.run(reverse, blocks, 0);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const std::size_t first = i / threads * threads;
      CHECK(numbers[i] == static_cast<float>(first + threads - 1 - (i - first)));
    }
  }
  const std::vector<float> reversed = bench.run(reverse, 1, 0);
  CHECK(bench.run(reverse_dynamic, 1, threads * sizeof(float)) == reversed);
  CHECK(bench.run(copy_asynchronously, 1, 0, Copying::right) == reversed);
  CHECK(bench.run(copy_asynchronously, 1, 0, Copying::absent) == std::vector<float>(threads, 0));
  const std::vector<float> copied = bench.run(copy_two_groups, 1, 0);
  for (int i = 0; i < threads; ++i) CHECK(copied[static_cast<std::size_t>(i)] == static_cast<float>(i));
  for (const auto kernel : {warp_sums, warp_sums_down}) {
    const std::vector<float> sums = bench.run(kernel, 1, 0);
    for (int i = 0; i < threads; ++i) CHECK(sums[static_cast<std::size_t>(i)] == sum_of_warp(i / 32));
  }
}

TEST_CASE("a missing barrier and a missing wait show in some order of the threads") {
  CHECK(contains(blame(reverse_without_barrier), "the order of threads matters"));
  CHECK(contains(blame(race), "the order of threads matters"));
  Bench bench;
  CHECK_THROWS_AS(bench.run(race_of_blocks, 3, 0), DeviceError);
  Bench another;
  const std::vector<float> numbers = another.run(copy_asynchronously, 1, 0, Copying::without_waiting);
  for (const float x : numbers) CHECK(x != x);
}

TEST_CASE("threads that do not meet are named with their line") {
  const std::string divergent = blame(diverge);
  CHECK(contains(divergent, "divergent barrier: thread (0, 0, 0) waits at"));
  CHECK(contains(divergent, "emulation_test.cu:"));
  CHECK(contains(blame(leave_before_barrier), "deadlock: 1 of 64 threads have ended"));
  CHECK(contains(blame(leave_before_shuffle), "waits for its warp"));
  CHECK(contains(blame(shuffle_unnamed), "does not name the calling lane"));
}

TEST_CASE("indices and writes outside of arrays are found, static and dynamic") {
  CHECK(contains(blame(index_past_array), "index 64 of 64 at"));
  CHECK(contains(blame(take_too_much), "bytes of shared memory"));
  if (!emulation::address_sanitizer)  // which ends the program
    CHECK(contains(blame(write_past_array), "wrote past an array in shared memory"));
  Bench bench;
  CHECK_THROWS_AS(bench.run(index_past_dynamic, 1, (threads - 1) * sizeof(float)), DeviceError);
  CHECK(ends_badly([] { Bench().run(write_past_memory, 1, 0); }));
  CHECK(!ends_badly([] { Bench().run(reverse, 1, 0); }));
}

TEST_CASE("memory that nobody wrote is not a number") {
  Bench bench;
  for (const float x : bench.run(read_unwritten, 1, 0)) CHECK(x != x);
  const cuda::Memory memory(bench.context, sizeof(float), "one");
  float number = 0;
  bench.stream.copy(&number, memory.data(), sizeof number, cuda::Direction::to_host);
  CHECK(number == 0);  // work waits in the queue
  bench.stream.wait();
  CHECK(number != number);
  bench.stream.copy(&number, memory.data(), 2 * sizeof number, cuda::Direction::to_host);
  CHECK_THROWS_WITH_AS(bench.stream.wait(), doctest::Contains("cudaErrorInvalidValue"), DeviceError);
}

TEST_CASE("impossible launches are refused") {
  using cuda::Grid;
  const Grid impossible[] = {{{0}, {1}},        {{1}, {0}},           {{1}, {1025}},        {{1}, {1, 1, 65}},
                             {{1, 65536}, {1}}, {{1, 1, 65536}, {1}}, {{0x80000000U}, {1}}, {{1}, {1}, (48 << 10) + 1}};
  for (const Grid& grid : impossible) {
    CAPTURE(&grid - impossible);
    Bench bench;
    cuda::launch(bench.stream, "kernel", race, grid, nullptr);
    CHECK_THROWS_WITH_AS(bench.stream.wait(), doctest::Contains("kernel: cudaErrorInvalidConfiguration"), DeviceError);
  }
}

TEST_CASE("with AddressSanitizer kernels cannot read past arrays, and code of the host cannot touch device memory") {
  if (!emulation::address_sanitizer) {
    MESSAGE("skipped: built without AddressSanitizer");
    return;
  }
  Bench bench;
  const cuda::Memory memory(bench.context, sizeof(float), "one");
  CHECK(ends_badly([&] { *static_cast<volatile float*>(memory.floats()) = 1; }));
  CHECK(ends_badly([] { Bench().run(read_past_memory, 1, 0); }));
  CHECK(ends_badly([] { Bench().run(read_past_array, 1, 0); }));
  CHECK(ends_badly([] { Bench().run(write_past_array, 1, 0); }));
  CHECK(!ends_badly([] { Bench().run(reverse, 1, 0); }));
}

TEST_CASE("orders are permutations, and shuffled ones differ from round to round") {
  for (const Schedule& schedule : {Schedule{Schedule::Kind::forward, 0}, Schedule{Schedule::Kind::reverse, 0},
                                   Schedule{Schedule::Kind::shuffled, 1}, Schedule{Schedule::Kind::shuffled, 2}}) {
    std::vector<unsigned> first, second;
    schedule.order(first, threads, 0);
    schedule.order(second, threads, 1);
    CHECK((first != second) == (schedule.kind == Schedule::Kind::shuffled));
    std::sort(first.begin(), first.end());
    std::sort(second.begin(), second.end());
    CHECK(first == second);
    for (unsigned i = 0; i < threads; ++i) CHECK(first[i] == i);
  }
}
