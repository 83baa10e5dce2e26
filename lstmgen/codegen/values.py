"""Numbers and constant arrays as C spells them."""

from dataclasses import dataclass

from ..qformat import IntArray, QFormat
from .ctext import initializer, power_of_two


@dataclass(frozen=True)
class Value:
    """A kind of number: its C type and its fixed-point format.

    by_feature: whether each feature is finer by shifts of its own (rule N1).
    """

    format: QFormat
    by_feature: bool = False

    @property
    def type(self) -> str:
        """The C integer that holds it."""
        return f"int{self.format.storage_bits}_t"

    @property
    def bits(self) -> int:
        """Its width in bits, at most that of the C integer."""
        return self.format.bits

    @property
    def frac(self) -> int:
        """Its fraction bits."""
        return self.format.frac

    @property
    def lo(self) -> int:
        """Its smallest integer."""
        return self.format.lo

    @property
    def hi(self) -> int:
        """Its largest integer."""
        return self.format.hi

    @property
    def step(self) -> str:
        """The real value of one unit in the last place, as text."""
        return f"2^{-self.frac}"

    @property
    def scale_literal(self) -> str:
        """2^frac as a float literal of C."""
        return power_of_two(self.frac)

    @property
    def step_literal(self) -> str:
        """2^-frac as a float literal of C."""
        return power_of_two(-self.frac)

    @property
    def real_range(self) -> str:
        """The range of real values, as text."""
        return f"{self.lo * self.format.step:.6g} .. {self.hi * self.format.step:.6g}"

    @property
    def words(self) -> str:
        """The format for a reader."""
        return "by feature" if self.by_feature else str(self.format)

    def __str__(self) -> str:
        return f"{self.type} {self.words}"


@dataclass(frozen=True, eq=False)
class Array:
    """A constant array: `symbol` with `dims` as C writes them, its integers, what they are.

    far: whether it may lie beyond what C's pointers reach, since no C reads it.
    """

    symbol: str
    bits: int
    dims: str
    data: IntArray
    what: str
    format: str
    unsigned: bool = False
    far: bool = False

    @property
    def type(self) -> str:
        """The C type of an element."""
        return f"{'u' if self.unsigned else ''}int{self.bits}_t"

    @property
    def bytes(self) -> int:
        """The size in memory."""
        return self.data.size * self.bits // 8

    @property
    def values(self) -> str:
        """The initializer. Laid out when asked for: only one file prints it."""
        return initializer(self.data)
