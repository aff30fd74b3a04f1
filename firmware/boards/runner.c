/* runner.c: takes one exported model through a file of input rows on any board; written for no model. It knows the
 * model by macros from the command line: NAME(suffix) is NAME##suffix, CAPS(suffix) the same in capitals, MODEL_HEADER its NAME.h.
 *
 * input.bin    uint32: 1 to count instructions, 0 to measure the stack; then rows of NAME_input_t
 * output.bin   a row of NAME_output_t for each row of input, state carried from row to row
 * counts.bin   when counting: a uint32 for each row, the instructions of that NAME_step (cycles on AVR) from its first to its return
 * result.bin   three uint32: rows done, deepest stack of NAME_step in bytes (0 when counting), what NAME_selftest said */
#include "board.h"
#include MODEL_HEADER

typedef NAME(_state) state_t;
typedef NAME(_input_t) input_t;
typedef NAME(_output_t) output_t;
typedef void step_function(state_t *, const input_t *, output_t *);

enum { INPUTS = CAPS(_INPUT_SIZE), OUTPUTS = CAPS(_OUTPUT_SIZE) };

/* Read from the linked file before anything runs: numpy's type letters and the sizes. */
#define LETTER(type) ((type)0.5f != (type)0 ? 'f' : (type)(-1) < (type)0 ? 'i' : 'u')
typedef struct {
    uint32_t input_letter, input_bytes, inputs, output_letter, output_bytes, outputs, state_bytes;
} info_t;
__attribute__((section(".gatecell")))
const info_t gatecell_info = {LETTER(input_t), sizeof(input_t), INPUTS, LETTER(output_t), sizeof(output_t), OUTPUTS, sizeof(state_t)};

/* Rows per file access: about 2 KB, so that the calls cost little and small boards have the room. */
#define ROW_BYTES (INPUTS * sizeof(input_t) + OUTPUTS * sizeof(output_t) + sizeof(uint32_t))
enum { CHUNK = ROW_BYTES >= 2048 ? 1 : (int)(2048 / ROW_BYTES) };

static state_t state;
static input_t x[CHUNK][INPUTS];
static output_t y[CHUNK][OUTPUTS];
static uint32_t counts[CHUNK];

/* Both are called through volatile pointers, so that the calls are the same instructions. */
static void nothing(state_t *s, const input_t *in, output_t *out) { (void)s, (void)in, (void)out; }
static step_function *volatile empty_step = nothing;
static step_function *volatile step = NAME(_step);

static __attribute__((noinline)) uint32_t cost(step_function *function, const input_t *in, output_t *out) {
    clock_start();
    function(&state, in, out);
    return clock_read();
}

static void count_rows(uint32_t rows) {
    const uint32_t empty = cost(empty_step, x[0], y[0]) - CLOCK_RETURN;
    for (uint32_t t = 0; t < rows; t++) counts[t] = cost(step, x[t], y[t]) - empty;
}

/* Paints what lies below the stack pointer, runs the rows, and looks how far the paint is gone: the deepest stack of
 * NAME_step and what it calls, in bytes. Nothing else is called while the paint is fresh. */
static __attribute__((noinline)) uint32_t run_rows(uint32_t rows) {
    const uint32_t paint = 0xC5A3965Cu;
    uint32_t *const sp = stack_pointer();
    volatile uint32_t *bottom = sp - board_stack_room(sp) / sizeof(uint32_t);
    for (volatile uint32_t *p = bottom; p < sp; p++) *p = paint;
    for (uint32_t t = 0; t < rows; t++) step(&state, x[t], y[t]);
    if (*bottom != paint) board_fail("the stack is exhausted");
    volatile uint32_t *deepest = bottom;
    while (deepest < sp && *deepest == paint) deepest++;
    return (uint32_t)((uintptr_t)sp - (uintptr_t)deepest);
}

int main(void) {
    const int input = board_open_to_read("input.bin"), output = board_open_to_write("output.bin");
    const int count_file = board_open_to_write("counts.bin"), result_file = board_open_to_write("result.bin");
    uint32_t counting = 0, result[3] = {0, 0, 0};
    if (board_read(input, &counting, sizeof counting) != sizeof counting) board_fail("input.bin is empty");
    NAME(_init)(&state);
    for (;;) {
        const uint32_t rows = board_read(input, x, sizeof x) / sizeof x[0];
        if (rows == 0) break;
        if (counting) {
            count_rows(rows);
            board_write(count_file, counts, rows * (uint32_t)sizeof counts[0]);
        } else {
            const uint32_t stack = run_rows(rows);
            if (stack > result[1]) result[1] = stack;
        }
        board_write(output, y, rows * (uint32_t)sizeof y[0]);
        result[0] += rows;
    }
    result[2] = (uint32_t)NAME(_selftest)();
    board_write(result_file, result, sizeof result);
    return 0;
}
