// Decodes, checks and packs an integer step, and opens the door to running it.
//
// The code, every list preceded by its length: vectors (place, size, array of a parameter or -1); the output's vector;
// operands (vector, view); loops: size; accumulators: vector, sh, arrays of m and b; sources (operand, shift, array of the
// matrix, N rows of K); instructions (op, three registers, two immediates, vector).
#include "integer.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <new>

#include "dispatch.hpp"
#include "message.hpp"
#include "pool.hpp"

namespace gatecell {
namespace {

constexpr int64_t MOST = 1 << 24;
constexpr int64_t HALF = 32768;

class Builder {
 public:
  Builder(const int32_t *code, int64_t length, const gatecell_ints *arrays, int64_t count)
      : at_(code), end_(code + length), arrays_(arrays), count_(count) {}

  bool build(gatecell_integer &to) {
    to.vectors.resize(size(MOST_ARRAYS));
    for (IntVector &v : to.vectors) {
      v.place = static_cast<Place>(next(0, 5));
      v.size = next(1, MOST);
      const int32_t a = next(-1, count_);
      v.values = static_cast<int64_t>(to.halves.size());
      if (v.place != Place::parameter) continue;
      if (!is(a, v.size)) return false;
      for (int64_t u = 0; u < up(v.size); u++) to.halves.push_back(u < v.size ? half(arrays_[a].values[u]) : int16_t{0});
    }
    const auto n_vectors = static_cast<int64_t>(to.vectors.size());
    to.output = next(0, n_vectors);
    to.operands.resize(size(MOST_ARRAYS));
    for (Operand &o : to.operands) {
      o.vector = next(0, n_vectors);
      o.view = next(0, 2) != 0;
    }
    to.loops.resize(size(MOST_ARRAYS));
    for (IntLoop &loop : to.loops)
      if (!good_ || !read(to, loop)) return false;
    return good_ && at_ == end_ && n_vectors > 0 && to.vectors[static_cast<size_t>(to.output)].place == Place::state;
  }

 private:
  int32_t next(int64_t low, int64_t high) {
    if (at_ == end_ || *at_ < low || *at_ >= high) {
      good_ = false;
      return static_cast<int32_t>(low);
    }
    return *at_++;
  }
  int32_t any() {
    if (at_ == end_) good_ = false;
    return good_ ? *at_++ : 0;
  }
  size_t size(int64_t most) { return static_cast<size_t>(next(0, most + 1)); }
  static int64_t up(int64_t n) { return (n + 15) / 16 * 16; }
  bool is(int32_t a, int64_t length) {
    good_ = good_ && a >= 0 && arrays_[a].length == length;
    return good_;
  }
  int16_t half(int32_t v) {
    good_ = good_ && v >= -HALF && v < HALF;
    return static_cast<int16_t>(v);
  }
  int64_t words(gatecell_integer &to, int64_t n) {
    const int32_t a = next(0, count_);
    const auto begin = static_cast<int64_t>(to.words.size());
    if (!is(a, n)) return 0;
    for (int64_t u = 0; u < up(n); u++) to.words.push_back(u < n ? arrays_[a].values[u] : 0);
    return begin;
  }

  bool read(gatecell_integer &to, IntLoop &loop) {
    const auto n_vectors = static_cast<int64_t>(to.vectors.size());
    const auto fits = [&](int32_t v) { return to.vectors[static_cast<size_t>(v)].size == loop.size; };
    loop.size = next(1, MOST);
    loop.accumulators.resize(size(MOST_ACCUMULATORS));
    for (IntAccumulator &a : loop.accumulators) {
      a.vector = next(0, n_vectors);
      if (!fits(a.vector) || to.vectors[static_cast<size_t>(a.vector)].place != Place::accumulator) return false;
      a.sh = next(1, 31);
      a.m = words(to, loop.size);
      a.b = words(to, loop.size);
      a.sources.resize(size(MOST_SEGMENTS));
      for (IntSource &s : a.sources) {
        s.operand = next(0, static_cast<int64_t>(to.operands.size()));
        s.shift = next(0, 31);
        if (!good_ || !pack(to, s, loop.size)) return false;
      }
    }
    loop.points.resize(size(MOST_REGISTERS));
    int32_t k = 0;
    for (IntInstr &i : loop.points) {
      i.op = static_cast<IntOp>(next(0, static_cast<int64_t>(IntOp::count)));
      for (int32_t *r : {&i.a, &i.b, &i.c}) *r = next(0, std::max(k, 1));
      i.n0 = any();
      i.n1 = any();
      const bool shifts = i.op >= IntOp::lerp && i.op <= IntOp::round;
      if (shifts && (i.n0 < 0 || i.n0 > 30)) return false;
      i.vector = next(-1, n_vectors);
      const bool moves = i.op == IntOp::read || i.op == IntOp::write;
      if (moves && (i.vector < 0 || !fits(i.vector))) return false;
      if (i.op == IntOp::write) {
        const Place p = to.vectors[static_cast<size_t>(i.vector)].place;
        if (p != Place::state && p != Place::temp) return false;
      }
      k++;
    }
    return good_;
  }

  // Panels of 16 units; in a panel, for each pair of k, the units' pairs of weights side by side.
  bool pack(gatecell_integer &to, IntSource &s, int64_t n) {
    const int64_t k = to.vectors[static_cast<size_t>(to.operands[static_cast<size_t>(s.operand)].vector)].size, pairs = (k + 1) / 2;
    const int32_t a = next(0, count_);
    if (!is(a, n * k)) return false;
    s.weights = static_cast<int64_t>(to.halves.size());
    to.halves.resize(to.halves.size() + static_cast<size_t>(up(n) * pairs * 2), 0);
    int16_t *at = to.halves.data() + s.weights;
    for (int64_t u = 0; u < n; u++)
      for (int64_t i = 0; i < k; i++) at[((u / 16 * pairs + i / 2) * 16 + u % 16) * 2 + i % 2] = half(arrays_[a].values[u * k + i]);
    return good_;
  }

  const int32_t *at_, *end_;
  const gatecell_ints *arrays_;
  int64_t count_;
  bool good_ = true;
};

}  // namespace
}  // namespace gatecell

using namespace gatecell;

gatecell_status gatecell_integer_new(const int32_t *code, int64_t length, const gatecell_ints *arrays, int64_t count, const int32_t *table,
                                     int64_t entries, gatecell_integer **out) try {
  if ((!code && length) || length < 0 || (!arrays && count) || count < 0 || !table || entries != GATECELL_TABLE || !out)
    return fail(GATECELL_BAD_ARGUMENT, "an integer step wants its code, its arrays and a table of 514 entries");
  auto *step = new gatecell_integer;
  bool good = Builder(code, length, arrays, count).build(*step);
  for (int64_t n = 0; n + 1 < entries; n++) {
    good = good && table[n] >= 0 && table[n] < HALF && table[n + 1] >= 0 && table[n + 1] < HALF;
    step->table.push_back(static_cast<int32_t>(static_cast<uint32_t>(table[n]) | static_cast<uint32_t>(table[n + 1]) << 16));
  }
  if (!good) {
    delete step;
    return fail(GATECELL_BAD_PLAN, "the integer step is damaged: an index or a value is out of range, or it is cut short");
  }
  *out = step;
  return GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for an integer step");
}

void gatecell_integer_free(gatecell_integer *step) { delete step; }

gatecell_status gatecell_integer_run(const gatecell_integer *step, int64_t T, int64_t B, const int16_t *x, int16_t *const *states,
                                     int16_t *y, int32_t threads) try {
  if (!step || T < 0 || B < 0 || !x || !states || !y || threads < 1)
    return fail(GATECELL_BAD_ARGUMENT, "an integer run wants a step, x, states, y and T, B >= 0");
  const Kernels *k = kernels();
  if (!k) return GATECELL_NO_CPU;
  if (T == 0 || B == 0) return GATECELL_OK;
  const double work = static_cast<double>(step->halves.size()) * static_cast<double>(T) * static_cast<double>(B);  // multiply-adds, nearly
  const int32_t shares = shares_for(threads, (B + TILE_ROWS - 1) / TILE_ROWS, work);
  std::atomic<bool> starved{false};
  const auto share_of = [&](int32_t share) {
    IntRun job{step, T, B, B * share / shares, B * (share + 1) / shares, x, states, y, nullptr};
    job.scratch = thread_scratch(integer_bytes(job));
    if (!job.scratch)
      starved = true;
    else
      k->integer(job);
  };
  share_out(shares, std::ref(share_of));  // by reference: a std::function of its own would allocate
  return starved ? fail(GATECELL_NO_MEMORY, "no memory for an integer run's scratch") : GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for an integer run");
}
