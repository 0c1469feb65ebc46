#include "device.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "sanitizer.hpp"

namespace slimneck::emulation {

using kernels::cuda::Direction;
using kernels::cuda::Launch;

namespace {

constexpr std::size_t zone_bytes = 256;
constexpr std::align_val_t alignment{zone_bytes};
constexpr int zone_byte = 0x5A, most_orders = 10, fewest_orders = 2;

/// SLIMNECK_CUDA_ORDERS may ask for fewer: sanitizers are slow.
int orders() {
  const char* wanted = std::getenv("SLIMNECK_CUDA_ORDERS");
  return wanted ? std::clamp(std::atoi(wanted), fewest_orders, most_orders) : most_orders;
}

std::vector<Schedule> schedules() {
  static const int count = orders();
  std::vector<Schedule> all{{Schedule::Kind::forward, 0}, {Schedule::Kind::reverse, 0}};
  for (int seed = 1; seed <= count - fewest_orders; ++seed)
    all.push_back({Schedule::Kind::shuffled, static_cast<std::uint64_t>(seed)});
  return all;
}

}  // namespace

/// Bytes between two zones.
struct Device::Allocation {
  explicit Allocation(std::size_t count)
      : bytes(count), all(static_cast<char*>(::operator new(count + 2 * zone_bytes, alignment))) {
    std::memset(all, zone_byte, count + 2 * zone_bytes);
    std::memset(data(), 0xFF, count);
    forbid(all, count + 2 * zone_bytes);
  }
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;
  ~Allocation() {
    allow(all, bytes + 2 * zone_bytes);
    ::operator delete(all, alignment);
  }

  [[nodiscard]] char* data() const { return all + zone_bytes; }
  [[nodiscard]] bool zones_intact() const {
    const auto intact = [](const char* zone) {
      allow(zone, zone_bytes);
      const bool same = std::all_of(zone, zone + zone_bytes, [](char c) { return c == zone_byte; });
      forbid(zone, zone_bytes);
      return same;
    };
    return intact(all) && intact(data() + bytes);
  }

  std::size_t bytes;
  char* all;
};

/// A launch with its own copy of the arguments.
struct Device::Grid {
  explicit Grid(const Launch& from) : launch(from) {
    for (std::size_t i = 0; i < from.count; ++i) {
      const auto* bytes = static_cast<const std::byte*>(from.arguments[i]);
      values.emplace_back(bytes, bytes + from.sizes[i]);
    }
  }

  Launch launch;
  std::vector<std::vector<std::byte>> values;
};

Device::Device() = default;
Device::~Device() = default;

Device& Device::instance() {
  static Device device;
  return device;
}

const Runtime& Device::renewed() {
  instance().reset();
  return runtime();
}

void Device::reset() {
  driver = 13000;
  devices = 1;
  info = {"emulated", 90};
  total_memory = std::size_t{1} << 30;
  only.reset();
  calls_.clear();
  captured_ = 0;
  faults_.clear();
  broken_ = 0;
  message_.clear();
}

void Device::fail(const char* call, Status status, int passing) { faults_.push_back({call, status, passing}); }

std::size_t Device::streams() const { return streams_.size(); }

std::size_t Device::allocated() const {
  std::size_t bytes = 0;
  for (const auto& a : memory_) bytes += a->bytes;
  return bytes;
}

int Device::calls(const std::string& call) const {
  const auto found = calls_.find(call);
  return found == calls_.end() ? 0 : found->second;
}

/// What every entry point begins with: a fault that a test asked for, or that of an earlier kernel.
Status Device::enter(const char* call) {
  ++calls_[call];
  for (std::size_t i = 0; i < faults_.size(); ++i) {
    if (faults_[i].call != call || faults_[i].passing-- > 0) continue;
    const Status status = faults_[i].status;
    faults_.erase(faults_.begin() + static_cast<std::ptrdiff_t>(i));
    return status;
  }
  return broken_;
}

Status Device::allocate(void** memory, std::size_t bytes) {
  if (bytes > total_memory - std::min(total_memory, allocated())) return out_of_memory;
  memory_.push_back(std::make_unique<Allocation>(bytes));
  *memory = memory_.back()->data();
  return 0;
}

Status Device::release(void* memory) {
  const auto found = std::find_if(memory_.begin(), memory_.end(), [&](const auto& a) { return a->data() == memory; });
  if (found == memory_.end()) return invalid_value;
  for (const auto& stream : streams_) static_cast<void>(wait(*stream));
  memory_.erase(found);
  return 0;
}

bool Device::holds(const void* memory, std::size_t bytes) const {
  const auto* begin = static_cast<const char*>(memory);
  return std::any_of(memory_.begin(), memory_.end(),
                     [&](const auto& a) { return begin >= a->data() && begin + bytes <= a->data() + a->bytes; });
}

Status Device::copy(void* to, const void* from, std::size_t bytes, Direction direction, Stream& stream) {
  if ((direction != Direction::to_host && !holds(to, bytes)) ||
      (direction != Direction::to_device && !holds(from, bytes)))
    return invalid_value;
  stream.queue([=] { std::memmove(to, from, bytes); });
  return 0;
}

Status Device::launch(const Launch& l, Stream& stream) {
  const std::uint64_t threads = std::uint64_t{l.block.x} * l.block.y * l.block.z;
  constexpr unsigned most_x = 0x7FFFFFFF, most_yz = 65535, most_block_z = 64;
  if (threads == 0 || threads > most_threads || l.block.z > most_block_z || l.grid.x == 0 || l.grid.y == 0 ||
      l.grid.z == 0 || l.grid.x > most_x || l.grid.y > most_yz || l.grid.z > most_yz || l.shared > most_shared)
    return invalid_configuration;
  if (stream.capture) ++captured_;
  stream.queue([this, grid = std::make_shared<Grid>(l)] { run(*grid); });
  return 0;
}

Status Device::wait(Stream& stream) {
  expose(true);
  while (!stream.work.empty()) {
    const std::function<void()> work = std::move(stream.work.front());
    stream.work.pop_front();
    if (broken_ != 0) continue;
    try {
      work();
    } catch (const KernelError& error) {
      broken_ = launch_failure;
      message_ = error.what();
    }
  }
  expose(false);
  return broken_;
}

void Device::expose(bool exposed) const {
  for (const auto& a : memory_) exposed ? allow(a->data(), a->bytes) : forbid(a->data(), a->bytes);
}

void Device::run(const Grid& grid) {
  using Copy = std::vector<std::vector<char>>;
  const auto copied = [&] {
    Copy copy;
    for (const auto& a : memory_) copy.emplace_back(a->data(), a->data() + a->bytes);
    return copy;
  };
  const auto check_zones = [&] {
    for (const auto& a : memory_)
      if (!a->zones_intact()) throw KernelError(std::string(grid.launch.name) + " wrote around its memory");
  };
  if (only) {
    run_once(grid, *only);
    return check_zones();
  }
  const Copy before = copied();
  Copy first;
  for (const Schedule& schedule : schedules()) {
    if (!first.empty())
      for (std::size_t i = 0; i < memory_.size(); ++i)
        std::copy(before[i].begin(), before[i].end(), memory_[i]->data());
    run_once(grid, schedule);
    check_zones();
    if (first.empty()) {
      first = copied();
      continue;
    }
    for (std::size_t i = 0; i < memory_.size(); ++i)
      if (!std::equal(first[i].begin(), first[i].end(), memory_[i]->data()))
        throw KernelError(std::string(grid.launch.name) + ": the order of threads matters: \"" + schedule.text() +
                          "\" differs from \"forward\"");
  }
}

void Device::run_once(const Grid& grid, const Schedule& schedule) {
  const Launch& l = grid.launch;
  std::vector<std::vector<std::byte>> values = grid.values;
  std::vector<void*> arguments;
  for (auto& value : values) arguments.push_back(value.data());
  const std::function<void()> kernel = [&] { l.call(l.kernel, arguments.data()); };
  std::vector<unsigned> order;
  const std::size_t blocks = std::size_t{l.grid.x} * l.grid.y * l.grid.z;
  schedule.order(order, blocks, 0);
  for (const unsigned b : order) {
    const Extent index{b % l.grid.x, b / l.grid.x % l.grid.y, b / l.grid.x / l.grid.y};
    try {
      block_.run(kernel, index, l.grid, l.block, l.shared, schedule);
    } catch (const KernelError& error) {
      throw KernelError(std::string(l.name) + ", block " + std::to_string(b) + ", order \"" + schedule.text() +
                        "\": " + error.what());
    }
  }
  threads_ += blocks * l.block.x * l.block.y * l.block.z;
}

/// The entry points: plain functions around the one device.
struct Device::Table {
  static Device& self() { return instance(); }
  static Stream& stream(void* stream) { return *static_cast<Stream*>(stream); }

  static Status driver_version(int* version) {
    *version = self().driver;
    return self().enter("driver_version");
  }
  static Status device_count(int* count) {
    *count = self().devices;
    return self().enter("device_count");
  }
  static Status describe(int device, DeviceInfo* info) {
    *info = self().info;
    return device < self().devices ? self().enter("describe") : invalid_value;
  }
  static Status select(int device) { return device < self().devices ? self().enter("select") : invalid_value; }
  static Status allocate(void** memory, std::size_t bytes) {
    const Status status = self().enter("allocate");
    return status != 0 ? status : self().allocate(memory, bytes);
  }
  static Status release(void* memory) { return self().release(memory); }
  static Status free_memory(std::size_t* free, std::size_t* total) {
    *total = self().total_memory;
    *free = *total - std::min(*total, self().allocated());
    return self().enter("free_memory");
  }
  static Status allocate_host(void** memory, std::size_t bytes) {
    if (const Status status = self().enter("allocate_host"); status != 0) return status;
    std::vector<char> numbers(bytes, '\xFF');
    *memory = numbers.data();
    self().host_memory_.emplace(*memory, std::move(numbers));
    return 0;
  }
  static Status release_host(void* memory) { return self().host_memory_.erase(memory) == 1 ? 0 : invalid_value; }
  static Status create_stream(void** stream) {
    if (const Status status = self().enter("create_stream"); status != 0) return status;
    self().streams_.push_back(std::make_unique<Stream>());
    *stream = self().streams_.back().get();
    return 0;
  }
  static Status destroy_stream(void* gone) {
    static_cast<void>(self().wait(stream(gone)));
    auto& all = self().streams_;
    all.erase(std::find_if(all.begin(), all.end(), [&](const auto& s) { return s.get() == gone; }));
    return 0;
  }
  static Status wait(void* on) {
    const Status status = self().enter("wait");
    return status != 0 ? status : self().wait(stream(on));
  }
  static Status copy(void* to, const void* from, std::size_t bytes, Direction direction, void* on) {
    const Status status = self().enter("copy");
    return status != 0 ? status : self().copy(to, from, bytes, direction, stream(on));
  }
  static Status fill(void* memory, int byte, std::size_t bytes, void* on) {
    if (const Status status = self().enter("fill"); status != 0) return status;
    if (!self().holds(memory, bytes)) return invalid_value;
    stream(on).queue([=] { std::memset(memory, byte, bytes); });
    return 0;
  }
  static Status launch(const Launch& launch, void* on) {
    const Status status = self().enter("launch");
    return status != 0 ? status : self().launch(launch, stream(on));
  }
  static Status begin_capture(void* on) {
    if (const Status status = self().enter("begin_capture"); status != 0) return status;
    if (stream(on).capture) return invalid_value;
    stream(on).capture = std::make_unique<Work>();
    return 0;
  }
  static Status instantiate(void** graph, void* on) {
    const std::unique_ptr<Work> captured = std::move(stream(on).capture);
    if (const Status status = self().enter("instantiate"); status != 0) return status;
    if (!captured) return invalid_value;
    self().graphs_.push_back(std::make_unique<Work>(*captured));
    *graph = self().graphs_.back().get();
    return 0;
  }
  static Status launch_graph(void* graph, void* on) {
    if (const Status status = self().enter("launch_graph"); status != 0) return status;
    for (const std::function<void()>& item : *static_cast<Work*>(graph)) stream(on).queue(item);
    return 0;
  }
  static Status release_graph(void* graph) {
    return std::erase_if(self().graphs_, [&](const auto& g) { return g.get() == graph; }) == 1 ? 0 : invalid_value;
  }
  static const char* error_name(Status status) {
    switch (status) {
      case 0: return "cudaSuccess";
      case invalid_value: return "cudaErrorInvalidValue";
      case out_of_memory: return "cudaErrorMemoryAllocation";
      case invalid_configuration: return "cudaErrorInvalidConfiguration";
      case driver_too_old: return "cudaErrorInsufficientDriver";
      case no_device: return "cudaErrorNoDevice";
      case no_kernel_image: return "cudaErrorNoKernelImageForDevice";
      case launch_failure: return "cudaErrorLaunchFailure";
      default: return "cudaErrorUnknown";
    }
  }
  static const char* error_text(Status status) {
    if (status == launch_failure && !self().message_.empty()) return self().message_.c_str();
    return status == out_of_memory ? "out of memory" : "a failure of the emulated device";
  }
};

const Runtime& Device::runtime() {
  constexpr int version = 13000, lowest_architecture = 75;
  static const Runtime table{version,
                             lowest_architecture,
                             Table::driver_version,
                             Table::device_count,
                             Table::describe,
                             Table::select,
                             Table::allocate,
                             Table::release,
                             Table::free_memory,
                             Table::allocate_host,
                             Table::release_host,
                             Table::create_stream,
                             Table::destroy_stream,
                             Table::wait,
                             Table::copy,
                             Table::fill,
                             Table::launch,
                             Table::begin_capture,
                             Table::instantiate,
                             Table::launch_graph,
                             Table::release_graph,
                             Table::error_name,
                             Table::error_text};
  return table;
}

}  // namespace slimneck::emulation
