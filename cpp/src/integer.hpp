// One integer step, decoded and packed (docs/arithmetic.md).  Not here: how it is made (integer.cpp) or run (integer.inl).
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gatecell/gatecell.h"

namespace gatecell {

enum class Place : int32_t { input = 0, state = 1, temp = 2, accumulator = 3, parameter = 4 };
enum class IntOp : int32_t { read, write, constant, add, sub, mul, max, neg, lerp, shl, shr, round, clamp, tanh, sigmoid, count };

struct IntVector {
  Place place;
  int64_t size;
  int64_t values;  // of a parameter: where its int16 values begin among the packed ones
};

// What enters a product: a vector, or its int8 view; kept as int16 with one zero more where the length is odd.
struct Operand {
  int32_t vector;
  bool view;
};

struct IntSource {
  int32_t operand, shift;
  int64_t weights;  // [16 units][pairs of k] panels of int16 pairs
};

struct IntAccumulator {
  int32_t vector, sh;
  int64_t m, b;  // where the int32 multipliers and biases begin
  std::vector<IntSource> sources;
};

struct IntInstr {
  IntOp op;
  int32_t a, b, c, n0, n1, vector;
};

struct IntLoop {
  int64_t size;
  std::vector<IntAccumulator> accumulators;
  std::vector<IntInstr> points;
};

}  // namespace gatecell

struct gatecell_integer {
  int32_t output = 0;
  std::vector<gatecell::IntVector> vectors;
  std::vector<gatecell::Operand> operands;
  std::vector<gatecell::IntLoop> loops;
  std::vector<int16_t> halves;  // packed weights, parameters
  std::vector<int32_t> words;   // multipliers, biases, padded to 16 units
  std::vector<int32_t> table;   // entry n in the low half, entry n + 1 in the high half
};
