"""What the integers alone tell: errors of tables, bounds of sums, costs of layers."""

from dataclasses import dataclass

import numpy as np

from .bounds import LayerBounds, bound_table
from .codegen import footprint
from .emulator import ops
from .qformat import FloatArray, IntArray
from .quantized import QuantizedNetwork
from .quantized_layers import (
    QuantizedDense,
    QuantizedGru,
    QuantizedLstm,
    QuantizedPart,
    QuantizedRecurrent,
    kind_of,
)
from .reference import FUNCTIONS

_ARGUMENTS = 1 << 21
"""Evenly spaced arguments at which a table's error is taken; then no more than 0.1 LSB of the
largest is missed, as the table's values climb by less between two of them."""

_POINTS = 128
"""Most points of a table's error for a plot."""

WORST_ROWS = 5
"""How many rows of a layer are listed."""


@dataclass(frozen=True)
class TableError:
    """The error of an activation table over its range, in LSB of its output.

    lsb: the real value of one LSB. arguments: the real left ends of equal parts of the range;
    errors: the largest |error| within each of them.
    """

    function: str
    segments: int
    reach: tuple[float, float]
    lsb: float
    max_lsb: float
    rms_lsb: float
    arguments: tuple[float, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True)
class RowMargin:
    """A row's free bits below 2^31, and the rule whose sum comes closest; gate: a letter or ""."""

    row: int
    gate: str
    bits: float
    rule: str


@dataclass(frozen=True)
class Margins:
    """The free bits of one layer's rows; worst: those with the fewest, fewest first.

    tight: rows with less than one bit, to which the accumulator leaves no finer weights.
    """

    name: str
    rows: int
    least_bits: float
    median_bits: float
    tight: int
    worst: tuple[RowMargin, ...]


@dataclass(frozen=True)
class Cost:
    """What a layer takes a step and in memory, in portable C.

    weights_bits: of the integers that hold its weights, by array: w, or wx and wh.
    """

    name: str
    kind: str
    macs: int
    weights_bytes: int
    state_bytes: int
    weights_bits: dict[str, int]


def table_errors(q: QuantizedNetwork) -> tuple[TableError, ...]:
    """Return the errors of the tables that the network looks values up in."""
    used = set(q.hard_functions)
    for part in q.parts:
        if isinstance(part, QuantizedRecurrent):
            used |= {part.gate, part.cell}
        if isinstance(part, QuantizedLstm):
            used.add(part.output)
        if isinstance(part, QuantizedDense):
            used.add(part.activation)
    found = []
    for name in ("sigmoid", "tanh", *q.hard_functions):
        if name in used:
            table = q.tables.of(name)
            frac = q.tables.tanh_frac if name == "tanh" else q.tables.sigmoid_frac
            half = len(table) // 2
            v = _arguments(-half, half)
            # V + 1/2: the middle of the reals that are floored to V (rule N4).
            z = np.asarray((v + 0.5) * 2.0**-frac, np.float64)
            exact = FUNCTIONS[name](z) * 32768.0
            span = (-half * 2.0 ** (15 - frac), half * 2.0 ** (15 - frac))
            found.append(_table_error(name, ops.activate(table, v), exact, span, 2.0**-15))
    if "softmax" in used:
        table = q.tables.exp2
        v = _arguments(0, len(table))
        got = ops.interpolate(table[v >> 15], v)
        exact = np.asarray(np.exp2((v + 0.5) / (32768.0 * len(table))) * 16384.0, np.float64)
        found.append(_table_error("exp2", got, exact, (0.0, 1.0), 2.0**-14))
    return tuple(found)


def _arguments(first: int, end: int) -> IntArray:
    """Return (segments, positions) values of V in the segments first .. end - 1, ends included."""
    positions = min(_ARGUMENTS // (end - first), 1 << 15)
    position = np.round(np.linspace(0, 32767, positions)).astype(np.int64)
    return np.arange(first, end)[:, None] * 32768 + position


def _table_error(
    name: str, got: IntArray, exact: FloatArray, reach: tuple[float, float], lsb: float
) -> TableError:
    error = got - exact
    parts = np.abs(error).max(1)
    points = min(_POINTS, len(parts))
    parts = parts.reshape(points, -1).max(1)
    arguments = np.linspace(*reach, points, endpoint=False)
    return TableError(
        name,
        len(got),
        reach,
        lsb,
        float(parts.max()),
        float(np.sqrt(np.mean(error**2))),
        tuple(arguments.tolist()),
        tuple(parts.tolist()),
    )


def margins(q: QuantizedNetwork) -> tuple[Margins, ...]:
    """Return the margins of every layer that has sums, the least first."""
    found = [
        _margins(part, bounds)
        for part, bounds in zip(q.parts, bound_table(q), strict=True)
        if len(bounds.bound)
    ]
    return tuple(sorted(found, key=lambda one: one.least_bits))


def _margins(part: QuantizedPart, bounds: LayerBounds) -> Margins:
    bits = bounds.row_margins
    worst = np.argsort(bits, kind="stable")[:WORST_ROWS]
    return Margins(
        part.name,
        len(bits),
        float(bits.min()),
        float(np.median(bits)),
        int(np.count_nonzero(bits < 1)),
        tuple(
            RowMargin(
                int(row),
                _gate(part, int(row)),
                float(bits[row]),
                bounds.rule(int(row), part),
            )
            for row in worst
        ),
    )


def _gate(part: QuantizedPart, row: int) -> str:
    if not isinstance(part, QuantizedRecurrent):
        return ""
    return ("rzn" if isinstance(part, QuantizedGru) else "ifgo")[row // part.units]


def costs(q: QuantizedNetwork) -> tuple[Cost, ...]:
    """Return what each layer costs, the most multiply-accumulates first."""
    sizes = footprint(q, name="model").layers
    found = []
    for part in q.parts:
        macs = part.macs
        if isinstance(part, QuantizedLstm) and part.projection is not None:
            macs -= part.projection.macs  # a line of its own
        size = sizes[part.name]
        found.append(Cost(part.name, kind_of(part), macs, size.weights, size.state, size.bits))
    return tuple(sorted(found, key=lambda one: -one.macs))
