"""What the kernels for AVR have in common: passes over columns of four rows, from far memory.

A frame on the stack holds the values, made unsigned by an offset. A pass multiplies all of them
by weights that are streamed from program memory and leaves one sum a row in registers; ways to
multiply and what the offsets cost: codegen/layout/offsets.py. The templates
templates/isa/avr_columns.j2 and those that import it print this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from ...qformat import IntArray
from ..layout.offsets import Way
from .kernel import Kernel

TEMPLATE = "avr.S.j2"

MOST = 255
"""What a byte counts: columns of a span and their carries, passes."""

MOST_COLUMNS = 4 * MOST
"""The stack should not hold more, and an array of the stream has several passes then."""

_MOST_HALFWORDS = 16383
"""Of one array: avr-gcc's int has 16 bits. Streams lie in as many arrays as that takes."""

_COUNTERS = {"8x8": "r23", "8x16": "r25", "16x8": "r25", "16x16": "r20"}
"""By way, a register that columns leave alone."""

_COLUMN_WORDS = {"8x8": (1, 5), "8x16": (2, 9), "16x8": (1, 10), "16x16": (2, 17)}
"""Instruction words that a column takes, and each of its rows (8x8: with sums of 24 bits)."""


@dataclass(frozen=True)
class Sum:
    """The registers of a row's sum, the lowest byte first, and of carries counted apart."""

    bytes: tuple[str, ...]
    carry: str


@dataclass(frozen=True)
class Source:
    """Values that are copied into the frame: the register of their address, and how many.

    runs: what one loop each copies.
    """

    address: str
    runs: tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """Columns that are multiplied in one way by one piece of code.

    turns: of a loop over `per_turn` columns, entered behind the first `skipped` of them; with
        one turn there is no loop.
    """

    way: Way
    columns: int
    per_turn: int
    turns: int
    skipped: int

    @property
    def counter(self) -> str:
        """The register of the loop."""
        return _COUNTERS[self.way.name]


@dataclass(frozen=True)
class MidShift:
    """How a sum is shifted right by its row: by whole bytes for all rows, then bit by bit.

    moves: registers to and from. signs: those that take the sign of `top`.
    """

    bytes: tuple[str, ...]
    moves: tuple[tuple[str, str], ...]
    top: str
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """Columns that are summed before anything else happens to the sums.

    doublings: of the sums behind them, which align x with h (rule N2).
    weighed: whether the values' sum counts 2**8 times in what follows, as the weights' offset
        has a byte more. corrected: whether the frame holds that sum times the offset behind
        the block's values, to be subtracted.
    mid: shifts behind that (rule N3b). starts: whether start values are added at the end.
    """

    sources: tuple[Source, ...]
    spans: tuple[Span, ...]
    doublings: int = 0
    weighed: bool = False
    corrected: bool = True
    mid: tuple[MidShift, ...] = ()
    starts: bool = False


@dataclass(frozen=True, eq=False)
class AvrKernel(Kernel):
    """What the template prints of any kernel.

    sums: of the rows of a pass. saved: registers that the kernel pushes. frame: bytes on the
    stack below them. passes: in the loop; pass_halfwords: what one reads of the stream.
    """

    far: ClassVar[bool] = True
    stream_bits: ClassVar[Literal[16, 32]] = 16
    blocks: tuple[Block, ...]
    sums: tuple[Sum, ...]
    saved: tuple[str, ...]
    frame: int
    passes: int
    pass_halfwords: int

    @property
    def sum_bytes(self) -> int:
        """Bytes of a sum."""
        return len(self.sums[0].bytes)

    @property
    def per_array(self) -> int:
        """How many passes an array of the stream holds, with room for what follows the loop."""
        return _MOST_HALFWORDS // self.pass_halfwords - 1

    @property
    def arrays(self) -> tuple[IntArray, ...]:
        """The stream, cut between passes."""
        starts = range(0, self.passes, self.per_array)
        edges = [*(start * self.pass_halfwords for start in starts), self.stream.size]
        return tuple(self.stream[a:b] for a, b in pairwise(edges))

    @property
    def resumes(self) -> tuple[int, ...]:
        """Passes to go where the second array begins, the third and so on."""
        return tuple(range(self.passes - self.per_array, 0, -self.per_array))


def spans(
    parts: Sequence[tuple[Way, int]], sums: tuple[Sum, ...], room: int
) -> tuple[tuple[Span, ...], ...]:
    """Return the spans of each part, which is a way to multiply and a number of columns.

    They are unrolled where that saves most turns for its code, in all within `room` bytes.
    """
    runs = [(at, way, run) for at, (way, columns) in enumerate(parts) for run in _runs(columns)]
    per_turn = [1] * len(runs)

    def turns(run: int, unrolled: int) -> int:
        count = -(-runs[run][2] // unrolled)
        return count if count > 1 else 0

    def code(run: int, unrolled: int) -> int:
        way = runs[run][1]
        column, row = _COLUMN_WORDS[way.name]
        row += way.name == "8x8" and len(sums[0].bytes) == 4
        return 2 * unrolled * (column + row * len(sums))

    while True:
        left = room - sum(code(run, unrolled) for run, unrolled in enumerate(per_turn))
        gains = [
            ((turns(run, now) - turns(run, more)) / (code(run, more) - code(run, now)), run, more)
            for run, now in enumerate(per_turn)
            for more in range(now + 1, runs[run][2] + 1)
            if code(run, more) - code(run, now) <= left
        ]
        gain, run, more = max(gains, default=(0.0, 0, 0))
        if gain == 0:
            break
        per_turn[run] = more
    made = [(at, _span(way, run, n)) for (at, way, run), n in zip(runs, per_turn, strict=True)]
    return tuple(tuple(span for of, span in made if of == at) for at in range(len(parts)))


def _span(way: Way, columns: int, per_turn: int) -> Span:
    turns = -(-columns // per_turn)
    return Span(way, columns, per_turn, turns, turns * per_turn - columns)


def source(address: str, columns: int) -> Source:
    """Return the values at `address`."""
    return Source(address, _runs(columns))


def _runs(columns: int) -> tuple[int, ...]:
    """Return columns in as few runs of nearly equal length as a byte can count."""
    count = -(-columns // MOST)
    return tuple(b - a for a, b in pairwise(columns * n // count for n in range(count + 1)))


def wide_sums(rows: int) -> tuple[Sum, ...]:
    """Return the registers of sums of 32 bits."""
    return tuple(
        Sum(tuple(f"r{2 + 4 * row + byte}" for byte in range(4)), f"r{18 + row}")
        for row in range(rows)
    )


def narrow_sums() -> tuple[Sum, ...]:
    """Return the registers of four sums of 24 bits."""
    return tuple(
        Sum(tuple(f"r{2 + 3 * row + byte}" for byte in range(3)), f"r{18 + row}")
        for row in range(4)
    )


def mid_shift(sum_: Sum, least: int) -> MidShift:
    """Return the shift of a sum by `least` at least: what there is of it in whole bytes first."""
    whole = least // 8
    moves = tuple(zip(sum_.bytes, sum_.bytes[whole:], strict=False)) if whole else ()
    top = sum_.bytes[-1]
    return MidShift(sum_.bytes, moves, top, sum_.bytes[len(sum_.bytes) - whole :])
