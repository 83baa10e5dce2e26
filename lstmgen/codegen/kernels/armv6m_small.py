"""Kernels of LSTM layers for Cortex-M0 that take the least flash.

Loops of one column over h and x as words on the stack, one routine for all activations, and
the shifts of a unit in the bytes of one word, or in the code where all units have the same. The
words of weights are those of layout/lanes.py with all lanes signed: that takes one more
instruction for each but the highest lane, and nothing has to be taken off the sums. No register
has to be saved but r4-r7. The template templates/isa/armv6m_small.S.j2 prints them.
"""

from dataclasses import dataclass

import numpy as np

from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..layout import lanes
from ..layout.lanes import SIGNS, WORDS, UnitWords, Way
from .armv6m_cell import SUMS
from .kernel import Kernel
from .lanes import CALLS, Operation, Shift, called_shifts, mid_shifts, varies

TEMPLATE = "armv6m_small.S.j2"

_HEAD = 8
"""Bytes of the frame's head: where h and C of the next unit are."""


@dataclass(frozen=True)
class Loop:
    """A loop over columns of one way; end: of their values in the frame, in bytes."""

    way: Way
    end: int


@dataclass(frozen=True, eq=False)
class SmallKernel(Kernel):
    """What the template prints.

    loops: over the columns of h and then x, or one over both. middle: rule N3b's shifts behind
    the first loop, none where there are none; packed in a word if middle_packed. gates: in the
    order of their activation; packed: whether the bytes of a word are their distances; shared:
    the shift in the routine, None where each gate has its own. parts, order: see UnitWords.
    """

    loops: tuple[Loop, ...]
    middle: tuple[Shift, ...]
    middle_packed: bool
    gates: tuple[Shift, ...]
    packed: bool
    shared: Operation | None
    parts: tuple[tuple[int, Way, int], ...]
    order: tuple[int, ...]
    head: int
    x_shift: int
    table_bits: int
    product_shift: int
    hidden_bits: int

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways to multiply, each once."""
        return tuple(dict.fromkeys(way for _, way, _ in self.parts))


def small_kernel(layer: QuantizedLstm, tables: Tables) -> SmallKernel:
    """Return the kernel of a layer."""
    k, every = layer.units, layer.units + layer.inputs
    middle, shift = layer.mid_shift.reshape(4, k), layer.shift.reshape(4, k)[list(CALLS)]
    h_way: Way = "bytes" if lanes.eight_bits(layer.wh) else "halves"
    x_way: Way = h_way if lanes.eight_bits(layer.wx) else "halves"
    apart = x_way != h_way or bool(middle.any())
    unit = UnitWords(layer)
    unit.words.append(lanes.start_words(layer.bias.reshape(4, k), "single"))
    unit.add(range(k if apart else every), h_way, SIGNS[h_way])
    if varies(middle):
        unit.words.append(lanes.packed_words(middle))
    loops = [Loop(h_way, _HEAD + 4 * len(unit.order))]
    if apart:
        unit.add(range(k, every), x_way, SIGNS[x_way])
        loops.append(Loop(x_way, _HEAD + 4 * every))
    if varies(shift):
        unit.words.append(lanes.packed_words(np.abs(shift)))
    gates, shared = called_shifts(layer, SUMS)
    return SmallKernel(
        name=f"{lanes.NAMES[(h_way,) if x_way == h_way else (h_way, x_way)]}, least flash",
        template=TEMPLATE,
        stream=np.concatenate(unit.words, 1),
        loops=tuple(loops),
        middle=mid_shifts(layer, SUMS) if middle.any() else (),
        middle_packed=varies(middle),
        gates=gates,
        packed=varies(shift),
        shared=shared,
        parts=tuple(unit.parts),
        order=tuple(unit.order),
        head=_HEAD,
        x_shift=layer.x_shift,
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
    )


def unpack_small(kernel: SmallKernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Return the weights (4k, n), (4k, k) that the kernel's stream holds."""
    stream = kernel.stream.copy()
    for at, way, columns in kernel.parts:
        stream[:, at : at + columns * WORDS[way]] ^= SIGNS[way]
    return lanes.unpack_parts(stream, kernel.parts, kernel.order, layer)
