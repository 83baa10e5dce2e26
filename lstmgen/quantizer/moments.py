"""Mean and covariance of what a layer's weights are multiplied with, from raw integers."""

from dataclasses import dataclass

import numpy as np

from ..qformat import FloatArray, IntArray

MOST_ROWS = 1 << 15
"""Most time steps taken into account. Sums of an 8-bit weight times a product of two 16-bit
integers stay below 2**53, so that float64 adds them exactly, in any order."""

WEIGHT_ONE = 255
"""The largest weight of a time step."""


@dataclass(frozen=True, eq=False)
class Moments:
    """mean: (rows, n), covariance: (rows, n, n) of real values, for each row of weights, or
    rows = 1 where all rows share them."""

    mean: FloatArray
    covariance: FloatArray


def thinned(values: IntArray) -> IntArray:
    """Return at most MOST_ROWS of the rows, evenly spaced."""
    every = -(-len(values) // MOST_ROWS)
    return values[::every]


def moments(
    values: IntArray, steps: FloatArray, importance: FloatArray | None = None
) -> Moments:
    """Return the moments of raw values (time steps, n); steps: (n,) the real value of a unit.

    importance: (time steps, rows) by how much each time step counts for each row of weights,
    made integers of 0 to WEIGHT_ONE; None: all alike.
    The sums are exact, so that the result does not depend on how they are computed.
    """
    x = np.ascontiguousarray(thinned(values), np.float64)
    n = x.shape[1]
    if importance is None:
        counts = np.ones((len(x), 1))
    else:
        given = thinned(importance)
        most = np.maximum(given.max(0), 1e-300)
        counts = np.ceil(given / most * WEIGHT_ONE)
    mean = np.empty((counts.shape[1], n))
    covariance = np.empty((counts.shape[1], n, n))
    for row, count in enumerate(counts.T):
        weighted = x * count[:, None]
        total, number = weighted.sum(0), count.sum()
        mean[row] = total / number * steps
        covariance[row] = (weighted.T @ x - np.outer(total, total) / number) / number
        covariance[row] *= np.outer(steps, steps)
    return Moments(mean, covariance)


def cross(values: IntArray, steps: FloatArray, targets: IntArray, step: float) -> FloatArray:
    """Return the covariance (n, m) of raw values (time steps, n) with raw targets."""
    x, y = (np.ascontiguousarray(thinned(v), np.float64) for v in (values, targets))
    centred = (x.T @ y - np.outer(x.sum(0), y.sum(0)) / len(x)) / len(x)
    return np.asarray(centred * steps[:, None] * step)
