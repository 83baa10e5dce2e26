"""What the kernels for x86-64 share: rows in lanes, columns in pairs, and loops over these.

x lies as int16, and every pair of its columns meets, in one PMADDWD, vectors of pairs of weights,
a row in each lane. Weights are not -32768 and sums are proved to fit int32, so that PMADDWD is
exact: no weights are unfit.
"""

from dataclasses import dataclass

import numpy as np

from ...qformat import IntArray
from .kernel import Effort

LANES = 8
"""Rows of a vector."""

EXACT = "PMADDWD and int32 sums are exact for any weights"

_PER_TURN: dict[Effort, int] = {"speed": 8, "balanced": 2}
"""Column pairs of one turn of the loop with AVX2, 15 bytes of code for each vector."""

_UNROLLED: dict[Effort, int] = {"speed": 32, "balanced": 0}
"""Column pairs up to which there is no loop."""


@dataclass(frozen=True)
class Run:
    """Column pairs first .. end - 1: AVX2 has `turns` of a loop, `per_turn` each, then the rest."""

    first: int
    end: int
    turns: int
    per_turn: int

    @property
    def looped(self) -> int:
        """The first pair behind the loop."""
        return self.first + self.turns * self.per_turn

    @property
    def even(self) -> int:
        """The first pair behind the loop by twos that SSE2 takes."""
        return self.end - (self.end - self.first) % 2


def run(first: int, end: int, effort: Effort) -> Run:
    """Return the run of the pairs first .. end - 1."""
    count, per_turn = end - first, _PER_TURN[effort]
    return Run(first, end, count // per_turn if count > _UNROLLED[effort] else 0, per_turn)


def halves(bias: IntArray) -> IntArray:
    """Return int32 as int16, low halves first: (...,) to (..., 2)."""
    return np.stack([((bias & 0xFFFF) ^ 0x8000) - 0x8000, bias >> 16], -1)


def whole(low_high: IntArray) -> IntArray:
    """Invert `halves`."""
    return (low_high[..., 0] & 0xFFFF) | low_high[..., 1] << 16


def padded(columns: IntArray, multiple: int, axis: int) -> IntArray:
    """Return an array filled up with zeros to a multiple along an axis."""
    widths = [(0, 0)] * columns.ndim
    widths[axis] = (0, -columns.shape[axis] % multiple)
    return np.pad(columns, widths)
