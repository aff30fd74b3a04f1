// A small pool of threads.  Not here: what is worth more than one.
#pragma once
#include <cstdint>
#include <functional>

namespace gatecell {
// Calls job(0) ... job(shares - 1), each once, some on the calling thread; returns when all are done.  Threads are made at the first need,
// sleep soon after a call, and are made anew after a fork; a thread that wakes late finds its share done by another.  One call at a time uses
// them; another thread's call that comes meanwhile does all its shares itself.
void share_out(int32_t shares, const std::function<void(int32_t)> &job);

// How many shares are worth it: no more than there are parts, or threads beside those that are in the core already, and each of 4 million
// multiply-adds at least, tens of microseconds, which is what waking a thread may cost.
int32_t shares_for(int32_t threads, int64_t parts, double multiply_adds);

// A moment's rest between two looks at what another thread is to write.
void pause();
}  // namespace gatecell
