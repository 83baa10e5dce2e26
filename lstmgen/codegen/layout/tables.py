"""Activation tables in another form: lines that all start at one point.

Rule N5 has a segment's value at its even edge, and how far V is from that edge. With the value
that the segment's line would have at the table's first V instead, modulo 2**16, that distance
is V's own: of y = (value * 2**16 + slope2 * (V - first + 1)) >> 16 only 32 bits are needed, so
it does not matter that line and product wrap.
"""

import numpy as np

from ...qformat import IntArray
from .words import int16


def lines(table: IntArray) -> IntArray:
    """Return rows {slope2, value at the table's first V} for rows {slope2, value at the edge}."""
    slope2, base = table.T
    # Edges lie between segments 2**15 wide: left of even ones, right of odd ones.
    edge = (np.arange(len(table)) + 1) // 2
    return np.stack([slope2, int16(base - slope2 * edge)], 1)
