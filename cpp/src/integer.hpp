// One integer step, decoded and packed (docs/arithmetic.md).  Not here: how it is made (integer.cpp, integer_pack.cpp) or run (integer.inl).
//
// Units come in groups of two vectors of 32-bit sums.  Its halves take the units as the narrowing instructions give them back: four
// units of every eight to each half, so that two halves of sums, saturated to int16, are the group's units in order.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "dispatch.hpp"

namespace gatecell {

enum class Place : int32_t { input = 0, state = 1, temp = 2, accumulator = 3, parameter = 4 };
enum class IntOp : int32_t { read, write, constant, add, sub, mul, max, neg, lerp, shl, shr, round, clamp, tanh, sigmoid, count };

// How a product reads: int8 by int8 four at a time, int16 by int8 or by int16 two at a time.
enum class Form : int32_t { bytes = 0, words8 = 1, words16 = 2 };

constexpr int32_t PASS_COLUMNS = 4;  // accumulators side by side in a register tile
constexpr int64_t SUM_ROWS = 32;     // rows of a group whose sums wait for their step
constexpr int64_t SUM_GROUPS = 4;    // or groups of a single row
constexpr int64_t POINT_ROWS = 8;    // rows that the interpreter works on
constexpr int64_t INT_RUNNER_BYTES = 192;

struct IntVector {
  Place place;
  int64_t size;
  int64_t values;  // of a parameter: where its int16 values begin among the packed ones
  bool read;       // by pointwise instructions
};

// What enters a product: a vector, its int8 view, or a vector that is int8 as it is.
struct IntOperand {
  int32_t vector;
  bool view;
  bool bytes;      // rows of bytes; else of int16
  int32_t planes;  // 2: an int16 as its high and its low byte, one plane of rows each
  int64_t row;     // bytes of a row
};

struct IntSegment {
  int32_t operand, plane;
  int64_t steps;                // of four bytes or two int16
  int64_t weights;              // where its block, [step][column][lane], begins in half a panel; sparse: its first start
  int32_t shift[PASS_COLUMNS];  // how far each sum moves up behind the segment
  bool shifts;
};

// Sparse weights are entries: eight units (an octet) by a word of an operand, four bytes or two int16.  A column's entries for a group of
// units are listed window by window of the operand, octet by octet, `turn` at a time, those that fill a turn up being zeros; an entry
// says by its index which word of the window it multiplies.
constexpr int64_t OCTET = 8;
constexpr int64_t WINDOW_BYTES = 128;  // read at once, where an index selects from registers
struct IntStart {
  uint32_t counts;   // of turns, [window][octet]
  uint32_t index;    // bytes, in eights
  uint32_t weights;  // bytes, in lines of 64
};

// Sums that the same operands feed, computed in registers in one go.
struct IntPass {
  Form form;
  bool sparse;
  int32_t columns;
  int64_t column[PASS_COLUMNS];  // accumulators: where the sums of each begin in a row's
  bool begun[PASS_COLUMNS];      // by an earlier pass; else a sum starts from its bias
  std::vector<IntSegment> segments;
};

struct IntSource {
  int32_t operand, shift, array;
};

struct IntAccumulator {
  int32_t vector, m, b;  // arrays of multipliers and biases
  std::vector<IntSource> sources;
};

struct IntInstr {
  IntOp op;
  int32_t a, b, c, n0, n1;
  int32_t at;  // read, write: a slot, or an accumulator
  bool sum;    // at is an accumulator
  int32_t width;
};

struct IntSlot {
  int32_t vector;
  bool write;
};

struct IntLoop {
  int64_t size, groups;
  std::vector<IntAccumulator> accumulators;
  std::vector<int32_t> sh;  // of accumulators
  std::vector<IntPass> passes;
  std::vector<IntSlot> slots;
  std::vector<IntInstr> points;
  std::vector<int32_t> immediates;  // two of each instruction
  int64_t half_panel;               // bytes
  int64_t weights;                  // [group][half][segments' blocks], in the step's weights
  int64_t bias, scale;              // [group][accumulator][half][lane] and [..][half][m, m << 16][lane], in the step's words
  int32_t step;                     // the compiled one, or -1
};

// What the kernels make of T of docs/arithmetic.md; T is constant from n = 342 on.  `value` + `rise` times a share of a step is what a
// rounded mean then halves: for tanh 2 T[n] and 2 (T[n + 1] - T[n]), for sigmoid 32768 + T[n] and T[n + 1] - T[n].
constexpr int32_t TANH_SIZE = 384, TANH_END = 342, SIGMOID_SIZE = 256;
template <int32_t SIZE> struct Chords {
  alignas(64) uint16_t value[SIZE], rise[SIZE];
  alignas(64) uint32_t pair[SIZE];  // the value in the low half
  // By bytes: the low ones up to 255 and from 255 on; high ones, which are the same from 255 on (rises: 0 from 128 on).
  alignas(64) uint8_t value_low[256], value_tail[128], value_high[256], rise_low[256], rise_tail[128], rise_high[128];
};
struct IntTable {
  Chords<TANH_SIZE> tanh;
  Chords<SIGMOID_SIZE> sigmoid;
};

template <class T> struct OnLines {  // begins on a cache line
  using value_type = T;
  OnLines() = default;
  template <class U> OnLines(const OnLines<U> &) {}
  T *allocate(size_t n) { return static_cast<T *>(::operator new(n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T *p, size_t) { ::operator delete(p, std::align_val_t{64}); }
  template <class U> bool operator==(const OnLines<U> &) const { return true; }
};
template <class T> using Lines = std::vector<T, OnLines<T>>;

// What a pointwise step works on: so many rows of one group of units, or (`across`) so many groups of one row.
struct IntTile {
  struct Rows {
    int16_t *at;
    int64_t row;  // from one to the next; 0: the same for all
  };
  const Rows *slot;   // whole vectors
  int64_t row, unit;  // where the tile begins in them
  bool across;
  int64_t rows;
  const int32_t *sums;  // [row][accumulator][half][lane]
  int64_t sum_row;
  const int32_t *scale;  // [accumulator][half][m, m << 16][lane], of the first group
  int64_t next_scale;    // from one row's to the next one's: 0, or a group's
  const int32_t *sh, *n;
  const IntTable *table;
};

// Rows of one plane of an operand.
struct IntRows {
  const uint8_t *at;
  int64_t row;  // bytes
};

// One pass of products over rows of one group of units, or over groups of one row.
struct IntDot {
  const IntPass *pass;
  const IntRows *source;   // of each segment
  int64_t row;             // of the operands, where it begins
  const uint8_t *weights;  // [group][half]
  int64_t half;            // bytes from one half's weights to the other's
  const int32_t *bias;     // [group][accumulator][half][lane]
  int32_t *sums;           // [row, or group][accumulator][half][lane]
  int64_t sum_row, groups;
  int64_t next;  // 1 or -1: from a group to the next one
  const gatecell_integer *step;
  int64_t group;  // the first one
};

// Rows of a vector that become an operand's.
struct IntEnter {
  enum Kind : int32_t { view_words, words, view_bytes, bytes, planes } kind;
  const int16_t *from;  // null: the input's
  int64_t n, row;
  uint8_t *to;
  int64_t to_row, plane;  // bytes
};

// A loop as every other step runs it: states change places from step to step.
struct IntStage {
  const IntLoop *loop;
  IntTile tile;
  IntDot dot;
  const IntEnter *enters, *end;  // of what the loop writes
};

// Where a share of a run keeps what, in bytes from its scratch's beginning.
struct IntLayout {
  int64_t rows[MOST_ARRAYS], fresh[MOST_ARRAYS];    // of vectors: int16, padded to whole groups
  int64_t operand[MOST_ARRAYS], next[MOST_ARRAYS];  // of operands
  int64_t stages, enters, sources, slots;           // of all loops, on even and on odd steps
  int64_t sums, registers, runner, bytes;
};

}  // namespace gatecell

struct gatecell_integer {
  gatecell::IntTraits traits;
  int32_t input = 0, output = 0;
  std::vector<gatecell::IntVector> vectors;
  std::vector<gatecell::IntOperand> operands;
  std::vector<gatecell::IntLoop> loops;
  int64_t segments = 0, slots = 0;  // of all loops
  gatecell::Lines<uint8_t> weights;
  std::vector<gatecell::IntStart> starts;  // of sparse blocks: [group][column]
  std::vector<uint16_t> counts;
  gatecell::Lines<uint8_t> index;
  gatecell::Lines<int16_t> parameters;
  gatecell::Lines<int32_t> words;
  gatecell::IntTable table;
  double work = 0;  // multiply-adds of a row's step
};

namespace gatecell {
int64_t padded(const gatecell_integer &step, int64_t units);  // to whole groups
IntLayout lay_out(const gatecell_integer &step, int64_t rows);
// Where a matrix of `units` rows of k has weights that are not zero, as entries of int8 or int16; appended to the step, a group of units at a time.
class SparseBlock {
 public:
  SparseBlock(const gatecell_integer &step, Form form, int64_t units, int64_t k);
  int64_t stored(const int32_t *matrix) const;  // entries, with those that fill turns up
  int64_t all() const;                          // entries, were none left out
  // The entries of a group of a matrix's units, and where they begin.
  IntStart append(gatecell_integer &step, const int32_t *matrix, int64_t group) const;

 private:
  int64_t turns(int64_t entries) const { return (entries + traits_.turn - 1) / traits_.turn; }
  std::vector<int64_t> words_of(const int32_t *matrix, int64_t octet, int64_t window) const;
  void append_index(gatecell_integer &step, const std::vector<int64_t> &words) const;
  void append_weights(gatecell_integer &step, const int32_t *matrix, int64_t octet, int64_t window,
                      const std::vector<int64_t> &words) const;
  const IntTraits traits_;
  const Form form_;
  const int64_t units_, k_, per_, words_;  // weights of an entry's unit; words of the operand
};
// Passes, weights, biases and multipliers of a decoded loop.
void pack(gatecell_integer &step, IntLoop &loop, const gatecell_ints *arrays);
}  // namespace gatecell
