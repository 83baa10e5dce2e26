"""From accumulator to pre-activation V = acc * 2**-s (rule N4): which C does it, row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..bounds import INT32_MAX
from ..qformat import IntArray

Kind = Literal["none", "right", "left", "right_by_row", "left_by_row", "any_by_row"]


@dataclass(frozen=True)
class Rescale:
    """How one group of rows (a gate, or a dense layer) is rescaled.

    kind: `none`, or a shift to the right or left that is a constant or read from a table
        by row; `any_by_row` reads signed shifts and clamps: rule N4 in full.
    shift: the constant's magnitude.
    limit: the magnitude to clamp to (before a shift to the left, else behind); None where
        the bound proves that it cannot be passed.
    """

    kind: Kind
    shift: int = 0
    limit: int | None = None

    @property
    def factor(self) -> int:
        """What a shift to the left multiplies by."""
        return 1 << self.shift

    @property
    def acts(self) -> bool:
        """Whether V can differ from the accumulator."""
        return self.kind != "none" or self.limit is not None

    @property
    def by_row(self) -> bool:
        """Whether the shifts are read from a table."""
        return self.kind.endswith("_by_row")

    @property
    def helpers(self) -> tuple[str, ...]:
        """The C functions it calls, and those that these call."""
        own: dict[Kind, tuple[str, ...]] = {
            "right": ("asr",),
            "right_by_row": ("asr",),
            "left_by_row": ("shl",),
            "any_by_row": ("asr", "clamp", "shl", "rescale"),
        }
        return (*own.get(self.kind, ()), *(() if self.limit is None else ("clamp",)))


@dataclass(frozen=True, eq=False)
class ShiftTable:
    """Shifts by row: magnitudes, or with their sign where a group has both directions."""

    values: IntArray
    signed: bool
    meaning: str


def rescales(
    shifts: list[IntArray], clamped: list[NDArray[np.bool_]], limits: Sequence[int] = ()
) -> tuple[Rescale, ...]:
    """Return the rescaling of each group of rows from its shifts s_r and needed clamps.

    limits: of each group, by default what int32 holds. The groups share one table: where one
    of them needs signs, all that read it take them.
    """
    most = limits or [INT32_MAX] * len(shifts)
    ways = tuple(
        _rescale(s, bool(c.any()), limit)
        for s, c, limit in zip(shifts, clamped, most, strict=True)
    )
    if not any(way.kind == "any_by_row" for way in ways):
        return ways
    return tuple(
        Rescale("any_by_row", limit=limit) if way.by_row else way
        for way, limit in zip(ways, most, strict=True)
    )


def _rescale(shift: IntArray, clamped: bool, limit: int) -> Rescale:
    lo, hi = int(shift.min()), int(shift.max())
    kept = limit if clamped else None
    if lo == hi == 0:
        return Rescale("none", limit=kept)
    if lo == hi > 0:
        return Rescale("right", hi, kept)
    if lo == hi:
        return Rescale("left", -lo, None if kept is None else kept >> -lo)
    if lo >= 0:
        return Rescale("right_by_row", limit=kept)
    if hi <= 0 and not clamped:
        return Rescale("left_by_row")
    return Rescale("any_by_row", limit=limit)


def shift_table(shift: IntArray, ways: tuple[Rescale, ...]) -> ShiftTable | None:
    """Return the table that the groups' shifts are read from; None if all are constants."""
    kinds = {way.kind for way in ways if way.by_row}
    if not kinds:
        return None
    if "any_by_row" in kinds:
        return ShiftTable(shift, True, "To the right where positive, else to the left")
    side = {"right_by_row": "right", "left_by_row": "left"}
    meaning = "To the " + " or ".join(sorted({side[kind] for kind in kinds}, reverse=True))
    return ShiftTable(np.abs(shift), False, meaning)
