"""What a kernel is to the rest of the generator."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from ...qformat import IntArray

Effort = Literal["speed", "balanced", "size"]
"""What unrolling is worth: the fewest instructions, the least flash, or a fair share of both."""


EFFORTS: tuple[str, ...] = get_args(Effort)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel of one layer, in assembly or in C with intrinsics.

    That of an LSTM layer takes it from x and its state to its new state; that of a dense layer
    computes the accumulators of its rows, and portable C does the rest.
    name: for people. template: the file under templates/isa that prints it: `.S.j2` with
    macros `function` and `sums` for the assembly file, or `.c.j2`, included in the C file (of a
    dense layer, before the rest of it).
    stream: integers that the kernel reads from front to back: weights, biases, shifts.
    stream_bits: their width. far: whether they may lie beyond what C's pointers reach.
    helpers: functions of the C file that a kernel in C calls.
    line_tables: whether it wants the activation tables as lines (layout/tables.py).
    """

    name: str
    template: str
    stream: IntArray
    line_tables: ClassVar[bool] = False
    stream_bits: ClassVar[Literal[16, 32]] = 32
    far: ClassVar[bool] = False
    helpers: ClassVar[frozenset[str]] = frozenset()

    @property
    def copies_output(self) -> bool:
        """Whether the template has a macro `copy_output`, for a last layer; in C, the function."""
        return False

    @property
    def in_c(self) -> bool:
        """Whether the kernel is C."""
        return self.template.endswith(".c.j2")

    @property
    def arrays(self) -> tuple[IntArray, ...]:
        """The stream, cut where a compiler holds no more in one array."""
        return (self.stream,)


@dataclass(frozen=True, eq=False)
class Choice:
    """The kernel of a layer, or None for portable C, and why."""

    kernel: Kernel | None
    reason: str
