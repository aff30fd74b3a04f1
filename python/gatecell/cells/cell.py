"""The record of a cell: its page and what follows from it.  Not here: any particular cell.

`cell(...)` makes and registers a record; the rest of gatecell reads the registry and knows no cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from ..algebra.derive import Backward, derive
from ..algebra.program import Page, Program, Signature, trace

# A family of products is a matrix over the gates, stacked in the page's order; these stems are torch's.
TORCH_STEMS = {"W": "ih", "R": "hh", "P": "hr"}
RECURRENT = "R"
"""The family whose products lead from step to step."""


class Layout(NamedTuple):
    """How another tool has a cell's gates.

    gates   in its order, as "i f c:g z:-z": its own name, and ours after a colon where that is another; "-" where its gate is 1 where
            ours is 0; several usual names as "u|z:-z".
    biases  how many vectors of biases it has: one, or one for each kind of product.
    """

    gates: str
    biases: int = 1


class Cell:
    """A cell, written once as its page.

    `name`, `title` (as people write it), `source` (the paper), `states` (the first is the cell's output), `fused` (see `record`).
    `keeps`, `admits`, `candidate`: its gates' parts, as `record` says; "" where it has no such gate.  `layouts`: by name, "keras" or
    "concatenated" (exchange/layouts.py).
    """

    def __init__(
        self,
        page: Page,
        *,
        title: str,
        source: str,
        axes: str = "",
        bias: str = "",
        heads: str = "",
        keeps: str = "",
        admits: str = "",
        candidate: str = "",
        layouts: Mapping[str, Layout] | None = None,
        fused: bool = False,
    ) -> None:
        pairs = dict(a.split(":") for a in axes.split())
        self.signature = Signature(page, pairs, tuple(bias.split()), tuple(heads.split()))
        self.page, self.name, self.title, self.source, self.fused = page, page.__name__, title, source, fused
        self.keeps, self.admits, self.candidate, self.layouts = keeps, admits, candidate, dict(layouts or {})

    def __repr__(self) -> str:
        return f"<cell {self.name}: {self.title}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        """Itself: a record does not change, and its kernels are kept by record."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """By name: whoever unpickles has registered the cell.  TypeError: this record is not registered."""
        if cells.get(self.name) is not self:
            raise TypeError(f"only registered cells can be pickled, {self.name} is not")
        return _registered, (self.name,)

    @property
    def states(self) -> list[str]:
        return self.signature.states

    def axis(self, state: str) -> str:
        """The axis of a state: H hidden units, M projection, ..."""
        return self.signature.axis(state)

    @cached_property
    def program(self) -> Program:
        """One step, traced."""
        return trace(self.signature)

    @cached_property
    def backward(self) -> Backward:
        """The gradient of one step."""
        return derive(self.program)

    @property
    def projects(self) -> bool:
        """Whether the output is over an axis of its own."""
        return self.axis(self.states[0]) != "H"

    @property
    def heads(self) -> bool:
        """Whether a family is block-diagonal."""
        return bool(self.signature.heads)

    def shapes(self, sizes: Mapping[str, int], bias: bool = True) -> dict[str, tuple[int, ...]]:
        """Shape of every array of one layer and direction.

        `sizes` maps axes to lengths ({"I": 3, "H": 8}).  "W": the family's gates stacked, (G * out, into), or
        (G * out, into / K) when block-diagonal; "W+": its bias, (G * out,); "p.name": (H,); "s.name": (1,).
        Raises ValueError for an axis without a size, or one that blocks do not divide.
        """
        lengths = {"1": 1, **sizes}
        p = self.program
        missing = sorted({a for w in p.weights.values() for a in (w.out, w.into, w.blocks)} - set(lengths))
        if missing:
            raise ValueError(f"{self.name} wants sizes for the axes {', '.join(missing)}, got {dict(sizes)}")
        out: dict[str, tuple[int, ...]] = {}
        plain = dict[str, tuple[int, ...]]()  # families without a bias come last, as torch has them
        for family, gates in p.families.items():
            w = p.weights[f"{family}.{gates[0]}"]
            if lengths[w.blocks] < 1 or any(lengths[axis] % lengths[w.blocks] for axis in (w.out, w.into)):
                raise ValueError(f"{self.name} wants {family} in blocks of equal sizes, got {lengths[w.blocks]} for {dict(sizes)}")
            (out if w.bias else plain)[family] = (len(gates) * lengths[w.out], lengths[w.into] // lengths[w.blocks])
        for family, gates in p.families.items():
            w = p.weights[f"{family}.{gates[0]}"]
            if w.bias and bias:
                out[family + "+"] = (len(gates) * lengths[w.out],)
        return out | plain | {name: (lengths[axis],) for name, axis in p.params.items()}

    def blocks(self, sizes: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        """The axis of blocks and how many there are, from the other axes' lengths and the shapes of the arrays; empty where none are."""
        weights = {family: self.program.weights[f"{family}.{gates[0]}"] for family, gates in self.program.families.items()}
        return {w.blocks: sizes[w.into] // max(1, shapes[f][-1]) for f, w in weights.items() if w.blocks != "1" and f in shapes}

    def torch_name(self, key: str) -> str:
        """The state_dict stem of an array: "W" -> weight_ih, "R+" -> bias_hh, "p.i" -> weight_p_i."""
        family = key.rstrip("+")
        stem = TORCH_STEMS.get(family, family.replace(".", "_").lower())
        return f"{'bias' if key.endswith('+') else 'weight'}_{stem}"


class Registry(Mapping[str, Cell]):
    """Names -> records; `gatecell.cells`.  It finds a record of a record, too, by the name that options.py spells; those are not listed."""

    def __init__(self) -> None:
        self._cells: dict[str, Cell] = {}
        self.spelled: Callable[[str], Cell | None] = lambda name: None

    def __getitem__(self, name: str) -> Cell:
        try:
            return self._cells[name]
        except KeyError:
            if " " in name and (found := self.spelled(name)):
                return found
            raise KeyError(f"no cell {name!r}; registered: {', '.join(self._cells)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def add(self, cell: Cell) -> Cell:
        """Register a record.  ValueError: the name is taken; TypeError: the page breaks the grammar."""
        if cell.name in self._cells:
            raise ValueError(f"a cell {cell.name!r} is registered already: {self._cells[cell.name]!r}")
        _ = cell.program  # a page that breaks the grammar fails here, not in a user's model
        self._cells[cell.name] = cell
        return cell


cells = Registry()


def _registered(name: str) -> Cell:
    return cells[name]


def record(
    *,
    title: str = "",
    source: str = "",
    axes: str = "",
    bias: str = "W R",
    heads: str = "",
    keeps: str = "",
    admits: str = "",
    candidate: str = "",
    layouts: Mapping[str, Layout] | None = None,
    fused: bool = False,
) -> Callable[[Page], Cell]:
    """A decorator that makes a page a record without registering it.

    `axes`: output axis of a family and axis of a state where it is not H, as "P:M h:M"; `bias`: families whose products
    add one; `heads`: families that are block-diagonal.
    Gates that initialisations and options ask for: `keeps`, where it is 1 what was remembered stays (the forget gate; "-f": where f is 0);
    `admits`, where it is 0 nothing new is remembered (the input gate, where it is not the same one); `candidate`, what is new.
    `fused`: the core gets each of its steps in one function with each height of a tile of sums, and its integer steps for pairs of
    rows: the last per cents of speed, for 100 KB of the package.
    """

    def make(page: Page) -> Cell:
        roles = {"keeps": keeps, "admits": admits, "candidate": candidate}
        more: dict[str, Any] = {"layouts": layouts, "fused": fused, **roles}
        return Cell(page, title=title or page.__name__, source=source, axes=axes, bias=bias, heads=heads, **more)

    return make


def cell(**options: Any) -> Callable[[Page], Cell]:
    """As `record`, and registers it: `gatecell.cell`."""
    return lambda page: cells.add(record(**options)(page))
