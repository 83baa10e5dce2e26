"""How a Helium kernel goes over columns: which are blocks, which scalars, and their registers.

A block of columns lies in a vector register, or is read again in each turn where there are more
blocks than registers, and meets a block of each row's weights in one VMLADAVA. It has 16 columns
where values and weights are int8, and 8 where either is int16; int8 weights are widened as they
are read. The last block of x takes the first columns of h in where it has room for them. Up to
three columns of an LSTM layer that would begin another block are scalars instead, multiplied with
the weights of four units when these are updated.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ...qformat import IntArray, QFormat
from ...quantized_layers import QuantizedDense, QuantizedLstm
from .mve_parts import Block, Loop, Part, Scalar

_VECTORS = 7
"""Vector registers, beside the one that weights go through."""

_SCALARS = ("r2", "r11", "r12")
"""Registers for the values of scalar columns."""

_SCALAR_REACH = 4095
"""Largest offset of LDRSH and LDRSB."""

_EARLY = 4
"""Most blocks of x that are shifted in their registers."""

_BLOCK_CODE, _SHORT_BLOCK_CODE, _LOOP_CODE = 12, 22, 30
"""Bytes of code for a row's block in a register, for a short one, and for a loop over blocks."""


@dataclass(frozen=True)
class _Plan:
    """Columns of an array, from `first` on, sorted into blocks and, behind them, scalars."""

    array: str
    value_bytes: int
    weight_bytes: int
    lanes: int
    first: int
    columns: int
    scalars: int
    shift: int
    borrowed: int = 0

    @property
    def blocks(self) -> int:
        return -(-(self.columns + self.borrowed) // self.lanes)

    @property
    def early(self) -> bool:
        """Whether values are shifted once, in their registers: |x'| <= 2**11 there."""
        return self.shift > 0 and self.lanes == 8 and self.blocks <= _EARLY

    @property
    def late(self) -> bool:
        return self.shift > 0 and self.blocks > 0 and not self.early

    @property
    def hold(self) -> int:
        """How many of the blocks, counted from the last, have to stay in registers."""
        return self.blocks if self.early else int(self.columns % self.lanes > 0)

    @property
    def cost(self) -> int:
        """Instructions for each unit."""
        return 8 * self.blocks + 2 * self.scalars + 5 * self.late


def lstm_parts(layer: QuantizedLstm, unrolled: int) -> tuple[Part, Part]:
    """Return the parts of x and of h; loops where there are more blocks than `unrolled`."""
    x, h = min(_pairs(layer), key=lambda pair: pair[0].cost + pair[1].cost)
    total = x.blocks + h.blocks
    if total <= _VECTORS:
        x_held, h_held = x.blocks, h.blocks
    else:
        # One register goes for the streamed blocks.
        x_held = min(x.blocks, _VECTORS - 1 - h.hold)
        h_held = min(h.blocks, _VECTORS - 1 - x_held)
    looped = total > unrolled
    return (
        _part(x, "r7", range(x_held), looped, _SCALARS),
        _part(h, "r1", range(x_held, x_held + h_held), looped, _SCALARS[x.scalars :]),
    )


def dense_part(layer: QuantizedDense, pointer: str, unrolled: int) -> Part:
    """Return the part of a dense layer, below q4 if it can be."""
    plan = min(_plans("w", layer.w, layer.x, 0, 0, 0), key=lambda plan: plan.cost)
    held = plan.blocks if plan.blocks <= _VECTORS else _VECTORS - 1
    part = _part(plan, pointer, range(held), plan.blocks > unrolled)
    return replace(part, weights="q3") if held <= 3 else part


def compact_parts(layer: QuantizedLstm) -> tuple[Part, Part]:
    """Return the parts of x and of h in the least code, for sums of one row at a time."""
    parts, register = [], 0
    for array, weights, values, shift, pointer in (
        ("wx", layer.wx, layer.x, layer.x_shift, "r0"),
        ("wh", layer.wh, layer.h, 0, "r1"),
    ):
        plan = next(_plans(array, weights, values, shift, 0, 0))
        full, short = divmod(plan.columns, plan.lanes)
        in_blocks = _BLOCK_CODE * full + _SHORT_BLOCK_CODE * (short > 0) <= _LOOP_CODE
        held = range(register, register + plan.blocks) if in_blocks else range(0)
        part = replace(_part(plan, pointer, held, False), align=1, late=shift > 0)
        if not in_blocks:
            back = (plan.blocks * plan.lanes - plan.columns) * plan.weight_bytes
            part = replace(part, streamed=(), loop=Loop(plan.columns, back))
        register += len(held)
        parts.append(part)
    x, h = parts
    return x, h


def _pairs(layer: QuantizedLstm) -> list[tuple[_Plan, _Plan]]:
    """Return the ways over x and h, the best ones of equal cost first."""
    mid = bool(layer.mid_shift.any())
    lends = layer.x.storage_bits == layer.h.storage_bits and not mid
    apart, mixed = [], []
    for x in _plans("wx", layer.wx, layer.x, layer.x_shift, 0, len(_SCALARS)):
        # A scalar of h would be added behind the mid shift.
        free = 0 if mid else len(_SCALARS) - x.scalars
        apart += [(x, h) for h in _plans("wh", layer.wh, layer.h, 0, 0, free)]
        room = -x.columns % x.lanes
        if lends and 0 < room <= layer.units and _bytes_of(layer.wh) <= x.weight_bytes:
            full = replace(x, borrowed=room)
            mixed += [(full, h) for h in _plans("wh", layer.wh, layer.h, 0, room, free)]
    return apart + [(x, h) for x, h in mixed if not x.late]


def _plans(
    array: str, weights: IntArray, values: QFormat, shift: int, first: int, scalars: int
) -> Iterator[_Plan]:
    """Yield the ways over the columns from `first` on, with up to so many scalars."""
    value_bytes, weight_bytes = values.storage_bits // 8, _bytes_of(weights)
    columns = int(weights.shape[1])
    if (columns - 1) * value_bytes > _SCALAR_REACH:
        scalars = 0
    for lanes in (16, 8) if value_bytes == weight_bytes == 1 else (8,):
        rest = (columns - first) % lanes
        for taken in (0, rest) if 0 < rest <= scalars else (0,):
            own = columns - first - taken
            yield _Plan(array, value_bytes, weight_bytes, lanes, first, own, taken, shift)


def _bytes_of(weights: IntArray) -> int:
    return 1 if np.abs(weights).max() <= 127 else 2


def _part(
    plan: _Plan, pointer: str, held: range, looped: bool, scalars: tuple[str, ...] = ()
) -> Part:
    """Return the part with its last blocks held in the given vector registers."""
    streamed = plan.blocks - len(held)
    end = plan.first + plan.columns
    blocks = []
    for number, register in enumerate([*[_VECTORS - 1] * streamed, *held]):
        column = plan.first + number * plan.lanes
        offset = column * plan.value_bytes
        blocks.append(
            Block(
                register=f"q{register}",
                offset=offset,
                near=offset <= 127 * plan.value_bytes,
                columns=min(plan.lanes, end - column),
                borrowed=plan.borrowed if number == plan.blocks - 1 else 0,
            )
        )
    return Part(
        array=plan.array,
        pointer=pointer,
        stream="r3",
        value_bytes=plan.value_bytes,
        weight_bytes=plan.weight_bytes,
        lanes=plan.lanes,
        first=plan.first,
        streamed=tuple(blocks[:streamed]),
        held=tuple(blocks[streamed:]),
        looped=looped and streamed > 1,
        scalars=tuple(
            Scalar(register, (end + number) * plan.value_bytes)
            for number, register in enumerate(scalars[: plan.scalars])
        ),
        weights="q7",
        shift=plan.shift,
        late=plan.late,
        align=4,
    )
