"""Named arrays and one text in a file of the safetensors format: written whole or not at all, read with every byte accounted for.

Not here: what the arrays and the text mean (files.py).  A file of ours has the metadata entry "gatecell": eight hexadecimal digits, the
CRC-32 of the rest, then a JSON object whose "tensors" are their names in order, each with the CRC-32 of its type, shape and bytes.  So a
changed bit anywhere is noticed.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import safetensors
import safetensors.numpy

from ..tensor.dtypes import Array

PathLike: TypeAlias = "str | os.PathLike[str]"
HEADER_LIMIT = 4 << 20
"""Bytes of header accepted: names, shapes and the step graph of some ten thousand tensors."""
KEY = "gatecell"
KINDS = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL"}


def write(path: PathLike, arrays: Mapping[str, Array], info: Mapping[str, Any]) -> None:
    """Put the file in place of `path` in one step: whoever looks, at any moment and after any failure, finds the old file or the new one.

    OSError, with the old file untouched: no such folder, no right to write, disk full.
    """
    plain = {name: np.ascontiguousarray(a, a.dtype.newbyteorder("=")).reshape(a.shape) for name, a in arrays.items()}
    text = json.dumps({**info, "tensors": _sums(plain)}, separators=(",", ":"), allow_nan=False)
    replace(path, safetensors.numpy.save(plain, {KEY: f"{zlib.crc32(text.encode()):08x}{text}"}))


def _sums(arrays: Mapping[str, Array]) -> list[list[Any]]:
    return [[name, zlib.crc32(a.reshape(-1).view(np.uint8).data, zlib.crc32(f"{a.dtype}{a.shape}".encode()))] for name, a in arrays.items()]


def replace(path: PathLike, data: bytes) -> None:
    """Write a file beside `path`, bring it to the disk, rename it, bring the folder to the disk."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"{path}: a file wanted, got a folder")
    temporary = target.parent / f".{target.name}.{secrets.token_hex(8)}.tmp"
    f = _created(temporary, path)  # if it is not ours, nothing is to be removed
    try:
        with f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _created(temporary: Path, path: PathLike) -> BinaryIO:
    """A new file; the OSError of its own name would be of a file that the caller never heard of."""
    try:
        return open(temporary, "xb")
    except OSError as e:
        raise OSError(e.errno, f"{path}: a folder that can be written wanted, got {temporary.parent}: {e.strerror}") from None


def read(path: PathLike) -> tuple[dict[str, Array], dict[str, Any] | None]:
    """The arrays, and the object that `write` was given (None: a safetensors file of someone else's).

    ValueError, before anything is built: what is no whole safetensors file, a header beyond HEADER_LIMIT, dtypes that NumPy lacks,
    checksums that do not fit.  OSError: no such file.  Memory: the file twice.
    """
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        length = int.from_bytes(f.read(8), "little")
        if size < 10 or length > size - 8:
            raise ValueError(f"{path}: no whole safetensors file: {size} bytes, its header alone would have {length}")
        if length > HEADER_LIMIT:
            raise ValueError(f"{path}: a header of at most {HEADER_LIMIT} bytes wanted, got {length}")
        data = length.to_bytes(8, "little") + f.read()
    deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize  # which has no types of its own
    try:
        entries = deserialize(data)
        header = json.loads(data[8 : 8 + length])
    except (safetensors.SafetensorError, ValueError, RecursionError) as e:
        raise ValueError(f"{path}: no whole safetensors file: {e}") from None
    if unknown := sorted({v["dtype"] for _, v in entries} - KINDS):
        raise ValueError(f"{path}: tensors of {', '.join(sorted(KINDS))} wanted, got {', '.join(unknown)}")
    arrays = {name: _array(v) for name, v in entries}
    info = _info(path, header.get("__metadata__", {}).get(KEY))
    if info is not None:
        written = info.pop("tensors", None)
        if not isinstance(written, list) or sorted(written, key=str) != sorted(_sums(arrays), key=str):
            raise ValueError(f"{path}: damaged: the tensors' checksums are not those that were written")
        arrays = {name: arrays[name] for name, _ in written}
    return arrays, info


def _array(entry: Mapping[str, Any]) -> Array:
    dtype = entry["dtype"]
    code = "?" if dtype == "BOOL" else f"<{dtype[0].lower()}{int(dtype[1:]) // 8}"
    return np.frombuffer(entry["data"], code).reshape(entry["shape"])


def _info(path: PathLike, text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    if f"{zlib.crc32(text[8:].encode()):08x}" != text[:8]:
        raise ValueError(f"{path}: damaged: the description's checksum is not the one that was written")
    try:
        info = json.loads(text[8:])
    except (ValueError, RecursionError) as e:
        raise ValueError(f"{path}: the description is no JSON: {e}") from None
    if not isinstance(info, dict):
        raise ValueError(f"{path}: an object wanted as description, got {type(info).__name__}")
    return info
