/* host.c: the machine at hand as a board: same runner, the C library for its files. It counts no instructions; it is
 * there to check a harness, or a model, without an emulator. */
#include <stdio.h>
#include <stdlib.h>

#include "board.h"

enum { FILES = 8 };
static FILE *files[FILES];
static int opened;

static int open_file(const char *name, const char *mode) {
    if (opened == FILES || (files[opened] = fopen(name, mode)) == NULL) board_fail("a file of the run cannot be opened");
    return opened++;
}

int board_open_to_read(const char *name) { return open_file(name, "rb"); }
int board_open_to_write(const char *name) { return open_file(name, "wb"); }
uint32_t board_read(int file, void *data, uint32_t size) { return (uint32_t)fread(data, 1, size, files[file]); }

void board_write(int file, const void *data, uint32_t size) {
    if (fwrite(data, 1, size, files[file]) != size) board_fail("writing the outputs failed");
}

void board_print(const char *text) { (void)fputs(text, stderr); }
void board_exit(int status) { exit(status); } /* exit flushes and closes the files */

void board_fail(const char *message) {
    board_print(message);
    board_print("\n");
    exit(1);
}

void clock_start(void) {}
uint32_t clock_read(void) { return 0; }

uint32_t board_stack_room(const void *sp) {
    (void)sp;
    return 64 * 1024; /* far from the operating system's limit, far more than a model takes */
}
