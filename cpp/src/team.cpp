// Flags on cache lines of their own, written by one member each.  A border costs what a line takes from core to core.
#include "team.hpp"

#include <chrono>
#include <thread>

#include "pool.hpp"

namespace gatecell {
namespace {

using Clock = std::chrono::steady_clock;

// Members compute for as long as each other, so a wait is short, unless the system has taken the other's core: after some 50 us of
// looking, a thread gives its own away to whoever wants it, and later for a while.
constexpr int SPINS = 2000, YIELDS = 100;
constexpr std::chrono::microseconds NAP{50};
// A wait beyond that is a late one; one is forgiven for so many borders in time; and how many are borne.
constexpr std::chrono::microseconds LATE{500};
constexpr int64_t FORGIVEN = 64, BORNE = 2 * FORGIVEN;

// Whether it took long.
template <class F> bool wait_until(F ready) {
  for (int spins = 0; spins < SPINS; spins++) {
    if (ready()) return false;
    pause();
  }
  const Clock::time_point begin = Clock::now();
  for (int yields = 0; !ready(); yields++) {
    if (yields < YIELDS)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(NAP);
  }
  return Clock::now() - begin > LATE;
}

}  // namespace

void Team::join(Part &part) {
  part.member = come_.fetch_add(1, std::memory_order_acq_rel);
  if (part.member == 0) {
    wait_until([&] { return come_.load(std::memory_order_relaxed) >= first_; });
    part.border = -1;
    meet(part, true);
    return;
  }
  part.border = NEVER;
  if (part.member >= CLOSED) return;
  wait_until([&] { return (part.border = since_[part.member].border.load(std::memory_order_acquire)) != UNSAID; });
  if (part.border != NEVER) settle(part);
}

bool Team::meet(Part &part, bool open) {
  if (until_.load(std::memory_order_relaxed) <= part.border) return true;  // alone again
  part.border++;
  if (part.member == 0 && open) {
    if (part.late > BORNE) {
      leave(part);
      until_.store(part.border, std::memory_order_relaxed);
    } else {
      const int64_t come = come_.load(std::memory_order_relaxed);
      for (int64_t m = part.members; m < come; m++) since_[m].border.store(part.border, std::memory_order_release);
    }
  }
  flag_[part.member].border.store(part.border, std::memory_order_release);
  settle(part);
  if (until_.load(std::memory_order_relaxed) > part.border) return true;
  part.members = 1;
  return part.member == 0;
}

// The first member's flag tells that all is said about this border; who begins here has nothing behind him to wait for.
void Team::settle(Part &part) const {
  part.members = 1;
  bool late = false;
  for (int64_t m = 0; m < part.members; m++) {
    if (m == 0 || since_[m].border.load(std::memory_order_relaxed) < part.border)
      late |= wait_until([&] { return flag_[m].border.load(std::memory_order_acquire) >= part.border; });
    if (m + 1 == part.members && part.members < MOST && since_[m + 1].border.load(std::memory_order_relaxed) <= part.border) part.members++;
  }
  if (late)
    part.late += FORGIVEN;
  else if (part.late > 0)
    part.late--;
}

void Team::leave(const Part &part) {
  if (part.member || until_.load(std::memory_order_relaxed) <= part.border) return;
  const int64_t come = come_.exchange(CLOSED, std::memory_order_acq_rel);
  for (int64_t m = part.members; m < come; m++) since_[m].border.store(NEVER, std::memory_order_release);
}

}  // namespace gatecell
