"""Files as PyTorch and safetensors write them, made without either; and what PyTorch computes.

The pickle inside a .pt is put together operation by operation, so that it can also be one that
PyTorch would never write.
"""

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {
    "f8": "DoubleStorage", "f4": "FloatStorage", "f2": "HalfStorage", "i8": "LongStorage",
    "i4": "IntStorage", "i2": "ShortStorage", "i1": "CharStorage", "u1": "ByteStorage",
    "b1": "BoolStorage",
}


@dataclass(frozen=True)
class Global:
    """A name of Python's; with `arguments`, what a call of it returns."""

    module: str
    name: str
    arguments: tuple[Any, ...] | None = None


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of the values of a storage, as PyTorch describes one."""

    storage: np.ndarray
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    key: str | None = None
    kind: str | None = None
    count: int | None = None


@dataclass(frozen=True, eq=False)
class Parameter:
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Brain:
    """bfloat16 values: the upper halves of the float32 ones."""

    values: np.ndarray

    @property
    def bits(self) -> np.ndarray:
        bits = np.ascontiguousarray(self.values, "<f4").view("<u4")
        return (bits >> 16).astype("<u2")


@dataclass
class Writer:
    """Writes pickles operation by operation; `storages` are the entries data/0, data/1, ..."""

    protocol: int = 2
    byteorder: str = "little"
    storages: dict[str, bytes] = field(default_factory=dict)

    def pickled(self, value: object) -> bytes:
        return bytes([0x80, self.protocol]) + self.write(value) + b"."

    def write(self, value: object) -> bytes:
        match value:
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int():
                body = pickle.encode_long(value)
                return b"\x8a" + bytes([len(body)]) + body
            case float():
                return b"G" + struct.pack(">d", value)
            case str():
                return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
            case tuple():
                return b"(" + b"".join(map(self.write, value)) + b"t"
            case list():
                return b"](" + b"".join(map(self.write, value)) + b"e"
            case OrderedDict():
                return self.write(Global("collections", "OrderedDict", ())) + self._items(value)
            case dict():
                return b"}" + self._items(value)
            case Global(module, name, arguments):
                return self._named(module, name) + (
                    b"" if arguments is None else self.write(arguments) + b"R"
                )
            case Parameter(values):
                return self.write(Global("torch._utils", "_rebuild_parameter",
                                         (_plain(values), True, OrderedDict())))
            case Brain():
                view = _plain(value.bits)
                return self._tensor(
                    Tensor(view.storage, 0, view.shape, view.strides, kind="BFloat16Storage")
                )
            case np.ndarray():
                return self._tensor(_plain(value))
            case Tensor():
                return self._tensor(value)
            case bytes():  # operations as they are
                return value
        raise TypeError(type(value))

    def _items(self, value: Mapping[Any, object]) -> bytes:
        return b"(" + b"".join(
            self.write(key) + self.write(entry) for key, entry in value.items()) + b"u"

    def _named(self, module: str, name: str) -> bytes:
        if self.protocol < 4:
            return f"c{module}\n{name}\n".encode()
        return self.write(module) + b"\x94" + self.write(name) + b"\x94\x93\x94"

    def _tensor(self, view: Tensor) -> bytes:
        key = view.key if view.key is not None else str(len(self.storages))
        values = view.storage
        kind = view.kind or STORAGES[values.dtype.str[1:]]
        order = "<" if self.byteorder == "little" else ">"
        self.storages[key] = values.astype(values.dtype.newbyteorder(order)).tobytes()
        count = values.size if view.count is None else view.count
        storage = ("storage", Global("torch", kind), key, "cpu", count)
        return self.write(Global("torch._utils", "_rebuild_tensor_v2", (
            self.write(storage) + b"Q", view.offset, view.shape, view.strides, False, OrderedDict(),
        )))


def _plain(values: np.ndarray) -> Tensor:
    """Return the array as a tensor that has a storage of its own."""
    values = np.asarray(values)
    steps = [int(np.prod(values.shape[at + 1 :])) for at in range(values.ndim)]
    return Tensor(values.ravel(), 0, values.shape, tuple(steps))


def torch_bytes(
    value: object,
    protocol: int = 2,
    byteorder: str = "little",
    root: str = "archive/",
    more: Mapping[str, bytes] | None = None,
    pickled: bytes | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """Return the .pt of a value; `pickled` stands in for its pickle, `more` are further entries."""
    writer = Writer(protocol, byteorder)
    data = writer.pickled(value)
    buffer = io.BytesIO()
    entries = [
        ("data.pkl", data if pickled is None else pickled),
        ("byteorder", byteorder.encode()),
        *((f"data/{key}", stored) for key, stored in writer.storages.items()),
        *(more or {}).items(),
        ("version", b"3\n"),
    ]
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, stored in entries:  # without a date: the same bytes every time
            archive.writestr(zipfile.ZipInfo(f"{root}{name}"), stored, compression)
    return buffer.getvalue()


def safetensors_bytes(
    arrays: Mapping[str, np.ndarray | Brain], header: Mapping[str, Any] | None = None
) -> bytes:
    """Return a .safetensors file, sorted by names as that package sorts them.

    header: entries that take the place of the right ones.
    """
    names = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "|b1": "BOOL"}
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for key in sorted(arrays):
        array = arrays[key]
        brain = isinstance(array, Brain)
        values = array.bits if isinstance(array, Brain) else np.ascontiguousarray(array)
        entries[key] = {
            "dtype": "BF16" if brain else names[values.dtype.str],
            "shape": list(np.shape(array.values if isinstance(array, Brain) else array)),
            "data_offsets": [len(data), len(data) + values.nbytes],
        }
        data += values.tobytes()
    text = json.dumps(entries | dict(header or {})).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def seed_files(folder: Path) -> dict[str, Path]:
    """Write small valid files and return them by format and variant."""
    r = np.random.default_rng(12)
    lstm, gru, fc = weights(r, 3, 4), weights(r, 3, 4, gates=3), linear(r, 4, 2)
    both = {**weights(r, 3, 2), **weights(r, 3, 2, suffix="_l0_reverse")}
    bn = norm(r, 4)
    stacked = {**weights(r, 3, 3), **weights(r, 3, 3, suffix="_l1")}
    narrow = {key: array.astype(np.float16) for key, array in lstm.items()}
    options = {"epoch": 7, "best": None, "loss": 0.5, "rates": [1e-3, (1, 2)], "done": True}
    table = values(r, 4, 6)
    view = Tensor(table.ravel(), 0, (2, 4), (4, 1))  # of a storage that holds more
    made = {
        "torch/lstm": torch_bytes(named(lstm=lstm, fc=fc)),
        "torch/bidirectional": torch_bytes(named(lstm=both, bn=bn, fc=fc)),
        "torch/gru": torch_bytes(named(gru=gru, fc=fc), root=""),
        "torch/checkpoint": torch_bytes(
            {"model_state_dict": named(lstm=stacked), "optimizer_state_dict": options}
        ),
        "torch/view": torch_bytes(named(
            lstm={key: Parameter(array) for key, array in lstm.items()},
            fc={"weight": view, "bias": fc["bias"]},
        )),
        "torch/protocol4": torch_bytes(named(lstm=narrow), 4, "big"),
        "safetensors/lstm": safetensors_bytes(named(lstm=lstm, fc=fc)),
        "safetensors/bidirectional": safetensors_bytes(named(lstm=both, bn=bn, fc=fc)),
        "safetensors/bfloat16": safetensors_bytes(
            named(gru={key: Brain(array) for key, array in gru.items()}, fc=fc)
        ),
    }
    files = {}
    for key, data in made.items():
        suffix = ".pt" if key.startswith("torch") else ".safetensors"
        files[key] = folder / (key.replace("/", "_") + suffix)
        files[key].write_bytes(data)
    return files


# What PyTorch computes, written from its documentation.


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def recurrent(arrays: Mapping[str, np.ndarray], x: np.ndarray, suffix: str = "_l0") -> np.ndarray:
    """Return the outputs (B, T, p) of an nn.LSTM or nn.GRU layer for x (B, T, n).

    suffix: of the arrays' names; one that ends with _reverse goes backward.
    """
    def get(name: str, shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(arrays.get(f"{name}{suffix}", np.zeros(shape)), np.float64)

    W, U = get("weight_ih", ()), get("weight_hh", ())
    P = arrays.get(f"weight_hr{suffix}")
    b_ih, b_hh = get("bias_ih", W.shape[:1]), get("bias_hh", W.shape[:1])
    k = U.shape[1] if P is None else P.shape[1]
    h, c = np.zeros((len(x), U.shape[1])), np.zeros((len(x), k))
    out = np.zeros((*x.shape[:2], U.shape[1]))
    steps = range(x.shape[1])
    for t in reversed(steps) if suffix.endswith("_reverse") else steps:
        from_x, from_h = x[:, t] @ W.T + b_ih, h @ U.T + b_hh
        if len(W) == 4 * k:
            i, f, g, o = np.split(from_x + from_h, 4, axis=1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
            h = h if P is None else h @ P.T
        else:
            x_r, x_z, x_n = np.split(from_x, 3, axis=1)
            h_r, h_z, h_n = np.split(from_h, 3, axis=1)
            r, z = _sigmoid(x_r + h_r), _sigmoid(x_z + h_z)
            h = (1 - z) * np.tanh(x_n + r * h_n) + z * h
        out[:, t] = h
    return out


def batch_norm(arrays: Mapping[str, np.ndarray], x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """Return what nn.BatchNorm1d makes of features in the last axis of x, after training."""
    arrays = {key: array.astype(np.float64) for key, array in arrays.items()}
    y = (x - arrays["running_mean"]) / np.sqrt(arrays["running_var"] + eps)
    return y * arrays.get("weight", 1.0) + arrays.get("bias", 0.0)


def weights(
    rng: np.random.Generator,
    inputs: int,
    units: int,
    gates: int = 4,
    suffix: str = "_l0",
    projection: int | None = None,
    bias: bool = True,
) -> dict[str, np.ndarray]:
    """Return random float32 arrays of one layer by their names in the module."""
    width = projection or units
    shapes = {
        "weight_ih": (gates * units, inputs),
        "weight_hh": (gates * units, width),
        **({"bias_ih": (gates * units,), "bias_hh": (gates * units,)} if bias else {}),
        **({"weight_hr": (projection, units)} if projection else {}),
    }
    return {f"{key}{suffix}": values(rng, *shape) for key, shape in shapes.items()}


def values(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(0, 0.7, shape).astype(np.float32)


def linear(rng: np.random.Generator, inputs: int, outputs: int) -> dict[str, np.ndarray]:
    return {"weight": values(rng, outputs, inputs), "bias": values(rng, outputs)}


def norm(rng: np.random.Generator, width: int) -> dict[str, np.ndarray]:
    return {
        "weight": values(rng, width),
        "bias": values(rng, width),
        "running_mean": values(rng, width),
        "running_var": values(rng, width) ** 2,
        "num_batches_tracked": np.array(7),
    }


def named(**modules: Mapping[str, np.ndarray]) -> "OrderedDict[str, np.ndarray]":
    """Return the state dict of modules, in order."""
    return OrderedDict(
        (f"{name}.{key}", array) for name, arrays in modules.items()
        for key, array in arrays.items()
    )
