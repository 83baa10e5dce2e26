"""Columns in segments whose sums fit a lane, as few segments as a search finds in a moment.

A sum does not care about the order of its terms, so any columns may share a segment: a column
that is heavy in some row goes well with columns that are light there. Straight code ends the
segments of each word of weights where that word needs it (`ordered`, `ends`); in a loop all
words share segments of fixed sizes (`dealt`). All integers: equal arguments, equal results.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...qformat import IntArray

_KEPT = 16
"""Orders that are pursued at a time, fewer of very many columns and rows."""

_WORK = 1 << 26
"""Sums to look at: orders times columns squared times rows. They take a quarter of a second."""

_EXCHANGES = 40
"""Exchanges without gain after which sizes count as too large."""

_CANDIDATES = 200
"""Exchanges that are looked at in full, the best for the fullest segment."""

_RESTING = 15
"""Exchanges for which a pair of columns that changed places stays where it is."""


def ends(reach: IntArray, order: tuple[int, ...], limit: int) -> tuple[tuple[int, ...], ...]:
    """Return for each word the places in `order` at which a segment ends, the last included.

    reach: (words, rows, columns) the largest |term| that a column adds to a row of the word.
    In every row the terms of a segment add up to at most `limit`.
    """
    assert reach.max(initial=0) <= limit
    found: list[tuple[int, ...]] = []
    for word in reach:
        places = []
        total = np.zeros(len(word), np.int64)
        for place, column in enumerate(order):
            total = total + word[:, column]
            if total.max() > limit:
                places.append(place - 1)
                total = word[:, column]
        found.append((*places, len(order) - 1))
    return tuple(found)


def ordered(reach: IntArray, limit: int) -> tuple[int, ...]:
    """Return an order of the columns that makes for few ends of segments, all words together."""
    values = np.ascontiguousarray(reach, np.int64)
    return _ordered(values.tobytes(), values.shape, limit)


@lru_cache(maxsize=64)
def _ordered(values: bytes, shape: tuple[int, int, int], limit: int) -> tuple[int, ...]:
    """Search with a few orders at a time, a column longer with each round.

    What an order promises: the segments that have ended, and for each word how many of `limit`
    its fullest row still needs, counted from the open segment on.
    """
    terms = np.frombuffer(values, np.int64).reshape(shape).transpose(2, 0, 1)
    columns = len(terms)
    sums = np.zeros((1, *terms.shape[1:]), np.int64)
    left = terms.sum(0)[None]
    ended = np.zeros(1, np.int64)
    used = np.zeros((1, columns), np.bool_)
    orders = np.zeros((1, 0), np.int64)
    kept = min(max(_WORK // max(columns * terms.size, 1), 1), _KEPT)
    for _ in range(columns):
        longer = sums[:, None] + terms
        full = longer.max(3) > limit
        longer = np.where(full[..., None], terms, longer)
        remaining = left[:, None] - terms
        closed = ended[:, None] + full.sum(2)
        promise = closed * limit + (longer + remaining).max(3).sum(2)
        states, added = _best(np.where(used, np.iinfo(np.int64).max, promise), used, kept)
        sums, left = longer[states, added], remaining[states, added]
        ended = closed[states, added]
        used = used[states]
        used[np.arange(len(states)), added] = True
        orders = np.concatenate([orders[states], added[:, None]], 1)
    return tuple(map(int, orders[ended.argmin()]))


def _best(promise: IntArray, used: NDArray[np.bool_], kept: int) -> tuple[IntArray, IntArray]:
    """Return the states, and the columns to add, of the least promises: no set of columns twice."""
    states, added, seen = [], [], set()
    for place in np.argsort(promise, axis=None, kind="stable"):
        state, column = divmod(int(place), promise.shape[1])
        if used[state, column]:
            break
        columns = used[state].copy()
        columns[column] = True
        key = columns.tobytes()
        if key not in seen:
            seen.add(key)
            states.append(state)
            added.append(column)
        if len(states) == kept:
            break
    return np.array(states), np.array(added)


def dealt(reach: IntArray, sizes: tuple[int, ...], limit: int) -> tuple[int, ...] | None:
    """Return the columns, segment by segment, of segments of given sizes; None if none is found.

    reach: (rows, columns). In every row the terms of a segment add up to at most `limit`.
    """
    values = np.ascontiguousarray(reach, np.int64)
    return _dealt(values.tobytes(), values.shape, sizes, limit)


@lru_cache(maxsize=64)
def _dealt(
    values: bytes, shape: tuple[int, int], sizes: tuple[int, ...], limit: int
) -> tuple[int, ...] | None:
    terms = np.ascontiguousarray(np.frombuffer(values, np.int64).reshape(shape).T)
    if terms.sum(0).max(initial=0) > limit * len(sizes):
        return None
    segment, sums = _shared_out(terms, sizes, limit)
    excess = np.maximum(sums - limit, 0).sum(1)
    resting: dict[tuple[int, int], int] = {}
    least, turn, until = int(excess.sum()), 0, _EXCHANGES
    while turn < until:
        if int(excess.sum()) < least:
            least, until = int(excess.sum()), turn + _EXCHANGES
        if least == 0:
            return tuple(map(int, np.argsort(segment, kind="stable")))
        here = int(excess.argmax())
        ours, others = np.flatnonzero(segment == here), np.flatnonzero(segment != here)
        if not others.size:
            return None
        step = terms[others] - terms[ours][:, None]
        after = np.maximum(sums[here] + step - limit, 0).sum(2)
        best = np.argsort(after, axis=None, kind="stable")[:_CANDIDATES]
        one, other = ours[best // len(others)], others[best % len(others)]
        there = segment[other]
        back = np.maximum(sums[there] - terms[other] + terms[one] - limit, 0).sum(1)
        added = after.ravel()[best] + back - excess[there]
        free = [resting.get((a, b), -1) < turn for a, b in zip(one, other, strict=True)]
        chosen = int(np.where(free, added, np.iinfo(np.int64).max).argmin())
        a, b, target = int(one[chosen]), int(other[chosen]), int(there[chosen])
        sums[here] += terms[b] - terms[a]
        sums[target] += terms[a] - terms[b]
        segment[a], segment[b] = target, here
        excess[here], excess[target] = after.ravel()[best[chosen]], back[chosen]
        resting[a, b] = resting[b, a] = turn + _RESTING
        turn += 1
    return None


def _shared_out(terms: IntArray, sizes: tuple[int, ...], limit: int) -> tuple[IntArray, IntArray]:
    """Return the segment of each column and their sums, each column where it is least in the way.

    The heaviest columns go first. A sum is in the way with the sixth power of its part of limit.
    """
    sums = np.zeros((len(sizes), terms.shape[1]), np.int64)
    left = np.array(sizes)
    segment = np.zeros(len(terms), np.int64)
    before = np.zeros(len(sizes), np.int64)
    for column in np.argsort(-(terms**2).sum(1), kind="stable"):
        cost = ((sums + terms[column]) * 64 // limit) ** 6
        cost = cost.sum(1)
        chosen = int(np.where(left > 0, cost - before, np.iinfo(np.int64).max).argmin())
        sums[chosen] += terms[column]
        before[chosen] = cost[chosen]
        left[chosen] -= 1
        segment[column] = chosen
    return segment, sums
