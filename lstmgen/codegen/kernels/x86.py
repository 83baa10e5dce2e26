"""Kernels for x86-64, in C: SSE2, AVX2 where the processor has it, and plain C elsewhere.

Eight units at a time, a unit in each lane: x and h lie one after the other as int16, and every
pair of them meets, in one PMADDWD, a vector of pairs of weights. The four gates' sums stay in
registers until the units' new states are stored. The plain C beside the two reads the same
stream, so a file made for x86-64 compiles, and computes the same, for any other machine too.

Weights are not -32768 and sums are proved to fit int32, so PMADDWD is exact, and shifts to
either side and clamps exist as vectors: no weights are unfit.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import QuantizedLstm, Tables
from ..rescale import rescales, shift_table
from .kernel import Choice, Effort, Kernel

TEMPLATE = "x86.c.j2"

LANES = 8
"""Units of a group."""

_PER_TURN = {"speed": 8, "balanced": 2}
"""Column pairs of one turn of the loop with AVX2, 60 bytes of code each."""

_UNROLLED = {"speed": 32, "balanced": 0}
"""Column pairs up to which there is no loop."""


@dataclass(frozen=True, eq=False)
class PairKernel(Kernel):
    """What the template prints.

    groups: of LANES units; tail: units of the last one if they are fewer, else 0.
    columns: of x and h together; pairs: of columns, the last perhaps with a 0.
    group_words: of the stream; shifts_at, weights_at: where in a group they begin.
    turns: of the loop over pairs with AVX2, `per_turn` each; the rest is unrolled.
    """

    stream_bits: ClassVar[Literal[16, 32]] = 16
    groups: int
    tail: int
    columns: int
    pairs: int
    group_words: int
    shifts_at: int
    weights_at: int
    turns: int
    per_turn: int

    @property
    def whole(self) -> int:
        """The number of groups that have LANES units."""
        return self.groups - (self.tail > 0)

    @property
    def looped(self) -> int:
        """The number of pairs that the loop takes."""
        return self.turns * self.per_turn


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
    table = shift_table(layer.shift, ways)
    columns = layer.inputs + k
    pairs = (columns + 1) // 2
    turns = pairs // _PER_TURN[effort] if pairs > _UNROLLED[effort] else 0
    shifts_at = 2 * 4 * LANES
    weights_at = shifts_at + (0 if table is None else 4 * LANES)
    stream = _stream(layer, None if table is None else table.values)
    kernel = PairKernel(
        name="column pairs",
        template=TEMPLATE,
        stream=stream,
        groups=len(stream),
        tail=k % LANES,
        columns=columns,
        pairs=pairs,
        group_words=stream.shape[1],
        shifts_at=shifts_at,
        weights_at=weights_at,
        turns=turns,
        per_turn=_PER_TURN[effort],
    )
    return Choice(kernel, "PMADDWD and int32 sums are exact for any weights")


def _stream(layer: QuantizedLstm, shifts: IntArray | None) -> IntArray:
    """Return the groups' halfwords, (groups, words).

    Of each group the biases [gate][unit] as low and high halves, the shifts [gate][unit] if
    they are not constants, and the weights [pair][gate][unit][2].
    """
    bias = _grouped(layer.bias[:, None])
    halves = np.concatenate([((bias & 0xFFFF) ^ 0x8000) - 0x8000, bias >> 16], 3)
    weights = _grouped(_even(np.concatenate([layer.wx, layer.wh], 1)))
    paired = weights.reshape(*weights.shape[:3], -1, 2).transpose(0, 3, 1, 2, 4)
    found = [halves, *([] if shifts is None else [_grouped(shifts[:, None])]), paired]
    return np.concatenate([part.reshape(len(bias), -1) for part in found], 1)


def unpack(kernel: PairKernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Invert the packing: return the weights (4k, n), (4k, k) that the stream holds."""
    words = kernel.stream[:, kernel.weights_at :]
    paired = words.reshape(kernel.groups, kernel.pairs, 4, LANES, 2)
    rows = paired.transpose(2, 0, 3, 1, 4).reshape(4, kernel.groups * LANES, -1)
    columns = rows[:, : layer.units, : kernel.columns].reshape(4 * layer.units, -1)
    return columns[:, : layer.inputs], columns[:, layer.inputs :]


def _grouped(rows: IntArray) -> IntArray:
    """Return (4k, columns) by group, gate and lane; lanes without a unit hold 0."""
    gates = rows.reshape(4, -1, rows.shape[1])
    filled = np.pad(gates, ((0, 0), (0, -gates.shape[1] % LANES), (0, 0)))
    return filled.reshape(4, -1, LANES, rows.shape[1]).swapaxes(0, 1)


def _even(columns: IntArray) -> IntArray:
    return np.pad(columns, ((0, 0), (0, columns.shape[1] % 2)))
