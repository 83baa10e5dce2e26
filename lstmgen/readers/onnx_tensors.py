"""Tensors of an ONNX file as numpy arrays: raw or typed data, or a file beside the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..network import MAX_WEIGHTS

Constant = NDArray[Any]

EXTERNAL = 1
"""TensorProto.EXTERNAL, where a tensor's data_location says that another file holds it."""

BFLOAT16 = 16

_TYPES: dict[int, tuple[str, str]] = {
    1: ("<f4", "float_data"),
    2: ("<u1", "int32_data"),
    3: ("<i1", "int32_data"),
    4: ("<u2", "int32_data"),
    5: ("<i2", "int32_data"),
    6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"),
    9: ("?", "int32_data"),
    10: ("<f2", "int32_data"),
    11: ("<f8", "double_data"),
    12: ("<u4", "uint64_data"),
    13: ("<u8", "uint64_data"),
    BFLOAT16: ("<u2", "int32_data"),
}
"""By TensorProto.DataType: numpy's type and the field for values that are not raw."""

_MAX_AXES = 16

_NAMES = {
    8: "STRING", 14: "COMPLEX64", 15: "COMPLEX128", 17: "FLOAT8E4M3FN", 18: "FLOAT8E4M3FNUZ",
    19: "FLOAT8E5M2", 20: "FLOAT8E5M2FNUZ", 21: "UINT4", 22: "INT4", 23: "FLOAT4E2M1",
}


def text(value: str | bytes) -> str:
    """Return a string of a file, which is bytes where it is not UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def dtype_of(number: int, where: str) -> np.dtype[Any]:
    """Return numpy's type for a TensorProto.DataType; bfloat16 becomes float32."""
    if number not in _TYPES:
        raise ModelError(
            f"{where} is of type {_NAMES.get(number, number)}; expected float32, float64, "
            "float16, bfloat16, an integer or bool"
        )
    return np.dtype("<f4" if number == BFLOAT16 else _TYPES[number][0])


@dataclass
class Beside:
    """The folder a model lies in, and how many bytes its tensors may yet take of other files."""

    folder: Path
    left: int = 8 * MAX_WEIGHTS


def array_of(tensor: Any, where: str, beside: Beside) -> Constant:
    """Return a TensorProto's values; a ModelError that begins with `where` if it has none."""
    result = dtype_of(tensor.data_type, where)
    kind, typed = _TYPES[tensor.data_type]
    if len(tensor.dims) > _MAX_AXES:
        raise ModelError(f"{where} has {len(tensor.dims)} axes; expected at most {_MAX_AXES}")
    shape = tuple(int(size) for size in tensor.dims)
    count = 1
    for size in shape:
        if not 0 <= size <= MAX_WEIGHTS:
            raise ModelError(f"{where} is {shape}; expected sizes of 0 to {MAX_WEIGHTS}")
        count *= size
        if count > MAX_WEIGHTS:
            raise ModelError(f"{where} is {shape}; expected at most {MAX_WEIGHTS} values")
    if tensor.HasField("segment"):
        raise ModelError(f"{where} is a segment of a tensor; expected a whole one")
    stored = np.dtype(kind)
    if tensor.data_location == EXTERNAL:
        values = _from_bytes(_external(tensor, where, beside), stored, count, where)
    elif tensor.HasField("raw_data"):
        values = _from_bytes(tensor.raw_data, stored, count, where)
    else:
        values = _typed(getattr(tensor, typed), tensor.data_type, stored, count, where)
    if tensor.data_type == BFLOAT16:
        values = (values.astype(np.uint32) << 16).view(result)
    return values.reshape(shape)


def _from_bytes(data: bytes, stored: np.dtype[Any], count: int, where: str) -> Constant:
    if len(data) != count * stored.itemsize:
        raise ModelError(
            f"{where} holds {len(data)} bytes; expected {count * stored.itemsize} "
            f"for {count} values"
        )
    return np.frombuffer(data, stored)


def _typed(
    field: Any, number: int, stored: np.dtype[Any], count: int, where: str
) -> Constant:
    if len(field) != count:
        raise ModelError(f"{where} holds {len(field)} values; expected {count}, by its shape")
    if stored.kind == "f" and stored.itemsize > 2:
        return np.array(field, stored)
    wide = np.array(field, np.uint64 if stored == np.uint64 else np.int64)
    if stored.kind == "f" or number == BFLOAT16:
        return wide.astype(np.uint16).view(stored)  # the bits of 16-bit floats
    return wide.astype(stored)


def _external(tensor: Any, where: str, beside: Beside) -> bytes:
    """Return the bytes in a file beside the model, which no path may lead out of its folder."""
    entries: Mapping[str, str] = {
        text(entry.key): text(entry.value) for entry in tensor.external_data
    }
    location = entries.get("location", "")
    plain = location not in ("", ".", "..") and location.isprintable()
    if not plain or any(mark in location for mark in "/\\:"):
        raise ModelError(
            f"{where} lies in the file {location[:80]!a}; expected a plain file name, "
            "of a file beside the model"
        )
    file = beside.folder / location
    if file.is_symlink() or not file.is_file():
        raise ModelError(f"{where} lies in {file}, which is no file; put it beside the model")
    numbers: dict[str, int] = {}
    for key in ("offset", "length"):
        digits = entries.get(key, "0" if key == "offset" else "")
        if key == "length" and not digits:
            digits = str(max(0, file.stat().st_size - numbers["offset"]))
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 15):
            raise ModelError(f"{where}: its external {key} is {digits[:40]!a}; expected a number")
        numbers[key] = int(digits)
    beside.left -= numbers["length"]
    if beside.left < 0:
        raise ModelError(
            f"{where} takes {numbers['length']} bytes of {file}; expected at most "
            f"{8 * MAX_WEIGHTS} for all tensors together"
        )
    try:
        with file.open("rb") as stream:
            stream.seek(numbers["offset"])
            return stream.read(numbers["length"])
    except OSError as error:
        raise ModelError(f"{where} lies in {file}, which cannot be read: {error}") from None
