// The doors of the core: checks, shares, scratch.  Not here: kernels.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "checks.hpp"
#include "dispatch.hpp"
#include "message.hpp"
#include "plan.hpp"
#include "pool.hpp"

namespace gatecell {
namespace {

thread_local std::string message;

// Grows and stays, one per thread: a prepared run allocates only when it needs more than any before it.  A large one does not
// outlive the runs that need it: a smaller need gives it back.
class Scratch {
 public:
  ~Scratch() { std::free(at_); }
  void *get(int64_t bytes) {
    if (bytes > size_ || (size_ > LARGE && bytes < size_ / 4)) {
      std::free(at_);
      size_ = (bytes + 4095) / 4096 * 4096;
      at_ = std::aligned_alloc(64, static_cast<size_t>(size_));
      if (!at_) size_ = 0;
    }
    return at_;
  }

 private:
  static constexpr int64_t LARGE = int64_t{1} << 24;
  void *at_ = nullptr;
  int64_t size_ = 0;
};
thread_local Scratch scratch;

// A share of a run has so many rows at least: with fewer, weights are read from the cache as often, and nothing is gained.  Two such shares
// are better off with half the weights each, if a step is long enough to meet after it.
constexpr int64_t RUN_ROWS = 4;
// Where threads share a step's units, each has so many multiply-adds between two borders at least, some 0.6 us of one row: a border
// takes up to 0.5 us where cores are far from each other.
constexpr double BORDER_WORK = 32e3;
// And so many steps there are at least: who comes while one is computed begins with the next.
constexpr int64_t UNIT_STEPS = 8;

int64_t piece(int64_t bytes) { return (bytes + 63) / 64 * 64; }
int64_t up(int64_t n) { return (n + GATECELL_PAD - 1) / GATECELL_PAD * GATECELL_PAD; }
// How many shares a run over so many steps of rows has.
int32_t shares_of(const gatecell_layer &layer, int32_t threads, int64_t B, double steps) {
  return shares_for(threads, (B + RUN_ROWS - 1) / RUN_ROWS, layer.work * steps);
}
// How many threads share the units of a run over so many steps of rows: no more than there are cores, since each border waits for all.
int32_t members_of(const gatecell_layer &layer, int32_t threads, double steps, int64_t T) {
  if (T < UNIT_STEPS) return 1;
  int64_t panels = 0, borders = 0;
  for (size_t s = 0; s < layer.loops.size(); s++) {
    borders += borders_of(layer.plan->passes[s]);
    for (const PackedLoop &l : layer.loops[s]) panels = std::max(panels, (l.vectors + l.panel - 1) / l.panel);
  }
  static const auto cores = static_cast<int64_t>(std::thread::hardware_concurrency());
  const auto worth = static_cast<int64_t>(layer.work * steps / (static_cast<double>(T * std::max<int64_t>(borders, 1)) * BORDER_WORK));
  return shares_for(threads, std::min({panels, worth, cores, int64_t{Team::MOST}}), layer.work * steps);
}
// Bytes of a run that shares nothing, and the run laid out in them.
int64_t alone_bytes(const gatecell_layer &layer, int64_t steps, int64_t rows) {
  return common_bytes(layer, steps, rows) + scratch_bytes(layer, steps, rows);
}
void *lay_out_alone(Run job, void *memory) {
  job.common = memory;
  job.scratch = static_cast<char *>(memory) + common_bytes(*job.layer, job.steps, job.rows);
  return kernels()->lay_out[job.layer->type](job);
}
// All rows, by threads that share the units.  What they use in common and each one's own is the calling thread's memory.
gatecell_status run_by_units(const Run &whole, int32_t members) {
  const gatecell_layer &layer = *whole.layer;
  const int64_t common = common_bytes(layer, whole.steps, whole.rows), own = scratch_bytes(layer, whole.steps, whole.rows);
  auto *memory = static_cast<char *>(thread_scratch(common + members * own));
  if (!memory) return fail(GATECELL_NO_MEMORY, "no memory for a run's scratch");
  Team team;
  const auto share_of = [&](int32_t member) {
    Run share = whole;
    share.common = memory;
    share.scratch = memory + common + member * own;
    share.team = &team;
    kernels()->run[layer.type](kernels()->lay_out[layer.type](share));
  };
  share_out(members, std::ref(share_of));
  return GATECELL_OK;
}
// Whether every array of a run that is not the core's own is there.
bool complete(const gatecell_layer &layer, const gatecell_array *arrays) {
  return std::all_of(layer.plan->arrays.begin(), layer.plan->arrays.end(), [&](const ArrayInfo &a) {
    const bool own = a.kind == Kind::buffer || a.kind == Kind::row;
    return arrays++->data || own;
  });
}

}  // namespace

gatecell_status fail(gatecell_status status, const char *sentence) {
  try {
    message = sentence;
  } catch (const std::bad_alloc &) {
    message.clear();
  }
  return status;
}

void *thread_scratch(int64_t bytes) { return scratch.get(bytes); }

int64_t common_bytes(const gatecell_layer &layer, int64_t steps, int64_t rows) {
  const int64_t size = size_of(layer.type);
  int64_t bytes = 0;
  for (const ArrayInfo &a : layer.plan->arrays)
    if (a.kind == Kind::buffer) bytes += piece(rows * up(layer.sizes[static_cast<size_t>(a.axis)]) * size);
  for (size_t s = 0; s < layer.loops.size(); s++)
    for (size_t l = 0; l < layer.loops[s].size(); l++) {
      const PackedLoop &packed = layer.loops[s][l];
      const int64_t sums = layer.plan->passes[s].loops[l].accumulators * packed.vectors * 16;
      if (goes_ahead(packed, steps, rows)) bytes += piece(ROWS_AHEAD * sums * size);
    }
  return bytes;
}

int64_t scratch_bytes(const gatecell_layer &layer, int64_t steps, int64_t rows) {
  const int64_t size = size_of(layer.type), pointer = sizeof(void *);
  const auto arrays = static_cast<int64_t>(layer.plan->arrays.size());
  int64_t own = piece(RUNNER_BYTES) + piece(arrays * pointer) + arrays * piece(rows * pointer), tile = 0, loops = 0;
  for (const ArrayInfo &a : layer.plan->arrays)
    if (a.kind == Kind::row) own += piece(rows * size);
  for (size_t s = 0; s < layer.loops.size(); s++)
    for (size_t l = 0; l < layer.loops[s].size(); l++, loops++) {
      const Loop &loop = layer.plan->passes[s].loops[l];
      const PackedLoop &packed = layer.loops[s][l];
      if (goes_ahead(packed, steps, rows)) own += piece(packed.given * ROWS_AHEAD * pointer);
      const auto tables = static_cast<int64_t>(loop.arrays.size()) + loop.accumulators + loop.temporaries;
      const auto scalars = static_cast<int64_t>(loop.scalars.size());
      const int64_t width = widest_tile(packed) * 16;
      const int64_t columns = static_cast<int64_t>(loop.terms.size()) * width / 2;  // vectors of two units at least
      own += (tables + scalars) * piece(TILE_ROWS * pointer) + scalars * piece(width * size) + piece((tables + scalars) * REGISTER_BYTES) +
             piece(columns * COLUMN_BYTES);
      tile = std::max(tile, piece(tile_elements(loop, packed) * size));
    }
  return own + piece(loops * FRAME_BYTES) + tile;
}

}  // namespace gatecell

struct gatecell_stepper {
  gatecell_stepper(const gatecell_layer *of, int64_t B) : layer(of), rows(B) {}
  const gatecell_layer *layer;
  int64_t rows;
  std::vector<gatecell_array> arrays[2];
  gatecell::Scratch scratch[2];
  void *laid_out[2] = {};
};

using namespace gatecell;

const char *gatecell_message(void) { return message.c_str(); }

const char *gatecell_cpu(void) {
  const Kernels *k = kernels();
  return k ? k->name : nullptr;
}

gatecell_status gatecell_layer_run(const gatecell_layer *layer, int64_t T, int64_t B, const gatecell_array *arrays, int32_t threads) {
  return gatecell_layer_run_lengths(layer, T, B, arrays, nullptr, 0, threads);
}

gatecell_status gatecell_layer_run_lengths(const gatecell_layer *layer, int64_t T, int64_t B, const gatecell_array *arrays,
                                           const int64_t *lengths, int32_t late, int32_t threads) try {
  if (!layer || !arrays || T < 0 || B < 0 || threads < 1)
    return fail(GATECELL_BAD_ARGUMENT, "a run wants a layer, its arrays, T, B >= 0 and threads >= 1");
  if (!complete(*layer, arrays)) return fail(GATECELL_BAD_ARGUMENT, "a run wants every array of its plan, got a null pointer");
  if (!good(lengths, T, B)) return fail(GATECELL_BAD_ARGUMENT, "a run wants lengths of 0 to T");
  const Kernels *k = kernels();
  if (!k) return GATECELL_NO_CPU;
  if (T == 0 || B == 0) return GATECELL_OK;
  const double steps = lengths ? std::accumulate(lengths, lengths + B, 0.0) : static_cast<double>(T) * static_cast<double>(B);
  const int32_t members = B < 2 * RUN_ROWS ? members_of(*layer, threads, steps, T) : 1;
  const int32_t shares = members > 1 ? 1 : shares_of(*layer, threads, B, steps);
  std::vector<int64_t> order;  // share by share, in each the longest first; the longest go to the shares in turn
  if (lengths) {
    std::vector<int64_t> sorted(static_cast<size_t>(B));
    std::iota(sorted.begin(), sorted.end(), 0);
    std::stable_sort(sorted.begin(), sorted.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
    for (int32_t share = 0; share < shares; share++)
      for (int64_t m = share; m < B; m += shares) order.push_back(sorted[static_cast<size_t>(m)]);
  }
  if (members > 1)
    return run_by_units({layer, arrays, T, B, 0, lengths ? order.data() : nullptr, lengths, late != 0, false, nullptr, nullptr}, members);
  std::atomic<bool> starved{false};
  const auto share_of = [&](int32_t share) {
    // With lengths share s has the rows s, s + shares, ... of the sorted ones, so the first shares may have one more.
    const int64_t first = lengths ? B / shares * share + std::min<int64_t>(share, B % shares) : B * share / shares;
    const int64_t rows = lengths ? B / shares + (share < B % shares) : B * (share + 1) / shares - first;
    void *memory = thread_scratch(alone_bytes(*layer, T, rows));
    if (!memory) {
      starved = true;
      return;
    }
    const int64_t *const own = lengths ? order.data() + first : nullptr;
    k->run[layer->type](lay_out_alone({layer, arrays, T, rows, first, own, lengths, late != 0, false, nullptr, nullptr}, memory));
  };
  share_out(shares, std::ref(share_of));  // by reference: a std::function of its own would allocate
  return starved ? fail(GATECELL_NO_MEMORY, "no memory for a run's scratch") : GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for a run");
}

gatecell_status gatecell_stepper_new(const gatecell_layer *layer, int64_t B, const gatecell_array *even, const gatecell_array *odd,
                                     gatecell_stepper **out) try {
  if (!layer || B < 1 || !even || !odd || !out) return fail(GATECELL_BAD_ARGUMENT, "a stepper wants a layer, its arrays and B >= 1");
  if (!complete(*layer, even) || !complete(*layer, odd))
    return fail(GATECELL_BAD_ARGUMENT, "a stepper wants every array of its plan, got a null pointer");
  if (!kernels()) return GATECELL_NO_CPU;
  auto stepper = std::make_unique<gatecell_stepper>(layer, B);
  const auto count = static_cast<ptrdiff_t>(layer->plan->arrays.size());
  for (const bool turn : {false, true}) {
    const gatecell_array *arrays = turn ? odd : even;
    stepper->arrays[turn].assign(arrays, arrays + count);
    void *memory = stepper->scratch[turn].get(alone_bytes(*layer, 1, B));
    if (!memory) return fail(GATECELL_NO_MEMORY, "no memory for a stepper");
    stepper->laid_out[turn] =
        lay_out_alone({layer, stepper->arrays[turn].data(), 1, B, 0, nullptr, nullptr, false, turn, nullptr, nullptr}, memory);
  }
  *out = stepper.release();
  return GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for a stepper");
}

void gatecell_stepper_free(gatecell_stepper *stepper) { delete stepper; }

gatecell_status gatecell_stepper_run(gatecell_stepper *stepper, int32_t turn, int32_t threads) {
  if (!stepper || threads < 1) return fail(GATECELL_BAD_ARGUMENT, "a step wants a stepper and threads >= 1");
  const gatecell_layer *layer = stepper->layer;
  if (shares_of(*layer, threads, stepper->rows, static_cast<double>(stepper->rows)) > 1)
    return gatecell_layer_run(layer, 1, stepper->rows, stepper->arrays[turn & 1].data(), threads);
  kernels()->run[layer->type](stepper->laid_out[turn & 1]);
  return GATECELL_OK;
}

gatecell_status gatecell_function(const char *name, gatecell_type type, int64_t n, const void *x, void *y) {
  const int32_t op = name ? operation(name) : -1;
  if (op < 0 || !is_type(type) || n < 0 || !x || !y)
    return fail(GATECELL_BAD_ARGUMENT, "wants the name of one of the core's functions of one argument");
  const Kernels *k = kernels();
  if (!k) return GATECELL_NO_CPU;
  k->function[type](op, n, x, y);
  return GATECELL_OK;
}

double gatecell_peak(void) {
  const Kernels *k = kernels();
  return k ? k->peak() : 0.0;
}
