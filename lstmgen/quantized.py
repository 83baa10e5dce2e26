"""The quantized network: integers and formats only, all that emulator and C generator share.

The rules that give these integers their meaning are docs/numerics.md; N-numbers refer to it.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .layers import Activation
from .network import Outputs
from .qformat import IntArray, QFormat

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


@dataclass(frozen=True, eq=False)
class Tables:
    """The activation tables of rule N5: rows of {slope2, base}, int16 each.

    sigmoid: (2**bits, 2) over -16..16; tanh: (2**bits, 2) over -8..8;
    exp2: (32, 2), 2**x over 0..1 in Q0.14, for the softmax.
    """

    bits: int
    sigmoid: IntArray
    tanh: IntArray
    exp2: IntArray

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
class QuantizedLstm:
    """An LSTM layer of k units over n inputs; rows in gate order i, f, g, o.

    x, h: formats of the input and of the hidden state.
    wx: (4k, n); wh: (4k, k): weights, row r of both with one common product format.
    bias: (4k,) at frac[r] + mid_shift[r] fraction bits, the rounding of rule N4 folded in.
    frac: (4k,) fraction bits F_r of the accumulator of row r.
    argument_frac: (4k,) fraction bits v_g of the row's pre-activation V (from the tables).
    x_shift: left shift lx of the input that aligns it with h (rule N2).
    mid_shift: (4k,) right shift d_r of the sum over h before x is added (rule N3b); 0 where
        both parts share one format.
    h0: (k,) initial hidden state; c0: (k,) initial cell words C = 2c (rule N6).
    """

    name: str
    x: QFormat
    h: QFormat
    wx: IntArray
    wh: IntArray
    bias: IntArray
    frac: IntArray
    argument_frac: IntArray
    x_shift: int
    mid_shift: IntArray
    h0: IntArray
    c0: IntArray

    @property
    def inputs(self) -> int:
        """The number n of inputs."""
        return int(self.wx.shape[1])

    @property
    def units(self) -> int:
        """The number k of units."""
        return int(self.wh.shape[1])

    @property
    def width(self) -> int:
        """The number of values handed on."""
        return self.units

    @property
    def y(self) -> QFormat:
        """The format of the values handed on: the hidden state's."""
        return self.h

    @property
    def shift(self) -> IntArray:
        """(4k,) shifts s_r from accumulator to V: right where positive, left where negative."""
        return self.frac - self.argument_frac


@dataclass(frozen=True, eq=False)
class QuantizedDense:
    """A dense layer from n inputs to m rows.

    x, y: formats of the input and of the values handed on. y has 32 bits where a linear or
        relu layer ends the network (the raw accumulator), Q0.15 after softmax, and 16 bits
        with frac 0 for argmax (a class number).
    w: (m, n); bias: (m,) at frac[r] fraction bits, the rounding of rule N4 folded in.
    argument_frac: (m,) fraction bits of V, what the accumulator is rescaled to: y's for
        linear and relu, the table's for sigmoid and tanh, 20 for softmax, F for argmax.
    """

    name: str
    activation: Activation
    x: QFormat
    y: QFormat
    w: IntArray
    bias: IntArray
    frac: IntArray
    argument_frac: IntArray

    @property
    def inputs(self) -> int:
        """The number n of inputs."""
        return int(self.w.shape[1])

    @property
    def rows(self) -> int:
        """The number m of rows."""
        return int(self.w.shape[0])

    @property
    def width(self) -> int:
        """The number of values handed on (argmax: one class number)."""
        return 1 if self.activation == "argmax" else self.rows

    @property
    def shift(self) -> IntArray:
        """(m,) shifts s_r from accumulator to V: right where positive, left where negative."""
        return self.frac - self.argument_frac


QuantizedLayer = QuantizedLstm | QuantizedDense


@dataclass(frozen=True, eq=False)
class QuantizedNetwork:
    """A chain of quantized layers with the tables they use.

    notes: what was assumed or chosen on the way, a sentence each, for the user to see.
    calibrated: whether the formats come from calibration data.
    """

    name: str
    precision: Precision
    outputs: Outputs
    tables: Tables
    layers: tuple[QuantizedLayer, ...]
    notes: tuple[str, ...] = ()
    calibrated: bool = False

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
    def lstms(self) -> tuple[QuantizedLstm, ...]:
        """The LSTM layers, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, QuantizedLstm))

    @property
    def macs_per_step(self) -> int:
        """Multiply-accumulates of one time step."""
        return sum(
            layer.wx.size + layer.wh.size if isinstance(layer, QuantizedLstm) else layer.w.size
            for layer in self.layers
        )

    def digest(self) -> str:
        """Return a SHA-256 over every integer that decides an output, as 64 hex digits."""
        sha = hashlib.sha256(f"{NUMERICS_VERSION} {self.outputs}".encode())
        for table in (self.tables.sigmoid, self.tables.tanh, self.tables.exp2):
            _feed(sha, table)
        for layer in self.layers:
            kind = "lstm" if isinstance(layer, QuantizedLstm) else layer.activation
            sha.update(f"{kind} {layer.x} {layer.x.bits} {layer.y} {layer.y.bits}".encode())
            for array in integers_of(layer).values():
                _feed(sha, array)
        return sha.hexdigest()


def integers_of(layer: QuantizedLayer) -> dict[str, IntArray]:
    """Return the layer's integer arrays by name, in a fixed order."""
    if isinstance(layer, QuantizedLstm):
        return {
            "wx": layer.wx,
            "wh": layer.wh,
            "bias": layer.bias,
            "frac": layer.frac,
            "argument_frac": layer.argument_frac,
            "x_shift": np.array(layer.x_shift, np.int64),
            "mid_shift": layer.mid_shift,
            "h0": layer.h0,
            "c0": layer.c0,
        }
    return {
        "w": layer.w,
        "bias": layer.bias,
        "frac": layer.frac,
        "argument_frac": layer.argument_frac,
    }


def _feed(sha: "hashlib._Hash", array: IntArray) -> None:
    sha.update(str(array.shape).encode())
    sha.update(np.ascontiguousarray(array, "<i8").tobytes())
