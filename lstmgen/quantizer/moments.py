"""Mean and covariance of what a layer's weights are multiplied with, from raw integers."""

from dataclasses import dataclass

import numpy as np

from ..qformat import FloatArray, IntArray

MOST_STEPS = 1 << 20
"""Most time steps taken into account: sums of so many products of two 16-bit integers stay below
2**53, so that float64 adds them exactly, in any order."""


@dataclass(frozen=True, eq=False)
class Moments:
    """mean: (n,), covariance: (n, n) of real values."""

    mean: FloatArray
    covariance: FloatArray

    def part(self, columns: slice) -> "Moments":
        """Return those of some of the values."""
        return Moments(self.mean[columns], self.covariance[columns, columns])


def thinned(values: IntArray) -> IntArray:
    """Return at most MOST_STEPS of the time steps, evenly spaced."""
    return values[:: -(-len(values) // MOST_STEPS)]


def moments(values: IntArray, steps: FloatArray) -> Moments:
    """Return the moments of raw values (time steps, n); steps: (n,) the real value of a unit.

    The sums are exact, so that the result does not depend on how they are computed.
    """
    x = np.ascontiguousarray(thinned(values), np.float64)
    total, products = x.sum(0), x.T @ x
    centred = (products - np.outer(total, total) / len(x)) / len(x)
    return Moments(total / len(x) * steps, centred * np.outer(steps, steps))


def cross(values: IntArray, steps: FloatArray, targets: IntArray, step: float) -> FloatArray:
    """Return the covariance (n, m) of raw values (time steps, n) with raw targets."""
    x, y = (np.ascontiguousarray(thinned(v), np.float64) for v in (values, targets))
    centred = (x.T @ y - np.outer(x.sum(0), y.sum(0)) / len(x)) / len(x)
    return np.asarray(centred * steps[:, None] * step)
