"""The tables of a .tflite file, read as plain values.

The flatbuffers package follows every offset without a check, so all of it is read here, every
length is held against the size of the file, and whatever breaks is one ModelError.
"""

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import ModelError
from ..npz import shown_name
from .tflite_tensors import MAX_DIMS, Graph, Op, Tensor

MAX_BYTES = 1 << 28
"""Largest file; the weights of the largest network in float32 are a quarter of it."""

MAX_TENSORS = 4096
MAX_OPERATORS = 2048
MAX_OPERANDS = 64
MAX_CHANNELS = 1 << 16

COPIES = ("QUANTIZE", "DEQUANTIZE", "CAST")
"""Operators that change the type of values alone."""

_OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        "UnidirectionalSequenceLSTMOptions",
        ("FusedActivationFunction", "CellClip", "ProjClip", "TimeMajor"),
    ),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (
        "BidirectionalSequenceLSTMOptions",
        ("FusedActivationFunction", "CellClip", "ProjClip", "TimeMajor", "MergeOutputs"),
    ),
    "FULLY_CONNECTED": ("FullyConnectedOptions", (
        "FusedActivationFunction", "WeightsFormat", "KeepNumDims"
    )),
    "BATCH_MATMUL": ("BatchMatMulOptions", ("AdjX", "AdjY")),
    "SOFTMAX": ("SoftmaxOptions", ("Beta",)),
    "STRIDED_SLICE": ("StridedSliceOptions", (
        "BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask"
    )),
    "CONCATENATION": ("ConcatenationOptions", ("Axis", "FusedActivationFunction")),
    "GATHER": ("GatherOptions", ("Axis", "BatchDims")),
    "ADD": ("AddOptions", ("FusedActivationFunction",)),
    "SUB": ("SubOptions", ("FusedActivationFunction",)),
    "MUL": ("MulOptions", ("FusedActivationFunction",)),
    "DIV": ("DivOptions", ("FusedActivationFunction",)),
}
"""By operator: its options table and the fields that matter."""

_DEFAULTS = {("SOFTMAX", "Beta"): 1.0, ("BIDIRECTIONAL_SEQUENCE_LSTM", "TimeMajor"): True}
"""What an absent options table stands for, where that is not the type's zero."""

# What the accessors raise on offsets and lengths that lead out of the file.
_BROKEN = (
    struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError, MemoryError
)


def load(
    path: str | os.PathLike[str], flat: ModuleType, wanted: Sequence[str]
) -> Graph:
    """Read a file; `flat` is the tflite package, `wanted` the operators to read it for."""
    source = str(path)
    try:
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"{source} has {size} bytes; expected at most {MAX_BYTES}")
        data = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{source} cannot be read: {error.strerror or error}") from None
    try:
        return _Loader(data, source, flat).graph(wanted)
    except _BROKEN as error:
        reason = ascii(str(error))[:80]
        raise ModelError(
            f"{source} is damaged or truncated ({type(error).__name__}: {reason}); "
            "convert or copy it anew"
        ) from None


class _Loader:
    """Reads the tables of one file."""

    def __init__(self, data: bytes, source: str, flat: ModuleType) -> None:
        self._data, self._source, self._flat = data, source, flat
        self._model = flat.Model.GetRootAs(data, 0)
        self._names = _names_of(flat.BuiltinOperator)
        self._types = _names_of(flat.TensorType)

    def graph(self, wanted: Sequence[str]) -> Graph:
        model = self._model
        kinds = [
            self._kind(model.OperatorCodes(n))
            for n in range(self._count(model.OperatorCodesLength(), "operator codes", 512))
        ]
        graph = Graph(self._source, tuple(dict.fromkeys(kinds)))
        if not set(wanted) & set(kinds):
            return graph
        self._count(model.SubgraphsLength(), "subgraphs", 1024)
        table = model.Subgraphs(0)
        count = self._count(table.TensorsLength(), "tensors", MAX_TENSORS)
        graph.tensors = [self._tensor(table.Tensors(n)) for n in range(count)]
        inputs = self._indices(table.InputsLength(), table.InputsAsNumpy, count)
        graph.inputs = tuple(n for n in inputs if n >= 0)
        graph.outputs = self._outputs(table, count)
        ops = self._count(table.OperatorsLength(), "operators", MAX_OPERATORS)
        graph.ops = [self._op(n, table.Operators(n), kinds, count) for n in range(ops)]
        for op in graph.ops:
            if op.kind in COPIES and graph.constant(op.input(0)):
                source = graph.aliases.get(op.input(0), op.input(0))
                graph.aliases |= dict.fromkeys(op.outputs, source)
        return graph

    def _count(self, count: int, what: str, limit: int) -> int:
        if count > min(limit, len(self._data)):
            raise ModelError(f"{self._source} holds {count} {what}; expected at most {limit}")
        return int(count)

    def _kind(self, code: Any) -> str:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = self._names.get(number, f"operator code {number}")
        if name != "CUSTOM":
            return name
        return f"CUSTOM {shown_name((code.CustomCode() or b'').decode('utf-8', 'replace'))}"

    def _tensor(self, table: Any) -> Tensor:
        self._count(table.ShapeLength(), "dimensions of a tensor", MAX_DIMS)
        shape = [int(n) for n in table.ShapeAsNumpy()] if table.ShapeLength() else []
        if table.ShapeSignatureLength() == len(shape) and shape:
            signature = table.ShapeSignatureAsNumpy()
            shape = [-1 if s < 0 else n for s, n in zip(signature, shape, strict=True)]
        scale = zero = np.zeros(0)
        axis = 0
        quantization = table.Quantization()
        if quantization is not None and quantization.ScaleLength():
            for length in (quantization.ScaleLength(), quantization.ZeroPointLength()):
                self._count(length, "scales of a tensor", MAX_CHANNELS)
            scale = np.asarray(quantization.ScaleAsNumpy(), np.float64)
            if quantization.ZeroPointLength():
                zero = np.asarray(quantization.ZeroPointAsNumpy(), np.float64)
            axis = quantization.QuantizedDimension()
        return Tensor(
            name=(table.Name() or b"").decode("utf-8", "replace"),
            shape=tuple(max(n, -1) for n in shape),
            type=self._types.get(table.Type(), f"type {table.Type()}"),
            data=self._buffer(table.Buffer()),
            scale=scale,
            zero=zero,
            axis=int(axis),
            variable=bool(table.IsVariable()),
            sparse=table.Sparsity() is not None,
        )

    def _buffer(self, index: int) -> memoryview | None:
        if index >= self._model.BuffersLength():
            raise IndexError(f"buffer {index} of {self._model.BuffersLength()}")
        buffer = self._model.Buffers(index)
        if getattr(buffer, "Offset", int)() > 1:
            raise ModelError(f"{self._source} keeps weights behind its tables; expected inside")
        length = self._count(buffer.DataLength(), "bytes in a buffer", MAX_BYTES)
        return memoryview(buffer.DataAsNumpy()).cast("B") if length else None

    def _indices(self, length: int, vector: Any, tensors: int) -> tuple[int, ...]:
        self._count(length, "operands", MAX_OPERANDS)
        indices = tuple(int(n) for n in vector()) if length else ()
        if any(not -1 <= n < tensors for n in indices):
            raise IndexError(f"tensor {max(indices)} of {tensors}")
        return indices

    def _outputs(self, table: Any, tensors: int) -> tuple[int, ...]:
        indices = self._indices(table.OutputsLength(), table.OutputsAsNumpy, tensors)
        if not indices or min(indices) < 0:
            raise IndexError("an output is missing")
        return indices

    def _op(self, number: int, table: Any, kinds: list[str], tensors: int) -> Op:
        kind = kinds[table.OpcodeIndex()]
        return Op(
            number,
            kind,
            self._indices(table.InputsLength(), table.InputsAsNumpy, tensors),
            self._outputs(table, tensors),
            self._options(kind, table),
        )

    def _options(self, kind: str, op: Any) -> dict[str, Any]:
        name, keys = _OPTIONS.get(kind, ("", ()))
        found = op.BuiltinOptions() if keys and op.BuiltinOptionsType() else None
        if found is None:
            return {key: _DEFAULTS.get((kind, key), 0) for key in keys}
        if op.BuiltinOptionsType() != getattr(self._flat.BuiltinOptions, name):
            raise TypeError(f"options of type {op.BuiltinOptionsType()} for {kind}")
        options = getattr(self._flat, name)()
        options.Init(found.Bytes, found.Pos)
        return {key: getattr(options, key)() for key in keys}


def _names_of(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}
