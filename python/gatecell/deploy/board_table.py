"""The boards: one record each, in one table, and nothing else.  What brings a core up is C, in firmware/boards; who builds and runs is
board_build.py and boards.py.  A new board is a record here, and a start-up file only if its core is of a new kind."""

from __future__ import annotations

import platform
from dataclasses import dataclass

KB, MB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Toolchain:
    """A family of compilers: the prefix of its programs, flags for all boards, the Debian packages of compiler and C library."""

    prefix: str
    flags: tuple[str, ...]
    package: str
    library_package: str


@dataclass(frozen=True)
class Memory:
    """Where a board's memories lie: (address, bytes) of code and of RAM, and how many bytes of RAM are the stack's."""

    code: tuple[int, int]
    ram: tuple[int, int]
    stack: int


@dataclass(frozen=True)
class Emulator:
    """A program that runs linked files: its command, the Debian package, and the flags that make one instruction one unit of time."""

    command: tuple[str, ...]
    package: str
    counting: tuple[str, ...]


@dataclass(frozen=True)
class Board:
    """`cpu`: flags of the compiler; `start`: files of firmware/boards that bring the core up; `tick`: instructions per tick of the
    clock that they read, 0 for one that counts none.  Without emulator and memory map the board is this machine."""

    name: str
    about: str
    toolchain: Toolchain
    cpu: tuple[str, ...]
    start: tuple[str, ...]
    tick: int
    emulator: Emulator | None = None
    memory: Memory | None = None


ARM = Toolchain("arm-none-eabi-", (), "gcc-arm-none-eabi", "libnewlib-arm-none-eabi")
RISCV = Toolchain("riscv64-unknown-elf-", ("--specs=picolibc.specs",), "gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf")
HOST = Toolchain("", (), "gcc", "libc6-dev")

# No window, no monitor, no serial line: files and text go through semihosting.  With shift=0 an instruction takes one nanosecond.
_QUIET = ("-display", "none", "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native")
_COUNTING = ("-icount", "shift=0")


def _qemu(program: str, package: str, *machine: str) -> Emulator:
    return Emulator((program, "-M", *machine, *_QUIET, "-kernel"), package, _COUNTING)


def _mps2(machine: str) -> Emulator:
    return _qemu("qemu-system-arm", "qemu-system-arm", machine)


_MPS2_MEMORY = Memory(code=(0x0000_0000, 4 * MB), ram=(0x2000_0000, 4 * MB), stack=64 * KB)  # the two ZBT SRAMs
_MPS2_TICK = 40  # the core's clock is 25 MHz
_CORTEX_M = ("cortex_m.c", "semihost.c")
_RISCV32 = ("riscv32.c", "semihost.c")

BOARDS = {
    board.name: board
    for board in (
        Board(
            "cortex-m4",
            "Cortex-M4F, qemu mps2-an386",
            ARM,
            ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
            _CORTEX_M,
            _MPS2_TICK,
            _mps2("mps2-an386"),
            _MPS2_MEMORY,
        ),
        Board(
            "cortex-m3",
            "Cortex-M3, qemu mps2-an385, floats in software",
            ARM,
            ("-mcpu=cortex-m3", "-mthumb"),
            _CORTEX_M,
            _MPS2_TICK,
            _mps2("mps2-an385"),
            _MPS2_MEMORY,
        ),
        Board(
            "rv32imafc",
            "RV32IMAFC, qemu virt",
            RISCV,
            ("-march=rv32imafc", "-mabi=ilp32f"),
            _RISCV32,
            1,
            _qemu("qemu-system-riscv32", "qemu-system-misc", "virt", "-bios", "none"),
            Memory(code=(0x8000_0000, 4 * MB), ram=(0x8040_0000, 4 * MB), stack=64 * KB),  # one RAM, used as two
        ),
        # Without the red zone nothing but a call touches what lies below the stack pointer, where the runner paints.
        Board("host", "this machine", HOST, ("-mno-red-zone",) if platform.machine() == "x86_64" else (), ("host.c",), 0),
    )
}
