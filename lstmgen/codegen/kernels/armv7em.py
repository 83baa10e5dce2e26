"""Kernels for Arm cores with the DSP extension: Cortex-M4, M7, M33.

A unit's four gates are summed in one pass over a frame on the stack that holds h and x as
int16, then activated and updated without leaving registers. Three ways to multiply:

- single: int16 weights, one SMLAD a column pair and gate.
- row pair: two int8 weights in a halfword H = 256*a + b. SMLAD with H sums 256*A + B, and with
  SXTB16(H) it sums B: three instructions for four products. Needs |A| < 2**23.
- long pair: the same with 256*A + B in 64 bits (SMLALD), for any A that int32 holds: int8
  weights with int16 values.

The template templates/isa/armv7em.S.j2 prints them.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray, QFormat
from ...quantized import QuantizedLstm, Tables
from .kernel import Choice, Effort, Kernel

Way = Literal["single", "row_pair", "long_pair"]

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

_BALANCED_COLUMNS = 72
"""Columns up to which `balanced` unrolls a unit."""

# Instructions of two column pairs and of one, all four gates.
_COST = {"single": (11, 6), "row_pair": (14, 8), "long_pair": (14, 8)}
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
    frame's head is loaded to: C, sigmoid, tanh, rounding. h_by_words: whether both halves
    of the state's h lie at multiples of 4 and end there.
    """

    copies_output: ClassVar[bool] = True
    way: Way
    spans: tuple[Span, ...]
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
    parts = _parts(layer, way)
    spans, units_per_turn = _unroll(layer, parts, effort)
    frame = _CONSTANT_BYTES + 2 * (_even(k) + _even(layer.inputs))
    long = way == "long_pair"
    accumulators = ("r8", "r1", "r10", "r12") if long else ("r8", "r9", "r10", "r11")
    constants = ("r6", "r7", "r9", "r11") if long else ("r1", "r6", "r7", "r12")
    lane = 8 if way == "row_pair" else 0
    directions = _directions(shifts, lane)
    kernel = DspKernel(
        name={"single": "SMLAD", "row_pair": "row pair", "long_pair": "long row pair"}[way],
        template=TEMPLATE,
        stream=_stream(layer, parts, way, directions, lane),
        way=way,
        spans=spans,
        units_per_turn=units_per_turn,
        # Nine registers are pushed: with 4 more bytes the stack stays 8-aligned.
        frame=frame + (4 - frame) % 8,
        x_offset=_CONSTANT_BYTES + 2 * _even(k),
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
    lane_a = bounds.bound.reshape(4, k)[[0, 2]].max()
    shift_a = layer.shift.reshape(4, k)[[0, 2]]
    if np.abs(layer.wx).max() <= 127 and lane_a < 1 << 23 and shift_a.min() >= -8:
        return "row_pair", f"8-bit weights, |acc| of gates i and g at most {lane_a} < 2^23"
    return "long_pair", "8-bit recurrent weights"


@dataclass(frozen=True, eq=False)
class _Part:
    """Columns of one vector, padded to pairs: weights (4, k, columns) and how to multiply."""

    weights: IntArray
    way: Way
    offset: int


def _parts(layer: QuantizedLstm, way: Way) -> tuple[_Part, ...]:
    k = layer.units

    def padded(weights: IntArray, values: QFormat) -> IntArray:
        columns = weights.shape[1]
        gates = weights.reshape(4, k, columns)[:, :, _order(columns, values)]
        return np.pad(gates, ((0, 0), (0, 0), (0, columns % 2)))

    x_way: Way = "single" if np.abs(layer.wx).max() > 127 else way
    x_offset = _CONSTANT_BYTES + 2 * _even(k)
    if x_way == way:
        joined = np.concatenate([padded(layer.wh, layer.h), padded(layer.wx, layer.x)], 2)
        return (_Part(joined, way, _CONSTANT_BYTES),)
    return (
        _Part(padded(layer.wh, layer.h), way, _CONSTANT_BYTES),
        _Part(padded(layer.wx, layer.x), x_way, x_offset),
    )


def _unroll(
    layer: QuantizedLstm, parts: tuple[_Part, ...], effort: Effort
) -> tuple[tuple[Span, ...], int]:
    columns = sum(part.weights.shape[2] for part in parts)
    cost = sum(_cost(part) for part in parts) + _EPILOGUE
    reachable = _CONSTANT_BYTES + 2 * columns <= _REACH
    fits = {
        "speed": 4 * cost <= _UNIT_BYTES,
        "balanced": columns <= _BALANCED_COLUMNS,
        "size": False,
    }[effort]
    per_turn = 0 if reachable and fits else 1 if effort == "size" else 4
    long = parts[0].way == "long_pair"
    spans = tuple(_span(part, per_turn, long) for part in parts)
    if effort != "speed" or per_turn:
        return spans, 1
    affordable = max(1, _UNIT_BYTES // (4 * cost))
    divisors = [d for d in range(1, layer.units + 1) if layer.units % d == 0 and d <= affordable]
    return spans, divisors[-1]


def _cost(part: _Part) -> int:
    two, one = _COST[part.way]
    pairs = int(part.weights.shape[2]) // 2
    return two * (pairs // 2) + one * (pairs % 2)


def _span(part: _Part, per_turn: int, long: bool) -> Span:
    pairs = part.weights.shape[2] // 2
    turns = pairs // (2 * per_turn) if per_turn else 0
    turns = turns if turns > 1 else 0
    done = turns * 2 * per_turn
    rest = tuple(
        Step(part.offset + 4 * at, min(2, pairs - at)) for at in range(done, pairs, 2)
    )
    pointer, counter = ("r1", "r12")
    if long:
        # r1 and r12 are sums; weights go through two registers then, or C's are free.
        pointer, counter = ("r6", "r7") if part.way == "long_pair" else ("r9", "r11")
    return Span(part.way, part.offset, turns, per_turn, rest, pointer, counter)


def _directions(shifts: IntArray, lane: int) -> tuple[int, ...]:
    """Return by gate 1 for right shifts and -1 for left ones; lane A of a pair carries 2**8."""
    carried = np.array([lane, 0, lane, 0])
    moved = shifts + carried[:, None]
    return tuple(1 if gate.min() >= 0 else -1 for gate in moved)


def _stream(
    layer: QuantizedLstm,
    parts: tuple[_Part, ...],
    way: Way,
    directions: tuple[int, ...],
    lane: int,
) -> IntArray:
    """Return the words of all units, (k, words): start values, weights, shifts."""
    k = layer.units
    bias = layer.bias.reshape(4, k)
    columns = [_start_words(bias, way)]
    columns += [_weight_words(part) for part in parts]
    carried = np.array([lane, 0, lane, 0])[:, None]
    shift = (layer.shift.reshape(4, k) + carried) * np.array(directions)[:, None]
    shift[3, :-1] |= _MORE
    shift[3, -1] |= _LAST
    columns.append(shift.T)
    return np.concatenate(columns, 1)


def _start_words(bias: IntArray, way: Way) -> IntArray:
    i, f, g, o = bias
    if way == "single":
        return bias.T
    pairs = 256 * i + f, 256 * g + o
    if way == "row_pair":
        return np.stack([_int32(pairs[0]), f, _int32(pairs[1]), o], 1)
    words = [f, *(part for pair in pairs for part in (_int32(pair), pair >> 32)), o]
    return np.stack(words, 1)


def _weight_words(part: _Part) -> IntArray:
    """Return (k, words): for each column pair a word per gate, or per pair of gates."""
    w = part.weights
    halves = w if part.way == "single" else np.stack([256 * w[0] + w[1], 256 * w[2] + w[3]])
    words = _int32((halves[:, :, 0::2] & 0xFFFF) | (halves[:, :, 1::2] << 16))
    return words.transpose(1, 2, 0).reshape(w.shape[1], -1)


def unpack(kernel: DspKernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Invert the packing: return the weights (4k, n), (4k, k) that the stream holds."""
    k, n = layer.units, layer.inputs
    at = 6 if kernel.way == "long_pair" else 4
    found = []
    for span in kernel.spans:
        pairs = span.turns * 2 * span.per_turn + sum(step.pairs for step in span.rest)
        rows = 4 if span.way == "single" else 2
        words = kernel.stream[:, at : at + pairs * rows].reshape(k, pairs, rows)
        at += pairs * rows
        low, high = ((words & 0xFFFF) ^ 0x8000) - 0x8000, words >> 16
        halves = np.stack([low, high], 2).reshape(k, 2 * pairs, rows).transpose(2, 0, 1)
        if span.way != "single":
            b = ((halves & 0xFF) ^ 0x80) - 0x80
            a = (halves - b) >> 8
            halves = np.stack([a[0], b[0], a[1], b[1]])
        found.append(halves)
    columns = np.concatenate(found, 2).reshape(4 * k, -1)
    x_columns = _even(k) + np.argsort(_order(n, layer.x))
    return columns[:, x_columns], columns[:, np.argsort(_order(k, layer.h))]


def _order(count: int, values: QFormat) -> IntArray:
    """Return the values' order in the frame: SXTB16 widens four bytes as 0, 2 and 1, 3."""
    order = np.arange(count)
    if values.storage_bits == 8:
        fours = order[: count - count % 4].reshape(-1, 4)
        fours[:] = fours[:, [0, 2, 1, 3]]
    return order


def _even(count: int) -> int:
    return count + count % 2


def _int32(value: IntArray) -> IntArray:
    """Return the value modulo 2**32 as a signed number."""
    return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
