"""What the sums of a unit's four gates are made of on Cortex-M0, stage by stage.

Columns are summed in r8-r11 (`Span`); between and behind them the sums are taken to r4-r7.
"""

from dataclasses import dataclass
from typing import Literal

from ...qformat import IntArray
from ...quantized_layers import QuantizedLstm
from ..layout import lanes
from ..layout.lanes import UnitWords, Way
from ..layout.words import int32
from .armv6m_cell import SUMS, Shifts, shifts_of
from .armv6m_columns import Span, lane_offsets, lane_span, way_span
from .armv7m_unit import EXCESS
from .kernel import Effort
from .lanes import Excess

UNIT_BYTES = 3000
"""Code that `speed` spends on units per turn, and on the columns of one unit."""

BALANCED_COLUMNS = 72
"""Columns up to which `balanced` unrolls a unit."""

TOTAL, OTHER = 0, 24
"""Where in the frame what is too much in most of the sums lies, and what is in some."""

_TURN_COLUMNS = 8
"""Columns of a loop's turn: a conditional branch reaches 256 bytes back."""

_COLUMN_BYTES: dict[Way, int] = {"halves": 23, "bytes": 24, "lanes": 14, "single": 20}
_EPILOGUE_BYTES = 230

_LOWER: dict[Way, tuple[str, ...]] = {
    "halves": (SUMS[1], SUMS[3]),
    "bytes": SUMS[1:],
    "single": (),
    "lanes": (),
}
"""The sums of lower lanes, in which there is too much."""


Kind = Literal[
    "clear", "start", "fetch", "park", "apart", "apart_bytes", "join", "join_bytes", "correct",
    "middle",
]  # fmt: skip


@dataclass(frozen=True)
class Step:
    """What is done before, between and behind columns.

    clear: the sums in r8-r11 are 0. start: words of the stream are added to them, fetch:
    nothing is; into r4-r7. park: the inverse of fetch. apart, apart_bytes: sums over words
    become those of gates, but for what is too much; join: the inverse. correct: the frame's
    word at `offset` is taken off `sums`. middle: rule N3b.
    """

    kind: Kind
    offset: int = 0
    sums: tuple[str, ...] = ()


Stage = Span | Step


class Unit(UnitWords):
    """The stages of a unit so far, and what belongs to them; middle: the shifts of rule N3b."""

    def __init__(self, layer: QuantizedLstm, moved: IntArray) -> None:
        """Start with nothing; moved: (4, k) additions to the biases."""
        super().__init__(layer)
        self.stages: list[Stage] = []
        self.middle: Shifts | None = None
        self._layer = layer
        self._bias = layer.bias.reshape(4, layer.units) + moved

    @property
    def code_bytes(self) -> int:
        """About what it takes if it is unrolled."""
        return _EPILOGUE_BYTES + sum(_COLUMN_BYTES[way] * count for _, way, count in self.parts)

    @property
    def looped(self) -> bool:
        """Whether it has loops."""
        return any(isinstance(stage, Span) and stage.turns for stage in self.stages)

    def step(self, *kinds: Kind) -> None:
        """Add steps."""
        self.stages += [Step(kind) for kind in kinds]

    def start(self, way: Way, segments: IntArray | int = 0) -> None:
        """Add the biases, less what the segments of lanes add to the sums."""
        self.words.append(int32(lanes.start_words(self._bias, way) - segments))
        self.step("start")

    def apart(self, way: Way) -> None:
        """Add that the sums in r4-r7 become those of gates, and the inverse is `join`."""
        self.step("apart_bytes" if way == "bytes" else "apart")

    def join(self, way: Way) -> None:
        """Add that they become sums over words."""
        self.step("join_bytes" if way == "bytes" else "join")

    def correct(self, offset: int, sums: tuple[str, ...]) -> None:
        """Add that a word of the frame is taken off sums."""
        if sums:
            self.stages.append(Step("correct", offset, sums))

    def mid(self, packed: bool) -> None:
        """Add rule N3b."""
        self.middle = shifts_of(self._layer.mid_shift.reshape(4, -1), packed)
        self.words.append(self.middle.words)
        self.step("middle")

    def columns(self, columns: range, way: Way, per_turn: int) -> None:
        """Add columns of words, behind others or as the first."""
        first = not self.stages
        span = way_span(way, len(columns), per_turn, starts=first)
        if first and span.turns:
            self.step("clear")
        self.stages.append(span)
        self.add(columns, way)

    def lanes(self, order: tuple[int, ...]) -> IntArray:
        """Add columns as lanes, the first; return what their segments add to the sums."""
        span = lane_span(self._layer, order)
        self.stages.append(span)
        self.add(order, "lanes")
        return lane_offsets(span.rest)


def lane_unit(layer: QuantizedLstm, order: tuple[int, ...], moved: IntArray, packed: bool) -> Unit:
    """Return a unit in lanes, all of its columns unrolled; packed: see Shifts."""
    unit = Unit(layer, moved)
    unit.start("lanes", unit.lanes(order))
    unit.apart("lanes")
    if layer.mid_shift.any():
        unit.mid(packed)
        unit.step("park")
        unit.columns(range(layer.units, layer.units + layer.inputs), "single", 0)
        unit.step("fetch")
    return unit


def word_unit(
    layer: QuantizedLstm, ways: tuple[Way, Way], effort: Effort, moved: IntArray, packed: bool
) -> Unit:
    """Return a unit whose columns of h and of x are multiplied in these ways."""
    k, every = layer.units, layer.units + layer.inputs
    h_way, x_way = ways
    size = _EPILOGUE_BYTES + _COLUMN_BYTES[h_way] * k + _COLUMN_BYTES[x_way] * layer.inputs
    fits = size <= UNIT_BYTES if effort == "speed" else every <= BALANCED_COLUMNS
    per_turn = 0 if fits else _TURN_COLUMNS
    unit = Unit(layer, moved)
    if layer.mid_shift.any():
        unit.columns(range(k), h_way, per_turn)
        unit.start(h_way)
        unit.apart(h_way)
        unit.correct(TOTAL, _LOWER[h_way])
        unit.mid(packed)
        _add_inputs(unit, range(k, every), x_way, per_turn)
    elif h_way == x_way:
        unit.columns(range(every), h_way, per_turn)
        unit.start(h_way)
        unit.apart(h_way)
        unit.correct(TOTAL, _LOWER[h_way])
    else:
        unit.columns(range(k), h_way, per_turn)
        unit.step("fetch")
        unit.apart(h_way)
        unit.join(x_way)
        unit.step("park")
        unit.columns(range(k, every), x_way, per_turn)
        unit.start(x_way)
        unit.apart(x_way)
        unit.correct(TOTAL, _LOWER[x_way])
        unit.correct(OTHER, tuple(sum for sum in _LOWER[h_way] if sum not in _LOWER[x_way]))
    return unit


def _add_inputs(unit: Unit, columns: range, way: Way, per_turn: int) -> None:
    """Add the columns of x to the sums of gates behind rule N3b."""
    if way == "single":
        unit.step("park")
        unit.columns(columns, way, per_turn)
        unit.step("fetch")
        return
    unit.join(way)
    unit.step("park")
    unit.columns(columns, way, per_turn)
    unit.step("fetch")
    unit.apart(way)
    unit.correct(OTHER, _LOWER[way])


def excesses(layer: QuantizedLstm, ways: tuple[Way, Way]) -> tuple[Excess, ...]:
    """Return what is too much in the sums of such a unit: r6 is the sum of h, r7 that of x, and
    r6 that of both where both are held in one way."""
    h, x = (EXCESS.get(way) for way in ways)
    if layer.mid_shift.any():
        powers = ((TOTAL, "r6", h), (OTHER, "r7", x))
        return tuple(Excess(at, ((total, p),)) for at, total, p in powers if p is not None)
    if h is None or x is None:
        return ()
    if h == x:
        return (Excess(TOTAL, (("r6", h),)),)
    return Excess(TOTAL, (("r6", h), ("r7", x))), Excess(OTHER, (("r6", h),))
