#include "measure/machine.hpp"

#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "slimneck/tensor.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace slimneck::measure {

namespace {

constexpr int accumulators = 12;
constexpr index_t rounds = 20000;

// Each keeps twelve chains of multiply-adds going: enough for two units of four cycles latency. The empty asm hides the
// values from the optimiser, which would otherwise know what they become; it names registers only, since a variable
// whose address is taken would live in memory.
#define SN_CHAINS(Vec, first, multiply_add, r)                                    \
  Vec a0 = first, a1 = first, a2 = first, a3 = first, a4 = first, a5 = first;     \
  Vec b0 = first, b1 = first, b2 = first, b3 = first, b4 = first, b5 = first;     \
  Vec m = first;                                                                  \
  __asm__("" : "+" r(m));                                                         \
  for (index_t i = 0; i < rounds; ++i) {                                          \
    a0 = multiply_add(a0, m), a1 = multiply_add(a1, m), a2 = multiply_add(a2, m); \
    a3 = multiply_add(a3, m), a4 = multiply_add(a4, m), a5 = multiply_add(a5, m); \
    b0 = multiply_add(b0, m), b1 = multiply_add(b1, m), b2 = multiply_add(b2, m); \
    b3 = multiply_add(b3, m), b4 = multiply_add(b4, m), b5 = multiply_add(b5, m); \
    SN_KEEP(r, a0, a1, a2, a3, a4, a5);                                           \
    SN_KEEP(r, b0, b1, b2, b3, b4, b5);                                           \
  }
#define SN_KEEP(r, a, b, c, d, e, f) __asm__ volatile("" : "+" r(a), "+" r(b), "+" r(c), "+" r(d), "+" r(e), "+" r(f))

#if defined(__x86_64__)

__attribute__((target("avx512f"))) void chains_512() {
#define SN_FMA(a, m) _mm512_fmadd_ps(a, m, m)
  SN_CHAINS(__m512, _mm512_set1_ps(0.5F), SN_FMA, "v")
#undef SN_FMA
}

__attribute__((target("avx2,fma"))) void chains_256() {
#define SN_FMA(a, m) _mm256_fmadd_ps(a, m, m)
  SN_CHAINS(__m256, _mm256_set1_ps(0.5F), SN_FMA, "x")
#undef SN_FMA
}

/// What plain x86-64 has: a multiplication and an addition.
void chains_128() {
#define SN_FMA(a, m) _mm_add_ps(_mm_mul_ps(a, m), m)
  SN_CHAINS(__m128, _mm_set1_ps(0.5F), SN_FMA, "x")
#undef SN_FMA
}

#else

void chains_128() {
  using Vec = float __attribute__((vector_size(16)));
#define SN_FMA(a, m) ((a) * (m) + (m))
  SN_CHAINS(Vec, (Vec{0.5F, 0.5F, 0.5F, 0.5F}), SN_FMA, "w")
#undef SN_FMA
}

#endif

struct Chains {
  void (*run)();
  int lanes;
};

Chains chains_of(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return {chains_512, 16};
  if (isa == Isa::avx2) return {chains_256, 8};
#endif
  static_cast<void>(isa);
  return {chains_128, 4};
}

/// Best of `trials` times in seconds of f on every thread.
template <class F>
double best_of(int trials, int threads, const F& f) {
  double best = 1e9;
  for (int i = 0; i < trials; ++i) {
    const double begin = seconds_now();
    if (threads == 1) {
      f(0);
    } else {
#pragma omp parallel num_threads(threads)
      f(omp_get_thread_num());
    }
    best = std::min(best, seconds_now() - begin);
  }
  return best;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void sweep_256(const float* p, std::size_t count) {
  __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
  for (std::size_t i = 0; i + 32 <= count; i += 32) {
    a = _mm256_or_ps(a, _mm256_loadu_ps(p + i));
    b = _mm256_or_ps(b, _mm256_loadu_ps(p + i + 8));
    c = _mm256_or_ps(c, _mm256_loadu_ps(p + i + 16));
    d = _mm256_or_ps(d, _mm256_loadu_ps(p + i + 24));
  }
  const __m256 all = _mm256_or_ps(_mm256_or_ps(a, b), _mm256_or_ps(c, d));
  __asm__ volatile("" ::"x"(all));
}
#endif

void sweep_plain(const float* p, std::size_t count) {
  float a = 0, b = 0, c = 0, d = 0;
  for (std::size_t i = 0; i + 4 <= count; i += 4) a += p[i], b += p[i + 1], c += p[i + 2], d += p[i + 3];
  const float all = a + b + c + d;
  __asm__ volatile("" ::"m"(all));
}

void sweep(const float* p, std::size_t count) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return sweep_256(p, count);
#endif
  sweep_plain(p, count);
}

std::size_t cache_bytes(int name, std::size_t fallback) {
  const long bytes = ::sysconf(name);
  return bytes > 0 ? static_cast<std::size_t>(bytes) : fallback;
}

}  // namespace

int threads_here() { return omp_get_max_threads(); }

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

#if defined(__linux__)

namespace {

/// A team of OpenMP keeps its threads from one parallel region to the next.
void bind_team(int threads, const std::function<std::vector<int>(int thread)>& processors) {
#pragma omp parallel num_threads(threads)
  {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : processors(omp_get_thread_num())) CPU_SET(static_cast<std::size_t>(cpu), &set);
    sched_setaffinity(0, sizeof set, &set);
  }
}

}  // namespace

Pinned::Pinned(int threads) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) allowed_.push_back(cpu);
  if (static_cast<int>(allowed_.size()) < threads) return;
  numbers_.assign(allowed_.begin(), allowed_.begin() + threads);
  bind_team(threads, [this](int thread) { return std::vector{numbers_[static_cast<std::size_t>(thread)]}; });
}

Pinned::~Pinned() {
  if (!numbers_.empty()) bind_team(static_cast<int>(numbers_.size()), [this](int) { return allowed_; });
}

#else

Pinned::Pinned(int) {}
Pinned::~Pinned() = default;

#endif

void multiply_adds(Isa isa, int threads) {
  const Chains chains = chains_of(isa);
  best_of(1, threads, [&](int) { chains.run(); });
}

double fma_peak(Isa isa, int threads) {
  const Chains chains = chains_of(isa);
  const double time = best_of(5, threads, [&](int) { chains.run(); });
  return static_cast<double>(2 * rounds * accumulators * chains.lanes * threads) / time / 1e9;
}

Roofline Roofline::measure(Isa isa, int threads) { return {fma_peak(isa, threads), read_bandwidth(threads)}; }

const Bandwidth& Roofline::level(double bytes) const {
  // Each level was measured with half of what it may hold, or less.
  const auto holds = [&](const Bandwidth& level) { return static_cast<double>(2 * level.bytes) >= bytes; };
  const auto level = std::find_if(levels.begin(), levels.end(), holds);
  return level == levels.end() ? levels.back() : *level;
}

double Roofline::seconds(double flops, double bytes) const {
  return std::max(flops / gflops, bytes / level(bytes).read) * 1e-9;
}

bool Roofline::memory_bound(double flops, double bytes) const { return bytes / level(bytes).read > flops / gflops; }

std::vector<Bandwidth> read_bandwidth(int threads) {
  const std::size_t l1 = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 32 << 10),
                    l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE, 1 << 20),
                    l3 = std::max(cache_bytes(_SC_LEVEL3_CACHE_SIZE, 16 << 20), 4 * l2);
  constexpr std::size_t enough = 256 << 20;
  std::vector<Bandwidth> levels{
      {"L1", l1 / 2}, {"L2", l2 / 2}, {"L3", std::min(l3 / 2, 8 * l2)}, {"DRAM", std::min(2 * l3, enough)}};
  const std::size_t share = std::max(levels[3].bytes / static_cast<std::size_t>(threads), levels[2].bytes);
  std::vector<Tensor> memory;
  for (int t = 0; t < threads; ++t)
    memory.emplace_back(Shape{1, 1, 1, static_cast<index_t>(std::max(share, levels[1].bytes) / sizeof(float))});
  for (Tensor& t : memory) std::fill_n(t.data<float>(), t.numel(), 1.F);
  for (Bandwidth& level : levels) {
    const std::size_t each = level.level == "DRAM" ? level.bytes / static_cast<std::size_t>(threads) : level.bytes;
    const std::size_t times = std::max<std::size_t>(1, (8U << 20) / each);
    const double time = best_of(7, threads, [&](int thread) {
      const float* p = memory[static_cast<std::size_t>(thread)].data<float>();
      for (std::size_t i = 0; i < times; ++i) sweep(p, each / sizeof(float));
    });
    level.read = static_cast<double>(each * times * static_cast<std::size_t>(threads)) / time / 1e9;
  }
  return levels;
}

}  // namespace slimneck::measure
