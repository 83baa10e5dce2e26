"""Several weights of a column in one word, for Arm cores that multiply 32 bits at a time.

A word holds the weights of more than one gate, so that it is loaded once and its products are
sums of several gates'. All sums are exact modulo 2**32, and the bound of rule N3 says that a
gate's own sum fits, so it does not matter what the sum over the whole word wraps to:

- halves: two 16-bit weights, W = 2**16 * a + (b + 2**15). The sum over W is
  2**16 * A + B + 2**15 * X with X the sum of all values; that over W >> 16 is A.
- bytes: four 8-bit weights, W = 2**24 * i + 2**16 * f' + 2**8 * g' + o' with f' = f + 128 and
  so on. The sums over W, W >> 8, W >> 16 and W >> 24 give the four in the same way.
- wide: two 8-bit weights, W = 2**24 * a + b, summed in 64 bits. Needs |B| < 2**23.
- lanes: two 8-bit weights, W = 2**16 * a + b, summed in 32 bits. Needs |A|, |B| < 2**15, so
  the sum is taken apart after each segment of a few columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import QuantizedLstm

_Cost = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""What a segment's (rows, candidates) sums would cost, an entry per candidate."""

Way = Literal["halves", "bytes", "wide", "lanes"]

NAMES: dict[tuple[Way, ...], str] = {
    ("halves",): "two weights a word",
    ("bytes",): "four weights a word",
    ("bytes", "halves"): "four recurrent weights a word",
    ("wide",): "two weights a word, 64-bit sums",
    ("lanes",): "two weights a word, two lanes a sum",
}

LAST = 256
"""Marks the last unit in its shift word of gate o; shifts read the low byte only."""

SEGMENT_LIMIT = 32766
"""Largest |sum| of a lane: with 2**15 added it stays within 16 bits."""

HALF_SHIFT, BYTE_SHIFT = 15, 7
"""What is added to a weight that is not the word's highest, as a power of two."""

_WIDE_LANE = 24
_WORDS: dict[Way, int] = {"halves": 2, "bytes": 1, "wide": 2, "lanes": 2}


@dataclass(frozen=True, eq=False)
class Part:
    """Columns that are packed in one way: weights (4, k, columns)."""

    weights: IntArray
    way: Way

    @property
    def columns(self) -> int:
        """The number of columns."""
        return int(self.weights.shape[2])


def refusal(layer: QuantizedLstm, bounds: LayerBounds) -> str | None:
    """Return why no kernel of these cores serves the layer, or None."""
    if bounds.clamped.any():
        return "a pre-activation has to be clamped"
    if any(gate.min() < 0 < gate.max() for gate in layer.shift.reshape(4, layer.units)):
        return "one gate shifts to both sides"
    return None


def eight_bits(weights: IntArray) -> bool:
    """Whether all weights lie in -127..127."""
    return bool(np.abs(weights).max() <= 127)


def wide_fits(layer: QuantizedLstm, bounds: LayerBounds) -> bool:
    """Whether gates f and o, the lower ones of `wide`, keep their sums within 24 bits."""
    lower = bounds.bound.reshape(4, layer.units)[[1, 3]]
    return bool(lower.max() < 1 << (_WIDE_LANE - 1))


def parts_of(layer: QuantizedLstm, way: Way) -> tuple[Part, ...]:
    """Return h's columns and then x's; both in one part unless only h's weights are bytes."""
    k = layer.units
    wh, wx = layer.wh.reshape(4, k, -1), layer.wx.reshape(4, k, -1)
    if way == "bytes" and not eight_bits(layer.wx):
        return Part(wh, "bytes"), Part(wx, "halves")
    return (Part(np.concatenate([wh, wx], 2), way),)


def directions(shifts: IntArray) -> tuple[int, ...]:
    """Return by gate 1 where (4, k) shifts go right, -1 where left."""
    return tuple(1 if gate.min() >= 0 else -1 for gate in shifts)


def shift_words(layer: QuantizedLstm) -> IntArray:
    """Return (k, 4) distances without signs, the last unit marked."""
    words = np.abs(layer.shift.reshape(4, layer.units)).T.copy()
    words[-1, 3] |= LAST
    return words


def start_words(bias: IntArray, way: Way) -> IntArray:
    """Return (k, 4) words that the sums start from, for (4, k) biases."""
    i, f, g, o = bias
    if way == "bytes":
        second = f + (i << 8)
        third = g + (second << 8)
        words = [i, second, third, o + (third << 8)]
    elif way == "halves":
        words = [i, f + (i << 16), g, o + (g << 16)]
    elif way == "wide":
        pairs = (i << _WIDE_LANE) + f, (g << _WIDE_LANE) + o
        words = [part for pair in pairs for part in (pair, pair >> 32)]
    else:
        words = [i, f, g, o]
    return int32(np.stack(words, 1))


def weight_words(part: Part) -> IntArray:
    """Return (k, words): the words of each column in turn."""
    i, f, g, o = part.weights
    half, byte = 1 << HALF_SHIFT, 1 << BYTE_SHIFT
    if part.way == "bytes":
        words = [(i << 24) + ((f + byte) << 16) + ((g + byte) << 8) + o + byte]
    elif part.way == "halves":
        words = [(i << 16) + f + half, (g << 16) + o + half]
    else:
        lane = _WIDE_LANE if part.way == "wide" else 16
        words = [(i << lane) + f, (g << lane) + o]
    return np.stack(words, 2).reshape(i.shape[0], -1)


def unpack_words(words: IntArray, way: Way, columns: int) -> IntArray:
    """Invert weight_words: return (4, k, columns)."""
    w = words.reshape(words.shape[0], columns, _WORDS[way])
    if way == "bytes":
        (word,) = np.moveaxis(w, 2, 0)
        lower = [((word >> s) & 0xFF) - (1 << BYTE_SHIFT) for s in (16, 8, 0)]
        return np.stack([word >> 24, *lower])
    if way == "halves":
        gates = [(word >> 16, (word & 0xFFFF) - (1 << HALF_SHIFT)) for word in np.moveaxis(w, 2, 0)]
    else:
        lane = _WIDE_LANE if way == "wide" else 16
        middle = 1 << (lane - 1)
        low = ((w + middle) & (2 * middle - 1)) - middle
        gates = [((w - low)[:, :, n] >> lane, low[:, :, n]) for n in range(2)]
    return np.stack([gate for pair in gates for gate in pair])


def unpack_stream(
    stream: IntArray, parts: tuple[tuple[Way, int], ...], layer: QuantizedLstm, at: int
) -> tuple[IntArray, IntArray]:
    """Return the weights (4k, n), (4k, k) of parts (way, columns) in a stream from word `at`."""
    k, found = layer.units, []
    for way, columns in parts:
        words = columns * _WORDS[way]
        found.append(unpack_words(stream[:, at : at + words], way, columns))
        at += words
    joined = np.concatenate(found, 2).reshape(4 * k, -1)
    return joined[:, k:], joined[:, :k]


def packed(reach: IntArray) -> tuple[int, ...] | None:
    """Return an order of columns that makes segments of `lanes` long, None if one is too much.

    reach: (4, k, columns) the largest |product| of each weight.
    """
    if reach.size and reach.max() > SEGMENT_LIMIT:
        return None
    rows = reach.reshape(-1, reach.shape[2]) / SEGMENT_LIMIT
    # The fullest row, or a mean that weighs full rows most, or as it is: none is always best.
    orders = (
        _greedy(rows, lambda sums: sums.max(0)),
        _greedy(rows, lambda sums: (sums**8).sum(0)),
        tuple(range(reach.shape[2])),
    )
    return min(
        orders, key=lambda order: sum(len(ends) for ends in word_ends(reach[:, :, list(order)]))
    )


def _greedy(rows: NDArray[np.float64], cost: _Cost) -> tuple[int, ...]:
    """Return an order in which a segment takes the column of the least cost until none fits."""
    order: list[int] = []
    left = np.arange(rows.shape[1])
    total = np.zeros((rows.shape[0], 1))
    while left.size:
        sums = total + rows[:, left]
        fits = sums.max(0) <= 1
        if fits.any():
            best = int(np.where(fits, cost(sums), np.inf).argmin())
            total = sums[:, best : best + 1]
            order.append(int(left[best]))
            left = np.delete(left, best)
        else:
            total = np.zeros_like(total)
    return tuple(order)


def word_ends(reach: IntArray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return segment_ends of (i, f) and (g, o) for reach (4, k, columns)."""
    columns = reach.shape[2]
    return (
        segment_ends(reach[:2].reshape(-1, columns)),
        segment_ends(reach[2:].reshape(-1, columns)),
    )


def segment_ends(reach: IntArray) -> tuple[int, ...]:
    """Return behind which columns, in the order of `reach`, the sum of `lanes` is taken apart."""
    ends = []
    total = np.zeros(reach.shape[0], np.int64)
    for column, products in enumerate(reach.T):
        if (total + products).max() > SEGMENT_LIMIT:
            ends.append(column - 1)
            total = np.zeros_like(total)
        total = total + products
    return (*ends, reach.shape[1] - 1)


def int32(value: IntArray) -> IntArray:
    """Return the value modulo 2**32 as a signed number."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
