"""Columns in pairs, two weights in the halves of a word: for SMLAD and its kin.

Three ways to hold the weights of a column in halfwords:

- single: one int16 for each row.
- carried: the same with the weights of gates i and g times 256, for sums that carry as much.
- row_pair, long_pair: one for two rows of int8, H = 256*a + b; a are gates i and g, b f and o.

Values lie as int16 in the order in which SXTB16 widens bytes: of four, 0, 2 and then 1, 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...qformat import IntArray, QFormat
from ...quantized_layers import QuantizedDense, QuantizedLstm
from .words import halves, int32

Way = Literal["single", "carried", "row_pair", "long_pair"]

_CARRY = np.array([256, 1, 256, 1])
"""What the sums of gates i, f, g, o carry in row pairs, until they are shifted."""

GROUP = 4
"""Rows that are summed in one pass: the gates of a unit, or the rows of a dense layer."""


@dataclass(frozen=True, eq=False)
class Part:
    """Columns that lie side by side: weights (4, k, columns), in pairs, and how to multiply."""

    weights: IntArray
    way: Way

    @property
    def pairs(self) -> int:
        """The number of column pairs."""
        return int(self.weights.shape[2]) // 2


def even(count: int) -> int:
    """Return `count`, or one more if it is odd."""
    return count + count % 2


def lstm_parts(layer: QuantizedLstm, way: Way, apart: bool) -> tuple[Part, ...]:
    """Return the columns of h, multiplied in one way, and those of x.

    They are one part if x can be multiplied in the same way and is not `apart`.
    """
    h = _padded(layer.wh.reshape(4, layer.units, -1), layer.h)
    x = _padded(layer.wx.reshape(4, layer.units, -1), layer.x)
    if apart or (way != "single" and np.abs(layer.wx).max() > 127):
        return (Part(h, way), Part(x, "single"))
    return (Part(np.concatenate([h, x], 2), way),)


def split_last(part: Part) -> tuple[Part, ...]:
    """Return a part of row pairs with an odd number of column pairs without and with the last.

    A lone column pair costs 6 instructions as `carried`, 8 as row pairs.
    """
    if part.way != "row_pair" or part.pairs % 2 == 0:
        return (part,)
    last = Part(part.weights[:, :, -2:], "carried")
    return (last,) if part.pairs == 1 else (Part(part.weights[:, :, :-2], part.way), last)


def start_words(bias: IntArray, way: Way) -> IntArray:
    """Return (k, words) what a unit's sums begin with, from biases (4, k)."""
    i, f, g, o = bias
    if way == "single":
        return bias.T
    pairs = 256 * i + f, 256 * g + o
    if way == "row_pair":
        return np.stack([int32(pairs[0]), f, int32(pairs[1]), o], 1)
    words = [f, *(part for pair in pairs for part in (int32(pair), pair >> 32)), o]
    return np.stack(words, 1)


def weight_words(part: Part) -> IntArray:
    """Return (k, words): for each column pair a word per gate, or per pair of gates."""
    w = part.weights
    if part.way == "single":
        rows = w
    elif part.way == "carried":
        rows = w * _CARRY[:, None, None]
    else:
        rows = np.stack([256 * w[0] + w[1], 256 * w[2] + w[3]])
    return _paired(rows).transpose(1, 2, 0).reshape(w.shape[1], -1)


def unpack_lstm(
    stream: IntArray, parts: Sequence[tuple[int, Way, int]], layer: QuantizedLstm
) -> tuple[IntArray, IntArray]:
    """Return the weights (4k, n), (4k, k) of a stream (k, words).

    parts: from which word on, in what way, and how many column pairs.
    """
    k, found = layer.units, []
    for at, way, pairs in parts:
        rows = 4 if way in ("single", "carried") else 2
        words = stream[:, at : at + pairs * rows].reshape(k, pairs, rows)
        columns = np.stack(halves(words), 2).reshape(k, 2 * pairs, rows).transpose(2, 0, 1)
        if way == "carried":
            columns = columns // _CARRY[:, None, None]
        if rows == 2:
            b = ((columns & 0xFF) ^ 0x80) - 0x80
            a = (columns - b) >> 8
            columns = np.stack([a[0], b[0], a[1], b[1]])
        found.append(columns)
    joined = np.concatenate(found, 2).reshape(4 * k, -1)
    x_columns = even(k) + np.argsort(_order(layer.inputs, layer.x))
    return joined[:, x_columns], joined[:, np.argsort(_order(k, layer.h))]


def dense_words(layer: QuantizedDense) -> IntArray:
    """Return the words of a dense layer: by groups of rows the biases, then the column pairs."""
    paired = _paired(_padded(layer.w, layer.x))
    groups = [slice(at, at + GROUP) for at in range(0, layer.rows, GROUP)]
    words = [part for rows in groups for part in (layer.bias[rows], paired[rows].T.ravel())]
    return np.concatenate(words)


def unpack_dense(words: IntArray, layer: QuantizedDense) -> tuple[IntArray, IntArray]:
    """Return the weights (m, n) and biases (m,) of the words of a dense layer."""
    weights, biases, at = [], [], 0
    pairs = even(layer.inputs) // 2
    for row in range(0, layer.rows, GROUP):
        rows = min(GROUP, layer.rows - row)
        biases.append(words[at : at + rows])
        paired = words[at + rows : at + rows + rows * pairs].reshape(pairs, rows)
        weights.append(np.stack(halves(paired), 1).reshape(2 * pairs, rows).T)
        at += rows * (1 + pairs)
    columns = np.concatenate(weights)
    return columns[:, np.argsort(_order(layer.inputs, layer.x))], np.concatenate(biases)


def _paired(columns: IntArray) -> IntArray:
    """Return (..., columns) as (..., pairs) words, the first of a pair in the low half."""
    return int32((columns[..., 0::2] & 0xFFFF) | (columns[..., 1::2] << 16))


def _padded(weights: IntArray, values: QFormat) -> IntArray:
    """Return (..., columns) in the order of the values, with a zero behind an odd one."""
    columns = weights.shape[-1]
    return np.pad(
        weights[..., _order(columns, values)],
        [*[(0, 0)] * (weights.ndim - 1), (0, columns % 2)],
    )


def _order(count: int, values: QFormat) -> IntArray:
    """Return the values' order: SXTB16 widens four bytes as 0, 2 and 1, 3."""
    order = np.arange(count)
    if values.storage_bits == 8:
        fours = order[: count - count % 4].reshape(-1, 4)
        fours[:] = fours[:, [0, 2, 1, 3]]
    return order
