"""Kernels for Arm cores with Thumb-1 only: Cortex-M0.

A unit's four gates are summed in one pass over a frame on the stack that holds h and x as
words, then activated and updated without leaving registers. How words hold several weights
is in layout/lanes.py; of its ways these cores use

- lanes, two 8-bit weights: 11 instructions for 8 products and 6 for each segment,
- halves, two 16-bit weights: 23 instructions for 8 products,
- bytes, four 8-bit weights: 24 for 8 products and half of the flash.

The template templates/isa/armv6m.S.j2 prints them.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import QuantizedLstm, Tables
from ..layout import lanes
from ..layout.lanes import Part, Way
from ..layout.words import int32
from .columns import Span, columns_of, lane_offsets, lane_order, lane_span
from .kernel import Choice, Effort, Kernel
from .lanes import directions, refusal

TEMPLATE = "armv6m.S.j2"

HEAD_BYTES = 32
"""The frame's head: what the unit's end loads, in the template's order."""

_UNIT_BYTES = 3000
"""Code that `speed` spends on units per turn, and on the columns of one unit."""

_BALANCED_COLUMNS = 72
"""Columns up to which `balanced` unrolls a unit."""

_TURN_COLUMNS = {"speed": 8, "balanced": 8, "size": 2}
"""Columns of a loop's turn: a conditional branch reaches 256 bytes back."""

_COLUMN_BYTES: dict[Way, int] = {"halves": 23, "bytes": 24, "lanes": 14}
_EPILOGUE_BYTES = 230

_MOST_UNITS = 16
"""Units of a turn: the offsets of their states fit the instructions."""

_LANE_COLUMNS: dict[Effort, int] = {"speed": 160, "balanced": 72, "size": 0}
"""Columns that are unrolled as lanes, which needs code of its own for each."""

_IMMEDIATE = 255
"""Largest operand that an addition holds."""


@dataclass(frozen=True)
class GateIndex:
    """How a gate's accumulator becomes V and an index of the table.

    folded: whether the bias already moves V by half of the table, so that indices begin
        with 0. checked: whether V can lie beyond the table.
    """

    operation: Literal["asrs", "lsls"]
    folded: bool
    checked: bool


@dataclass(frozen=True, eq=False)
class ThumbKernel(Kernel):
    """What the template prints.

    h_correction, x_correction: by what power of two the sums of h and of x are taken off
        gates f and o, None for not at all; off g too where g_corrected, that of h.
    half_table: by how much an index is moved; in a register where half_in_register.
    slots: where in the frame, in words, each value of h and then of x goes, or None for
        one after the other.
    """

    spans: tuple[Span, ...]
    units_per_turn: int
    frame: int
    x_shift: int
    h_correction: int | None
    x_correction: int | None
    g_corrected: bool
    gates: dict[str, GateIndex]
    tanh: GateIndex
    table_bits: int
    half_table: int
    half_in_register: bool
    product_shift: int
    hidden_bits: int
    slots: tuple[int, ...] | None


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, h_aligned: bool
) -> Choice:
    """Return the kernel for a layer; these need no alignment of h."""
    refused = refusal(layer, bounds)
    if refused is not None:
        return Choice(None, refused)
    if effort != "size" and _lanes_possible(layer, tables):
        order = lane_order(layer)
        if order is not None and len(order) <= _LANE_COLUMNS[effort]:
            kernel = _kernel(layer, bounds, tables, effort, "lanes", order)
            return Choice(kernel, "8-bit weights, sums of a few columns below 2^15")
    eight = lanes.eight_bits(layer.wh)
    way: Way = "bytes" if eight and effort != "speed" else "halves"
    kernel = _kernel(layer, bounds, tables, effort, way, None)
    return Choice(kernel, f"{8 if eight else 16}-bit recurrent weights")


def _lanes_possible(layer: QuantizedLstm, tables: Tables) -> bool:
    """Whether weights are small and no constant needs the register that lanes use."""
    small = lanes.eight_bits(layer.wh) and lanes.eight_bits(layer.wx)
    return small and 1 << (tables.bits - 1) <= _IMMEDIATE


def _kernel(
    layer: QuantizedLstm,
    bounds: LayerBounds,
    tables: Tables,
    effort: Effort,
    way: Way,
    order: tuple[int, ...] | None,
) -> ThumbKernel:
    parts = lanes.parts_of(layer, way)
    if order is not None:
        parts = (Part(parts[0].weights[:, :, list(order)], "lanes"),)
        spans: tuple[Span, ...] = (lane_span(layer, order),)
    else:
        spans = _spans(parts, effort)
    folded = _folded(layer, bounds, tables)
    checked = _checked(layer, bounds, tables)
    towards = directions(layer.shift.reshape(4, layer.units))
    frame = HEAD_BYTES + 4 * (layer.units + layer.inputs)
    correction = {"halves": lanes.HALF_SHIFT, "bytes": lanes.BYTE_SHIFT}
    half_table = 1 << (tables.bits - 1)
    return ThumbKernel(
        name=lanes.NAMES[tuple(part.way for part in parts)],
        template=TEMPLATE,
        stream=_stream(layer, parts, spans, folded),
        spans=spans,
        units_per_turn=_units_per_turn(layer, parts, spans, effort),
        # Nine registers are pushed: with 4 more bytes the stack stays 8-aligned.
        frame=frame + (4 - frame) % 8,
        x_shift=0 if way == "lanes" else layer.x_shift,
        h_correction=correction.get(parts[0].way),
        x_correction=correction.get(parts[-1].way),
        g_corrected=parts[0].way == "bytes",
        gates={
            name: GateIndex(
                "asrs" if towards[g] > 0 else "lsls",
                bool(folded[g].any()),
                bool(checked[g]),
            )
            for g, name in enumerate("ifgo")
        },
        tanh=GateIndex("asrs", False, True),
        table_bits=tables.bits,
        half_table=half_table,
        half_in_register=half_table > _IMMEDIATE,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
        slots=None if order is None else tuple(np.argsort(order).tolist()),
    )


def _folded(layer: QuantizedLstm, bounds: LayerBounds, tables: Tables) -> IntArray:
    """Return (4, k) additions to the biases that move V by half of the table, or zeros.

    Zeros for a gate of which a row's accumulator would leave int32, or V after a left shift.
    """
    shift = layer.shift.reshape(4, layer.units)
    move = 1 << (tables.bits - 1 + 15)
    added = np.where(shift >= 0, move << np.maximum(shift, 0), move >> np.maximum(-shift, 0))
    exact = (added >> np.maximum(shift, 0)) << np.maximum(-shift, 0) == move
    most = (bounds.bound.reshape(4, layer.units) + added) << np.maximum(-shift, 0)
    usable = (exact & (most < 1 << 31)).all(1)
    return np.asarray(np.where(usable[:, None], added, 0), np.int64)


def _checked(layer: QuantizedLstm, bounds: LayerBounds, tables: Tables) -> IntArray:
    """Return by gate whether the bound lets V leave the table."""
    shift = layer.shift.reshape(4, layer.units)
    bound = bounds.bound.reshape(4, layer.units)
    # A right shift rounds towards minus infinity: one more for the negative side.
    most = ((bound >> np.maximum(shift, 0)) + 1) << np.maximum(-shift, 0)
    return np.asarray((most >= 1 << (tables.bits - 1 + 15)).any(1))


def _spans(parts: tuple[Part, ...], effort: Effort) -> tuple[Span, ...]:
    unrolled = {
        "speed": _size(parts) <= _UNIT_BYTES,
        "balanced": sum(part.columns for part in parts) <= _BALANCED_COLUMNS,
        "size": False,
    }[effort]
    per_turn = 0 if unrolled else _TURN_COLUMNS[effort]
    spans: list[Span] = []
    for part in parts:
        turns = part.columns // per_turn if per_turn else 0
        turns = turns if turns > 1 else 0
        rest = part.columns - turns * per_turn
        columns = columns_of(rest)
        if not turns and not spans:
            columns = (replace(columns[0], starts=(True, True)), *columns[1:])
        spans.append(Span(part.way, turns, columns_of(per_turn if turns else 0), columns))
    return tuple(spans)


def _size(parts: tuple[Part, ...]) -> int:
    return _EPILOGUE_BYTES + sum(_COLUMN_BYTES[part.way] * part.columns for part in parts)


def _units_per_turn(
    layer: QuantizedLstm, parts: tuple[Part, ...], spans: tuple[Span, ...], effort: Effort
) -> int:
    if effort != "speed" or any(span.turns for span in spans):
        return 1
    affordable = min(_MOST_UNITS, max(1, _UNIT_BYTES // _size(parts)))
    divisors = [d for d in range(1, layer.units + 1) if layer.units % d == 0 and d <= affordable]
    return divisors[-1]


def _stream(
    layer: QuantizedLstm, parts: tuple[Part, ...], spans: tuple[Span, ...], folded: IntArray
) -> IntArray:
    """Return the words of all units, (k, words): weights, biases, shifts."""
    bias = layer.bias.reshape(4, layer.units) + folded
    way = parts[-1].way
    start = lanes.start_words(bias, "halves" if way == "lanes" else way)
    if way == "lanes":
        offsets = [lane_offsets(spans[0].rest, word) for word in (0, 1)]
        start = int32(start - np.array([0, offsets[0], 0, offsets[1]]))
    weights = [lanes.weight_words(part) for part in parts]
    shifts = np.abs(layer.shift.reshape(4, layer.units)).T
    return np.concatenate([*weights, start, shifts], 1)


def unpack(kernel: ThumbKernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Invert the packing: return the weights (4k, n), (4k, k) that the stream holds."""
    parts = tuple((span.way, span.columns) for span in kernel.spans)
    wx, wh = lanes.unpack_stream(kernel.stream, parts, layer, 0)
    if kernel.slots is None:
        return wx, wh
    columns = np.concatenate([wh, wx], 1)[:, list(kernel.slots)]
    return columns[:, layer.units :], columns[:, : layer.units]
