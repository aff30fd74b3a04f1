"""Frozen dataclasses to JSON and back, every value checked against its annotation.  Knows no class, runs nothing that a file says.

Fields of str, int, float, bool, dataclasses, `X | None`, tuples, mappings with keys of str or int, arrays, and Any (what JSON has).
A field with compare=False is not written, and gets its default back.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import numpy as np

from ..tensor.dtypes import Array

D = TypeVar("D")
LARGEST = 2**53
"""Integers beyond it are not the same number in every reader of JSON."""


def pack(value: Any, arrays: dict[str, Array], where: str = "") -> Any:
    """`value` as JSON has it; its arrays go into `arrays` under their paths, "layers.0.weights.W"."""
    if isinstance(value, np.ndarray):
        arrays[where] = value
        return {"array": where}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.compare}
    inside = where + "." if where else ""
    if isinstance(value, Mapping):
        return {str(k): pack(v, arrays, f"{inside}{k}") for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [pack(v, arrays, f"{inside}{i}") for i, v in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def unpack(cls: type[D], data: Any, arrays: Mapping[str, Array]) -> D:
    """What `pack` packed, as a `cls`; ValueError, with the path, where anything is not of its kind."""
    return typing.cast(D, _read(cls, data, arrays, cls.__name__))


@cache
def _fields(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.compare}


def _expect(ok: bool, where: str, want: str, data: Any) -> None:
    if not ok:
        raise ValueError(f"{where}: {want} wanted, got {type(data).__name__} {str(data)[:60]!r}")


def _read(kind: Any, data: Any, arrays: Mapping[str, Array], where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        rest = [a for a in args if a is not type(None)]
        return None if data is None and len(rest) < len(args) else _read(rest[0], data, arrays, where)
    if kind in (str, bool, float) or kind is int:
        _expect(type(data) is kind and (kind is not int or abs(data) <= LARGEST), where, kind.__name__, data)
        return data
    if origin is np.ndarray:
        _expect(isinstance(data, dict) and list(data) == ["array"] and data["array"] in arrays, where, "an array of the file", data)
        return arrays[data["array"]]
    if dataclasses.is_dataclass(kind):
        fields = _fields(typing.cast(type, kind))
        _expect(isinstance(data, dict) and set(data) == set(fields), where, f"an object with {', '.join(fields)}", data)
        return typing.cast(Any, kind)(**{name: _read(hint, data[name], arrays, f"{where}.{name}") for name, hint in fields.items()})
    if origin is tuple:
        many = args[1:] == (...,)
        _expect(isinstance(data, list) and (many or len(data) == len(args)), where, "a list" if many else f"a list of {len(args)}", data)
        kinds = args[:1] * len(data) if many else args
        return tuple(_read(k, d, arrays, f"{where}.{i}") for i, (k, d) in enumerate(zip(kinds, data, strict=True)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _expect(isinstance(data, dict), where, "an object", data)
        if args[0] is int:
            _expect(all(re.fullmatch("0|-?[1-9][0-9]{0,15}", k) for k in data), where, "numbers as keys", data)
        return {args[0](k): _read(args[1], v, arrays, f"{where}.{k}") for k, v in data.items()}
    raise TypeError(f"{where}: no rule for {kind}")
