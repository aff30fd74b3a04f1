// A decoded plan and a packed layer, as the kernels read them.  Not here: how they are made (plan.cpp, layer.cpp) or run.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gatecell/gatecell.h"

namespace gatecell {

enum class Kind : int32_t { given, over, ring, buffer, row, unit, scalar };  // over time: given, over, ring

struct ArrayInfo {
  Kind kind;
  int32_t axis;
  int32_t offset;  // slot t + offset at step t
};

struct Term {  // one product inside an accumulator
  int32_t accumulator, source, family, gate, transposed;
};

struct Instruction {
  int32_t op, dst, src[3];
};

struct Scalar {   // a constant, or the array of a shared parameter
  int32_t array;  // -1: constant
  double value;
};

struct Reduction {
  int32_t op, source, result;
};

struct Loop {
  int32_t axis = 0, accumulators = 0, temporaries = 0;
  std::vector<int32_t> arrays;  // registers: arrays, accumulators, temporaries, scalars
  std::vector<Term> terms;
  std::vector<Scalar> scalars;
  std::vector<Instruction> code;
  uint64_t key = 0;   // what a compiled step is found by
  int32_t step = -1;  // its index among the compiled ones
};

struct Pass {
  std::vector<Reduction> reductions;
  std::vector<Loop> loops;
};

// One product of a panel with a source's rows: `k` columns of weights, read in order.
struct Segment {
  int32_t source;
  int32_t turn;  // the first, second, ... use of this source by the same accumulator
  int64_t k;
};

// Accumulators that the same sources feed are computed together.
struct Group {
  std::vector<int32_t> columns;  // accumulators
  unsigned mask = 0;             // the same as bits, where they are in order
  std::vector<Segment> segments;
  int64_t weights = 0;  // where its packed weights begin: [panel][segment][k][column][vectors of 16 units]
  int64_t depth = 0;    // sum of k
};

struct PackedLoop {
  int64_t units = 0, vectors = 0;  // of the axis; vectors of 16 units, the last one padded with zeros
  int64_t panel = 1;               // vectors side by side in a panel
  std::vector<Group> groups;
  int32_t shape = -1;  // of its groups, the index among the compiled ones
  int64_t bias = 0;    // [accumulator][padded units]
  int64_t given = 0;   // so many segments, the first, have sources that no step writes
};

}  // namespace gatecell

struct gatecell_plan {
  int32_t axes = 0, families = 0;
  bool descending = false;
  std::vector<gatecell::ArrayInfo> arrays;
  std::vector<gatecell::Pass> passes;
};

struct gatecell_layer {
  const gatecell_plan *plan = nullptr;
  gatecell_type type = GATECELL_FLOAT32;
  bool interpret = false;
  std::vector<int64_t> sizes;
  std::vector<std::vector<gatecell::PackedLoop>> loops;  // [pass][loop]
  double work = 0;                                       // multiply-adds of a row's step
  void *packed = nullptr;                                // 64-byte aligned; float or double
  ~gatecell_layer();
};
