/* avr_emulator.c: simavr with semihosting, as a program of the machine at hand: `avr_emulator MCU FILE.elf` runs a firmware
 * with avr.c in it and ends with its status. Calls are Arm's ("Semihosting for AArch32 and AArch64") with words of 16 bits;
 * SYS_ELAPSED gives simavr's cycle counter. Knows no model. */
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>
#include <simavr/sim_io.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPEN = 0x01, WRITE0 = 0x04, WRITE = 0x05, READ = 0x06, EXIT = 0x18, ELAPSED = 0x30 };
enum { GPIOR0 = 0x3E, GPIOR1 = 0x4A, GPIOR2 = 0x4B }; /* data addresses, the same in all that boards.py lists */
enum { SP_LOW = 0x5D, SP_HIGH = 0x5E };
enum { FILES = 8, APPLICATION_EXIT = 0x0026 }; /* the low half of the reason */

static FILE *files[FILES];
static int opened;

static _Noreturn void fail(const char *message) {
    fprintf(stderr, "%s\n", message);
    exit(1);
}

/* Bytes of RAM that a call names, all inside it. */
static uint8_t *ram(avr_t *avr, unsigned address, unsigned size) {
    if (address + size > (unsigned)avr->ramend + 1) fail("a semihosting call reaches beyond RAM");
    return avr->data + address;
}

static unsigned word(avr_t *avr, unsigned address) {
    const uint8_t *p = ram(avr, address, 2);
    return (unsigned)(p[0] | p[1] << 8);
}

static int open_file(avr_t *avr, unsigned block) {
    char name[64] = "";
    const unsigned length = word(avr, block + 4);
    if (length >= sizeof name || opened == FILES) return -1;
    memcpy(name, ram(avr, word(avr, block), length), length);
    files[opened] = fopen(name, word(avr, block + 2) == 1 ? "rb" : "wb");
    return files[opened] == NULL ? -1 : opened++;
}

/* The number of bytes that were not transferred. */
static int transfer(avr_t *avr, unsigned block, int reading) {
    const unsigned file = word(avr, block), size = word(avr, block + 4);
    uint8_t *data = ram(avr, word(avr, block + 2), size);
    if (file >= (unsigned)opened) return -1;
    return (int)(size - (reading ? fread(data, 1, size, files[file]) : fwrite(data, 1, size, files[file])));
}

static void call(avr_t *avr, avr_io_addr_t address, uint8_t operation, void *parameter) {
    (void)address, (void)parameter;
    const unsigned block = (unsigned)(avr->data[GPIOR1] | avr->data[GPIOR2] << 8);
    int answer = 0;
    switch (operation) {
    case OPEN: answer = open_file(avr, block); break;
    case WRITE0: fputs((const char *)ram(avr, block, 1), stderr); break;
    case WRITE: answer = transfer(avr, block, 0); break;
    case READ: answer = transfer(avr, block, 1); break;
    case EXIT: exit(block == APPLICATION_EXIT ? 0 : 1); /* closes the files */
    case ELAPSED:
        for (unsigned k = 0; k < 8; k++) ram(avr, block, 8)[k] = (uint8_t)(avr->cycle >> 8 * k);
        break;
    default: fail("a semihosting call that this emulator does not have");
    }
    avr->data[GPIOR1] = (uint8_t)answer;
    avr->data[GPIOR2] = (uint8_t)((unsigned)answer >> 8);
}

/* simavr goes on after an instruction that the core does not have; a run must not. */
static void log_line(avr_t *avr, const int level, const char *format, va_list arguments) {
    (void)avr;
    if (level > LOG_ERROR || level == LOG_OUTPUT) return;
    vfprintf(stderr, format, arguments);
    fail("the core took a fault (bad access or illegal instruction)");
}

int main(int count, char **arguments) {
    static elf_firmware_t firmware;
    if (count != 3) fail("avr_emulator MCU FILE.elf");
    avr_t *avr = avr_make_mcu_by_name(arguments[1]);
    if (avr == NULL) fail("simavr does not have this MCU");
    avr_global_logger_set(log_line);
    if (avr_init(avr) != 0 || elf_read_firmware(arguments[2], &firmware) != 0) fail("the firmware cannot be read");
    avr->log = LOG_ERROR;
    avr->frequency = 16000000;
    avr_load_firmware(avr, &firmware);
    avr_register_io_write(avr, GPIOR0, call, NULL);
    /* AVR has no fault for a stack that grows into variables: they lie lowest in RAM, after the registers. */
    const unsigned variables_end = avr->ioend + 1u + firmware.datasize + firmware.bsssize;
    for (unsigned started = 0;;) {
        const int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed) fail("the core took a fault (bad access or illegal instruction)");
        const unsigned sp = (unsigned)(avr->data[SP_LOW] | avr->data[SP_HIGH] << 8);
        started |= sp == avr->ramend; /* until then it is being set, a byte at a time */
        if (started && sp < variables_end) fail("the stack is exhausted");
    }
}
