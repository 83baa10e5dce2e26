"""The project's own model.npz: a JSON description and named arrays (docs/model-npz.md).

The 0-d text array `lstmgen` holds the description; `<layer>.W`, `<layer>.U`, `<layer>.b` and so
on hold the layers' arrays: see `schema_layers`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .errors import ModelError, shown
from .layers import Gru, Layer, Lstm, recurrent_parts
from .network import Network
from .npz import Array, write_npz
from .qformat import FloatArray
from .schema_kinds import SAVED_NAME_RULE, is_number, is_saved_name, unknown_keys
from .schema_layers import Entries, arrays_by_name, entry_of
from .weights import DATA_ARRAYS, build_network, data_note

SCHEMA = 1
"""The version of the schema; raised when an older lstmgen could misread a file."""

KEY = "lstmgen"
"""The array that holds the description and marks a file as ours."""

MAX_DESCRIPTION = 1 << 16
"""Longest description, in characters."""

_TOP_KEYS = ("schema", "name", "outputs", "input_range", "layers")


def save_network(network: Network, path: str | os.PathLike[str]) -> None:
    """Write the network to `path`, exactly and reproducibly; `readers.read_model` reads it back.

    An array that float32 holds without loss is written as float32, any other as float64.
    """
    if not is_saved_name(network.name):
        raise ModelError(f"{shown(network.name)} cannot be saved as a name; {SAVED_NAME_RULE}")
    arrays: dict[str, Array] = {KEY: np.array(json.dumps(_description(network)))}
    for layer in network.layers:
        for name, array in arrays_by_name(layer).items():
            arrays[name] = _smallest(array)
    write_npz(path, arrays)


def read_schema(arrays: Mapping[str, Array], source: str) -> Network:
    """Return the network that the arrays of a file describe; `source` names it in errors."""
    if KEY not in arrays:
        raise ModelError(f"{source} has no array {KEY!r}; expected the JSON description in it")
    description = _parse(arrays[KEY], source)
    problems = [f"{source}: {line}" for line in _description_problems(description)]
    entries = Entries(arrays, source)
    layers = entries.layers(_entries(description))
    problems += entries.problems
    expected = {KEY, *DATA_ARRAYS, *entries.expected}
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
        notes=(
            f"lstmgen's own schema {SCHEMA}; gate order {_gates(layers)}",
            *entries.notes,
            *data_note(key for key in DATA_ARRAYS if key in arrays),
        ),
    )


def _description(network: Network) -> dict[str, object]:
    description: dict[str, object] = {
        "schema": SCHEMA,
        "name": network.name,
        "outputs": network.outputs,
    }
    if network.input_range is not None:
        description["input_range"] = [float(bound) for bound in network.input_range]
    description["layers"] = [entry_of(layer) for layer in network.layers]
    return description


def _gates(layers: list[Layer]) -> str:
    parts = [part for layer in layers for part in recurrent_parts(layer)]
    kinds = (kind for kind in (Lstm, Gru) if any(isinstance(part, kind) for part in parts))
    return " and ".join(", ".join(kind.gates) for kind in kinds)


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
            f"{source}: schema is {shown(version)}; this lstmgen reads schema {SCHEMA}; "
            "update lstmgen, or save the model anew"
        )
    return description


def _entries(description: dict[str, Any]) -> list[Any]:
    entries = description.get("layers")
    return entries if isinstance(entries, list) else []


def _description_problems(description: dict[str, Any]) -> Iterator[str]:
    yield from unknown_keys(description, _TOP_KEYS, "description")
    if not is_saved_name(description.get("name", "model")):
        yield f"name is {shown(description['name'])}; {SAVED_NAME_RULE}"
    if description.get("outputs", "last") not in ("last", "sequence"):
        yield f"outputs is {shown(description['outputs'])}; expected 'last' or 'sequence'"
    bounds = description.get("input_range")
    if bounds is not None and _pair(bounds) is None:
        yield f"input_range is {shown(bounds)}; expected two finite numbers [LO, HI], LO < HI"
    if not _entries(description):
        yield "the description lists no layers; expected at least one LSTM layer"


def _pair(bounds: Any) -> tuple[float, float] | None:
    if not isinstance(bounds, list) or len(bounds) != 2:
        return None
    if not all(is_number(bound) for bound in bounds):
        return None
    lo, hi = float(bounds[0]), float(bounds[1])
    return (lo, hi) if lo < hi else None
