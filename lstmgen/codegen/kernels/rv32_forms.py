"""How RV32IMC's lanes take a layer's columns: how many units share a pass, straight or in loops.

Straight code has an order of columns for each kind of passes. Where there is room for code, full
passes are of several kinds: the fewer rows share an order, the fewer ends of segments it has.
Loops have one order for all, in which the frame then has the values, and segments of fixed sizes.
"""

from dataclasses import dataclass, replace

import numpy as np

from ...qformat import IntArray
from ...quantized import QuantizedLstm
from ..layout import passes
from ..layout.passes import Units
from .kernel import Effort
from .segments import dealt, ends, ordered

LANE_LIMIT = 255
"""Largest sum of |weights| in a segment: times 128, the largest |value|, it is below 2**15."""

_STRAIGHT = 16
"""Columns of x, or of h, up to which they are straight code where the others are a loop."""

_PER_TURN = 3
"""Segments in each turn of a loop."""

_MOST: dict[Effort, int] = {"speed": 1800, "balanced": 72, "size": 0}
"""Columns up to which there are lanes: weights take two bytes each in them."""

_CODE: dict[Effort, tuple[int, int]] = {"speed": (5120, 8192), "balanced": (3584, 3584)}
"""Bytes that code may take: half of what the weights do, but no less and no more than these."""

_PAIRS = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))
"""Ways to put the gates i, f, g, o in words."""

_UNIT_BYTES, _COLUMN_BYTES, _WORDS_BYTES = 250, 4, 26
"""Estimated code of a unit's new state, of loading a value, and of a unit's two products."""


@dataclass(frozen=True)
class Form:
    """How many units share a pass, whether their columns are in loops, and how many kinds of
    such passes there are."""

    group: int
    looped: bool
    kinds: int = 1


@dataclass(frozen=True)
class Share:
    """Columns in the order of their sums: straight first, then those of a loop.

    sizes: of the segments in each turn of the loop.
    """

    straight: tuple[int, ...]
    looped: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()

    @property
    def order(self) -> tuple[int, ...]:
        """All columns."""
        return self.straight + self.looped

    @property
    def turns(self) -> int:
        """How often the loop is passed."""
        return len(self.looped) // sum(self.sizes) if self.looped else 0


@dataclass(frozen=True, eq=False)
class Plan:
    """How the words of one kind of passes take the columns.

    gates: two by two in a word; reach: (words, rows, columns) their |weights|; shares: of x
    and of h, or one of both.
    """

    gates: tuple[int, int, int, int]
    reach: IntArray
    shares: tuple[Share, ...]

    @property
    def ends(self) -> int:
        """How many ends of segments there are in straight code, all words together."""
        found = (self.ends_of(share.straight) for share in self.shares)
        return sum(len(places) for by_word in found for places in by_word)

    def ends_of(self, order: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Return for each word where in `order` it ends a segment."""
        return ends(self.reach, order, LANE_LIMIT)


def form_of(layer: QuantizedLstm, effort: Effort) -> Form | None:
    """Return the form of fewest instructions among those that are little enough code."""
    columns = layer.inputs + layer.units
    if columns > _MOST[effort]:
        return None
    least, most = _CODE[effort]
    room = min(max(4 * layer.units * columns, least), most)
    groups = range(min(3 if effort == "speed" else 2, layer.units), 0, -1)
    forms = [Form(group, looped) for looped in (False, True) for group in groups]
    fitting = [form for form in forms if _code_bytes(layer, form) <= room]
    best = min(fitting, key=lambda form: _instructions(layer, form), default=None)
    if best is None or best.looped or effort != "speed":
        return best
    several = [replace(best, kinds=kinds) for kinds in range(1, layer.units // best.group + 1)]
    return [form for form in several if _code_bytes(layer, form) <= room][-1]


def _code_bytes(layer: QuantizedLstm, form: Form) -> int:
    columns = layer.inputs + layer.units
    if form.looped:
        parts = (layer.inputs, layer.units)
        columns = sum(part if part <= _STRAIGHT else 6 * _PER_TURN for part in parts)
    groups = [part.group for part in passes.split(layer.units, form.group, form.kinds)]
    return sum(
        columns * (_COLUMN_BYTES + _WORDS_BYTES * group) + _UNIT_BYTES * group for group in groups
    )


def _instructions(layer: QuantizedLstm, form: Form) -> float:
    """Return an estimate of those in which forms differ."""
    columns = layer.inputs + layer.units
    units = passes.split(layer.units, form.group)
    # Three units take the constants' registers.
    found = sum(
        part.count * (columns * (1 + 6 * part.group) + 4 + 6 * (part.group == 3)) for part in units
    )
    if not form.looped:
        return found
    # Turns of 15 columns, longer segments apart, and the values put in order.
    turns = sum(part.count for part in units) * columns * 3 / (5 * _PER_TURN)
    return found + turns + layer.units * columns / 4 + 5 * columns


def plans(layer: QuantizedLstm, form: Form, units: tuple[Units, ...]) -> tuple[Plan, ...]:
    """Return for each kind of passes how it takes x's columns and h's, or all together."""
    n, k = layer.inputs, layer.units
    rows = np.abs(np.concatenate([layer.wx, layer.wh], 1))
    weights = [part.of(passes.gates(rows)) for part in units]
    if form.looped:
        opens = layer.x_shift > 0
        shares = _looped(rows, range(n), opens), _looped(rows, range(n, n + k), False)
        return tuple(Plan(_PAIRS[0], _word_reach(part, _PAIRS[0]), shares) for part in weights)
    parts = (range(n), range(n, n + k)) if layer.x_shift else (range(n + k),)
    found = []
    for part in weights:
        paired = [(gates, _word_reach(part, gates)) for gates in _PAIRS]
        tried = [
            Plan(gates, reach, tuple(_straight(reach, columns) for columns in parts))
            for gates, reach in paired
        ]
        found.append(min(tried, key=lambda plan: plan.ends))
    return tuple(found)


def _word_reach(weights: IntArray, gates: tuple[int, ...]) -> IntArray:
    """Return (2 * group, 2 * count, columns) by word, for |weights| (count, group, 4, columns)."""
    count, group, _, columns = weights.shape
    words = weights[:, :, list(gates)].reshape(count, group, 2, 2, columns)
    return words.transpose(1, 2, 0, 3, 4).reshape(2 * group, 2 * count, columns)


def _straight(reach: IntArray, columns: range) -> Share:
    """Return columns of which each word ends its own segments."""
    found = ordered(reach[:, :, columns.start : columns.stop], LANE_LIMIT)
    return Share(tuple(columns.start + column for column in found))


def _looped(rows: IntArray, columns: range, opens: bool) -> Share:
    """Return columns in as few segments of a loop as can be; rows: (4k, columns) |weights|.

    opens: whether S and T begin with the first segment, which then is straight code.
    """
    reach = rows[:, columns.start : columns.stop]
    count = len(columns)
    if count <= _STRAIGHT:
        return _straight(rows[None], columns)
    # As many a turn as if no segment had room to spare, or less.
    fullest = max(int(reach.sum(1).max()), 1)
    most = min(count, -(-count * LANE_LIMIT * _PER_TURN // fullest))
    tried = []
    for per_turn in range(min(most, 2 * _STRAIGHT, (count - opens) // 2), 0, -1):
        turns = (count - opens) // per_turn
        left = count - turns * per_turn
        sizes = _even(per_turn, min(per_turn, _PER_TURN))
        before = _even(left, -(-left // max(sizes)))
        tried.append((len(before) + len(sizes) * turns, left, before, sizes, turns))
    for _, left, before, sizes, turns in sorted(tried):
        found = dealt(reach, before + sizes * turns, LANE_LIMIT)
        if found is not None:
            order = tuple(columns.start + column for column in found)
            return Share(order[:left], order[left:], sizes)
    raise AssertionError("two weights of 8 bits always fit")


def _even(columns: int, parts: int) -> tuple[int, ...]:
    """Return sizes that differ by one at most."""
    return tuple(columns // parts + (part < columns % parts) for part in range(parts))
