"""What C can be laid out for: one row each.  A target changes the layout of constants and the form of loops, never a result.

Not here: how a layout is written (c_blocks.py, c_flash.py); boards that run it (deploy/board_table.py), which have these names.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Flash:
    """Constants in a memory that ordinary loads do not reach.  Bytes: the largest array that the compiler takes; all of them together."""

    array: int
    total: int


@dataclass(frozen=True)
class Target:
    """`dsp`: products are laid out for Arm's DSP extension (firmware/kernels/dot_dsp.h).  `flash`: constants are read by macros."""

    dsp: bool = False
    flash: Flash | None = None


DSP = Target(dsp=True)
PLAIN = Target()
# avr-gcc counts an object's bytes in an int; LPM reads the first 64 KB, which begin with the vectors of interrupts.
AVR = Target(flash=Flash(array=32767, total=65536 - 256))

TARGETS = {
    "generic": PLAIN,
    "cortex-m0": PLAIN,
    "cortex-m0plus": PLAIN,
    "cortex-m3": PLAIN,
    "cortex-m4": DSP,
    "cortex-m7": DSP,
    "cortex-m33": DSP,
    "cortex-m55": DSP,
    "rv32imc": PLAIN,
    "rv32imac": PLAIN,
    "rv32imafc": PLAIN,
    "atmega2560": AVR,
    "atmega1284p": AVR,
}


def find(name: str) -> Target:
    """The row of a target.  TypeError; ValueError for a name that is none."""
    if not isinstance(name, str):
        raise TypeError(f"target: wanted a string, got {type(name).__name__}")
    if name not in TARGETS:
        raise ValueError(f"target: wanted one of {', '.join(TARGETS)}, got {name!r}")
    return TARGETS[name]
