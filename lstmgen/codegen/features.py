"""The formats of an input's features as C spells them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..qformat import QFormat
from ..scaling import InputScaling
from .ctext import power_of_two

_PER_LINE = 8


@dataclass(frozen=True)
class Feature:
    """Fraction bits of one feature, the integer taken off, and the real values held, as text."""

    frac: int
    offset: int
    range: str


@dataclass(frozen=True)
class FeaturesView:
    """All features; and initializers with an entry for each, in lines without their braces.

    fracs, offsets: as of Feature. scales: 2^frac as float literals.
    """

    rows: tuple[Feature, ...]
    fracs: tuple[str, ...]
    offsets: tuple[str, ...]
    scales: tuple[str, ...]


def features_view(x: QFormat, scaling: InputScaling) -> FeaturesView:
    """Return the view of the features of an input whose common format is x."""
    pairs = list(zip(scaling.frac(x).tolist(), scaling.offset.tolist(), strict=True))
    rows = tuple(
        Feature(
            frac,
            offset,
            f"{(x.lo + offset) * 2.0**-frac:.6g} .. {(x.hi + offset) * 2.0**-frac:.6g}",
        )
        for frac, offset in pairs
    )
    fracs, offsets, scales = (
        _lines(column)
        for column in zip(*((f, o, power_of_two(f)) for f, o in pairs), strict=True)
    )
    return FeaturesView(rows, fracs, offsets, scales)


def _lines(values: Sequence[object]) -> tuple[str, ...]:
    cells = [str(value) for value in values]
    rows = [cells[at : at + _PER_LINE] for at in range(0, len(cells), _PER_LINE)]
    return tuple(", ".join(row) for row in rows)
