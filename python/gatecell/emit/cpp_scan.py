"""The core's compiled scans as C++ text: for each its step, its step without output, its gradient.  Not here: gated cells (cpp.py).

Channels are the lanes of vectors, U vectors at a time; entries are a loop around them.  A value read once stands where it is read,
a value read twice has a name, the page's own where it has one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from ..algebra.graph import Node
from ..algebra.loops import SPELLING
from ..algebra.scan_plan import Function, Level, Root, plan
from ..cells import Scan
from .cpp import HEAD, precedence

REGISTERS = 20
"""So many may hold what the loop over entries keeps at hand; the others are for what it computes."""
Outside = Callable[[Node], tuple[str, bool]]
"""How a value that is not computed in a block is written there, and whether that is a name already."""


WORDS = {"auto", "bool", "case", "char", "const", "delete", "do", "double", "else", "float", "for", "if", "int", "long", "new", "this"}
"""Of C++: a page may call its values so."""


def fresh(name: str, taken: set[str]) -> str:
    """A C++ name for a value: "C'" -> C_new; numbered where it is taken."""
    stem = re.sub(r"\W+", "_", name.replace("'", "") + ("_new" if "'" in name else ""))
    found = next(s for s in (stem, *(f"{stem.rstrip('_')}{k}" for k in range(2, 1000))) if s not in taken)
    taken.add(found)
    return found


def indent(lines: Iterable[str]) -> list[str]:
    return ["  " + line for line in lines]


class _Text:
    """One function's text."""

    def __init__(self, f: Function) -> None:
        self.f, self.taken = f, {"f", "n", "u", "k", "l", "W", "U", "V", "R", *WORDS}
        self.place = {p: fresh(p.name, self.taken) for p in f.places}
        self.later = {n for level in f.levels for n in level.uses}
        self.names: dict[Node, str] = {}
        self.used: set[str] = set()
        self.heads: list[str] = []
        self.entries = self.folds = 0
        body = [line for k, level in enumerate(f.levels) for line in self.level(level, self.f.levels[k - 1].sums if k else [])]
        self.lines = [*self.pointers(), *self.heads, *body]

    def name(self, n: Node) -> str:
        if n not in self.names:
            base = self.place[n.attr] + "_" if n.op == "array" else self.f.names.get(n, f"{'sum' if n.op == 'total' else 'a'}{n.index}")
            self.names[n] = fresh(base, self.taken)
        return self.names[n]

    def read(self, n: Node) -> str:
        """What a value is called that was fetched from memory."""
        return (self.place[n.attr] if n.op == "array" else self.name(n)) + "_"

    def at(self, n: Node) -> str:
        """The pointer of an array."""
        self.used.add(self.place[n.attr])
        return self.place[n.attr]

    def pointers(self) -> list[str]:
        lines = []
        written = {r.place for level in self.f.levels for r in level.stores}
        for k, (p, name) in enumerate(self.place.items()):
            if name in self.used or p in written:
                lines.append(f"{'' if p in written else 'const '}R *const {name} = f.at[{k}];")
                if p.axis == "NH":
                    lines.append(f"const int64_t {name}_row = f.row[{k}];")
        return lines

    def entry_buffer(self, n: Node) -> str:
        name = self.name(n)
        self.heads.append(f"R *const {name} = f.entries + {self.entries} * f.padded;")
        self.entries += 1
        return name

    def block(self, values: list[Node], ends: list[Node], outside: Outside, keep: Mapping[Node, str]) -> tuple[list[str], list[str]]:
        """Lines that compute pointwise values in order, and how each of `ends` is written after them; `keep` are assigned to places."""
        reads = Counter(a for n in values for a in n.args) + Counter(ends)
        inside, at, lines = set(values), dict[Node, str](), list[str]()

        def text(n: Node, tight: int = 0) -> str:
            if n in at:
                return at[n]
            if n in inside:
                return spelled(n, tight)
            t, simple = outside(n)
            if simple or reads[n] == 1:
                return t
            at[n] = fresh(self.read(n), self.taken)
            lines.append(f"const V {at[n]} = {t};")
            return at[n]

        def spelled(n: Node, tight: int) -> str:
            if n.op == "spread":
                return text(n.args[0], tight)
            prec = precedence(n.op)
            # a * (b * c) is not a * b * c: bits; and -(-a) is not --a.
            inner = [0 if prec == 9 else prec + (k if len(n.args) > 1 else 1) for k in range(len(n.args))]
            t = SPELLING[n.op].format(*(text(a, p) for a, p in zip(n.args, inner, strict=True)))
            return f"({t})" if prec < tight else t

        for n in values:
            if n in keep:
                lines.append(f"{keep[n]} = {spelled(n, 0)};")
                at[n] = keep[n].removeprefix("const V ")
            elif reads[n] > 1:
                t = spelled(n, 0)
                at[n] = fresh(self.f.names.get(n, f"a{n.index}"), self.taken)
                lines.append(f"const V {at[n]} = {t};")
        return lines, [text(n) for n in ends]

    # What stands in the function itself, and is a name everywhere.

    def one(self, n: Node) -> tuple[str, bool]:
        if n.op == "const":
            return f"splat<V>({n.attr!r})", True
        if n.op == "array" and n not in self.names:
            self.heads.append(f"const V {self.name(n)} = splat<V>({self.at(n)}[0]);")
        return self.name(n), True

    def level(self, level: Level, before: list[Node]) -> list[str]:
        lines = [line for n in before for line in self.total(n)]
        stores = {axis: [r for r in level.stores if r.place.axis == axis] for axis in ("1", "N", "H", "NH")}
        sums = {axis: [n for n in level.sums if n.args[0].axis == axis] for axis in ("N", "H", "NH")}
        ones = level.values["1"]
        if ones or stores["1"]:
            elsewhere = {a for axis in ("N", "H", "NH") for n in level.values[axis] for a in n.args} | {n.args[0] for n in level.sums}
            elsewhere |= {r.node for r in level.stores} | self.later
            keep = {n: f"const V {self.name(n)}" for n in ones if n in elsewhere}
            body, ends = self.block(ones, [r.node for r in stores["1"]], self.one, keep)
            lines += body + [f"{self.place[r.place]}[0] = ({end})[0];" for r, end in zip(stores["1"], ends, strict=True)]
        inner = {a for n in level.values["NH"] for a in n.args} | {n.args[0] for n in sums["NH"]} | {r.node for r in stores["NH"]}
        if level.values["N"] or stores["N"] or sums["N"]:
            lines += self.entry_loop(level.values["N"], stores["N"], sums["N"], inner)
        if level.values["H"] or stores["H"] or sums["H"] or inner:
            lines += self.lane_loop(level, stores, sums)
        return lines

    def total(self, n: Node) -> list[str]:
        """A sum whose terms the level before stored."""
        name, of = self.name(n), n.args[0].axis
        if of == "N":
            return [f"const V {name} = splat<V>(along({name}_terms, f.N));"]
        if of == "H":
            return [f"const V {name} = splat<V>(across<V>({name}_lanes));"]
        if n.attr == "N":
            return []  # in its buffer already
        return [f"for (int64_t n = 0; n < f.N; n++) {name}[n] = across<V>({name}_lanes + n * 16);"]

    def entry_loop(self, values: list[Node], stores: list[Root], sums: list[Node], inner: set[Node]) -> list[str]:
        """Values over N, as vectors over entries."""

        def outside(n: Node) -> tuple[str, bool]:
            if n.axis == "1":
                return self.one(n)
            return f"load({self.at(n) if n.op == 'array' else self.name(n)} + n)", False

        kept = [n for n in values if n in inner or n in self.later]
        body, ends = self.block(values, [*(r.node for r in stores), *kept, *(n.args[0] for n in sums)], outside, {})
        targets = [self.place[r.place] for r in stores] + [self.entry_buffer(n) for n in kept]
        for n in sums:
            targets.append(self.name(n) + "_terms")
            self.heads.append(f"R *const {targets[-1]} = f.entries + {self.entries} * f.padded;")
            self.entries += 1
        put = [f"store({target} + n, {end});" for target, end in zip(targets, ends, strict=True)]
        return ["for (int64_t n = 0; n < f.N; n += W) {", *indent(body + put), "}"]

    def lane_loop(self, level: Level, stores: Mapping[str, list[Root]], sums: Mapping[str, list[Node]]) -> list[str]:
        """Values over H, as vectors over channels, and in a loop over entries those over both."""
        at_hand: dict[Node, str] = {}  # over H, for the loop over entries
        splats: dict[Node, str] = {}  # over N, there

        def inside(n: Node) -> tuple[str, bool]:
            if n.axis == "1":
                return self.one(n)
            if n.axis == "H":
                if n not in at_hand:
                    name = self.place[n.attr] if n.op == "array" else self.f.names.get(n, f"a{n.index}")
                    at_hand[n] = fresh(name + "_", self.taken)
                return at_hand[n] + "[k]", True
            if n.axis == "N":
                pointer = self.at(n) if n.op == "array" else self.name(n)
                splats.setdefault(n, fresh(pointer + "_", self.taken))
                return splats[n], True
            return f"load({self.at(n)} + n * {self.at(n)}_row + l)", False

        def outside(n: Node) -> tuple[str, bool]:
            if n.axis == "1":
                return self.one(n)
            return f"load({self.at(n) if n.op == 'array' else self.name(n)} + l)", False

        along = [n for n in sums["NH"] if n.attr == "N"]
        across = [n for n in sums["NH"] if n.attr == "H"]
        reads = Counter(a for n in level.values["NH"] for a in n.args) + Counter(n.args[0] for n in sums["NH"])
        reads += Counter(r.node for r in stores["NH"])
        fused = {n for n in along if n.args[0].op == "mul" and reads[n.args[0]] == 1}
        folded = {n.args[0] for n in fused}
        terms = [a for n in along for a in (n.args[0].args if n in fused else n.args)]
        ends = [*terms, *(n.args[0] for n in across), *(r.node for r in stores["NH"])]
        body, texts = self.block([n for n in level.values["NH"] if n not in folded], ends, inside, {})
        rest = iter(texts)
        loop, declared, after = list(body), list[str](), list[str]()
        for n in along:
            name = self.name(n)
            self.heads.append(f"alignas(64) R {name}[SCAN_LANES];")
            declared.append(f"V {name}_[U] = {{}};")
            loop.append(f"{name}_[k] = fma({next(rest)}, {next(rest)}, {name}_[k]);" if n in fused else f"{name}_[k] += {next(rest)};")
            after.append(f"store({name} + l, {name}_[k]);")
        folds = []
        for n in across:
            name = self.name(n)
            self.entry_buffer(n)
            self.heads.append(f"R *const {name}_lanes = f.folds + {self.folds} * 16 * f.padded;")
            self.folds += 1
            loop.append(f"{name}_term[k] = {next(rest)};")
            folds.append(f"fold<R, U>({name}_lanes + n * 16, u, {name}_term);")
        for r in stores["NH"]:
            p = self.place[r.place]
            value = next(rest)
            loop.append(f"store({p} + n * {p}_row + l, {f'load({p} + n * {p}_row + l) + ' * r.adds}{value});")
        terms_of = [f"V {self.name(n)}_term[U];" for n in across]
        kept = [n for n in level.values["H"] if n in self.later]
        first, texts = self.block(
            level.values["H"],
            [*(n.args[0] for n in sums["H"]), *kept, *(r.node for r in stores["H"]), *(n for n in at_hand if n not in level.values["H"])],
            outside,
            {n: name + "[k]" for n, name in at_hand.items() if n in level.values["H"]},
        )
        rest = iter(texts)
        arrays = [f"V {name}[U];" for name in at_hand.values()]
        for n in sums["H"]:
            self.heads.append(f"alignas(64) R {self.name(n)}_lanes[16];")
            arrays.append(f"V {self.name(n)}_term[U];")
            first.append(f"{self.name(n)}_term[k] = {next(rest)};")
        for n in kept:
            self.heads.append(f"alignas(64) R {self.name(n)}[SCAN_LANES];")
            first.append(f"store({self.name(n)} + l, {next(rest)});")
        for r in stores["H"]:
            p = self.place[r.place]
            first.append(f"store({p} + l, {f'load({p} + l) + ' * r.adds}{next(rest)});")
        for n, name in at_hand.items():
            if n not in level.values["H"]:
                first.append(f"{name}[k] = {next(rest)};")
        each = "UNROLL for (int k = 0; k < U; k++) {"
        where = ["const int64_t l = u + k * W;"]
        lines = arrays + ([each, *indent([*where, *first]), "}"] if first else [])
        lines += [f"fold<R, U>({self.name(n)}_lanes, u, {self.name(n)}_term);" for n in sums["H"]]
        if loop:
            splat = [f"const V {name} = splat<V>({self.at(n) if n.op == 'array' else self.name(n)}[n]);" for n, name in splats.items()]
            inner = [*splat, *terms_of, each, *indent([*where, *loop]), "}", *folds]
            lines += [*declared, "for (int64_t n = 0; n < f.N; n++) {", *indent(inner), "}"]
            lines += [each, *indent([*where, *after]), "}"] if after else []
        load = len(at_hand) + len(along) + len(across)
        most = 4 if 4 * load <= REGISTERS else 2 if 2 * load <= REGISTERS else 1
        head = f"each_group<R, {most}>(f.lanes, [&](auto vectors, int64_t u) ALWAYS_INLINE {{"
        return [head, *indent(["constexpr int U = vectors;", *lines]), "});"]


def _struct(title: str, f: Function, name: str) -> str:
    t = _Text(f)
    head = f"constexpr static int places = {len(f.places)}, entries = {t.entries}, folds = {t.folds};"
    uses = {"V": "using V = typename Of<R>::V;", "W": "constexpr int W = Of<R>::lanes;"}
    names = [line for name, line in uses.items() if any(re.search(rf"\b{name}\b", each) for each in t.lines)]
    body = "\n".join("    " + line for line in names + t.lines)
    return (
        f"// {title}: {f.name}\nstruct {name} {{\n  {head}\n  template <class R> static void run(const ScanStep<R> &f) {{\n"
        f"{body}\n  }}\n}};\n"
    )


def files(scans: Iterable[Scan]) -> dict[str, str]:
    """File name under cpp/src -> text."""
    structs, rows, keys = [], [], []
    for scan in scans:
        p = plan(scan.program, scan.backward)
        functions = (p.forward, p.advance, p.backward)
        names = [f"{scan.name}_{f.name}" for f in functions]
        structs += [_struct(f"{scan.title} ({scan.source})", f, name) for f, name in zip(functions, names, strict=True)]
        texts = [_Text(f) for f in functions]
        shape = ", ".join(f'"{s}"' for s in p.shape)
        most = ", ".join(str(max(getattr(t, what) for t in texts)) for what in ("entries", "folds"))
        keys.append(f"SCAN(0x{p.key:016x}ull, {shape}, {most})")
        rows.append(f"    compiled_scan<{', '.join(names)}>(),")
    table = "constexpr CompiledScan SCANS[] = {\n" + "\n".join(rows) + "\n};\n"
    return {"scan_steps.inl": HEAD + "\n" + "\n".join([*structs, table]), "scan_keys.inl": HEAD + "\n".join(keys) + "\n"}
