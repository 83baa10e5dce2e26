"""The float network: what a reader returns and what gets quantized."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from typing import Literal, Self, get_args

import numpy as np

from .errors import ModelError, shown
from .layers import (
    HEADS,
    Activation,
    Bidirectional,
    Dense,
    Embedding,
    Gru,
    Layer,
    Lstm,
    Recurrent,
    arrays_of,
    parts_of,
    recurrent_parts,
)

Outputs = Literal["last", "sequence"]

MAX_WIDTH = 4096
"""Largest number of inputs, units or outputs of a layer."""

MAX_WEIGHTS = 1 << 24
"""Largest number of weights of a network."""

MAX_LAYERS = 64

MAX_NAME = 256
"""Longest name of a network or a layer, in characters: PyTorch's 200 and what is added to them."""

NAME_RULE = f"expected 1 to {MAX_NAME} printable characters"


def is_name(name: object) -> bool:
    """Whether a value can be the name of a network or a layer."""
    return isinstance(name, str) and 1 <= len(name) <= MAX_NAME and name.isprintable()


@dataclass(frozen=True, eq=False)
class Network:
    """A chain of layers, at least one of them recurrent, checked when it is made.

    outputs: whether `run` returns the last recurrent layer's last values taken through the
        layers behind it, shape (width,), or those of every step, shape (T, width). "Last" is
        after the last step that the layer takes, which of a reverse layer is at time 0.
        Dense layers apply to each time step.
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
    def recurrent(self) -> tuple[Recurrent, ...]:
        """The LSTM and GRU layers in order, a bidirectional layer's forward half first."""
        return tuple(part for layer in self.layers for part in recurrent_parts(layer))

    @property
    def lstms(self) -> tuple[Lstm, ...]:
        """The LSTM layers among them."""
        return tuple(part for part in self.recurrent if isinstance(part, Lstm))

    @property
    def streams(self) -> bool:
        """Whether the network can be run step by step, as every layer goes forward."""
        return not any(
            isinstance(layer, Bidirectional)
            or (isinstance(layer, Lstm | Gru) and layer.direction != "forward")
            for layer in self.layers
        )

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates of one time step: 4k(n+k) for an LSTM, nm for a dense layer."""
        return sum(layer.macs for layer in self.layers)

    @classmethod
    def of(cls, *layers: Layer, **options: object) -> Self:
        """Return the network of the given layers, for short."""
        return cls(layers, **options)  # type: ignore[arg-type]

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network as a model.npz of the project's own schema, without loss."""
        from .schema import save_network  # imports this module

        save_network(self, path)

    def _problems(self) -> Iterator[str]:
        names = [part.name for layer in self.layers for part in parts_of(layer)]
        names += [layer.name for layer in self.layers if isinstance(layer, Bidirectional)]
        bad = [name for name in (self.name, *names) if not is_name(name)]
        if bad:  # other messages would contain these names
            for name in bad:
                yield f"a network or layer is called {shown(name)}; {NAME_RULE}"
            return
        if not self.recurrent:
            count = len(self.layers)
            found = f"{count} layers, none of them an LSTM" if count else "no layers"
            yield f"{self.name}: the network has {found}; expected at least one LSTM layer"
            return
        if len(self.layers) > MAX_LAYERS:
            yield f"{self.name}: {len(self.layers)} layers; expected at most {MAX_LAYERS}"
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{self.name}: {names.count(name)} layers are called {name!r}; expected one"
        for lstm in self.lstms:
            if lstm.projection is not None and lstm.linear in names:
                yield (
                    f"{self.name}: a layer is called {lstm.linear!r}, as the projection of "
                    f"{lstm.name}; expected another name"
                )
        if self.outputs not in get_args(Outputs):
            yield f"{self.name}: outputs is {self.outputs!r}; expected 'last' or 'sequence'"
        yield from self._input_range_problems()
        shape_problems = [line for layer in self.layers for line in layer.shape_problems()]
        yield from shape_problems
        for layer in self.layers:
            for part in parts_of(layer):
                yield from _value_problems(part)
        if shape_problems:
            return
        yield from self._size_problems()
        yield from self._chain_problems()

    def _chain_problems(self) -> Iterator[str]:
        for below, layer in zip(self.layers, self.layers[1:], strict=False):
            if isinstance(layer, Embedding):
                yield f"{layer.name}: an embedding behind {below.name}; expected it to be first"
            elif isinstance(below, Dense) and below.activation in HEADS:
                yield (
                    f"{below.name}: {below.activation} is followed by {layer.name}; "
                    "expected it on the last layer only"
                )
            elif layer.inputs != below.width:
                yield (
                    f"{layer.name}.W takes {layer.inputs} inputs; expected {below.width}, "
                    f"the width of {below.name}"
                )
        for layer in self.layers:
            if not isinstance(layer, Dense) or layer.skip is None:
                continue
            if layer is not self.layers[-1] or isinstance(self.layers[0], Embedding):
                yield f"{layer.name}: skip; expected it on the last layer, and real inputs"
            elif layer.skip.shape[1] != self.inputs:
                yield (
                    f"{layer.name}.skip takes {layer.skip.shape[1]} inputs; expected "
                    f"{self.inputs}, those of the network"
                )

    def _input_range_problems(self) -> Iterator[str]:
        if self.input_range is None:
            return
        lo, hi = self.input_range
        if not (np.isfinite(lo) and np.isfinite(hi) and lo < hi):
            yield f"{self.name}: input range {lo}:{hi}; expected two finite numbers LO < HI"

    def _size_problems(self) -> Iterator[str]:
        for layer in self.layers:
            rows = [layer.W.shape[0]] if isinstance(layer, Dense) else [layer.width]
            rows += [part.units for part in recurrent_parts(layer)]
            if max(layer.inputs, *rows) > MAX_WIDTH:
                yield (
                    f"{layer.name}: {layer.inputs} inputs, {max(rows)} outputs; "
                    f"expected at most {MAX_WIDTH} each"
                )
        weights = self.macs_per_step
        weights += sum(layer.table.size for layer in self.layers if isinstance(layer, Embedding))
        if weights > MAX_WEIGHTS:
            yield f"{self.name}: {weights} weights; expected at most {MAX_WEIGHTS}"


def _value_problems(layer: Recurrent | Dense | Embedding) -> Iterator[str]:
    for key, array in arrays_of(layer).items():
        wrong = int(np.count_nonzero(~np.isfinite(array)))
        if wrong:
            yield (
                f"{layer.name}.{key} holds {wrong} values that are NaN or infinite; "
                "expected finite numbers only"
            )
