// The doors of scans: checks, shares, scratch.  Not here: kernels.
#include "scan.hpp"

#include <algorithm>
#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <vector>

#include "checks.hpp"
#include "dispatch.hpp"
#include "message.hpp"
#include "pool.hpp"

namespace gatecell {
namespace {

struct Known {
  uint64_t key;
  ScanShape shape;
};
const Known KNOWN[] = {
#define SCAN(key, inputs, params, states, entries, folds) {key, {inputs, params, states, entries, folds}},
#include "scan_keys.inl"
#undef SCAN
};
constexpr int32_t COUNT = sizeof KNOWN / sizeof KNOWN[0];

int64_t up(int64_t n) { return (n + GATECELL_PAD - 1) / GATECELL_PAD * GATECELL_PAD; }
int64_t length(const char *axes) { return static_cast<int64_t>(std::strlen(axes)); }

// Elements of all of a group's arrays, of one row and block.
int64_t elements(const char *axes, int64_t N) {
  int64_t n = 0;
  for (; *axes; axes++) n += *axes == 'M' ? N * SCAN_LANES : *axes == 'H' ? SCAN_LANES : *axes == 'N' ? up(N) : int64_t{GATECELL_PAD};
  return n;
}

// Whether the sizes and arrays of a run are ones.
gatecell_status good_scan(int32_t scan, gatecell_type type, bool back, const gatecell_scan_sizes *sizes, const gatecell_array *arrays) {
  if (scan < 0 || scan >= COUNT || !is_type(type) || !sizes || sizes->T < 1 || sizes->B < 1 || sizes->heads < 1 || sizes->H < 1 ||
      sizes->N < 1 || sizes->every < (back ? 1 : 0) || !arrays)
    return fail(GATECELL_BAD_ARGUMENT, "a scan wants its number, a type, sizes >= 1 and its arrays");
  const ScanShape &s = KNOWN[scan].shape;
  const int64_t given = length(s.inputs) + length(s.params), states = length(s.states);
  const auto there = [](const gatecell_array &a) { return a.data != nullptr; };
  if (!std::all_of(arrays, arrays + given + (back ? 1 : 2 + (sizes->every > 0)) * states, there))
    return fail(GATECELL_BAD_ARGUMENT, "a scan wants its inputs, parameters, states and marks, got a null pointer");
  if (!back && !there(arrays[given + 3 * states])) return fail(GATECELL_BAD_ARGUMENT, "a scan wants a place for its output");
  return kernels() ? GATECELL_OK : GATECELL_NO_CPU;
}

ScanRun run_of(int32_t scan, const gatecell_scan_sizes &n, const gatecell_array *arrays) {
  const int64_t units = n.B * n.heads * gatecell_scan_blocks(n.H);
  return {&KNOWN[scan].shape, scan, n.T, n.B, n.heads, n.H, n.N, n.every, arrays, 0, units, nullptr};
}

// Bytes that a unit works in.
int64_t scan_scratch(const ScanRun &run, gatecell_type type, bool back) {
  const ScanShape &s = *run.shape;
  const int64_t slots = back ? run.every + 3 : 2;
  return size_of(type) * (2 * (elements(s.inputs, run.N) + elements(s.params, run.N)) + slots * elements(s.states, run.N) + 3 * SCAN_LANES +
                          (s.entries + 16 * s.folds) * up(run.N) + GATECELL_PAD);
}

int32_t scan_shares(const ScanRun &run, bool back, int32_t threads) {
  // An exponential and some ten other operations of each entry of each channel; backwards thrice that.
  const double entries = static_cast<double>(run.B * run.heads * run.H) * static_cast<double>(run.N);
  return shares_for(threads, run.last, static_cast<double>(run.T) * entries * (back ? 30 : 10));
}

gatecell_status run_scan(const ScanRun &run, gatecell_type type, bool back, int32_t threads) {
  const Kernels *k = kernels();
  const int64_t own = scan_scratch(run, type, back);
  const int32_t shares = scan_shares(run, back, threads);
  std::atomic<bool> starved{false};
  const auto share_of = [&](int32_t share) {
    ScanRun part = run;
    part.first = run.last * share / shares, part.last = run.last * (share + 1) / shares;
    part.scratch = thread_scratch(own);
    if (part.scratch)
      (back ? k->scan_backward : k->scan_forward)[type](part);
    else
      starved = true;
  };
  share_out(shares, std::ref(share_of));  // by reference: a std::function of its own would allocate
  return starved ? fail(GATECELL_NO_MEMORY, "no memory for a scan's scratch") : GATECELL_OK;
}

}  // namespace
}  // namespace gatecell

using namespace gatecell;

struct gatecell_scan_stepper {
  gatecell_type type;
  std::vector<gatecell_array> arrays[2];
  ScanRun run[2];
  std::vector<double> scratch;
};

int32_t gatecell_scan_find(uint64_t key) {
  for (int32_t i = 0; i < COUNT; i++)
    if (KNOWN[i].key == key) return i;
  return -1;
}

int64_t gatecell_scan_blocks(int64_t H) { return (H + SCAN_LANES - 1) / SCAN_LANES; }

gatecell_status gatecell_scan_forward(int32_t scan, gatecell_type type, const gatecell_scan_sizes *sizes, const gatecell_array *arrays,
                                      int32_t threads) {
  if (const gatecell_status bad = good_scan(scan, type, false, sizes, arrays)) return bad;
  return run_scan(run_of(scan, *sizes, arrays), type, false, threads);
}

gatecell_status gatecell_scan_backward(int32_t scan, gatecell_type type, const gatecell_scan_sizes *sizes, const gatecell_array *arrays,
                                       int32_t threads) {
  if (const gatecell_status bad = good_scan(scan, type, true, sizes, arrays)) return bad;
  return run_scan(run_of(scan, *sizes, arrays), type, true, threads);
}

gatecell_status gatecell_scan_stepper_new(int32_t scan, gatecell_type type, const gatecell_scan_sizes *sizes, const gatecell_array *even,
                                          const gatecell_array *odd, gatecell_scan_stepper **out) try {
  for (const gatecell_array *arrays : {even, odd})
    if (const gatecell_status bad = good_scan(scan, type, false, sizes, arrays)) return bad;
  if (!out || sizes->T != 1 || sizes->every) return fail(GATECELL_BAD_ARGUMENT, "a scan's stepper wants one step without marks");
  auto stepper = std::make_unique<gatecell_scan_stepper>();
  stepper->type = type;
  const ScanShape &s = KNOWN[scan].shape;
  const auto count = static_cast<ptrdiff_t>(length(s.inputs) + length(s.params) + 3 * length(s.states) + 1);
  for (const int turn : {0, 1}) {
    const gatecell_array *arrays = turn ? odd : even;
    stepper->arrays[turn].assign(arrays, arrays + count);
    stepper->run[turn] = run_of(scan, *sizes, stepper->arrays[turn].data());
  }
  stepper->scratch.resize(static_cast<size_t>(scan_scratch(stepper->run[0], type, false)) / sizeof(double) + 8);
  auto *const at = stepper->scratch.data();
  for (ScanRun &run : stepper->run) run.scratch = at + (64 - reinterpret_cast<uintptr_t>(at) % 64) / sizeof(double);
  *out = stepper.release();
  return GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for a scan's stepper");
}

void gatecell_scan_stepper_free(gatecell_scan_stepper *stepper) { delete stepper; }

gatecell_status gatecell_scan_stepper_run(gatecell_scan_stepper *stepper, int32_t turn, int32_t threads) {
  if (!stepper || threads < 1) return fail(GATECELL_BAD_ARGUMENT, "a step wants a stepper and threads >= 1");
  const ScanRun &run = stepper->run[turn & 1];
  if (scan_shares(run, false, threads) > 1) return run_scan(run, stepper->type, false, threads);
  kernels()->scan_forward[stepper->type](run);
  return GATECELL_OK;
}
