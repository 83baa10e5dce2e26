"""Kernels of LSTM layers for AVR with hardware multiplier.

A unit's four gates are summed in one pass over x and h, then activated and updated without
leaving registers. Their ways to multiply, by the bits of weight and value:

- 8x8, with 24-bit sums where |acc| < 2**23, else 32-bit sums.
- 8x16, 16x8, 16x16: 32-bit sums.

How sums become gates: avr_gates.py. The template templates/isa/avr.S.j2 prints all this.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..layout import offsets
from ..layout.offsets import Part, Reader, Way
from .avr_blocks import (
    MOST,
    MOST_COLUMNS,
    TEMPLATE,
    AvrKernel,
    Block,
    Sum,
    mid_shift,
    narrow_sums,
    source,
    spans,
    wide_sums,
)
from .avr_gates import GateSteps, Shift, argument_limit, plan, reach_of
from .kernel import Choice, Effort

_ROOM: dict[Effort, int] = {"speed": 2048, "balanced": 440, "size": 0}
"""Bytes of code that unrolled columns may take."""

_X, _H = "r2", "r14"
"""Where the addresses of x and h are when the values are copied."""


@dataclass(frozen=True, eq=False)
class AvrLstm(AvrKernel):
    """What the template prints; a pass is a unit.

    cleared: whether sums begin with 0. shared_shift: that of a function for all gates.
    inlined: whether the interpolation is printed where it is used rather than called.
    quarter_table: a fourth of a table's segments.
    """

    hidden_bytes: int
    cleared: bool
    gates: tuple[GateSteps, ...]
    shared_shift: Shift | None
    inlined: bool
    table_bits: int
    quarter_table: int
    product_shift: int


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, _h_aligned: bool
) -> Choice:
    """Return the kernel that the weights allow."""
    n, k = layer.inputs, layer.units
    if bounds.clamped.any():
        return Choice(None, "a pre-activation has to be clamped")
    if k > MOST:
        return Choice(None, f"{k} units, more than {MOST}")
    if n > MOST_COLUMNS:
        return Choice(None, f"{n} inputs, more than {MOST_COLUMNS}")
    value = layer.h.bits // 8
    if layer.x.storage_bits != layer.h.bits or (layer.x_shift and value > 1):
        return Choice(None, "inputs of another width than the hidden state")
    widest = int(max(bounds.bound.max(), bounds.partial.max()))
    bytewise = value == 1 and _bytes(layer.wx) and _bytes(layer.wh)
    sums = narrow_sums() if bytewise and widest < 1 << 23 else wide_sums(4)
    quarter = 1 << (tables.bits - 2)
    if reach_of(layer, bounds).max() >= argument_limit(quarter):
        return Choice(None, "a pre-activation comes too close to 2^31")
    gates = plan(layer, bounds, sums, quarter, effort != "speed")
    pieces = _blocks(layer, sums, _ROOM[effort])
    blocks = tuple(block for block, _ in pieces)
    stream = _stream(layer, pieces, gates.numbers, len(sums[0].bytes))
    kernel = AvrLstm(
        name=f"MUL, {8 * len(sums[0].bytes)}-bit sums",
        template=TEMPLATE,
        stream=stream,
        blocks=blocks,
        sums=sums,
        saved=tuple(f"r{register}" for register in range(2, 18)),
        frame=value * (n + k) + len(sums[0].bytes) * sum(block.corrected for block in blocks),
        passes=k,
        pass_halfwords=stream.size // k,
        hidden_bytes=value,
        cleared=layer.x_shift > 0,
        gates=gates.steps,
        shared_shift=gates.shared,
        inlined=effort == "speed",
        table_bits=tables.bits,
        quarter_table=quarter,
        product_shift=tables.product_shift,
    )
    what = "8-bit" if _bytes(layer.wh) else "16-bit"
    return Choice(kernel, f"{what} recurrent weights, |acc| at most {widest}")


def _bytes(weights: IntArray) -> bool:
    return bool(np.abs(weights).max() <= 127)


def _blocks(layer: QuantizedLstm, sums: tuple[Sum, ...], room: int) -> list[tuple[Block, Part]]:
    """Return the columns in the order in which they are summed.

    x and h side by side if they can be; h first where its sums are shifted (rule N3b).
    """
    n, k = layer.inputs, layer.units
    wx, wh = layer.wx.reshape(4, k, n), layer.wh.reshape(4, k, k)
    x, h = source(_X, n), source(_H, k)
    h_way = Way(1 if _bytes(wh) else 2, layer.h.bits // 8)
    x_way = h_way if _bytes(wx) else Way(2, h_way.value)
    mid = bool(layer.mid_shift.any())
    if x_way == h_way and not layer.x_shift and not mid:
        (columns,) = spans([(h_way, n + k)], sums, room)
        part = Part(np.concatenate([wx, wh], 2), h_way)
        return [(Block((x, h), columns, weighed=h_way.weight == 2), part)]
    x_part, h_part = Part(wx, x_way, layer.x_shift), Part(wh, h_way)
    x_spans, h_spans = spans([(x_way, n), (h_way, k)], sums, room)
    if mid:
        least = layer.mid_shift.reshape(4, k).min(1)
        shifts = tuple(mid_shift(sum_, int(d)) for sum_, d in zip(sums, least, strict=True))
        first = Block((h,), h_spans, weighed=h_way.weight == 2, mid=shifts, starts=True)
        return [(first, h_part), (Block((x,), x_spans, weighed=x_way.weight == 2), x_part)]
    first = Block(
        (x,),
        x_spans,
        doublings=layer.x_shift,
        weighed=x_way.weight > h_way.weight,
        corrected=False,
        starts=layer.x_shift > 0,
    )
    return [(first, x_part), (Block((h,), h_spans, weighed=h_way.weight == 2), h_part)]


def _stream(
    layer: QuantizedLstm, pieces: list[tuple[Block, Part]], numbers: IntArray, sum_bytes: int
) -> IntArray:
    """Return what all units read: start values, weights, shifts, as halfwords."""
    bias, parts = layer.bias.reshape(4, -1), [part for _, part in pieces]
    mid = layer.mid_shift.reshape(4, -1)
    groups = [parts[:1], parts[1:]] if mid.any() else [parts]
    biases = (bias, np.zeros_like(bias))
    starts = map(offsets.start_bytes, biases, groups, repeat(sum_bytes))

    def in_order() -> Iterator[IntArray]:
        if not layer.x_shift:
            yield next(starts)
        for block, part in pieces:
            yield offsets.weight_bytes(part)
            if block.mid:
                whole = np.array([8 * len(shift.signs) for shift in block.mid])
                yield offsets.number_bytes(mid - whole[:, None], 1)
            if block.starts:
                yield next(starts)
        yield offsets.number_bytes(numbers, 1)

    return offsets.halfwords(in_order())


def unpack(kernel: AvrLstm, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Return the weights (4k, n), (4k, k) that the kernel's stream holds."""
    reader, found = Reader(kernel.stream, kernel.passes), []
    if not kernel.cleared:
        reader.numbers(4, kernel.sum_bytes)
    for block in kernel.blocks:
        columns = sum(span.columns for span in block.spans)
        found.append(reader.weights(block.spans[0].way, 4, columns))
        reader.numbers(len(block.mid), 1)
        reader.numbers(4 * block.starts, kernel.sum_bytes)
    joined = np.concatenate(found, 2).reshape(4 * layer.units, -1)
    if kernel.blocks[0].mid:
        return joined[:, layer.units :], joined[:, : layer.units]
    return joined[:, : layer.inputs], joined[:, layer.inputs :]
