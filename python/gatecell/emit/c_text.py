"""C text that integer models share: helper functions, the table, how numbers and names are spelled.  Not here: any model's structure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..algebra.table import table

KEYWORDS = frozenset(
    """auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return
    short signed sizeof static struct switch typedef union unsigned void volatile while alignas alignof and and_eq asm bitand bitor bool
    catch char16_t char32_t class compl concept const_cast consteval constexpr constinit co_await co_return co_yield decltype delete
    dynamic_cast explicit export false friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public
    reinterpret_cast requires static_assert static_cast template this thread_local throw true try typeid typename using virtual wchar_t
    xor xor_eq main errno NULL""".split()
)
"""Of C and C++: a model or value with such a name compiles in neither."""

LICENCE = "This file is generated text and belongs to whoever generated it; gatecell's own licence makes no claim on it."

# Each: text, and the helpers that it calls.  Right shifts of negative integers are arithmetic on every compiler gatecell knows;
# negative integers are never shifted left.
HELPERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sat16": (
        """
static inline int32_t sat16(int32_t v) {
#if defined(GATECELL_DSP)
  int32_t r;
  __asm__("ssat %0, #16, %1" : "=r"(r) : "r"(v));
  return r;
#else
  return v > 32767 ? 32767 : v < -32768 ? -32768 : v;
#endif
}""",
        (),
    ),
    "requantize": (
        """
/* floor((acc m + 2^(15 + shift)) / 2^(16 + shift)), saturated to int16; m in 1..32767, shift in 1..30. */
static inline int32_t requantize(int32_t acc, int32_t m, int shift) {
#if defined(GATECELL_DSP)
  int32_t r;
  __asm__("smlawb %0, %1, %2, %3" : "=r"(r) : "r"(acc), "r"(m), "r"((int32_t)1 << (shift - 1)));
  return sat16(r >> shift);
#elif defined(__ARM_ARCH_6M__) || defined(__AVR__)
  const int32_t high = (acc >> 16) * m + (int32_t)((((uint32_t)acc & 0xFFFFu) * (uint32_t)m) >> 16);
  return sat16((high + ((int32_t)1 << (shift - 1))) >> shift);
#else
  const int32_t high = (int32_t)(((int64_t)acc * m) >> 16);
  return sat16((high + ((int32_t)1 << (shift - 1))) >> shift);
#endif
}""",
        ("sat16",),
    ),
    "chord": (
        """
/* Between two entries of the table; the argument's magnitude in steps of 2^-bits entries. */
static inline int32_t chord(int32_t magnitude, int bits, int shift) {
  const int32_t at = magnitude >> bits, part = magnitude & (((int32_t)1 << bits) - 1);
  const int32_t low = tanh_table[at], rise = tanh_table[at + 1] - low;
  return (low * ((int32_t)1 << bits) + rise * part + ((int32_t)1 << (shift - 1))) >> shift;
}""",
        ("table",),
    ),
    "tanh_q": (
        """
/* Q3.12 -> Q0.15, at most 1.22 steps off. */
static inline int32_t tanh_q(int32_t a) {
  const int32_t t = chord(a < 0 ? -a : a, 6, 6);
  return a < 0 ? -t : t;
}""",
        ("chord",),
    ),
    "sigmoid_q": (
        """
/* Q3.12 -> Q0.15, at most 0.92 steps off. */
static inline int32_t sigmoid_q(int32_t a) {
  const int32_t t = chord(a < 0 ? -a : a, 7, 8);
  return a < 0 ? 16384 - t : 16384 + t;
}""",
        ("chord",),
    ),
    "clamp": ("\nstatic inline int32_t clamp(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }", ()),
    "larger": ("\nstatic inline int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }", ()),
    "lerp_q": (
        """
/* a at t = 0, b at t = 2^bits. */
static inline int32_t lerp_q(int32_t t, int32_t a, int32_t b, int bits) {
  return a + ((t * (b - a) + ((int32_t)1 << (bits - 1))) >> bits);
}""",
        (),
    ),
    "view": (
        """
/* The int8 view of an int16: what enters an int8 product, in [-127, 127]. */
static inline int8_t view(int16_t h) { return (int8_t)(((int32_t)h * 127 + 16384) >> 15); }""",
        (),
    ),
}


def helpers(used: Iterable[str]) -> list[str]:
    """Texts of the helpers and of what they call, callees first."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name in done:
            return
        if name == "table":
            done[name] = tanh_table()
            return
        text, calls = HELPERS[name]
        for other in calls:
            add(other)
        done[name] = text.strip("\n")

    for name in HELPERS:
        if name in used:
            add(name)
    return list(done.values())


def tanh_table() -> str:
    head = "/* tanh(n / 64) in Q0.15, moved by half of what a chord loses (gatecell, docs/arithmetic.md, section 6). */\n"
    return head + array("int16_t", "tanh_table", table().tolist())


def dot(weight: str, argument: str) -> tuple[str, str]:
    """Name and text of the portable product of a block of rows with a vector."""
    name = f"dot_{weight}_{argument}"
    text = f"""/* Adds to a[0 .. rows - 1] the sums over k < n of weights times x[k]; a column's rows stand side by side. -> the end of the block. */
static inline const {weight}_t *{name}(const {weight}_t *w, const {argument}_t *x, int n, int rows, int32_t a[4]) {{
  int32_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
  for (int k = 0; k < n; k++, w += rows) {{
    const int32_t v = x[k];
    a0 += w[0] * v;
    if (rows > 1) a1 += w[1] * v;
    if (rows > 2) a2 += w[2] * v;
    if (rows > 3) a3 += w[3] * v;
  }}
  a[0] = a0, a[1] = a1, a[2] = a2, a[3] = a3;
  return w;
}}"""
    return name, text


def kernel_text() -> str:
    """firmware/kernels/dot_dsp.h, to stand inside a model."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "firmware", package.parents[1] / "firmware"):
        file = folder / "kernels" / "dot_dsp.h"
        if file.is_file():
            return file.read_text().strip()
    raise FileNotFoundError(f"firmware/kernels/dot_dsp.h stands neither in {package} nor in its source tree")


def array(ctype: str, name: str, values: Sequence[Any], width: int = 120) -> str:
    """A constant array, its values in lines."""
    lines, line = [], " "
    for v in values:
        text = f" {v},"
        if len(line) + len(text) > width:
            lines.append(line)
            line = " "
        line += text
    return f"static const {ctype} {name}[{len(values)}] = {{\n" + "\n".join([*lines, line]) + "\n};"


def real(v: float) -> str:
    """A float literal that reads back as the same float32."""
    text = f"{v:.9g}"
    if not re.search(r"[.e]", text):
        text += ".0"
    return text + "f"


def fresh(want: str, taken: set[str]) -> str:
    """`want` as an identifier that is not taken; it is then."""
    name = re.sub(r"\W", "_", want)
    while name in taken or name in KEYWORDS:
        name += "_"
    taken.add(name)
    return name


def comment(text: str) -> str:
    return "/* " + text.replace("*/", "* /").replace("/*", "/ *") + " */"
