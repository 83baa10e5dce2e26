"""From the sums of a unit to its gates on AVR: rules N4 and N5.

A shift is a multiplication by a power of two, whose bytes do not overlap:
V = sum * 2**e >> T with e by row, from the stream, and T by gate. Where code is worth more than
calls, one function does it for all gates, with one T. Where a gate's shifts differ by more than
7, it is shifted bit by bit. templates/isa/avr_cell.j2 prints this.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...bounds import LayerBounds
from ...layers import GATES
from ...qformat import IntArray
from ...quantized_layers import QuantizedLstm
from .avr_blocks import Sum

_TABLES = {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}

_RESULTS = {"i": "r2", "f": "r6", "g": "r8", "o": "r12"}
"""Where the gates' values go: registers of sums that are no longer needed then."""

_V = ("r18", "r19", "r30", "r31")
"""The bytes of V; the upper two become the index of the table's segment."""

_TOP = "r21"
"""The sum's top byte, where MULSU can read it."""

_TAKEN = {3: ("r18", "r22", _TOP), 4: ("r18", "r22", "r23", _TOP)}
"""Where a function for all gates takes the sum, by its number of bytes."""


@dataclass(frozen=True)
class Product:
    """A byte of the sum times the power of two: where its halves go.

    fresh: whether the lower half is the first to arrive there.
    """

    source: str
    signed: bool
    low: str | None
    high: str | None
    fresh: bool


@dataclass(frozen=True)
class Shift:
    """How a sum becomes V.

    moves: registers to and from, once the row's number is read: 2**e, or without products
    the shift itself. cleared: bytes of V below the sum. top: the last byte of V that is
    reached, whose sign the `extended` ones take. halvings: T mod 8.
    """

    moves: tuple[tuple[str, str], ...]
    products: tuple[Product, ...]
    cleared: tuple[str, ...]
    top: str
    extended: tuple[str, ...]
    halvings: int


@dataclass(frozen=True)
class GateSteps:
    """What becomes of a gate's sum.

    moves: registers to and from for a function that has the shift, which is None then.
    clamped: whether V can lie beyond the table.
    """

    name: str
    moves: tuple[tuple[str, str], ...]
    shift: Shift | None
    table: str
    clamped: bool
    result: str


@dataclass(frozen=True, eq=False)
class Gates:
    """The gates of a layer. shared: the shift of all, if one function does it.

    numbers: (4, k) what the stream has of each row, in a byte.
    """

    steps: tuple[GateSteps, ...]
    shared: Shift | None
    numbers: IntArray


def reach_of(layer: QuantizedLstm, bounds: LayerBounds) -> NDArray[np.float64]:
    """Return (4, k) the largest |V| of each row."""
    return np.asarray(bounds.bound.reshape(4, -1) * 2.0 ** -layer.shift.reshape(4, -1) + 1)


def argument_limit(quarter: int) -> int:
    """Return what |V| has to stay below: a quarter of the segments is added to its upper half."""
    return (1 << 31) - ((quarter + 1) << 16)


def plan(
    layer: QuantizedLstm, bounds: LayerBounds, sums: tuple[Sum, ...], quarter: int, called: bool
) -> Gates:
    """Return how sums become gates.

    quarter: a fourth of a table's segments, which are as many as V's upper half can be below 0.
    called: whether functions are called for what all gates have in common.
    """
    shift = layer.shift.reshape(4, -1)
    reach = reach_of(layer, bounds)
    size = len(sums[0].bytes)
    if called:
        total = _total(shift, reach, quarter, size)
        taken = _TAKEN[size]
        shared = _counted(taken) if total is None else _multiplied(taken, total, True)
        moves = [tuple(zip(taken, own.bytes, strict=True)) for own in sums]
        steps = [_steps(name, by, None, True) for name, by in zip(GATES, moves, strict=True)]
        return Gates(tuple(steps), shared, _numbers(shift, total))
    steps, numbers = [], []
    for name, own, by, reaches in zip(GATES, sums, shift, reach, strict=True):
        clamped = bool(reaches.max() >= quarter << 16)
        total = _total(by, reaches, quarter, size)
        if total is None:
            step = _counted(own.bytes)
        else:
            step = _multiplied((*own.bytes[:-1], _TOP), total, clamped or quarter > 128)
            step = replace(step, moves=((_TOP, own.bytes[-1]),))
        steps.append(_steps(name, (), step, clamped))
        numbers.append(_numbers(by, total))
    return Gates(tuple(steps), None, np.stack(numbers))


def _steps(
    name: str, moves: tuple[tuple[str, str], ...], shift: Shift | None, clamped: bool
) -> GateSteps:
    return GateSteps(name, moves, shift, _TABLES[name], clamped, _RESULTS[name])


def _numbers(shift: IntArray, total: int | None) -> IntArray:
    return shift if total is None else 1 << (total - shift)


def _total(shift: IntArray, reach: NDArray[np.float64], quarter: int, size: int) -> int | None:
    """Return T so that every row's V is sum * 2**(T - s) >> T with 0 <= T - s <= 7.

    reach: the largest |V| of each row; size: bytes of a sum. A multiple of 8 costs nothing,
    each bit more a shift of V. What is still shifted has to stay below the argument's limit.
    """
    low, high = max(int(shift.max()), -8), min(int(shift.min()) + 7, 8 * size + 7)
    limit = argument_limit(quarter)
    for total in sorted(range(low, high + 1), key=lambda t: (t % 8, t)):
        if reach.max() * 2.0 ** (total % 8) < limit:
            return total
    return None


def _multiplied(sum_: tuple[str, ...], total: int, whole: bool) -> Shift:
    """Return the shift of a sum in given registers; whole: whether V's top byte is read."""
    dropped, count = total // 8, len(sum_)
    products = []
    for m in range(max(dropped - 1, 0), count):
        low, high = m - dropped, m - dropped + 1
        products.append(
            Product(
                source=sum_[m],
                signed=m == count - 1,
                low=_V[low] if 0 <= low < 4 else None,
                high=_V[high] if 0 <= high < 4 else None,
                fresh=m == 0,
            )
        )
    top = min(3, count - dropped)
    extended = _V[top + 1 :]
    if not whole and not total % 8 and len(extended) < 2:
        extended = ()
    return Shift((), tuple(products), _V[: max(0, -dropped)], _V[top], extended, total % 8)


def _counted(sum_: tuple[str, ...]) -> Shift:
    """Return the shift of a sum bit by bit."""
    moves = tuple((to, byte) for to, byte in zip(_V, sum_, strict=False) if to != byte)
    return Shift(moves, (), (), _V[len(sum_) - 1], _V[len(sum_) :], 0)
