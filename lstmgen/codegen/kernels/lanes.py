"""What Arm cores that multiply 32 bits at a time ask of a layer, and segments of its columns."""

import numpy as np

from ...bounds import LayerBounds, hidden_magnitude
from ...qformat import IntArray
from ...quantized import QuantizedLstm
from .segments import ends, ordered

SEGMENT_LIMIT = 32766
"""Largest |sum| of a lane: with 2**15 added it stays within 16 bits."""


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
    h = np.abs(layer.wh) * hidden_magnitude(layer)
    x = np.abs(layer.wx) * -layer.x.lo
    return np.concatenate([h, x], 1).reshape(4, layer.units, -1)


def packed(reach: IntArray) -> tuple[int, ...] | None:
    """Return an order of columns that makes segments of `lanes` long, None if one is too much.

    reach: (4, k, columns) the largest |product| of each weight.
    """
    if reach.max(initial=0) > SEGMENT_LIMIT:
        return None
    return ordered(_words(reach), SEGMENT_LIMIT)


def word_ends(reach: IntArray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return behind which of the columns, in their order, (i, f) and (g, o) end segments."""
    first, second = ends(_words(reach), tuple(range(reach.shape[2])), SEGMENT_LIMIT)
    return first, second


def _words(reach: IntArray) -> IntArray:
    """Return (2, 2k, columns): the rows that share a word."""
    return reach.reshape(2, -1, reach.shape[2])
