/* gatecell's core as plain C: run a cell's plan over time, sum its weight gradients, say what the machine is.
 *
 * Not here: any cell, files, integers.  The core allocates only in the functions that end in _new and where it says so, never prints,
 * never throws.  Letters: T steps, B rows of the batch, N units of an axis.  Every function is safe to call from several threads
 * as long as nothing that it writes is shared. */
#ifndef GATECELL_H
#define GATECELL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  GATECELL_OK = 0,
  GATECELL_BAD_PLAN = 1,     /* the encoded plan is not one */
  GATECELL_BAD_ARGUMENT = 2, /* a size, type or pointer is out of range */
  GATECELL_NO_MEMORY = 3,
  GATECELL_NO_CPU = 4 /* GATECELL_CPU names an instruction set that is unknown or that this machine lacks */
} gatecell_status;

typedef enum { GATECELL_FLOAT32 = 0, GATECELL_FLOAT64 = 1 } gatecell_type;

/* Units are padded to whole multiples of this many: every row that the core writes has room for them. */
enum { GATECELL_PAD = 16 };

/* What went wrong in this thread's last call that did not return GATECELL_OK; owned by the core. */
const char *gatecell_message(void);

/* The instruction set that the kernels use: "avx512vbmi", "avx512vnni", "avx512", "avx2", "neon" or "baseline"; NULL if GATECELL_CPU cannot
 * be obeyed. */
const char *gatecell_cpu(void);

/* A plan: what one step does, decoded and checked.  `code` is algebra/encode.py's encoding. */
typedef struct gatecell_plan gatecell_plan;
gatecell_status gatecell_plan_new(const int32_t *code, int64_t length, const double *constants, int64_t constants_length,
                                  gatecell_plan **out);
void gatecell_plan_free(gatecell_plan *plan);
/* How many of the plan's loops run as compiled steps, and how many loops it has. */
void gatecell_plan_steps(const gatecell_plan *plan, int32_t *compiled, int32_t *loops);

/* How many sizes, weights and arrays a layer of the plan and its runs are given. */
void gatecell_plan_counts(const gatecell_plan *plan, int32_t *axes, int32_t *families, int32_t *arrays);

/* A family's matrix, (gates * out, into), rows `row` elements apart; `bias` (gates * out) or NULL; read by gatecell_layer_new alone. */
typedef struct {
  const void *matrix;
  const void *bias;
  int64_t row;
} gatecell_weight;

/* A plan with sizes and packed weights: what runs.  `sizes`: length of each axis of the plan; `weights`: one per family;
 * `interpret`: use no compiled step. */
typedef struct gatecell_layer gatecell_layer;
gatecell_status gatecell_layer_new(const gatecell_plan *plan, gatecell_type type, const int64_t *sizes, const gatecell_weight *weights,
                                   int32_t interpret, gatecell_layer **out);
void gatecell_layer_free(gatecell_layer *layer);

/* Where an array of the plan lives: slot s, row b, unit u at data[s * step + b * row + u]; slots > 0: slot s is s modulo slots.
 * Rows that the core reads or writes by units have their units padded to GATECELL_PAD; rows that only enter products need not. */
typedef struct {
  void *data;
  int64_t step, row;
  int64_t slots;
} gatecell_array;

/* All T steps of B rows; arrays in the plan's order (those of kind "buffer" and "row" are the core's own and ignored). */
gatecell_status gatecell_layer_run(const gatecell_layer *layer, int64_t T, int64_t B, const gatecell_array *arrays, int32_t threads);

/* The same where row b has lengths[b] steps of 0 to T (NULL: T), in any order: each row gets the bits that it gets alone, and what
 * lies beyond is neither read nor written.  `late`: the arrays run backwards in time (step < 0), so that a row which is shorter by n
 * slots begins n slots later in those without `slots`. */
gatecell_status gatecell_layer_run_lengths(const gatecell_layer *layer, int64_t T, int64_t B, const gatecell_array *arrays,
                                           const int64_t *lengths, int32_t late, int32_t threads);

/* A step of B rows that is laid out once and runs as often as wanted, in turn with one table of arrays and with another: on even turns and
 * on odd ones.  The layer, and what the arrays point to, outlive it.  One thread at a time; a step on one thread cannot fail. */
typedef struct gatecell_stepper gatecell_stepper;
gatecell_status gatecell_stepper_new(const gatecell_layer *layer, int64_t B, const gatecell_array *even, const gatecell_array *odd,
                                     gatecell_stepper **out);
void gatecell_stepper_free(gatecell_stepper *stepper);
gatecell_status gatecell_stepper_run(gatecell_stepper *stepper, int32_t turn, int32_t threads);

/* Weight gradients: out[g][n * row + m] += sum over t, b of gradient[g][t, b, n] * argument[t, b, m] where argument is not NULL, and
 * sums[g][n] += sum over t, b of gradient[g][t, b, n] where sums and sums[g] are not NULL. */
typedef struct {
  int64_t gates;
  const gatecell_array *gradient; /* one for every gate */
  int64_t N;
  const gatecell_array *argument;
  int64_t M;
  void *const *out;
  int64_t row;
  void *const *sums;
} gatecell_outer_products;

/* Several of them over the same steps, as above with `lengths` and `late`; gradients and arguments that several share are read once.
 * A sum goes on from what its place holds: calls over one part after the other give the bits of one over all, if all but the last have a
 * multiple of 32 steps of rows.  Places are all different.  Allocates a little for as long as the call lasts. */
gatecell_status gatecell_outer(gatecell_type type, int64_t T, int64_t B, const gatecell_outer_products *products, int64_t count,
                               const int64_t *lengths, int32_t late, int32_t threads);

/* Scans, recurrences whose state is diagonal or a matrix (algebra/scan.py), compiled of their pages; `key` is a page's, -1: not compiled.
 * Values are over H channels, N entries, both (N rows of H), or 1. */
int32_t gatecell_scan_find(uint64_t key);
/* Blocks of channels: each sends back gradients of its own of what all channels share. */
int64_t gatecell_scan_blocks(int64_t H);

/* T steps of B rows of `heads` that do not know of each other; every array has its values for a head after those for the one before. */
typedef struct {
  int64_t T, B, heads, H, N;
  int64_t every; /* steps from a mark to the next; forwards 0: no marks */
} gatecell_scan_sizes;

/* Arrays, in this order: inputs (T, B, ...), parameters (...), start states (B, ...), end states (B, ...), marks (ceil(T / every), B, ...),
 * which are the states before every so many steps; the output (T, B, H).  None overlaps another.  The bits depend on none of T, B, threads. */
gatecell_status gatecell_scan_forward(int32_t scan, gatecell_type type, const gatecell_scan_sizes *sizes, const gatecell_array *arrays,
                                      int32_t threads);

/* The way back.  Arrays: inputs, parameters and marks as above; gradients of the output and of the end states (NULL: 0); then, written
 * where not NULL, gradients of the inputs, of the parameters, one of each row (B, ...), and of the start states.  Those of inputs and states
 * over N or 1 are one of each block: inputs (blocks * T, B, ...), states (blocks, B, ...); their sum over blocks is meant. */
gatecell_status gatecell_scan_backward(int32_t scan, gatecell_type type, const gatecell_scan_sizes *sizes, const gatecell_array *arrays,
                                       int32_t threads);

/* One step that runs as often as wanted, in turn with one table of arrays and with another; sizes and arrays are those of a forward run of
 * one step.  What the arrays point to outlives it.  One thread at a time; a step on one thread cannot fail. */
typedef struct gatecell_scan_stepper gatecell_scan_stepper;
gatecell_status gatecell_scan_stepper_new(int32_t scan, gatecell_type type, const gatecell_scan_sizes *sizes, const gatecell_array *even,
                                          const gatecell_array *odd, gatecell_scan_stepper **out);
void gatecell_scan_stepper_free(gatecell_scan_stepper *stepper);
gatecell_status gatecell_scan_stepper_run(gatecell_scan_stepper *stepper, int32_t turn, int32_t threads);

/* One step in integers, docs/arithmetic.md; `code`: see integer.cpp.  The weights are copied.  `interpret`: use no compiled step. */
typedef struct gatecell_integer gatecell_integer;
typedef struct {
  const int32_t *values;
  int64_t length;
} gatecell_ints;
enum { GATECELL_TABLE = 514 }; /* entries of the table of tanh */
gatecell_status gatecell_integer_new(const int32_t *code, int64_t length, const gatecell_ints *arrays, int64_t count, const int32_t *table,
                                     int64_t entries, int32_t interpret, gatecell_integer **out);
void gatecell_integer_free(gatecell_integer *step);
/* How many of the step's loops run as compiled steps, and how many loops it has. */
void gatecell_integer_steps(const gatecell_integer *step, int32_t *compiled, int32_t *loops);
/* I, the output's N, and each state's N where `states` is not NULL; returns how many states there are. */
int32_t gatecell_integer_sizes(const gatecell_integer *step, int64_t *inputs, int64_t *outputs, int64_t *states);

/* All T steps: x (T, B, I) of integers, y (T, B, N) the output state; states (B, N) each, in the code's order, read and left
 * as they are after the last step. */
gatecell_status gatecell_integer_run(const gatecell_integer *step, int64_t T, int64_t B, const int16_t *x, int16_t *const *states,
                                     int16_t *y, int32_t threads);

/* A step of B rows that is laid out once and runs as often as wanted, x (B, I) -> y (B, N); the step and these outlive it.  One thread at a
 * time.  Its states, 0 at first, are its own: row b of a state is at b * *row of what `_state` returns, for a `state` by its number; one of an
 * even `turn` reads those of turn 0 and writes those of turn 1, an odd one the other way round.  `changed`: whether anything but
 * the step before has written them. */
typedef struct gatecell_integer_stepper gatecell_integer_stepper;
gatecell_status gatecell_integer_stepper_new(const gatecell_integer *step, int64_t B, const int16_t *x, int16_t *y,
                                             gatecell_integer_stepper **out);
void gatecell_integer_stepper_free(gatecell_integer_stepper *stepper);
int16_t *gatecell_integer_stepper_state(gatecell_integer_stepper *stepper, int32_t state, int32_t turn, int64_t *row);
gatecell_status gatecell_integer_stepper_run(gatecell_integer_stepper *stepper, int32_t turn, int32_t changed, int32_t threads);

/* A model's ends, docs/arithmetic.md, section 3.  x (rows, N) with offset and scale (N) to integers of magnitude `largest`, at most 32767;
 * `nan`: whether there was one, which becomes the lowest.  q (rows, N) times scale (N) to floats. */
gatecell_status gatecell_quantize(int64_t rows, int64_t N, const float *x, const float *offset, const float *scale, int32_t largest,
                                  int16_t *q, int32_t *nan);
gatecell_status gatecell_dequantize(int64_t rows, int64_t N, const int16_t *q, const float *scale, float *y);

/* The core's own functions over arrays: "tanh", "sigmoid", "exp", "log_sigmoid", "rsqrt". */
gatecell_status gatecell_function(const char *name, gatecell_type type, int64_t n, const void *x, void *y);

/* out[a * N + n] = the sum over k of x[(a * K + k) * N + n], in an order that depends on K alone. */
gatecell_status gatecell_sum(gatecell_type type, int64_t A, int64_t K, int64_t N, const void *x, void *out);

/* Philox4x32-10: four words from a counter of four and a key of two. */
void gatecell_philox(const uint32_t *counter, const uint32_t *key, uint32_t *out);

/* A random mask, out[(t * B + b) * N + u]: 0 where a word is < `below`, else `kept`.  The word is number u % 4 of Philox4x32-10 with this
 * key and the counter (u / 4, samples[b], step + t, 0); `samples` NULL: b itself.  So an element depends on its own place alone. */
gatecell_status gatecell_mask(gatecell_type type, int64_t T, int64_t B, int64_t N, const uint32_t *key, int64_t step,
                              const int64_t *samples, uint32_t below, double kept, void *out, int32_t threads);

/* The functions of a prepared step, for other modules of the process: one copy of the core serves all.  Python's gatecell._core
 * lends a pointer to the table as its `functions`, a capsule named GATECELL_FUNCTIONS. */
#define GATECELL_FUNCTIONS "gatecell_functions"
enum { GATECELL_FUNCTIONS_VERSION = 6 }; /* another one: the table is laid out in another way, do not use it */
typedef struct {
  int32_t version;
  gatecell_status (*stepper_run)(gatecell_stepper *stepper, int32_t turn, int32_t threads);
  gatecell_status (*integer_stepper_run)(gatecell_integer_stepper *stepper, int32_t turn, int32_t changed, int32_t threads);
  gatecell_status (*scan_stepper_run)(gatecell_scan_stepper *stepper, int32_t turn, int32_t threads);
  gatecell_status (*quantize)(int64_t rows, int64_t N, const float *x, const float *offset, const float *scale, int32_t largest, int16_t *q,
                              int32_t *nan);
  gatecell_status (*dequantize)(int64_t rows, int64_t N, const int16_t *q, const float *scale, float *y);
  gatecell_status (*function)(const char *name, gatecell_type type, int64_t n, const void *x, void *y);
  gatecell_status (*sum)(gatecell_type type, int64_t A, int64_t K, int64_t N, const void *x, void *out);
  const char *(*message)(void);
} gatecell_functions;

/* Floating-point operations per second of fused multiply-adds in registers, in float32, one thread. */
double gatecell_peak(void);

#ifdef __cplusplus
}
#endif
#endif
