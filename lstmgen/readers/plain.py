"""Plain names: W0, R0, b0, ... in rows, or lstm0_W, lstm0_R, lstm0_b, ... in Keras' columns."""

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np

from ..errors import ModelError
from ..layers import Activation, Dense, Layer, Lstm
from ..npz import Array
from ..qformat import FloatArray
from ..weights import DATA_ARRAYS, data_note, gate_order, to_ifgo, weights_of
from .options import Draft

_TRACE = re.compile(r"h\d{1,4}")
"""Stored hidden states of every step, (B, T, k), beside the weights."""

Form = Literal["rows", "columns"]


def read(arrays: Mapping[str, Array], source: str, name: str) -> Draft:
    """Return the network of W{i}, R{i}, b{i}, optional h0_{i}, c0_{i}, pre_W, dense_W, ...

    Matrices are (outputs, inputs); a layer `pre` before the LSTMs is a relu layer unless the
    user says otherwise.
    """
    return _Names(arrays, source, "rows").draft(name)


def read_keras(arrays: Mapping[str, Array], source: str, name: str) -> Draft:
    """Return the network of lstm{i}_W, lstm{i}_R, lstm{i}_b, dense_W, dense_b.

    Matrices are (inputs, outputs); gates in columns i, f, c, o unless `gate_order` differs.
    """
    return _Names(arrays, source, "columns").draft(name)


class _Names:
    """Looks arrays up by name, remembering what was used and what is wrong."""

    def __init__(self, arrays: Mapping[str, Array], source: str, form: Form) -> None:
        self._arrays = arrays
        self._source = source
        self._form = form
        self._used: set[str] = set()
        self._problems: list[str] = []

    def draft(self, name: str) -> Draft:
        """Return the layers in the order pre, LSTMs, dense."""
        order = self._order()
        layers: list[Layer] = []
        if self._form == "rows" and "pre_W" in self._arrays:
            self._add_dense(layers, "pre", "relu")
        for number in range(self._count()):
            self._add_lstm(layers, number, order)
        if "dense_W" in self._arrays or "dense_b" in self._arrays:
            self._add_dense(layers, "dense", "linear")
        data = []
        for key in self._arrays:
            if key in DATA_ARRAYS or _TRACE.fullmatch(key):
                data.append(key)
            elif key not in self._used:
                self._problems.append(
                    f"{self._source}: array {key!a} is unknown; expected {self._expected()}"
                )
        gates = ", ".join(order)
        what = "plain names" if self._form == "rows" else "plain names, kernels transposed"
        notes = (f"{what}; gate order {gates}", *data_note(data))
        return Draft(self._source, name, tuple(layers), notes=notes, problems=tuple(self._problems))

    def _keys(self, number: int) -> tuple[str, str, str]:
        if self._form == "rows":
            return f"W{number}", f"R{number}", f"b{number}"
        return f"lstm{number}_W", f"lstm{number}_R", f"lstm{number}_b"

    def _expected(self) -> str:
        extra = ", h0_0, c0_0, pre_W, pre_b" if self._form == "rows" else ""
        return f"{', '.join(self._keys(0))}, ...{extra}, dense_W, dense_b"

    def _count(self) -> int:
        """Return the number of LSTMs: up to the highest that any array names."""
        pattern = re.compile(
            r"[WRb](\d{1,4})|[hc]0_(\d{1,4})" if self._form == "rows" else r"lstm(\d{1,4})_[WRb]"
        )
        matches = (pattern.fullmatch(key) for key in self._arrays)
        numbers = {int(match[match.lastindex or 1]) for match in matches if match}
        # One missing array is a slip; a lone W900 is no reason to ask for 900 layers.
        return min(max(numbers, default=-1) + 1, len(self._arrays) + 1)

    def _order(self) -> str:
        text = self._arrays.get("gate_order")
        if text is None or self._form == "rows":
            return "ifgo"
        self._used.add("gate_order")
        words = str(text) if text.dtype.kind == "U" and text.ndim == 0 else ""
        match = re.match(r"\s*([a-z])\s*,\s*([a-z])\s*,\s*([a-z])\s*,\s*([a-z])\b", words[:200])
        order = gate_order("".join(match.groups())) if match else None
        if order is None:
            self._problems.append(
                f"{self._source}: gate_order is {words[:40]!a}, an unknown gate order; "
                "expected an order of i, f, g (or c), o such as 'i,f,c,o'"
            )
        return order or "ifgo"

    def _take(self, key: str, optional: bool = False) -> FloatArray | None:
        self._used.add(key)
        if key not in self._arrays:
            if not optional:
                self._problems.append(
                    f"{self._source}: array {key!a} is missing; expected {self._expected()}"
                )
            return None
        try:
            return weights_of(self._arrays[key], f"{self._source}: {key}")
        except ModelError as error:
            self._problems.append(str(error))
            return None

    def _matrix(self, key: str) -> FloatArray | None:
        values = self._take(key)
        if values is None or self._form == "rows":
            return values
        return np.ascontiguousarray(values.T)

    def _add_lstm(self, layers: list[Layer], number: int, order: str) -> None:
        kernel, recurrent, bias = self._keys(number)
        W, U, b = self._matrix(kernel), self._matrix(recurrent), self._take(bias)
        h0 = c0 = None
        if self._form == "rows":
            h0 = self._take(f"h0_{number}", optional=True)
            c0 = self._take(f"c0_{number}", optional=True)
        if W is not None and U is not None and b is not None:
            W, U, b = (to_ifgo(array, order) for array in (W, U, b))
            layers.append(Lstm(f"lstm{number}", W, U, b, h0, c0))

    def _add_dense(self, layers: list[Layer], name: str, activation: Activation) -> None:
        W, b = self._matrix(f"{name}_W"), self._take(f"{name}_b")
        if W is not None and b is not None:
            layers.append(Dense(name, W, b, activation))
