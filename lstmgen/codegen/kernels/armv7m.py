"""Kernels for Arm cores with Thumb-2 but no DSP extension: Cortex-M3.

A unit's four gates are summed in one pass over a frame on the stack that holds h and x as
words, then activated and updated without leaving registers. How words hold several weights
is in layout/lanes.py; of its ways these cores use

- wide, two 8-bit weights and one SMLAL for both: 11 instructions for 16 products,
- halves, two 16-bit weights: 27 instructions for 16 products,
- bytes, four 8-bit weights: 30 for 16 products and half of the flash.

The template templates/isa/armv7m.S.j2 prints them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import QuantizedLstm, Tables
from ..layout import lanes
from ..layout.lanes import Part, Way
from .kernel import Choice, Effort, Kernel
from .lanes import directions, refusal, wide_fits

TEMPLATE = "armv7m.S.j2"

HEAD_BYTES = 32
"""The frame's head: what the unit's end loads, in the template's order."""

_UNIT_BYTES = 3000
"""Code that `speed` spends on units per turn, and on the columns of one unit."""

_BALANCED_COLUMNS = 72
"""Columns up to which `balanced` unrolls a unit."""

_GROUP = 4
"""Columns that are loaded together."""

_GROUP_BYTES: dict[Way, int] = {"halves": 92, "bytes": 96, "wide": 44}
_EPILOGUE_BYTES = 200


@dataclass(frozen=True)
class Span:
    """Columns that are multiplied in one way.

    turns: of a loop that takes `per_turn` groups of four columns each, 0 for no loop;
        loop_end: the frame's offset behind them.
    rest: the sizes of the groups behind the loop, unrolled.
    """

    way: Way
    turns: int
    per_turn: int
    loop_end: int
    rest: tuple[int, ...]

    @property
    def columns(self) -> int:
        """The number of columns."""
        return self.turns * self.per_turn * _GROUP + sum(self.rest)


@dataclass(frozen=True)
class GateShift:
    """The instruction that takes a gate's accumulator to V; its distance is in `register`."""

    name: str
    accumulator: str
    operation: Literal["asr", "lsl"]
    register: str


@dataclass(frozen=True, eq=False)
class WordKernel(Kernel):
    """What the template prints.

    h_correction, x_correction: by what power of two the sums of h and of x are taken off
        gates f and o, None for not at all; off g too where g_corrected, that of h.
    """

    spans: tuple[Span, ...]
    units_per_turn: int
    frame: int
    x_shift: int
    h_correction: int | None
    x_correction: int | None
    g_corrected: bool
    gates: tuple[GateShift, ...]
    table_bits: int
    product_shift: int
    hidden_bits: int


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, h_aligned: bool
) -> Choice:
    """Return the kernel for a layer; these need no alignment of h."""
    refused = refusal(layer, bounds)
    if refused is not None:
        return Choice(None, refused)
    way, reason = _way(layer, bounds, effort)
    parts = lanes.parts_of(layer, way)
    spans, units_per_turn = _unroll(layer, parts, effort)
    frame = HEAD_BYTES + 4 * (layer.units + layer.inputs)
    correction = {"halves": lanes.HALF_SHIFT, "bytes": lanes.BYTE_SHIFT}
    accumulators = ("r9", "r8", "r11", "r10") if way == "wide" else ("r8", "r9", "r10", "r11")
    towards = directions(layer.shift.reshape(4, layer.units))
    kernel = WordKernel(
        name=lanes.NAMES[tuple(part.way for part in parts)],
        template=TEMPLATE,
        stream=_stream(layer, parts),
        spans=spans,
        units_per_turn=units_per_turn,
        # Nine registers are pushed: with 4 more bytes the stack stays 8-aligned.
        frame=frame + (4 - frame) % 8,
        x_shift=layer.x_shift,
        h_correction=correction.get(parts[0].way),
        x_correction=correction.get(parts[-1].way),
        g_corrected=way == "bytes",
        gates=tuple(
            GateShift(name, accumulator, "asr" if direction > 0 else "lsl", f"r{4 + g}")
            for g, (name, accumulator, direction) in enumerate(
                zip("ifgo", accumulators, towards, strict=True)
            )
        ),
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
    )
    return Choice(kernel, reason)


def _way(layer: QuantizedLstm, bounds: LayerBounds, effort: Effort) -> tuple[Way, str]:
    if not lanes.eight_bits(layer.wh):
        return "halves", "16-bit recurrent weights"
    small = lanes.eight_bits(layer.wx)
    if small and effort != "size" and wide_fits(layer, bounds):
        return "wide", "8-bit weights, |acc| of gates f and o below 2^23"
    if effort == "speed":
        return "halves", "8-bit recurrent weights, held in 16 bits for speed"
    return "bytes", "8-bit recurrent weights"


def _unroll(
    layer: QuantizedLstm, parts: tuple[Part, ...], effort: Effort
) -> tuple[tuple[Span, ...], int]:
    columns = sum(part.columns for part in parts)
    size = _EPILOGUE_BYTES + sum(_GROUP_BYTES[part.way] * part.columns // _GROUP for part in parts)
    unrolled = {
        "speed": size <= _UNIT_BYTES,
        "balanced": columns <= _BALANCED_COLUMNS,
        "size": False,
    }[effort]
    per_turn = 0 if unrolled else 1 if effort == "size" else 4
    spans, at = [], HEAD_BYTES
    for part in parts:
        spans.append(_span(part, per_turn, at))
        at += 4 * part.columns
    if effort != "speed" or per_turn:
        return tuple(spans), 1
    affordable = max(1, _UNIT_BYTES // size)
    divisors = [d for d in range(1, layer.units + 1) if layer.units % d == 0 and d <= affordable]
    return tuple(spans), divisors[-1]


def _span(part: Part, per_turn: int, offset: int) -> Span:
    turns = part.columns // (_GROUP * per_turn) if per_turn else 0
    turns = turns if turns > 1 else 0
    done = turns * per_turn * _GROUP
    left = part.columns - done
    rest = tuple(min(_GROUP, left - at) for at in range(0, left, _GROUP))
    return Span(part.way, turns, per_turn, offset + 4 * done, rest)


def _stream(layer: QuantizedLstm, parts: tuple[Part, ...]) -> IntArray:
    """Return the words of all units, (k, words): start values, weights, shifts."""
    start = lanes.start_words(layer.bias.reshape(4, layer.units), parts[0].way)
    weights = [lanes.weight_words(part) for part in parts]
    return np.concatenate([start, *weights, lanes.shift_words(layer)], 1)


def unpack(kernel: WordKernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Invert the packing: return the weights (4k, n), (4k, k) that the stream holds."""
    parts = tuple((span.way, span.columns) for span in kernel.spans)
    return lanes.unpack_stream(kernel.stream, parts, layer, 4)
