"""In which order Cortex-M0 kernels take the columns, and where lanes are taken apart."""

from dataclasses import dataclass, replace

import numpy as np

from ...bounds import hidden_magnitude
from ...qformat import IntArray
from ...quantized import QuantizedLstm
from ..layout.lanes import Way
from . import lanes

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
    """Columns that are multiplied in one way: `turns` times `turn`, then `rest`."""

    way: Way
    turns: int
    turn: tuple[Column, ...]
    rest: tuple[Column, ...]

    @property
    def columns(self) -> int:
        """The number of columns."""
        return self.turns * len(self.turn) + len(self.rest)

    @property
    def loop_bytes(self) -> int:
        """The bytes of the frame that the loop reads."""
        return 4 * self.turns * len(self.turn)


def _reach(layer: QuantizedLstm) -> IntArray:
    """Return (4, k, k + n) the largest |product| of each weight of h and x, x not shifted."""
    h = np.abs(layer.wh) * hidden_magnitude(layer)
    x = np.abs(layer.wx) * -layer.x.lo
    return np.concatenate([h, x], 1).reshape(4, layer.units, -1)


def lane_order(layer: QuantizedLstm) -> tuple[int, ...] | None:
    """Return the order of h's and x's columns for lanes, those of x first if they are shifted."""
    k = layer.units
    reach = _reach(layer)
    if not layer.x_shift:
        return lanes.packed(reach)
    h, x = lanes.packed(reach[:, :, :k]), lanes.packed(reach[:, :, k:])
    return None if h is None or x is None else (*(k + column for column in x), *h)


def columns_of(count: int) -> tuple[Column, ...]:
    """Return columns whose values are loaded two at a time."""
    return tuple(
        Column(0 if at % 2 else min(2, count - at), "r3" if at % 2 else "r2") for at in range(count)
    )


def lane_span(layer: QuantizedLstm, order: tuple[int, ...]) -> Span:
    """Return the columns of lanes in an order, each word's sums taken apart where they must be."""
    reach = _reach(layer)[:, :, list(order)]
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
    return Span("lanes", 0, (), columns)


def lane_offsets(columns: tuple[Column, ...], word: int) -> int:
    """Return what the segments of a word add to the lower sum."""
    total = 0
    for column in columns:
        if column.last[word]:
            total += _LANE_OFFSET
        total <<= column.shift
    return total
