"""Rounding of weights to integers."""

import numpy as np

from ..qformat import FloatArray, IntArray

BEYOND_ANY_FORMAT = 1e100
"""A weight that is refused as any larger one is, and whose square is still no infinity."""

_BEYOND_INT32 = 2.0**40
"""A bias that no row may have, but that int64 holds: the caller sees it and lowers F_r."""


def to_nearest(weights: FloatArray, frac: IntArray, bits: int) -> IntArray:
    """Round (rows, n) weights to nearest, ties up, at frac[row] fraction bits.

    The range is symmetric, -(2**(bits-1)-1) to 2**(bits-1)-1 (rule N2).
    """
    limit = (1 << (bits - 1)) - 1
    scaled = np.floor(weights * 2.0 ** frac[:, None].astype(np.float64) + 0.5)
    return np.clip(scaled, -limit, limit).astype(np.int64)


def fold_bias(bias: FloatArray, frac: IntArray, shift: IntArray) -> IntArray:
    """Return the bias at frac fraction bits plus half of what rule N4 shifts out (rule N3)."""
    half = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
    with np.errstate(over="ignore"):
        raw = np.floor(bias * 2.0 ** frac.astype(np.float64) + 0.5)
    return np.clip(raw, -_BEYOND_INT32, _BEYOND_INT32).astype(np.int64) + half
