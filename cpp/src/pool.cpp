// A pool that survives fork (libgomp's does not): the child forgets the parent's threads and starts its own.
#include "pool.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gatecell {
namespace {

// What is left of a call: its number, how many shares it has, and the next that nobody took.  In one word, so that a thread that wakes
// late takes nothing of a later call by mistake.
struct alignas(8) Left {
  uint32_t call;
  uint16_t shares, next;
};
static_assert(std::atomic<Left>::is_always_lock_free);
constexpr int32_t MOST_SHARES = 1024;  // Left's numbers are of 16 bits

std::atomic<int32_t> callers{0};  // threads in share_out

class Pool {
 public:
  void run(int32_t shares, const std::function<void(int32_t)> &job) {
    job_ = &job;
    unfinished_.store(shares, std::memory_order_relaxed);
    const uint32_t call = left_.load(std::memory_order_relaxed).call + 1;
    left_.store({call, static_cast<uint16_t>(shares), 0}, std::memory_order_release);
    for (int32_t k = 0; k < shares - 1 && hire(k); k++) {
      Worker &w = *workers_[static_cast<size_t>(k)];
      w.called.store(call, std::memory_order_release);
      w.called.notify_one();
    }
    work(call);
    for (int spins = 0; unfinished_.load(std::memory_order_acquire) && spins < SPINS; spins++) pause();
    while (const int32_t n = unfinished_.load(std::memory_order_acquire)) unfinished_.wait(n, std::memory_order_acquire);
  }

  std::atomic_flag busy;

 private:
  // How long a call looks for the others' end before it sleeps: some 10 us, what falling asleep and waking cost.
  static constexpr int SPINS = 400;
  // How long a worker looks for another call before it sleeps, if nobody else is in the core: some 50 us, half of what waking takes where
  // the system has given the core away.  From layer to layer, and from forward to backward, less time passes.
  static constexpr int MORE_SPINS = 2000;

  struct Worker {
    std::atomic<uint32_t> called{0};
  };

  // Takes shares of a call until none is left.
  void work(uint32_t call) {
    Left left = left_.load(std::memory_order_acquire);
    while (left.call == call && left.next < left.shares) {
      if (!left_.compare_exchange_weak(left, {call, left.shares, static_cast<uint16_t>(left.next + 1)}, std::memory_order_acq_rel))
        continue;
      (*job_)(left.next);
      if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
      left = left_.load(std::memory_order_acquire);
    }
  }

  // Whether there is a worker k; one that cannot be had is done without.
  bool hire(int32_t k) {
    if (k < static_cast<int32_t>(workers_.size())) return true;
    sigset_t all, before;  // signals are for the threads of the program
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool hired = false;
    try {
      workers_.reserve(workers_.size() + 1);
      auto worker = std::make_unique<Worker>();
      std::thread([this, w = worker.get()] {
        for (uint32_t seen = 0;; work(seen)) {
          for (int spins = 0; seen && spins < MORE_SPINS && callers <= 1 && w->called.load(std::memory_order_relaxed) == seen; spins++)
            pause();
          w->called.wait(seen, std::memory_order_acquire);
          seen = w->called.load(std::memory_order_acquire);
        }
      }).detach();
      workers_.push_back(std::move(worker));
      hired = true;
    } catch (const std::bad_alloc &) {
    } catch (const std::system_error &) {}
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return hired;
  }

  std::vector<std::unique_ptr<Worker>> workers_;
  const std::function<void(int32_t)> *job_ = nullptr;
  std::atomic<int32_t> unfinished_{0};
  std::atomic<Left> left_{Left{0, 0, 0}};
};

// Never destroyed: its threads wait until the process ends, and a forked child has none of them.  The child's is built in the same place:
// the parent's threads may have been anywhere in it.
alignas(Pool) unsigned char place[sizeof(Pool)];
Pool *const pool = [] {
  pthread_atfork(nullptr, nullptr, [] {
    new (place) Pool;
    callers = 0;
  });
  return new (place) Pool;
}();

}  // namespace

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void share_out(int32_t shares, const std::function<void(int32_t)> &job) {
  const struct Caller {
    Caller() { callers++; }
    ~Caller() { callers--; }
  } caller;
  if (shares > 1 && !pool->busy.test_and_set(std::memory_order_acquire)) {
    pool->run(shares, job);
    pool->busy.clear(std::memory_order_release);
  } else {
    for (int32_t k = 0; k < shares; k++) job(k);
  }
}

int32_t shares_for(int32_t threads, int64_t parts, double multiply_adds) {
  const double worth = multiply_adds / 4e6;
  int64_t shares = std::min({static_cast<int64_t>(threads) - callers, parts, int64_t{MOST_SHARES}});
  if (static_cast<double>(shares) > worth) shares = static_cast<int64_t>(worth);
  return shares < 1 ? 1 : static_cast<int32_t>(shares);
}

}  // namespace gatecell
