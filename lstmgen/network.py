"""The float network: what a reader returns and what gets quantized.

A layer computes, for x(t) of shape (n,), with rows of W, U and b in gate order i, f, g, o:

    z = W x(t) + U h(t-1) + b
    c(t) = sigmoid(z_f) * c(t-1) + sigmoid(z_i) * tanh(z_g)
    h(t) = sigmoid(z_o) * tanh(c(t))
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Literal, Self, get_args

import numpy as np

from .errors import ModelError
from .qformat import FloatArray

Activation = Literal["linear", "relu", "sigmoid", "tanh", "softmax", "argmax"]
Outputs = Literal["last", "sequence"]

ACTIVATIONS: tuple[str, ...] = get_args(Activation)
HEADS = ("softmax", "argmax")
"""Activations that only the last layer may have."""

GATES = ("i", "f", "g", "o")

MAX_WIDTH = 4096
"""Largest number of inputs, units or outputs of a layer."""

MAX_WEIGHTS = 1 << 24
"""Largest number of weights of a network."""

MAX_LAYERS = 64


@dataclass(frozen=True, eq=False)
class Lstm:
    """One LSTM layer of k units over n inputs.

    W: (4k, n), U: (4k, k), b: (4k,), rows in gate order i, f, g, o.
    h0, c0: (k,) initial hidden and cell state; None stands for zeros.
    """

    name: str
    W: FloatArray
    U: FloatArray
    b: FloatArray
    h0: FloatArray | None = None
    c0: FloatArray | None = None

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

    def shape_problems(self) -> Iterator[str]:
        """Yield a line for each array whose shape does not fit the recurrent matrix."""
        if self.U.ndim != 2 or 0 in self.U.shape or self.U.shape[0] != 4 * self.U.shape[1]:
            yield f"{self.name}.U is {self.U.shape}; expected (4k, k) for k >= 1 units"
            return
        k = self.units
        because = f"since {self.name}.U has {k} units"
        if self.W.ndim != 2 or self.W.shape[0] != 4 * k or self.W.shape[1] == 0:
            n = self.W.shape[1] if self.W.ndim == 2 and self.W.shape[1] else "n"
            yield f"{self.name}.W is {self.W.shape}; expected ({4 * k}, {n}), {because}"
        if self.b.shape != (4 * k,):
            yield f"{self.name}.b is {self.b.shape}; expected ({4 * k},), {because}"
        for key in ("h0", "c0"):
            state = getattr(self, key)
            if state is not None and state.shape != (k,):
                yield f"{self.name}.{key} is {state.shape}; expected ({k},), {because}"


@dataclass(frozen=True, eq=False)
class Dense:
    """One dense layer y = activation(W x + b) from n inputs to m outputs.

    W: (m, n), b: (m,).
    """

    name: str
    W: FloatArray
    b: FloatArray
    activation: Activation = "linear"

    @property
    def inputs(self) -> int:
        """The number n of inputs."""
        return int(self.W.shape[1])

    @property
    def width(self) -> int:
        """The number of values the layer hands on (argmax: one class index)."""
        return 1 if self.activation == "argmax" else int(self.W.shape[0])

    def shape_problems(self) -> Iterator[str]:
        """Yield a line for each array whose shape does not fit the matrix."""
        if self.W.ndim != 2 or 0 in self.W.shape:
            yield f"{self.name}.W is {self.W.shape}; expected (outputs, inputs), both at least 1"
            return
        if self.b.shape != self.W.shape[:1]:
            rows = self.W.shape[0]
            yield (
                f"{self.name}.b is {self.b.shape}; expected ({rows},), "
                f"since {self.name}.W has {rows} rows"
            )
        if self.activation not in ACTIVATIONS:
            yield (
                f"{self.name}: activation {self.activation!r} is unknown; "
                f"expected one of {', '.join(ACTIVATIONS)}"
            )


Layer = Lstm | Dense


@dataclass(frozen=True, eq=False)
class Network:
    """A chain of layers, at least one of them an LSTM, checked when it is made.

    outputs: whether `run` returns the values after the last time step, shape (width,),
        or those of every step, shape (T, width). Dense layers apply to each time step.
    input_range: the (lowest, highest) input the model was trained on, where known.
    notes: what a reader found out or assumed, a sentence each, for the user to see.
    """

    layers: tuple[Layer, ...]
    outputs: Outputs = "last"
    input_range: tuple[float, float] | None = None
    name: str = "model"
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ModelError.of(problems)

    @property
    def inputs(self) -> int:
        """The width of the network's input."""
        return self.layers[0].inputs

    @property
    def width(self) -> int:
        """The width of the network's output at one time step."""
        return self.layers[-1].width

    @property
    def activation(self) -> Activation | None:
        """The activation of the last layer; None if that is an LSTM."""
        last = self.layers[-1]
        return last.activation if isinstance(last, Dense) else None

    @property
    def lstms(self) -> tuple[Lstm, ...]:
        """The LSTM layers, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, Lstm))

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates of one time step: 4k(n+k) for an LSTM, nm for a dense layer."""
        return sum(
            layer.W.size + (layer.U.size if isinstance(layer, Lstm) else 0) for layer in self.layers
        )

    @classmethod
    def of(cls, *layers: Layer, **options: object) -> Self:
        """Return the network of the given layers, for short."""
        return cls(layers, **options)  # type: ignore[arg-type]

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network as a model.npz of the project's own schema, without loss."""
        from .schema import save_network  # imports this module

        save_network(self, path)

    def _problems(self) -> Iterator[str]:
        if not any(isinstance(layer, Lstm) for layer in self.layers):
            count = len(self.layers)
            found = f"{count} layers, none of them an LSTM" if count else "no layers"
            yield f"{self.name}: the network has {found}; expected at least one LSTM layer"
            return
        if len(self.layers) > MAX_LAYERS:
            yield f"{self.name}: {len(self.layers)} layers; expected at most {MAX_LAYERS}"
        names = [layer.name for layer in self.layers]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{self.name}: {names.count(name)} layers are called {name!r}; expected one"
        if self.outputs not in get_args(Outputs):
            yield f"{self.name}: outputs is {self.outputs!r}; expected 'last' or 'sequence'"
        yield from self._input_range_problems()
        shape_problems = [line for layer in self.layers for line in layer.shape_problems()]
        yield from shape_problems
        for layer in self.layers:
            yield from _value_problems(layer)
        if shape_problems:
            return
        yield from self._size_problems()
        for below, layer in zip(self.layers, self.layers[1:], strict=False):
            if isinstance(below, Dense) and below.activation in HEADS:
                yield (
                    f"{below.name}: {below.activation} is followed by {layer.name}; "
                    "expected it on the last layer only"
                )
            elif layer.inputs != below.width:
                yield (
                    f"{layer.name}.W takes {layer.inputs} inputs; expected {below.width}, "
                    f"the width of {below.name}"
                )

    def _input_range_problems(self) -> Iterator[str]:
        if self.input_range is None:
            return
        lo, hi = self.input_range
        if not (np.isfinite(lo) and np.isfinite(hi) and lo < hi):
            yield f"{self.name}: input range {lo}:{hi}; expected two finite numbers LO < HI"

    def _size_problems(self) -> Iterator[str]:
        for layer in self.layers:
            rows = layer.units if isinstance(layer, Lstm) else layer.W.shape[0]
            if max(layer.inputs, rows) > MAX_WIDTH:
                yield (
                    f"{layer.name}: {layer.inputs} inputs, {rows} outputs; "
                    f"expected at most {MAX_WIDTH} each"
                )
        if self.macs_per_step > MAX_WEIGHTS:
            yield f"{self.name}: {self.macs_per_step} weights; expected at most {MAX_WEIGHTS}"


def arrays_of(layer: Layer) -> dict[str, FloatArray]:
    """Return the layer's arrays by their name in the schema (W, U, b, h0, c0)."""
    values = {f.name: getattr(layer, f.name) for f in fields(layer)}
    return {key: value for key, value in values.items() if isinstance(value, np.ndarray)}


def _value_problems(layer: Layer) -> Iterator[str]:
    for key, array in arrays_of(layer).items():
        wrong = int(np.count_nonzero(~np.isfinite(array)))
        if wrong:
            yield (
                f"{layer.name}.{key} holds {wrong} values that are NaN or infinite; "
                "expected finite numbers only"
            )
