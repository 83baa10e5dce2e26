"""The layers of the project's own model.npz: entries of its description, and their arrays.

An entry states a layer's type, name and choices; a key that is left out has the default of the
layer's class. Arrays are called <name>.W and so on; the halves of a bidirectional layer are
called <name>_forward and <name>_backward.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from .errors import ModelError, shown
from .folding import Affine, fit_problems, fold
from .layers import Bidirectional, Gru, Layer, Lstm, Recurrent, arrays_of, parts_of
from .npz import Array
from .qformat import FloatArray
from .schema_kinds import (
    ALWAYS,
    HALVES,
    KINDS,
    LIMIT,
    SAVED_NAME_RULE,
    entry_problems,
    is_saved_name,
)
from .weights import gate_order, gru_gate_order, reordered, weights_of


def entry_of(layer: Layer) -> dict[str, object]:
    """Return the entry that describes a layer."""
    if not is_saved_name(layer.name):
        raise ModelError(f"{shown(layer.name)} cannot be saved as a name; {SAVED_NAME_RULE}")
    kind = next(name for name, known in KINDS.items() if isinstance(layer, known.made))
    entry: dict[str, object] = {"type": kind, "name": layer.name}
    entry.update(_choices(layer))
    if not isinstance(layer, Bidirectional):
        return entry
    for key, half in zip(HALVES, layer.halves, strict=True):
        if half.name != f"{layer.name}_{key}":
            raise ModelError(
                f"{layer.name}: the {key} half is called {shown(half.name)}; "
                f"expected {layer.name}_{key}, the name that a saved one has"
            )
        entry[key] = {"type": "lstm" if isinstance(half, Lstm) else "gru", **dict(_choices(half))}
    return entry


def arrays_by_name(layer: Layer) -> dict[str, FloatArray]:
    """Return a layer's arrays by the names they have in a file, both halves' if it has two."""
    return {
        f"{part.name}.{key}": array
        for part in parts_of(layer)
        for key, array in arrays_of(part).items()
    }


def _choices(layer: Layer) -> Iterator[tuple[str, object]]:
    """Yield the keys of a layer's entry whose values are no defaults."""
    kind = next(known for known in KINDS.values() if isinstance(layer, known.made))
    for field in fields(layer):
        value = getattr(layer, field.name)
        if field.name not in kind.keys or field.name in HALVES:
            continue
        if value != field.default or field.name in ALWAYS:
            is_limit = kind.keys[field.name] is LIMIT
            yield field.name, float(value) if is_limit else value


class Entries:
    """What the entries of a description and the arrays beside them give.

    problems, notes: a line each. expected: the names of arrays that the entries account for.
    """

    def __init__(self, arrays: Mapping[str, Array], source: str) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.expected: set[str] = set()
        self._arrays, self._source = arrays, source

    def layers(self, entries: Sequence[Any]) -> list[Layer]:
        """Return the layers of those entries that are right, normalization folded in."""
        found: list[Layer | Affine] = []
        for number, entry in enumerate(entries):
            wrong = list(entry_problems(entry))
            where = f"{self._source}: layer {number} of the description"
            self.problems += [f"{where}: {line}" for line in wrong]
            layer = None if wrong else self._layer(entry, entry["name"])
            if layer is not None:
                found.append(layer)
        if not self.problems:
            self.problems += [f"{self._source}: {line}" for line in fit_problems(found)]
        # What overflows becomes infinite, which the network's own checks name.
        with np.errstate(all="ignore"):
            return fold(found)

    def _layer(self, entry: dict[str, Any], name: str) -> Layer | Affine | None:
        if entry["type"] == "bidirectional":
            halves = {key: self._layer(entry[key], f"{name}_{key}") for key in HALVES}
            if None in halves.values():
                return None
            return Bidirectional(name, **(_given(entry) | halves))
        arrays = self._arrays_of(entry, name)
        if arrays is None:
            return None
        if entry["type"] == "normalization":
            return self._normalization(name, **arrays)
        if entry["type"] in ("lstm", "gru"):
            return self._recurrent(entry, name, arrays)
        made: Layer = KINDS[entry["type"]].made(name=name, **arrays, **_given(entry))
        return made

    def _arrays_of(self, entry: dict[str, Any], name: str) -> dict[str, FloatArray] | None:
        kind = KINDS[entry["type"]]
        found: dict[str, FloatArray] = {}
        before = len(self.problems)
        for key in kind.required + kind.optional:
            full = f"{name}.{key}"
            self.expected.add(full)
            if full in self._arrays:
                try:
                    found[key] = weights_of(self._arrays[full], f"{self._source}: {full}")
                except ModelError as error:
                    self.problems.append(str(error))
            elif key in kind.required:
                self.problems.append(
                    f"{self._source}: array {full!a} is missing; expected "
                    f"{', '.join(kind.required)} for each {entry['type']} layer"
                )
        return found if len(self.problems) == before else None

    def _recurrent(
        self, entry: dict[str, Any], name: str, arrays: dict[str, FloatArray]
    ) -> Recurrent:
        is_lstm = entry["type"] == "lstm"
        known, wanted = (gate_order, "ifgo") if is_lstm else (gru_gate_order, "rzn")
        given = entry.get("gates", wanted)
        order = known(given) or wanted
        if given != wanted:
            self.notes.append(
                f"{name}: gate order {', '.join(given)}, reordered to {', '.join(wanted)}"
            )
        values: dict[str, Any] = {**arrays, **_given(entry)}
        values.pop("gates", None)
        for key in ("W", "U", "b"):
            values[key] = reordered(arrays[key], order, wanted)
        if not is_lstm and "b_u" not in values:
            U = arrays["U"]
            values["b_u"] = np.zeros(U.shape[1] if U.ndim == 2 else 0)
        return Lstm(name, **values) if is_lstm else Gru(name, **values)

    def _normalization(self, name: str, mean: FloatArray, std: FloatArray) -> Affine | None:
        before = len(self.problems)
        if mean.ndim != 1 or mean.size == 0 or std.shape != mean.shape:
            self.problems.append(
                f"{self._source}: {name}.mean is {mean.shape}, {name}.std {std.shape}; "
                "expected (n,) each, an entry for each value"
            )
        if (std <= 0).any():
            self.problems.append(
                f"{self._source}: {name}.std holds {np.count_nonzero(std <= 0)} values that "
                "are not above 0; expected deviations, all above 0"
            )
        if len(self.problems) > before:
            return None
        self.notes.append(f"{name}: (x - mean) / std, folded into the weights beside it")
        with np.errstate(all="ignore"):
            return Affine.standardising(name, mean, std)


def _given(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the choices of a checked entry, limits as floats."""
    keys = KINDS[entry["type"]].keys
    return {
        key: float(value) if keys[key] is LIMIT else value
        for key, value in entry.items()
        if key in keys and key not in HALVES
    }
