"""The quantized network as a file: an .npz of integers with a JSON description.

Reading refuses whatever would not be provable: every array is checked for its type, shape
and place in the chain, then every precondition of the arithmetic by `bounds.check`.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from .bounds import check
from .errors import LstmgenError, ModelError
from .layers import ACTIVATIONS, HEADS
from .network import MAX_LAYERS, MAX_WEIGHTS, MAX_WIDTH
from .npz import Array, npz_bytes, read_npz, write_npz
from .qformat import MAX_FRAC, MIN_FRAC, IntArray, QFormat
from .quantized import (
    NUMERICS_VERSION,
    PRECISIONS,
    QuantizedDense,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedNetwork,
    Tables,
    integers_of,
)

KEY = "lstmgen_quantized"
"""The array that holds the description; its presence tells an artefact from a model."""

MAX_DESCRIPTION = 1 << 20
"""Longest description, in characters: notes and the names of all layers are part of it."""

_VERSION = 1
_TABLES = ("sigmoid", "tanh", "exp2")
_MAX_BITS = 32


def save(q: QuantizedNetwork, path: str | os.PathLike[str]) -> None:
    """Write `q` to an .npz file; equal networks give equal bytes."""
    write_npz(path, to_arrays(q))


def to_bytes(q: QuantizedNetwork) -> bytes:
    """Return what `save` writes."""
    return npz_bytes(to_arrays(q))


def to_arrays(q: QuantizedNetwork) -> dict[str, Array]:
    """Return the arrays of the file: the description, the tables, and each layer's integers."""
    description = {
        "artefact": _VERSION,
        "numerics": NUMERICS_VERSION,
        "name": q.name,
        "precision": q.precision,
        "outputs": q.outputs,
        "calibrated": q.calibrated,
        "table_bits": q.tables.bits,
        "sha256": q.digest(),
        "notes": list(q.notes),
        "layers": [_describe(layer) for layer in q.layers],
    }
    arrays: dict[str, Array] = {KEY: np.array(json.dumps(description, indent=1))}
    for name in _TABLES:
        arrays[f"tables.{name}"] = _smallest(getattr(q.tables, name))
    for layer in q.layers:
        for name, array in integers_of(layer).items():
            if array.ndim:
                arrays[f"{layer.name}.{name}"] = _smallest(array)
    return arrays


def is_artefact(path: str | os.PathLike[str]) -> bool:
    """Return whether the file is an .npz with a description; the rest is not looked at."""
    try:
        with zipfile.ZipFile(path) as archive:
            return f"{KEY}.npy" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def load(path: str | os.PathLike[str]) -> QuantizedNetwork:
    """Return the network of an artefact file; raises ModelError as `from_arrays` does."""
    return from_arrays(read_npz(path), str(path))


def from_arrays(arrays: Mapping[str, Array], source: str) -> QuantizedNetwork:
    """Return the network of a file's arrays, checked; `source` names it in errors.

    Raises ModelError for a file that is malformed, of another version, or was tampered with.
    """
    try:
        description = json.loads(_description_text(arrays[KEY]))
        if description["artefact"] != _VERSION or description["numerics"] != NUMERICS_VERSION:
            raise ModelError(
                f"{source}: made for numerics version {description['numerics']}; this lstmgen "
                f"has version {NUMERICS_VERSION}: quantize the model again"
            )
        q = _build(description, arrays)
        problems = _structure_problems(q)
        if not problems:
            check(q)
            if q.digest() != description["sha256"]:
                problems = ["its integers were changed; quantize the model again"]
    except LstmgenError as error:
        raise ModelError(str(error)) from None
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        missing = f"{error.args[0]!a} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelError(
            f"{source}: not a valid quantized network ({missing}); quantize the model again"
        ) from None
    if problems:
        raise ModelError.of(f"{source}: {line}" for line in problems)
    return q


def _description_text(text: Array) -> str:
    if text.ndim != 0 or text.dtype.kind != "U":
        raise ValueError(f"the description is {text.dtype} of shape {text.shape}, not one text")
    if text.dtype.itemsize > 4 * MAX_DESCRIPTION:
        raise ValueError(
            f"the description has {text.dtype.itemsize // 4} characters, "
            f"more than {MAX_DESCRIPTION}"
        )
    return str(text)


def _describe(layer: QuantizedLayer) -> dict[str, object]:
    common = {"name": layer.name, "x": _pair(layer.x), "y": _pair(layer.y)}
    if isinstance(layer, QuantizedLstm):
        return {"type": "lstm", **common, "x_shift": layer.x_shift}
    return {"type": "dense", **common, "activation": layer.activation}


def _pair(q: QFormat) -> list[int]:
    return [q.bits, q.frac]


def _smallest(array: IntArray) -> Array:
    for kind in (np.int8, np.int16):
        info = np.iinfo(kind)
        if array.size and info.min <= array.min() and array.max() <= info.max:
            return array.astype(kind)
    return array.astype(np.int32)


def _build(description: dict[str, Any], arrays: Mapping[str, Array]) -> QuantizedNetwork:
    def integers(name: str) -> IntArray:
        array = arrays[name]
        if array.dtype.kind != "i":
            raise ValueError(f"{name} holds {array.dtype}, not integers")
        # Before the copy below, which may be eight times as large.
        if array.size > MAX_WEIGHTS:
            raise ValueError(f"{name} holds {array.size} values, more than {MAX_WEIGHTS}")
        return array.astype(np.int64)

    def layer(entry: dict[str, Any]) -> QuantizedLayer:
        name = str(entry["name"])
        x, y = _format(entry["x"]), _format(entry["y"])

        def own(key: str) -> IntArray:
            return integers(f"{name}.{key}")

        if entry["type"] == "lstm":
            state = {"h0": own("h0"), "c0": own("c0"), "x_shift": int(entry["x_shift"])}
            keys = ("wx", "wh", "bias", "frac", "argument_frac", "mid_shift")
            rows = {key: own(key) for key in keys}
            return QuantizedLstm(name, x, y, **rows, **state)  # type: ignore[arg-type]
        rows = {key: own(key) for key in ("w", "bias", "frac", "argument_frac")}
        return QuantizedDense(name, entry["activation"], x, y, **rows)

    if len(description["layers"]) > MAX_LAYERS:
        raise ValueError(f"{len(description['layers'])} layers, more than {MAX_LAYERS}")
    return QuantizedNetwork(
        name=str(description["name"]),
        precision=description["precision"],
        outputs=description["outputs"],
        tables=Tables(
            int(description["table_bits"]), *(integers(f"tables.{name}") for name in _TABLES)
        ),
        layers=tuple(layer(entry) for entry in description["layers"]),
        notes=tuple(str(note) for note in description["notes"]),
        calibrated=bool(description["calibrated"]),
    )


def _format(pair: list[int]) -> QFormat:
    bits, frac = (int(value) for value in pair)
    if not (2 <= bits <= _MAX_BITS and MIN_FRAC <= frac <= MAX_FRAC):
        raise ValueError(f"format {pair} is out of range")
    return QFormat(bits, frac)


def _structure_problems(q: QuantizedNetwork) -> list[str]:
    problems = []
    if q.precision not in PRECISIONS:
        problems.append(f"precision is {q.precision!r}; expected one of {', '.join(PRECISIONS)}")
    if q.outputs not in ("last", "sequence"):
        problems.append(f"outputs is {q.outputs!r}; expected 'last' or 'sequence'")
    if not q.lstms:
        problems.append("no LSTM layer; expected at least one")
    names = [layer.name for layer in q.layers]
    if len(set(names)) < len(names):
        problems.append("two layers have one name; expected a name each")
    for layer in q.layers:
        problems += _shape_problems(layer)
    if problems:
        return problems
    problems += _size_problems(q)
    for below, above in zip(q.layers, q.layers[1:], strict=False):
        if above.inputs != below.width or above.x != below.y:
            problems.append(
                f"{above.name} takes {above.inputs} values of {above.x}; expected "
                f"{below.width} of {below.y}, as {below.name} hands on"
            )
    for layer in q.layers:
        problems += _format_problems(layer, last=layer is q.layers[-1])
    return problems


def _shape_problems(layer: QuantizedLayer) -> list[str]:
    matrices = (layer.wx, layer.wh) if isinstance(layer, QuantizedLstm) else (layer.w,)
    if any(matrix.ndim != 2 or 0 in matrix.shape for matrix in matrices):
        return [f"{layer.name}: weights are not matrices"]
    expected: dict[str, tuple[int, ...]] = {}
    rows = matrices[0].shape[0]
    if isinstance(layer, QuantizedLstm):
        k = layer.units
        rows = 4 * k
        expected |= {"wx": (rows, layer.inputs), "wh": (rows, k), "h0": (k,), "c0": (k,)}
        expected["mid_shift"] = (rows,)
    expected |= dict.fromkeys(("bias", "frac", "argument_frac"), (rows,))
    return [
        f"{layer.name}.{key} is {getattr(layer, key).shape}; expected {shape}"
        for key, shape in expected.items()
        if getattr(layer, key).shape != shape
    ]


def _size_problems(q: QuantizedNetwork) -> list[str]:
    """Return what is beyond the limits of a float network, which the C's types rely on."""
    problems = []
    for layer in q.layers:
        rows = layer.units if isinstance(layer, QuantizedLstm) else layer.rows
        if max(layer.inputs, rows) > MAX_WIDTH:
            problems.append(
                f"{layer.name}: {layer.inputs} inputs, {rows} outputs; "
                f"expected at most {MAX_WIDTH} each"
            )
    if q.macs_per_step > MAX_WEIGHTS:
        problems.append(f"{q.macs_per_step} weights; expected at most {MAX_WEIGHTS}")
    return problems


def _format_problems(layer: QuantizedLayer, last: bool) -> list[str]:
    problems = []
    if not 8 <= layer.x.bits <= 16:
        problems.append(f"{layer.name} takes {layer.x.bits} bits; expected 8 to 16")
    if isinstance(layer, QuantizedLstm):
        return problems
    if layer.activation not in ACTIVATIONS or (layer.activation in HEADS and not last):
        problems.append(f"{layer.name}: activation {layer.activation!r} has no place here")
    elif layer.activation in ("linear", "relu", "argmax"):
        raw = layer.activation == "argmax" or layer.y.bits == _MAX_BITS
        common = layer.frac[0] if raw else layer.y.frac
        shown = QFormat(16, 0) if layer.activation == "argmax" else QFormat(32, int(common))
        if raw and (layer.y != shown or (layer.frac != common).any() or not last):
            problems.append(f"{layer.name}: raw outputs need one format on the last layer")
        if (layer.argument_frac != common).any() or (not raw and not 8 <= layer.y.bits <= 16):
            problems.append(f"{layer.name}.argument_frac does not belong to its output format")
    elif layer.activation == "softmax" and layer.y != QFormat(16, 15):
        problems.append(f"{layer.name}: output is {layer.y}; expected Q0.15 of a softmax")
    elif layer.y.frac != layer.y.bits - 1 or layer.y.bits not in (8, 16):
        problems.append(f"{layer.name}: output is {layer.y}; expected Q0.7 or Q0.15")
    return problems
