"""The network's input, feature by feature: finer formats and offsets (rule N1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .qformat import FloatArray, IntArray, QFormat

MAX_INPUT_SCALE = 15
"""Most bits by which a feature's format is finer than the input's common one."""

MAX_INPUT_OFFSET = 1 << 23
"""Largest |offset|, raw: C's float holds it exactly, and what an input adds to it."""


@dataclass(frozen=True, eq=False)
class InputScaling:
    """How the features of an input differ from its common format.

    shift: (n,) how many more fraction bits feature j has, 0 .. MAX_INPUT_SCALE.
    offset: (n,) what is taken off feature j once it is rounded, an integer of its format.
    """

    shift: IntArray
    offset: IntArray

    def frac(self, common: QFormat) -> IntArray:
        """Return (n,) the fraction bits of each feature."""
        return common.frac + self.shift

    def unlimited(self, common: QFormat, real: ArrayLike) -> FloatArray:
        """Return the integers for real values (..., n), not limited to the format; NaN stays."""
        scaled = np.asarray(real, np.float64) * 2.0 ** self.frac(common)
        return np.asarray(np.floor(scaled + 0.5) - self.offset)

    def scaled(self, common: QFormat, real: ArrayLike) -> FloatArray:
        """Return what real values (..., n) are in the common format: less the offset, larger."""
        offset = self.offset * 2.0 ** -self.frac(common)
        return np.asarray((np.asarray(real, np.float64) - offset) * 2.0**self.shift)

    def to_real(self, common: QFormat, raw: ArrayLike) -> FloatArray:
        """Return the real values of raw inputs (..., n)."""
        return np.asarray((np.asarray(raw) + self.offset) * 2.0 ** -self.frac(common))
