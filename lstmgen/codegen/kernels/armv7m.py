"""Kernels for Arm cores with Thumb-2 but no DSP extension: Cortex-M3.

A unit's four gates are summed in one pass over a frame on the stack that holds h and x as
words, then activated and updated without leaving registers. How words hold several weights
is in layout/lanes.py. In instructions and, by the core's manual, in cycles (LDM 1 + words,
MLA 2) the four products of a column take

- lanes, two 8-bit weights: 3 and 8, and 4 and 4 at the end of a segment of about 5 columns,
- halves, two 16-bit weights: 6.75 and 13.75,
- bytes, four 8-bit weights: 7.5 and 13.5, with half of the flash,
- single: 5.25 and 14.25, with twice the flash of lanes: for a few inputs.

Two SMLAL with W = 2**24 * a + b would need no segments and 2.75 instructions a column. But SMLAL
takes 4 to 7 cycles by the manual: on silicon 5 where x >= 0, 7 where x < 0, as the authors of
the emulator CMEmu found. Cycles of a step in thousands, traced in QEMU and priced so, for the
layers of benchmarks/instructions.py, and in brackets instructions for each product:

    layer             A           B           C           D            E           F
    SMLAL at 6   5.8 (1.65)  23.7 (1.09)  17.1 (1.04)  290.6 (0.81)  29.6 (1.08)  135.4 (0.82)
    SMLAL at 4   4.7         18.5         13.3         219.9         23.1         102.6
    lanes        4.0 (1.95)  14.7 (1.39)  10.5 (1.32)  168.4 (1.08)  18.5 (1.40)   78.1 (1.07)

Flash is the same, so there is no SMLAL here. In rule N6 SMULL stays: 5 cycles at most, and 4
with the operand first that is a multiple of 2**16, where shifts and products of 32 bits take
five instructions and five cycles.

The template templates/isa/armv7m.S.j2 prints the kernels; those for the least flash are in
armv7m_small.py.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..layout import lanes
from ..layout.lanes import Way
from .armv7m_frame import Copy, H, Load, X, copy, frame_size, gathered
from .armv7m_small import SmallKernel, small_kernel
from .armv7m_unit import EXCESS, SUMS, Columns, Stage, Unit, too_much
from .kernel import Choice, Effort, Kernel
from .lanes import directions, packed, reach_of, refusal

TEMPLATE = "armv7m.S.j2"

_HEAD = 24
"""Bytes of the frame's head: what the unit's end loads, in the template's order."""

_COLUMNS_BYTES = 4000
"""Code that `speed` spends on the columns of one unit."""

_TURN_BYTES = 2000
"""Code that it spends on units per turn."""

_BALANCED_COLUMNS = 72
"""Columns up to which `balanced` unrolls a unit."""

_BALANCED_FLASH = 16384
"""What `balanced` spends on weights of one layer in lanes instead of bytes, and on their code."""

_FEW: dict[Effort, int] = {"speed": 2, "balanced": 1}
"""Shifted inputs that have a word for each weight, which spares them segments of their own."""

_MOST_LANES = 768
"""Columns up to which the offsets of LDR reach the values of lanes in the frame, and the kernel's
constants from behind the loads of all values."""

_TURN_GROUPS = 4
"""Groups of columns in a loop's turn."""

_COLUMN_BYTES: dict[Way, int] = {"halves": 23, "bytes": 24, "lanes": 13, "single": 20}
_EPILOGUE_BYTES = 200


@dataclass(frozen=True)
class GateShift:
    """The instruction that takes a gate's accumulator to V; its distance is in `register`."""

    name: str
    accumulator: str
    operation: Literal["asr", "lsl"]
    register: str


@dataclass(frozen=True)
class Correction:
    """What is too much in the sums of words: those of the values, times powers of two.

    h, x: these powers, None for not at all. sums: what it is taken off at the unit's end.
    h_sums: what the part of h alone is taken off.
    """

    h: int
    x: int | None
    sums: tuple[str, ...]
    h_sums: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class WordKernel(Kernel):
    """What the template prints.

    stages: of a unit's sums. gathered: the values by groups in the order of the frame, or, if
    they lie in that order, copies. parts, order: see Unit. head: bytes before the values.
    """

    stages: tuple[Stage, ...]
    parts: tuple[tuple[int, Way, int], ...]
    order: tuple[int, ...]
    gathered: tuple[tuple[Load, ...], ...]
    copies: tuple[Copy, ...]
    correction: Correction | None
    units_per_turn: int
    head: int
    frame: int
    gates: tuple[GateShift, ...]
    table_bits: int
    product_shift: int
    hidden_bits: int

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways to multiply, each once."""
        return tuple(dict.fromkeys(way for _, way, _ in self.parts))


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, h_aligned: bool
) -> Choice:
    """Return the kernel for a layer; these need no alignment of h."""
    refused = refusal(layer, bounds)
    if refused is not None:
        return Choice(None, refused)
    if effort == "size":
        least: Way = "bytes" if lanes.eight_bits(layer.wh) else "halves"
        return Choice(small_kernel(layer, tables, least), "the least flash was asked for")
    way, unit, reason = _unit(layer, effort)
    unit.words.append(lanes.shift_words(layer))
    towards = directions(layer.shift.reshape(4, layer.units))
    # Lanes are shifted as sums, other columns as values.
    x_shift = 0 if unit.parts[-1][1] == "lanes" else layer.x_shift
    kernel = WordKernel(
        name=_name(way, unit),
        template=TEMPLATE,
        stream=np.concatenate(unit.words, 1),
        stages=tuple(unit.stages),
        parts=tuple(unit.parts),
        order=tuple(unit.order),
        gathered=gathered(layer, unit.order, x_shift) if way == "lanes" else (),
        copies=() if way == "lanes" else _copies(layer),
        correction=_correction(layer, way, unit),
        units_per_turn=_units_per_turn(layer, unit, effort),
        head=_HEAD,
        frame=frame_size(unit.end),
        gates=tuple(
            GateShift(name, SUMS[g], "asr" if towards[g] > 0 else "lsl", f"r{4 + g}")
            for g, name in enumerate("ifgo")
        ),
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
    )
    return Choice(kernel, reason)


def _unit(layer: QuantizedLstm, effort: Effort) -> tuple[Way, Unit, str]:
    """Return the way in which h is multiplied, what it makes of a unit, and why."""
    if not lanes.eight_bits(layer.wh):
        return "halves", _word_unit(layer, "halves", effort), "16-bit recurrent weights"
    if effort == "speed" or _lanes_are_worth_it(layer):
        unit = _lane_unit(layer, effort)
        if unit is not None:
            return "lanes", unit, "8-bit weights, sums of a few columns below 2^15"
    if effort == "speed":
        reason = "8-bit recurrent weights, held in 16 bits for speed"
        return "halves", _word_unit(layer, "halves", effort), reason
    return "bytes", _word_unit(layer, "bytes", effort), "8-bit recurrent weights"


def _lanes_are_worth_it(layer: QuantizedLstm) -> bool:
    columns = layer.units + layer.inputs
    return (4 * layer.units + _COLUMN_BYTES["lanes"]) * columns <= _BALANCED_FLASH


def _lane_unit(layer: QuantizedLstm, effort: Effort) -> Unit | None:
    """Return a unit in lanes, None where a segment is too short for a single column."""
    k, n = layer.units, layer.inputs
    if k + n > _MOST_LANES:
        return None
    unit, reach = Unit(layer, _HEAD, 0), reach_of(layer)
    middle = bool(layer.mid_shift.any())
    apart = middle or layer.x_shift > 0
    h = packed(reach[:, :, :k] if apart else reach)
    if h is None:
        return None
    h_ends = unit.ends(h)
    if apart and not middle and n > _FEW[effort]:
        # x is shifted (rule N2), which its sums can be as well.
        x = packed(reach[:, :, k:])
        if x is None:
            return None
        x = tuple(k + column for column in x)
        x_ends = unit.ends(x)
        unit.lanes(x, x_ends, sets=True)
        unit.start_shifted(layer.x_shift, x_ends, h_ends)
    else:
        unit.start("lanes", h_ends)
    unit.lanes(h, h_ends)
    unit.apart("lanes")
    if middle:
        unit.middle(lanes.mid_words(layer))
    if len(unit.order) < k + n:
        unit.columns(range(k, k + n), "single")
    return unit


def _word_unit(layer: QuantizedLstm, way: Way, effort: Effort) -> Unit:
    """Return a unit in halves, or in bytes as far as they hold the weights."""
    k, every = layer.units, layer.units + layer.inputs
    middle = bool(layer.mid_shift.any())
    x_way: Way = "halves" if not lanes.eight_bits(layer.wx) else way
    x_way = "single" if middle else x_way
    size = k * _COLUMN_BYTES[way] + layer.inputs * _COLUMN_BYTES[x_way]
    fits = size <= _COLUMNS_BYTES if effort == "speed" else every <= _BALANCED_COLUMNS
    unit = Unit(layer, _HEAD, 0 if fits else _TURN_GROUPS)
    unit.start(way)
    unit.columns(range(every if x_way == way else k), way)
    unit.apart(way)
    if middle:
        unit.correct(0, too_much(way))
        unit.middle(lanes.mid_words(layer))
    elif x_way != way:
        unit.join("halves")
    if x_way != way:
        unit.columns(range(k, every), x_way)
    if x_way == "halves" and way == "bytes":
        unit.apart("halves")
    return unit


def _name(way: Way, unit: Unit) -> str:
    ways = tuple(part_way for _, part_way, _ in unit.parts)
    return lanes.NAMES[("bytes", "halves") if way == "bytes" and len(ways) > 1 else (way,)]


def _correction(layer: QuantizedLstm, way: Way, unit: Unit) -> Correction | None:
    if way == "lanes":
        return None
    x_way = unit.parts[-1][1]
    sums = too_much(way) if x_way == way else too_much(x_way)
    h_sums = tuple(register for register in too_much(way) if register not in sums)
    if layer.mid_shift.any():
        sums = h_sums = ()
    return Correction(EXCESS[way], EXCESS.get(x_way), sums, h_sums)


def _copies(layer: QuantizedLstm) -> tuple[Copy, ...]:
    x_total = None if layer.mid_shift.any() else "r3"
    return (
        copy(H, layer.h, layer.units, 0, "r2"),
        copy(X, layer.x, layer.inputs, layer.x_shift, x_total),
    )


def _units_per_turn(layer: QuantizedLstm, unit: Unit, effort: Effort) -> int:
    looped = any(isinstance(stage, Columns) and stage.turns for stage in unit.stages)
    if effort != "speed" or looped:
        return 1
    size = sum(_COLUMN_BYTES[way] * columns for _, way, columns in unit.parts) + _EPILOGUE_BYTES
    affordable = max(1, _TURN_BYTES // size)
    return max(d for d in range(1, layer.units + 1) if layer.units % d == 0 and d <= affordable)


def unpack(kernel: WordKernel | SmallKernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Invert the packing: return the weights (4k, n), (4k, k) that the stream holds."""
    return lanes.unpack_parts(kernel.stream, kernel.parts, kernel.order, layer)
