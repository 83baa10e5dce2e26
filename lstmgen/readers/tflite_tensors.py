"""A .tflite graph as plain values: tensors, constants in float64, operators with their options."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ModelError
from ..network import MAX_WEIGHTS
from ..npz import shown_name
from ..qformat import FloatArray
from ..weights import weights_of

MAX_DIMS = 8

_MAX_CONSTANTS = MAX_WEIGHTS + (1 << 20)
"""Values of all constants that operators use: weights, and some for biases."""

_TYPES = {
    "FLOAT32": "<f4", "FLOAT16": "<f2", "FLOAT64": "<f8", "INT8": "<i1", "UINT8": "<u1",
    "INT16": "<i2", "UINT16": "<u2", "INT32": "<i4", "UINT32": "<u4", "INT64": "<i8",
}

@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor: its shape with -1 for what is open, and a constant's raw bytes.

    scale, zero: of each channel along `axis`, or one for all; empty if not quantized.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    data: memoryview | None
    scale: FloatArray
    zero: FloatArray
    axis: int
    variable: bool
    sparse: bool


@dataclass(frozen=True, eq=False)
class Op:
    """An operator; -1 among its inputs stands for one that is absent."""

    number: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]

    def input(self, number: int) -> int:
        """Return an input's tensor, -1 if absent."""
        return self.inputs[number] if number < len(self.inputs) else -1


@dataclass(eq=False)
class Graph:
    """The first subgraph of a file.

    kinds: the kinds of operators of all subgraphs; if none was wanted, the rest is not read.
    aliases: by tensor, the constant it is a copy of in another type.
    weight_types: the types of the constants whose values were asked for.
    """

    source: str
    kinds: tuple[str, ...]
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    tensors: Sequence[Tensor] = ()
    ops: Sequence[Op] = ()
    aliases: dict[int, int] = field(default_factory=dict)
    weight_types: set[str] = field(default_factory=set)
    _used: int = 0

    def where(self, op: Op) -> str:
        """Return the file, the operator and the name of its output, for messages."""
        name = shown_name(self.tensors[op.outputs[0]].name)
        return f"{self.source}: operator {op.number}, {op.kind} {name}"

    def constant(self, index: int) -> Tensor | None:
        """Return a tensor if the file holds its values."""
        tensor = self.tensors[self.aliases.get(index, index)] if index >= 0 else None
        return None if tensor is None or tensor.data is None or tensor.variable else tensor

    def values(self, tensor: Tensor) -> FloatArray:
        """Return a constant's values, dequantized."""
        where = f"{self.source}: tensor {shown_name(tensor.name)}"
        if tensor.sparse:
            raise ModelError(f"{where} is sparse; expected dense weights: convert without pruning")
        if tensor.type not in _TYPES:
            raise ModelError(f"{where} holds {tensor.type} values; expected float or int8 weights")
        assert tensor.data is not None
        dtype = np.dtype(_TYPES[tensor.type])
        count = math.prod(tensor.shape)
        if min(tensor.shape, default=0) < 0 or count * dtype.itemsize != len(tensor.data):
            raise ModelError(
                f"{where} of shape {tensor.shape} has {len(tensor.data)} bytes; expected "
                f"{count * dtype.itemsize} for {tensor.type}"
            )
        self.charge(count, where)
        raw = np.frombuffer(tensor.data, dtype, count).reshape(tensor.shape)
        values = weights_of(raw, where)
        self.weight_types.add(tensor.type)
        return _dequantized(tensor, values, where) if dtype.kind in "iu" else values

    def charge(self, count: int, where: str) -> None:
        """Count weights that are about to be held; a ModelError if they are too many in all."""
        self._used += count
        if self._used > _MAX_CONSTANTS:
            raise ModelError(f"{where}: more than {_MAX_CONSTANTS} weights in all; expected fewer")

    def integers(self, index: int) -> list[int] | None:
        """Return a small constant of integers (axes, begin, perm), or None if it is none."""
        tensor = self.constant(index)
        if tensor is None or tensor.type not in ("INT32", "INT64"):
            return None
        dtype = np.dtype(_TYPES[tensor.type])
        count = math.prod(tensor.shape)
        if not 0 < count <= MAX_DIMS or len(tensor.data or b"") != count * dtype.itemsize:
            return None
        return [int(value) for value in np.frombuffer(tensor.data or b"", dtype, count)]


def _dequantized(tensor: Tensor, values: FloatArray, where: str) -> FloatArray:
    if not tensor.scale.size:
        raise ModelError(f"{where} holds {tensor.type} values without a scale; expected one")
    if not np.isfinite(tensor.scale).all() or (tensor.scale <= 0).any():
        raise ModelError(f"{where} has a scale that is not above 0; convert the model anew")
    zero = tensor.zero if tensor.zero.size else np.zeros(1)
    if zero.size not in (1, tensor.scale.size):
        raise ModelError(f"{where} has {zero.size} zero points; expected {tensor.scale.size}")
    if tensor.scale.size == 1:
        return np.asarray((values - zero[0]) * tensor.scale[0])
    axis = tensor.axis
    if not 0 <= axis < values.ndim or values.shape[axis] != tensor.scale.size:
        raise ModelError(
            f"{where} of shape {tensor.shape} has {tensor.scale.size} scales along axis {axis}; "
            "expected one each"
        )
    shape = [1] * values.ndim
    shape[axis] = tensor.scale.size
    zero = np.broadcast_to(zero, tensor.scale.shape)
    return np.asarray((values - zero.reshape(shape)) * tensor.scale.reshape(shape))
