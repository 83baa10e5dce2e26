"""Rounding of weights by what it does to a layer's sums, not to each weight alone.

With e = W - Wq the error of a row's sum over inputs of covariance C is e C e', its mean going
into the bias. Columns are rounded one after the other, the largest variance first, and what one
loses is made up by those behind it (GPTQ: Frantar et al., 2022); then single weights move by
one unit as long as that lowers the error. Every step is elementwise, so the result is the same
on any machine.
"""

from dataclasses import dataclass

import numpy as np

from ..qformat import FloatArray, IntArray
from .moments import Moments

DAMPING = 1e-3
"""Added to the variances, in their mean: weights of inputs that hardly vary stay as they are."""

_MOVES = 4
"""Moves of single weights, as a multiple of the number of columns, after which a row is left."""

_TINY = 1e-30
"""Instead of a variance of 0, that of inputs which never change."""


@dataclass(frozen=True, eq=False)
class Grid:
    """What integers a layer's weights may become.

    steps: (rows, columns) the real value of one unit; limits: (columns,) the largest |integer|.
    """

    steps: FloatArray
    limits: IntArray

    def nearest(self, weights: FloatArray) -> IntArray:
        """Return the nearest integers, ties up."""
        raw = np.floor(weights / self.steps + 0.5)
        return np.clip(raw, -self.limits, self.limits).astype(np.int64)


def compensated(
    weights: FloatArray, grid: Grid, given: Moments, damping: float = DAMPING
) -> tuple[IntArray, FloatArray]:
    """Return the integers (rows, columns) of the weights, and (rows,) what biases gain.

    Of rounding by turns and rounding to nearest, each improved by moves, the better by row.
    """
    damped = _damped(given.covariance, damping)
    found = [
        _moved(weights, raw, grid, damped)
        for raw in (_by_turns(weights, grid, damped), grid.nearest(weights))
    ]
    errors = [_error(weights, raw, grid, damped) for raw in found]
    best = np.where((errors[0] <= errors[1])[:, None], found[0], found[1])
    return best, row_sums((weights - best * grid.steps) * given.mean)


def refitted(
    weights: FloatArray, given: Moments, towards: FloatArray, ridge: float
) -> FloatArray:
    """Return weights (rows, n) whose sums over the given inputs are nearest to targets.

    towards: (n, rows) covariance of inputs and targets. ridge: in the variances' mean, by which
    weights are held to what they were.
    """
    missing = towards - _product(given.covariance, weights.T)
    return weights + _solved(_damped(given.covariance, ridge), missing).T


def row_sums(values: FloatArray) -> FloatArray:
    """Return the sums (rows,) of (rows, n), added from left to right on any machine."""
    total = np.zeros(len(values))
    for column in values.T:
        total += column
    return total


def _product(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return a @ b, added from left to right on any machine."""
    total = np.zeros((a.shape[0], b.shape[1]))
    for j in range(a.shape[1]):
        total += a[:, j, None] * b[j]
    return total


def _damped(covariance: FloatArray, by: float) -> FloatArray:
    n = len(covariance)
    mean = max(float(np.trace(covariance)) / n, _TINY)
    return covariance + by * mean * np.eye(n)


def _cholesky(matrix: FloatArray) -> FloatArray:
    """Return the lower L with L L' = matrix, by outer products."""
    rest, lower = matrix.copy(), np.zeros_like(matrix)
    for j in range(len(matrix)):
        column = rest[j:, j] / np.sqrt(rest[j, j])
        lower[j:, j] = column
        rest[j:, j:] -= column[:, None] * column
    return lower


def _solved(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """Return the solution (n, m) of matrix @ solution = right for a positive matrix."""
    lower, x = _cholesky(matrix), right.copy()
    for j in range(len(matrix)):
        x[j] /= lower[j, j]
        x[j + 1 :] -= lower[j + 1 :, j, None] * x[j]
    for j in reversed(range(len(matrix))):
        x[j] /= lower[j, j]
        x[:j] -= lower[j, :j, None] * x[j]
    return x


def _by_turns(weights: FloatArray, grid: Grid, covariance: FloatArray) -> IntArray:
    order = np.argsort(-np.diag(covariance), kind="stable")
    # Row j of the factor of the inverse tells how those behind make up for column j.
    factor = _cholesky(_solved(covariance[np.ix_(order, order)], np.eye(len(order)))).T
    left = weights[:, order].copy()
    steps, limits = grid.steps[:, order], grid.limits[order]
    raw = np.empty(left.shape, np.int64)
    for j, column in enumerate(order):
        nearest = np.clip(np.floor(left[:, j] / steps[:, j] + 0.5), -limits[j], limits[j])
        lost = (left[:, j] - nearest * steps[:, j]) / factor[j, j]
        left[:, j + 1 :] -= lost[:, None] * factor[j, j + 1 :]
        raw[:, column] = nearest
    return raw


def _error(
    weights: FloatArray, raw: IntArray, grid: Grid, covariance: FloatArray
) -> FloatArray:
    e = weights - raw * grid.steps
    return row_sums(_product(e, covariance) * e)


def _moved(
    weights: FloatArray, raw: IntArray, grid: Grid, covariance: FloatArray
) -> IntArray:
    """Move single weights by a unit, the most useful of each row first, while that helps."""
    raw, steps = raw.copy(), grid.steps
    gradient = _product(weights - raw * steps, covariance)
    variance = np.diag(covariance) * steps**2
    live = np.arange(len(raw))
    for _ in range(_MOVES * raw.shape[1]):
        # A weight that grows by a unit lowers e by a step; one that shrinks raises it.
        slope = 2.0 * gradient[live] * steps[live]
        up, down = variance[live] - slope, variance[live] + slope
        up[raw[live] >= grid.limits] = np.inf
        down[raw[live] <= -grid.limits] = np.inf
        gains = np.minimum(up, down)
        best = gains.argmin(1)
        rows = np.arange(len(live))
        helps = gains[rows, best] < -1e-12 * variance[live, best]
        live, best, rows = live[helps], best[helps], rows[helps]
        if not len(live):
            break
        sign = np.where(up[rows, best] <= down[rows, best], 1, -1)
        raw[live, best] += sign
        gradient[live] -= (sign * steps[live, best])[:, None] * covariance[best]
    return raw
