"""The operators LSTM and GRU: their weights, attributes and states, as layers."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ModelError
from ..layers import Bidirectional, CellFunction, GateFunction, Gru, Lstm, Recurrent
from ..qformat import FloatArray
from ..weights import weights_of
from .onnx_axes import Axis, axis_of
from .onnx_node import Node
from .onnx_signal import Signal, bound

GATES = {"LSTM": 4, "GRU": 3}

_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
"""Where ONNX's i, o, f, c and z, r, h have the gates i, f, g, o and r, z, n."""

_DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}

_CELLS: dict[str, CellFunction] = {"tanh": "tanh", "sigmoid": "sigmoid", "relu": "relu"}

_ALPHA = {"hardsigmoid": 0.2, "affine": 1.0, "leakyrelu": 0.01, "thresholdedrelu": 1.0,
          "scaledtanh": 1.0, "elu": 1.0}
_BETA = {"hardsigmoid": 0.5, "affine": 0.0, "scaledtanh": 1.0}
"""Activations with parameters, and their defaults."""


def layer_of(node: Node, name: str, row: int | None, notes: list[str]) -> Recurrent | Bidirectional:
    """Return the layer of an LSTM or GRU node; a ModelError lists all that is wrong with it.

    row: the sequence of a batch whose initial state to take, if they are given for several.
    """
    problems: list[str] = []
    parts: list[Recurrent] = []
    try:
        direction = node.attributes.get("direction", "forward")
        if direction not in _DIRECTIONS:
            raise ModelError(f"{node.label}: direction {direction!a} is unknown")
        arrays = _Arrays(node, _DIRECTIONS[direction], row, notes)
    except ModelError as error:
        problems += str(error).splitlines()
    else:
        for at in range(_DIRECTIONS[direction]):
            half = name if direction != "bidirectional" else f"{name}_{('for', 'back')[at]}ward"
            try:
                make = _lstm if node.type == "LSTM" else _gru
                parts.append(make(arrays, at, half))
            except ModelError as error:
                problems += str(error).splitlines()
    problems += _attribute_problems(node)
    if problems:
        raise ModelError.of(dict.fromkeys(problems))
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
        problems: list[str] = []
        found: dict[str, FloatArray] = {}
        for at, key, rank in ((1, "W", 3), (2, "R", 3)):
            try:
                found[key] = self._weights(at, key, rank)
            except ModelError as error:
                problems.append(str(error))
        if "R" in found:
            self.units = int(found["R"].shape[2])
            rows = self.gates * self.units
            if found["R"].shape[1] != rows or not self.units:
                problems.append(
                    f"{node.label}: R is {found['R'].shape}; expected "
                    f"({count}, {self.gates}k, k) for k units"
                )
            elif node.integer("hidden_size", self.units) != self.units:
                problems.append(
                    f"{node.label}: hidden_size is {node.integer('hidden_size')}; "
                    f"expected {self.units}, as R is {found['R'].shape}"
                )
            elif "W" in found and found["W"].shape[1] != rows:
                problems.append(
                    f"{node.label}: W is {found['W'].shape}; expected {rows} rows, "
                    f"as R is {found['R'].shape}"
                )
        if problems:
            raise ModelError.of(problems)
        self.W, self.U = found["W"], found["R"]

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

    def functions(self, at: int) -> list[str]:
        """Return the activations of a direction by this project's names."""
        found = list(_functions(self.node))
        default = ["sigmoid", "tanh", "tanh"][: 3 if self.node.type == "LSTM" else 2]
        chosen = found[at * len(default) :][: len(default)] or default
        if len(chosen) != len(default):
            raise ModelError(
                f"{self.node.label}: {len(found)} activations; expected {len(default)} "
                "for each direction"
            )
        for use, name in zip(("gates", "cell", "output"), chosen, strict=False):
            if name not in (_GATES if use == "gates" else (*_CELLS, "linear")):
                raise ModelError(
                    f"{self.node.label}: activation {name} of its {use} is not supported; expected "
                    + ("Sigmoid, or HardSigmoid with alpha 0.2 or 1/6 and beta 0.5"
                       if use == "gates" else "Tanh, Sigmoid or Relu")
                )
        return chosen

    @property
    def clip(self) -> float | None:
        """The limit of the pre-activations; ONNX has 0 for none where it is not left out."""
        return self.node.real("clip", 0.0) or None


_GATES: tuple[GateFunction, ...] = ("sigmoid", "hard_sigmoid", "hard_sigmoid_6")


def _functions(node: Node) -> Iterator[str]:
    """Yield each activation by this project's name, or ONNX's own where there is none."""
    names = node.attributes.get("activations", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"{node.label}: its activations are no list of names")
    given = {}
    for key, defaults in (("alpha", _ALPHA), ("beta", _BETA)):
        values: Any = node.attributes.get(f"activation_{key}", [])
        takers = [at for at, name in enumerate(names) if name.lower() in defaults]
        if len(values) not in (0, len(takers), len(names)):
            raise ModelError(
                f"{node.label}: {len(values)} values of activation_{key}; expected "
                f"{len(takers)}, for its activations that take one"
            )
        by = range(len(names)) if len(values) == len(names) else takers
        given[key] = {at: defaults.get(names[at].lower(), 0.0) for at in takers}
        given[key] |= dict(zip(by, map(float, values), strict=False))
    for at, name in enumerate(names):
        plain = name.lower()
        alpha, beta = given["alpha"].get(at, 0.0), given["beta"].get(at, 0.0)
        if plain == "hardsigmoid" and abs(beta - 0.5) < 1e-6:
            sixth = abs(alpha - 1 / 6) < 1e-6
            plain = "hard_sigmoid_6" if sixth else "hard_sigmoid" if abs(alpha - 0.2) < 1e-6 else ""
        elif plain == "affine" and (alpha, beta) == (1.0, 0.0):
            plain = "linear"
        known = (*_GATES, *_CELLS, "linear")
        values_given = f" (alpha {alpha:g}, beta {beta:g})" if name.lower() in _ALPHA else ""
        yield plain if plain in known else f"{name[:40]!a}{values_given}"


def _lstm(arrays: _Arrays, at: int, name: str) -> Lstm:
    gate, cell, output = arrays.functions(at)
    Wb, Rb = arrays.biases(at)
    layer = Lstm(
        name, arrays.ordered(arrays.W[at]), arrays.ordered(arrays.U[at]), Wb + Rb,
        arrays.state(5, "initial_h", at), arrays.state(6, "initial_c", at),
        arrays.peephole(at), gate=gate, cell=cell, output=output,  # type: ignore[arg-type]
        clip=arrays.clip,
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
    gate, cell = arrays.functions(at)
    Wb, Rb = arrays.biases(at)
    k = arrays.units
    after = bool(arrays.node.integer("linear_before_reset", 0))
    b, inner = Wb + Rb, np.zeros(k)
    if after:
        b[2 * k :], inner = Wb[2 * k :], Rb[2 * k :]
    return Gru(
        name, arrays.ordered(arrays.W[at]), arrays.ordered(arrays.U[at]), b, inner, after,
        arrays.state(5, "initial_h", at),
        gate=gate, cell=cell, clip=arrays.clip,  # type: ignore[arg-type]
    )


def _attribute_problems(node: Node) -> Iterator[str]:
    """Yield what is wrong with the layout, and with lengths that are part of the graph."""
    if node.attributes.get("layout", 0) not in (0, 1):
        yield f"{node.label}: layout is {node.attributes['layout']!a}; expected 0 or 1"
    if not node.has(4) or not isinstance(node.inputs[4], np.ndarray):
        return
    lengths = node.constant(4)
    if lengths.dtype.kind not in "iu" or not lengths.size:
        yield f"{node.label}: sequence_lens holds no lengths"
        return
    found = ", ".join(str(value) for value in lengths.ravel()[:8].tolist())
    signal = node.inputs[0]
    layout = node.attributes.get("layout", 0)
    steps = None
    if isinstance(signal, Signal) and len(signal.axes) == 3 and layout in (0, 1):
        axis = signal.axes[layout]
        steps = axis[0].size if len(axis) == 1 else 1 if not axis else None
    if steps is None or (lengths != steps).any():
        yield (
            f"{node.label}: sequence_lens is the constant {found}; expected it to be an input of "
            "the graph, or all steps for each sequence: pass lengths when the network is run"
        )
