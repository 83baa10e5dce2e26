"""Weights byte by byte, made unsigned by an offset: for AVR.

A pass goes over the columns of up to four rows, the gates of a unit or rows of a dense layer.
Weights w and values v are multiplied as unsigned numbers w' = w + o and v' = v + p, o and p being
2**7 or 2**15, which spares the sign extension of every product:

    sum w'v' = sum wv + p * sum w + o * sum v'

The second term is taken off the start values here, the third by the kernel: it is the same in
every pass. All of it is exact modulo the width of the sums.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...qformat import IntArray


@dataclass(frozen=True)
class Way:
    """How columns are multiplied: bytes of a weight and of a value."""

    weight: int
    value: int

    @property
    def name(self) -> str:
        """The bits of both."""
        return f"{8 * self.weight}x{8 * self.value}"

    @property
    def weight_offset(self) -> int:
        """What makes a weight unsigned."""
        return _offset(self.weight)

    @property
    def value_offset(self) -> int:
        """What makes a value unsigned."""
        return _offset(self.value)


def _offset(count: int) -> int:
    return 1 << (8 * count - 1)


@dataclass(frozen=True, eq=False)
class Part:
    """Columns that are multiplied in one way: weights (rows, passes, columns).

    shift: doublings of their sums before other columns are added.
    """

    weights: IntArray
    way: Way
    shift: int = 0

    @property
    def excess(self) -> IntArray:
        """(rows, passes) what the values' offset adds to the sums."""
        return np.asarray(self.weights.sum(2) * (self.way.value_offset << self.shift))


def start_bytes(bias: IntArray, parts: Iterable[Part], count: int) -> IntArray:
    """Return (passes, bytes) of `count` bytes a row: what sums over `parts` begin with.

    bias: (rows, passes).
    """
    return number_bytes(bias - sum(part.excess for part in parts), count)


def weight_bytes(part: Part) -> IntArray:
    """Return (passes, bytes): for each column the weights of all rows."""
    columns = part.weights.transpose(2, 0, 1) + part.way.weight_offset
    return number_bytes(columns.reshape(-1, columns.shape[2]), part.way.weight)


def number_bytes(numbers: IntArray, count: int) -> IntArray:
    """Return (passes, bytes): `count` bytes of each of (numbers, passes), the lowest first."""
    split = (numbers.T[:, :, None] >> (8 * np.arange(count))) & 0xFF
    return split.reshape(numbers.shape[1], -1)


def halfwords(pieces: Iterable[IntArray]) -> IntArray:
    """Return the bytes of all passes, (passes, bytes) each, as int16, pass after pass."""
    joined = np.ascontiguousarray(np.concatenate(list(pieces), 1), dtype=np.uint8)
    return joined.ravel().view("<i2").astype(np.int64)


class Reader:
    """What undoes the packing: takes pieces from the front of all passes at once."""

    def __init__(self, stream: IntArray, passes: int) -> None:
        self._bytes = stream.astype("<i2").view(np.uint8).reshape(passes, -1).astype(np.int64)

    def numbers(self, count: int, size: int) -> IntArray:
        """Return (count, passes) unsigned numbers of `size` bytes."""
        taken, self._bytes = np.split(self._bytes, [count * size], axis=1)
        split = taken.reshape(len(taken), count, size)
        return np.asarray((split << (8 * np.arange(size))).sum(2).T)

    def weights(self, way: Way, rows: int, columns: int) -> IntArray:
        """Return (rows, passes, columns) weights."""
        numbers = self.numbers(rows * columns, way.weight) - way.weight_offset
        return numbers.reshape(columns, rows, numbers.shape[1]).transpose(1, 2, 0)
