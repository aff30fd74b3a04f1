"""The pointwise instructions of an integer loop as C statements that read like the page.

Not here: storage and products (c_integer.py).  A value used once stands where it is used; a value used twice has a name, the
page's own where it has one.  A comment carries the line of the page that the statement comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..algebra.integer import INT16, Instr, Loop, Vector
from .c_text import array, comment, fresh

if TYPE_CHECKING:
    from .c_integer import Writer

ATOM, UNARY, PRODUCT, SUM, SHIFT = 9, 8, 7, 6, 5
"""How tightly C binds, as far as it is needed here."""


class Points:
    """The pointwise code of a loop."""

    def __init__(self, writer: Writer, loop: Loop, accumulators: dict[str, str], taken: set[str]) -> None:
        self.writer, self.loop, self.accumulators, self.taken = writer, loop, accumulators, taken
        self.points = loop.points
        self.readers = [[r for r, i in enumerate(self.points) for a in i.args if a == k] for k in range(len(self.points))]
        self.names: dict[int, str] = {}

    @staticmethod
    def _is_sat(i: Instr) -> bool:
        return i.op == "clamp" and i.n == INT16

    def lines(self) -> list[str]:
        out: list[str] = []
        said = 0
        page = self.writer.layer.quotes
        wrote: set[str] = set()
        order = {a.name: n for n, a in enumerate(self.loop.accumulators)}
        reads = [k for k, i in enumerate(self.points) if i.op == "read" and i.name in order]
        first = sorted(reads, key=lambda k: order[self.points[k].name])
        for k in [*first, *(k for k in range(len(self.points)) if k not in first)]:
            i = self.points[k]
            if i.line and i.line != said and (i.op == "write" or self._named(k, wrote)):
                said = i.line
                if page.get(said):
                    out.append(comment(page[said]))
            if i.op == "write":
                out += self._write(i)
                wrote.add(i.name)
            elif self._named(k, wrote):
                text = self.text(k, 0)
                self.names[k] = fresh(self._want(i), self.taken)
                out.append(f"const int32_t {self.names[k]} = {text};")
        return out

    def _want(self, i: Instr) -> str:
        if i.op == "read":
            if i.name in self.accumulators:
                later = any(j.name == i.name for j in self.points if j.op != "read")
                return f"{i.name}_sum" if later else i.name
            return f"{i.name}_old"
        return i.name or "t"

    def _named(self, k: int, wrote: set[str]) -> bool:
        i = self.points[k]
        if i.op in ("const", "write") or not self.readers[k]:
            return False
        if i.op == "read":
            v = self.writer.layer.program.vectors[i.name]
            changes = v.kind == "state" and i.name in {j.name for j in self.points if j.op == "write"}
            return v.kind == "acc" or (changes and self._read_late(k))
        return len(self.readers[k]) > 1

    def _read_late(self, k: int) -> bool:
        """Whether an old state would be read, in the text of a later statement, after the new one was stored."""
        name = self.points[k].name
        stored = next(n for n, j in enumerate(self.points) if j.op == "write" and j.name == name)

        def statement(r: int) -> int:
            i = self.points[r]
            if i.op == "write" or (i.op != "read" and len(self.readers[r]) > 1):
                return r
            return max((statement(n) for n in self.readers[r]), default=r)

        return max((statement(r) for r in self.readers[k]), default=0) > stored

    def _write(self, i: Instr) -> list[str]:
        w = self.writer
        text = self.text(i.args[0], 0)
        if i.name not in w.members:
            return [f"{w.stored(i.name)}[u] = (int16_t){self.text(i.args[0], UNARY)};"]
        member = w.members[i.name]
        cast = f"(int16_t){self.text(i.args[0], UNARY)}"
        if i.name == w.layer.program.output:
            if not w.in_place:
                return [f"y[u] = {cast};"]
            store = f"{member.access(w.dsp)}[u] = {cast};"
            return [store, f"y[u] = {member.access(w.dsp)}[u];"] if w.y else [store]
        if not member.form:
            return [f"(void)({text});"]
        return [f"{i.name}_new[u] = {cast};" if w.buffered(i.name) else f"{member.access(w.dsp)}[u] = {cast};"]

    # --- expressions ------------------------------------------------------------------------------------------------

    def text(self, k: int, level: int) -> str:
        """C of a register, in brackets if it binds less tightly than `level`."""
        if k in self.names:
            return self.names[k]
        text, binds = self._spell(self.points[k])
        return f"({text})" if binds < level else text

    def _call(self, name: str, *args: str) -> tuple[str, int]:
        self.writer.used.add(name)
        bare = (a[1:-1] if a.startswith("(") and closes(a) else a for a in args)
        return f"{name}({', '.join(bare)})", ATOM

    def _first(self, i: Instr, level: int) -> str:
        """The first operand; widened where all are int16, whose sums and products an int of 16 bits does not hold."""
        if all(self._short(k) for k in i.args):
            return f"(int32_t){self.text(i.args[0], UNARY)}"
        return self.text(i.args[0], level)

    def _short(self, k: int) -> bool:
        i = self.points[k]
        if i.op == "const":
            return abs(i.n[0]) <= INT16[1]
        return i.op == "read" and k not in self.names and i.name not in self.accumulators

    def _spell(self, i: Instr) -> tuple[str, int]:
        a = i.args
        if i.op == "read":
            return self._read(i.name)
        if i.op == "const":
            return (str(i.n[0]), ATOM) if i.n[0] >= 0 else (f"({i.n[0]})", ATOM)
        if i.op == "add":
            return f"{self._first(i, SUM)} + {self.text(a[1], PRODUCT)}", SUM  # from left to right, a + b - c might leave int32
        if i.op == "sub":
            return f"{self._first(i, SUM)} - {self.text(a[1], PRODUCT)}", SUM
        if i.op == "mul":
            return f"{self._first(i, PRODUCT)} * {self.text(a[1], PRODUCT)}", PRODUCT
        if i.op == "shl":
            return f"{self._first(i, PRODUCT)} * {1 << i.n[0]}", PRODUCT
        if i.op == "neg":
            return f"-{self._first(i, ATOM)}", UNARY
        if i.op == "shr":
            return f"({self._first(i, SUM)} >> {i.n[0]})", ATOM
        if i.op == "round":
            return f"(({self._first(i, SUM)} + {1 << i.n[0] >> 1}) >> {i.n[0]})", ATOM
        if i.op == "max":
            return self._call("larger", self.text(a[0], 0), self.text(a[1], 0))
        if i.op == "clamp":
            inner = self.text(a[0], 0)
            return self._call("sat16", inner) if self._is_sat(i) else self._call("clamp", inner, str(i.n[0]), str(i.n[1]))
        if i.op == "lerp":
            return self._call("lerp_q", *(self.text(r, 0) for r in a), str(i.n[0]))
        return self._call(f"{i.op}_q", self.text(a[0], 0))

    def _read(self, name: str) -> tuple[str, int]:
        w = self.writer
        v: Vector = w.layer.program.vectors[name]
        if v.kind == "acc":
            return self.accumulators[name], ATOM
        if v.kind == "state":
            return f"{w.members[name].access(w.dsp)}[u]", ATOM
        if v.kind == "temp":
            return f"{w.stored(name)}[u]", ATOM
        if v.kind == "param":
            constant = f"{w.model}_w{w.number}_{name.replace('.', '_')}"
            if not any(f" {constant}[" in c for c in w.constants):
                w.constants.append(array("int16_t", constant, w.layer.params[name].tolist()))
            return f"{constant}[{'u' if v.axis != '1' else '0'}]", ATOM
        return "x[u]", ATOM


def closes(text: str) -> bool:
    """Whether the bracket that opens the text closes at its very end."""
    depth = 0
    for k, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return k == len(text) - 1
    return False
