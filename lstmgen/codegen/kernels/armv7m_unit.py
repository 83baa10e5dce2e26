"""What the sums of a unit's four gates are made of on Cortex-M3, stage by stage.

Unit builds the stages, which a template prints, together with the words that they read from
the stream and the order in which the values of h and x lie in the frame.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ...qformat import IntArray
from ...quantized_layers import QuantizedLstm
from ..layout import lanes
from ..layout.lanes import UnitWords, Way
from ..layout.words import int32
from .lanes import reach_of, word_ends

SUMS = ("r8", "r9", "r10", "r11")
"""The registers that gates i, f, g, o are summed in."""

GROUP = 4
"""Columns that are loaded together."""

_PAIR_REACH = 1020
"""Largest offset of LDRD."""

_LANE_OFFSET = 1 << 15
"""What the sum of a segment of lanes starts from, so that its upper half is that of gate i or g."""

Ends = tuple[tuple[int, ...], tuple[int, ...]]
"""Behind which columns the segments of lanes end, of the words for (i, f) and for (g, o)."""


@dataclass(frozen=True)
class Word:
    """A word of weights, and the sums of its lanes, the highest first."""

    sums: tuple[str, ...]

    @property
    def lane(self) -> int:
        """The width of a lane."""
        return 32 // len(self.sums)


WORDS: dict[Way, tuple[Word, ...]] = {
    "halves": (Word(SUMS[:2]), Word(SUMS[2:])),
    "bytes": (Word(SUMS),),
    "single": tuple(Word((register,)) for register in SUMS),
}
"""The words of a column, but for lanes."""


EXCESS: dict[Way, int] = {"halves": lanes.HALF_SHIFT, "bytes": lanes.BYTE_SHIFT}
"""By what power of two the sum of the values is too much in the sums of lower lanes."""


def too_much(way: Way) -> tuple[str, ...]:
    """Return the sums of lower lanes."""
    return tuple(register for word in WORDS[way] for register in word.sums[1:])


@dataclass(frozen=True)
class Columns:
    """Columns that are multiplied a word at a time.

    offset: of their values in the frame. turns: of a loop that takes `per_turn` groups of four
    columns each, 0 for no loop. rest: the sizes of the groups behind it, unrolled. pointer:
    whether lr has to be set to the values or points to them already; None where they are so few
    that they are loaded by offset.
    """

    kind: ClassVar[str] = "columns"
    words: tuple[Word, ...]
    offset: int
    turns: int
    per_turn: int
    rest: tuple[int, ...]
    pointer: Literal["set", "kept"] | None

    @property
    def loop_end(self) -> int:
        """The offset behind the values of the loop."""
        return self.offset + 4 * GROUP * self.per_turn * self.turns

    @property
    def end(self) -> int:
        """The offset behind all values."""
        return self.loop_end + 4 * sum(self.rest)

    @classmethod
    def of(
        cls,
        words: tuple[Word, ...],
        offset: int,
        count: int,
        per_turn: int,
        pointer: Literal["set", "kept"] | None = "set",
    ) -> "Columns":
        """Return `count` columns, in a loop of at least two turns unless `per_turn` is 0."""
        turns = count // (GROUP * per_turn) if per_turn else 0
        turns = turns if turns > 1 else 0
        left = count - turns * GROUP * per_turn
        rest = tuple(min(GROUP, left - at) for at in range(0, left, GROUP))
        return cls(words, offset, turns, per_turn, rest, pointer)


@dataclass(frozen=True)
class Lane:
    """What a column does to one of the two sums of lanes.

    starts, ends: whether a segment does here. sets: whether the sums of the gates begin with
    that segment, rather than that it is added to them.
    """

    starts: bool
    ends: bool
    sets: bool


@dataclass(frozen=True)
class LaneStep:
    """One or two columns of lanes: the offset of their values, and each one's two sums.

    paired: whether LDRD reaches them.
    """

    offset: int
    columns: tuple[tuple[Lane, Lane], ...]
    paired: bool


@dataclass(frozen=True)
class Lanes:
    """Columns that are multiplied as lanes, unrolled."""

    kind: ClassVar[str] = "lanes"
    steps: tuple[LaneStep, ...]


@dataclass(frozen=True)
class Between:
    """What is done before, between and behind columns.

    start: the sums begin with words of the stream. start_shifted: these are added to 2^shift
    times the sums. apart, apart_bytes: sums over words become those of gates, but for what has
    to be taken off; join, join_bytes: the inverse. correct: the frame's word at `offset` is
    taken off `sums`. middle: rule N3b.
    """

    kind: Literal[
        "start",
        "start_shifted",
        "apart",
        "apart_bytes",
        "join",
        "join_bytes",
        "correct",
        "middle",
    ]
    shift: int = 0
    offset: int = 0
    sums: tuple[str, ...] = ()


Stage = Columns | Lanes | Between


class Unit(UnitWords):
    """The stages of a unit so far, and what belongs to them; values lie in the frame by `order`."""

    def __init__(self, layer: QuantizedLstm, head: int, per_turn: int) -> None:
        """Start with a frame of `head` bytes; loops take `per_turn` groups, 0 for no loops."""
        super().__init__(layer)
        self.stages: list[Stage] = []
        self._layer = layer
        self._head = head
        self._per_turn = per_turn
        self._pointing = False

    @property
    def end(self) -> int:
        """The size of the frame."""
        return self._head + 4 * len(self.order)

    def apart(self, way: Way) -> None:
        """Add that the sums become those of gates."""
        self.stages.append(Between("apart_bytes" if way == "bytes" else "apart"))

    def join(self, way: Way) -> None:
        """Add the inverse."""
        self.stages.append(Between("join_bytes" if way == "bytes" else "join"))

    def correct(self, offset: int, sums: tuple[str, ...]) -> None:
        """Add that a word of the frame is taken off sums."""
        self.stages.append(Between("correct", offset=offset, sums=sums))

    def start(self, way: Way, ends: Ends = ((), ())) -> None:
        """Add the biases, less what the segments of lanes will add to the sums."""
        self._start(way, ends)
        self.stages.append(Between("start"))

    def start_shifted(self, shift: int, before: Ends, ends: Ends) -> None:
        """Add the biases likewise to the sums of lanes with segments `before`, shifted."""
        self._start("lanes", ends, before, shift)
        self.stages.append(Between("start_shifted", shift))

    def middle(self, words: IntArray) -> None:
        """Add rule N3b, which reads (k, ...) words."""
        self.words.append(words)
        self.stages.append(Between("middle"))

    def columns(self, columns: range, way: Way) -> None:
        """Add columns a word at a time."""
        by_offset = len(columns) <= 2 and not self._pointing and self.end <= _PAIR_REACH
        pointer: Literal["set", "kept"] = "kept" if self._pointing else "set"
        self.stages.append(
            Columns.of(
                WORDS[way],
                self.end,
                len(columns),
                self._per_turn,
                None if by_offset else pointer,
            )
        )
        self._pointing = not by_offset
        self.add(columns, way)

    def ends(self, order: tuple[int, ...]) -> Ends:
        """Return where segments end if columns are taken as lanes in this order."""
        return word_ends(reach_of(self._layer)[:, :, list(order)])

    def lanes(self, order: tuple[int, ...], ends: Ends, sets: bool = False) -> None:
        """Add columns as lanes; sets: the sums begin with them."""

        def lane(column: int, of: tuple[int, ...]) -> Lane:
            return Lane(column == 0 or column - 1 in of, column in of, sets and column <= of[0])

        columns = [(lane(at, ends[0]), lane(at, ends[1])) for at in range(len(order))]
        steps = []
        for at in range(0, len(order), 2):
            offset = self.end + 4 * at
            steps.append(LaneStep(offset, tuple(columns[at : at + 2]), offset <= _PAIR_REACH))
        self.stages.append(Lanes(tuple(steps)))
        self._pointing = False
        self.add(order, "lanes")

    def _start(self, way: Way, ends: Ends, before: Ends = ((), ()), shift: int = 0) -> None:
        segments = [
            len(end) + (len(first) << shift) for end, first in zip(ends, before, strict=True)
        ]
        offsets = _LANE_OFFSET * np.array([0, segments[0], 0, segments[1]])
        words = lanes.start_words(self._layer.bias.reshape(4, -1), way)
        self.words.append(int32(words - offsets))
