"""Compiles and links an exported model for a board, and says what it takes: its types, flash, RAM, a bound of its stack.  Runs nothing
(boards.py does) and knows no board (board_table.py does).

The model is compiled with all warnings as errors: what is exported has to pass in its user's project too.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..emit.c_text import firmware
from .board_stack import by_graph, by_listing
from .board_table import HOST, Board

EMULATOR = "emulator"
"""An emulator's name in the folder of a build, where it was compiled for that."""
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")
TOOL_SECONDS = 120.0  # for a compiler; a model of 900 KB takes two

# How a compiler speaks that has no C library beside it.
_NO_LIBRARY = re.compile(r"cannot read spec file|\b(stdint|stddef|string|math|io)\.h: No such file|cannot find (-l[cm]\b|crt\w+\.o)")


class BoardError(RuntimeError):
    """A model could not be built for a board, or did not come to its end there; the message holds the tool's own text."""


class ToolMissing(BoardError):
    """A compiler, emulator or C library is not installed; the message names the Debian package that has it."""


class CompileError(BoardError):
    """The compiler or the linker refused the model; the message is its text."""


class BoardTimeout(BoardError, TimeoutError):
    """A tool did not end in the time it was given."""


@dataclass(frozen=True)
class Layout:
    """A model's rows as its compiler sees them: NumPy type and number of inputs and of outputs; bytes of NAME_state."""

    input_type: np.dtype[np.generic]
    inputs: int
    output_type: np.dtype[np.generic]
    outputs: int
    state_bytes: int


@dataclass(frozen=True)
class Sizes:
    """Bytes that NAME_init and NAME_step bring into a firmware.  `flash`: text, constants, initial values, and the library routines that
    they call, which `library` names; `weights`: the constants in it whose names begin with NAME_w; `variables`: RAM beside the caller's
    NAME_state."""

    flash: int
    weights: int
    variables: int
    library: tuple[str, ...]


def call(command: Sequence[str], package: str, folder: Path, seconds: float, error: type[BoardError] = BoardError) -> str:
    """Runs a tool in `folder`; its standard output.  ToolMissing, BoardTimeout, or `error` with the tool's text."""
    if shutil.which(command[0]) is None:
        raise ToolMissing(f"{command[0]} is not installed (Debian package {package})")
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise BoardTimeout(f"{command[0]} was stopped after {seconds:g} s") from None
    if done.returncode != 0:
        text = (done.stderr + done.stdout).strip() or "and said nothing"
        raise error(f"{command[0]} ended with status {done.returncode}: {text}")
    return done.stdout


class Build:
    """NAME.c of a folder, built for a board; objects and linked files go to `work`, a folder of the caller's.

    Raises ToolMissing, CompileError, BoardTimeout.
    """

    def __init__(self, board: Board, source: Path, name: str, optimise: str, work: Path) -> None:
        self.board, self.name, self.source, self.work = board, name, source, work
        usage = "-fcallgraph-info=su" if board.toolchain.graph else "-fstack-usage"
        self._compile("model.o", source / f"{name}.c", "-std=c99", optimise, usage)

    def _tool(self, program: str, *arguments: str) -> str:
        chain = self.board.toolchain
        try:
            return call((chain.prefix + program, *arguments), chain.package, self.work, TOOL_SECONDS, CompileError)
        except CompileError as error:
            if _NO_LIBRARY.search(str(error)):
                raise ToolMissing(f"{chain.prefix}{program} lacks its C library (Debian {chain.library_package}): {error}") from None
            raise

    def _compile(self, target: str, source: Path, *flags: str) -> None:
        board = self.board
        common = (*board.toolchain.flags, *board.cpu, *WARNINGS, "-ffunction-sections", "-fdata-sections")
        self._tool("gcc", *common, *flags, "-c", str(source), "-o", target)

    def _link(self, target: str, *inputs: str) -> None:
        board = self.board
        flags = [*board.toolchain.flags, *board.cpu, "-Wl,--gc-sections", *board.toolchain.link]
        if board.memory is not None:
            places = {
                "code_origin": board.memory.code[0],
                "code_length": board.memory.code[1],
                "ram_origin": board.memory.ram[0],
                "ram_length": board.memory.ram[1],
                "stack_length": board.memory.stack,
            }
            flags += ["-nostartfiles", "-T", str(firmware() / "boards" / "sections.ld")]
            flags += [f"-Wl,--defsym={symbol}={value:#x}" for symbol, value in places.items()]
        self._tool("gcc", *flags, *inputs, "-lm", "-o", target)

    def runner(self) -> Path:
        """The program that takes the model through a file of rows (firmware/boards/runner.c)."""
        boards = firmware() / "boards"
        # The header by its whole path: a model may have the name of a file that lies beside the runner.
        header = self.source / f"{self.name}.h"
        model = (f"-DNAME(suffix)={self.name}##suffix", f"-DCAPS(suffix)={self.name.upper()}##suffix", f'-DMODEL_HEADER="{header}"')
        tick = self.board.tick
        clock = (f"-DCLOCK_TICK={tick.numerator}", f"-DCLOCK_SHIFT={tick.denominator.bit_length() - 1}")
        objects = []
        for file in ("runner.c", *self.board.start):
            objects.append(file.replace(".c", ".o"))
            self._compile(objects[-1], boards / file, "-std=c11", "-O2", *clock, *model)
        self._emulator()
        self._link("runner.elf", "-Wl,-u,gatecell_info", "model.o", *objects)
        return self.work / "runner.elf"

    def _emulator(self) -> None:
        """Compiles the board's emulator where it is one of firmware/boards."""
        emulator = self.board.emulator
        if emulator is None or not emulator.source:
            return
        source, *flags = emulator.source
        command = (f"{HOST.prefix}gcc", "-std=c11", "-O2", *WARNINGS, str(firmware() / "boards" / source), *flags, "-o", EMULATOR)
        try:
            call(command, HOST.package, self.work, TOOL_SECONDS, CompileError)
        except CompileError as error:
            raise ToolMissing(f"{source} does not compile (Debian package {emulator.package}): {error}") from None

    def layout(self) -> Layout:
        """Reads the record that the runner was linked with; needs `runner` to have been called."""
        self._tool("objcopy", "-O", "binary", "--only-section=.gatecell", "runner.elf", "layout.bin")
        letter_in, bytes_in, inputs, letter_out, bytes_out, outputs, state = struct.unpack("<7I", (self.work / "layout.bin").read_bytes())
        return Layout(np.dtype(f"<{chr(letter_in)}{bytes_in}"), inputs, np.dtype(f"<{chr(letter_out)}{bytes_out}"), outputs, state)

    def sizes(self) -> Sizes:
        """Links NAME_init, NAME_step and what they need, alone, and measures that."""
        self._link("alone.elf", "-nostartfiles", f"-Wl,-u,{self.name}_init,-e,{self.name}_step", "model.o")
        found: dict[str, int] = {}
        for line in self._tool("size", "-A", "-d", "alone.elf").splitlines():
            match = re.match(r"\.(text|rodata|data|bss)\s+(\d+)", line)
            if match:
                found[match[1]] = int(match[2])
        weights, present = 0, set()
        for line in self._tool("nm", "--print-size", "--radix=d", "alone.elf").splitlines():
            fields = line.split()
            present.add(fields[-1])
            if len(fields) == 4 and fields[2] in "rRdDtT" and fields[3].startswith(f"{self.name}_w"):
                weights += int(fields[1])
        undefined = (line.split()[-1] for line in self._tool("nm", "--undefined-only", "model.o").splitlines())
        wanted = (name for name in undefined if not name.startswith("__do_"))  # AVR's start-up code, which every firmware has
        library = tuple(sorted(present.intersection(wanted)))
        data = found.get("data", 0)
        return Sizes(found.get("text", 0) + found.get("rodata", 0) + data, weights, data + found.get("bss", 0), library)

    def stack_bound(self) -> int | None:
        """Bytes of the deepest path of calls from NAME_step; None where there is no such bound (board_stack.py)."""
        step = f"{self.name}_step"
        if self.board.toolchain.graph:
            return by_graph((self.work / "model.ci").read_text(), step)
        return by_listing(self._tool("objdump", "-d", "alone.elf"), (self.work / "model.su").read_text(), step)
