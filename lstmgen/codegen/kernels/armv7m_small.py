"""Kernels of LSTM layers for Cortex-M3 that take the least flash.

The same sums over words as in armv7m.py, with loops of one column, one routine for all
activations, and the shifts of a unit in the bytes of one word, or in the code where all units
have the same. The template templates/isa/armv7m_small.S.j2 prints them.
"""

from dataclasses import dataclass

import numpy as np

from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..layout import lanes
from ..layout.lanes import Way
from .armv7m_frame import Copy, H, X, copy, frame_size
from .armv7m_unit import EXCESS, SUMS, Stage, Unit, too_much
from .kernel import Kernel
from .lanes import CALLS, Excess, Operation, Shift, called_shifts, mid_shifts, varies

TEMPLATE = "armv7m_small.S.j2"

_HEAD = 12
"""Bytes of the frame's head: where h ends, and what is too much in the sums."""


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
    shared: Operation | None
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
    middle, shift = layer.mid_shift.reshape(4, k), layer.shift.reshape(4, k)[list(CALLS)]
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
        unit.middle(lanes.packed_words(middle) if varies(middle) else np.empty((k, 0), np.int64))
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
    if varies(shift):
        unit.words.append(lanes.packed_words(np.abs(shift)))
    gates, shared = called_shifts(layer, SUMS)
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
        gates=gates,
        packed=varies(shift),
        shared=shared,
        middle=mid_shifts(layer, SUMS),
        middle_packed=varies(middle),
        head=_HEAD,
        frame=frame_size(unit.end),
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
    )
