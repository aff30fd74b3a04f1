"""C text that integer models share: helper functions, the table, how numbers and names are spelled.  Not here: any model's structure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..algebra.table import table

_WORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return
short signed sizeof static struct switch typedef union unsigned void volatile while alignas alignof and and_eq asm bitand bitor
bool catch char16_t char32_t class compl concept const_cast consteval constexpr constinit co_await co_return co_yield decltype
delete dynamic_cast explicit export false friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private
protected public reinterpret_cast requires static_assert static_cast template this thread_local throw true try typeid typename
using virtual wchar_t xor xor_eq main errno NULL
"""
KEYWORDS = frozenset(_WORDS.split())
"""Of C and C++: a model or value with such a name compiles in neither."""

LICENCE = "This file is generated text and belongs to whoever generated it; gatecell's own licence makes no claim on it."

HELPERS: dict[str, str] = {
    "clamp": "static inline int32_t clamp(int32_t v, int32_t low, int32_t high) { return v < low ? low : v > high ? high : v; }",
    "larger": "static inline int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }",
    "lerp_q": """/* a at t = 0, b at t = 2^bits. */
static inline int32_t lerp_q(int32_t t, int32_t a, int32_t b, int bits) {
  return a + ((t * (b - a) + ((int32_t)1 << bits >> 1)) >> bits);
}""",
    "view": """/* The int8 view of an int16: what enters an int8 product, in [-127, 127]. */
static inline int8_t view(int16_t h) { return (int8_t)(((int32_t)h * 127 + 16384) >> 15); }""",
}
"""Beside the functions of firmware/kernels/point_dsp.h."""


def helpers(used: set[str]) -> list[str]:
    """Texts of the helpers and of what they call, callees first."""
    head, *functions = kernel("point_dsp.h").split("\n\n")[1:]
    named = {m[1]: text for text in functions if (m := re.search(r"GATECELL_INLINE \w+ (\w+)\(", text))}
    wanted = set(used)
    for name in reversed(named):
        if name in wanted:
            wanted |= {other for other in named if re.search(rf"\b{other}\(", named[name])}
    out = [head] if wanted & set(named) else []
    out += [tanh_table()] if "chord" in wanted else []
    return [*out, *(t for n, t in named.items() if n in wanted), *(t for n, t in HELPERS.items() if n in wanted)]


def tanh_table() -> str:
    head = "/* tanh(n / 64) in Q0.15, moved by half of what a chord loses (gatecell, docs/arithmetic.md, section 6). */\n"
    return head + array("int16_t", "tanh_table", table().tolist())


def dot(name: str, weight: str, argument: str, sum: str) -> str:
    """The portable product of a block of rows with a vector; its C types.  Products of bytes fit an int of any width."""
    value = "int" if weight == argument == "int8_t" else sum
    return f"""/* Adds to a[0 .. rows - 1] the sums over k < n of weights times x[k]; a column's rows stand side by side.
 * Returns the end of the block. */
static inline const {weight} *{name}(const {weight} *w, const {argument} *x, int n, int rows, {sum} a[4]) {{
  {sum} a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
  for (int k = 0; k < n; k++, w += rows) {{
    const {value} v = x[k];
    a0 += w[0] * v;
    if (rows > 1) a1 += w[1] * v;
    if (rows > 2) a2 += w[2] * v;
    if (rows > 3) a3 += w[3] * v;
  }}
  a[0] = a0, a[1] = a1, a[2] = a2, a[3] = a3;
  return w;
}}"""


def firmware() -> Path:
    """firmware/ with boards/ and kernels/: inside the installed package, or beside python/ in a source tree.  FileNotFoundError."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "firmware", package.parents[1] / "firmware"):
        if (folder / "kernels").is_dir():
            return folder
    raise FileNotFoundError(f"firmware/ stands neither in {package} nor in its source tree")


def kernel(name: str) -> str:
    """A file of firmware/kernels, to stand inside a model."""
    return (firmware() / "kernels" / name).read_text().strip()


KEEP = """#ifdef __GNUC__
#define GATECELL_LOOP __asm__ volatile("") /* in a loop that moves data: it stays a loop, and the model needs no memcpy, no memset */
#else
#define GATECELL_LOOP (void)0
#endif"""


def moved(length: int, target: str, value: str) -> str:
    """A loop over k that stores a value, and stays one."""
    return f"for (int k = 0; k < {length}; k++) {{ GATECELL_LOOP; {target}[k] = {value}; }}"


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
