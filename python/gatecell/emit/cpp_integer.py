"""The core's compiled integer steps as C++ text: the pointwise part of a loop over int16 vectors.

Not here: products and requantisation (cpp/src), steps in floats (cpp.py), C for microcontrollers (c_integer.py).
A value is an int16 vector where its proven interval says so, else a pair of int32 vectors.  Calibration chooses a program's
fractions, and these its shifts: a step takes the shifts when it runs, and there is one for each list of instructions that the
formats of a cell's values can lead to.  A value read once stands where it is read; one read twice, a tanh and a sigmoid have
names, the page's own where it has one, and stand before their first reader.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from ..algebra.graph import Node
from ..algebra.integer import IntegerProgram, Loop, Vector
from ..algebra.lower import HEADROOM, Given, lower
from ..algebra.points import EXACT, OPS, SATURATES, WHOLE, Point, key, points
from ..cells import Cell
from ..errors import Unsupported
from .cpp import HEAD, identifier

TABLE = ("tanh", "sigmoid")
FRACTIONS = range(4, 16)
"""Of values whose largest magnitude calibration finds, for which there are compiled steps: up to 2048 and more."""
INPUT = Vector("input", "I", 0, -32767, 32767)


class Step:
    """One loop's instructions as a function over the rows of a tile."""

    def __init__(self, name: str, p: IntegerProgram, loop: Loop, *, fused: bool) -> None:
        self.name, self.points, self.rows = name, points(p, loop), "for_rows" if fused else "for_single_rows"
        self.reads = Counter(a for i in self.points for a in i.args)
        self.taken = {"t", "m", "narrow", "widened", "product15", "add_saturated", *OPS}
        self.names: dict[int, str] = {}
        self.body: list[str] = []
        self.heads: dict[str, str] = {}
        """Name -> what stands before the rows' loop."""

    def head(self, name: str, text: str) -> str:
        """A name for what is the same for all rows."""
        for known, have in self.heads.items():
            if have.endswith(text):
                return known
        made = identifier(name, self.taken)
        self.heads[made] = text
        return made

    def immediate(self, k: int, n: int = 0) -> str:
        return self.head(f"n{k}{'b' * n}", f"t.n[{2 * k + n}]")

    # --- values -----------------------------------------------------------------------------------------------------

    def text(self, k: int) -> str:
        """A register where it is read."""
        i = self.points[k]
        if k in self.names or i.op == "const" or (self.reads[k] == 1 and i.op not in TABLE):
            return self.names[k] if k in self.names else self.value(k)
        value = self.value(k)
        name = i.name or (self.points[i.args[0]].name if i.args else "") or f"v{k}"
        self.names[k] = identifier(name, self.taken)
        self.body.append(f"const auto {self.names[k]} = {value};")
        return self.names[k]

    def narrow(self, k: int) -> str:
        return self.text(k) if self.points[k].width else f"narrow({self.text(k)})"

    def wide(self, k: int) -> str:
        return f"widened({self.text(k)})" if self.points[k].width else self.text(k)

    def once(self, k: int, op: str) -> bool:
        return self.points[k].op == op and self.reads[k] == 1

    def rounded_product(self, k: int) -> str:
        """A product of int16 that round(15) makes an int16 again, as one operation; "" where it is none."""
        i = self.points[k]
        if not self.once(k, "mul") or not all(self.points[a].width for a in i.args) or WHOLE not in (self.points[a].width for a in i.args):
            return ""
        return f"product15({', '.join(self.text(a) for a in i.args)})"

    def saturated_sum(self, k: int) -> str:
        """sat16(round((a << 15) + b c, 15)) = a plus the rounded product, saturated; "" where it is none."""
        i = self.points[k]
        if not self.once(k, "round") or i.kind != EXACT or not self.once(i.args[0], "add"):
            return ""
        for a, b in (self.points[i.args[0]].args, self.points[i.args[0]].args[::-1]):
            shifted = self.points[a]
            if self.once(a, "shl") and shifted.kind == EXACT and self.points[shifted.args[0]].width and (p := self.rounded_product(b)):
                return f"add_saturated({self.text(shifted.args[0])}, {p})"
        return ""

    def value(self, k: int) -> str:
        """A register's value, of the type that its width says."""
        i = self.points[k]
        small = all(self.points[a].width for a in i.args)
        if i.op == "read":
            at = self.head(f"{i.name.replace('.', '_')}_{'sums' if i.sum else 'units'}", f"{'Sums' if i.sum else 'Units'}(t, {i.at})")
            return f"{at}[m]"
        if i.op == "const":
            return f"m.all(splat_h(static_cast<int16_t>({self.immediate(k)})))" if i.width else f"m.all(splat_wide({self.immediate(k)}))"
        if i.op in TABLE:
            return f"{i.op}({self.head('table', '*t.table')}, {self.narrow(i.args[0])})"
        if i.op == "clamp":
            a = i.args[0]
            if i.kind == SATURATES:
                return self.saturated_sum(a) or self.narrow(a)
            bounds = f"{self.immediate(k)}, {self.immediate(k, 1)}"
            if i.width and i.kind != 3:
                return f"clamp({self.narrow(a)}, {bounds})"
            return self.fitted(i, f"clamp({self.wide(a)}, {bounds})")
        if i.op == "round" and i.kind == 0:
            return self.text(i.args[0]) if self.points[i.args[0]].width == i.width else self.fitted(i, self.wide(i.args[0]))
        if i.op == "round" and i.width and i.kind == EXACT and (p := self.rounded_product(i.args[0])):
            return p
        if i.op == "lerp":
            good = small and self.points[i.args[0]].width == WHOLE
            return self.fitted(i, f"lerp({', '.join((self.text if good else self.wide)(a) for a in i.args)}, {self.immediate(k)})")
        if i.op == "mul":
            return self.fitted(i, f"mul({', '.join((self.text if small else self.wide)(a) for a in i.args)})")
        inside = small and i.width and i.kind != 3
        args = [(self.text if inside else self.wide)(a) for a in i.args]
        args += [self.immediate(k)] if i.op in ("shl", "shr", "round") else []
        call = f"{i.op}({', '.join(args)})"
        return call if inside else self.fitted(i, call)

    def fitted(self, i: Point, wide: str) -> str:
        return f"narrow({wide})" if i.width else wide

    # --- the function -----------------------------------------------------------------------------------------------

    def function(self) -> str:
        for i in self.points:
            if i.op == "write":
                rows = self.head(f"{i.name}_new", f"Units(t, {i.at})")
                value = self.narrow(i.args[0])
                self.body.append(f"{rows}.write(m, {value});")
        kinds = {"Sums": "Sums ", "Units": "Units ", "t.n[": "int32_t ", "*t.t": "IntTable &"}
        heads = [f"const {next(v for s, v in kinds.items() if text.startswith(s))}{name} = {text};" for name, text in self.heads.items()]
        lines = [*heads, f"{self.rows}(t, [&](auto m) __attribute__((always_inline)) {{", *("  " + line for line in self.body), "});"]
        return f"void {self.name}(const IntTile &t) {{\n" + "\n".join("  " + line for line in lines) + "\n}\n"


class Peaks(Mapping[Node, float]):
    """Largest magnitudes such that each value that asks for one gets the fraction set for it; notes who asks."""

    def __init__(self, fractions: dict[Node, int]) -> None:
        self.fractions, self.asked = fractions, dict[Node, None]()

    def __getitem__(self, n: Node) -> float:
        self.asked[n] = None
        return float(32767 / HEADROOM * 2.0 ** (-self.fractions.get(n, FRACTIONS[-1]) - 0.5))

    def __iter__(self) -> Iterator[Node]:
        return iter(self.asked)

    def __len__(self) -> int:
        return len(self.asked)


def programs(cell: Cell) -> Iterator[IntegerProgram]:
    """A cell's step in integers, once for every set of formats that its values can have; none where it has no integer form."""

    def lowered(fractions: dict[Node, int]) -> tuple[IntegerProgram, list[Node]]:
        peaks = Peaks(fractions)
        params = {k: Vector("param", axis, 14, -32767, 32767) for k, axis in cell.program.params.items()}
        return lower(cell.program, Given(INPUT, True, True, peaks, params)), list(peaks)

    try:
        _, asked = lowered({})
    except Unsupported:
        return
    for fractions in product(FRACTIONS, repeat=len(asked)):
        yield lowered(dict(zip(asked, fractions, strict=True)))[0]


def files(cells: Iterable[Cell]) -> dict[str, str]:
    """File name under cpp/src -> text."""
    steps: dict[int, tuple[str, str]] = {}
    for cell in cells:
        count = 0
        for p in programs(cell):
            for loop in p.loops:
                if (k := key(p, loop)) not in steps:
                    name = f"{cell.name}_integer_{count}"
                    steps[k] = name, f"// {cell.title} ({cell.source})\n{Step(name, p, loop, fused=cell.fused).function()}"
                    count += 1
    rows = "\n".join(f"    {{{name}}}," for name, _ in steps.values())
    table = f"struct CompiledIntegers {{\n  IntStep run;\n}};\nconst CompiledIntegers INTEGER_STEPS[] = {{\n{rows}\n}};\n"
    return {
        "integer_steps.inl": HEAD + "\n" + "\n".join([*(text for _, text in steps.values()), table]),
        "integer_keys.inl": HEAD + "".join(f"STEP(0x{k:016x}ull, {name})\n" for k, (name, _) in steps.items()),
    }
