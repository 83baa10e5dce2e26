"""safetensors files: a length, a JSON header of names, types, shapes and places, the values."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError
from ..npz import Array
from . import torch_modules
from .bfloat16 import widened
from .json_text import parse
from .options import Draft, ReadOptions, network_name

MAX_BYTES = 1 << 29
MAX_HEADER = 4 << 20
"""Largest file and header in bytes."""

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}


def read(path: str | os.PathLike[str], options: ReadOptions) -> Draft:
    """Return the network of arrays with PyTorch's names; their order means nothing."""
    source = str(path)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(f"{source} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ModelError(f"{source} has more than {MAX_BYTES} bytes; expected at most those")
    return torch_modules.read(
        arrays_of(data, source),
        source,
        network_name(path),
        options,
        "safetensors with PyTorch's names",
        ordered=False,
    )


def arrays_of(data: bytes, source: str) -> dict[str, Array]:
    """Return the arrays of a whole file; a ModelError lists what is wrong with them."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8 or length > MAX_HEADER:
        raise ModelError(
            f"{source} has a header of {length} bytes; expected at most {MAX_HEADER}, and no more "
            f"than the {max(len(data) - 8, 0)} that follow"
        )
    header = parse(data[8 : 8 + length], f"{source}: header")
    if not isinstance(header, dict):
        raise ModelError(f"{source}: its header is no object; write the file anew")
    torch_modules.check_count(len(header), source)
    values = memoryview(data)[8 + length :]
    arrays: dict[str, Array] = {}
    problems: list[str] = []
    places: list[tuple[int, int]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            dtype, shape, begin, end = _entry(entry, f"{source}: {ascii(name)[:200]}", len(values))
        except ModelError as error:
            problems.append(str(error))
            continue
        places.append((begin, end))
        array = np.frombuffer(values[begin:end], dtype).reshape(shape)
        arrays[name] = widened(array) if entry["dtype"] == "BF16" else array
    if not problems:
        at = 0
        for begin, end in sorted(places):
            if begin != at:
                problems.append(
                    f"{source}: an array begins at byte {begin} of the values; expected {at}, the "
                    "end of the one before it"
                )
                break
            at = end
        else:
            if at != len(values):
                problems.append(
                    f"{source} has {len(values)} bytes of values; expected {at}, those of its "
                    "arrays"
                )
    if problems:
        raise ModelError.of(problems)
    return arrays


def _entry(
    entry: Any, where: str, size: int
) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """Return type, shape, begin and end of an array whose place fits both and the file."""
    keys = ("dtype", "shape", "data_offsets")
    if not isinstance(entry, dict) or not all(key in entry for key in keys):
        raise ModelError(f"{where}: its header entry is no {', '.join(keys)}; write the file anew")
    kind, shape, offsets = (entry[key] for key in keys)
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ModelError(
            f"{where} has values of type {str(kind)[:40]!a}; expected one of {', '.join(_TYPES)}"
        )
    if not _naturals(shape) or len(shape) > 8 or not _naturals(offsets) or len(offsets) != 2:
        raise ModelError(
            f"{where}: its shape or data_offsets are not natural numbers; write the file anew"
        )
    dtype = np.dtype(_TYPES[kind])
    begin, end = offsets
    wanted = math.prod(shape) * dtype.itemsize
    if not begin <= end <= size or end - begin != wanted:
        raise ModelError(
            f"{where} has the bytes from {begin} to {end}; expected {wanted} bytes for its shape "
            f"{shape}, within the {size} of the file"
        )
    return dtype, tuple(shape), begin, end


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 40 for n in value)
