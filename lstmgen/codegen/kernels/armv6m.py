"""Kernels for Arm cores with Thumb-1 only: Cortex-M0.

A unit's four gates are summed in one pass over a frame on the stack that holds h and x as
words, then activated and updated without leaving registers. How words hold several weights
is in layout/lanes.py. The four products of a column take, in instructions,

- lanes, two 8-bit weights: 5.5, and 6 at the end of a segment of about 5 columns,
- halves, two 16-bit weights: 11.5,
- bytes, four 8-bit weights: 12.5, with half of the flash,
- single: 9.5, with twice the flash of halves: for inputs behind a mid shift (rule N3b).

The template templates/isa/armv6m.S.j2 prints the kernels; those for the least flash are in
armv6m_small.py.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..layout import lanes
from ..layout.lanes import Way
from .armv6m_cell import GateStep, Shifts, folded, gate_steps, origin, shifts_of
from .armv6m_columns import lane_order
from .armv6m_small import SmallKernel, small_kernel, unpack_small
from .armv6m_unit import (
    BALANCED_COLUMNS,
    UNIT_BYTES,
    Stage,
    Unit,
    excesses,
    lane_unit,
    word_unit,
)
from .armv7m_frame import frame_size
from .kernel import Choice, Effort, Kernel
from .lanes import Excess, refusal

TEMPLATE = "armv6m.S.j2"

_HEAD = 32
"""Bytes of the frame's head: what the unit's end loads, in the template's order."""

_LANE_COLUMNS: dict[Effort, int] = {"speed": 240, "balanced": BALANCED_COLUMNS}
"""Columns that are unrolled as lanes, which needs code of its own for each; offsets from the stack
pointer reach about 240 values."""

_MOST_UNITS = 16
"""Units of a turn: the offsets of their states fit the instructions."""

_FEW = 2
"""Inputs that `balanced` gives a word for each weight where there are mid shifts."""


@dataclass(frozen=True, eq=False)
class ThumbKernel(Kernel):
    """What the template prints.

    stages: of a unit's sums; lanes: whether these begin with lanes. parts, order: see UnitWords.
    excesses: what is too much in the sums, from those of h and x in registers `totals`. shifts,
    middle: of rules N4 and N3b. origin: half of the range of a table's V. slots: where in the
    frame, in words, each value of h and then of x goes, or None for one after the other.
    """

    line_tables: ClassVar[bool] = True
    stages: tuple[Stage, ...]
    parts: tuple[tuple[int, Way, int], ...]
    order: tuple[int, ...]
    excesses: tuple[Excess, ...]
    totals: tuple[str | None, str | None]
    units_per_turn: int
    head: int
    frame: int
    x_shift: int
    gates: dict[str, GateStep]
    shifts: Shifts
    middle: Shifts | None
    origin: int
    table_bits: int
    product_shift: int
    hidden_bits: int
    slots: tuple[int, ...] | None

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways to multiply, each once."""
        return tuple(dict.fromkeys(way for _, way, _ in self.parts))

    @property
    def lanes(self) -> bool:
        """Whether two 8-bit weights share a sum."""
        return "lanes" in self.ways


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, h_aligned: bool
) -> Choice:
    """Return the kernel for a layer; these need no alignment of h."""
    refused = refusal(layer, bounds)
    if refused is not None:
        return Choice(None, refused)
    if effort == "size":
        return Choice(small_kernel(layer, tables), "the least flash was asked for")
    moved = folded(layer, bounds, tables)
    gates = gate_steps(layer, bounds, tables, moved)
    if gates is None:
        return Choice(None, "a pre-activation comes too close to 2^31")
    packed = effort == "balanced"
    order = _lane_order(layer, effort)
    if order is not None:
        unit = lane_unit(layer, order, moved, packed)
        kernel = _kernel(layer, tables, effort, unit, ("lanes", "lanes"), gates)
        return Choice(kernel, "8-bit weights, sums of a few columns below 2^15")
    ways = _ways(layer, effort)
    unit = word_unit(layer, ways, effort, moved, packed)
    kernel = _kernel(layer, tables, effort, unit, ways, gates)
    return Choice(kernel, f"{8 if lanes.eight_bits(layer.wh) else 16}-bit recurrent weights")


def _lane_order(layer: QuantizedLstm, effort: Effort) -> tuple[int, ...] | None:
    """Return an order of columns for lanes, None where the layer has other columns."""
    if layer.units + layer.inputs > _LANE_COLUMNS[effort]:
        return None
    if not (lanes.eight_bits(layer.wh) and lanes.eight_bits(layer.wx)):
        return None
    return lane_order(layer)


def _ways(layer: QuantizedLstm, effort: Effort) -> tuple[Way, Way]:
    """Return how the weights of h and x are held."""
    h: Way = "bytes" if lanes.eight_bits(layer.wh) and effort != "speed" else "halves"
    x: Way = h if h == "halves" or lanes.eight_bits(layer.wx) else "halves"
    if layer.mid_shift.any() and (effort == "speed" or layer.inputs <= _FEW):
        x = "single"
    return h, x


def _kernel(
    layer: QuantizedLstm,
    tables: Tables,
    effort: Effort,
    unit: Unit,
    ways: tuple[Way, Way],
    gates: dict[str, GateStep],
) -> ThumbKernel:
    shifts = shifts_of(layer.shift.reshape(4, layer.units), packed=effort == "balanced")
    excess = excesses(layer, ways)
    needed = {total for one in excess for total, _ in one.terms}
    x_total = "r7" if "r7" in needed else "r6" if excess and not layer.mid_shift.any() else None
    in_order = unit.order == sorted(unit.order)
    return ThumbKernel(
        name=_name(ways),
        template=TEMPLATE,
        stream=np.concatenate([*unit.words, shifts.words], 1),
        stages=tuple(unit.stages),
        parts=tuple(unit.parts),
        order=tuple(unit.order),
        excesses=excess,
        totals=("r6" if "r6" in needed else None, x_total),
        units_per_turn=_units_per_turn(layer, unit, effort),
        head=_HEAD,
        frame=frame_size(_HEAD + 4 * (layer.units + layer.inputs)),
        # Lanes are shifted as sums, other columns as values.
        x_shift=0 if ways[0] == "lanes" else layer.x_shift,
        gates=gates,
        shifts=shifts,
        middle=unit.middle,
        origin=origin(tables),
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
        slots=None if in_order else tuple(np.argsort(unit.order).tolist()),
    )


def _name(ways: tuple[Way, Way]) -> str:
    return lanes.NAMES[("bytes", "halves") if ways[0] == "bytes" != ways[1] else ways[:1]]


def _units_per_turn(layer: QuantizedLstm, unit: Unit, effort: Effort) -> int:
    if effort != "speed" or unit.looped:
        return 1
    affordable = min(_MOST_UNITS, max(1, UNIT_BYTES // unit.code_bytes))
    return max(d for d in range(1, layer.units + 1) if layer.units % d == 0 and d <= affordable)


def unpack(kernel: ThumbKernel | SmallKernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Invert the packing: return the weights (4k, n), (4k, k) that the stream holds."""
    if isinstance(kernel, SmallKernel):
        return unpack_small(kernel, layer)
    return lanes.unpack_parts(kernel.stream, kernel.parts, kernel.order, layer)
