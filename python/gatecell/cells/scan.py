"""The record of a scan: its page and what follows from it.  Not here: any particular scan, gated cells (cell.py).

`scan(...)` makes and registers a record; the rest of gatecell reads the registry and knows no scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from ..algebra.program import watching
from ..algebra.scan import ScanBackward, ScanProgram, ScanSignature, derive, trace


def _axes(text: str) -> dict[str, str]:
    return {name: axis for name, _, axis in (a.partition(":") for a in text.split())}


class Scan:
    """A recurrence with a diagonal or matrix state, written once as its page: output, states = page(inputs, parameters, states).

    `name`, `title` (as people write it), `source` (the paper); `inputs`, `params`, `states`: {name: axis}.
    """

    def __init__(self, page: Callable[..., Any], inputs: str, params: str, states: str, *, title: str, source: str) -> None:
        self.signature = ScanSignature(page, _axes(inputs), _axes(params), _axes(states))
        self.page, self.name, self.title, self.source = page, page.__name__, title, source
        self.inputs, self.params, self.states = self.signature.inputs, self.signature.params, self.signature.states

    def __repr__(self) -> str:
        return f"<scan {self.name}: {self.title}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Scan:
        """Itself: a record does not change."""
        return self

    @cached_property
    def program(self) -> ScanProgram:
        """One step, traced."""
        return trace(self.signature, watching)

    @cached_property
    def backward(self) -> ScanBackward:
        """The gradient of one step."""
        return derive(self.program)


class Scans(Mapping[str, Scan]):
    """Names -> records; `gatecell.scans`."""

    def __init__(self) -> None:
        self._scans: dict[str, Scan] = {}

    def __getitem__(self, name: str) -> Scan:
        try:
            return self._scans[name]
        except KeyError:
            raise KeyError(f"no scan {name!r}; registered: {', '.join(self._scans)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._scans)

    def __len__(self) -> int:
        return len(self._scans)

    def add(self, scan: Scan) -> Scan:
        """Register a record.  ValueError: the name is taken; TypeError: the page breaks the grammar."""
        if scan.name in self._scans:
            raise ValueError(f"a scan {scan.name!r} is registered already: {self._scans[scan.name]!r}")
        _ = scan.program  # a page that breaks the grammar fails here, not in a user's model
        self._scans[scan.name] = scan
        return scan


scans = Scans()


def scan_record(inputs: str, params: str, states: str, *, title: str = "", source: str = "") -> Callable[[Callable[..., Any]], Scan]:
    """A decorator that makes a page a record without registering it.

    Each of the three names the page's arguments with their axes, as "x:H B:N": H channels, N entries, NH both, 1 neither.
    """
    return lambda page: Scan(page, inputs, params, states, title=title or page.__name__, source=source)


def scan(inputs: str, params: str, states: str, **options: Any) -> Callable[[Callable[..., Any]], Scan]:
    """As `scan_record`, and registers it: `gatecell.scan`."""
    return lambda page: scans.add(scan_record(inputs, params, states, **options)(page))
