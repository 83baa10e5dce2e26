"""One weight a product, for RV32IMC: a load, MUL and ADD for each.

Weights and values of any width. Two units share a pass over h and x.
"""

from dataclasses import dataclass
from typing import ClassVar

from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..layout import passes
from ..layout.passes import Block, Units
from .kernel import Effort
from .rv32_cell import (
    FAR,
    OFFSET,
    TEMPLATE,
    UNIT,
    Cell,
    CellKernel,
    biases,
    copy,
    copy_h,
    frame_of,
    shift_blocks,
    stream_of,
)

_UNROLLED: dict[Effort, int] = {"speed": 40, "balanced": 8, "size": 0}
"""Columns up to which all of a pass is unrolled."""

_PER_TURN: dict[Effort, int] = {"speed": 8, "balanced": 4, "size": 1}

_LOAD = {1: "lb", 2: "lh"}

_SUMS = (("s0", "s6", "s1", "s7"), ("s2", "s8", "s3", "s9"))


@dataclass(frozen=True)
class Span:
    """Columns of x || h whose values lie side by side, at `at` behind a pointer.

    value_bytes, weight_bytes: what a value and a weight take. shift: what aligns x with h
    (rule N2). turns: of a loop over per_turn columns, 0 for none; rest: those behind it.
    """

    columns: tuple[int, ...]
    pointer: str
    at: int
    value_bytes: int
    weight_bytes: int
    shift: int
    turns: int
    per_turn: int

    @property
    def rest(self) -> int:
        """How many columns are not in the loop."""
        return len(self.columns) - self.turns * self.per_turn

    @property
    def loop_bytes(self) -> int:
        """Bytes of the values that the loop takes."""
        return self.turns * self.per_turn * self.value_bytes

    @property
    def load(self) -> str:
        """The instruction that loads a value."""
        return _LOAD[self.value_bytes]

    @property
    def weight(self) -> str:
        """The instruction that loads a weight."""
        return _LOAD[self.weight_bytes]

    @property
    def block(self) -> Block:
        """How the stream has the weights."""
        return Block("bytes" if self.weight_bytes == 1 else "halfwords", self.columns)


@dataclass(frozen=True)
class SinglePass:
    """`count` passes over `group` units.

    middle: whether the stream has mid shifts. shifts: where it has the units' shifts when the
    sums are done; tail: what its pointer then moves on by.
    far: whether it is too long for a conditional branch.
    """

    group: int
    count: int
    sums: tuple[tuple[str, ...], ...]
    middle: bool
    shifts: int
    tail: int
    far: bool
    reload: ClassVar[bool] = False

    @property
    def registers(self) -> tuple[str, ...]:
        """Those of all sums."""
        return tuple(register for unit in self.sums for register in unit)


@dataclass(frozen=True, eq=False)
class SingleKernel(CellKernel):
    """What the template prints: passes over spans. middle: behind which span rule N3b acts."""

    way: ClassVar[str] = "single"
    passes: tuple[SinglePass, ...]
    spans: tuple[Span, ...]
    middle: int | None


def single(
    layer: QuantizedLstm, tables: Tables, cell: Cell, effort: Effort, h_aligned: bool
) -> SingleKernel:
    """Return the kernel of a layer."""
    n, k = layer.inputs, layer.units
    group = 1 if effort == "size" else min(2, k)
    units = passes.split(k, group)
    per_turn = 0 if n + k <= _UNROLLED[effort] else _PER_TURN[effort]
    pointers = ("s4", "s5") if per_turn else ()
    saved = ("ra", *(register for unit in _SUMS[:group] for register in unit), *pointers)

    x_bytes, h_bytes = layer.x.storage_bits // 8, layer.h.storage_bits // 8
    wx_bytes, wh_bytes = (1 if abs(w).max() <= 127 else 2 for w in (layer.wx, layer.wh))
    apart = bool(layer.mid_shift.any() or layer.x_shift)
    alike = (x_bytes, wx_bytes) == (h_bytes, wh_bytes)
    # One loop over h and x, copied behind it, where they can share one.
    shared = bool(per_turn) and alike and not apart
    _, values, frame = frame_of(saved, False, k * h_bytes + n * x_bytes * shared)
    x, h = tuple(range(n)), tuple(range(n, n + k))
    copies = [copy_h(layer, values, h_aligned, effort)]
    if shared:
        copies.append(copy("a0", values + k * h_bytes, n, x_bytes, effort))
        spans: tuple[Span, ...] = (_span((*h, *x), "sp", values, h_bytes, wh_bytes, 0, per_turn),)
    else:
        spans = (
            _span(h, "sp", values, h_bytes, wh_bytes, 0, per_turn),
            _span(x, "a0", 0, x_bytes, wx_bytes, layer.x_shift, per_turn),
        )
    middle, shifts = shift_blocks(cell.gates)
    blocks = (
        Block("starts"),
        spans[0].block,
        *middle,
        *(span.block for span in spans[1:]),
        *shifts,
    )
    starts = biases(layer, tables, cell.gates).T
    return SingleKernel(
        name="one weight a product",
        template=TEMPLATE,
        stream=stream_of(units, [blocks] * len(units), layer, [starts] * len(units)),
        units=units,
        blocks=(blocks,) * len(units),
        cell=cell,
        saved=saved,
        kept=None,
        frame=frame,
        copies=tuple(copies),
        passes=tuple(_pass(part, spans, bool(middle), bool(shifts)) for part in units),
        spans=spans,
        middle=0 if layer.mid_shift.any() else None,
    )


def _span(
    columns: tuple[int, ...],
    pointer: str,
    at: int,
    value_bytes: int,
    weight_bytes: int,
    shift: int,
    per_turn: int,
) -> Span:
    turns = len(columns) // per_turn if per_turn else 0
    # What is unrolled has to be within the reach of offsets.
    far = at + len(columns) * value_bytes > OFFSET
    turns = turns if turns > 1 or far else 0
    return Span(columns, pointer, at, value_bytes, weight_bytes, shift, turns, per_turn)


def _pass(units: Units, spans: tuple[Span, ...], middle: bool, shifts: bool) -> SinglePass:
    columns = sum(span.rest + span.per_turn * (span.turns > 0) for span in spans)
    instructions = columns * (2 + 12 * units.group) + (UNIT + 12) * units.group + 40
    return SinglePass(
        units.group,
        units.count,
        _SUMS[: units.group],
        middle,
        shifts=0,
        tail=4 * units.group * shifts,
        far=instructions > FAR,
    )
