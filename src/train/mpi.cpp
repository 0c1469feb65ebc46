// Communicators over MPI. Nothing here blocks within MPI: whoever waits asks again and again whether the message came,
// and whether everybody is still alive. For that each process has a thread that sends a pulse every second: to rank 0,
// which sends its own to all. Who is silent for too long is lost; rank 0 tells the others who it was.
//
// One thread at a time is in MPI: implementations are faster and sounder so than with locks of their own.
#include "train/mpi.hpp"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

#include "slimneck/error.hpp"

namespace slimneck::train {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds look{50}, beat{1000}, farewell{2000};
constexpr std::chrono::seconds silence{15};
constexpr std::size_t most_bytes = std::size_t{16} << 20;  ///< of one message; MPI counts in int
constexpr int pulse_tag = 3;

int tag_of(Communicator::Channel channel) { return channel == Communicator::Channel::steps ? 1 : 2; }

void require(int code, const std::string& what) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw IoError(what + ": " + std::string(text.data(), static_cast<std::size_t>(length)));
}

/// What a process says every second.
struct Pulse {
  std::int32_t gone = 0;  ///< the sender knows of one that is gone; the text says which
  std::int32_t bye = 0;   ///< the last pulse
  std::array<char, 504> text{};
};

/// Bytes on their way, in memory that stays until MPI has done with it.
struct Message {
  std::vector<std::byte> bytes;
  MPI_Request request = MPI_REQUEST_NULL;
};

/// Messages nobody waits for any more, because somebody is gone. MPI may still write into them.
void abandon(std::unique_ptr<Message> message) {
  static std::mutex mutex;
  static std::vector<std::unique_ptr<Message>> messages;
  const std::lock_guard lock(mutex);
  messages.push_back(std::move(message));
}

/// One of those a process watches.
struct Watched {
  int rank = 0;
  Pulse in, out;
  MPI_Request in_request = MPI_REQUEST_NULL, out_request = MPI_REQUEST_NULL;
  Clock::time_point heard = Clock::now();
  bool bye = false;
};

std::string host_name() {
  std::array<char, MPI_MAX_PROCESSOR_NAME + 1> text{};
  int length = 0;
  MPI_Get_processor_name(text.data(), &length);
  return {text.data(), static_cast<std::size_t>(length)};
}

class Mpi final : public Communicator {
 public:
  Mpi(int rank, int size) : Communicator(rank, size), watched_(rank == 0 ? static_cast<std::size_t>(size) - 1 : 1) {
    MPI_Comm_dup(MPI_COMM_WORLD, &world_);
    MPI_Comm_set_errhandler(world_, MPI_ERRORS_RETURN);
    constexpr std::size_t longest = 64;
    std::string own = host_name();
    own.resize(longest);
    std::string all(longest * static_cast<std::size_t>(size), '\0');
    require(MPI_Allgather(own.data(), longest, MPI_CHAR, all.data(), longest, MPI_CHAR, world_), "names of hosts");
    for (std::size_t i = 0; i < static_cast<std::size_t>(size); ++i) hosts_.emplace_back(all.c_str() + i * longest);
    for (std::size_t i = 0; i < watched_.size(); ++i) {
      watched_[i].rank = rank == 0 ? static_cast<int>(i) + 1 : 0;
      listen(watched_[i]);
    }
    thread_ = std::thread([this] { watch(); });
  }

  /// Waits for the others, unless one is gone: then MPI cannot be ended either.
  ~Mpi() override {
    try {
      barrier();
    } catch (const Error&) {
      // Whoever called something after it has heard.
    }
    closing_ = true;
    thread_.join();
    if (gone_) return;
    MPI_Comm_free(&world_);
    MPI_Finalize();
  }

  [[nodiscard]] std::string name(int rank) const override {
    return "rank " + std::to_string(rank) + " on " + hosts_[static_cast<std::size_t>(rank)];
  }

  void leave(std::string_view why) noexcept override {
    lose(name(rank()) + ": " + std::string(why));
    for (const Clock::time_point until = Clock::now() + farewell; !told_ && Clock::now() < until;)
      std::this_thread::sleep_for(look);
  }

 protected:
  void send(int to, std::span<const std::byte> bytes, Channel channel) override {
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), most_bytes))) {
      const std::span<const std::byte> piece = bytes.first(std::min(bytes.size(), most_bytes));
      auto message = std::make_unique<Message>();
      message->bytes.assign(piece.begin(), piece.end());
      {
        const std::lock_guard lock(mutex_);
        require(MPI_Isend(message->bytes.data(), static_cast<int>(piece.size()), MPI_BYTE, to, tag_of(channel), world_,
                          &message->request),
                "message to " + name(to));
      }
      wait(std::move(message), to);
    }
  }

  void receive(int from, std::span<std::byte> bytes, Channel channel) override {
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), most_bytes))) {
      const std::span<std::byte> piece = bytes.first(std::min(bytes.size(), most_bytes));
      auto message = std::make_unique<Message>();
      message->bytes.resize(piece.size());
      {
        const std::lock_guard lock(mutex_);
        require(MPI_Irecv(message->bytes.data(), static_cast<int>(piece.size()), MPI_BYTE, from, tag_of(channel),
                          world_, &message->request),
                "message from " + name(from));
      }
      const std::vector<std::byte> came = wait(std::move(message), from);
      std::copy(came.begin(), came.end(), piece.begin());
    }
  }

 private:
  /// Until the message is through.
  std::vector<std::byte> wait(std::unique_ptr<Message> message, int peer) {
    constexpr int patient = 200;
    for (int asked = 0;; ++asked) {
      int done = 0;
      {
        const std::lock_guard lock(mutex_);
        MPI_Status status;
        require(MPI_Test(&message->request, &done, &status), "message between this process and " + name(peer));
        int count = 0;
        if (done != 0 && status.MPI_TAG >= 0 && MPI_Get_count(&status, MPI_BYTE, &count) == MPI_SUCCESS &&
            status.MPI_SOURCE == peer && static_cast<std::size_t>(count) < message->bytes.size())
          throw IoError(name(peer) + " sent another message than was expected");
      }
      if (done != 0) return std::move(message->bytes);
      if (gone_) {
        abandon(std::move(message));
        throw IoError(reason());
      }
      if (asked < patient)
        std::this_thread::yield();
      else
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  // ---- Pulses ----

  /// The first one that is gone is the cause of all the rest.
  void lose(const std::string& text) noexcept {
    const std::lock_guard lock(reason_mutex_);
    if (gone_) return;
    reason_ = text;
    gone_ = true;
  }

  [[nodiscard]] std::string reason() {
    const std::lock_guard lock(reason_mutex_);
    return reason_;
  }

  void listen(Watched& w) { MPI_Irecv(&w.in, sizeof(Pulse), MPI_BYTE, w.rank, pulse_tag, world_, &w.in_request); }

  [[nodiscard]] static bool through(MPI_Request& request) {
    int done = 0;
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    return done != 0;
  }

  void hear(Watched& w, Clock::time_point now) {
    if (w.bye) return;
    if (through(w.in_request)) {
      w.heard = now;
      if (w.in.gone != 0) lose(w.in.text.data());
      w.bye = w.in.bye != 0;
      if (!w.bye) listen(w);
    } else if (now - w.heard > silence) {
      lose(name(w.rank) + ": no sign of life for " + std::to_string(silence.count()) + " s");
    }
  }

  /// True when the pulse could be sent: the one before it is through.
  bool say(Watched& w, bool bye) {
    if (!through(w.out_request)) return false;
    w.out = {};
    w.out.bye = bye ? 1 : 0;
    if (gone_) {
      w.out.gone = 1;
      const std::string text = reason();
      std::copy_n(text.begin(), std::min(text.size(), w.out.text.size() - 1), w.out.text.begin());
    }
    MPI_Isend(&w.out, sizeof(Pulse), MPI_BYTE, w.rank, pulse_tag, world_, &w.out_request);
    return true;
  }

  void watch() {
    Clock::time_point next = Clock::now();
    bool told = false;
    while (!closing_ || gone_) {
      const Clock::time_point now = Clock::now();
      {
        const std::lock_guard lock(mutex_);
        for (Watched& w : watched_) hear(w, now);
        const bool news = gone_ && !told;
        if (news || now >= next) {
          for (Watched& w : watched_) say(w, false);
          next = now + beat;
          told = gone_;
        }
        if (told && std::all_of(watched_.begin(), watched_.end(), [](Watched& w) { return through(w.out_request); }))
          told_ = true;
      }
      if (gone_ && closing_) return;
      std::this_thread::sleep_for(look);
    }
    part();
  }

  /// The last pulse to everybody, and theirs.
  void part() {
    std::vector<char> said(watched_.size(), 0);
    for (bool done = false; !done && !gone_; std::this_thread::sleep_for(look / 10)) {
      const std::lock_guard lock(mutex_);
      done = true;
      for (std::size_t i = 0; i < watched_.size(); ++i) {
        hear(watched_[i], Clock::now());
        if (said[i] == 0 && say(watched_[i], true)) said[i] = 1;
        done = done && said[i] != 0 && watched_[i].bye && through(watched_[i].out_request);
      }
    }
  }

  MPI_Comm world_ = MPI_COMM_NULL;
  std::vector<std::string> hosts_;
  std::mutex mutex_;  ///< of MPI
  std::vector<Watched> watched_;
  std::mutex reason_mutex_;
  std::string reason_;
  std::atomic<bool> gone_ = false, closing_ = false, told_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi() {
  int provided = MPI_THREAD_SINGLE, rank = 0, size = 1;
  require(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI cannot be started");
  if (provided < MPI_THREAD_SERIALIZED) throw Error("this MPI is not made for programs with threads");
  require(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI");
  require(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI");
  if (size == 1) {
    MPI_Finalize();
    return make_single();
  }
  return std::make_unique<Mpi>(rank, size);
}

}  // namespace slimneck::train
