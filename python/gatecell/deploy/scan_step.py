"""What a scan is in a step graph: the sizes that fit it, and its meaning.  Not here: other operations (graph.py), how a stream runs it.

Settings: {"scan": its registered name, "H": channels, "N": entries, "heads": heads}; weights are its parameters, inputs its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..cells import scans
from ..cells.scan_reference import Reference
from ..tensor.dtypes import Array

SIZE_LIMIT = 1 << 24
"""Beyond it a size is a mistake, or an attack."""
SETTINGS = {"scan": str, "H": int, "N": int, "heads": int}


def scan_size(sizes: Sequence[int], shapes: Mapping[str, tuple[int, ...]], settings: Mapping[str, Any]) -> int:
    """Size of the output; ValueError where sizes of inputs, shapes of parameters and settings do not fit."""
    if {k: type(v) for k, v in settings.items()} != SETTINGS:
        raise ValueError(f"settings: {', '.join(SETTINGS)} wanted, got {dict(settings)}")
    if settings["scan"] not in scans:
        raise ValueError(f"scan: one of {', '.join(scans)} wanted, got {settings['scan']!r}")
    of = scans[settings["scan"]]
    H, N, K = (settings[name] for name in ("H", "N", "heads"))
    if min(H, N, K) < 1 or max(H, N, K, H * N * K) > SIZE_LIMIT:
        raise ValueError(f"scan: sizes from 1 to {SIZE_LIMIT} wanted, got {dict(settings)}")
    if (want := [scan_units(settings, axis) for axis in of.inputs.values()]) != list(sizes):
        raise ValueError(f"inputs of {of.name}: {want} wanted, got {list(sizes)}")
    if (shaped := {k: (scan_units(settings, axis),) for k, axis in of.params.items()}) != dict(shapes):
        raise ValueError(f"parameters of {of.name}: {shaped} wanted, got {dict(shapes)}")
    return int(H * K)


def scan_units(settings: Mapping[str, Any], axis: str) -> int:
    """Elements of a row over an axis, all heads."""
    n: int = settings["heads"] * (settings["N"] if "N" in axis else 1) * (settings["H"] if "H" in axis else 1)
    return n


def scan_by_reference(
    settings: Mapping[str, Any], weights: Mapping[str, Array], given: Sequence[Array], states: Mapping[str, Array]
) -> tuple[Array, Mapping[str, Array]]:
    """One step by the page, on flat rows (B, n): its output and its new states."""
    of, B = scans[settings["scan"]], len(given[0])
    rows = B * settings["heads"]

    def shaped(a: Array, axis: str, *before: int) -> Array:
        return a.reshape(*before, *(settings[letter] for letter in axis if letter != "1"))

    inputs = {k: shaped(a, axis, 1, rows) for (k, axis), a in zip(of.inputs.items(), given, strict=True)}
    params = {k: shaped(weights[k], axis) for k, axis in of.params.items()}
    out, over = Reference(of, inputs, params).forward({k: shaped(states[k], axis, rows) for k, axis in of.states.items()})
    return out.reshape(B, -1), {k: a[1].reshape(B, -1) for k, a in over.items()}
