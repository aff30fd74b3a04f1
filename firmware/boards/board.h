/* board.h: what the runner needs of a board. cortex_m.c, riscv32.c and avr.c give it on an emulated core (files
 * through semihost.c), host.c on the machine at hand. No model and no peripheral of a real product appears here. */
#ifndef GATECELL_BOARD_H
#define GATECELL_BOARD_H

#include <stdint.h>

/* Files of the folder that the emulator was started in. A failure ends the run with a message. */
int board_open_to_read(const char *name);
int board_open_to_write(const char *name);
uint32_t board_read(int file, void *data, uint32_t size); /* bytes read; fewer than size only at the end */
void board_write(int file, const void *data, uint32_t size);

void board_print(const char *text);             /* to the emulator's standard error */
_Noreturn void board_exit(int status);          /* 0: all went well */
_Noreturn void board_fail(const char *message); /* prints it, exits with 1 */

/* Instructions executed since clock_start, cycles on AVR, plus a constant that the caller takes off by timing an empty
 * function. Right only under an emulator that lets one instruction be one unit of its time (qemu -icount shift=0). */
void clock_start(void);
uint32_t clock_read(void);

/* What an empty function takes: its return. */
#if defined(__AVR_3_BYTE_PC__)
#define CLOCK_RETURN 5u
#elif defined(__AVR__)
#define CLOCK_RETURN 4u
#else
#define CLOCK_RETURN 1u
#endif

/* Bytes below the runner's stack pointer that may be painted and used. */
uint32_t board_stack_room(const void *stack_pointer);

static inline uint32_t *stack_pointer(void) {
    void *sp;
#if defined(__arm__)
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#elif defined(__riscv)
    __asm__ volatile("mv %0, sp" : "=r"(sp));
#elif defined(__x86_64__)
    __asm__ volatile("movq %%rsp, %0" : "=r"(sp));
#elif defined(__aarch64__)
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#elif defined(__AVR__)
    __asm__ volatile("in %A0, __SP_L__\n in %B0, __SP_H__" : "=r"(sp));
#else
#error "a line for this core is missing"
#endif
    return (uint32_t *)sp;
}

#endif
