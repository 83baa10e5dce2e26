"""Kernels for RISC-V cores with 32-bit registers and a multiplier: RV32IMC.

Two or three units share a pass over x and h, so that each value is loaded once for all their
products; the sums stay in registers until the units' new state is stored. Two ways to multiply:

- lanes: two int8 weights of a column in a word W = 2**16 * a + b, so that one MUL gives two
  products. The sum P over W is 2**16 * A + B. It is taken apart after each segment of a few
  columns, where |A| and |B| are below 2**15: S += A and T += P.
- single: a load, MUL and ADD for each weight.

The template templates/isa/rv32imc.S.j2 prints them. Units that fill no pass get one of their
own in `lanes`; in `single` an odd last one is paired with weights of zero.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...bounds import INT32_MAX, LayerBounds
from ...qformat import IntArray
from ...quantized import QuantizedLstm, Tables
from ..layout.lanes import eight_bits
from ..layout.words import int32
from .kernel import Choice, Effort, Kernel
from .lanes import refusal
from .segments import balanced_segments

Way = Literal["lanes", "single"]

TEMPLATE = "rv32imc.S.j2"

LANE_LIMIT = 32767
"""Largest |sum| of a lane: with 2**15 added it stays within 0..65535."""

_SAVED_BYTES = 64
"""The frame's head: registers, and what three units need to be put aside."""

_HALF = 1 << 15
"""What a lane's sum starts from, so that a right shift by 16 gives the other lane's."""

_BYTE_REACH = 128
"""Largest |value| of x and h in 8 bits."""

_OFFSET = 2047
"""Largest offset of a load, and of ADDI."""

_BRANCH = 3000
"""Estimated bytes over which a conditional branch is used; it reaches 4094."""

_COLUMN_BYTES = {"lanes": 56, "single": 84}
"""Code of a column of two units, the ends of segments included."""

_UNROLLED: dict[Effort, int] = {"speed": 40, "balanced": 20, "size": 0}
"""Columns up to which `single` unrolls all of a pass."""

_PER_TURN: dict[Effort, int] = {"speed": 8, "balanced": 4, "size": 1}

_LANES: dict[Effort, int] = {"speed": _OFFSET, "balanced": 72, "size": 0}
"""Columns up to which there are lanes: all are unrolled, and weights take two bytes each."""


@dataclass(frozen=True)
class Column:
    """A value to load and the offset of its words, the stream's pointer moved on before."""

    pointer: str
    value: int
    words: int
    advance: int


@dataclass(frozen=True)
class Segment:
    """Columns of `lanes` that are summed until the lanes are taken apart.

    opening: whether S and T begin with it. start: where the start values are added before it,
    with x's sums aligned with h (rule N2).
    """

    columns: tuple[Column, ...]
    opening: bool = False
    start: int | None = None


@dataclass(frozen=True)
class Pass:
    """The passes that sum `group` units each.

    segments of `lanes`. shifts: their offset behind the weights; tail: what the stream's
    pointer then moves on by. far: whether a pass is too long for a conditional branch.
    """

    group: int
    count: int
    segments: tuple[Segment, ...]
    shifts: int
    tail: int
    far: bool


@dataclass(frozen=True)
class Span:
    """The columns of one vector in `single`.

    load, weight: instructions that load a value and a weight, and their bytes.
    shift: what aligns x with h (rule N2).
    turns: of a loop over per_turn columns, 0 for none; rest: columns behind it, unrolled.
    """

    pointer: str
    load: str
    value_bytes: int
    shift: int
    weight: str
    weight_bytes: int
    turns: int
    per_turn: int
    rest: int


@dataclass(frozen=True)
class GateStep:
    """How a sum becomes V + 2**(m + 14), which inside of the table is not negative.

    shift: the instruction; amount: by how much where all units agree, else None.
    late: whether 2**(m + 14) is added behind the shift, not by the start value.
    check: whether V may lie outside of the table.
    """

    name: str
    shift: Literal["sll", "sra", "srl"]
    amount: int | None
    late: bool
    check: bool


@dataclass(frozen=True, eq=False)
class Rv32Kernel(Kernel):
    """What the template prints.

    passes: those of most units, then those of the rest. spans of `single`; order: which
    column of x || h each column of `lanes` is. odd: whether the last pass has a unit less.
    copied: bytes of h, of which the frame holds a copy, made copy_bytes at a time.
    """

    way: Way
    passes: tuple[Pass, ...]
    spans: tuple[Span, ...]
    order: tuple[int, ...]
    gates: tuple[GateStep, ...]
    x_shift: int
    table_bits: int
    product_shift: int
    hidden_bits: int
    odd: bool
    copied: int
    copy_bytes: int

    @property
    def frame(self) -> int:
        """Bytes of stack: the saved registers, then h(t - 1)."""
        return _SAVED_BYTES + self.copied + -self.copied % 16


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, h_aligned: bool
) -> Choice:
    """Return the fastest kernel that the weights allow."""
    reason = refusal(layer, bounds)
    if reason:
        return Choice(None, reason)
    steps = _gate_steps(layer, bounds, tables)
    if steps is None:
        return Choice(None, "a pre-activation comes too close to 2^31")
    eight = eight_bits(layer.wx) and eight_bits(layer.wh)
    if (
        eight
        and layer.x.storage_bits == layer.h.storage_bits == 8
        and layer.inputs + layer.units <= _LANES[effort]
    ):
        return Choice(_lanes(layer, tables, steps, effort, h_aligned), "8-bit weights and values")
    reason = "weights of more than 8 bits"
    if eight:
        reason = "values of more than 8 bits" if layer.h.bits > 8 else f"least flash: {effort}"
    return Choice(_single(layer, tables, steps, effort, h_aligned), reason)


def _gate_steps(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables
) -> tuple[GateStep, ...] | None:
    """Return a step for each gate, None where V + 2**(m + 14) may leave int32."""
    middle = 1 << (tables.bits + 14)
    steps = []
    rows = zip("ifgo", layer.shift.reshape(4, -1), bounds.bound.reshape(4, -1), strict=True)
    for name, shift, bound in rows:
        amount = abs(int(shift[0])) if (shift == shift[0]).all() else None
        left = np.maximum(-shift, 0)
        # |V| is at most this: a right shift rounds towards minus infinity.
        reach = (bound << left >> np.maximum(shift, 0)) + 1
        if reach.max() + middle > INT32_MAX:
            return None
        check = bool(reach.max() > middle)
        if left.any():
            late = bool(left.max() > tables.bits + 14)
            steps.append(GateStep(name, "sll", amount, late, check))
            continue
        # Unsigned, twice this is at most 2**32; signed, the sum has to fit int32.
        added = middle << shift
        late = bool((bound + added > INT32_MAX).any() if check else (added > 1 << 31).any())
        steps.append(GateStep(name, "sra" if check or late else "srl", amount, late, check))
    return tuple(steps)


def _starts(layer: QuantizedLstm, tables: Tables, steps: tuple[GateStep, ...]) -> IntArray:
    """Return (4, k) biases, with 2**(m + 14) as the accumulator has it where that is not late."""
    shift = layer.shift.reshape(4, -1)
    middle = 1 << (tables.bits + 14)
    added = np.where(shift < 0, middle >> np.maximum(-shift, 0), middle << np.maximum(shift, 0))
    folded = np.array([[not step.late] for step in steps])
    return np.asarray(layer.bias.reshape(4, -1) + added * folded, np.int64)


def _copy(layer: QuantizedLstm, h_aligned: bool) -> tuple[int, int]:
    """Return the bytes of h, and how many of them to copy at a time."""
    each = layer.h.storage_bits // 8
    copied = each * layer.units
    return copied, 4 if h_aligned and copied % 4 == 0 else each


def _lanes(
    layer: QuantizedLstm,
    tables: Tables,
    steps: tuple[GateStep, ...],
    effort: Effort,
    h_aligned: bool,
) -> Rv32Kernel:
    n, k = layer.inputs, layer.units
    joined = np.concatenate([layer.wx, layer.wh], 1)
    # x that has to be aligned is summed apart, and aligned once for the whole sum.
    parts = [range(n), range(n, n + k)] if layer.x_shift else [range(n + k)]
    dealt = [_segments(joined, part) for part in parts]
    order = tuple(column for part in dealt for segment in part for column in segment)
    halves = _HALF * (len(dealt[-1]) + (len(dealt[0]) << layer.x_shift if layer.x_shift else 0))

    i, f, g, o = joined[:, order].reshape(4, k, -1)
    weights = np.stack([(i << 16) + f, (g << 16) + o], 1).transpose(0, 2, 1)
    i, f, g, o = _starts(layer, tables, steps)
    starts = np.stack([i, f + (i << 16) - halves, g, o + (g << 16) - halves], 1)
    shifts = _shift_words(layer, steps)

    # A third unit, and the passes of what it leaves, should add at most a quarter of the weights.
    full = 3 if effort == "speed" and 2 * _COLUMN_BYTES["lanes"] * (1 + k % 3) <= 8 * k else 2
    whole = k - k % full
    passes, stream = [], []
    for group, units in ((full, range(whole)), (k % full, range(whole, k))):
        if not units:
            continue
        made = _lane_pass(group, len(units) // group, dealt, n, shifts.shape[1])
        passes.append(made)
        chosen = slice(units.start, units.stop)
        words = weights[chosen].reshape(made.count, group, -1, 2).transpose(0, 2, 1, 3)
        first = sum(len(segment) for part in dealt[:-1] for segment in part)
        blocks = (words[:, :first], starts[chosen], words[:, first:], shifts[chosen])
        flat = [block.reshape(made.count, -1) for block in blocks]
        stream.append(np.concatenate(flat, 1).ravel())
    return Rv32Kernel(
        name="two lanes a word",
        template=TEMPLATE,
        stream=int32(np.concatenate(stream))[None, :],
        way="lanes",
        passes=tuple(passes),
        spans=(),
        order=order,
        gates=steps,
        x_shift=layer.x_shift,
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
        odd=False,
        copied=_copy(layer, h_aligned)[0],
        copy_bytes=_copy(layer, h_aligned)[1],
    )


def _lane_pass(
    group: int, count: int, dealt: list[tuple[tuple[int, ...], ...]], inputs: int, shifts: int
) -> Pass:
    """Return where a pass finds its values and words, in the stream's order."""
    segments: list[Segment] = []
    at = base = columns = 0
    for part in dealt:
        for place, segment in enumerate(part):
            starts = part is dealt[-1] and place == 0
            start = at - base if starts else None
            at += 16 * group * starts
            found = []
            for column in segment:
                # The start values or the shifts may follow, without a move.
                advance = at - base if at - base > _OFFSET - 100 else 0
                base += advance
                vector, value = ("a1", column) if column < inputs else ("a2", column - inputs)
                found.append(Column(vector, value, at - base, advance))
                at += 8 * group
            columns += len(segment)
            segments.append(Segment(tuple(found), len(dealt) > 1 and not segments, start))
    tail = at - base + 4 * group * shifts
    far = columns * group * _COLUMN_BYTES["lanes"] // 2 > _BRANCH
    return Pass(group, count, tuple(segments), at - base, tail, far)


def _segments(weights: IntArray, part: range) -> tuple[tuple[int, ...], ...]:
    reach = np.abs(weights[:, part.start : part.stop]) * _BYTE_REACH
    found = balanced_segments(reach, LANE_LIMIT)
    assert found is not None, "127 * 128 is within the limit"
    return tuple(tuple(part.start + column for column in segment) for segment in found)


def _single(
    layer: QuantizedLstm,
    tables: Tables,
    steps: tuple[GateStep, ...],
    effort: Effort,
    h_aligned: bool,
) -> Rv32Kernel:
    group = 1 if effort == "size" else 2
    vectors = (
        ("a1", layer.x.storage_bits // 8, layer.wx, layer.x_shift),
        ("a2", layer.h.storage_bits // 8, layer.wh, 0),
    )
    unrolled = layer.inputs + layer.units <= _UNROLLED[effort]
    starts = _passes(_starts(layer, tables, steps), group)
    count = starts.shape[1]
    shifts = _shift_words(layer, steps)
    shifts = np.pad(shifts, ((0, -layer.units % group), (0, 0))).reshape(count, -1)
    words = [starts.transpose(1, 2, 0).reshape(count, -1)]
    spans = []
    for pointer, value_bytes, matrix, shift in vectors:
        columns = matrix.shape[1]
        size = 1 if matrix.min() >= -128 and matrix.max() <= 127 else 2
        turns = 0 if unrolled else columns // _PER_TURN[effort]
        turns = turns if turns > 1 else 0
        rest = columns - turns * _PER_TURN[effort]
        load, weight = ({1: "lb", 2: "lh"}[b] for b in (value_bytes, size))
        spans.append(
            Span(pointer, load, value_bytes, shift, weight, size, turns, _PER_TURN[effort], rest)
        )
        gates = _passes(matrix.reshape(4, layer.units, -1), group)
        rows = gates.transpose(1, 3, 2, 0).reshape(count, -1)
        words.append(np.ascontiguousarray(rows.astype(f"<i{size}")).view("<i4").astype(np.int64))
    printed = sum(span.rest + span.per_turn * (span.turns > 0) for span in spans)
    far = printed * _COLUMN_BYTES["single"] * group // 2 > _BRANCH
    return Rv32Kernel(
        name="one weight a product",
        template=TEMPLATE,
        stream=int32(np.concatenate([*words, shifts], 1)),
        way="single",
        passes=(Pass(group, count, (), 0, 4 * shifts.shape[1], far),),
        spans=tuple(spans),
        order=(),
        gates=steps,
        x_shift=layer.x_shift,
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
        odd=layer.units % group == 1,
        copied=_copy(layer, h_aligned)[0],
        copy_bytes=_copy(layer, h_aligned)[1],
    )


def _passes(gates: IntArray, group: int) -> IntArray:
    """Return (4, k, ...) as (4, passes, group, ...), the last pass filled with zeros."""
    k = gates.shape[1]
    filled = np.pad(gates, [(0, 0), (0, -k % group), *[(0, 0)] * (gates.ndim - 2)])
    return filled.reshape(4, -1, group, *gates.shape[2:])


def _shift_words(layer: QuantizedLstm, steps: tuple[GateStep, ...]) -> IntArray:
    """Return (k, 1) words with a byte for each gate, (k, 0) if no gate needs it."""
    if all(step.amount is not None for step in steps):
        return np.zeros((layer.units, 0), np.int64)
    i, f, g, o = np.abs(layer.shift).reshape(4, -1)
    return np.asarray(i | f << 8 | g << 16 | o << 24, np.int64)[:, None]


def unpack(kernel: Rv32Kernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Invert the packing: return the weights (4k, n), (4k, k) that the stream holds."""
    if kernel.way == "lanes":
        return _unpack_lanes(kernel, layer)
    group, passes = kernel.passes[0].group, kernel.passes[0].count
    at, found = 4 * group, []
    for span in kernel.spans:
        columns = span.turns * span.per_turn + span.rest
        taken = columns * group * span.weight_bytes
        part = np.ascontiguousarray(kernel.stream[:, at : at + taken].astype("<i4"))
        gates = part.view(f"<i{span.weight_bytes}").reshape(passes, columns, group, 4)
        found.append(_rows(gates.astype(np.int64), layer.units))
        at += taken
    return found[0], found[1]


def _unpack_lanes(kernel: Rv32Kernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    n, columns = layer.inputs, layer.inputs + layer.units
    found, stream = [], kernel.stream[0]
    for taken in kernel.passes:
        words = 2 * taken.group * columns + 4 * taken.group + (taken.tail - taken.shifts) // 4
        block = stream[: words * taken.count].reshape(taken.count, words)
        stream = stream[words * taken.count :]
        # Columns before the start values are x's, where those are summed apart.
        before = 2 * taken.group * (n if layer.x_shift else 0)
        block = np.delete(block, range(before, before + 4 * taken.group), 1)
        lanes = block[:, : 2 * taken.group * columns].reshape(-1, columns, taken.group, 2)
        low = ((lanes & 0xFFFF) ^ 0x8000) - 0x8000
        gates = np.stack([(lanes - low) >> 16, low], 4).reshape(*lanes.shape[:3], 4)
        found.append(gates.transpose(3, 0, 2, 1).reshape(4, -1, columns))
    joined = np.empty((4 * layer.units, columns), np.int64)
    joined[:, np.array(kernel.order)] = np.concatenate(found, 1).reshape(-1, columns)
    return joined[:, :n], joined[:, n:]


def _rows(gates: IntArray, units: int) -> IntArray:
    """Return (passes, columns, group, 4) as (4k, columns), without the units that fill up."""
    rows = gates.transpose(3, 0, 2, 1).reshape(4, -1, gates.shape[1])[:, :units]
    return np.asarray(rows.reshape(4 * units, -1), np.int64)
