// Decodes and checks an integer step, and opens the door to running it.
//
// The code, every list preceded by its length: vectors (place, size, array of a parameter or -1); the output's vector;
// operands (vector; 0 as it is, 1 its view, 2 as it is and within int8); loops: size; accumulators: vector, sh, arrays of m and b;
// sources (operand, shift, array of the matrix, N rows of K); instructions (op, three registers, two immediates, vector, width
// of the value: 0 beyond int16, 1 inside, 2 inside and never -32768).
#include "integer.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <new>

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
    int64_t inputs = 0;
    for (IntVector &v : to.vectors) {
      v = {static_cast<Place>(next(0, 5)), next(1, MOST + 1), static_cast<int64_t>(to.parameters.size()), false};
      const int32_t a = next(-1, count_);
      if (v.place == Place::input) to.input = static_cast<int32_t>(&v - to.vectors.data()), inputs++;
      if (v.place != Place::parameter) continue;
      if (!is(a, v.size, -HALF, HALF)) return false;
      to.parameters.resize(to.parameters.size() + static_cast<size_t>(padded(to, v.size)), 0);
      std::copy_n(arrays_[a].values, v.size, to.parameters.begin() + v.values);
    }
    to.output = vector(to);
    to.operands.resize(size(MOST_ARRAYS));
    for (IntOperand &o : to.operands) {
      o = {vector(to), false, true, 1, 0};
      const int32_t kind = next(0, 3);
      o.view = kind == 1;
      o.planes = kind == 0 ? 2 : 1;
      if (good_ && place(to, o.vector) > Place::temp) return false;
    }
    to.loops.resize(size(MOST_ARRAYS));
    for (IntLoop &loop : to.loops)
      if (!good_ || !read(to, loop)) return false;
    if (!good_ || at_ != end_ || inputs != 1 || place(to, to.output) != Place::state) return false;
    for (IntOperand &o : to.operands) {  // what cannot be bytes here is int16
      o.bytes = o.bytes && to.traits.bytes && (o.planes == 1 || to.traits.planes);
      if (!o.bytes) o.planes = 1;
      o.row = padded(to, to.vectors[static_cast<size_t>(o.vector)].size) * (o.bytes ? 1 : 2);
    }
    for (IntLoop &loop : to.loops) {
      pack(to, loop, arrays_);
      to.slots += static_cast<int64_t>(loop.slots.size());
      for (const IntPass &pass : loop.passes) to.segments += static_cast<int64_t>(pass.segments.size());
    }
    return true;
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
  int32_t vector(const gatecell_integer &to) { return next(0, static_cast<int64_t>(to.vectors.size())); }
  static Place place(const gatecell_integer &to, int32_t v) { return to.vectors[static_cast<size_t>(v)].place; }
  // Whether array `a` has so many values, all in [low, high).
  bool is(int32_t a, int64_t length, int64_t low, int64_t high) {
    good_ = good_ && a >= 0 && arrays_[a].length == length &&
            std::all_of(arrays_[a].values, arrays_[a].values + length, [&](int32_t v) { return low <= v && v < high; });
    return good_;
  }

  bool read(gatecell_integer &to, IntLoop &loop) {
    if (to.vectors.empty()) return false;
    loop.size = next(1, MOST + 1);
    const auto fits = [&](int32_t v) { return to.vectors[static_cast<size_t>(v)].size == loop.size; };
    loop.accumulators.resize(size(MOST_ACCUMULATORS));
    for (IntAccumulator &a : loop.accumulators) {
      a.vector = vector(to);
      if (!fits(a.vector) || place(to, a.vector) != Place::accumulator) return false;
      loop.sh.push_back(next(1, 31));
      a.m = next(0, count_);
      a.b = next(0, count_);
      if (!is(a.m, loop.size, 1, HALF) || !is(a.b, loop.size, INT32_MIN, int64_t{1} << 31)) return false;
      a.sources.resize(size(MOST_SEGMENTS));
      for (IntSource &s : a.sources) {
        s = {next(0, static_cast<int64_t>(to.operands.size())), next(0, 31), next(0, count_)};
        if (!good_ || !multiplies(to, s, loop.size)) return false;
      }
      if (!good_ || a.sources.empty()) return false;
    }
    loop.points.resize(size(MOST_REGISTERS));
    int32_t k = 0;
    for (IntInstr &i : loop.points) {
      i = {static_cast<IntOp>(next(0, static_cast<int64_t>(IntOp::count))), 0, 0, 0, 0, 0, 0, false, false};
      for (int32_t *r : {&i.a, &i.b, &i.c}) *r = next(0, std::max(k, 1));
      i.n0 = any();
      i.n1 = any();
      const bool shifts = i.op >= IntOp::lerp && i.op <= IntOp::round;
      if (shifts && (i.n0 < 0 || i.n0 > 30)) return false;
      const int32_t v = next(-1, static_cast<int64_t>(to.vectors.size()));
      i.width = next(0, 3);
      if ((i.op == IntOp::read || i.op == IntOp::write) && (v < 0 || !fits(v) || !reach(to, loop, i, v))) return false;
      loop.immediates.insert(loop.immediates.end(), {i.n0, i.n1});
      k++;
    }
    find(loop);
    return good_;
  }

  // A matrix of N rows for an operand; what is beyond int8, or shifted too far for a byte more, makes its operand one of int16.
  bool multiplies(gatecell_integer &to, const IntSource &s, int64_t n) {
    IntOperand &o = to.operands[static_cast<size_t>(s.operand)];
    const gatecell_ints &w = arrays_[s.array];
    if (!is(s.array, n * to.vectors[static_cast<size_t>(o.vector)].size, 1 - HALF, HALF)) return false;
    const bool int8 = std::all_of(w.values, w.values + w.length, [](int32_t v) { return -127 <= v && v <= 127; });
    o.bytes = o.bytes && int8 && (o.planes == 1 || s.shift < 24);
    return true;
  }

  // The place of a read or write: an accumulator of this loop, or a slot.
  bool reach(gatecell_integer &to, IntLoop &loop, IntInstr &i, int32_t v) {
    const bool writes = i.op == IntOp::write;
    const Place p = place(to, v);
    if (p == Place::accumulator) {
      const auto a =
          std::find_if(loop.accumulators.begin(), loop.accumulators.end(), [&](const IntAccumulator &c) { return c.vector == v; });
      i.at = static_cast<int32_t>(a - loop.accumulators.begin());
      i.sum = true;
      return !writes && a != loop.accumulators.end();
    }
    if (writes && p != Place::state && p != Place::temp) return false;
    to.vectors[static_cast<size_t>(v)].read |= !writes;
    const auto s = std::find_if(loop.slots.begin(), loop.slots.end(), [&](const IntSlot &c) { return c.vector == v && c.write == writes; });
    i.at = static_cast<int32_t>(s - loop.slots.begin());
    if (s != loop.slots.end()) return true;
    loop.slots.push_back({v, writes});
    return true;
  }

  // The compiled step with these instructions; algebra/points.py computes the same key.
  static void find(IntLoop &loop) {
    uint64_t h = 0xcbf29ce484222325ull;
    const auto add = [&](int64_t word) {
      for (int shift = 0; shift < 32; shift += 8) h = (h ^ (static_cast<uint64_t>(word) >> shift & 0xffu)) * 0x100000001b3ull;
    };
    add(static_cast<int64_t>(loop.accumulators.size()));
    for (const IntInstr &i : loop.points) {
      const bool shifts = i.op >= IntOp::lerp && i.op <= IntOp::round, narrow = -HALF <= i.n0 && i.n1 < HALF;
      const int64_t kind = shifts                              ? (i.n0 == 0    ? 0
                                                                  : i.n0 < 15  ? 1
                                                                  : i.n0 == 15 ? 2
                                                                               : 3)
                           : i.op != IntOp::clamp              ? 0
                           : i.n0 == -HALF && i.n1 == HALF - 1 ? 1
                           : narrow && i.n0 <= i.n1            ? 2
                                                               : 3;
      for (const int64_t word :
           {static_cast<int64_t>(i.op), int64_t{i.a}, int64_t{i.b}, int64_t{i.c}, kind, int64_t{i.sum}, int64_t{i.at}, int64_t{i.width}})
        add(word);
    }
    loop.step = find_integer_step(h);
  }

  const int32_t *at_, *end_;
  const gatecell_ints *arrays_;
  int64_t count_;
  bool good_ = true;
};

// Entry n in all forms; false: a form has no room for it.
template <int32_t SIZE> bool set_chord(Chords<SIZE> &to, int32_t n, int32_t value, int32_t rise) {
  if (n >= 255 && value >> 8 != to.value[254] >> 8) return false;
  if (n >= 128 && rise >> 8) return false;
  if (n >= SIZE) return true;
  to.value[n] = static_cast<uint16_t>(value);
  to.rise[n] = static_cast<uint16_t>(rise);
  to.pair[n] = static_cast<uint32_t>(value) + static_cast<uint32_t>(rise) * 65536u;
  if (n < 256) {
    to.value_low[n] = static_cast<uint8_t>(value);
    to.value_high[n] = static_cast<uint8_t>(value >> 8);
    to.rise_low[n] = static_cast<uint8_t>(rise);
  }
  if (n >= 255 && n < 383) {
    to.value_tail[n - 255] = static_cast<uint8_t>(value);
    to.rise_tail[n - 255] = static_cast<uint8_t>(rise);
  }
  if (n < 128) to.rise_high[n] = static_cast<uint8_t>(rise >> 8);
  return true;
}

// False: no tanh, steps too long for 16 bits, or not flat at its end.
bool set_table(IntTable &to, const int32_t *table) {
  for (int32_t n = 0; n + 1 < GATECELL_TABLE; n++) {
    const int32_t value = table[n], rise = table[n + 1] - value;
    if (value < 0 || value >= HALF || rise < 0 || rise > 512 || value + rise >= HALF || (n >= TANH_END && rise)) return false;
    if (!set_chord(to.tanh, n, 2 * value, 2 * rise) || !set_chord(to.sigmoid, n, static_cast<int32_t>(HALF) + value, rise)) return false;
  }
  return true;
}

int32_t shares_of(const gatecell_integer &step, int32_t threads, int64_t B, int64_t T) {
  // Four multiply-adds of bytes take the time of one of float32.
  const double work = step.work / 4 * static_cast<double>(T) * static_cast<double>(B);
  return shares_for(threads, (B + TILE_ROWS - 1) / TILE_ROWS, work);
}

}  // namespace
}  // namespace gatecell

struct gatecell_integer_stepper {
  const gatecell_integer *step = nullptr;
  gatecell::IntLayout layout;
  gatecell::Lines<uint8_t> memory;
  gatecell::IntRun job;
  const void *laid_out = nullptr;
  bool apart = false;  // whether the last step's shares have written the states
};

using namespace gatecell;

namespace {

// A step that is worth several threads, each with rows of its own: their states are side by side without gaps.
gatecell_status step_by_shares(gatecell_integer_stepper &stepper, int32_t turn, int32_t threads) {
  const IntRun &job = stepper.job;
  std::vector<std::vector<int16_t>> states;
  std::vector<int16_t *> places;
  const auto each_row = [&](int32_t of, auto f) {
    int64_t row = 0;
    for (size_t s = 0; s < states.size(); s++) {
      int16_t *const at = gatecell_integer_stepper_state(&stepper, static_cast<int32_t>(s), of, &row);
      const auto n = static_cast<int64_t>(states[s].size()) / job.batch;
      for (int64_t b = 0; b < job.batch; b++) f(at + b * row, places[s] + b * n, n);
    }
  };
  for (const IntVector &v : job.step->vectors)
    if (v.place == Place::state) places.push_back(states.emplace_back(static_cast<size_t>(job.batch * v.size)).data());
  each_row(turn, [](const int16_t *own, int16_t *to, int64_t n) { std::copy_n(own, n, to); });
  const gatecell_status status = gatecell_integer_run(job.step, 1, job.batch, job.x, places.data(), job.y, threads);
  if (status != GATECELL_OK) return status;
  each_row(!(turn & 1), [](int16_t *own, const int16_t *from, int64_t n) { std::copy_n(from, n, own); });
  stepper.apart = true;
  return GATECELL_OK;
}

}  // namespace

gatecell_status gatecell_integer_new(const int32_t *code, int64_t length, const gatecell_ints *arrays, int64_t count, const int32_t *table,
                                     int64_t entries, int32_t interpret, gatecell_integer **out) try {
  if ((!code && length) || length < 0 || (!arrays && count) || count < 0 || !table || entries != GATECELL_TABLE || !out)
    return fail(GATECELL_BAD_ARGUMENT, "an integer step wants its code, its arrays and a table of 514 entries");
  const Kernels *k = kernels();
  if (!k) return GATECELL_NO_CPU;
  auto step = std::make_unique<gatecell_integer>();
  step->traits = k->integers.traits;
  if (!Builder(code, length, arrays, count).build(*step) || !set_table(step->table, table))
    return fail(GATECELL_BAD_PLAN, "the integer step is damaged: an index or a value is out of range, or it is cut short");
  for (IntLoop &loop : step->loops)
    if (interpret) loop.step = -1;
  *out = step.release();
  return GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for an integer step");
}

void gatecell_integer_free(gatecell_integer *step) { delete step; }

void gatecell_integer_steps(const gatecell_integer *step, int32_t *compiled, int32_t *loops) {
  *compiled = *loops = 0;
  for (const IntLoop &loop : step->loops) {
    ++*loops;
    *compiled += loop.step >= 0;
  }
}

int32_t gatecell_integer_sizes(const gatecell_integer *step, int64_t *inputs, int64_t *outputs, int64_t *states) {
  *inputs = step->vectors[static_cast<size_t>(step->input)].size;
  *outputs = step->vectors[static_cast<size_t>(step->output)].size;
  int32_t count = 0;
  for (const IntVector &v : step->vectors) {
    if (v.place != Place::state) continue;
    if (states) states[count] = v.size;
    count++;
  }
  return count;
}

gatecell_status gatecell_integer_run(const gatecell_integer *step, int64_t T, int64_t B, const int16_t *x, int16_t *const *states,
                                     int16_t *y, int32_t threads) try {
  if (!step || T < 0 || B < 0 || !x || !states || !y || threads < 1)
    return fail(GATECELL_BAD_ARGUMENT, "an integer run wants a step, x, states, y, T, B >= 0 and threads >= 1");
  const Kernels *k = kernels();
  if (!k) return GATECELL_NO_CPU;
  if (T == 0 || B == 0) return GATECELL_OK;
  const int32_t shares = shares_of(*step, threads, B, T);
  std::atomic<bool> starved{false};
  const auto share_of = [&](int32_t share) {
    IntRun job{step, T, B, B * share / shares, B * (share + 1) / shares, x, states, y, nullptr, nullptr};
    const IntLayout layout = lay_out(*step, job.last - job.first);
    job.layout = &layout;
    job.scratch = thread_scratch(layout.bytes);
    if (job.scratch)
      k->integers.run(job);
    else
      starved = true;
  };
  if (shares == 1)
    share_of(0);  // what sharing out costs is a tenth of a small step
  else
    share_out(shares, std::ref(share_of));  // by reference: a std::function of its own would allocate
  return starved ? fail(GATECELL_NO_MEMORY, "no memory for an integer run's scratch") : GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for an integer run");
}

gatecell_status gatecell_integer_stepper_new(const gatecell_integer *step, int64_t B, const int16_t *x, int16_t *y,
                                             gatecell_integer_stepper **out) try {
  if (!step || B < 1 || !x || !y || !out) return fail(GATECELL_BAD_ARGUMENT, "an integer stepper wants a step, B >= 1, x and y");
  const Kernels *k = kernels();
  if (!k) return GATECELL_NO_CPU;
  auto made = std::make_unique<gatecell_integer_stepper>();
  made->step = step;
  made->layout = lay_out(*step, B);
  made->memory.assign(static_cast<size_t>(made->layout.bytes), 0);
  made->job = {step, 2, B, 0, B, x, nullptr, y, made->memory.data(), &made->layout};
  made->laid_out = k->integers.lay_out(made->job);
  *out = made.release();
  return GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for an integer stepper");
}

void gatecell_integer_stepper_free(gatecell_integer_stepper *stepper) { delete stepper; }

int16_t *gatecell_integer_stepper_state(gatecell_integer_stepper *stepper, int32_t state, int32_t turn, int64_t *row) {
  const auto &vectors = stepper->step->vectors;
  size_t v = 0;
  while (vectors[v].place != Place::state || state--) v++;
  *row = padded(*stepper->step, vectors[v].size);
  return reinterpret_cast<int16_t *>(stepper->memory.data() + (turn & 1 ? stepper->layout.fresh : stepper->layout.rows)[v]);
}

gatecell_status gatecell_integer_stepper_run(gatecell_integer_stepper *stepper, int32_t turn, int32_t changed, int32_t threads) try {
  if (!stepper || threads < 1) return fail(GATECELL_BAD_ARGUMENT, "an integer step wants a stepper and threads >= 1");
  const IntRun &job = stepper->job;
  if (shares_of(*job.step, threads, job.batch, 1) > 1) return step_by_shares(*stepper, turn, threads);
  kernels()->integers.step(stepper->laid_out, turn & 1, changed || stepper->apart);
  stepper->apart = false;
  return GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for an integer step");
}

gatecell_status gatecell_quantize(int64_t rows, int64_t N, const float *x, const float *offset, const float *scale, int32_t largest,
                                  int16_t *q, int32_t *nan) {
  if (rows < 0 || N < 1 || !x || !offset || !scale || largest < 1 || largest > 32767 || !q || !nan)
    return fail(GATECELL_BAD_ARGUMENT, "quantising wants x, offset, scale, q, rows >= 0, N >= 1 and a largest integer in 1..32767");
  const Kernels *k = kernels();
  if (!k) return GATECELL_NO_CPU;
  *nan = k->integers.quantize(rows, N, x, offset, scale, largest, q);
  return GATECELL_OK;
}

gatecell_status gatecell_dequantize(int64_t rows, int64_t N, const int16_t *q, const float *scale, float *y) {
  if (rows < 0 || N < 1 || !q || !scale || !y) return fail(GATECELL_BAD_ARGUMENT, "dequantising wants q, scale, y, rows >= 0 and N >= 1");
  const Kernels *k = kernels();
  if (!k) return GATECELL_NO_CPU;
  k->integers.dequantize(rows, N, q, scale, y);
  return GATECELL_OK;
}
