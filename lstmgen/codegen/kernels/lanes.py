"""What Arm cores that multiply 32 bits at a time ask of a layer, and segments of its columns."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...bounds import LayerBounds, hidden_magnitude
from ...qformat import IntArray
from ...quantized import QuantizedLstm
from .segments import balanced_segments

_Cost = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""What a segment's (rows, candidates) sums would cost, an entry per candidate."""

SEGMENT_LIMIT = 32766
"""Largest |sum| of a lane: with 2**15 added it stays within 16 bits."""

_SEARCHED = 1 << 16
"""Weights up to which segments are searched for, which takes seconds; it spares one in ten."""


def refusal(layer: QuantizedLstm, bounds: LayerBounds) -> str | None:
    """Return why no kernel of these cores serves the layer, or None."""
    if bounds.clamped.any():
        return "a pre-activation has to be clamped"
    if any(gate.min() < 0 < gate.max() for gate in layer.shift.reshape(4, layer.units)):
        return "one gate shifts to both sides"
    return None


def directions(shifts: IntArray) -> tuple[int, ...]:
    """Return by gate 1 where (4, k) shifts go right, -1 where left."""
    return tuple(1 if gate.min() >= 0 else -1 for gate in shifts)


def reach_of(layer: QuantizedLstm) -> IntArray:
    """Return (4, k, k + n) the largest |product| of each weight of h and x, x not shifted."""
    h = np.abs(layer.wh) * hidden_magnitude(layer.h)
    x = np.abs(layer.wx) * -layer.x.lo
    return np.concatenate([h, x], 1).reshape(4, layer.units, -1)


def packed(reach: IntArray) -> tuple[int, ...] | None:
    """Return an order of columns that makes segments of `lanes` long, None if one is too much.

    reach: (4, k, columns) the largest |product| of each weight.
    """
    if reach.size and reach.max() > SEGMENT_LIMIT:
        return None
    rows = reach.reshape(-1, reach.shape[2])
    parts = rows / SEGMENT_LIMIT
    # The fullest row, or a mean that weighs full rows most, or as it is, or the fewest segments
    # for all four gates: none is always best, as each word has segments of its own.
    orders = [
        _greedy(parts, lambda sums: sums.max(0)),
        _greedy(parts, lambda sums: (sums**8).sum(0)),
        tuple(range(reach.shape[2])),
    ]
    if reach.size <= _SEARCHED:
        segments = balanced_segments(rows, SEGMENT_LIMIT) or ()
        orders.append(tuple(column for segment in segments for column in segment))
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
