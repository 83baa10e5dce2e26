"""The quantized network: integers and formats only, all that emulator and C generator share.

The rules that give these integers their meaning are docs/numerics.md; N-numbers refer to it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Literal, get_args

import numpy as np

from .layers import Activation, CellFunction, Direction, Ends, GateFunction, Merge
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
class QuantizedDense:
    """A dense layer from n inputs to m rows.

    x, y: formats of the input and of the values handed on. y has 32 bits where a linear or
        relu layer ends the network (the raw accumulator), Q0.15 after softmax, and 16 bits
        with frac 0 for argmax (a class number).
    w: (m, n); bias: (m,) at frac[r] fraction bits, the rounding of rule N4 folded in.
    argument_frac: (m,) fraction bits of V, what the accumulator is rescaled to: y's for
        linear and relu, the table's for sigmoid and tanh, 20 for softmax, F for argmax.
    skip: (m, n0) weights of the network's own input, whose format is skip_x; None for none.
    """

    name: str
    activation: Activation
    x: QFormat
    y: QFormat
    w: IntArray
    bias: IntArray
    frac: IntArray
    argument_frac: IntArray
    skip: IntArray | None = None
    skip_x: QFormat | None = None

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
    def macs(self) -> int:
        """Multiply-accumulates of a time step."""
        return int(self.w.size) + (0 if self.skip is None else int(self.skip.size))

    @property
    def shift(self) -> IntArray:
        """(m,) shifts s_r from accumulator to V: right where positive, left where negative."""
        return self.frac - self.argument_frac


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
    h0: (p,) initial hidden state; c0: (k,) initial cell words C = 2c (rule N6).

    What only some layers have:
    gate, cell, output: the functions of the gates, of the candidate and of the cell state;
        g_frac, y_frac: fraction bits of what the latter two give, 15 where that is a table.
    clip: limit of a gate's pre-activation at the sigmoid's fraction bits (rule N4).
    cell_limit: limit of the cell state at the tanh's fraction bits (rule N6).
    peephole: (3, k) weights of C for i, f, o, and peephole_shift, the lp of rule N12.
    projection: from o * output(c), Q0.15 or of y_frac fraction bits, to h (rule N13).
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
    gate: GateFunction = "sigmoid"
    cell: CellFunction = "tanh"
    output: CellFunction = "tanh"
    g_frac: int = 15
    y_frac: int = 15
    clip: int | None = None
    cell_limit: int | None = None
    peephole: IntArray | None = None
    peephole_shift: int = 0
    projection: QuantizedDense | None = None
    direction: Direction = "forward"

    @property
    def inputs(self) -> int:
        """The number n of inputs."""
        return int(self.wx.shape[1])

    @property
    def units(self) -> int:
        """The number k of units."""
        return int(self.wh.shape[0]) // 4

    @property
    def width(self) -> int:
        """The number p of values handed on: k but for a projection."""
        return int(self.wh.shape[1])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a time step."""
        own = int(self.wx.size + self.wh.size)
        return own + (0 if self.projection is None else self.projection.macs)

    @property
    def plain(self) -> bool:
        """Whether the layer is an LSTM as most are, which kernels are made for."""
        functions = (self.gate, self.cell, self.output) == ("sigmoid", "tanh", "tanh")
        extras = (self.clip, self.cell_limit, self.peephole, self.projection)
        return functions and all(extra is None for extra in extras)

    @property
    def y(self) -> QFormat:
        """The format of the values handed on: the hidden state's."""
        return self.h

    @property
    def shift(self) -> IntArray:
        """(4k,) shifts s_r from accumulator to V: right where positive, left where negative."""
        return self.frac - self.argument_frac


@dataclass(frozen=True, eq=False)
class QuantizedGru:
    """A GRU layer of k units over n inputs; rows in gate order r, z, n.

    x, h: formats of the input and of the hidden state.
    wx: (3k, n); wh: (3k, k): weights; bias: (3k,), at frac[r] fraction bits as an LSTM's.
    frac: (3k,) fraction bits of the accumulators. With reset_after, those of the rows n are of
        the sum over x alone; the sum over h has bias_h (k,) and frac_h (k,) (rule N14).
    argument_frac: (3k,) fraction bits of the pre-activations.
    x_shift: left shift lx of the input (rule N2).
    h0: (k,) initial hidden state; c0: (k,) the same as state words C (rule N14).
    gate, cell, g_frac, clip: as of an LSTM.
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
    bias_h: IntArray
    frac_h: IntArray
    h0: IntArray
    c0: IntArray
    reset_after: bool = True
    gate: GateFunction = "sigmoid"
    cell: CellFunction = "tanh"
    g_frac: int = 15
    clip: int | None = None
    direction: Direction = "forward"

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
    def macs(self) -> int:
        """Multiply-accumulates of a time step."""
        return int(self.wx.size + self.wh.size)

    @property
    def shift(self) -> IntArray:
        """(3k,) shifts s_r from accumulator to V: right where positive, left where negative."""
        return self.frac - self.argument_frac

    @property
    def shift_h(self) -> IntArray:
        """(k,) the same for the sums over h of the rows n."""
        return self.frac_h - self.argument_frac[2 * self.units :]


QuantizedRecurrent = QuantizedLstm | QuantizedGru


@dataclass(frozen=True, eq=False)
class QuantizedBidirectional:
    """Two recurrent layers over the same input, one forward and one from the end (rule N15).

    Both hand on values of one format; y: that of the values as one.
    """

    name: str
    forward: QuantizedRecurrent
    backward: QuantizedRecurrent
    merge: Merge
    ends: Ends
    y: QFormat

    @property
    def halves(self) -> tuple[QuantizedRecurrent, QuantizedRecurrent]:
        """Both directions."""
        return self.forward, self.backward

    @property
    def x(self) -> QFormat:
        """The format of the input."""
        return self.forward.x

    @property
    def inputs(self) -> int:
        """The number n of inputs."""
        return self.forward.inputs

    @property
    def width(self) -> int:
        """The number of values handed on."""
        both = self.forward.width + self.backward.width
        return both if self.merge == "concat" else self.forward.width

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a time step."""
        return self.forward.macs + self.backward.macs


@dataclass(frozen=True, eq=False)
class QuantizedEmbedding:
    """A table (entries, width) of values in the format y; the input is the number of a row."""

    name: str
    y: QFormat
    table: IntArray

    @property
    def x(self) -> QFormat:
        """The format of the input: an int16 that counts from 0."""
        return QFormat(16, 0)

    @property
    def inputs(self) -> int:
        """The number of inputs: one."""
        return 1

    @property
    def entries(self) -> int:
        """The number of rows."""
        return int(self.table.shape[0])

    @property
    def width(self) -> int:
        """The number of values handed on."""
        return int(self.table.shape[1])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a time step: none."""
        return 0


QuantizedPart = QuantizedRecurrent | QuantizedDense | QuantizedEmbedding
"""A layer that has integers of its own."""

QuantizedLayer = QuantizedPart | QuantizedBidirectional


def parts_of(layer: QuantizedLayer) -> tuple[QuantizedPart, ...]:
    """Return the layer itself or both halves of a bidirectional one, projections behind theirs."""
    found: list[QuantizedPart] = []
    for part in layer.halves if isinstance(layer, QuantizedBidirectional) else (layer,):
        found.append(part)
        if isinstance(part, QuantizedLstm) and part.projection is not None:
            found.append(part.projection)
    return tuple(found)


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


def kind_of(layer: QuantizedLayer) -> str:
    """Return a word for the kind of layer: lstm, gru, ... and of a dense one its activation."""
    if isinstance(layer, QuantizedDense):
        return layer.activation
    return type(layer).__name__.removeprefix("Quantized").lower()


def choices_of(layer: QuantizedPart) -> dict[str, str | int | bool | None]:
    """Return what distinguishes a recurrent layer from the plain one, arrays aside."""
    if not isinstance(layer, QuantizedLstm | QuantizedGru):
        return {}
    values = {f.name: getattr(layer, f.name) for f in fields(layer)}
    defaults = {f.name: f.default for f in fields(layer) if f.default is not MISSING}
    return {
        name: values[name]
        for name, default in defaults.items()
        if name not in ("peephole", "projection") and values[name] != default
    }


def integers_of(layer: QuantizedPart) -> dict[str, IntArray]:
    """Return the layer's integer arrays by name, in a fixed order."""
    if isinstance(layer, QuantizedEmbedding):
        return {"table": layer.table}
    if isinstance(layer, QuantizedGru):
        return {
            "wx": layer.wx,
            "wh": layer.wh,
            "bias": layer.bias,
            "frac": layer.frac,
            "argument_frac": layer.argument_frac,
            "x_shift": np.array(layer.x_shift, np.int64),
            "bias_h": layer.bias_h,
            "frac_h": layer.frac_h,
            "h0": layer.h0,
            "c0": layer.c0,
        }
    if isinstance(layer, QuantizedLstm):
        peephole = {} if layer.peephole is None else {"peephole": layer.peephole}
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
            **peephole,
        }
    skip = {} if layer.skip is None else {"skip": layer.skip}
    return {
        "w": layer.w,
        "bias": layer.bias,
        "frac": layer.frac,
        "argument_frac": layer.argument_frac,
        **skip,
    }


def _feed(sha: "hashlib._Hash", array: IntArray) -> None:
    sha.update(str(array.shape).encode())
    sha.update(np.ascontiguousarray(array, "<i8").tobytes())
