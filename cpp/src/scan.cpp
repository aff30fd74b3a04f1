// The doors of scans: checks, shares, scratch.  Not here: kernels.
#include "scan.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>

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

gatecell_status run_scan(int32_t scan, gatecell_type type, bool back, ScanRun run, int32_t threads) {
  if (scan < 0 || scan >= COUNT || !is_type(type) || run.T < 1 || run.B < 1 || run.H < 1 || run.N < 1 || run.every < (back ? 1 : 0) ||
      !run.arrays || threads < 1)
    return fail(GATECELL_BAD_ARGUMENT, "a scan wants its number, a type, sizes >= 1, its arrays and threads >= 1");
  const Kernels *k = kernels();
  if (!k) return GATECELL_NO_CPU;
  run.scan = scan, run.shape = &KNOWN[scan].shape;
  const ScanShape &s = *run.shape;
  const int64_t inputs = length(s.inputs), params = length(s.params), states = length(s.states);
  const int64_t needed = inputs + params + (back ? 1 : 2 + (run.every > 0)) * states;
  for (int64_t a = 0; a < needed; a++)
    if (!run.arrays[a].data)
      return fail(GATECELL_BAD_ARGUMENT, "a scan wants its inputs, parameters, states and marks, got a null pointer");
  if (!back && !run.arrays[inputs + params + 3 * states].data) return fail(GATECELL_BAD_ARGUMENT, "a scan wants a place for its output");
  const int64_t slots = back ? run.every + 3 : 2;
  const int64_t own = 2 * (elements(s.inputs, run.N) + elements(s.params, run.N)) + slots * elements(s.states, run.N) + 3 * SCAN_LANES +
                      (s.entries + 16 * s.folds) * up(run.N) + GATECELL_PAD;
  const int64_t units = run.B * ((run.H + SCAN_LANES - 1) / SCAN_LANES);
  // An exponential and some ten other operations of each entry of each channel; backwards thrice that.
  const double work = static_cast<double>(run.T) * static_cast<double>(run.B * run.H) * static_cast<double>(run.N) * (back ? 30 : 10);
  const int32_t shares = shares_for(threads, units, work);
  std::atomic<bool> starved{false};
  const auto share_of = [&](int32_t share) {
    ScanRun part = run;
    part.first = units * share / shares, part.last = units * (share + 1) / shares;
    part.scratch = thread_scratch(own * size_of(type));
    if (part.scratch)
      (back ? k->scan_backward : k->scan_forward)[type](part);
    else
      starved = true;
  };
  share_out(shares, std::ref(share_of));
  return starved ? fail(GATECELL_NO_MEMORY, "no memory for a scan's scratch") : GATECELL_OK;
}

}  // namespace
}  // namespace gatecell

using namespace gatecell;

int32_t gatecell_scan_find(uint64_t key) {
  for (int32_t i = 0; i < COUNT; i++)
    if (KNOWN[i].key == key) return i;
  return -1;
}

int64_t gatecell_scan_blocks(int64_t H) { return (H + SCAN_LANES - 1) / SCAN_LANES; }

gatecell_status gatecell_scan_forward(int32_t scan, gatecell_type type, int64_t T, int64_t B, int64_t H, int64_t N, int64_t every,
                                      const gatecell_array *arrays, int32_t threads) {
  return run_scan(scan, type, false, {nullptr, 0, T, B, H, N, every, arrays, 0, 0, nullptr}, threads);
}

gatecell_status gatecell_scan_backward(int32_t scan, gatecell_type type, int64_t T, int64_t B, int64_t H, int64_t N, int64_t every,
                                       const gatecell_array *arrays, int32_t threads) {
  return run_scan(scan, type, true, {nullptr, 0, T, B, H, N, every, arrays, 0, 0, nullptr}, threads);
}
