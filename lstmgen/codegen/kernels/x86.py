"""Kernels for x86-64, in C: SSE2, AVX2 where the processor has it, and plain C elsewhere.

Eight units at a time, a unit in each lane; with AVX2 sixteen, which share the values of h and x.
The four gates' sums stay in registers until the units' new states are stored. The plain C beside
the two reads the same stream, so a file made for x86-64 compiles, and computes the same, for any
other machine too. Shifts to either side and clamps exist as vectors.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..rescale import Rescale, rescales, shift_table
from .kernel import Choice, Effort, Kernel
from .x86_pairs import EXACT, LANES, Run, halves, padded, run

_WAYS = {
    "right_by_row": ("lanes", "right"),
    "left_by_row": ("lanes", "left"),
    "any_by_row": ("lanes", "right", "left", "limit", "rescale"),
}
"""The shared functions that kinds of shifts use."""


@dataclass(frozen=True, eq=False)
class PairKernel(Kernel):
    """What the template prints.

    groups: of LANES units; tail: units of the last one if they are fewer, else 0. twofold:
    whether AVX2 takes two groups at a time. columns: h from 0, x from x_at on, a 0 where they
    are odd. group_words: of the stream; shifts_at, mids_at, weights_at: where in a group they
    begin. runs: of column pairs, the first up to where sums are shifted (rule N3b), if they are.
    x_right: from a byte of x as the upper one of two to x aligned (rule N2). uses: shared
    functions; plain: those of plain C.
    """

    stream_bits: ClassVar[Literal[16, 32]] = 16
    groups: int
    tail: int
    twofold: bool
    columns: int
    x_at: int
    group_words: int
    shifts_at: int
    mids_at: int
    weights_at: int
    runs: tuple[Run, ...]
    x_right: int
    unrolled: bool
    uses: frozenset[str]
    plain: frozenset[str]

    @property
    def copies_output(self) -> bool:
        """Always: gcc does not know that h and the output are not the same bytes."""
        return True

    @property
    def whole(self) -> int:
        """The number of groups that have LANES units."""
        return self.groups - (self.tail > 0)

    @property
    def pairs(self) -> int:
        """The number of column pairs."""
        return self.runs[-1].end


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, h_aligned: bool
) -> Choice:
    """Return the kernel, but for "size", which these layouts do not serve."""
    del tables, h_aligned  # the template takes them from the view; loads need no alignment
    if effort == "size":
        return Choice(None, "the least flash was asked for")
    if layer.x.bits + layer.x_shift > 16:
        return Choice(None, "inputs aligned with h (rule N2) exceed 16 bits")
    k = layer.units
    rows = [slice(g * k, (g + 1) * k) for g in range(4)]
    ways = rescales([layer.shift[r] for r in rows], [bounds.clamped[r] for r in rows])
    mids = rescales([layer.mid_shift[r] for r in rows], [np.zeros(k, np.bool_)] * 4)
    tables_of = [shift_table(layer.shift, ways), shift_table(layer.mid_shift, mids)]
    shifts = [None if table is None else table.values for table in tables_of]
    stream = _stream(layer, shifts)
    x_at = _x_at(layer)
    end = (x_at + layer.inputs + 1) // 2
    cuts = [0, x_at // 2, end] if layer.mid_shift.any() else [0, end]
    shifts_at = 2 * 4 * LANES
    mids_at = shifts_at + (0 if shifts[0] is None else 4 * LANES)
    groups = len(stream)
    kernel = PairKernel(
        name="column pairs",
        template="x86.c.j2",
        stream=stream,
        groups=groups,
        tail=k % LANES,
        twofold=effort == "speed" and groups > 1,
        columns=x_at + layer.inputs,
        x_at=x_at,
        group_words=stream.shape[1],
        shifts_at=shifts_at,
        mids_at=mids_at,
        weights_at=mids_at + (0 if shifts[1] is None else 4 * LANES),
        runs=tuple(run(a, b, effort) for a, b in pairwise(cuts)),
        x_right=8 - layer.x_shift,
        unrolled=effort == "speed",
        uses=_uses(layer, (*ways, *mids)),
        plain=frozenset(name for way in (*ways, *mids) for name in way.helpers),
    )
    return Choice(kernel, EXACT)


def _uses(layer: QuantizedLstm, ways: tuple[Rescale, ...]) -> frozenset[str]:
    uses = {"units", "pair_4"}
    for value, count in ((layer.h, layer.units), (layer.x, layer.inputs)):
        if count >= LANES and value.storage_bits == 8:
            uses.add("widen_8")
        elif count >= LANES and (value is layer.h or not layer.x_shift):
            uses.add("copy_8")
    uses.update(name for way in ways for name in _WAYS.get(way.kind, ()))
    uses.update("limit" for way in ways if way.kind == "left" and way.limit is not None)
    return frozenset(uses)


def _x_at(layer: QuantizedLstm) -> int:
    """Return where x begins behind h: at a pair of its own where sums over h are shifted."""
    return layer.units + (layer.units % 2 if layer.mid_shift.any() else 0)


def _stream(layer: QuantizedLstm, shifts: list[IntArray | None]) -> IntArray:
    """Return the groups' halfwords, (groups, words).

    Of each group the biases [gate][unit] as low and high halves, the shifts of rules N4 and
    N3b [gate][unit] if they are not constants, and the weights [pair][gate][unit][2].
    """
    bias = halves(_grouped(layer.bias[:, None])[..., 0])
    columns = [padded(layer.wh, 2, 1)[:, : _x_at(layer)], layer.wx]
    weights = _grouped(padded(np.concatenate(columns, 1), 2, 1))
    paired = weights.reshape(*weights.shape[:3], -1, 2).transpose(0, 3, 1, 2, 4)
    tables = [_grouped(values[:, None]) for values in shifts if values is not None]
    parts = [bias, *tables, paired]
    return np.concatenate([part.reshape(len(bias), -1) for part in parts], 1)


def unpack(kernel: PairKernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Invert the packing: return the weights (4k, n), (4k, k) that the stream holds."""
    words = kernel.stream[:, kernel.weights_at :]
    paired = words.reshape(kernel.groups, kernel.pairs, 4, LANES, 2)
    rows = paired.transpose(2, 0, 3, 1, 4).reshape(4, kernel.groups * LANES, -1)
    columns = rows[:, : layer.units, : kernel.columns].reshape(4 * layer.units, -1)
    return columns[:, kernel.x_at :], columns[:, : layer.units]


def _grouped(rows: IntArray) -> IntArray:
    """Return (4k, columns) by group, gate and lane; lanes without a unit hold 0."""
    filled = padded(rows.reshape(4, -1, rows.shape[1]), LANES, 1)
    return filled.reshape(4, -1, LANES, rows.shape[1]).swapaxes(0, 1)
