"""Networks that show each primitive of docs/numerics.md in a step, with all integers made by hand.

No primitive is called by itself, for kernels have none to call: what runs is the C as it is
emitted. A state is plain memory, so that h and C are operands like the inputs are (operands.py).

- `cells`: an LSTM whose gates each have an input of their own, which takes V through the whole
  table, with h for the bits below; biases, shifts (N4), mid shifts (N3b) by seed.
- `heads`: two cells handed on as h, any two values, and a dense layer behind them.
- `products`: sums that come as near to 2^31 as their inputs can take them.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from lstmgen.network import Activation, Network
from lstmgen.qformat import IntArray
from lstmgen.quantized import Precision, QuantizedNetwork
from lstmgen.quantized_layers import QuantizedDense, QuantizedLstm

from builders import dense, lstm, nearest

Shifts = Literal["gates", "rows", "mid"]
SHIFTS: tuple[Shifts, ...] = ("gates", "rows", "mid")
"""Shifts of N4: one for all rows of a gate, one for each row; the latter with those of N3b."""

UNITS = 4


def cells(precision: Precision, shifts: Shifts, seed: int = 0) -> QuantizedNetwork:
    """An LSTM of UNITS units, gate i, f, g, o of all of them driven by input 0, 1, 2, 3."""
    r = np.random.default_rng([seed, SHIFTS.index(shifts)])
    q = nearest(Network.of(lstm(4, UNITS)), precision, mid_shift=False)
    layer = q.lstms[0]
    x_shift = 4 if precision == "q7" and shifts != "mid" else 0
    shift = _shifts(precision, shifts, r)
    mid = r.integers(0, 7, (4, UNITS)) if shifts == "mid" else np.zeros((4, UNITS), np.int64)

    # A quarter more than the table's half width, at V; less where the weight has no more bits.
    reach = 1.25 * 2.0 ** (q.tables.bits + 14)
    most = 127 if precision == "q7" else 32767
    weight = np.ceil(reach * 2.0**shift / (q.x.hi << x_shift)).clip(1, most).astype(np.int64)
    wx = np.zeros((4, UNITS, 4), np.int64)
    wx[np.arange(4), :, np.arange(4)] = weight
    # Its own h moves V by single steps, other units' by a little more.
    wh = r.integers(-1, 2, (4, UNITS, UNITS))
    most = 8192 if precision == "q15" else 127
    wh[:, np.arange(UNITS), np.arange(UNITS)] = (2 ** np.maximum(shift + mid, 0)).clip(1, most)
    # A sixteenth of the width: gates that are held open stay so.
    wide = 2.0 ** (q.tables.bits + 10 + shift + mid)
    bias = (r.uniform(-1, 1, (4, UNITS)) * np.minimum(wide, 1 << 28)).astype(np.int64)
    made = replace(
        layer,
        wx=wx.reshape(4 * UNITS, 4),
        wh=wh.reshape(4 * UNITS, UNITS),
        bias=bias.ravel(),
        frac=layer.argument_frac + shift.ravel(),
        x_shift=x_shift,
        mid_shift=mid.ravel(),
    )
    return replace(q, layers=(made,))


def _shifts(precision: Precision, shifts: Shifts, r: np.random.Generator) -> IntArray:
    """Return (4, UNITS) shifts of rule N4; within a gate all to one side, as kernels want it."""
    if precision == "q7":
        rows = -r.integers(0, 7, (4, UNITS))
        rows[:, 0] = -4
        rows[:, 1] = 0
    else:
        # Inputs of 13 bits reach the ends of a table with smaller shifts than those of 16.
        rows = r.integers(0, 8 if precision == "q15" else 5, (4, UNITS))
        rows[:, 1] = 0
        rows[:, 2] = r.integers(8, 17, 4)
        left = r.integers(0, 4)
        rows[left] = -r.integers(0, 4, UNITS)
    return np.broadcast_to(rows[:, :1], rows.shape).copy() if shifts == "gates" else rows


Head = Literal["sigmoid", "tanh", "softmax", "softmax_clamped", "linear", "relu", "argmax"]
HEADS: tuple[Head, ...] = (
    "sigmoid", "tanh", "softmax", "softmax_clamped", "linear", "relu", "argmax"
)  # fmt: skip
"""The dense layers: linear and relu within the network, as another layer follows."""


def heads(precision: Precision, head: Head, seed: int = 0) -> QuantizedNetwork:
    """Two cells that keep what they are given, and a dense layer of their h.

    linear, relu: requantized by every shift from 31 to the right to 12 to the left (q7: 23 and
    20), and handed to a layer that has 1 as its weights and shows each value.
    """
    r = np.random.default_rng([seed, HEADS.index(head)])
    activation: Activation = "softmax" if head == "softmax_clamped" else head
    within = head in ("linear", "relu")
    rows = {"linear": 44, "relu": 44, "argmax": 9}.get(head, 6)
    shown = (dense(rows, rows, name="shown"),) if within else ()
    q = nearest(Network.of(lstm(1, 2), dense(2, rows, activation), *shown), precision)
    layer, made, *_ = q.layers
    assert isinstance(layer, QuantizedLstm)
    assert isinstance(made, QuantizedDense)
    shift, bound = _head_shifts(head, q, rows, r)
    # The larger of two weights has the bound at the largest h, the other moves V by single steps.
    most = np.minimum(bound / -layer.h.lo, 32767)
    w = np.stack([most, np.minimum(2.0 ** np.maximum(shift, 0), most / 2)], 1)
    w = np.maximum(w.astype(np.int64), 1) * r.choice([-1, 1], (rows, 2))
    w = np.where(r.integers(0, 2, (rows, 1)), w, w[:, ::-1])
    new = replace(
        made,
        w=w,
        bias=(r.uniform(-1, 1, rows) * most * (-layer.h.lo / 4)).astype(np.int64),
        frac=made.argument_frac + shift,
    )
    layers = [_keeping(layer, q), new]
    if within:
        last = q.layers[2]
        assert isinstance(last, QuantizedDense)
        zero = np.zeros(rows, np.int64)
        layers.append(replace(last, w=np.eye(rows, dtype=np.int64), bias=zero))
    return replace(q, layers=tuple(layers))


def _head_shifts(
    head: Head, q: QuantizedNetwork, rows: int, r: np.random.Generator
) -> tuple[IntArray, np.ndarray]:
    """Return (rows,) shifts of rule N4 and bounds of the larger product."""
    if head in ("linear", "relu"):
        most = 23 if q.precision == "q7" else 31
        return most - np.arange(rows), np.full(rows, 2.0**30)
    if head == "argmax":
        return np.zeros(rows, np.int64), np.full(rows, 2.0**29)
    if head == "softmax_clamped":
        left = np.full(rows, 9 if q.precision == "q7" else 0)
        return -left, np.full(rows, 1.5 * 2.0**30) / 2.0**left
    right = r.integers(0, 5, rows)
    # Of 2^V, 21 powers differ from nothing.
    reach = 24 if head == "softmax" else q.tables.bits + 14
    return right, 1.1 * 2.0 ** (reach + right)


def _keeping(layer: QuantizedLstm, q: QuantizedNetwork) -> QuantizedLstm:
    """The layer with f and o at one and i and g at nothing: h is the tanh of what C was."""
    open_, shut = 1 << (q.tables.bits + 14), -1 << (q.tables.bits + 14)
    bias = np.repeat([shut, open_, 0, open_], layer.units)
    return replace(
        layer,
        wx=np.zeros_like(layer.wx),
        wh=np.zeros_like(layer.wh),
        bias=bias,
        frac=layer.argument_frac.copy(),
        x_shift=0,
        mid_shift=np.zeros_like(layer.mid_shift),
    )


def products(
    precision: Precision, inputs: int, units: int, seed: int = 0
) -> QuantizedNetwork:
    """An LSTM of any weights, the largest of either sign among them, whose sums reach 2^31 where
    weights and values have the bits for it."""
    r = np.random.default_rng([seed, inputs, units, 5])
    q = nearest(Network.of(lstm(inputs, units)), precision, mid_shift=False)
    layer = q.lstms[0]
    rows = 4 * units
    share = (2**31 - 2**24) / (inputs + units)

    def weights(columns: int, limit: int, value: int) -> IntArray:
        most = min(limit, int(share / value))
        kinds = r.integers(0, 3, (rows, columns))
        ends = np.where(kinds == 0, most, r.integers(0, most, (rows, columns), endpoint=True))
        return ends * r.choice([-1, 1], (rows, columns))

    limit_x, limit_h = {"q15": (32767, 32767), "w8a16": (32767, 127), "q7": (127, 127)}[precision]
    x_shift = int(r.integers(0, 5)) if precision == "q7" else 0
    wx, wh = weights(inputs, limit_x, -q.x.lo << x_shift), weights(units, limit_h, -layer.h.lo)
    reach = np.abs(wx).sum(1) * (-q.x.lo << x_shift) + np.abs(wh).sum(1) * -layer.h.lo
    # What noise makes of the sums spreads over the table.
    shift = np.floor(np.log2(reach / 4)).astype(np.int64) - (q.tables.bits + 14)
    shift = np.minimum(shift, 0) if precision == "q7" else np.maximum(shift, 0)
    made = replace(
        layer,
        wx=wx,
        wh=wh,
        bias=r.integers(-(1 << 20), 1 << 20, rows),
        frac=layer.argument_frac + shift,
        x_shift=x_shift,
    )
    return replace(q, layers=(made,))
