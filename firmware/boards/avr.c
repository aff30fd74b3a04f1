/* avr.c: an AVR core under simavr: its semihosting trap and its cycle counter, both of avr_emulator.c. Reset to main is
 * avr-libc's own start-up code. No interrupt is ever enabled. */
#include <avr/io.h>
#include <stdlib.h>

#include "board.h"
#include "semihost.h"

extern uint8_t __heap_start[]; /* by the linker: the end of what variables take */

/* Three registers that no peripheral has: the block's address in two, then the operation, which the emulator sees; its
 * answer in the two. */
intptr_t board_semihost(uintptr_t operation, const void *block) {
    GPIOR1 = (uint8_t)(uintptr_t)block;
    GPIOR2 = (uint8_t)((uintptr_t)block >> 8);
    GPIOR0 = (uint8_t)operation;
    return (intptr_t)(GPIOR1 | (uint16_t)(GPIOR2 << 8));
}

void exit(int status) { board_exit(status); } /* where main returns to */

uint32_t board_stack_room(const void *sp) { return (uint32_t)((uintptr_t)sp - (uintptr_t)__heap_start); }

enum { SYS_ELAPSED = 0x30 };

static uint32_t cycles(void) {
    uint32_t elapsed[2]; /* 64 bits, the low word first */
    (void)board_semihost(SYS_ELAPSED, elapsed);
    return elapsed[0];
}

/* A step may be up to 2^32 cycles long. */
static uint32_t start;
void clock_start(void) { start = cycles(); }
uint32_t clock_read(void) { return cycles() - start; }
