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

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...qformat import IntArray
from ...quantized import QuantizedLstm
from .words import int32

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

HALF_SHIFT, BYTE_SHIFT = 15, 7
"""What is added to a weight that is not the word's highest, as a power of two."""

WIDE_LANE = 24
"""Bits of the lower lane of `wide`."""

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


def eight_bits(weights: IntArray) -> bool:
    """Whether all weights lie in -127..127."""
    return bool(np.abs(weights).max() <= 127)


def parts_of(layer: QuantizedLstm, way: Way) -> tuple[Part, ...]:
    """Return h's columns and then x's; both in one part unless only h's weights are bytes."""
    k = layer.units
    wh, wx = layer.wh.reshape(4, k, -1), layer.wx.reshape(4, k, -1)
    if way == "bytes" and not eight_bits(layer.wx):
        return Part(wh, "bytes"), Part(wx, "halves")
    return (Part(np.concatenate([wh, wx], 2), way),)


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
        pairs = (i << WIDE_LANE) + f, (g << WIDE_LANE) + o
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
        lane = WIDE_LANE if part.way == "wide" else 16
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
        lane = WIDE_LANE if way == "wide" else 16
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
