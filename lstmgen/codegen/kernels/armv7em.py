"""Kernels for Arm cores with the DSP extension: Cortex-M4, M7, M33.

A unit's four gates are summed in one pass over a frame on the stack that holds h and x as
int16, then activated and updated without leaving registers. Ways to multiply, as
layout/pairs.py has them:

- single: int16 weights, one SMLAD a column pair and gate.
- row pair: two int8 weights in a halfword H = 256*a + b. SMLAD with H sums 256*A + B, and with
  SXTB16(H) it sums B: three instructions for four products. Needs |A| < 2**23.
- long pair: the same with 256*A + B in 64 bits (SMLALD), for any A that int32 holds: int8
  weights with int16 values.

The rows of a dense layer go through the first of them, four at a time. The template
templates/isa/armv7em.S.j2 prints the kernels.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedDense, QuantizedLstm
from ..layout import pairs
from ..layout.pairs import GROUP, Part, Way, even
from ..layout.words import round_up
from .kernel import Choice, Effort, Kernel

TEMPLATE = "armv7em.S.j2"

_CONSTANT_BYTES = 16
"""The frame's head: C relative to h, the middles of both tables, the rounding of N7."""

_REACH = 1020
"""Largest offset of LDRD."""

_LAST, _MORE = 1 << 8, -(1 << 31)
"""Marks in a unit's shift word of gate o, of which ASR and LSL read the low byte only. Compared
with _LAST both set the carry, and only the other one is less."""

_UNIT_BYTES = 3200
"""Code that `speed` spends on units per turn, and on the columns of one unit."""

_DENSE_HEAD = 8
"""The frame's head of a dense layer: where its sums end."""

_DENSE_COLUMNS: dict[Effort, int] = {"speed": 40, "balanced": 16}
"""Columns up to which those of a dense layer are unrolled."""

_BALANCED_COLUMNS = 72
"""Columns up to which `balanced` unrolls a unit."""

# Instructions of two column pairs and of one, all four gates.
_COST: dict[Way, tuple[int, int]] = {
    "single": (11, 6), "carried": (11, 6), "row_pair": (14, 8), "long_pair": (14, 8)
}
_EPILOGUE = 40


@dataclass(frozen=True)
class Step:
    """One or two column pairs at a byte offset of the frame."""

    offset: int
    pairs: int


@dataclass(frozen=True)
class Span:
    """Columns that are multiplied in one way.

    turns: of a loop that takes `per_turn` steps of two pairs each from `offset` on, 0 for no
        loop; rest: the steps behind it, unrolled.
    pointer, counter: registers of the loop.
    """

    way: Way
    offset: int
    turns: int
    per_turn: int
    rest: tuple[Step, ...]
    pointer: str
    counter: str


@dataclass(frozen=True)
class GateShift:
    """The instruction that takes a gate's accumulator to V, its shift in a register."""

    name: str
    accumulator: str
    operation: Literal["asr", "lsl"]
    table: str
    register: str


@dataclass(frozen=True, eq=False)
class DspKernel(Kernel):
    """What the template prints; registers are chosen here so that none is short.

    start: registers that a unit's first words are loaded to. constants: those that the
    frame's head is loaded to: C, sigmoid, tanh, rounding. middle: behind which span the sums
    over h go through the mid shift, None for none. h_by_words: whether the state's h lies at
    a multiple of 4.
    """

    copies_output: ClassVar[bool] = True
    way: Way
    spans: tuple[Span, ...]
    middle: int | None
    units_per_turn: int
    frame: int
    x_offset: int
    x_shift: int
    start: str
    constants: tuple[str, ...]
    gates: tuple[GateShift, ...]
    table_bits: int
    product_shift: int
    hidden_bits: int
    h_by_words: bool


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, h_aligned: bool
) -> Choice:
    """Return the fastest kernel that the weights allow."""
    k = layer.units
    if bounds.clamped.any():
        return Choice(None, "a pre-activation has to be clamped")
    shifts = layer.shift.reshape(4, k)
    if any(gate.min() < 0 < gate.max() for gate in shifts):
        return Choice(None, "one gate shifts to both sides")
    way, reason = _way(layer, bounds)
    mid = bool(layer.mid_shift.any())
    parts = pairs.lstm_parts(layer, way, apart=mid)
    if effort != "size":
        parts = (*parts[:-1], *pairs.split_last(parts[-1]))
    spans, units_per_turn = _unroll(layer, parts, effort)
    frame = _CONSTANT_BYTES + 2 * (even(k) + even(layer.inputs))
    long = way == "long_pair"
    accumulators = ("r8", "r1", "r10", "r12") if long else ("r8", "r9", "r10", "r11")
    constants = ("r6", "r7", "r9", "r11") if long else ("r1", "r6", "r7", "r12")
    carried = np.array([8, 0, 8, 0] if way == "row_pair" else [0] * 4)[:, None]
    # What the sums carry is taken off by the mid shift where there is one.
    mid_shift = layer.mid_shift.reshape(4, k) + carried
    shifts = shifts if mid else shifts + carried
    directions = [1 if gate.min() >= 0 else -1 for gate in shifts]
    kernel = DspKernel(
        name={"single": "SMLAD", "row_pair": "row pair", "long_pair": "long row pair"}[way],
        template=TEMPLATE,
        stream=np.concatenate(
            [
                pairs.start_words(layer.bias.reshape(4, k), way),
                pairs.weight_words(parts[0]),
                *([mid_shift.T] if mid else []),
                *(pairs.weight_words(part) for part in parts[1:]),
                _shift_words(shifts, directions),
            ],
            1,
        ),
        way=way,
        spans=spans,
        middle=0 if mid else None,
        units_per_turn=units_per_turn,
        # Nine registers are pushed: with 4 more bytes the stack stays 8-aligned.
        frame=frame + (4 - frame) % 8,
        x_offset=_CONSTANT_BYTES + 2 * even(k),
        x_shift=layer.x_shift,
        start="{r1, r8-r12}" if long else "{r8-r11}",
        constants=constants,
        gates=tuple(
            GateShift(
                name,
                accumulators[g],
                "asr" if directions[g] > 0 else "lsl",
                constants[2] if name == "g" else constants[1],
                f"r{2 + g}",
            )
            for g, name in enumerate("ifgo")
        ),
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
        h_by_words=h_aligned,
    )
    return Choice(kernel, reason)


def _way(layer: QuantizedLstm, bounds: LayerBounds) -> tuple[Way, str]:
    k = layer.units
    if np.abs(layer.wh).max() > 127:
        return "single", "16-bit recurrent weights"
    mid = layer.mid_shift.any()
    sums = np.where(layer.mid_shift > 0, bounds.partial, bounds.bound)
    lane_a = sums.reshape(4, k)[[0, 2]].max()
    shift_a = layer.shift.reshape(4, k)[[0, 2]]
    small = mid or (np.abs(layer.wx).max() <= 127 and shift_a.min() >= -8)
    if small and lane_a < 1 << 23:
        return "row_pair", f"8-bit weights, |acc| of gates i and g at most {lane_a} < 2^23"
    return "long_pair", "8-bit recurrent weights"


def _unroll(
    layer: QuantizedLstm, parts: tuple[Part, ...], effort: Effort
) -> tuple[tuple[Span, ...], int]:
    columns = 2 * sum(part.pairs for part in parts)
    cost = sum(_cost(part) for part in parts) + _EPILOGUE
    reachable = _CONSTANT_BYTES + 2 * columns <= _REACH
    fits = {
        "speed": 4 * cost <= _UNIT_BYTES,
        "balanced": columns <= _BALANCED_COLUMNS,
        "size": False,
    }[effort]
    per_turn = 0 if reachable and fits else 1 if effort == "size" else 4
    offset, spans = _CONSTANT_BYTES, []
    for part in parts:
        spans.append(_span(part.way, part.pairs, offset, per_turn, parts[0].way == "long_pair"))
        offset += 4 * part.pairs
    if effort != "speed" or per_turn:
        return tuple(spans), 1
    affordable = max(1, _UNIT_BYTES // (4 * cost))
    divisors = [d for d in range(1, layer.units + 1) if layer.units % d == 0 and d <= affordable]
    return tuple(spans), divisors[-1]


def _cost(part: Part) -> int:
    two, one = _COST[part.way]
    return two * (part.pairs // 2) + one * (part.pairs % 2)


def _span(way: Way, pairs: int, offset: int, per_turn: int, long: bool = False) -> Span:
    turns = pairs // (2 * per_turn) if per_turn else 0
    turns = turns if turns > 1 else 0
    done = turns * 2 * per_turn
    rest = tuple(Step(offset + 4 * at, min(2, pairs - at)) for at in range(done, pairs, 2))
    pointer, counter = ("r1", "r12")
    if long:
        # r1 and r12 are sums; weights go through two registers then, or C's are free.
        pointer, counter = ("r6", "r7") if way == "long_pair" else ("r9", "r11")
    return Span(way, offset, turns, per_turn, rest, pointer, counter)


def _shift_words(shifts: IntArray, directions: list[int]) -> IntArray:
    """Return (k, 4) shifts of the gates, marked in that of o whether another unit follows."""
    words = np.asarray((shifts * np.array(directions)[:, None]).T, np.int64)
    words[:-1, 3] |= _MORE
    words[-1, 3] |= _LAST
    return words


def unpack(kernel: DspKernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Return the weights (4k, n), (4k, k) that the kernel's stream holds."""
    at, parts = 6 if kernel.way == "long_pair" else 4, []
    for number, span in enumerate(kernel.spans):
        count = span.turns * 2 * span.per_turn + sum(step.pairs for step in span.rest)
        parts.append((at, span.way, count))
        at += count * (4 if span.way in ("single", "carried") else 2)
        at += 4 * (number == kernel.middle)
    return pairs.unpack_lstm(kernel.stream, parts, layer)


@dataclass(frozen=True, eq=False)
class DspDense(Kernel):
    """What the template prints for a dense layer: sums of its rows, four at a time.

    span: the columns; groups: of four rows, in a loop; rest: the rows behind them.
    """

    span: Span
    groups: int
    rest: int
    frame: int
    x_offset: ClassVar[int] = _DENSE_HEAD
    x_shift: ClassVar[int] = 0


def choose_dense(layer: QuantizedDense, bounds: LayerBounds, effort: Effort) -> Choice:
    """Return the kernel of a dense layer, whose sums are proved to fit int32."""
    del bounds  # modulo 2**32 any sum is exact
    if effort == "size":
        return Choice(None, "the least flash was asked for")
    columns = even(layer.inputs)
    reachable = _DENSE_HEAD + 2 * columns <= _REACH
    per_turn = 0 if reachable and columns <= _DENSE_COLUMNS[effort] else 2
    frame = _DENSE_HEAD + 2 * columns
    kernel = DspDense(
        name="SMLAD",
        template=TEMPLATE,
        stream=pairs.dense_words(layer),
        span=_span("single", columns // 2, _DENSE_HEAD, per_turn),
        groups=layer.rows // GROUP,
        rest=layer.rows % GROUP,
        # Nine registers are pushed: with 4 more bytes the stack stays 8-aligned.
        frame=round_up(frame + 4, 8) - 4,
    )
    return Choice(kernel, "four rows at a time")


def unpack_dense(kernel: DspDense, layer: QuantizedDense) -> tuple[IntArray, IntArray]:
    """Return the weights (m, n) and biases (m,) that the kernel's stream holds."""
    return pairs.unpack_dense(kernel.stream, layer)
