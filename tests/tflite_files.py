"""TFLite files built tensor by tensor, as the converter lays them out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tflite

from lstmgen.layers import Dense, Lstm

TANH = tflite.ActivationFunctionType.TANH

_TYPES = {
    "float32": tflite.TensorType.FLOAT32, "float16": tflite.TensorType.FLOAT16,
    "int8": tflite.TensorType.INT8, "int16": tflite.TensorType.INT16,
    "int32": tflite.TensorType.INT32, "int64": tflite.TensorType.INT64,
}
_OPTIONS = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "BidirectionalSequenceLSTMOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions", "SOFTMAX": "SoftmaxOptions",
    "STRIDED_SLICE": "StridedSliceOptions", "CONCATENATION": "ConcatenationOptions",
    "GATHER": "GatherOptions", "ADD": "AddOptions", "MUL": "MulOptions", "SUB": "SubOptions",
    "DIV": "DivOptions", "BATCH_MATMUL": "BatchMatMulOptions", "PACK": "PackOptions",
}


@dataclass
class TfliteFile:
    """A graph under construction; its first tensor is the input x of shape (B, T, n)."""

    shape: tuple[int, ...] = (1, 7, 3)
    scale: float | None = None
    tensors: list[dict[str, Any]] = field(default_factory=list)
    ops: list[tuple[str, Sequence[int], Sequence[int], dict[str, Any]]] = field(
        default_factory=list
    )

    def __post_init__(self) -> None:
        self.x = self.tensor("serving_default_x:0", self.shape)

    def tensor(
        self, name: str, shape: Sequence[int], kind: str = "float32", *, variable: bool = False,
        scale: Sequence[float] = (), zero: Sequence[int] = (), axis: int = 0,
        data: np.ndarray | None = None,
    ) -> int:
        """Add a tensor and return its index."""
        self.tensors.append({
            "name": name, "shape": tuple(shape), "kind": kind, "variable": variable,
            "scale": scale, "zero": zero, "axis": axis, "data": data,
        })
        return len(self.tensors) - 1

    def constant(self, array: Any, kind: str = "float32", **more: Any) -> int:
        values = np.asarray(array).astype(kind)
        return self.tensor(f"arith.constant{len(self.tensors)}", values.shape, kind, data=values,
                           **more)

    def quantized(self, array: np.ndarray, kind: str = "int8", axis: int | None = None) -> int:
        """Add a constant as integers: one scale, or one for each entry of an axis."""
        limit = np.iinfo(kind).max
        others = tuple(n for n in range(array.ndim) if n != axis)
        largest = np.abs(array).max(others if axis is not None else None, keepdims=True)
        scale = largest / limit
        return self.constant(np.round(array / scale), kind, scale=scale.ravel().tolist(),
                             zero=[0] * scale.size, axis=axis or 0)

    def op(self, kind: str, inputs: Sequence[int], shape: Sequence[int], **options: Any) -> int:
        """Add an operator with one output and return that."""
        output = self.tensor(f"tfl.{kind.lower()}{len(self.ops)}", shape)
        self.ops.append((kind, inputs, [output], options))
        return output

    def lstm(self, x: int, layer: Lstm, *, weight: Any = None, cifg: bool = False,
             **options: Any) -> int:
        """Add a fused operator for a layer; `weight` adds an array as a constant."""
        shape = (*self.tensors[x]["shape"][:2], layer.width)
        options = {"FusedActivationFunction": TANH, "CellClip": 10.0, "TimeMajor": False, **options}
        inputs = [x, *self.direction(layer, weight or self.constant, cifg)]
        inputs += [*self.state(layer), -1, -1, -1, -1]
        return self.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, shape, **options)

    def direction(self, layer: Lstm, weight: Any, cifg: bool = False) -> list[int]:
        gates = [np.split(a, 4) for a in (layer.W, layer.U, layer.b)]
        first = 1 if cifg else 0
        absent = [-1] * first
        p = layer.peephole
        return [
            *absent, *(weight(w) for w in gates[0][first:]),
            *absent, *(weight(u) for u in gates[1][first:]),
            *([-1] * 3 if p is None else [*absent, *(self.constant(row) for row in p[first:])]),
            *absent, *(self.constant(b) for b in gates[2][first:]),
            -1 if layer.projection is None else weight(layer.projection), -1,
        ]

    def state(self, layer: Lstm) -> list[int]:
        return [
            self.tensor("state", (1, width), variable=True) if start is None
            else self.constant(start[None])
            for start, width in ((layer.h0, layer.width), (layer.c0, layer.units))
        ]

    def dense(self, x: int, layer: Dense, *, weight: Any = None, **options: Any) -> int:
        shape = (*self.tensors[x]["shape"][:-1], len(layer.b))
        inputs = [x, (weight or self.constant)(layer.W), self.constant(layer.b)]
        return self.op("FULLY_CONNECTED", inputs, shape, **options)

    def integers(self, *values: int) -> int:
        return self.constant(np.array(values), "int32")

    def last_step(self, x: int) -> int:
        """Add the slice that Keras' return_sequences=False becomes."""
        begin, end, strides = [0, -1, 0], [0, 0, 0], [1, 1, 1]
        inputs = [x, *(self.integers(*values) for values in (begin, end, strides))]
        batch, _, width = self.tensors[x]["shape"]
        return self.op("STRIDED_SLICE", inputs, (batch, width), BeginMask=5, EndMask=5,
                       ShrinkAxisMask=2)

    def reverse(self, x: int, axis: int = 1) -> int:
        return self.op("REVERSE_V2", [x, self.integers(axis)], self.tensors[x]["shape"])

    def join(self, a: int, b: int) -> int:
        shape = self.tensors[a]["shape"]
        width = shape[-1] + self.tensors[b]["shape"][-1]
        return self.op("CONCATENATION", [a, b], (*shape[:-1], width), Axis=len(shape) - 1)

    def save(self, path: Path, *outputs: int) -> Path:
        path.write_bytes(self.to_bytes(outputs or (len(self.tensors) - 1,)))
        return path

    def to_bytes(self, outputs: Sequence[int]) -> bytes:
        b = flatbuffers.Builder(1024)
        buffers = [_buffer(b, None)]
        tensors = [self._tensor(b, entry, buffers) for entry in self.tensors]
        kinds = list(dict.fromkeys(op[0] for op in self.ops))
        codes = []
        for kind in kinds:
            number = getattr(tflite.BuiltinOperator, kind)
            tflite.OperatorCodeStart(b)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
            tflite.OperatorCodeAddBuiltinCode(b, number)
            codes.append(tflite.OperatorCodeEnd(b))
        ops = [_op(b, kinds.index(kind), kind, *rest) for kind, *rest in self.ops]
        fields = {
            "Inputs": b.CreateNumpyVector(np.array([self.x], np.int32)),
            "Outputs": b.CreateNumpyVector(np.array(outputs, np.int32)),
            "Tensors": _vector(b, tensors), "Operators": _vector(b, ops),
        }
        graph = _table(b, "SubGraph", fields)
        fields = {
            "Version": 3, "OperatorCodes": _vector(b, codes), "Subgraphs": _vector(b, [graph]),
            "Buffers": _vector(b, buffers),
        }
        b.Finish(_table(b, "Model", fields), b"TFL3")
        return bytes(b.Output())

    def _tensor(self, b: Any, entry: dict[str, Any], buffers: list[int]) -> int:
        fields = {
            "Name": b.CreateString(entry["name"]),
            "Shape": b.CreateNumpyVector(np.maximum(np.array(entry["shape"], np.int32), 1)),
            "Type": _TYPES[entry["kind"]], "IsVariable": entry["variable"],
        }
        if any(n < 0 for n in entry["shape"]):
            fields["ShapeSignature"] = b.CreateNumpyVector(np.array(entry["shape"], np.int32))
        if len(entry["scale"]):
            fields["Quantization"] = _table(b, "QuantizationParameters", {
                "Scale": b.CreateNumpyVector(np.array(entry["scale"], np.float32)),
                "ZeroPoint": b.CreateNumpyVector(np.array(entry["zero"], np.int64)),
                "QuantizedDimension": entry["axis"],
            })
        if entry["data"] is not None:
            buffers.append(_buffer(b, entry["data"]))
            fields["Buffer"] = len(buffers) - 1
        return _table(b, "Tensor", fields)


def _table(b: Any, name: str, fields: dict[str, Any]) -> int:
    getattr(tflite, f"{name}Start")(b)
    for key, value in fields.items():
        getattr(tflite, f"{name}Add{key}")(b, value)
    return int(getattr(tflite, f"{name}End")(b))


def _buffer(b: Any, data: np.ndarray | None) -> int:
    raw = b"" if data is None else data.tobytes()
    if not raw:
        return _table(b, "Buffer", {})
    return _table(b, "Buffer", {"Data": b.CreateNumpyVector(np.frombuffer(raw, np.uint8))})


def _vector(b: Any, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _op(b: Any, code: int, kind: str, inputs: Sequence[int], outputs: Sequence[int],
        options: dict[str, Any]) -> int:
    fields: dict[str, Any] = {
        "OpcodeIndex": code,
        "Inputs": b.CreateNumpyVector(np.array(inputs, np.int32)),
        "Outputs": b.CreateNumpyVector(np.array(outputs, np.int32)),
    }
    if options:
        name = _OPTIONS[kind]
        fields["BuiltinOptions"] = _table(b, name, options)
        fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, name)
    return _table(b, "Operator", fields)


def seed_files(folder: Path) -> dict[str, Path]:
    """Write small valid files and return them by format and variant."""
    r = np.random.default_rng(7)

    def layer(n: int, k: int) -> Lstm:
        return Lstm("lstm", r.normal(size=(4 * k, n)), r.normal(size=(4 * k, k)),
                    r.normal(size=4 * k))

    file = TfliteFile()
    last = file.last_step(file.lstm(file.x, layer(3, 4)))
    head = file.dense(last, Dense("dense", r.normal(size=(2, 4)), r.normal(size=2)))
    file.op("SOFTMAX", [head], (1, 2), Beta=1.0)
    both = TfliteFile()
    backward = both.reverse(both.lstm(both.reverse(both.x), layer(3, 2)))
    joined = both.join(both.lstm(both.x, layer(3, 2), weight=both.quantized), backward)
    both.dense(joined, Dense("dense", r.normal(size=(2, 4)), r.normal(size=2)), KeepNumDims=True)
    return {
        "tflite/float": file.save(folder / "seed.tflite"),
        "tflite/bidirectional": both.save(folder / "seed_bidirectional.tflite"),
    }
