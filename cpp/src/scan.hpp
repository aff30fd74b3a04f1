// Scans: what a compiled step is given, and what a share of a run.  Not here: kernels (scan.inl), doors (scan.cpp).
#pragma once
#include <cstdint>

#include "gatecell/gatecell.h"

namespace gatecell {

// Channels that run together: their states and gradients lie in the nearest cache.  Sums over channels are taken block by block.
constexpr int64_t SCAN_LANES = 64;
constexpr int64_t MOST_PLACES = 48;

// Axes of a scan's inputs, parameters and states, a letter each: 1, H channels, N entries, M both; and how many buffers its functions want.
struct ScanShape {
  const char *inputs, *params, *states;
  int64_t entries, folds;
};

// One step of one row and block: places in the order of algebra/scan_plan.py.  Over H from the block's first channel on, over both
// entry n at at[k] + n * row[k]; all that is read or written by vectors is padded to 16.
template <class R> struct ScanStep {
  R *at[MOST_PLACES];
  int64_t row[MOST_PLACES];
  int64_t N, padded, lanes;  // entries, these padded to 16, channels padded to 16
  R *entries, *folds;        // buffers over entries, and 16 lanes of each of them
};

// Units [first, last) of a run: block k of row b's head h is unit (b * heads + h) * blocks + k.  `arrays` as in gatecell_scan_forward and
// _backward.
struct ScanRun {
  const ScanShape *shape;
  int64_t scan, T, B, heads, H, N, every;
  const gatecell_array *arrays;
  int64_t first, last;
  void *scratch;
};

}  // namespace gatecell
