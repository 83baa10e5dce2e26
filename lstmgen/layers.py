"""The float layers a network is made of.

Rows of W, U and b are grouped by gate: i, f, g, o for an LSTM, r, z, n for a GRU. With x(t) of
shape (n,), s the gate function, phi and psi the cell and output functions, an LSTM layer computes

    z = W x(t) + U h(t-1) + b,  then z_i += p_i c(t-1), z_f += p_f c(t-1)
    c(t) = s(z_f) c(t-1) + s(z_i) phi(z_g),  limited to +-cell_clip
    h(t) = P (s(z_o + p_o c(t)) psi(c(t)))

and a GRU layer

    r, u = s(W_rz x(t) + U_rz h(t-1) + b_rz)
    n = phi(W_n x(t) + b_n + r (U_n h(t-1) + b_u))      reset_after
    n = phi(W_n x(t) + b_n + U_n (r h(t-1)))            otherwise
    h(t) = u h(t-1) + (1 - u) n

Pre-activations are limited to +-clip where that is given.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, get_args

import numpy as np

from .qformat import FloatArray

Activation = Literal["linear", "relu", "sigmoid", "tanh", "softmax", "argmax"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)
HEADS = ("softmax", "argmax")
"""Activations that only the last layer may have."""

GateFunction = Literal["sigmoid", "hard_sigmoid", "hard_sigmoid_6"]
"""hard_sigmoid: clip(0.2 z + 0.5, 0, 1), as Keras 2 and ONNX have it; hard_sigmoid_6:
clip(z/6 + 0.5, 0, 1), as Keras 3 and PyTorch."""

CellFunction = Literal["tanh", "sigmoid", "relu", "linear"]

Direction = Literal["forward", "reverse", "flipped"]
"""How a layer walks through a sequence: from its first step; from its last, each output at the
time of its input; or from its last, the outputs in the order in which they were computed."""

Merge = Literal["concat", "sum", "average", "multiply"]

Ends = Literal["state", "step"]
"""What a bidirectional layer hands on as its last value: both directions' last states, or both
directions' values at the last time step (there the backward one has seen a single step)."""

GATES = ("i", "f", "g", "o")
GRU_GATES = ("r", "z", "n")


@dataclass(frozen=True, eq=False)
class Lstm:
    """One LSTM layer of k units over n inputs, with p values handed on.

    W: (4k, n), U: (4k, p), b: (4k,), rows in gate order i, f, g, o; p is k but for a projection.
    h0: (p,), c0: (k,) initial hidden and cell state; None stands for zeros.
    peephole: (3, k) weights of the cell state for the gates i, f, o.
    projection: (p, k) matrix P.
    gate, cell, output: the functions s, phi and psi; clip, cell_clip: limits, None for none.
    """

    name: str
    W: FloatArray
    U: FloatArray
    b: FloatArray
    h0: FloatArray | None = None
    c0: FloatArray | None = None
    peephole: FloatArray | None = None
    projection: FloatArray | None = None
    gate: GateFunction = "sigmoid"
    cell: CellFunction = "tanh"
    output: CellFunction = "tanh"
    clip: float | None = None
    cell_clip: float | None = None
    direction: Direction = "forward"
    gates: ClassVar[tuple[str, ...]] = GATES

    @property
    def inputs(self) -> int:
        """The number n of inputs."""
        return int(self.W.shape[1])

    @property
    def units(self) -> int:
        """The number k of units."""
        return int(self.W.shape[0]) // 4

    @property
    def width(self) -> int:
        """The number of values the layer hands on."""
        return int(self.U.shape[1])

    @property
    def linear(self) -> str:
        """The name of the projection as a layer of its own."""
        return f"{self.name}_proj"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a time step."""
        projection = 0 if self.projection is None else self.projection.size
        return int(self.W.size + self.U.size + projection)

    def shape_problems(self) -> Iterator[str]:
        """Yield a line for each array whose shape does not fit the recurrent matrix."""
        P = self.projection
        if self.U.ndim != 2 or 0 in self.U.shape or self.U.shape[0] % 4:
            yield f"{self.name}.U is {self.U.shape}; expected (4k, k) for k >= 1 units"
            return
        k, p = self.U.shape[0] // 4, self.U.shape[1]
        if P is None and p != k:
            yield f"{self.name}.U is {self.U.shape}; expected (4k, k) for k >= 1 units"
            return
        because = f"since {self.name}.U has {k} units"
        if P is not None and P.shape != (p, k):
            yield f"{self.name}.projection is {P.shape}; expected ({p}, {k}), {because}"
        yield from _matrix_problems(self.name, self.W, self.b, 4 * k, because)
        for key, expected in (("h0", (p,)), ("c0", (k,)), ("peephole", (3, k))):
            array = getattr(self, key)
            if array is not None and array.shape != expected:
                shape = f"({expected[0]},)" if len(expected) == 1 else str(expected)
                yield f"{self.name}.{key} is {array.shape}; expected {shape}, {because}"
        yield from _choice_problems(self)


@dataclass(frozen=True, eq=False)
class Gru:
    """One GRU layer of k units over n inputs.

    W: (3k, n), U: (3k, k), b: (3k,), rows in gate order r, z, n.
    b_u: (k,) the bias inside r (U_n h + b_u); zeros unless reset_after.
    h0: (k,) initial hidden state; None stands for zeros.
    gate, cell: the functions s and phi; clip: the limit of pre-activations, None for none.
    """

    name: str
    W: FloatArray
    U: FloatArray
    b: FloatArray
    b_u: FloatArray
    reset_after: bool = True
    h0: FloatArray | None = None
    gate: GateFunction = "sigmoid"
    cell: CellFunction = "tanh"
    clip: float | None = None
    direction: Direction = "forward"
    gates: ClassVar[tuple[str, ...]] = GRU_GATES

    @property
    def inputs(self) -> int:
        """The number n of inputs."""
        return int(self.W.shape[1])

    @property
    def units(self) -> int:
        """The number k of units."""
        return int(self.U.shape[1])

    @property
    def width(self) -> int:
        """The number of values the layer hands on."""
        return self.units

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a time step."""
        return int(self.W.size + self.U.size)

    def shape_problems(self) -> Iterator[str]:
        """Yield a line for each array whose shape does not fit the recurrent matrix."""
        if self.U.ndim != 2 or 0 in self.U.shape or self.U.shape[0] != 3 * self.U.shape[1]:
            yield f"{self.name}.U is {self.U.shape}; expected (3k, k) for k >= 1 units"
            return
        k = self.units
        because = f"since {self.name}.U has {k} units"
        yield from _matrix_problems(self.name, self.W, self.b, 3 * k, because)
        for key in ("b_u", "h0"):
            array = getattr(self, key)
            if array is not None and array.shape != (k,):
                yield f"{self.name}.{key} is {array.shape}; expected ({k},), {because}"
        if not self.reset_after and self.b_u.any():
            yield f"{self.name}.b_u is not zero; expected zeros, as reset_after is off"
        yield from _choice_problems(self)


Recurrent = Lstm | Gru


@dataclass(frozen=True, eq=False)
class Bidirectional:
    """Two recurrent layers over the same input, one forward and one from the end.

    forward, backward: both of direction "forward" as they stand; the second is given the
    sequence reversed, and its outputs are aligned with the time of their inputs.
    merge: how their values become one; ends: what "last" means.
    """

    name: str
    forward: Recurrent
    backward: Recurrent
    merge: Merge = "concat"
    ends: Ends = "state"

    @property
    def inputs(self) -> int:
        """The number n of inputs."""
        return self.forward.inputs

    @property
    def width(self) -> int:
        """The number of values the layer hands on."""
        both = self.forward.width + self.backward.width
        return both if self.merge == "concat" else self.forward.width

    @property
    def halves(self) -> tuple[Recurrent, Recurrent]:
        """Both directions."""
        return self.forward, self.backward

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a time step."""
        return self.forward.macs + self.backward.macs

    def shape_problems(self) -> Iterator[str]:
        """Yield what is wrong with either half, or with the two together."""
        found = [line for half in self.halves for line in half.shape_problems()]
        yield from found
        if found:
            return
        f, b = self.halves
        if f.inputs != b.inputs:
            yield f"{self.name}: {f.inputs} inputs forward, {b.inputs} backward; expected as many"
        if self.merge != "concat" and f.width != b.width:
            yield (
                f"{self.name}: {f.width} values forward, {b.width} backward; expected as many "
                f"to {self.merge} them"
            )
        yield from _literal_problems(self.name, "merge", self.merge, Merge)
        yield from _literal_problems(self.name, "ends", self.ends, Ends)
        if any(half.direction != "forward" for half in self.halves):
            yield f"{self.name}: a half has a direction of its own; expected 'forward' for both"


@dataclass(frozen=True, eq=False)
class Dense:
    """One dense layer y = activation(W x + S u + b) from n inputs to m outputs.

    W: (m, n), b: (m,). skip: (m, inputs of the network), the matrix S by which the network's
    own input u is added; None for none, and for the last layer only.
    """

    name: str
    W: FloatArray
    b: FloatArray
    activation: Activation = "linear"
    skip: FloatArray | None = None

    @property
    def inputs(self) -> int:
        """The number n of inputs."""
        return int(self.W.shape[1])

    @property
    def width(self) -> int:
        """The number of values the layer hands on (argmax: one class index)."""
        return 1 if self.activation == "argmax" else int(self.W.shape[0])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a time step."""
        return int(self.W.size + (0 if self.skip is None else self.skip.size))

    def shape_problems(self) -> Iterator[str]:
        """Yield a line for each array whose shape does not fit the matrix."""
        if self.W.ndim != 2 or 0 in self.W.shape:
            yield f"{self.name}.W is {self.W.shape}; expected (outputs, inputs), both at least 1"
            return
        rows = self.W.shape[0]
        because = f"since {self.name}.W has {rows} rows"
        if self.b.shape != self.W.shape[:1]:
            yield f"{self.name}.b is {self.b.shape}; expected ({rows},), {because}"
        if self.skip is not None and (self.skip.ndim != 2 or self.skip.shape[0] != rows):
            yield f"{self.name}.skip is {self.skip.shape}; expected ({rows}, inputs), {because}"
        yield from _literal_problems(self.name, "activation", self.activation, Activation)


@dataclass(frozen=True, eq=False)
class Embedding:
    """A table from which an integer input takes a row; the first layer of a network.

    table: (entries, width). The input is one integer, 0 .. entries - 1, at each time step.
    """

    name: str
    table: FloatArray

    @property
    def inputs(self) -> int:
        """The number of inputs: one index."""
        return 1

    @property
    def entries(self) -> int:
        """The number of rows."""
        return int(self.table.shape[0])

    @property
    def width(self) -> int:
        """The number of values the layer hands on."""
        return int(self.table.shape[1])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a time step: none."""
        return 0

    def shape_problems(self) -> Iterator[str]:
        """Yield a line if the table is no matrix."""
        if self.table.ndim != 2 or 0 in self.table.shape:
            yield f"{self.name}.table is {self.table.shape}; expected (entries, width)"


Layer = Lstm | Gru | Bidirectional | Dense | Embedding


def recurrent_parts(layer: Layer) -> tuple[Recurrent, ...]:
    """Return the recurrent layers inside a layer: itself, both halves, or none."""
    if isinstance(layer, Bidirectional):
        return layer.halves
    return (layer,) if isinstance(layer, Lstm | Gru) else ()


def parts_of(layer: Layer) -> tuple[Recurrent | Dense | Embedding, ...]:
    """Return the layer itself, or both halves of a bidirectional one."""
    return layer.halves if isinstance(layer, Bidirectional) else (layer,)


def arrays_of(layer: Recurrent | Dense | Embedding) -> dict[str, FloatArray]:
    """Return the layer's arrays by their name in the schema (W, U, b, h0, c0, ...)."""
    values = {f.name: getattr(layer, f.name) for f in fields(layer)}
    return {key: value for key, value in values.items() if isinstance(value, np.ndarray)}


def _matrix_problems(
    name: str, W: FloatArray, b: FloatArray, rows: int, because: str
) -> Iterator[str]:
    if W.ndim != 2 or W.shape[0] != rows or W.shape[1] == 0:
        n = W.shape[1] if W.ndim == 2 and W.shape[1] else "n"
        yield f"{name}.W is {W.shape}; expected ({rows}, {n}), {because}"
    if b.shape != (rows,):
        yield f"{name}.b is {b.shape}; expected ({rows},), {because}"


def _choice_problems(layer: Recurrent) -> Iterator[str]:
    yield from _literal_problems(layer.name, "gate", layer.gate, GateFunction)
    yield from _literal_problems(layer.name, "cell", layer.cell, CellFunction)
    yield from _literal_problems(layer.name, "direction", layer.direction, Direction)
    limits = {"clip": layer.clip}
    if isinstance(layer, Lstm):
        yield from _literal_problems(layer.name, "output", layer.output, CellFunction)
        limits["cell_clip"] = layer.cell_clip
    for key, limit in limits.items():
        if limit is not None and not 0 < limit < np.inf:
            yield f"{layer.name}: {key} is {limit}; expected a finite number above 0"


def _literal_problems(name: str, key: str, found: str, kind: object) -> Iterator[str]:
    if found not in get_args(kind):
        known = ", ".join(get_args(kind))
        yield f"{name}: {key} {found!r} is unknown; expected one of {known}"
