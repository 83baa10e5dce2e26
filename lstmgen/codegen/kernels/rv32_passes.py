"""Passes of RV32IMC's lanes, put together: each value with its words, and where those lie."""

from dataclasses import dataclass

import numpy as np

from ...qformat import IntArray
from ...quantized_layers import QuantizedLstm
from ..layout.passes import LANES, Block, Units
from .rv32_cell import FAR, OFFSET, UNIT, GateStep, shift_blocks
from .rv32_forms import Plan, Share

_HALF = 1 << 15
"""What P starts from, so that a right shift by 16 gives A."""

_ROOM = 100
"""Bytes within reach that columns leave for the start values and the shifts."""

_S = ("s0", "s1", "s2", "s3", "s4", "s5")
_T = ("s6", "s7", "s8", "s9", "s10", "s11")
_P = {1: ("s2", "s3"), 2: ("s4", "s5", "s10", "s11"), 3: ("t1", "t2", "t3", "t4", "t5", "t6")}
"""Registers of P for one, two and three units: for three those of the constants."""


def saved_registers(group: int) -> tuple[str, ...]:
    """Return the registers to save for passes over up to so many units."""
    return ("ra", *(_S + _T if group > 1 else (*_S[:2], *_P[1], *_T[:2])))


@dataclass(frozen=True)
class Word:
    """A word of a column: its number in the pass, whether its product begins or ends a segment.

    opens: whether T is P and S is taken from it, both beginning here.
    """

    number: int
    offset: int
    begins: bool
    ends: bool
    opens: bool


@dataclass(frozen=True)
class Column:
    """A value to load, the stream's pointer moved on before, and its words."""

    pointer: str
    value: int
    advance: int
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Part:
    """Columns that are summed one after the other, or in each of `turns` of a loop.

    values: where the frame has those of the loop; advance: what the stream's pointer is moved
    on by before it; step: in each turn.
    """

    columns: tuple[Column, ...]
    turns: int = 1
    values: int = 0
    advance: int = 0
    step: int = 0


@dataclass(frozen=True)
class LanePass:
    """`count` passes over `group` units.

    sums: registers of the gates' sums, for each unit; s, t, p: of the words'.
    opening: x where it has to be aligned with h behind it (rule N2). starts: where the start
    values are; wide: a column apart from all segments. shifts: where the units' shifts are;
    tail: what the stream's pointer then moves on by.
    far: whether it is too long for a conditional branch.
    """

    group: int
    count: int
    sums: tuple[tuple[str, ...], ...]
    s: tuple[str, ...]
    t: tuple[str, ...]
    p: tuple[str, ...]
    opening: tuple[Part, ...]
    starts: int
    wide: Column | None
    parts: tuple[Part, ...]
    shifts: int
    tail: int
    far: bool

    @property
    def reload(self) -> bool:
        """Whether constants have to be loaded again behind the sums."""
        return self.group == len(_P) or self.looped

    @property
    def looped(self) -> bool:
        """Whether there is a loop, which takes a constant's register."""
        return any(part.turns > 1 for part in (*self.opening, *self.parts))


class Builder:
    """One kind of passes, put together in the order in which they read the stream.

    segments: of each word; those of x are as many as its alignment with h makes of them.
    """

    def __init__(
        self,
        layer: QuantizedLstm,
        units: Units,
        plan: Plan,
        places: dict[int, tuple[str, int]],
    ) -> None:
        self.layer, self.units, self.plan, self.places = layer, units, plan, places
        self.segments = np.zeros(LANES * units.group, np.int64)
        self.blocks: list[Block] = []
        self._at = self._base = self._instructions = 0

    def made(self, steps: tuple[GateStep, ...]) -> LanePass:
        """Return the passes."""
        shares = self.plan.shares
        opening: tuple[Part, ...] = ()
        wide = None
        aligned = self.layer.x_shift > 0
        if aligned and self.layer.inputs > 1:
            opening = self._parts(shares[0], opens=True)
            self.segments <<= self.layer.x_shift
        starts = self._place(Block("starts"))
        if aligned and self.layer.inputs == 1:
            wide = self._wide(shares[0])
        behind = shares[1:] if aligned else shares
        parts = tuple(part for share in behind for part in self._parts(share, opens=False))
        shifts = self._at - self._base
        for block in shift_blocks(steps)[1]:
            self._place(block)
        group = self.units.group
        words = LANES * group
        instructions = self._instructions + 10 * words + UNIT * group + 20
        return LanePass(
            group,
            self.units.count,
            tuple(self._sums(unit) for unit in range(group)),
            _S[:words],
            _T[:words],
            _P[group],
            opening,
            starts,
            wide,
            parts,
            shifts,
            self._at - self._base,
            instructions > FAR,
        )

    def starts(self, bias: IntArray) -> IntArray:
        """Return (k, 4) what S and T of both words begin with, from biases (4, k)."""
        first_upper, first_lower, second_upper, second_lower = bias[list(self.plan.gates)]
        place = (np.arange(bias.shape[1]) - self.units.first) % self.units.group
        halves = _HALF * self.segments.reshape(self.units.group, LANES)[place].T
        first = first_lower + (first_upper << 16) - halves[0]
        second = second_lower + (second_upper << 16) - halves[1]
        return np.stack([first_upper, first, second_upper, second], 1)

    def _sums(self, unit: int) -> tuple[str, ...]:
        """Return the registers in which a unit's gates i, f, g, o are when the sums are done."""
        words = range(LANES * unit, LANES * (unit + 1))
        registers = [register for word in words for register in (_S[word], _T[word])]
        return tuple(registers[self.plan.gates.index(gate)] for gate in range(4))

    def _parts(self, share: Share, opens: bool) -> tuple[Part, ...]:
        """Return the straight columns, then the loop."""
        parts = []
        if share.straight:
            parts.append(Part(self._columns(share.straight, opens)))
        if share.looped:
            parts.append(self._loop(share))
        self.blocks.append(Block("lanes", share.order, self.plan.gates))
        return tuple(parts)

    def _columns(self, order: tuple[int, ...], opens: bool) -> tuple[Column, ...]:
        by_word = self.plan.ends_of(order)
        self.segments += [len(places) for places in by_word]
        self._instructions += 3 * sum(map(len, by_word))
        columns = []
        for place, column in enumerate(order):
            offset, advance = self._next(4 * len(by_word))
            words = tuple(
                Word(
                    word,
                    offset + 4 * word,
                    begins=place == 0 or place - 1 in places,
                    ends=place in places,
                    opens=opens and place <= places[0],
                )
                for word, places in enumerate(by_word)
            )
            columns.append(Column(*self.places[column], advance, words))
            self._instructions += 2 + 3 * len(words)
        return tuple(columns)

    def _loop(self, share: Share) -> Part:
        """Return segments that all words share; the pointer a0 goes over the frame's values."""
        words = LANES * self.units.group
        per_turn = sum(share.sizes)
        first, advance = self._next(4 * words * per_turn)
        last = set(np.cumsum(share.sizes) - 1)
        columns = tuple(
            Column(
                "a0",
                place,
                0,
                tuple(
                    Word(
                        word,
                        first + 4 * (words * place + word),
                        begins=place == 0 or place - 1 in last,
                        ends=place in last,
                        opens=False,
                    )
                    for word in range(words)
                ),
            )
            for place in range(per_turn)
        )
        step = 4 * words * per_turn
        self._at += step * (share.turns - 1)
        self._base += step * share.turns
        self.segments += len(share.sizes) * share.turns
        self._instructions += per_turn * (1 + 3 * words) + 3 * words * len(last) + 8
        return Part(columns, share.turns, self.places[share.looped[0]][1], advance, step)

    def _wide(self, share: Share) -> Column:
        """Return x's only column, aligned with h by weights too large for a lane."""
        words = LANES * self.units.group
        offset = self._place(Block("wide", share.order, self.plan.gates))
        self._instructions += 1 + 6 * words
        found = tuple(
            Word(word, offset + 8 * word, begins=False, ends=False, opens=False)
            for word in range(words)
        )
        return Column(*self.places[share.order[0]], 0, found)

    def _place(self, block: Block) -> int:
        """Return the offset of a block that does without a move of the pointer."""
        self.blocks.append(block)
        offset = self._at - self._base
        self._at += 4 * block.words * self.units.group
        return offset

    def _next(self, size: int) -> tuple[int, int]:
        """Return the offset of the next bytes, and what the pointer is moved on by before."""
        offset = self._at - self._base
        advance = offset if offset + size > OFFSET - _ROOM else 0
        self._base += advance
        self._at += size
        return offset - advance, advance
