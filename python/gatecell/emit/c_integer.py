"""One integer layer as a C function: storage of its states, products, then the page's equations, unit by unit.

Not here: the layout of products (c_blocks.py), the equations' text (c_points.py), files and their heads (c.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..algebra.integer import Loop
from ..algebra.model import IntegerLayer
from .c_blocks import Products, Use, plan, products, stream
from .c_points import Points
from .c_text import array, dot, fresh, moved

LOCALS = ("s", "x", "y", "u", "w", "k")
"""Names that every layer's function uses."""


@dataclass
class Member:
    """How a state is stored: "int16"; "int8" views; "words", the DSP kernels' packed views; "" where no step reads it."""

    name: str
    form: str
    length: int

    def slots(self, dsp: bool) -> int:
        """How many elements are stored: words hold two, and come in pairs."""
        quads = -(-self.length // 4)
        return 2 * quads if self.form == "words" else 4 * quads if self.form == "int16" and dsp else self.length

    def declaration(self, dsp: bool) -> str:
        if self.form == "int16" and dsp:
            return aligned(self.name, self.length) + ";"
        return f"{'uint32' if self.form == 'words' else self.form}_t {self.name}[{self.slots(dsp)}];"

    def access(self, dsp: bool) -> str:
        return f"s->{self.name}" + (".v" if self.form == "int16" and dsp else "")


def aligned(name: str, length: int) -> str:
    """int16 at an address that words may have, padded to whole words."""
    padded = -(-length // 4) * 4
    return f"union {{ int16_t v[{padded}]; uint32_t words[{padded // 2}]; }} {name}"


def local(name: str, length: int, dsp: bool) -> list[str]:
    """A local int16 array; where words are read from it, its padding is set."""
    if not dsp:
        return [f"int16_t {name}[{length}];"]
    rest = [f"{name}.v[{k}] = 0;" for k in range(length, -(-length // 4) * 4)]
    return [aligned(name, length) + ";", *([" ".join(rest)] if rest else [])]


@dataclass
class LayerText:
    """What a layer adds to the file."""

    constants: list[str]
    function: str
    call: Callable[[str, str], str]
    """(C name of the input, C name of the output or "") -> the call in the step."""
    members: list[Member]
    output: str
    """Where the output stands after the call, if it stands in the state; "" when only in the output given."""
    helpers: set[str]
    dots: set[tuple[str, str]]


@dataclass
class Writer:
    """One layer under construction."""

    layer: IntegerLayer
    model: str
    number: int
    dsp: bool
    input_bits: int
    """8: the input arrives as int8."""
    final: bool
    used: set[str] = field(default_factory=set)
    dots: set[tuple[str, str]] = field(default_factory=set)
    constants: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        p = self.layer.program
        self.length = {k: self.layer.sizes[v.axis] if v.axis != "1" else 1 for k, v in p.vectors.items()}
        self.uses = [plan(self.layer, loop, self.length, self.dsp, self.input_bits) for loop in p.loops]
        self.all_uses = {(u.arg, u.view): u for uses in self.uses for u in uses}
        reads = [(k, i.name) for k, loop in enumerate(p.loops) for i in loop.points if i.op == "read"]
        self.last_read = {name: k for k, name in reads}
        self.write_in = {i.name: k for k, loop in enumerate(p.loops) for i in loop.points if i.op == "write"}
        temps = list(p.of_kind("temp"))
        self.cname = {name: fresh(name, set(LOCALS)) for name in temps}
        self.used_names = {*self.cname.values(), *(f"{s}_new" for s in p.of_kind("state"))}
        self.members = {s: Member(f"l{self.number}_{s}", self._form(s), self.length[s]) for s in p.of_kind("state")}
        self.in_place = self.members[p.output].form == "int16" and not self.buffered(p.output)
        """Whether the output is written where the next step reads it."""
        self.y = self.final or not self.in_place
        """Whether it is written to the function's argument."""

    # --- storage ----------------------------------------------------------------------------------------------------

    def _form(self, state: str) -> str:
        """A state that only products read, and only its view, is stored as that view."""
        if state in self.last_read:
            return "int16"
        kernels = [u.kernel for (arg, view), u in self.all_uses.items() if arg == state]
        views = [view for arg, view in self.all_uses if arg == state]
        if not views:
            return ""
        if not all(views):
            return "int16"
        return "words" if "packed" in kernels else "int16" if self.dsp else "int8"

    def _direct(self, use: Use) -> bool:
        """Whether products read the stored state itself, which must then not change before the last of them."""
        form = self.members[use.arg].form if use.arg in self.members else ""
        return form == "words" or (form == "int8" and use.view) or (form == "int16" and not use.view)

    def buffered(self, state: str) -> bool:
        """Whether the new state has to wait until the step no longer reads the old one."""
        direct = any(arg == state and self._direct(u) for (arg, _), u in self.all_uses.items())
        return direct or self.last_read.get(state, -1) > self.write_in[state]

    def _prepare(self) -> tuple[list[str], dict[tuple[str, bool], str]]:
        """Statements that ready the vectors for their products, and the vectors' C names; values of the step come later."""
        lines: list[str] = []
        names: dict[tuple[str, bool], str] = {}
        for key, use in self.all_uses.items():
            kind = self.layer.program.vectors[use.arg].kind
            stored = self.members[use.arg].access(self.dsp) if kind == "state" else use.arg
            if kind == "temp":
                names[key] = self._temp(use)
                continue
            if kind == "state" and self._direct(use):
                names[key] = stored
                continue
            target, made = self._convert(use, stored, self.input_bits if use.arg == "x" else 16, kind == "input")
            names[key] = target
            lines += made
        return lines, names

    def _temp(self, use: Use) -> str:
        return f"{use.arg}_in" if use.view else self.stored(use.arg)

    def stored(self, temp: str) -> str:
        return self.cname[temp] + (".v" if self.dsp else "")

    def _convert(self, use: Use, source: str, bits: int, foreign: bool) -> tuple[str, list[str]]:
        """A vector as its kernel wants it; `foreign`: the caller's own, at an address that words may not have."""
        name = f"{use.arg}_in"
        if use.kernel == "packed":
            how = f"dot_pack_bytes({source}" if bits == 8 else f"dot_pack_views({source}"
            return name, [f"uint32_t {name}[{2 * use.quads}];", f"{how}, {use.length}, {name});"]
        if use.kernel == "wide" and (use.view or bits == 8 or foreign):
            value = self._view(f"{source}[k]") if use.view else f"{source}[k]"
            return name + ".v", [*local(name, use.length, True), moved(use.length, f"{name}.v", value)]
        if use.view:
            return name, [f"int8_t {name}[{use.length}];", moved(use.length, name, self._view(f"{source}[k]"))]
        return source, []

    def _view(self, text: str) -> str:
        self.used.add("view")
        return f"view({text})"

    # --- the function -----------------------------------------------------------------------------------------------

    def text(self) -> LayerText:
        p = self.layer.program
        body, names = self._prepare()
        for name in p.of_kind("temp"):
            body += local(self.cname[name], self.length[name], self.dsp)
        for s, member in self.members.items():
            if s != p.output and member.form and self.buffered(s):
                body.append(f"int16_t {s}_new[{self.length[s]}];")
        for k, loop in enumerate(p.loops):
            body += self._loop(k, loop, names)
            written = {i.name for i in loop.points if i.op == "write"}
            for (arg, view), use in self.all_uses.items():
                if arg in written and arg not in self.members and (view or use.kernel == "packed"):
                    body += self._convert(use, self.stored(arg), 16, False)[1]
        for s, member in self.members.items():
            if member.form and self.buffered(s):
                body += self._settle(member, "y" if s == p.output else f"{s}_new")
        x_type = f"int{self.input_bits}_t"
        parameters = ([f"{self.model}_state *s"] if any(m.form for m in self.members.values()) else []) + [f"const {x_type} *x"]
        parameters += ["int16_t *y"] if self.y else []
        sizes = f"{self.length['x']} -> {self.length[p.output]}"
        head = f"/* {p.name}, {sizes}. */\nstatic void layer{self.number}({', '.join(parameters)}) {{\n"
        function = head + "\n".join("  " + line for line in body) + "\n}"
        state = ["s"] if len(parameters) - self.y == 2 else []

        def call(x: str, y: str) -> str:
            return f"layer{self.number}({', '.join([*state, x, *([y] if self.y else [])])});"

        output = self.members[p.output].access(self.dsp) if self.in_place else ""
        kept = [m for m in self.members.values() if m.form]
        return LayerText(self.constants, function, call, kept, output, self.used, self.dots)

    def _settle(self, member: Member, new: str) -> list[str]:
        """The new state moves to where the next step reads it."""
        if member.form == "words":
            return [f"dot_pack_views({new}, {member.length}, s->{member.name});"]
        value = f"{new}[k]" if member.form == "int16" else self._view(f"{new}[k]")
        return [moved(member.length, member.access(self.dsp), value)]

    def _loop(self, k: int, loop: Loop, names: dict[tuple[str, bool], str]) -> list[str]:
        units = self.layer.sizes[loop.axis]
        stem = f"{self.model}_w{self.number}" + (f"_{k}" if len(self.layer.program.loops) > 1 else "")
        lines: list[str] = []
        inside: list[str] = []
        taken = {*LOCALS, *self.used_names, *(f"{a}_in" for a, _ in self.all_uses)}
        accumulators: dict[str, str] = {}
        if loop.accumulators:
            found = products(self.layer, loop, self.uses[k], names, f"{stem}_b[u]")
            ctype, values = stream(self.layer, found, units, self.dsp)
            self.constants += [array(ctype, stem, values.tolist()), *self._rows(loop, stem, found)]
            self.dots |= {(ctype[:-2], f"int{self._bits(u)}") for u in self.uses[k] if u.kernel not in ("packed", "wide")}
            first = not any(before.accumulators for before in self.layer.program.loops[:k])
            lines.append(f"{f'const {ctype} *' if first else ''}w = {stem};")
            inside += found.lines
            taken |= {f"d{n}" for n in range(len(found.blocks))}
            self.used.add("requantize")
            for n, a in enumerate(loop.accumulators):
                shift = a.sh + (8 if a.name in found.packed else 0)
                accumulators[a.name] = f"requantize({found.sums[a.name]}, {stem}_m[u][{n}], {shift})"
        inside += Points(self, loop, accumulators, taken).lines()
        return [*lines, f"for (int u = 0; u < {units}; u++) {{", *("  " + line for line in inside), "}"]

    def _bits(self, use: Use) -> int:
        return 8 if use.view or (use.arg == "x" and self.input_bits == 8) else 16

    def _rows(self, loop: Loop, stem: str, found: Products) -> list[str]:
        """Biases, multipliers, and the proof of the sums' bounds as the compiler's own arithmetic."""
        scale = np.array([256 if a.name in found.packed else 1 for a in loop.accumulators])
        b = np.stack([self.layer.b[a.name] for a in loop.accumulators], axis=1).astype(np.int64) * scale
        m = np.stack([self.layer.m[a.name] for a in loop.accumulators], axis=1)
        out = [rows_array("int32_t", f"{stem}_b", b.tolist()), rows_array("int16_t", f"{stem}_m", m.tolist())]
        for a in loop.accumulators:
            sums = [np.abs(self.layer.matrix(s.weight).astype(np.int64)).sum(1) for s in a.sources]
            worst = int(self.layer.bounds(a).argmax())
            terms = [f"{int(t[worst])}LL * {self.layer.argument(s) << s.shift}" for t, s in zip(sums, a.sources, strict=True)]
            terms.append(f"{abs(int(self.layer.b[a.name][worst]))}LL")
            factor = "256 * " if a.name in found.packed else ""
            out.append(f"typedef char {self.model}_l{self.number}_{a.name}_fits[{factor}({' + '.join(terms)}) <= 2147483647LL ? 1 : -1];")
        return out


def rows_array(ctype: str, name: str, rows: list[list[int]]) -> str:
    text = ", ".join("{" + ", ".join(map(str, row)) + "}" for row in rows)
    lines, rest = [], text
    while len(rest) > 130:
        at = rest.rfind(", ", 0, 130) + 2
        lines.append("  " + rest[:at].rstrip())
        rest = rest[at:]
    return f"static const {ctype} {name}[{len(rows)}][{len(rows[0])}] = {{\n" + "\n".join([*lines, "  " + rest]) + "\n};"


def dot_texts(dots: set[tuple[str, str]]) -> list[str]:
    return [dot(f"dot_{w}_{x}", f"{w}_t", f"{x}_t", "int32_t") for w, x in sorted(dots)]
