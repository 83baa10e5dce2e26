"""Several weights of a column in one word, for Arm cores that multiply 32 bits at a time.

A word holds the weights of more than one gate, so that it is loaded once and its products are
sums of several gates'. All sums are exact modulo 2**32, and the bound of rule N3 says that a
gate's own sum fits, so it does not matter what the sum over the whole word wraps to:

- halves: two 16-bit weights, W = 2**16 * a + (b + 2**15). The sum over W is
  2**16 * A + B + 2**15 * X with X the sum of all values; that over W >> 16 is A.
- bytes: four 8-bit weights, W = 2**24 * i + 2**16 * f' + 2**8 * g' + o' with f' = f + 128 and
  so on. The sums over W, W >> 8, W >> 16 and W >> 24 give the four in the same way.
- lanes: two 8-bit weights, W = 2**16 * a + b, summed in 32 bits. Needs |A|, |B| < 2**15, so
  the sum is taken apart after each segment of a few columns.
- single: one weight, for columns so few that it does not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...qformat import IntArray
from ...quantized_layers import QuantizedDense, QuantizedLstm
from .words import int32

Way = Literal["halves", "bytes", "lanes", "single"]

NAMES: dict[tuple[Way, ...], str] = {
    ("halves",): "two weights a word",
    ("bytes",): "four weights a word",
    ("bytes", "halves"): "four recurrent weights a word",
    ("lanes",): "two weights a word, two lanes a sum",
}

LAST = 256
"""Marks the last unit in its shift word of gate o; shifts read the low byte only."""

HALF_SHIFT, BYTE_SHIFT = 15, 7
"""What is added to a weight that is not the word's highest, as a power of two."""

GATES = 4
"""Rows that are summed in one pass: the gates of a unit, or rows of a dense layer."""

WORDS: dict[Way, int] = {"halves": 2, "bytes": 1, "lanes": 2, "single": 4}
"""Words of a column."""

SIGNS: dict[Way, int] = {"halves": 1 << HALF_SHIFT, "bytes": (1 << BYTE_SHIFT) * 0x10101}
"""The bits whose inversion makes lower lanes, which are not negative, signed numbers."""


@dataclass(frozen=True, eq=False)
class Part:
    """Columns that are packed in one way: weights (4, k, columns)."""

    weights: IntArray
    way: Way

    @property
    def columns(self) -> int:
        """The number of columns."""
        return int(self.weights.shape[2])


class UnitWords:
    """The words of a unit that a kernel reads, stage by stage, and where its weights lie.

    words: (k, ...) of the stream. parts: from which of a unit's words on, in what way and how
    many columns. order: those of h and then x, as the parts take them.
    """

    def __init__(self, layer: QuantizedLstm) -> None:
        self.words: list[IntArray] = []
        self.parts: list[tuple[int, Way, int]] = []
        self.order: list[int] = []
        self._weights = np.concatenate([layer.wh, layer.wx], 1).reshape(4, layer.units, -1)

    def add(self, columns: Sequence[int], way: Way, signs: int = 0) -> None:
        """Add columns packed in a way, the bits `signs` inverted."""
        self.parts.append((sum(words.shape[1] for words in self.words), way, len(columns)))
        taken = self._weights[:, :, list(columns)]
        self.words.append(int32(weight_words(Part(taken, way)) ^ signs))
        self.order += columns


def eight_bits(weights: IntArray) -> bool:
    """Whether all weights lie in -127..127."""
    return bool(np.abs(weights).max() <= 127)


def shift_words(layer: QuantizedLstm) -> IntArray:
    """Return (k, 4) distances without signs, the last unit marked."""
    words = np.abs(layer.shift.reshape(4, layer.units)).T.copy()
    words[-1, 3] |= LAST
    return words


def mid_words(layer: QuantizedLstm) -> IntArray:
    """Return (k, 4) distances of rule N3b."""
    return layer.mid_shift.reshape(4, layer.units).T


def packed_words(distances: IntArray) -> IntArray:
    """Return (k, 1) words that hold up to (4, k) distances in bytes, the first in the lowest."""
    places = 8 * np.arange(len(distances))[:, None]
    return int32((distances << places).sum(0))[:, None]


def start_words(bias: IntArray, way: Way) -> IntArray:
    """Return (k, 4) words that the sums start from, for (4, k) biases."""
    i, f, g, o = bias
    if way == "bytes":
        second = f + (i << 8)
        third = g + (second << 8)
        words = [i, second, third, o + (third << 8)]
    elif way == "single":
        words = [i, f, g, o]
    else:
        words = [i, f + (i << 16), g, o + (g << 16)]
    return int32(np.stack(words, 1))


def weight_words(part: Part) -> IntArray:
    """Return (k, words): the words of each column in turn."""
    i, f, g, o = part.weights
    half, byte = 1 << HALF_SHIFT, 1 << BYTE_SHIFT
    if part.way == "bytes":
        words = [(i << 24) + ((f + byte) << 16) + ((g + byte) << 8) + o + byte]
    elif part.way == "halves":
        words = [(i << 16) + f + half, (g << 16) + o + half]
    elif part.way == "lanes":
        words = [(i << 16) + f, (g << 16) + o]
    else:
        words = [i, f, g, o]
    return np.stack(words, 2).reshape(i.shape[0], -1)


def unpack_words(words: IntArray, way: Way, columns: int) -> IntArray:
    """Invert weight_words: return (4, k, columns)."""
    w = words.reshape(words.shape[0], columns, WORDS[way])
    if way == "bytes":
        (word,) = np.moveaxis(w, 2, 0)
        lower = [((word >> s) & 0xFF) - (1 << BYTE_SHIFT) for s in (16, 8, 0)]
        return np.stack([word >> 24, *lower])
    if way == "single":
        return np.moveaxis(w, 2, 0)
    low = w & 0xFFFF
    low = low - (1 << HALF_SHIFT) if way == "halves" else (low ^ 0x8000) - 0x8000
    # Lanes hold 2**16 * a + b with b of either sign; a half that is not negative borrows nothing.
    high = w >> 16 if way == "halves" else (w - low) >> 16
    return np.stack([half[:, :, n] for n in range(2) for half in (high, low)])


def unpack_parts(
    stream: IntArray,
    parts: Sequence[tuple[int, Way, int]],
    order: Sequence[int],
    layer: QuantizedLstm,
) -> tuple[IntArray, IntArray]:
    """Return the weights (4k, n), (4k, k) of a stream (k, words).

    parts: from which word on, in what way and how many columns; order: of those of h and then x.
    """
    found = [
        unpack_words(stream[:, at : at + columns * WORDS[way]], way, columns)
        for at, way, columns in parts
    ]
    joined = np.concatenate(found, 2)[:, :, np.argsort(order)].reshape(4 * layer.units, -1)
    return joined[:, layer.units :], joined[:, : layer.units]


def dense_words(layer: QuantizedDense, paired: bool) -> IntArray:
    """Return the words of a dense layer: by four rows those that the sums start from, then
    the columns' words; two rows share one, in halves, if they are paired."""
    words = []
    for at in range(0, layer.rows, GATES):
        rows = slice(at, at + GATES)
        start, weights = layer.bias[rows].copy(), layer.w[rows]
        if paired:
            upper, lower = weights[0::2], weights[1::2]
            start[1::2] = int32(start[1::2] + (start[0::2][: len(lower)] << 16))
            pairs = (upper[: len(lower)] << 16) + lower + (1 << HALF_SHIFT)
            weights = np.concatenate([pairs, upper[len(lower) :]])
        words += [start, weights.T.ravel()]
    return np.concatenate(words)


def unpack_dense(words: IntArray, layer: QuantizedDense, paired: bool) -> tuple[IntArray, IntArray]:
    """Return the weights (m, n) and biases (m,) of the words of a dense layer."""
    weights, biases, at = [], [], 0
    for row in range(0, layer.rows, GATES):
        rows = min(GATES, layer.rows - row)
        per_column = -(-rows // 2) if paired else rows
        start = words[at : at + rows].copy()
        columns = words[at + rows : at + rows + per_column * layer.inputs].reshape(-1, per_column).T
        at += rows + columns.size
        if paired:
            pairs = columns[: rows // 2]
            split = np.stack([pairs >> 16, (pairs & 0xFFFF) - (1 << HALF_SHIFT)], 1)
            columns = np.concatenate([split.reshape(-1, layer.inputs), columns[rows // 2 :]])
            start[1::2] = int32(start[1::2] - (start[0::2][: rows // 2] << 16))
        weights.append(columns)
        biases.append(start)
    return np.concatenate(weights), np.concatenate(biases)
