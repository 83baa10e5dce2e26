"""Columns dealt to segments whose sums fit a lane, to as few segments as a search finds.

A sum does not care about the order of its terms, so any columns may share a segment: a column
that is heavy in some row goes well with columns that are light there.
"""

import math
import random
from functools import lru_cache

import numpy as np

from ...qformat import IntArray

_TRIES = 800
"""Exchanges tried for each column before a number of segments counts as too small."""

_WARMTH = 0.003
"""How much excess, in parts of the limit, an exchange may add at first and still be kept."""


def balanced_segments(reach: IntArray, limit: int) -> tuple[tuple[int, ...], ...] | None:
    """Return the columns of each segment; None if a single column is too much.

    reach: (rows, columns) the largest |term| that a column adds to a row. In every row the
    terms of a segment add up to at most `limit`. Equal arguments give equal segments.
    """
    if reach.max(initial=0) > limit:
        return None
    values = np.ascontiguousarray(reach, np.int64)
    return _search(values.tobytes(), values.shape, limit)


@lru_cache(maxsize=32)
def _search(values: bytes, shape: tuple[int, int], limit: int) -> tuple[tuple[int, ...], ...]:
    """Return the segments; a network is looked at several times, its search takes a second."""
    reach = np.frombuffer(values, np.int64).reshape(shape)
    best = _in_order(reach, limit)
    fewest = -(-int(reach.sum(1).max(initial=0)) // limit)
    while best.max(initial=0) + 1 > max(fewest, 1):
        found = _anneal(reach, limit, int(best.max()))
        if found is None:
            break
        best = found
    segments = [np.flatnonzero(best == segment) for segment in range(best.max(initial=-1) + 1)]
    return tuple(tuple(map(int, columns)) for columns in segments if columns.size)


def _in_order(reach: IntArray, limit: int) -> IntArray:
    """Return the segment of each column if a new one begins where the sums need it."""
    segment = np.zeros(reach.shape[1], np.int64)
    sums = np.zeros(reach.shape[0], np.int64)
    for column in range(reach.shape[1]):
        sums = sums + reach[:, column]
        segment[column] = segment[column - 1] if column else 0
        if sums.max() > limit:
            segment[column] += 1
            sums = reach[:, column]
    return segment


def _anneal(reach: IntArray, limit: int, count: int) -> IntArray | None:
    """Return the segment of each column with `count` of them, None where none is found.

    Columns change places at random. Exchanges that add to the excess over the limit are kept
    less and less often.
    """
    # Of all generators this sequence is the one that Python promises to keep.
    draw = random.Random(count).random
    terms = np.ascontiguousarray(reach.T)
    columns = len(terms)
    segment = np.argsort([draw() for _ in range(columns)], kind="stable") % count
    sums = np.stack([terms[segment == s].sum(0) for s in range(count)])
    excess = np.maximum(sums - limit, 0).sum(1)
    tries = _TRIES * columns
    for turn in range(tries):
        if not excess.any():
            return segment
        one, other = int(draw() * columns), int(draw() * columns)
        here, there = segment[one], segment[other]
        moves = draw() < 0.3
        if moves:
            there = int(draw() * count)
        if here == there:
            continue
        step = terms[one] if moves else terms[one] - terms[other]
        left, joined = sums[here] - step, sums[there] + step
        after = np.maximum(left - limit, 0).sum(), np.maximum(joined - limit, 0).sum()
        added = after[0] + after[1] - excess[here] - excess[there]
        warmth = limit * (_WARMTH * (1 - turn / tries) ** 2 + 1e-5)
        if added <= 0 or draw() < math.exp(-added / warmth):
            sums[here], sums[there] = left, joined
            excess[here], excess[there] = after
            segment[one] = there
            if not moves:
                segment[other] = here
    return None
