// The table of kernels that each instruction set fills, and the choice among them.  Not here: kernels.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gatecell/gatecell.h"
#include "plan.hpp"
#include "scan.hpp"
#include "team.hpp"

namespace gatecell {

// One share of a run: `rows` rows of the batch, all steps; all units, or a team member's.
struct Run {
  const gatecell_layer *layer;
  const gatecell_array *arrays;
  int64_t steps, rows, first;  // rows first, first + 1, ...
  const int64_t *order;        // or these, the longest first; null where all are as long as the run
  const int64_t *length;       // of each row of the batch, null with `order`
  bool late;                   // arrays run backwards: a row that is shorter begins later
  bool back;                   // whether the first step takes the units from the last to the first
  void *common;                // common_bytes(layer, steps, rows), 64-byte aligned, of all who share the run
  void *scratch;               // scratch_bytes(layer, steps, rows), 64-byte aligned, this share's own
  Team *team = nullptr;        // who share the units; null: nobody
};

// What gradients are multiplied by, in blocks of OUTER_ROWS units, counted through all arguments.
struct OuterArgument {
  gatecell_array array;
  int64_t units, block;  // `block`: the first of its own
};

struct OuterProduct {  // of a gradient by an argument: out[n * row + m]
  size_t argument;
  void *out;
  int64_t row;
};

// All that is summed of a gradient.
struct OuterGradient {
  gatecell_array array;
  int64_t units;
  std::vector<OuterProduct> products;
  std::vector<void *> sums;  // of the gradient alone: out[n]
};
struct OuterPanel {  // OUTER_UNITS of its units at most
  const OuterGradient *gradient;
  int64_t unit, units;  // the first, and how many
};

// One share of the weight gradients: panels [panel, panels) times blocks [block, blocks) of the arguments.
struct Outer {
  int64_t steps, batch;
  const std::vector<OuterArgument> &arguments;
  const OuterPanel *panel, *panels;
  int64_t block, blocks;
  bool sums;              // of gradients alone; else another share's
  const int64_t *length;  // of each row of the batch, null: all steps
  bool late;              // as in Run
  void *scratch;          // outer_bytes(job)
};

// One share of an integer run: rows [first, last) of the batch, all steps.
struct IntLayout;
struct IntRun {
  const gatecell_integer *step;
  int64_t steps, batch, first, last;
  const int16_t *x;
  int16_t *const *states;
  int16_t *y;
  void *scratch;            // layout->bytes, 64-byte aligned
  const IntLayout *layout;  // lay_out(step, last - first)
};

// How an instruction set wants the operands and the weights of integer products.
struct IntTraits {
  int32_t lanes;         // 32-bit sums in a vector
  bool bytes;            // int8 operands are bytes; else everything is int16
  bool offset;           // bytes are unsigned, 128 more than they stand for
  bool planes;           // int16 operands times int8 weights are two planes of bytes
  bool narrow;           // int16 operands read int8 weights as they are; else these are kept as int16
  int32_t window, turn;  // of sparse products: words of an operand that an index reaches, entries that come at once
};

struct Integers {
  IntTraits traits;
  void (*run)(const IntRun &);
  void *(*lay_out)(const IntRun &);  // in the job's scratch, for steps one by one; of the job's steps two count
  void (*step)(const void *laid_out, bool odd, bool changed);
  bool (*quantize)(int64_t rows, int64_t n, const float *x, const float *offset, const float *scale, int32_t largest, int16_t *q);
  void (*dequantize)(int64_t rows, int64_t n, const int16_t *q, const float *scale, float *y);
};

struct Kernels {
  const char *name;
  void *(*lay_out[2])(const Run &);  // by gatecell_type: in the job's scratch, for `run` as often as wanted
  void (*run[2])(void *laid_out);
  void (*outer[2])(const Outer &);
  void (*transpose[2])(const void *from, int64_t from_row, void *to, int64_t to_row, int64_t rows, int64_t columns);
  void (*function[2])(int32_t op, int64_t n, const void *x, void *y);
  void (*scan_forward[2])(const ScanRun &);
  void (*scan_backward[2])(const ScanRun &);
  Integers integers;
  double (*peak)();
};

// What a run that is laid out consists of, at most.
constexpr int64_t RUNNER_BYTES = 256, FRAME_BYTES = 192, REGISTER_BYTES = 16, COLUMN_BYTES = 32;
int64_t common_bytes(const gatecell_layer &layer, int64_t steps, int64_t rows);
int64_t scratch_bytes(const gatecell_layer &layer, int64_t steps, int64_t rows);
int64_t outer_bytes(const Outer &job, gatecell_type type);
void *thread_scratch(int64_t bytes);  // this thread's, 64-byte aligned; null: no memory

const Kernels *kernels();                                                // null: GATECELL_CPU cannot be obeyed, and fail() has been told
int32_t operations();                                                    // how many operations instructions may name
int32_t operation(const char *name);                                     // -1: none of that name
int32_t find_step(uint64_t key);                                         // -1: no compiled step
int32_t find_shape(const Loop &loop, const std::vector<Group> &groups);  // -1: no compiled sums
int32_t find_integer_step(uint64_t key);

extern const Kernels baseline_kernels, avx2_kernels, avx512_kernels, neon_kernels;
extern const Integers avx512vnni_integers, avx512vbmi_integers;

// Bounds that a plan is checked against, so that the kernels need no memory of their own.
constexpr int64_t MOST_ARRAYS = 256, MOST_REGISTERS = 512, MOST_ACCUMULATORS = 64, MOST_SEGMENTS = 64;
constexpr int64_t MOST_VECTORS = MOST_ACCUMULATORS * 8;  // 16 units are eight vectors at most

// Rows of the largest register tile, and vectors of 16 units of the widest tile that the interpreter works on.
constexpr int64_t TILE_ROWS = 8, TILE_VECTORS = 4;
constexpr int64_t OUTER_UNITS = 64, OUTER_ROWS = 6, OUTER_DEPTH = 128;
// Elements that packed blocks take.  A cache line lies between them: those of a row would else share a few sets.
constexpr int64_t outer_packed(int64_t blocks) { return blocks * (OUTER_DEPTH * OUTER_ROWS + 16); }

// A share's blocks of an argument, and their units.  Static: a kernel's own copy, with its instruction set.
struct OuterSpan {
  int64_t block, blocks, unit, units;
};
static inline OuterSpan span_of(const Outer &job, const OuterArgument &a) {
  const int64_t end = a.block + (a.units + OUTER_ROWS - 1) / OUTER_ROWS;
  const int64_t first = a.block > job.block ? a.block : job.block, last = end < job.blocks ? end : job.blocks;
  if (first >= last) return {first, 0, 0, 0};
  const int64_t unit = (first - a.block) * OUTER_ROWS, until = (last - a.block) * OUTER_ROWS;
  return {first, last - first, unit, (until < a.units ? until : a.units) - unit};
}
static inline OuterSpan span_of(const Outer &job, size_t argument) { return span_of(job, job.arguments[argument]); }

// Elements of a share's sums: each panel's own, then those of its products, block by block.
static inline int64_t outer_totals(const Outer &job) {
  int64_t n = 0;
  for (const OuterPanel *p = job.panel; p < job.panels; p++) {
    n += OUTER_UNITS;
    for (const OuterProduct &product : p->gradient->products) n += span_of(job, product.argument).blocks * OUTER_ROWS * OUTER_UNITS;
  }
  return n;
}

// Vectors of 16 units side by side in a panel of packed weights: so many that it has four columns.
constexpr int panel_width(int widest_group) { return widest_group > 2 ? 1 : widest_group == 2 ? 2 : 4; }

// A few rows take two panels at once, since their sums need more independent chains than rows give.  What they are given over
// time is multiplied for so many rows ahead: a step then reads the other weights alone.
constexpr int64_t FEW_ROWS = 3, FEW_PANELS = 2, ROWS_AHEAD = 12, DEPTH_AHEAD = 8;
// Vectors of a loop's widest tile; where nothing is multiplied, a row is taken from end to end.
constexpr int64_t widest_tile(const PackedLoop &loop) {
  const int64_t few = FEW_PANELS * loop.panel > TILE_VECTORS ? FEW_PANELS * loop.panel : TILE_VECTORS;
  return loop.groups.empty() && loop.vectors > few ? loop.vectors : few;
}
// Numbers of the tiles of a loop: accumulators, temporaries, arrays of one value a row.
constexpr int64_t tile_elements(const Loop &loop, const PackedLoop &packed) {
  const auto arrays = static_cast<int64_t>(loop.arrays.size());
  return (arrays + loop.accumulators + loop.temporaries) * TILE_ROWS * widest_tile(packed) * 16;
}
// How often a team meets in a pass: behind its reductions and behind each loop, since a loop reads units of all members, and writes
// where a reduction may have read.
static inline int64_t borders_of(const Pass &pass) { return static_cast<int64_t>(pass.loops.size()) + !pass.reductions.empty(); }
// Whether a run of so many rows multiplies ahead.
constexpr bool goes_ahead(const PackedLoop &loop, int64_t steps, int64_t rows) {
  return loop.given > 0 && rows > 0 && rows <= FEW_ROWS && steps > 1;
}

}  // namespace gatecell
