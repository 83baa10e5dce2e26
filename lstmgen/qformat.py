"""Fixed-point formats Qm.n: an integer `raw` stands for `raw * 2**-frac`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

MIN_FRAC, MAX_FRAC = -32, 31
"""The fraction bits of a network's values: 2**-MAX_FRAC is the finest step of int32, and
-MIN_FRAC bits in front of it hold whatever calibration accepts."""


@dataclass(frozen=True)
class QFormat:
    """A signed two's complement format of `bits` bits, `frac` of them behind the point.

    `frac` may be negative or exceed `bits`: Q9.-2 counts in steps of 4, Q-3.10 in 2**-10.
    """

    bits: int
    frac: int

    @property
    def lo(self) -> int:
        """The smallest integer of the format."""
        return -(1 << (self.bits - 1))

    @property
    def hi(self) -> int:
        """The largest integer of the format."""
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        """The real value of one unit in the last place."""
        return 2.0**-self.frac

    @property
    def storage_bits(self) -> int:
        """The width of the C integer that holds the format: 8, 16 or 32."""
        return 8 if self.bits <= 8 else 16 if self.bits <= 16 else 32

    def to_raw(self, real: ArrayLike) -> IntArray:
        """Quantize: round to nearest, ties up, clamp (rule N1). NaN becomes 0."""
        return self.limited(np.floor(np.asarray(real, np.float64) * 2.0**self.frac + 0.5))

    def limited(self, values: FloatArray) -> IntArray:
        """Return whole numbers, kept within the format, as integers. NaN becomes 0."""
        clamped = np.clip(np.nan_to_num(values, nan=0.0), self.lo, self.hi)
        return np.asarray(clamped, np.int64)

    def count_clipped(self, real: ArrayLike) -> int:
        """Return how many of the values `to_raw` limits to the format."""
        return self.count_beyond(np.floor(np.asarray(real, np.float64) * 2.0**self.frac + 0.5))

    def count_beyond(self, values: FloatArray) -> int:
        """Return how many whole numbers `limited` limits."""
        return int(np.count_nonzero((values < self.lo) | (values > self.hi)))

    def to_real(self, raw: ArrayLike) -> FloatArray:
        """Return the real values of the integers `raw`."""
        return np.asarray(raw, np.float64) * self.step

    def __str__(self) -> str:
        return f"Q{self.bits - 1 - self.frac}.{self.frac}"


def max_frac(magnitude: float, bits: int, limit: int = MAX_FRAC) -> int:
    """Return the largest frac <= `limit` with round(magnitude * 2**frac) <= 2**(bits-1) - 1."""
    largest = 2.0 ** (bits - 1) - 0.5
    # Settled first: of a magnitude near 0 no float holds the quotient below.
    if magnitude < largest * 2.0**-limit:
        return limit
    frac = int(np.floor(np.log2(largest / magnitude)))
    # log2 may be off by one in its last place: settle by the definition.
    while magnitude * 2.0 ** (frac + 1) < largest:
        frac += 1
    while magnitude * 2.0**frac >= largest:
        frac -= 1
    return min(frac, limit)
