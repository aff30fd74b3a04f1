// The pool alone: every share once, from many threads at once, within a share, and in children of a process that has used it.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cassert>
#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

#include "pool.hpp"

namespace {

// Calls with 1 to 40 shares; each share adds to a place of its own, without a lock: what comes back has to be seen.
void every_share_once(int calls) {
  for (int32_t call = 0; call < calls; call++) {
    const int32_t shares = 1 + call * 7 % 40;
    std::vector<int> done(static_cast<size_t>(shares), 0);
    const auto job = [&](int32_t k) { done[static_cast<size_t>(k)] += call + 1; };
    gatecell::share_out(shares, std::ref(job));
    for (const int d : done) assert(d == call + 1);
  }
}

void from_many_threads() {
  std::vector<std::thread> threads;
  for (int k = 0; k < 8; k++) threads.emplace_back(every_share_once, 2000);
  for (std::thread &t : threads) t.join();
}

void within_a_share() {
  std::atomic<int> done{0};
  const auto inner = [&](int32_t) { done++; };
  const auto outer = [&](int32_t) { gatecell::share_out(5, std::ref(inner)); };
  gatecell::share_out(6, std::ref(outer));
  assert(done == 30);
}

[[maybe_unused]] void in_a_child(int generations) {
  every_share_once(50);
  if (!generations) return;
  const pid_t child = fork();
  assert(child >= 0);
  if (child == 0) {
    in_a_child(generations - 1);
    _exit(0);
  }
  int status = -1;
  assert(waitpid(child, &status, 0) == child && status == 0);
  every_share_once(50);
}

// Fork while others are in the pool.
[[maybe_unused]] void in_children_of_a_busy_process() {
  std::atomic<bool> enough{false};
  std::thread busy([&] {
    while (!enough) every_share_once(10);
  });
  for (int k = 0; k < 20; k++) {
    const pid_t child = fork();
    if (child == 0) {
      every_share_once(50);
      _exit(0);
    }
    int status = -1;
    assert(waitpid(child, &status, 0) == child && status == 0);
  }
  enough = true;
  busy.join();
}

void how_many() {
  assert(gatecell::shares_for(1, 1000, 1e12) == 1);
  assert(gatecell::shares_for(4, 1000, 1e12) == 4);
  assert(gatecell::shares_for(4, 3, 1e12) == 3);
  assert(gatecell::shares_for(4, 0, 0) == 1);
  assert(gatecell::shares_for(2, 1000, 1e5) == 1);
  assert(gatecell::shares_for(1 << 30, int64_t{1} << 40, 1e30) <= 1024);
  const auto inside = [](int32_t) { assert(gatecell::shares_for(4, 1000, 1e12) == 3); };  // this call is one of the four
  gatecell::share_out(1, std::ref(inside));
}

}  // namespace

int main() {
  every_share_once(5000);
  from_many_threads();
  within_a_share();
  how_many();
#if !defined(__SANITIZE_THREAD__) && !defined(EMULATED)  // which end a process that forks with threads
  in_a_child(3);
#if !defined(__SANITIZE_ADDRESS__)  // whose allocator a thread may have locked when the process forks
  in_children_of_a_busy_process();
#endif
#endif
  std::puts("pool: ok");
}
