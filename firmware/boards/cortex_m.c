/* cortex_m.c: a Cortex-M core from reset to main, its semihosting trap and an exact count of instructions.
 * Serves Armv6-M to Armv8.1-M; no interrupt is ever enabled, so any exception but reset is a fault. */
#include "board.h"
#include "semihost.h"

extern uint32_t data_start[], data_end[], bss_start[], bss_end[], stack_bottom[], stack_top[];
extern const uint32_t data_load[];
int main(void);

#define REGISTER(address) ((volatile uint32_t *)(address))
#define CPACR REGISTER(0xE000ED88u) /* access to coprocessors: FPU and Helium */
#define SYST_CSR REGISTER(0xE000E010u)
#define SYST_RVR REGISTER(0xE000E014u)
#define SYST_CVR REGISTER(0xE000E018u)

_Noreturn void board_entry(void);

void board_entry(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *CPACR |= 0xFu << 20; /* full access to coprocessors 10 and 11, before the first of their instructions */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    const uint32_t *from = data_load;
    for (uint32_t *to = data_start; to < data_end; to++) *to = *from++;
    for (uint32_t *to = bss_start; to < bss_end; to++) *to = 0;
    board_exit(main());
}

static _Noreturn void fault(void) { board_fail("the core took a fault (bad access, undefined instruction or stack exhausted)"); }

typedef union {
    void *stack;
    void (*handler)(void);
} vector;

/* Initial stack pointer, reset, then NMI, HardFault and the rest of the architecture's sixteen. */
__attribute__((used, section(".vectors"))) static const vector vectors[16] = {
    {.stack = stack_top}, {.handler = board_entry}, {.handler = fault}, {.handler = fault}, {.handler = fault}, {.handler = fault},
    {.handler = fault},   {.handler = fault},       {.handler = fault}, {.handler = fault}, {.handler = fault}, {.handler = fault},
    {.handler = fault},   {.handler = fault},       {.handler = fault}, {.handler = fault},
};

intptr_t board_semihost(uintptr_t operation, const void *block) {
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return (intptr_t)r0;
}

uint32_t board_stack_room(const void *sp) { return (uint32_t)((uintptr_t)sp - (uintptr_t)stack_bottom); }

/* SysTick counts down from 2^24 - 1; writing CVR sets it to 0 and starts a new tick at that very instruction. Where its
 * ticks are no whole number of instructions, 2^CLOCK_SHIFT of them are: CLOCK_TICK instructions, called a tick from here
 * on. A step may be up to 2^24 of SysTick's own ticks long (5e8 instructions at 31.25 per tick). */
void clock_start(void) {
    *SYST_RVR = 0xFFFFFFu;
    *SYST_CSR = 5; /* enabled, no interrupt, the core's clock */
    *SYST_CVR = 0;
}

/* The part of a tick that has gone by is read off as on a vernier: reads that are CLOCK_TICK + 1 instructions apart
 * find the counter one further each time, and two further in round k, when k more instructions would have ended the
 * tick of the first read. So the first read stood CLOCK_TICK - k instructions after a tick. Instructions that all
 * cores have; each line is one. */
uint32_t clock_read(void) {
    uint32_t first, last, now, change, k;
    __asm__ volatile(".syntax unified\n"
                     "ldr  %[first], [%[cvr]]\n"
                     "lsrs %[first], %[first], %[shift]\n"
                     "movs %[last], %[first]\n"
                     "movs %[k], #0\n"
                     ".rept %c[tick] + 1 - 4\n nop\n .endr\n"
                     "1:\n"
                     "ldr  %[now], [%[cvr]]\n"
                     "lsrs %[now], %[now], %[shift]\n"
                     "subs %[change], %[last], %[now]\n"
                     "lsls %[change], %[change], %[above]\n" /* modulo 2^24 of SysTick's */
                     "lsrs %[change], %[change], %[above]\n"
                     "movs %[last], %[now]\n"
                     "adds %[k], #1\n"
                     ".rept %c[tick] + 1 - 9\n nop\n .endr\n"
                     "cmp  %[change], #2\n"
                     "bne  1b\n"
                     : [first] "=&l"(first), [last] "=&l"(last), [now] "=&l"(now), [change] "=&l"(change), [k] "=&l"(k)
                     : [cvr] "l"(SYST_CVR), [tick] "i"(CLOCK_TICK), [shift] "i"(CLOCK_SHIFT), [above] "i"(8 + CLOCK_SHIFT)
                     : "cc", "memory");
    return ((0u - first) & (0xFFFFFFu >> CLOCK_SHIFT)) * CLOCK_TICK + CLOCK_TICK - k;
}
