"""The columns of words that Cortex-M0 kernels multiply, and where lanes are taken apart."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ...qformat import IntArray
from ...quantized_layers import QuantizedLstm
from ..layout.lanes import Way
from . import lanes
from .armv7m_unit import WORDS, Word

_LANE_OFFSET = 1 << 15
"""What is added to a segment's sum of lanes, so that its lower lane is not negative."""


@dataclass(frozen=True)
class Column:
    """One column of unrolled code.

    load: how many values are loaded first. value: the register of this one's.
    first, last: whether a segment of lanes begins or ends here, for each of the two words.
    starts: whether the sums begin with it, or with its segment, rather than being added to.
    shift: of all sums behind it.
    """

    load: int
    value: str
    first: tuple[bool, bool] = (False, False)
    last: tuple[bool, bool] = (False, False)
    starts: tuple[bool, bool] = (False, False)
    shift: int = 0


@dataclass(frozen=True)
class Span:
    """Columns that are multiplied in one way: `turns` times `turn`, then `rest`.

    words: those of a column; none for lanes.
    """

    kind: ClassVar[str] = "columns"
    words: tuple[Word, ...]
    turns: int
    turn: tuple[Column, ...]
    rest: tuple[Column, ...]

    @property
    def loop_bytes(self) -> int:
        """The bytes of the frame that the loop reads."""
        return 4 * self.turns * len(self.turn)


def columns_of(count: int) -> tuple[Column, ...]:
    """Return columns whose values are loaded two at a time."""
    return tuple(
        Column(0 if at % 2 else min(2, count - at), "r3" if at % 2 else "r2") for at in range(count)
    )


def span_of(words: tuple[Word, ...], count: int, per_turn: int, starts: bool = False) -> Span:
    """Return columns in a loop of at least two turns, or unrolled where `per_turn` is 0.

    starts: whether sums begin with the first column, if that is unrolled.
    """
    turns = count // per_turn if per_turn else 0
    turns = turns if turns > 1 else 0
    rest = columns_of(count - turns * per_turn)
    if starts and not turns:
        rest = (replace(rest[0], starts=(True, True)), *rest[1:])
    return Span(words, turns, columns_of(per_turn if turns else 0), rest)


def way_span(way: Way, count: int, per_turn: int, starts: bool = False) -> Span:
    """Return such columns of a unit's weights."""
    return span_of(WORDS[way], count, per_turn, starts)


def lane_order(layer: QuantizedLstm) -> tuple[int, ...] | None:
    """Return an order of columns for lanes: those of x first if they are shifted, none of x
    where there are mid shifts (rule N3b). None where some column is too much for a lane."""
    k, reach = layer.units, lanes.reach_of(layer)
    if layer.mid_shift.any():
        return lanes.packed(reach[:, :, :k])
    if not layer.x_shift:
        return lanes.packed(reach)
    h, x = lanes.packed(reach[:, :, :k]), lanes.packed(reach[:, :, k:])
    return None if h is None or x is None else (*(k + column for column in x), *h)


def lane_span(layer: QuantizedLstm, order: tuple[int, ...]) -> Span:
    """Return the columns of lanes in an order, each word's sums taken apart where they must be."""
    reach = lanes.reach_of(layer)[:, :, list(order)]
    split = layer.inputs if layer.x_shift else 0
    x_ends = lanes.word_ends(reach[:, :, :split]) if split else ((), ())
    h_ends = lanes.word_ends(reach[:, :, split:])
    ends = [{*x, *(split + end for end in h)} for x, h in zip(x_ends, h_ends, strict=True)]

    def at_ends(column: int) -> tuple[bool, bool]:
        return column in ends[0], column in ends[1]

    columns = tuple(
        replace(
            column,
            first=(True, True) if at == 0 else at_ends(at - 1),
            last=at_ends(at),
            starts=(at <= min(ends[0]), at <= min(ends[1])),
            shift=layer.x_shift if at == split - 1 else 0,
        )
        for at, column in enumerate(columns_of(len(order)))
    )
    return Span((), 0, (), columns)


def lane_offsets(columns: tuple[Column, ...]) -> IntArray:
    """Return (4,) what the segments of both words add to their sums, upper and lower."""
    totals = [0, 0]
    for column in columns:
        for word in (0, 1):
            totals[word] += _LANE_OFFSET if column.last[word] else 0
            totals[word] <<= column.shift
    return np.array([0, totals[0], 0, totals[1]])
