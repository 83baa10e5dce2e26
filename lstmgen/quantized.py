"""The quantized network: integers and formats only, all that emulator and C generator share.

The rules that give these integers their meaning are docs/numerics.md; N-numbers refer to it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from .network import Outputs
from .qformat import FloatArray, IntArray, QFormat
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
    parts_of,
)
from .scaling import InputScaling

NUMERICS_VERSION = 1
"""The version of docs/numerics.md; any change of an integer raises it."""

Precision = Literal["q7", "w8a16", "q15"]
PRECISIONS: tuple[str, ...] = get_args(Precision)

TABLE_BITS = range(6, 12)
"""The table sizes m for which tables are shipped (2**m words each)."""

SOFTMAX_FRAC = 20
"""Fraction bits of the base-2 logits of rule N10."""

LOGIT_LIMIT = 1 << 30
"""Magnitude to which rule N10 limits a base-2 logit, so that differences fit int32."""

MAX_ENTRIES = 32768
"""Most rows of an embedding: their numbers are int16."""

ADDEND_LIMIT = (1 << 30) - 1
"""Magnitude to which rule N4 limits a pre-activation that something is added to (N12, N14)."""


@dataclass(frozen=True, eq=False)
class Tables:
    """The activation tables of rule N5: rows of {slope2, base}, int16 each.

    sigmoid: (2**bits, 2) over -16..16; tanh: (2**bits, 2) over -8..8;
    exp2: (32, 2), 2**x over 0..1 in Q0.14, for the softmax.
    hard: by gate function, hard sigmoids as tables like sigmoid's.
    """

    bits: int
    sigmoid: IntArray
    tanh: IntArray
    exp2: IntArray
    hard: Mapping[str, IntArray] = field(default_factory=dict)

    def of(self, function: str) -> IntArray:
        """Return the table of a gate's, a cell's or an output's function that has one."""
        return {"sigmoid": self.sigmoid, "tanh": self.tanh, **self.hard}[function]

    @property
    def sigmoid_frac(self) -> int:
        """Fraction bits of a sigmoid's argument V."""
        return self.bits + 10

    @property
    def tanh_frac(self) -> int:
        """Fraction bits of a tanh's argument V, and of the cell state c."""
        return self.bits + 11

    @property
    def product_shift(self) -> int:
        """The shift k that takes i*g (Q0.30) to the cell's fraction bits (rule N6)."""
        return 19 - self.bits


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """A chain of quantized layers with the tables they use.

    notes: what was assumed or chosen on the way, a sentence each, for the user to see.
    calibrated: whether the formats come from calibration data.
    scaling: how features of the input differ from its format x; None where none does.
    """

    name: str
    precision: Precision
    outputs: Outputs
    tables: Tables
    layers: tuple[QuantizedLayer, ...]
    notes: tuple[str, ...] = ()
    calibrated: bool = False
    scaling: InputScaling | None = None

    def to_raw(self, real: ArrayLike) -> IntArray:
        """Quantize real inputs (..., n): round to nearest, ties up, clamp (rule N1)."""
        if self.scaling is None:
            return self.x.to_raw(real)
        return self.x.limited(self.scaling.unlimited(self.x, real))

    def input_to_real(self, raw: ArrayLike) -> FloatArray:
        """Return the real values of raw inputs (..., n)."""
        if self.scaling is None:
            return self.x.to_real(raw)
        return self.scaling.to_real(self.x, raw)

    def count_clipped(self, real: ArrayLike) -> int:
        """Return how many of the inputs `to_raw` limits to the format."""
        if self.scaling is None:
            return self.x.count_clipped(real)
        return self.x.count_beyond(self.scaling.unlimited(self.x, real))

    @property
    def inputs(self) -> int:
        """The width of the network's input."""
        return self.layers[0].inputs

    @property
    def x(self) -> QFormat:
        """The format of the network's input."""
        return self.layers[0].x

    @property
    def y(self) -> QFormat:
        """The format of the network's output."""
        return self.layers[-1].y

    @property
    def width(self) -> int:
        """The width of the network's output at one time step."""
        return self.layers[-1].width

    @property
    def parts(self) -> tuple[QuantizedPart, ...]:
        """The layers with integers of their own, in order."""
        return tuple(part for layer in self.layers for part in parts_of(layer))

    @property
    def recurrent(self) -> tuple[QuantizedRecurrent, ...]:
        """The LSTM and GRU layers in order, a bidirectional layer's forward half first."""
        return tuple(p for p in self.parts if isinstance(p, QuantizedLstm | QuantizedGru))

    @property
    def lstms(self) -> tuple[QuantizedLstm, ...]:
        """The LSTM layers among them."""
        return tuple(part for part in self.parts if isinstance(part, QuantizedLstm))

    @property
    def streams(self) -> bool:
        """Whether the network can be run step by step, as every layer goes forward."""
        return not any(
            isinstance(layer, QuantizedBidirectional)
            or (isinstance(layer, QuantizedRecurrent) and layer.direction != "forward")
            for layer in self.layers
        )

    @property
    def last_recurrent(self) -> int:
        """The place of the last layer that has a state; -1 of the beginning of a network."""
        return max(
            (
                at
                for at, layer in enumerate(self.layers)
                if not isinstance(layer, QuantizedDense | QuantizedEmbedding)
            ),
            default=-1,
        )

    @property
    def input_span(self) -> tuple[int, int]:
        """The least and the greatest input."""
        first = self.layers[0]
        if isinstance(first, QuantizedEmbedding):
            return 0, first.entries - 1
        return self.x.lo, self.x.hi

    def interface(self) -> dict[str, Any]:
        """Return what a caller needs to know of inputs and outputs, as it is told in JSON.

        Of the input's features j: real = (x[j] + offset[j]) * 2^-frac[j] (rule N1).
        """
        zeros = np.zeros(self.inputs, np.int64)
        scaling = InputScaling(zeros, zeros) if self.scaling is None else self.scaling
        lowest, highest = self.input_span
        return {
            "input": {
                "bits": self.x.bits,
                "min": lowest,
                "max": highest,
                "frac": scaling.frac(self.x).tolist(),
                "offset": scaling.offset.tolist(),
            },
            "output": {"bits": self.y.bits, "frac": self.y.frac},
        }

    @property
    def hard_functions(self) -> tuple[str, ...]:
        """The hard sigmoids that gates need tables of, in order."""
        return tuple(sorted({part.gate for part in self.recurrent} - {"sigmoid"}))

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates of one time step."""
        return sum(layer.macs for layer in self.layers)

    def digest(self) -> str:
        """Return a SHA-256 over every integer that decides an output, as 64 hex digits."""
        sha = hashlib.sha256(f"{NUMERICS_VERSION} {self.outputs}".encode())
        for table in (self.tables.sigmoid, self.tables.tanh, self.tables.exp2):
            _feed(sha, table)
        for name in self.hard_functions:
            _feed(sha, self.tables.of(name))
        if self.scaling is not None:
            _feed(sha, self.scaling.shift)
            _feed(sha, self.scaling.offset)
        for layer in self.layers:
            if isinstance(layer, QuantizedBidirectional):
                sha.update(f"bidirectional {layer.merge} {layer.ends} {layer.y}".encode())
            for part in parts_of(layer):
                kind = f"{kind_of(part)} {part.x} {part.x.bits} {part.y} {part.y.bits}"
                sha.update(kind.encode())
                for name, value in choices_of(part).items():
                    sha.update(f"{name}={value} ".encode())
                for array in integers_of(part).values():
                    _feed(sha, array)
        return sha.hexdigest()


def _feed(sha: "hashlib._Hash", array: IntArray) -> None:
    sha.update(str(array.shape).encode())
    sha.update(np.ascontiguousarray(array, "<i8").tobytes())
