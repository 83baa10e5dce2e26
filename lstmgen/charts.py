"""Charts as data, which svg.py and plots.py draw: what to show is decided before how."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """One bar: its label, its length, and what stands at its end."""

    label: str
    value: float
    text: str


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, top to bottom; of negative values to the left."""

    rows: tuple[Bar, ...]


@dataclass(frozen=True)
class Series:
    """One line through points, from left to right."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Lines:
    """Lines over one axis of values >= 0."""

    x_label: str
    y_label: str
    series: tuple[Series, ...]

    @property
    def logarithmic(self) -> bool:
        """Whether the values, all above 0, span so much that only a logarithm shows them."""
        values = [y for one in self.series for y in one.y]
        return min(values) > 0 and max(values) > 20 * min(values)


@dataclass(frozen=True)
class Columns:
    """Shares of values by their power of two, and the span of a format.

    lo, hi: log2 of what the format resolves and of its largest magnitude.
    """

    x_label: str
    exponents: tuple[int, ...]
    shares: tuple[float, ...]
    lo: float
    hi: float

    @property
    def span(self) -> tuple[int, int]:
        """The first exponent of the axis and the one behind its last."""
        ends = (*self.exponents, math.floor(self.lo), math.ceil(self.hi) - 1)
        return min(ends) - 1, max(ends) + 2

    def outside(self, exponent: int) -> bool:
        """Whether the values of a column are, but for some, beyond the format's span."""
        return exponent + 1 <= self.lo or exponent >= self.hi


Chart = Bars | Lines | Columns


@dataclass(frozen=True)
class Figure:
    """A chart with its title and the sentence beside it; key: a name for its file."""

    key: str
    title: str
    sentence: str
    chart: Chart


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first column is the row's head."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page: what it says first, then its figures and tables; key: its anchor."""

    key: str
    title: str
    sentence: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()


def ticks(lo: float, hi: float, most: int = 6) -> list[float]:
    """Return round numbers from lo to hi, 1, 2 or 5 times a power of ten apart."""
    if hi <= lo:
        return [lo]
    rough = (hi - lo) / most
    power = 10.0 ** math.floor(math.log10(rough))
    apart = next(n * power for n in (1, 2, 5, 10) if n * power >= rough * 0.999)
    first, last = math.ceil(lo / apart - 1e-9), math.floor(hi / apart + 1e-9)
    return [n * apart for n in range(first, last + 1)]


def log_ticks(lo: float, hi: float) -> list[float]:
    """Return powers of ten from lo to hi, with 2 and 5 of each where they are few."""
    decades = range(math.floor(math.log10(lo)), math.ceil(math.log10(hi)) + 1)
    steps = (1, 2, 5) if len(decades) <= 3 else (1,)
    found = [n * 10.0**d for d in decades for n in steps]
    return [tick for tick in found if lo * 0.999 <= tick <= hi * 1.001]


def power_of_two(exponent: int) -> str:
    """Return 2^exponent with a raised exponent."""
    return "2" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def plain(text: str) -> str:
    """Return a text of unknown origin on one line, without control characters."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def short(text: str, most: int = 24) -> str:
    """Return a label that is cut where it is long."""
    return text if len(text) <= most else text[: most - 1] + "…"
