"""Random integer models whose bits every board has to give: which models count, and many of them in one C program.  Not a test:
test_conformance.py runs a sample, campaigns/boards.py hundreds.

A model counts if nothing in it is trivial: at least 100 distinct outputs, less than 95 % of its gates' values at their ends, inputs at the
rails.  What it has to give comes from the Python definition, which checks every value against its proven interval.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np

import gatecell
from gatecell import nn
from gatecell.cells import cells
from gatecell.deploy.export import integer_files
from gatecell.deploy.integer import Runner
from gatecell.deploy.quantize import quantize

STEPS = 140
DISTINCT, SATURATED = 100, 0.95
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 15, 16, 17, 23)
"""Units and features: about the quad and about the pass of four quads, on which layouts turn."""
SCHEMES = (("w8a8", 8), ("w8a8", 16), ("w8a16", 16))
"""Scheme, and bits of the inputs."""


class Net(nn.Module):
    """Standardised inputs, one or two recurrent layers, a head."""

    def __init__(self, cell: str, inputs: int, units: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.standardize = nn.Standardize(np.linspace(-5, 900, inputs), np.linspace(0.1, 30, inputs))
        self.recurrent = nn.Recurrent(cell, inputs, units, layers)
        self.head = nn.Linear(units, outputs)

    def forward(self, x):
        return self.head(self.recurrent(self.standardize(x))[0])


@dataclass(frozen=True)
class Case:
    """A model that counts: inputs (STEPS, I) in the model's own type and what they have to give, (STEPS, O) int16."""

    title: str
    model: object
    x: np.ndarray
    y: np.ndarray
    distinct: int
    saturated: float
    at_rails: float

    def check(self) -> None:
        """Whether the model proves something."""
        assert self.distinct >= DISTINCT, self
        assert self.saturated < SATURATED, self
        assert self.at_rails > 0.1, self


def series(rng: np.random.Generator, inputs: int) -> np.ndarray:
    """(STEPS, 1, inputs), slow and quick at once, in the units that Net standardises."""
    t = np.arange(STEPS)[:, None]
    z = np.sin(t / rng.uniform(2, 40, inputs) + rng.uniform(0, 6, inputs)) + rng.normal(0, 0.5, (STEPS, inputs))
    return (np.linspace(-5, 900, inputs) + np.linspace(0.1, 30, inputs) * z).astype(np.float32)[:, None]


@functools.cache
def integer_cells() -> list[str]:
    """Cells that integers are made of; a page whose primitives have no integer meaning yet has none to compare."""
    found = []
    for name in cells:
        try:
            quantize(Net(name, 2, 3, 1, 1), series(np.random.default_rng(0), 2), "w8a8")
        except gatecell.Unsupported:
            continue
        found.append(name)
    return found


def draw(seed: int, largest: int = max(SIZES)) -> Case:
    """The first model from a seed on that counts; cells and schemes take turns."""
    names = integer_cells()
    cell, (scheme, bits) = names[seed % len(names)], SCHEMES[seed // len(names) % len(SCHEMES)]
    for attempt in range(100):
        rng = np.random.default_rng([seed, attempt])
        gatecell.manual_seed(1000 * seed + attempt)
        sizes = [n for n in SIZES if n <= largest]
        inputs, units = (int(n) for n in rng.choice(sizes, 2))
        layers, outputs = int(rng.integers(1, 3)), int(rng.integers(1, 4))
        net = Net(cell, inputs, units, layers, outputs)
        spread = rng.uniform(0.5, 3)
        for p in net.recurrent.parameters():
            p.data = (p.data * spread).astype(np.float32)
        x = series(rng, inputs)
        q = quantize(net, x, scheme, input_bits=bits)
        top = 2 ** (q.model.input_bits - 1) - 1
        xi = q.quantize_input(x).copy()
        xi[20:40] = rng.choice([-top, top], xi[20:40].shape)
        xi[60:90] = rng.integers(-top, top + 1, xi[60:90].shape)
        xi[100:110] = top
        y = Runner(q.model, check=True).run(xi)[:, 0]
        title = f"{seed}: {cell}, {scheme}, int{bits}, {inputs} -> {layers} x {units} -> {outputs}"
        rails = float((np.abs(xi.astype(np.int32)) == top).mean())
        case = Case(title, q, xi[:, 0], y, distinct(y), saturated(net, q, xi), rails)
        if case.distinct >= DISTINCT and case.saturated < SATURATED:
            return case
    raise AssertionError(f"no model of seed {seed} counts")


def distinct(y: np.ndarray) -> int:
    return max(np.unique(column).size for column in y.T)


def saturated(net: nn.Module, q: object, xi: np.ndarray) -> float:
    """The share of gates' values within 1 % of an end, seen in the float model at the same inputs."""
    scale, offset = q.model.scale, q.model.offset
    seen = gatecell.inspect(net, (xi * scale + offset).astype(np.float32))
    gates = [np.asarray(values) for layer in seen.values() for values in layer.gates.values()]
    ends = [(np.abs(g) > 0.99) | ((g >= 0) & (g < 0.01) if (g >= 0).all() else False) for g in gates]
    return float(np.mean([e.mean() for e in ends])) if ends else 0.0


def program(cases: list[Case], target: str) -> tuple[str, str]:
    """all.h and all.c: every case's generated C in one file, and a model "all" whose row is theirs side by side.

    The files share their helpers, so paragraphs that have been there are left out; layers get their model's name before theirs.
    """
    seen: set[str] = set()
    source, fields, steps, tests, inits = [], [], [], [], []
    at_x = at_y = 0
    headers = []
    for k, case in enumerate(cases):
        name = f"m{k}"
        files = integer_files(case.model, name, target)
        headers.append(files.header)
        text = re.sub(r"\blayer(\d+)\(", rf"{name}_layer\1(", files.source)
        source += [p for p in text.split("\n\n") if p not in seen]
        seen |= set(text.split("\n\n"))
        inputs, outputs = case.x.shape[1], case.y.shape[1]
        fields.append(f"  {name}_state {name};")
        inits.append(f"  {name}_init(&s->{name});")
        steps.append(f"  {{ {name}_input_t v[{inputs}]; for (int k = 0; k < {inputs}; k++) v[k] = ({name}_input_t)x[{at_x} + k];")
        steps.append(f"    {name}_step(&s->{name}, v, y + {at_y}); }}")
        tests.append(f"  if ({name}_selftest() != 0) return {k + 1};")
        at_x, at_y = at_x + inputs, at_y + outputs
    header = [*headers, "#ifndef ALL_H\n#define ALL_H", f"#define ALL_INPUT_SIZE {at_x}\n#define ALL_OUTPUT_SIZE {at_y}"]
    header += ["typedef int16_t all_input_t;\ntypedef int16_t all_output_t;", "typedef struct {", *fields, "} all_state;"]
    header += ["void all_init(all_state *s);", "void all_step(all_state *s, const int16_t *x, int16_t *y);"]
    header += ["int all_selftest(void);", "#endif"]
    source = [re.sub(r'^#include "m\d+\.h"$', '#include "all.h"', p, flags=re.MULTILINE) for p in source]
    source.append("\n".join(["void all_init(all_state *s) {", *inits, "}", "void all_step(all_state *s, const int16_t *x, int16_t *y) {"]))
    source.append("\n".join([*steps, "}", "int all_selftest(void) {", *tests, "  return 0;", "}"]))
    return "\n".join(header) + "\n", "\n\n".join(source) + "\n"


def rows(cases: list[Case]) -> tuple[np.ndarray, np.ndarray]:
    """What "all" reads and has to give."""
    return np.concatenate([c.x.astype(np.int16) for c in cases], axis=1), np.concatenate([c.y for c in cases], axis=1)
