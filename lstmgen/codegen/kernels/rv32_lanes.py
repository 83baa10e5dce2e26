"""Two weights a product, for RV32IMC: two int8 weights of a column share a word.

A word is 2**16 * a + b, so that the sum P of its products is 2**16 * A + B. P is taken apart
at the end of each segment of a few columns, in which |A| and |B| are below 2**15: S += A and
T += P. Where code would be long, columns are in loops (rv32_forms.py says when).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...qformat import IntArray
from ...quantized import QuantizedLstm, Tables
from ..layout import passes
from ..layout.words import round_up
from .kernel import Effort
from .rv32_cell import TEMPLATE, Cell, CellKernel, biases, copy_h, frame_of, stream_of
from .rv32_forms import Form, plans
from .rv32_passes import Builder, LanePass, saved_registers


@dataclass(frozen=True)
class Order:
    """Values that the frame gets at `to` in the order of the sums, four a turn and the rest.

    Behind `pointer` they are at the places with which the stream begins.
    """

    pointer: str
    to: int
    turns: int
    rest: int


@dataclass(frozen=True, eq=False)
class LaneKernel(CellKernel):
    """What the template prints.

    order_words: those that the stream begins with; order_gap: bytes of them that fill a word.
    x_once: whether x is one value that stays in its pointer's register.
    """

    way: ClassVar[str] = "lanes"
    passes: tuple[LanePass, ...]
    x_shift: int
    x_once: bool
    orders: tuple[Order, ...]
    order_words: int
    order_gap: int


def lanes(
    layer: QuantizedLstm,
    tables: Tables,
    cell: Cell,
    form: Form,
    effort: Effort,
    h_aligned: bool,
) -> LaneKernel:
    """Return the kernel of a layer in a form."""
    n, k = layer.inputs, layer.units
    units = passes.split(k, form.group, form.kinds)
    planned = plans(layer, form, units)
    saved = saved_registers(form.group)
    kept, values, frame = frame_of(saved, form.group == 3, k + n * form.looped)
    orders: tuple[Order, ...] = ()
    places = {column: ("a0", column) for column in range(n)}
    places |= {n + unit: ("sp", values + unit) for unit in range(k)}
    x_once = layer.x_shift > 0 and n == 1 and not form.looped
    if form.looped:
        ordered = [column for share in planned[0].shares for column in share.order]
        places = {column: ("sp", values + place) for place, column in enumerate(ordered)}
        orders = (
            Order("a0", values, *divmod(n, 4)),
            Order("a1", values + n, *divmod(k, 4)),
        )
    builders = [
        Builder(layer, part, plan, places) for part, plan in zip(units, planned, strict=True)
    ]
    made = tuple(builder.made(cell.gates) for builder in builders)
    blocks = tuple(tuple(builder.blocks) for builder in builders)
    bias = biases(layer, tables, cell.gates)
    stream = stream_of(units, blocks, layer, [builder.starts(bias) for builder in builders])
    order_words = np.zeros(0, np.int64)
    if form.looped:
        order_words = _order_words([c if c < n else c - n for c in places])
    return LaneKernel(
        name="two lanes a word",
        template=TEMPLATE,
        stream=np.concatenate([order_words, stream]),
        units=units,
        blocks=blocks,
        cell=cell,
        saved=saved,
        kept=kept,
        frame=frame,
        copies=() if form.looped else (copy_h(layer, values, h_aligned, effort),),
        passes=made,
        x_shift=layer.x_shift,
        x_once=x_once,
        orders=orders,
        order_words=order_words.size,
        order_gap=4 * order_words.size - 2 * (n + k) * form.looped,
    )


def _order_words(places: list[int]) -> IntArray:
    """Return words of two places each."""
    halfwords = np.zeros(round_up(len(places), 2), "<i2")
    halfwords[: len(places)] = places
    return halfwords.view("<i4").astype(np.int64)
