"""Kernels for Arm cores with Helium (MVE): Cortex-M55 and its like.

An LSTM layer is computed in groups of units. First the four gates of each unit of the group are
summed, two units or one in a turn, as mve_columns.py says; then the group is activated and
updated, four units in a vector. For the least flash mve_compact.py takes its place. Dense layers
are in mve_dense.py.

Sums are int32 and wrap, shifts are vectors and saturate where rule N4 clamps: no weights are
unfit. The template templates/isa/mve.S.j2 prints the kernels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..layout import fields
from ..layout.fields import Field, Slot, column
from ..layout.words import round_up
from .kernel import Choice, Effort, Kernel
from .mve_columns import lstm_parts
from .mve_compact import CompactKernel, compact_kernel
from .mve_parts import Part, arrays

_GROUP = 64
"""Most units of a group, 16 bytes of stack each."""

_UNROLLED: dict[Effort, int] = {"speed": 80, "balanced": 24}
"""Blocks of a unit that are unrolled at most, 36 bytes of code each."""

_TWICE = 40
"""Blocks up to which `speed` sums two units in a turn."""

_ONE_UNIT = ("r4", "r6", "r8", "r10")
_TWO_UNITS = ("r0", "r2", *_ONE_UNIT, "r12", "lr")
"""Registers of sums: VMLADAVA wants even ones."""


@dataclass(frozen=True)
class GateShift:
    """How a gate is rescaled: by one shift (right where positive) or, if None, by unit."""

    name: str
    vector: str
    table: str
    saturates: bool
    shift: int | None


@dataclass(frozen=True, eq=False)
class HeliumKernel(Kernel):
    """What the template prints.

    fields: what the stream holds. parts: in the order in which they are summed.
    sums: the registers of a turn's rows; counter: that of the turns left.
    middle: what happens between the parts: the sums over x are shifted and biases added (late),
        or the sums over h go through the mid shift of rule N3b, or nothing.
    group: units of a group. copied: bytes for a copy of h on the stack, which units behind the
        first group read.
    """

    fields: tuple[Field, ...]
    parts: tuple[Part, Part]
    sums: tuple[str, ...]
    counter: str
    middle: Literal["late", "mid"] | None
    units: int
    group: int
    copied: int
    gates: tuple[GateShift, ...]
    table_bits: int
    product_shift: int
    hidden_bits: int
    copies_output: ClassVar[bool] = True
    head: ClassVar[int] = 16
    """Bytes of the frame before the sums."""

    @property
    def groups(self) -> int:
        """The number of groups."""
        return -(-self.units // self.group)

    @property
    def tail(self) -> bool:
        """Whether the last vector of units is not full."""
        return self.units % 4 > 0

    @property
    def counts(self) -> bool:
        """Whether the units left are counted."""
        return self.tail or self.groups > 1

    @property
    def alike(self) -> bool:
        """Whether all groups have as many vectors of units."""
        return self.groups == 1 or round_up(self.units, 4) % self.group == 0

    @property
    def turns(self) -> int | None:
        """Turns of a group, None where the last one has fewer."""
        if self.groups > 1 and self.units % self.group:
            return None
        return 4 * min(self.units, self.group) // len(self.sums)

    @property
    def frame(self) -> int:
        """Bytes of the frame."""
        return self.head + 16 * self.group + self.copied


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, h_aligned: bool
) -> Choice:
    """Return the kernel; it takes any weights, and h at any address of its type."""
    del h_aligned
    if effort == "size":
        if layer.units == 1:
            return Choice(None, "one unit is less code in C")
        return Choice(
            compact_kernel(layer, tables, bool(bounds.clamped.any())), "the least flash"
        )
    k = layer.units
    x, h = lstm_parts(layer, _UNROLLED[effort])
    mid = bool(layer.mid_shift.any())
    parts = (h, x) if mid else (x, h)
    middle: Literal["late", "mid"] | None = "late" if x.late else "mid" if mid else None
    looped = x.looped or h.looped
    blocks = len(x.blocks) + len(h.blocks)
    twice = effort == "speed" and k % 2 == 0 and blocks <= _TWICE and not looped and not middle
    sums = _TWO_UNITS if twice else _ONE_UNIT
    group = round_up(-(-k // -(-k // _GROUP)), 4)
    gates = _gates(layer, bounds)
    found = tuple(_fields(k, group, _turn(parts, middle), len(sums), _update(parts, gates)))
    kernel = HeliumKernel(
        name=f"Helium, int{x.bits} and int{h.bits}",
        template="mve.S.j2",
        stream=fields.pack(found, arrays(layer), max(x.overrun, h.overrun)),
        fields=found,
        parts=parts,
        sums=sums,
        counter="r11" if twice or looped else "lr",
        middle=middle,
        units=k,
        group=group,
        copied=round_up(k * layer.h.storage_bits // 8, 16) if k > group else 0,
        gates=gates,
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
    )
    return Choice(kernel, f"{'two units' if twice else 'one unit'} at a time")


def _gates(layer: QuantizedLstm, bounds: LayerBounds) -> tuple[GateShift, ...]:
    clamped = bounds.clamped.reshape(4, -1)
    return tuple(
        GateShift(
            name,
            f"q{g}",
            "r10" if name == "g" else "r8",
            bool(clamped[g].any()),
            int(rows[0]) if (rows == rows[0]).all() else None,
        )
        for g, (name, rows) in enumerate(zip("ifgo", layer.shift.reshape(4, -1), strict=True))
    )


def _turn(parts: tuple[Part, Part], middle: str | None) -> list[Slot]:
    """Return what the stream holds of each row of a turn."""
    first, second = (list(part.slots) for part in parts)
    bias, mid = column("bias", 0, 4), column("mid", 0, 4)
    if middle == "late":
        return [*first, bias, *second]
    return [bias, *first, *([mid] if middle else []), *second]


def _update(parts: tuple[Part, Part], gates: tuple[GateShift, ...]) -> list[list[Slot]]:
    """Return by gate what the stream holds of each row for the update."""
    scalars = [slot for part in parts for slot in part.scalar_slots]
    by_unit = [column("shift", 0, 1)]
    return [[*scalars, *(by_unit if gate.shift is None else [])] for gate in gates]


def _fields(
    k: int, group: int, turn: list[Slot], per_turn: int, update: list[list[Slot]]
) -> Iterator[Field]:
    """Yield what the kernel reads, in its order."""
    for begin in range(0, k, group):
        units = range(begin, min(begin + group, k))
        rows = [g * k + unit for unit in units for g in range(4)]
        yield from fields.turns(rows, per_turn, turn)
        for unit in units[::4]:
            for g, slots in enumerate(update):
                # A vector has four units, if need be the last one again.
                rows = [g * k + min(unit + lane, k - 1) for lane in range(4)]
                yield from fields.turns(rows, 4, slots)


def unpack(
    kernel: HeliumKernel | CompactKernel, layer: QuantizedLstm
) -> tuple[IntArray, IntArray]:
    """Return the weights (4k, n), (4k, k) that the stream holds."""
    shapes = {name: array.shape for name, array in arrays(layer).items()}
    found = fields.unpack(kernel.fields, kernel.stream, shapes)
    return found["wx"], found["wh"]
