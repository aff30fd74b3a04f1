// Threads that share the units of one run, which meet at borders.  Not here: where threads come from (pool.hpp), what they compute (run.inl).
//
// No member waits for a thread that has not begun: the first to come begins alone, and takes in whoever has come since when a step ends.
// Where others keep it waiting, since the system gives their cores to somebody else, it goes on alone again.
#pragma once
#include <atomic>
#include <cstdint>

namespace gatecell {

// A thread's place in a team, by its own account: number `member` of `members`, at this border.
struct Part {
  int64_t member = 0, members = 1, border = 0;
  int64_t late = 0;  // what the first has waited for others lately
};

class Team {
 public:
  static constexpr int32_t MOST = 16;  // members: each of them looks at all the others' flags

  // Begins when so many have come; more than the first are for tests.
  explicit Team(int32_t first = 1) : first_(first) {}
  // Called by each of MOST threads at most, once: sets its part, which begins at part.border.  That may be beyond all work.
  void join(Part &part);
  // Goes on when all members have come to this border: what they wrote before is seen behind it.  `open`: newcomers may begin here, and
  // others be dismissed.  Whether this one goes on.
  bool meet(Part &part, bool open);
  // Behind the last border: who comes from now on comes too late.
  void leave(const Part &part);

 private:
  void settle(Part &part) const;

  static constexpr int64_t UNSAID = INT64_MAX, NEVER = INT64_MAX - 1;
  static constexpr int32_t CLOSED = 1 << 20;  // more than come
  struct alignas(64) Flag {
    std::atomic<int64_t> border{-1};
  };
  struct Since {
    std::atomic<int64_t> border{UNSAID};
  };
  Flag flag_[MOST];                     // of each member: the last border that it has come to
  alignas(64) Since since_[MOST];       // the border where it begins, said by the first
  std::atomic<int64_t> until_{UNSAID};  // the border where all others end, said by the first
  alignas(64) std::atomic<int32_t> come_{0};
  const int32_t first_;
};

}  // namespace gatecell
