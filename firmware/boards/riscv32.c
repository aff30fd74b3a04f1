/* riscv32.c: an RV32 core in machine mode from reset to main, its semihosting trap and its instruction counter.
 * One hart, no interrupts: any trap is a fault. */
#include "board.h"
#include "semihost.h"

extern uint32_t data_start[], data_end[], bss_start[], bss_end[], stack_bottom[];
extern const uint32_t data_load[];
int main(void);

_Noreturn void board_reset(void);
_Noreturn void board_fault(void);
void board_entry(void);

/* The first instructions: no stack yet, so no C. mstatus.FS = 1 switches the floating-point unit on. */
__attribute__((naked, used, section(".vectors"))) void board_entry(void) {
    __asm__ volatile(".option push\n .option norelax\n la gp, __global_pointer$\n .option pop\n"
                     ".option push\n .option arch, +zicsr\n"
                     "la sp, stack_top\n"
                     "la t0, board_fault\n csrw mtvec, t0\n"
#if defined(__riscv_flen)
                     "li t0, 0x2000\n csrs mstatus, t0\n csrw fcsr, zero\n"
#endif
                     ".option pop\n"
                     "j board_reset\n");
}

__attribute__((used)) void board_reset(void) {
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end; to++) *to = *from++;
    for (uint32_t *to = bss_start; to < bss_end; to++) *to = 0;
    board_exit(main());
}

__attribute__((used, aligned(4))) void board_fault(void) { board_fail("the core took a trap (bad access or illegal instruction)"); }

/* The three instructions that mark a semihosting call; they must lie in one page and be uncompressed. */
__attribute__((naked)) intptr_t board_semihost(uintptr_t operation __attribute__((unused)), const void *block __attribute__((unused))) {
    __asm__ volatile(".option push\n .option norvc\n .balign 16\n slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n .option pop\n ret\n");
}

uint32_t board_stack_room(const void *sp) { return (uint32_t)((uintptr_t)sp - (uintptr_t)stack_bottom); }

static uint32_t instructions(void) {
    uint32_t n;
    __asm__ volatile(".option push\n .option arch, +zicsr\n rdinstret %0\n .option pop" : "=r"(n)::"memory");
    return n;
}

/* A step may be up to 2^32 instructions long. */
static uint32_t start;
void clock_start(void) { start = instructions(); }
uint32_t clock_read(void) { return instructions() - start; }
