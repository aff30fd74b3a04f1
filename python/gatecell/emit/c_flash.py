"""A model's constants moved to program memory: the same C, its constant arrays declared PROGMEM and read by macros.

For AVR, whose loads do not reach flash: without this every weight and table would be copied to RAM.  Works on the finished text, so that
no writer of C has to know of it.  Elsewhere the macros are plain reads: the text compiles everywhere, with the same bits.
"""

from __future__ import annotations

import re

from ..errors import Unsupported
from .targets import Flash

READ = {
    "int8_t": (1, "(int8_t)pgm_read_byte"),
    "int16_t": (2, "(int16_t)pgm_read_word"),
    "int32_t": (4, "(int32_t)pgm_read_dword"),
    "float": (4, "pgm_read_float"),
}
"""C type -> its bytes, and how avr-libc reads one."""

_ARRAY = re.compile(r"static const (\w+) (\w+)((?:\[\d+\])+) = ")
_DOT = re.compile(r"static inline const (\w+) \*dot\w*\(const \w+ \*w,.*?\n\}", re.DOTALL)


def in_flash(text: str, flash: Flash, target: str) -> str:
    """The text of NAME.c with its constants in flash.  Unsupported: more bytes than there is room for."""
    arrays = {name: (ctype, sizes) for ctype, name, sizes in _ARRAY.findall(text)}
    _check({name: _bytes(*array) for name, array in arrays.items()}, flash, target)
    text = _DOT.sub(lambda m: re.sub(r"\bw\[(\d)\]", lambda k: _read(m[1], "w" if k[1] == "0" else f"w + {k[1]}"), m[0]), text)
    text = _ARRAY.sub(r"static const \1 \2\3 PROGMEM = ", text)
    parts, at = [], 0
    for match in re.finditer(r"\b(\w+)\[", text):
        declared = text.startswith("static const", text.rfind("\n", 0, match.start()) + 1)
        if match[1] not in arrays or match.start() < at or declared:
            continue
        end = _past_brackets(text, match.end() - 1)
        parts += [text[at : match.start()], _read(arrays[match[1]][0], f"&{text[match.start() : end]}")]
        at = end
    return "".join([*parts, text[at:]])


def prelude() -> str:
    """The macros, for the head of the file."""
    there = "\n".join(f"#define flash_{ctype}(p) {f'({read}(p))' if read[0] == '(' else f'{read}(p)'}" for ctype, (_, read) in READ.items())
    elsewhere = "\n".join(f"#define flash_{ctype}(p) (*(p))" for ctype in READ)
    return f"""/* Constants stay in flash, which AVR reads by instructions of their own. */
#ifdef __AVR__
#include <avr/pgmspace.h>
{there}
#else
#define PROGMEM
{elsewhere}
#endif"""


def _read(ctype: str, address: str) -> str:
    return f"flash_{ctype}({address})"


def _bytes(ctype: str, sizes: str) -> int:
    count = READ[ctype][0]
    for size in re.findall(r"\d+", sizes):
        count *= int(size)
    return count


def _check(sizes: dict[str, int], flash: Flash, target: str) -> None:
    for name, size in sizes.items():
        if size > flash.array:
            raise Unsupported(f"target {target}: {name} takes {size:,} bytes; its compiler takes at most {flash.array:,} in one array")
    total = sum(sizes.values())
    if total > flash.total:
        raise Unsupported(f"target {target}: weights and tables take {total:,} bytes; its loads reach {flash.total:,}")


def _past_brackets(text: str, at: int) -> int:
    """The end of the subscripts that begin at `at`."""
    depth = 0
    while True:
        depth += (text[at] == "[") - (text[at] == "]")
        at += 1
        if depth == 0 and text[at] != "[":
            return at
