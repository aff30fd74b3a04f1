/* semihost.h: the one call that semihost.c needs of a core, and the end of the run for its faults. */
#ifndef GATECELL_SEMIHOST_H
#define GATECELL_SEMIHOST_H

#include <stdint.h>

/* Traps into the emulator: `operation` and its argument block in the first two argument registers; its answer. */
intptr_t board_semihost(uintptr_t operation, const void *block);

#endif
