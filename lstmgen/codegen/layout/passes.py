"""Units in passes: what a few units need lies side by side, column by column, as a pass reads it.

For RISC-V, which has registers for the sums of two or three units. The words of a pass are
blocks, one behind the other; of each kind a unit has, for every column:

- lanes: two words of two weights, 2**16 * a + b; which gates those are is the block's to say.
- wide: four words, each of those with its upper weight alone behind it; x is aligned with h
  by the weights (rule N2).
- bytes, halfwords: four weights, of the gates i, f, g, o.

and once: starts, four words that its sums begin with; middle and shifts, a byte for each gate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...qformat import IntArray
from ...quantized import QuantizedLstm
from .words import int16, int32

Kind = Literal["starts", "lanes", "wide", "bytes", "halfwords", "middle", "shifts"]

LANES = 2
"""Words of `lanes` that a unit has for a column."""

_WORDS: dict[Kind, int] = {
    "starts": 4,
    "lanes": LANES,
    "wide": 4,
    "bytes": 1,
    "halfwords": 2,
    "middle": 1,
    "shifts": 1,
}
"""Words of a unit, for each column where there are columns."""


@dataclass(frozen=True)
class Block:
    """What lies side by side for the units of a pass.

    columns: of x || h, in their order; gates: in the order in which lanes have them.
    """

    kind: Kind
    columns: tuple[int, ...] = ()
    gates: tuple[int, ...] = (0, 1, 2, 3)

    @property
    def words(self) -> int:
        """The number of words that each unit has here."""
        return _WORDS[self.kind] * max(len(self.columns), 1)


@dataclass(frozen=True)
class Units:
    """The units from `first` on that `count` passes take, `group` of them each."""

    first: int
    count: int
    group: int

    def of(self, units: IntArray) -> IntArray:
        """Return (units, ...) as (count, group, ...), those of these passes."""
        taken = units[self.first : self.first + self.count * self.group]
        return taken.reshape(self.count, self.group, *units.shape[1:])


def split(units: int, group: int, kinds: int = 1) -> tuple[Units, ...]:
    """Return the passes of `group` units in so many kinds, and one of what they leave."""
    count, rest = divmod(units, group)
    found: list[Units] = []
    for kind in range(kinds):
        first = sum(part.count for part in found)
        found.append(Units(first * group, -(-(count - first) // (kinds - kind)), group))
    found.append(Units(units - rest, 1, rest))
    return tuple(part for part in found if part.count and part.group)


def gates(rows: IntArray) -> IntArray:
    """Return rows (4k, ...) of the gates i, f, g, o as (k, 4, ...)."""
    return rows.reshape(4, rows.shape[0] // 4, *rows.shape[1:]).swapaxes(0, 1)


def pass_words(
    blocks: Sequence[Block], units: Units, layer: QuantizedLstm, starts: IntArray
) -> IntArray:
    """Return (count, words): what the passes over `units` read; starts: (k, 4) words."""
    columns = gates(np.concatenate([layer.wx, layer.wh], 1))
    found = []
    for block in blocks:
        if block.kind == "starts":
            words = units.of(starts)
        elif block.kind in ("middle", "shifts"):
            rows = layer.mid_shift if block.kind == "middle" else np.abs(layer.shift)
            words = _narrow(units.of(gates(rows)), 1)
        else:
            weights = units.of(columns)[:, :, list(block.gates)][..., list(block.columns)]
            if block.kind == "wide":
                weights = weights << layer.x_shift
            words = _column_words(block.kind, weights.transpose(0, 3, 1, 2))
        found.append(words.reshape(units.count, -1))
    return int32(np.concatenate(found, 1))


def _column_words(kind: Kind, weights: IntArray) -> IntArray:
    """Return the words of weights (count, columns, group, 4)."""
    if kind in ("bytes", "halfwords"):
        return _narrow(weights, 1 if kind == "bytes" else 2)
    upper, lower = weights[..., 0::2], weights[..., 1::2]
    words = (upper << 16) + lower
    return np.stack([words, upper], -1) if kind == "wide" else words


def _narrow(values: IntArray, size: int) -> IntArray:
    """Return words of integers of `size` bytes; the last axis has four."""
    return np.ascontiguousarray(values.astype(f"<i{size}")).view("<i4").astype(np.int64)


def unpack(
    stream: IntArray, passes: Sequence[tuple[Units, Sequence[Block]]], layer: QuantizedLstm
) -> tuple[IntArray, IntArray]:
    """Return the weights (4k, n), (4k, k) of the passes' words, one behind the other."""
    n, k = layer.inputs, layer.units
    found = np.empty((k, 4, n + k), np.int64)
    for units, blocks in passes:
        count, group = units.count, units.group
        size = count * group * sum(block.words for block in blocks)
        words, stream = stream[:size].reshape(count, -1), stream[size:]
        taken = found[units.first : units.first + count * group]
        at = 0
        for block in blocks:
            part = words[:, at : at + group * block.words]
            at += group * block.words
            if block.columns:
                part = part.reshape(count, len(block.columns), group, -1)
                weights = _weights(block.kind, part).transpose(0, 2, 3, 1)
                weights = weights.reshape(count * group, 4, -1)
                shift = layer.x_shift if block.kind == "wide" else 0
                at_once = np.ix_(range(len(taken)), block.gates, block.columns)
                taken[at_once] = weights >> shift
    rows = found.swapaxes(0, 1).reshape(4 * k, n + k)
    return rows[:, :n], rows[:, n:]


def _weights(kind: Kind, words: IntArray) -> IntArray:
    """Invert _column_words: return (count, columns, group, 4)."""
    if kind in ("bytes", "halfwords"):
        narrow = np.ascontiguousarray(words.astype("<i4"))
        return narrow.view("<i1" if kind == "bytes" else "<i2").astype(np.int64)
    words = words[..., 0::2] if kind == "wide" else words
    lower = int16(words)
    return np.stack([words - lower >> 16, lower], -1).reshape(*words.shape[:3], 4)
