// A pool that survives fork (libgomp's does not): the child forgets the parent's threads and starts its own.
#include "pool.hpp"

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace gatecell {
namespace {

class Pool {
 public:
  void run(int32_t shares, const std::function<void(int32_t)> &job) {
    {
      std::lock_guard lock(mutex_);
      while (static_cast<int32_t>(threads_.size()) < shares - 1) {
        const auto k = static_cast<int32_t>(threads_.size()) + 1;
        threads_.emplace_back([this, k, seen = call_] { work(k, seen); });
      }
      job_ = &job;
      shares_ = shares;
      left_ = shares - 1;
      call_++;
    }
    wake_.notify_all();
    job(0);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return left_ == 0; });
    job_ = nullptr;
  }

  std::mutex busy;

 private:
  void work(int32_t k, uint64_t seen) {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return call_ != seen; });
      seen = call_;
      if (k >= shares_) continue;
      const auto *job = job_;
      lock.unlock();
      (*job)(k);
      lock.lock();
      if (--left_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> threads_;
  const std::function<void(int32_t)> *job_ = nullptr;
  int32_t shares_ = 0, left_ = 0;
  uint64_t call_ = 0;
};

// Never destroyed: its threads wait until the process ends, and a forked child has none of them to join.
Pool *pool = nullptr;
std::once_flag once;

}  // namespace

void share_out(int32_t shares, const std::function<void(int32_t)> &job) {
  if (shares > 1) {
    std::call_once(once, [] {
      pool = new Pool;
      pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
    });
    Pool *const mine = pool;
    if (std::unique_lock lock(mine->busy, std::try_to_lock); lock.owns_lock()) return mine->run(shares, job);
  }
  for (int32_t k = 0; k < shares; k++) job(k);
}

int32_t shares_for(int32_t threads, int64_t parts, double multiply_adds) {
  const double worth = multiply_adds / 4e6;
  int64_t shares = threads < parts ? threads : parts;
  if (static_cast<double>(shares) > worth) shares = static_cast<int64_t>(worth);
  return shares < 1 ? 1 : static_cast<int32_t>(shares);
}

}  // namespace gatecell
