"""The quantized network as a file: an .npz of integers with a JSON description.

Reading refuses whatever would not be provable: every array is checked for its type, shape
and place in the chain, then every precondition of the arithmetic by `bounds.check`.
"""

import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from .artefact_structure import MOST_BITS, structure_problems
from .errors import LstmgenError, ModelError, shown
from .layers import (
    CellFunction,
    Direction,
    Ends,
    GateFunction,
    Merge,
)
from .network import MAX_LAYERS, MAX_WEIGHTS, NAME_RULE, is_name
from .npz import Array, npz_bytes, read_npz, write_npz
from .preconditions import check
from .qformat import MAX_FRAC, MIN_FRAC, IntArray, QFormat
from .quantized import NUMERICS_VERSION, QuantizedNetwork, Tables
from .quantized_layers import (
    QuantizedBidirectional,
    QuantizedDense,
    QuantizedEmbedding,
    QuantizedGru,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedPart,
    QuantizedRecurrent,
    choices_of,
    integers_of,
    kind_of,
)
from .scaling import InputScaling

KEY = "lstmgen_quantized"
"""The array that holds the description; its presence tells an artefact from a model."""

MAX_DESCRIPTION = 1 << 20
"""Longest description, in characters: notes and the names of all layers are part of it."""

_MAX_NOTE = 4096
_VERSION = 1
_CHOICES: dict[str, tuple[str, ...] | type] = {
    "gate": get_args(GateFunction),
    "cell": get_args(CellFunction),
    "output": get_args(CellFunction),
    "direction": get_args(Direction),
    "merge": get_args(Merge),
    "ends": get_args(Ends),
    "g_frac": int,
    "y_frac": int,
    "clip": int,
    "cell_limit": int,
    "peephole_shift": int,
    "reset_after": bool,
}
"""Fields of recurrent layers that have a default, and what they may hold."""

_TABLES = ("sigmoid", "tanh", "exp2")
_SCALING = "input"


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
    for name in q.hard_functions:
        arrays[f"tables.{name}"] = _smallest(q.tables.of(name))
    if q.scaling is not None:
        arrays[f"{_SCALING}.shift"] = _smallest(q.scaling.shift)
        arrays[f"{_SCALING}.offset"] = _smallest(q.scaling.offset)
    for part in q.parts:
        for name, array in integers_of(part).items():
            if array.ndim:
                arrays[f"{part.name}.{name}"] = _smallest(array)
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
        for key, known in (("artefact", _VERSION), ("numerics", NUMERICS_VERSION)):
            if description[key] != known:
                raise ModelError(
                    f"{source}: made for {key} version {shown(description[key])}; this "
                    f"lstmgen has version {known}: quantize the model again"
                )
        q = _build(description, arrays)
        problems = structure_problems(q)
        if not problems:
            check(q)
            if q.digest() != description["sha256"]:
                problems = ["its integers were changed; quantize the model again"]
    except LstmgenError as error:
        raise ModelError(str(error)) from None
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        reason = f"{shown(error.args[0])} is missing" if isinstance(error, KeyError) else str(error)
        reason = reason if reason.isprintable() and len(reason) <= 200 else shown(reason)
        raise ModelError(
            f"{source}: not a valid quantized network ({reason}); quantize the model again"
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
    common: dict[str, object] = {"name": layer.name, "x": _pair(layer.x), "y": _pair(layer.y)}
    if isinstance(layer, QuantizedBidirectional):
        halves = [_describe(half) for half in layer.halves]
        ways = {"merge": layer.merge, "ends": layer.ends}
        return {"type": "bidirectional", **common, **ways, "halves": halves}
    if isinstance(layer, QuantizedEmbedding):
        return {"type": "embedding", **common}
    if isinstance(layer, QuantizedDense):
        skip = {} if layer.skip_x is None else {"skip_x": _pair(layer.skip_x)}
        return {"type": "dense", **common, "activation": layer.activation, **skip}
    entry = {"type": kind_of(layer), **common, "x_shift": layer.x_shift, **choices_of(layer)}
    if isinstance(layer, QuantizedLstm) and layer.projection is not None:
        entry["projection"] = _describe(layer.projection)
    return entry


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

    def part(entry: dict[str, Any]) -> QuantizedPart:
        kind, name = entry["type"], _name(entry["name"])
        x, y = _format(entry["x"]), _format(entry["y"])

        def own(*keys: str) -> dict[str, Any]:
            return {key: integers(f"{name}.{key}") for key in keys}

        if kind == "embedding":
            return QuantizedEmbedding(name, y, **own("table"))
        rows = own("bias", "frac", "argument_frac")
        if kind == "dense":
            extra: dict[str, Any] = {}
            if "skip_x" in entry:
                extra = {**own("skip"), "skip_x": _format(entry["skip_x"])}
            return QuantizedDense(name, entry["activation"], x, y, **own("w"), **rows, **extra)
        rows |= own("wx", "wh", "h0", "c0") | {"x_shift": int(entry["x_shift"])}
        choices = {key: _choice(key, value) for key, value in entry.items() if key in _CHOICES}
        if kind == "gru":
            return QuantizedGru(name, x, y, **rows, **own("bias_h", "frac_h"), **choices)
        if kind != "lstm":
            raise ValueError(f"layer {name} is of unknown type {shown(kind)}")
        if "projection" in entry:
            linear = part(entry["projection"])
            if not isinstance(linear, QuantizedDense):
                raise ValueError(f"the projection of {name} is no dense layer")
            choices["projection"] = linear
        if f"{name}.peephole" in arrays:
            choices |= own("peephole")
        return QuantizedLstm(name, x, y, **rows, **own("mid_shift"), **choices)

    def layer(entry: dict[str, Any]) -> QuantizedLayer:
        if entry["type"] != "bidirectional":
            return part(entry)
        forward, backward = (part(half) for half in entry["halves"])
        if not isinstance(forward, QuantizedRecurrent) or not isinstance(
            backward, QuantizedRecurrent
        ):
            raise ValueError("a half of a bidirectional layer is not recurrent")
        ways = _choice("merge", entry["merge"]), _choice("ends", entry["ends"])
        y = _format(entry["y"])
        return QuantizedBidirectional(_name(entry["name"]), forward, backward, *ways, y)

    hard = {
        name: integers(f"tables.{name}")
        for name in get_args(GateFunction)
        if f"tables.{name}" in arrays and name not in _TABLES
    }
    sigmoid, tanh, exp2 = (integers(f"tables.{name}") for name in _TABLES)
    if len(description["layers"]) > MAX_LAYERS:
        raise ValueError(f"{len(description['layers'])} layers, more than {MAX_LAYERS}")
    scaling = None
    if f"{_SCALING}.shift" in arrays:
        scaling = InputScaling(integers(f"{_SCALING}.shift"), integers(f"{_SCALING}.offset"))
    return QuantizedNetwork(
        name=_name(description["name"]),
        precision=description["precision"],
        outputs=description["outputs"],
        tables=Tables(int(description["table_bits"]), sigmoid, tanh, exp2, hard),
        layers=tuple(layer(entry) for entry in description["layers"]),
        notes=tuple(_note(note) for note in description["notes"]),
        calibrated=bool(description["calibrated"]),
        scaling=scaling,
    )


def _name(value: object) -> str:
    """Return a name as readers give them to networks and layers; of another kind is none."""
    if not (isinstance(value, str) and is_name(value)):
        raise ValueError(f"a network or layer is called {shown(value)}; {NAME_RULE}")
    return value


def _note(value: object) -> str:
    """Return a note for the user: printable and no longer than any that is written."""
    note = str(value)
    return note if note.isprintable() and len(note) <= _MAX_NOTE else shown(note)


def _choice(key: str, value: Any) -> Any:
    """Return the value of a field that is a word, a number or a truth, checked."""
    known = _CHOICES[key]
    if isinstance(known, tuple):
        if value not in known:
            raise ValueError(f"{key} {shown(value)} is unknown")
        return value
    if type(value) is not known:
        raise ValueError(f"{key} is {shown(value)}; expected {known.__name__}")
    return value


def _format(pair: list[int]) -> QFormat:
    bits, frac = (int(value) for value in pair)
    if not (2 <= bits <= MOST_BITS and MIN_FRAC <= frac <= MAX_FRAC):
        raise ValueError(f"format {shown(pair)} is out of range")
    return QFormat(bits, frac)
