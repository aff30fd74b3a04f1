"""The boards: one record each, in one table, and nothing else.  What brings a core up is C, in firmware/boards; who builds and runs is
board_build.py and boards.py.  A new board is a record here, and a start-up file only if its core is of a new kind."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from fractions import Fraction

KB, MB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Toolchain:
    """A family of compilers: the prefix of its programs, flags for all boards, the Debian packages of compiler and C library, what
    linking takes besides, and whether the compiler writes its graph of calls (-fcallgraph-info, gcc 10)."""

    prefix: str
    flags: tuple[str, ...]
    package: str
    library_package: str
    link: tuple[str, ...] = ()
    graph: bool = True


@dataclass(frozen=True)
class Memory:
    """Where a board's memories lie: (address, bytes) of code and of RAM, and how many bytes of RAM are the stack's."""

    code: tuple[int, int]
    ram: tuple[int, int]
    stack: int


@dataclass(frozen=True)
class Emulator:
    """A program that runs linked files: its command, the Debian package, and the flags that make one instruction one unit of time.
    `source`: a file of firmware/boards that this machine's compiler makes the program of, and the flags that takes."""

    command: tuple[str, ...]
    package: str
    counting: tuple[str, ...] = ()
    source: tuple[str, ...] = ()


@dataclass(frozen=True)
class Board:
    """`cpu`: flags of the compiler; `start`: files of firmware/boards that bring the core up; `tick`: instructions per tick of the
    clock that they read, a whole number of them in 1, 2, 4, ... ticks; 0 for one that counts none.  `unit`: what is counted.
    Without a memory map the compiler's own start-up code and linker script are taken; without an emulator the board is this machine."""

    name: str
    about: str
    toolchain: Toolchain
    cpu: tuple[str, ...]
    start: tuple[str, ...]
    tick: Fraction = Fraction(0)
    emulator: Emulator | None = None
    memory: Memory | None = None
    unit: str = "instructions"


ARM = Toolchain("arm-none-eabi-", (), "gcc-arm-none-eabi", "libnewlib-arm-none-eabi")
RISCV = Toolchain("riscv64-unknown-elf-", ("--specs=picolibc.specs",), "gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf")
# The runner's record of types (.gatecell) lies where no memory is; it is only read from the file.
AVR = Toolchain("avr-", (), "gcc-avr", "avr-libc", ("-Wl,--section-start=.gatecell=0x850000",), graph=False)
HOST = Toolchain("", (), "gcc", "libc6-dev")

# No window, no monitor, no serial line: files and text go through semihosting.  With shift=0 an instruction takes one nanosecond.
_QUIET = ("-display", "none", "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native")
_COUNTING = ("-icount", "shift=0")


def _qemu(program: str, package: str, *machine: str) -> Emulator:
    return Emulator((program, "-M", *machine, *_QUIET, "-kernel"), package, _COUNTING)


def _arm(machine: str) -> Emulator:
    return _qemu("qemu-system-arm", "qemu-system-arm", machine)


_RISCV32 = _qemu("qemu-system-riscv32", "qemu-system-misc", "virt", "-bios", "none")

_MPS2_MEMORY = Memory(code=(0x0000_0000, 4 * MB), ram=(0x2000_0000, 4 * MB), stack=64 * KB)  # the two ZBT SRAMs
_VIRT_MEMORY = Memory(code=(0x8000_0000, 4 * MB), ram=(0x8040_0000, 4 * MB), stack=64 * KB)  # one RAM, used as two
_CORTEX_M = ("cortex_m.c", "semihost.c")
_AVR = ("avr.c", "semihost.c")
_RISCV = ("riscv32.c", "semihost.c")


def _cortex_m(name: str, about: str, cpu: tuple[str, ...], machine: str, mhz: int, memory: Memory = _MPS2_MEMORY) -> Board:
    flags = (f"-mcpu={name}", "-mthumb", *cpu)
    return Board(name, f"{about}, qemu {machine}", ARM, flags, _CORTEX_M, Fraction(1000, mhz), _arm(machine), memory)


def _rv32(extensions: str, about: str, abi: str = "ilp32") -> Board:
    name, flags = f"rv32{extensions}", (f"-march=rv32{extensions}", f"-mabi={abi}")
    return Board(name, f"{name.upper()}{about}, qemu virt", RISCV, flags, _RISCV, Fraction(1), _RISCV32, _VIRT_MEMORY)


def _avr(name: str, about: str) -> Board:
    emulator = Emulator((name,), "libsimavr-dev", source=("avr_emulator.c", "-lsimavr"))
    return Board(name, f"{about}, floats in software, simavr", AVR, (f"-mmcu={name}",), _AVR, Fraction(1), emulator, unit="cycles")


_SOFT = ("-mfloat-abi=soft",)
BOARDS = {
    board.name: board
    for board in (
        _cortex_m("cortex-m4", "Cortex-M4F", ("-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"), "mps2-an386", 25),
        _cortex_m("cortex-m3", "Cortex-M3, floats in software", _SOFT, "mps2-an385", 25),
        # nRF51: little RAM.
        _cortex_m(
            "cortex-m0",
            "Cortex-M0, floats in software",
            _SOFT,
            "microbit",
            16,
            Memory(code=(0x0000_0000, 256 * KB), ram=(0x2000_0000, 16 * KB), stack=8 * KB),
        ),
        _cortex_m("cortex-m7", "Cortex-M7F", ("-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"), "mps2-an500", 25),
        # Starts in secure state: the secure aliases of both SRAMs.
        _cortex_m(
            "cortex-m33",
            "Cortex-M33F, in secure state",
            ("-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
            "mps2-an505",
            20,
            Memory(code=(0x1000_0000, 4 * MB), ram=(0x3800_0000, 2 * MB), stack=64 * KB),
        ),
        # Instruction and data memory beside the core.
        _cortex_m(
            "cortex-m55",
            "Cortex-M55 with Helium",
            ("-mfpu=auto", "-mfloat-abi=hard"),
            "mps3-an547",
            32,
            Memory(code=(0x0000_0000, 512 * KB), ram=(0x2000_0000, 512 * KB), stack=64 * KB),
        ),
        _rv32("imafc", "", "ilp32f"),
        _rv32("imac", ", floats in software"),
        _rv32("imc", ", floats in software"),
        _avr("atmega2560", "ATmega2560, 8 KB of RAM"),
        _avr("atmega1284p", "ATmega1284P, 16 KB of RAM"),
        # Without the red zone nothing but a call touches what lies below the stack pointer, where the runner paints.
        Board("host", "this machine", HOST, ("-mno-red-zone",) if platform.machine() == "x86_64" else (), ("host.c",)),
    )
}
