/* semihost.c: files, text and the exit by Arm's semihosting calls ("Semihosting for AArch32 and AArch64"; RISC-V
 * took over its numbers). The trap itself is the core's: board_semihost in cortex_m.c, riscv32.c and avr.c. */
#include "semihost.h"

#include "board.h"

enum { SYS_OPEN = 0x01, SYS_WRITE0 = 0x04, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT = 0x18 };
enum { MODE_RB = 1, MODE_WB = 5 };
#define STOPPED_APPLICATION_EXIT 0x20026u
#define STOPPED_RUN_TIME_ERROR 0x20023u

static uintptr_t length(const char *text) {
    uintptr_t n = 0;
    while (text[n] != '\0') n++;
    return n;
}

static int open_file(const char *name, uintptr_t mode) {
    const uintptr_t block[3] = {(uintptr_t)name, mode, length(name)};
    const intptr_t file = board_semihost(SYS_OPEN, block);
    if (file < 0) board_fail("a file of the run cannot be opened");
    return (int)file;
}

int board_open_to_read(const char *name) { return open_file(name, MODE_RB); }
int board_open_to_write(const char *name) { return open_file(name, MODE_WB); }

/* Both calls answer with the number of bytes that were not transferred. */
uint32_t board_read(int file, void *data, uint32_t size) {
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, (uintptr_t)size};
    const intptr_t missing = board_semihost(SYS_READ, block);
    if (missing < 0 || (uint32_t)missing > size) board_fail("reading the inputs failed");
    return size - (uint32_t)missing;
}

void board_write(int file, const void *data, uint32_t size) {
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)data, (uintptr_t)size};
    if (board_semihost(SYS_WRITE, block) != 0) board_fail("writing the outputs failed");
}

void board_print(const char *text) { (void)board_semihost(SYS_WRITE0, text); }

/* A 32-bit core passes the reason itself where others pass a block, one of 16 bits its low half; only "application exit"
 * becomes status 0. */
void board_exit(int status) {
    const uintptr_t reason = (uintptr_t)(status == 0 ? STOPPED_APPLICATION_EXIT : STOPPED_RUN_TIME_ERROR);
    for (;;) (void)board_semihost(SYS_EXIT, (const void *)reason);
}

void board_fail(const char *message) {
    board_print(message);
    board_print("\n");
    board_exit(1);
}
