"""save, load, load_state: models in one file each, as arrays and a step graph.  No pickle, nothing in a file is ever run.

Not here: the bytes (container.py), what makes a step graph sound (deploy/graph.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..deploy.graph import StepGraph, check
from ..deploy.model import GraphModel
from ..deploy.plain import pack, unpack
from ..deploy.quantized import QuantizedModel
from ..deploy.trace import trace
from ..errors import Unsupported
from ..nn import Module
from ..tensor.dtypes import ALL, Array
from .container import PathLike, read, write

VERSION = 1
"""Of what the description says; a file of another version is refused."""
GRAPH, INTEGER, WEIGHTS = "step graph", "integer model", "weights"


def save(model: Module | QuantizedModel, path: PathLike) -> None:
    """Write a Module with its step graph, or a quantised model, so that `load` needs no class of yours.

    The old file stays until the new one is whole.
    A model that cannot run step by step is saved as weights alone, with the reason; `load_state` reads them.
    TypeError: no model, arrays of types that a Tensor has not.  OSError: the folder cannot be written.
    """
    if isinstance(model, QuantizedModel):
        write(path, model.to_arrays(), {"version": VERSION, "kind": INTEGER})
        return
    if not isinstance(model, Module):
        raise TypeError(f"save: a Module or a quantised model wanted, got {type(model).__name__}")
    arrays: dict[str, Array] = {name: t.data for name, t in model.state_dict().items()}
    if foreign := [n for n, a in arrays.items() if a.dtype not in ALL]:
        raise TypeError(f"save: {foreign[0]}: an array of {', '.join(map(str, ALL))} wanted, got {arrays[foreign[0]].dtype}")
    info: dict[str, Any] = {"version": VERSION, "buffers": sorted({n for n, _ in model.named_buffers()} & set(arrays))}
    try:
        graph = trace(model)
    except Unsupported as e:
        info |= {"kind": WEIGHTS, "reason": str(e)}
    else:
        constants = {n: a for n, a in graph.parameters.items() if n not in arrays}
        info |= {"kind": GRAPH, "graph": pack(replace(graph, parameters={}), {}), "used": list(graph.parameters)}
        info["buffers"] = sorted({*info["buffers"], *constants})
        arrays |= constants
    write(path, arrays, info)


def load(path: PathLike) -> Module | QuantizedModel:
    """The model of a file: a Module that predicts, trains on, streams, quantises, exports and saves as the one that was saved did; or a
    quantised model.

    ValueError, before anything is built: a truncated, damaged or foreign file, another version, arrays or steps that do not fit together,
    cells that are not registered; and a file of weights alone, with the reason why there is no more.
    """
    arrays, info = read(path)
    if info is None:
        raise ValueError(f"{path}: no model of gatecell's, only arrays: load_state gives them")
    if (version := info.get("version")) != VERSION:
        raise ValueError(f"{path}: a file of version {VERSION} wanted, got {version!r}")
    if (kind := info.get("kind")) == WEIGHTS:
        raise ValueError(f"{path}: weights without a step graph, because {info.get('reason')}; load_state gives them")
    if kind not in (GRAPH, INTEGER):
        raise ValueError(f"{path}: a {GRAPH} or {INTEGER} wanted, got {kind!r}")
    try:
        return _graph_model(arrays, info) if kind == GRAPH else QuantizedModel.from_arrays(arrays)
    except (ValueError, LookupError, TypeError, OverflowError) as e:  # a forged description may be of any shape
        raise ValueError(f"{path}: {e}") from e


def load_state(path: PathLike) -> dict[str, Array]:
    """The arrays of any safetensors file by name, for `load_state_dict`.  ValueError: what is no whole file of the format."""
    return read(path)[0]


def _graph_model(arrays: dict[str, Array], info: dict[str, Any]) -> GraphModel:
    for key, wanted in (("graph", dict), ("used", list), ("buffers", list)):
        if not isinstance(info.get(key), wanted):
            raise ValueError(f"{key}: a {wanted.__name__} wanted, got {type(info.get(key)).__name__}")
    for key in ("used", "buffers"):
        if unknown := [n for n in info[key] if not isinstance(n, str) or n not in arrays]:
            raise ValueError(f"{key}: names of arrays wanted, got {unknown[0]!r}")
    if foreign := [n for n, a in arrays.items() if a.dtype not in ALL]:
        raise ValueError(f"{foreign[0]}: an array of {', '.join(map(str, ALL))} wanted, got {arrays[foreign[0]].dtype}")
    graph = replace(unpack(StepGraph, info["graph"], {}), parameters={n: arrays[n] for n in info["used"]})
    kinds = {a.dtype for a in graph.parameters.values()}
    if len(kinds) > 1 or not kinds <= {np.dtype(np.float32), np.dtype(np.float64)}:
        raise ValueError(f"parameters of one type, float32 or float64, wanted; got {', '.join(sorted(map(str, kinds)))}")
    check(graph)
    return GraphModel(graph, arrays, set(info["buffers"]))
