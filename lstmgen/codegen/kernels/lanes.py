"""What kernels for cores that multiply 32 bits at a time ask of a layer, segments of its columns,
and steps between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...bounds import LayerBounds, hidden_magnitude
from ...qformat import IntArray
from ...quantized_layers import QuantizedLstm
from .segments import ends, ordered

SEGMENT_LIMIT = 32766
"""Largest |sum| of a lane: with 2**15 added it stays within 16 bits."""

CALLS = (0, 1, 3, 2)
"""The gates in the order in which kernels of least flash activate them: that of g comes last."""

_MOST_AT_ONCE = 31
"""The largest distance that an instruction of every core holds."""

Operation = Literal["asr", "lsl"]
OPERATIONS: dict[int, Operation] = {1: "asr", -1: "lsl"}
"""The shifts by what `directions` says of a gate."""


@dataclass(frozen=True)
class Shift:
    """How a gate's sum is shifted by rule N3b or N4: in code, by `distance`, or by one that the
    kernel reads if that is None."""

    name: str
    sum: str
    operation: Operation
    distance: int | None


@dataclass(frozen=True)
class Excess:
    """A word at an offset of the frame: sums of values times powers of two, each (sum, power)."""

    offset: int
    terms: tuple[tuple[str, int], ...]


def varies(distances: IntArray) -> bool:
    """Whether some gate's distances (gates, k) are not the same in all units."""
    return bool((distances != distances[:, :1]).any() or np.abs(distances).max() > _MOST_AT_ONCE)


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


def called_shifts(
    layer: QuantizedLstm, sums: tuple[str, ...]
) -> tuple[tuple[Shift, ...], Operation | None]:
    """Return rule N4's shifts of sums in the order of CALLS, all known or all read, and their
    operation if they are read and have one in common."""
    distances = layer.shift.reshape(4, layer.units)[list(CALLS)]
    # Where no gate shifts to the right, those that do not shift at all may go to the left.
    towards = directions(distances) if (distances > 0).any() else (-1,) * 4
    alike = varies(distances) and len(set(towards)) == 1
    shifts = _shifts(distances, towards, CALLS, sums)
    return shifts, OPERATIONS[towards[0]] if alike else None


def mid_shifts(layer: QuantizedLstm, sums: tuple[str, ...]) -> tuple[Shift, ...]:
    """Return rule N3b's shifts of sums, all known or all read."""
    return _shifts(layer.mid_shift.reshape(4, layer.units), (1,) * 4, range(4), sums)


def _shifts(
    distances: IntArray, towards: Sequence[int], order: Sequence[int], sums: tuple[str, ...]
) -> tuple[Shift, ...]:
    read = varies(distances)
    return tuple(
        Shift("ifgo"[g], sums[g], OPERATIONS[to], None if read else int(abs(row[0])))
        for g, to, row in zip(order, towards, distances, strict=True)
    )


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
