"""The project's own model.npz: a JSON description and named arrays (docs/model-npz.md).

The 0-d text array `lstmgen` holds the description; `<layer>.W`, `<layer>.U`, `<layer>.b` and so
on hold the layers' arrays, by the names that `network.arrays_of` gives them.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from .errors import ModelError
from .layers import Activation, Dense, Layer, Lstm, arrays_of
from .network import Network
from .npz import Array, write_npz
from .qformat import FloatArray
from .weights import DATA_ARRAYS, build_network, data_note, gate_order, to_ifgo, weights_of

SCHEMA = 1
"""The version of the schema; raised when an older lstmgen could misread a file."""

KEY = "lstmgen"
"""The array that holds the description and marks a file as ours."""

MAX_DESCRIPTION = 1 << 16
"""Longest description, in characters."""

_TOP_KEYS = ("schema", "name", "outputs", "input_range", "layers")
_LAYER_KEYS = {"lstm": ("type", "name", "gates"), "dense": ("type", "name", "activation")}
_ARRAYS = {"lstm": (("W", "U", "b"), ("h0", "c0")), "dense": (("W", "b"), ())}
"""By type: the arrays a layer must have, and those it may have."""


def save_network(network: Network, path: str | os.PathLike[str]) -> None:
    """Write the network to `path`, exactly and reproducibly; `readers.read_model` reads it back.

    An array that float32 holds without loss is written as float32, any other as float64.
    """
    for name in (network.name, *(layer.name for layer in network.layers)):
        if not _is_name(name):
            raise ModelError(f"{_short(name)} cannot be saved as a name; {_NAME_RULE}")
    arrays: dict[str, Array] = {KEY: np.array(json.dumps(_description(network)))}
    for layer in network.layers:
        assert isinstance(layer, Lstm | Dense)
        for key, array in arrays_of(layer).items():
            arrays[f"{layer.name}.{key}"] = _smallest(array)
    write_npz(path, arrays)


def read_schema(arrays: Mapping[str, Array], source: str) -> Network:
    """Return the network that the arrays of a file describe; `source` names it in errors."""
    if KEY not in arrays:
        raise ModelError(f"{source} has no array {KEY!r}; expected the JSON description in it")
    description = _parse(arrays[KEY], source)
    problems = [f"{source}: {line}" for line in _description_problems(description)]
    notes = [f"lstmgen's own schema {SCHEMA}; gate order i, f, g, o"]
    layers: list[Layer] = []
    expected = {KEY, *DATA_ARRAYS}
    for number, entry in enumerate(_entries(description)):
        wrong = list(_entry_problems(entry))
        if wrong:
            problems += [f"{source}: layer {number} of the description: {line}" for line in wrong]
            continue
        required, optional = _ARRAYS[entry["type"]]
        expected.update(f"{entry['name']}.{key}" for key in required + optional)
        found, missing = _arrays_of_entry(arrays, entry, source)
        problems += missing
        if not missing:
            layers.append(_layer(entry, found))
        if entry.get("gates", "ifgo") != "ifgo":
            given = ", ".join(entry["gates"])
            notes.append(f"{entry['name']}: gate order {given}, reordered to i, f, g, o")
    problems += [
        f"{source}: array {key!a} belongs to no layer of the description; leave it out"
        for key in arrays
        if key not in expected
    ]
    return build_network(
        layers,
        problems,
        source,
        name=description.get("name", "model"),
        outputs=description.get("outputs", "last"),
        input_range=_pair(description.get("input_range")),
        notes=(*notes, *data_note(key for key in DATA_ARRAYS if key in arrays)),
    )


def _description(network: Network) -> dict[str, object]:
    description: dict[str, object] = {
        "schema": SCHEMA,
        "name": network.name,
        "outputs": network.outputs,
    }
    if network.input_range is not None:
        description["input_range"] = [float(bound) for bound in network.input_range]
    description["layers"] = [
        {"type": "lstm", "name": layer.name}
        if isinstance(layer, Lstm)
        else {"type": "dense", "name": layer.name, "activation": layer.activation}
        for layer in network.layers
        if isinstance(layer, Lstm | Dense)
    ]
    return description


def _smallest(array: FloatArray) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        single = array.astype(np.float32)
    return single if np.array_equal(single, array) else array


def _parse(text: Array, source: str) -> dict[str, Any]:
    if text.ndim != 0 or text.dtype.kind != "U":
        raise ModelError(
            f"{source}: array {KEY!r} is {text.dtype} of shape {text.shape}; "
            "expected the JSON description as one text"
        )
    if text.dtype.itemsize > 4 * MAX_DESCRIPTION:
        raise ModelError(
            f"{source}: the description has {text.dtype.itemsize // 4} characters; "
            f"expected at most {MAX_DESCRIPTION}"
        )
    try:
        description = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{source}: the description is no JSON ({reason!a})") from error
    if not isinstance(description, dict):
        raise ModelError(f"{source}: the description is no JSON object; see docs/model-npz.md")
    version = description.get("schema")
    if version != SCHEMA or isinstance(version, bool):
        raise ModelError(
            f"{source}: schema is {_short(version)}; this lstmgen reads schema {SCHEMA}; "
            "update lstmgen, or save the model anew"
        )
    return description


def _entries(description: dict[str, Any]) -> list[Any]:
    entries = description.get("layers")
    return entries if isinstance(entries, list) else []


def _description_problems(description: dict[str, Any]) -> Iterator[str]:
    yield from _unknown_keys(description, _TOP_KEYS, "description")
    if not _is_name(description.get("name", "model")):
        yield f"name is {_short(description['name'])}; {_NAME_RULE}"
    if description.get("outputs", "last") not in ("last", "sequence"):
        yield f"outputs is {_short(description['outputs'])}; expected 'last' or 'sequence'"
    bounds = description.get("input_range")
    if bounds is not None and _pair(bounds) is None:
        yield f"input_range is {_short(bounds)}; expected two finite numbers [LO, HI], LO < HI"
    if not _entries(description):
        yield "the description lists no layers; expected at least one LSTM layer"


def _entry_problems(entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"it is {_short(entry)}; expected an object with type and name"
        return
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in _LAYER_KEYS:
        yield f"type is {_short(kind)}; expected 'lstm' or 'dense'"
        return
    yield from _unknown_keys(entry, _LAYER_KEYS[kind], kind)
    if not _is_name(entry.get("name")):
        yield f"name is {_short(entry.get('name'))}; {_NAME_RULE}"
    gates = entry.get("gates", "ifgo")
    if not isinstance(gates, str) or gate_order(gates) is None:
        yield (
            f"gates is {_short(gates)}, an unknown gate order; "
            "expected an order of i, f, g (or c), o such as 'ifgo'"
        )
    if not isinstance(entry.get("activation", "linear"), str):
        yield f"activation is {_short(entry['activation'])}; expected a name such as 'relu'"


def _unknown_keys(found: dict[str, Any], known: Sequence[str], what: str) -> Iterator[str]:
    for key in found:
        if key not in known:
            yield f"key {_short(key)} is unknown; a {what} has {', '.join(known)}"


def _arrays_of_entry(
    arrays: Mapping[str, Array], entry: dict[str, Any], source: str
) -> tuple[dict[str, FloatArray], list[str]]:
    required, optional = _ARRAYS[entry["type"]]
    found: dict[str, FloatArray] = {}
    problems: list[str] = []
    for key in required + optional:
        name = f"{entry['name']}.{key}"
        if name in arrays:
            try:
                found[key] = weights_of(arrays[name], f"{source}: {name}")
            except ModelError as error:
                problems.append(str(error))
        elif key in required:
            problems.append(
                f"{source}: array {name!a} is missing; expected {', '.join(required)} "
                f"for each {entry['type']} layer"
            )
    return found, problems


def _layer(entry: dict[str, Any], found: dict[str, FloatArray]) -> Layer:
    if entry["type"] == "dense":
        activation = cast(Activation, entry.get("activation", "linear"))
        return Dense(entry["name"], found["W"], found["b"], activation)
    order = gate_order(entry.get("gates", "ifgo")) or "ifgo"
    W, U, b = (to_ifgo(found[key], order) for key in ("W", "U", "b"))
    return Lstm(entry["name"], W, U, b, found.get("h0"), found.get("c0"))


_NAME_RULE = "expected a name of 1 to 64 printable characters"


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 1 <= len(name) <= 64 and name.isprintable()


def _pair(bounds: Any) -> tuple[float, float] | None:
    if not isinstance(bounds, list) or len(bounds) != 2:
        return None
    if not all(type(bound) in (int, float) and abs(bound) < 1e300 for bound in bounds):
        return None
    lo, hi = float(bounds[0]), float(bounds[1])
    return (lo, hi) if lo < hi else None


def _short(value: object) -> str:
    """Return a value from a file for a message: one line, not long."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
