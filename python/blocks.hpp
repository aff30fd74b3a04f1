// Memory of large arrays: blocks that are mapped, kept for the next array of about their size, and counted.  Not here: Python.
//
// The system hands out fresh pages, and filling in those costs a training step a quarter of its time; so what an array leaves waits for
// the next one.  What waits never adds to the most that was in use at once: as long as that is not reached, a process is not larger for it.
// One thread at a time (the GIL's).
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <vector>

class Blocks {
 public:
  static constexpr size_t LARGE = size_t{1} << 18;  // smaller ones are malloc's, uncounted
  static constexpr size_t LIMIT = size_t{1} << 28;  // of what waits; the oldest leave first

  struct Block {
    void *data;
    size_t size;
  };

  Blocks() { waiting_.reserve(LIMIT / LARGE + 1); }

  // At least `bytes`, at a page's beginning; data is null: no memory.
  Block take(size_t bytes) {
    for (auto b = waiting_.rbegin(); b != waiting_.rend(); ++b)
      if (b->size >= bytes && b->size - bytes <= bytes / 8) {
        const Block found = *b;
        waiting_.erase(std::next(b).base());
        idle_ -= found.size;
        use(found.size);
        return found;
      }
    const size_t size = (bytes + 4095) / 4096 * 4096;
    use(size);
    trim();
    void *data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
      used_ -= size;
      return {nullptr, 0};
    }
    return {data, size};
  }
  void give(Block block) {
    used_ -= block.size;
    idle_ += block.size;
    waiting_.push_back(block);
    trim();
  }

  // Bytes of arrays that live, the most there were at once since `forget_most`, and of blocks that wait.
  size_t used() const { return used_; }
  size_t most() const { return most_; }
  size_t idle() const { return idle_; }
  void forget_most() {
    most_ = used_;
    trim();
  }

 private:
  void use(size_t size) {
    used_ += size;
    most_ = std::max(most_, used_);
  }
  void trim() {
    while (idle_ > LIMIT || (idle_ && used_ + idle_ > most_)) {
      munmap(waiting_.front().data, waiting_.front().size);
      idle_ -= waiting_.front().size;
      waiting_.erase(waiting_.begin());
    }
  }

  std::vector<Block> waiting_;  // the oldest first; never grows past what was reserved
  size_t used_ = 0, most_ = 0, idle_ = 0;
};
