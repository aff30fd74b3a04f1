"""A float model as C: sums of products, then the page's equations, unit by unit.  No libm: tanh and exp are the file's own.

Not here: integer models (c_integer.py).  tanh is within 5 steps of float32, sigmoid within 2e-7, exp within 3 steps.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algebra.graph import Node
from ..algebra.model import FloatLayer, FloatModel
from ..algebra.ops import OPS
from ..algebra.sums import Sums
from ..errors import Unsupported
from .c_text import array, comment, dot, fresh, moved, real
from .coefficients import EXP2, TANH_P, TANH_Q, TANH_TOP

Array = NDArray[Any]
REDUCTIONS = tuple(name for name, op in OPS.items() if op.joins)
LOCALS = ("s", "x", "y", "u", "w", "k")


def horner(coefficients: tuple[float, ...], t: str) -> str:
    text = real(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        text = f"({text}) * {t} + {real(c)}" if " " in text else f"{text} * {t} + {real(c)}"
    return text


HELPERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tanh": (
        f"""/* x P(x^2) / Q(x^2), of least relative error for |x| <= {TANH_TOP}; beyond, what it is there: 1 or the number before. */
static inline float tanh_(float x) {{
  x = x > {real(TANH_TOP)} ? {real(TANH_TOP)} : x < -{real(TANH_TOP)} ? -{real(TANH_TOP)} : x;
  const float t = x * x;
  const float p = {horner(TANH_P, "t")};
  const float q = {horner(TANH_Q, "t")};
  const float y = x * p / q;
  return y > 1.0f ? 1.0f : y < -1.0f ? -1.0f : y; /* rounding must not carry a gate out of its bounds */
}}""",
        (),
    ),
    "sigmoid": ("static inline float sigmoid_(float x) { return 0.5f * tanh_(0.5f * x) + 0.5f; }", ("tanh",)),
    "exp": (
        f"""/* 2^n times a polynomial for 2^f, |f| <= 1/2; 0 below -86.5, the largest float above 88.7. */
static inline float exp_(float x) {{
  union {{ uint32_t bits; float value; }} power;
  if (x < -86.5f) return 0.0f;
  if (!(x < 88.7f)) return x > 0.0f ? 3.40282347e+38f : x;
  const float scaled = x * 1.44269504f;
  const int32_t n = (int32_t)(scaled < 0.0f ? scaled - 0.5f : scaled + 0.5f);
  const float f = (x - (float)n * 0.693145752f) * 1.44269504f - (float)n * 2.05943783e-06f;
  power.bits = (uint32_t)(n + 126) << 23;
  return ({horner(EXP2, "f")}) * power.value * 2.0f;
}}""",
        (),
    ),
    "log_sigmoid": (
        """/* min(x, 0) - log(1 + t), t = e^-|x|: log by the series of 2 artanh(z), z = t / (2 + t) <= 1/3. */
static inline float log_sigmoid_(float x) {
  const float t = exp_(x > 0.0f ? -x : x);
  const float z = t / (2.0f + t), q = z * z;
  const float p = 1.0f + q * (1.0f / 3 + q * (1.0f / 5 + q * (1.0f / 7 + q * (1.0f / 9 + q * (1.0f / 11 + q * (1.0f / 13))))));
  return (x > 0.0f ? 0.0f : x) - 2.0f * z * p;
}""",
        ("exp",),
    ),
    "rsqrt": (
        """/* 1 / sqrt(x), x normal and positive: a first guess to 4 % by halving the exponent, squared three times by Newton. */
static inline float rsqrt_(float x) {
  union { float value; uint32_t bits; } y;
  y.value = x;
  y.bits = 0x5f3759dfu - (y.bits >> 1);
  for (int k = 0; k < 3; k++) y.value *= 1.5f - 0.5f * x * y.value * y.value;
  return y.value;
}""",
        (),
    ),
    "mean": (
        """static float mean_(const float *a, int n) {
  float sum = 0.0f;
  for (int k = 0; k < n; k++) sum += a[k];
  return sum / (float)n;
}""",
        (),
    ),
    "var": (
        """static float var_(const float *a, int n) {
  const float mean = mean_(a, n);
  float sum = 0.0f;
  for (int k = 0; k < n; k++) sum += (a[k] - mean) * (a[k] - mean);
  return sum / (float)n;
}""",
        ("mean",),
    ),
    "lerp": ("/* a at t = 0, b at t = 1. */\nstatic inline float lerp_(float t, float a, float b) { return a + t * (b - a); }", ()),
    "relu": ("static inline float relu_(float x) { return x > 0.0f ? x : 0.0f; }", ()),
    "maximum": ("static inline float maximum_(float a, float b) { return a > b ? a : b; }", ()),
    "above": ("static inline float above_(float a, float b) { return a > b ? 1.0f : 0.0f; }", ()),
}

DOT = dot("dot", "float", "float", "float")


class FloatWriter:
    """One layer under construction."""

    def __init__(self, layer: FloatLayer, model: str, number: int) -> None:
        self.layer, self.model, self.number, self.p = layer, model, number, layer.program
        self.page = layer.lines()
        self.check()
        self.sums = Sums(self.p)
        self.used: set[str] = set()
        self.constants: list[str] = []
        self.members = {s: f"l{number}_{s}" for s, n in self.p.states.items() if n in self.p.nodes}
        """States that a step reads -> their place in the state."""
        self.cname = {n: fresh(name, set(LOCALS)) for n, name in self.sums.keeps.items()}
        self.rows: dict[Node, str] = {}
        """Reduction -> the variable that holds it."""
        self.taken = {*LOCALS, *self.cname.values(), *(f"{s}_new" for s in self.p.states)}
        self.names: dict[Node, str] = {}
        self.roots: dict[Node, str] = {}
        self.began = False
        self.reads = self._reads()

    def check(self) -> None:
        for n in self.p.nodes:
            spelling = OPS[n.op].c if n.op in OPS else "{0}"
            if n.op not in HELPERS and (not spelling or ((m := re.match(r"(\w+)\(", spelling)) and m[1] not in HELPERS)):
                raise Unsupported(f"{self.p.name}: {n.op} has no C form yet{self.page.where(n)}")

    def _reads(self) -> dict[str, int]:
        """State -> the last loop that reads its old value."""
        last: dict[str, int] = {}
        end = {product: root for root, products in self.sums.terms.items() for product in products}
        for s, n in self.p.states.items():
            loops = [self.sums.place[end.get(r, r)] + (r.op == "product") for r in self.sums.all_readers.get(n, [])]
            last[s] = max(loops, default=-1)
        return last

    def buffered(self, s: str) -> bool:
        """Whether the new state has to wait: a product reads the old one for all units, or a later loop does."""
        n = self.p.outs[s]
        kept = any(o is self.p.states[s] for t, o in self.p.outs.items() if t != s)
        return kept or self.reads[s] > self.sums.place.get(n, self.sums.loops - 1)

    def text(self) -> tuple[str, bool]:
        """The function, and whether it takes the state."""
        output = self.layer.output
        body = [f"float {self.cname[n]}[{self.layer.sizes[n.axis]}];" for n in self.sums.nodes if n in self.sums.kept]
        body += [f"float {s}_new[{self.layer.sizes[self.p.states[s].axis]}];" for s in self.members if s != output and self.buffered(s)]
        for k in range(self.sums.loops):
            body += self.loop(k)
        for s, member in self.members.items():
            if s == output or self.buffered(s):
                new = "y" if s == output else f"{s}_new"
                body.append(moved(self.layer.sizes[self.p.states[s].axis], f"s->{member}", f"{new}[k]"))
        state = [f"{self.model}_state *s"] if self.members else []
        head = f"static void layer{self.number}({', '.join([*state, 'const float *x', 'float *y'])}) {{"
        sizes = f"/* {self.p.name}, {self.layer.sizes['I']} -> {self.layer.width}. */"
        return "\n".join([sizes, head, *("  " + line for line in body), "}"]), bool(state)

    def loop(self, k: int) -> list[str]:
        self.now = k
        lines: list[str] = []
        roots = [r for r in self.sums.terms if self.sums.place[r] == k]
        nodes = [n for n in self.sums.nodes if self.sums.place[n] == k]
        for n in nodes:
            if n.op in REDUCTIONS:
                self.used.add(n.op)
                self.rows[n] = fresh(f"{n.op}_{self.short(n.args[0])}", self.taken)
                lines.append(f"const float {self.rows[n]} = {n.op}_({self.vector(n.args[0])}, {self.layer.sizes[n.axis]});")
        nodes = [n for n in nodes if n.op not in REDUCTIONS]
        last = self.sums.loops - 1
        new = {s: n for s, n in self.p.outs.items() if self.sums.place.get(n, last) == k}
        axes = [*(r.axis for r in roots), *(n.axis for n in nodes if n.axis != "1"), *(self.p.states[s].axis for s in new)]
        for axis in dict.fromkeys(axes):
            inside: list[str] = []
            mine = [r for r in roots if r.axis == axis]
            taken = {*LOCALS, *self.taken, *self.cname.values(), *(f"{s}_new" for s in self.p.states)}
            self.names, self.roots = {}, {}
            if mine:
                stem = f"{self.model}_w{self.number}" + (f"_{k}" if self.sums.loops > 2 else "")
                stem = stem if not any(f" {stem}[" in c for c in self.constants) else f"{stem}_{axis}"
                lines.append(f"{'' if self.began else 'const float *'}w = {stem};")
                self.began = True
                inside += self.products(mine, stem, taken)
            here = {s: n for s, n in new.items() if self.p.states[s].axis == axis}
            inside += self.points([n for n in nodes if n.axis in (axis, "1")], here, k, taken)
            lines += [f"for (int u = 0; u < {self.layer.sizes[axis]}; u++) {{", *("  " + line for line in inside), "}"]
        return lines

    def products(self, roots: list[Node], stem: str, taken: set[str]) -> list[str]:
        """Blocks of up to four rows over one vector; a sum runs from block to block, its bias first."""
        arguments = list(dict.fromkeys((n.args[0], self.width(n)) for r in roots for n in self.sums.terms[r]))
        units = self.layer.sizes[roots[0].axis]
        running = dict.fromkeys(roots, "")
        lines: list[str] = []
        parts: list[Array] = []
        for a, width in arguments:
            rows = [(r, n) for r in roots for n in self.sums.terms[r] if n.args[0] is a and self.width(n) == width]
            vector = self.vector(a) + (f" + u / {width} * {width}" if width < self.layer.sizes[a.axis] else "")
            for at in range(0, len(rows), 4):
                block = rows[at : at + 4]
                d = fresh(f"d{len(parts)}", taken)
                starts = [running[r] or self.bias(r, stem) for r, _ in block]
                lines.append(f"float {d}[4] = {{{', '.join(starts + ['0.0f'] * (4 - len(starts)))}}};")
                lines.append(f"w = dot(w, {vector}, {width}, {len(block)}, {d});")
                running |= {r: f"{d}[{n}]" for n, (r, _) in enumerate(block)}
                stacked = np.stack([self.layer.matrix(n.attr[0])[0] for _, n in block], axis=1)
                parts.append(stacked.transpose(0, 2, 1).reshape(units, -1))
        self.constants.append(array("float", stem, [real(float(v)) for v in np.concatenate(parts, axis=1).astype(np.float32).ravel()]))
        self.roots = running
        return lines

    def bias(self, root: Node, stem: str) -> str:
        """The start of a sum: all its products' biases."""
        given = [b for n in self.sums.terms[root] if (b := self.layer.matrix(n.attr[0])[1]) is not None]
        if not given:
            return "0.0f"
        name = f"{stem}_{self.sums.names[root]}"
        total = np.sum([b.astype(np.float64) for b in given], axis=0).astype(np.float32)
        self.constants.append(array("float", name, [real(float(v)) for v in total]))
        return f"{name}[u]"

    def width(self, product: Node) -> int:
        """How many entries of its argument a unit sees: all of them, or those of its block."""
        return int(self.layer.matrix(product.attr[0])[0].shape[1])

    def short(self, n: Node) -> str:
        """A word for a value in other values' names."""
        return self.cname.get(n) or (n.attr if n.op == "state" else "x")

    def vector(self, n: Node) -> str:
        return "x" if n.op == "x" else f"s->{self.members[n.attr]}" if n.op == "state" else self.cname[n]

    def points(self, nodes: list[Node], new: dict[str, Node], k: int, taken: set[str]) -> list[str]:
        lines: list[str] = []
        said = 0

        def say(n: Node) -> None:
            nonlocal said
            line = self.page.line(n)
            if line and line != said and self.page.quote(line):
                said = line
                lines.append(comment(self.page.quote(line)))

        for n in nodes:
            stored = n in self.sums.kept
            times = len([r for r in self.sums.readers.get(n, []) if self.sums.place[r] == k]) + stored + sum(o is n for o in new.values())
            if times > 1 or n in self.roots or (len(new) > 1 and n in new.values()):
                want = self.p.names.get(n) or self.sums.names.get(n, "t")
                say(n)
                text = self.spell(n, 0)
                self.names[n] = fresh(want, taken)
                lines.append(f"const float {self.names[n]} = {text};")
            if stored:
                say(n)
                lines.append(f"{self.cname[n]}[u] = {self.spell(n, 0)};")
        for s, n in new.items():
            say(n)
            target = "y" if s == self.layer.output else f"{s}_new" if self.buffered(s) else f"s->{self.members[s]}"
            if s in self.members or s == self.layer.output:
                lines.append(f"{target}[u] = {self.spell(n, 0)};")
        return lines

    def spell(self, n: Node, level: int) -> str:
        """C of a value, in brackets where it binds less tightly than `level`."""
        if n in self.names:
            return self.names[n]
        if n in self.rows:
            return self.rows[n]
        if n in self.roots:
            return self.roots[n]
        if n.op == "const":
            return real(n.attr) if n.attr >= 0 else f"({real(n.attr)})"
        if n.op == "x":
            return "x[u]"
        if n.op == "state":
            return f"s->{self.members[n.attr]}[u]"
        if n.op == "param":
            return self.parameter(n)
        if self.sums.place[n] < self.now:
            return f"{self.cname[n]}[u]"
        op = OPS[n.op]
        spelling = op.c
        if m := re.match(r"(\w+)\(", spelling):
            self.used.add(m[1])
            spelling = spelling.replace(m[1] + "(", m[1] + "_(", 1)
        left, right = op.prec + (n.op == "neg"), op.prec + (n.op in ("sub", "div"))  # - (-a), a - (b - c)
        levels = [0] * len(n.args) if op.prec == 9 else [left, right]
        if op.c == "{0}":
            return self.spell(n.args[0], level)
        text = spelling.format(*(self.spell(a, at) for a, at in zip(n.args, levels, strict=False)))
        return f"({text})" if op.prec < level else text

    def parameter(self, n: Node) -> str:
        name = f"{self.model}_w{self.number}_{n.attr.replace('.', '_')}"
        if not any(f" {name}[" in c for c in self.constants):
            self.constants.append(array("float", name, [real(float(v)) for v in self.layer.weights[n.attr].astype(np.float32)]))
        return f"{name}[{'u' if n.axis != '1' else '0'}]"


def helpers(used: set[str]) -> list[str]:
    wanted = used | {c for n in used for c in HELPERS[n][1]}
    return [text for n, (text, _) in HELPERS.items() if n in wanted]


def model_layers(model: FloatModel, name: str) -> list[tuple[FloatWriter, str, bool]]:
    """Each layer's writer, its function, and whether that takes the state."""
    writers = [FloatWriter(layer, name, k) for k, layer in enumerate(model.layers)]
    return [(w, *w.text()) for w in writers]
