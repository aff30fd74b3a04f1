// Teams alone: what members write before a border is seen behind it, whoever comes when; nobody is waited for who has not begun.
#include <atomic>
#include <cassert>
#include <chrono>
#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

#include "pool.hpp"
#include "team.hpp"

namespace {

constexpr int64_t UNITS = 24, BORDERS = 2;

// Steps of two loops over units: each unit of `sum` reads all of `state`, each of `state` all of `sum`.  Plain memory: a border that lets
// somebody through too early gives other numbers, and a report by a thread sanitizer.
struct Work {
  std::vector<uint64_t> state = std::vector<uint64_t>(UNITS, 1), sum = std::vector<uint64_t>(UNITS, 0);

  static void mix(const std::vector<uint64_t> &from, std::vector<uint64_t> &to, int64_t step, int64_t u) {
    uint64_t h = static_cast<uint64_t>(step * UNITS + u);
    for (const uint64_t x : from) h = (h ^ x) * 0x100000001b3ull;
    to[static_cast<size_t>(u)] = h;
  }
  // A member's units of every step from that on where it begins; how many steps.  A `slow` member sleeps before every border.
  int64_t run(gatecell::Team *team, int64_t steps, bool slow = false) {
    gatecell::Part part;
    if (team) team->join(part);
    const int64_t begin = part.border / BORDERS;
    assert(part.border % BORDERS == 0 || begin > steps);
    int64_t k = begin;
    for (bool on = true; on && k < steps; k++)
      for (int64_t loop = 0; loop < BORDERS; loop++) {
        for (int64_t u = UNITS * part.member / part.members; u < UNITS * (part.member + 1) / part.members; u++)
          loop ? mix(sum, state, k, u) : mix(state, sum, k, u);
        if (slow && part.member) std::this_thread::sleep_for(std::chrono::milliseconds(4));
        if (team) on = team->meet(part, loop + 1 == BORDERS);
      }
    if (team) team->leave(part);
    return begin < k ? k - begin : 0;
  }
};

std::vector<uint64_t> alone(int64_t steps) {
  Work work;
  work.run(nullptr, steps);
  return work.state;
}

// Members that come when they come, late ones by so many microseconds more than the one before.
void threads_that_come(int32_t members, int32_t first, int64_t steps, int64_t late) {
  gatecell::Team team(first);
  Work work;
  std::vector<std::thread> threads;
  std::atomic<int64_t> taken{0};
  for (int32_t m = 0; m < members; m++)
    threads.emplace_back([&, m] {
      std::this_thread::sleep_for(std::chrono::microseconds(late * m));
      taken += work.run(&team, steps);
    });
  for (std::thread &t : threads) t.join();
  assert(work.state == alone(steps));
  assert(taken >= steps && taken <= members * steps);
}

// Who keeps the first waiting is sent away: the others' steps are far fewer than all.
void slow_members() {
  for (const int32_t members : {2, 3}) {
    gatecell::Team team(members);
    Work work;
    std::vector<std::thread> threads;
    std::atomic<int64_t> taken{0};
    for (int32_t m = 0; m < members; m++) threads.emplace_back([&] { taken += work.run(&team, 1000, true); });
    for (std::thread &t : threads) t.join();
    assert(work.state == alone(1000));
    assert(taken > 1000 && taken < 1000 + 100 * (members - 1));
  }
}

// All on one thread, as where a pool has no other: the first does everything, and the others come too late.
void one_after_the_other() {
  gatecell::Team team;
  Work work;
  assert(work.run(&team, 50) == 50);
  for (int k = 1; k < gatecell::Team::MOST; k++) assert(work.run(&team, 50) == 0);
  assert(work.state == alone(50));
}

void by_the_pool(int calls) {
  for (int call = 0; call < calls; call++) {
    gatecell::Team team;
    Work work;
    const int64_t steps = 1 + call * 13 % 200;
    const auto job = [&](int32_t) { work.run(&team, steps); };
    gatecell::share_out(2 + call % 3, std::ref(job));
    assert(work.state == alone(steps));
  }
}

}  // namespace

int main() {
  one_after_the_other();
  for (const int32_t members : {1, 2, 3, 5, 16}) {
    threads_that_come(members, members, 40, 0);
    threads_that_come(members, 1, 40, 0);
  }
  for (const int64_t late : {10, 100, 1000}) threads_that_come(4, 1, 1000, late);
  slow_members();
  by_the_pool(300);
  std::vector<std::thread> threads;  // each with a team of its own; the pool serves one at a time
  for (int k = 0; k < 4; k++) threads.emplace_back(by_the_pool, 50);
  for (std::thread &t : threads) t.join();
  std::puts("team: ok");
}
