"""Kernels of LSTM layers for Cortex-M3 that take the least flash.

The same sums over words as in armv7m.py, with loops of one column, one routine for all
activations, and the shifts of a unit in the bytes of one word, or in the code where all units
have the same. The template templates/isa/armv7m_small.S.j2 prints them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...qformat import IntArray
from ...quantized import QuantizedLstm, Tables
from ..layout import lanes
from ..layout.lanes import Way
from .armv7m_frame import Copy, H, X, copy, frame_size
from .armv7m_unit import EXCESS, SUMS, Stage, Unit, too_much
from .kernel import Kernel
from .lanes import directions

TEMPLATE = "armv7m_small.S.j2"

_HEAD = 12
"""Bytes of the frame's head: where h ends, and what is too much in the sums."""

_CALLS = (0, 1, 3, 2)
"""The gates in the order in which they are activated: that of g comes last."""


@dataclass(frozen=True)
class Shift:
    """How a gate's sum is shifted by rule N3b or N4: in code, by `distance`, or by the next
    byte of a word if that is None."""

    name: str
    sum: str
    operation: Literal["asr", "lsl"]
    distance: int | None


@dataclass(frozen=True)
class Excess:
    """A word at an offset of the frame: sums of values times powers of two, each (sum, power)."""

    offset: int
    terms: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class SmallKernel(Kernel):
    """What the template prints.

    stages, parts, order: see Unit. gates: in the order of their activation; packed: whether
    a word holds their distances; shared: the shift in the routine, None where each gate has its
    own. middle: rule N3b's shifts, packed in a word if middle_packed.
    """

    stages: tuple[Stage, ...]
    parts: tuple[tuple[int, Way, int], ...]
    order: tuple[int, ...]
    copies: tuple[Copy, ...]
    excess: tuple[Excess, ...]
    gates: tuple[Shift, ...]
    packed: bool
    shared: Literal["asr", "lsl"] | None
    middle: tuple[Shift, ...]
    middle_packed: bool
    head: int
    frame: int
    table_bits: int
    product_shift: int
    hidden_bits: int

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways to multiply, each once."""
        return tuple(dict.fromkeys(way for _, way, _ in self.parts))


def small_kernel(layer: QuantizedLstm, tables: Tables, way: Way) -> SmallKernel:
    """Return the kernel, whose recurrent weights are held in a way."""
    k, every = layer.units, layer.units + layer.inputs
    middle, shift = layer.mid_shift.reshape(4, k), layer.shift.reshape(4, k)[list(_CALLS)]
    x_way: Way = way if lanes.eight_bits(layer.wx) else "halves"
    apart = x_way != way or bool(middle.any())
    unit = Unit(layer, _HEAD, 0)
    unit.start(way)
    unit.columns(range(k if apart else every), way)
    unit.apart(way)
    excess = [Excess(4, (("r5", EXCESS[way]),))]
    both = (("r5", EXCESS[way]), ("r6", EXCESS[x_way]))
    if middle.any():
        excess.append(Excess(8, (("r6", EXCESS[x_way]),)))
        unit.correct(4, too_much(way))
        unit.middle(lanes.packed_words(middle) if _varies(middle) else np.empty((k, 0), np.int64))
    elif apart:
        excess = [Excess(4, both), Excess(8, both[:1])]
    if apart:
        unit.join(x_way)
        unit.columns(range(k, every), x_way)
        unit.apart(x_way)
    unit.correct(8 if middle.any() else 4, too_much(x_way))
    if apart and not middle.any():
        left = tuple(register for register in too_much(way) if register not in too_much(x_way))
        unit.correct(8, left)
    if _varies(shift):
        unit.words.append(lanes.packed_words(np.abs(shift)))
    # Where no gate shifts to the right, those that do not shift at all may go to the left.
    towards = directions(shift) if (shift > 0).any() else (-1,) * 4
    alike = _varies(shift) and len(set(towards)) == 1
    operation: dict[int, Literal["asr", "lsl"]] = {1: "asr", -1: "lsl"}
    return SmallKernel(
        name=f"{lanes.NAMES[(way,) if x_way == way else (way, x_way)]}, least flash",
        template=TEMPLATE,
        stream=np.concatenate(unit.words, 1),
        stages=tuple(unit.stages),
        parts=tuple(unit.parts),
        order=tuple(unit.order),
        copies=(
            copy(H, layer.h, k, 0, "r5"),
            copy(X, layer.x, layer.inputs, layer.x_shift, "r6" if apart else "r5"),
        ),
        excess=tuple(excess),
        gates=tuple(
            Shift("ifgo"[g], SUMS[g], operation[t], None if _varies(shift) else int(abs(s[0])))
            for g, t, s in zip(_CALLS, towards, shift, strict=True)
        ),
        packed=_varies(shift),
        shared=operation[towards[0]] if alike else None,
        middle=tuple(
            Shift("ifgo"[g], SUMS[g], "asr", None if _varies(middle) else int(middle[g, 0]))
            for g in range(4)
        ),
        middle_packed=_varies(middle),
        head=_HEAD,
        frame=frame_size(unit.end),
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
    )


def _varies(distances: IntArray) -> bool:
    """Whether some gate's distances (4, k) differ."""
    return bool((distances != distances[:, :1]).any())
