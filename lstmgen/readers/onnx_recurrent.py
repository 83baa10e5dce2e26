"""The operators LSTM and GRU: their weights, attributes and states, as layers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ModelError
from ..layers import Bidirectional, Gru, Lstm, Recurrent
from ..qformat import FloatArray
from ..weights import weights_of
from .onnx_axes import Axis, axis_of, shape_of
from .onnx_functions import functions_of
from .onnx_node import Node
from .onnx_signal import Signal, bound

GATES = {"LSTM": 4, "GRU": 3}

_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
"""Where ONNX's i, o, f, c and z, r, h have the gates i, f, g, o and r, z, n."""

_DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}

def layer_of(node: Node, name: str, row: int | None, notes: list[str]) -> Recurrent | Bidirectional:
    """Return the layer of an LSTM or GRU node; a ModelError lists all that is wrong with it.

    row: the sequence of a batch whose initial state to take, if they are given for several.
    """
    direction = node.attributes.get("direction", "forward")
    if direction not in _DIRECTIONS:
        raise ModelError(
            f"{node.label}: direction is {ascii(direction)[:60]}; expected {', '.join(_DIRECTIONS)}"
        )
    count = _DIRECTIONS[direction]
    names = [name] if count == 1 else [f"{name}_forward", f"{name}_backward"]
    make = _lstm if node.type == "LSTM" else _gru

    def halves() -> list[Recurrent]:
        arrays = _Arrays(node, count, row, notes)
        return [make(arrays, at, half) for at, half in enumerate(names)]

    if not node.has(3):
        notes.append(f"{node.label}: no bias, so it is zero")
    parts: list[Recurrent] = collected(halves, lambda: _check_attributes(node))[0]
    if direction == "bidirectional":
        return Bidirectional(name, parts[0], parts[1])
    return replace(parts[0], direction="reverse") if direction == "reverse" else parts[0]


def outputs_of(node: Node, layer: Recurrent | Bidirectional) -> tuple[Signal, Signal]:
    """Return the signals Y and Y_h of an LSTM or GRU node."""
    signal = node.signal()
    if len(signal.axes) != 3:
        raise ModelError(
            f"{node.label}: its input has the axes {signal.layout()}; expected three"
        )
    first = node.integer("layout", 0)
    time, batch = signal.axes[first], signal.axes[1 - first]
    wanted = "(batch, time, features)" if first else "(time, batch, features)"
    if signal.taken is not None and time:
        raise ModelError(f"{node.label}: its input is one value of a sequence; expected {wanted}")
    if signal.time is not None and (signal.time, signal.batch) != (time, batch):
        raise ModelError(
            f"{node.label}: its input has the axes {signal.layout()}; expected {wanted}: "
            "a Transpose is missing or wrong"
        )
    signal = bound(signal, 2, layer.inputs, node.label)
    both = isinstance(layer, Bidirectional)
    if signal.flipped:
        if signal.flipped != time or isinstance(layer, Bidirectional) or (
            layer.direction != "forward"
        ):
            raise ModelError(
                f"{node.label}: the {signal.word(signal.flipped)} of its input runs backwards; "
                "expected that of time only, and in front of a forward layer"
            )
        layer = replace(layer, direction="reverse")
    directions = axis_of("directions", 2 if both else 1)
    width = layer.forward.width if isinstance(layer, Bidirectional) else layer.width
    features = axis_of(f"features of {layer.name}", width)
    made = replace(
        signal, layers=(*signal.layers, layer), features=directions + features, time=time,
        batch=batch, taken=None,
    )
    y: tuple[Axis, ...] = (time, directions, batch, features)
    h: tuple[Axis, ...] = (directions, batch, features)
    if first:
        y, h = (batch, time, directions, features), (batch, directions, features)
    return replace(made, axes=y), replace(made, axes=h, taken="state")


class _Arrays:
    """The arrays of a node, split by direction, their gates in the order of this project."""

    def __init__(self, node: Node, count: int, row: int | None, notes: list[str]) -> None:
        self.node, self.gates = node, GATES[node.type]
        self._count, self._row, self._notes = count, row, notes
        self.W, self.U, self.functions = collected(
            lambda: self._weights(1, "W", 3),
            lambda: self._weights(2, "R", 3),
            lambda: functions_of(node, count),
        )
        self.units = int(self.U.shape[2])
        rows = self.gates * self.units
        if self.U.shape[1] != rows or not rows:
            raise ModelError(
                f"{node.label}: R is {self.U.shape}; expected ({count}, {self.gates}k, k) for "
                "k units"
            )
        if node.integer("hidden_size", self.units) != self.units:
            raise ModelError(
                f"{node.label}: hidden_size is {node.integer('hidden_size')}; "
                f"expected {self.units}, as R is {self.U.shape}"
            )
        if self.W.shape[1] != rows:
            raise ModelError(
                f"{node.label}: W is {self.W.shape}; expected {rows} rows, "
                f"as R is {self.U.shape}"
            )

    def _weights(self, at: int, key: str, rank: int) -> FloatArray:
        values = weights_of(self.node.constant(at), f"{self.node.label}: {key}")
        if values.ndim != rank or values.shape[0] != self._count:
            raise ModelError(
                f"{self.node.label}: {key} is {values.shape}; expected {rank} axes, "
                f"{self._count} for the first (directions)"
            )
        return values

    def ordered(self, rows: FloatArray) -> FloatArray:
        """Return rows grouped by gate in the order of this project."""
        gates = rows.reshape(self.gates, self.units, *rows.shape[1:])
        return np.asarray(gates[list(_ORDER[self.node.type])].reshape(rows.shape))

    def biases(self, at: int) -> tuple[FloatArray, FloatArray]:
        """Return Wb and Rb, (gates * k,) each, of a direction."""
        rows = self.gates * self.units
        if not self.node.has(3):
            return np.zeros(rows), np.zeros(rows)
        both = self._weights(3, "B", 2)
        if both.shape[1] != 2 * rows:
            raise ModelError(
                f"{self.node.label}: B is {both.shape}; expected ({self._count}, {2 * rows})"
            )
        return self.ordered(both[at, :rows]), self.ordered(both[at, rows:])

    def peephole(self, at: int) -> FloatArray | None:
        """Return the peephole weights (3, k) for i, f, o, which ONNX has as i, o, f."""
        if not self.node.has(7):
            return None
        P = self._weights(7, "P", 2)
        if P.shape[1] != 3 * self.units:
            raise ModelError(
                f"{self.node.label}: P is {P.shape}; expected ({self._count}, {3 * self.units})"
            )
        return np.asarray(P[at].reshape(3, self.units)[[0, 2, 1]])

    def state(self, number: int, key: str, at: int) -> FloatArray | None:
        """Return an initial state (k,) of a direction; None for zeros."""
        node = self.node
        if not node.has(number):
            return None
        value = node.inputs[number]
        if isinstance(value, Signal) and not value.layers:
            if at == 0:
                self._notes.append(
                    f"{node.label}: {key} is the graph's input {value.source}, "
                    "taken as zeros before the first step"
                )
            return None
        states = weights_of(node.constant(number), f"{node.label}: {key}")
        layout = node.integer("layout", 0)
        if states.ndim != 3 or states.shape[layout] != self._count:
            raise ModelError(f"{node.label}: {key} is {states.shape}; expected the directions' k")
        rows = states[:, at] if layout else states[at]
        if rows.shape[1] != self.units or not len(rows):
            raise ModelError(f"{node.label}: {key} is {states.shape}; expected {self.units} last")
        if not (rows == rows[0]).all():
            if self._row is None or not 0 <= self._row < len(rows):
                raise ModelError(
                    f"{node.label}: {key} differs between the {len(rows)} sequences of a batch; "
                    f"expected one for all: choose with --state-row 0 to {len(rows) - 1}"
                )
            self._notes.append(f"{node.label}: {key} of sequence {self._row} of the batch")
            return np.asarray(rows[self._row])
        return np.asarray(rows[0]) if rows[0].any() else None

    @property
    def clip(self) -> float | None:
        """The limit of the pre-activations; ONNX has 0 for none where it is not left out."""
        return self.node.real("clip", 0.0) or None


def _lstm(arrays: _Arrays, at: int, name: str) -> Lstm:
    (Wb, Rb), h0, c0, peephole = collected(
        lambda: arrays.biases(at),
        lambda: arrays.state(5, "initial_h", at),
        lambda: arrays.state(6, "initial_c", at),
        lambda: arrays.peephole(at),
    )
    gate, cell, output = arrays.functions[at]
    layer = Lstm(
        name, arrays.ordered(arrays.W[at]), arrays.ordered(arrays.U[at]), Wb + Rb, h0, c0,
        peephole, gate=gate, cell=cell, output=output, clip=arrays.clip,
    )
    if not arrays.node.integer("input_forget", 0):
        return layer
    return replace(  # f = 1 - s(z_i) = s(-z_i)
        layer, W=_coupled(layer.W), U=_coupled(layer.U), b=_coupled(layer.b),
        peephole=None if layer.peephole is None else _coupled(layer.peephole, gates=3),
    )


def _coupled(rows: FloatArray, gates: int = 4) -> FloatArray:
    """Return rows with those of f replaced by those of i, negated."""
    k = len(rows) // gates
    return np.concatenate([rows[:k], -rows[:k], rows[2 * k :]])


def _gru(arrays: _Arrays, at: int, name: str) -> Gru:
    (Wb, Rb), h0 = collected(
        lambda: arrays.biases(at), lambda: arrays.state(5, "initial_h", at)
    )
    gate, cell = arrays.functions[at]
    k = arrays.units
    after = bool(arrays.node.integer("linear_before_reset", 0))
    b, inner = Wb + Rb, np.zeros(k)
    if after:
        b[2 * k :], inner = Wb[2 * k :], Rb[2 * k :]
    return Gru(
        name, arrays.ordered(arrays.W[at]), arrays.ordered(arrays.U[at]), b, inner, after,
        h0, gate=gate, cell=cell, clip=arrays.clip,
    )


def collected(*makers: Callable[[], Any]) -> list[Any]:
    """Return what each of `makers` returns, or one ModelError of all that they raise."""
    found: list[Any] = []
    problems: list[str] = []
    for make in makers:
        try:
            found.append(make())
        except ModelError as error:
            problems += str(error).splitlines()
    if problems:
        raise ModelError.of(dict.fromkeys(problems))
    return found


def _check_attributes(node: Node) -> None:
    """Raise what is wrong with the layout, and with lengths that are part of the graph."""
    layout = node.integer("layout", 0)
    if layout not in (0, 1):
        raise ModelError(f"{node.label}: layout is {layout}; expected 0 or 1")
    lengths = node.inputs[4] if node.has(4) else None
    if not isinstance(lengths, np.ndarray):
        return
    found = ", ".join(str(value) for value in lengths.ravel()[:8].tolist())
    signal = node.inputs[0]
    steps: Any = None
    if isinstance(signal, Signal) and len(signal.axes) == 3:
        steps = shape_of(signal.axes)[layout]
    if any(length != steps for length in lengths.ravel().tolist()):
        raise ModelError(
            f"{node.label}: sequence_lens is the constant {found}; expected it to be an input of "
            "the graph, or all steps for each sequence: pass lengths when the network is run"
        )
