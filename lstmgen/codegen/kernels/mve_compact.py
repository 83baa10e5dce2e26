"""The smallest Helium kernel of an LSTM layer: one row at a time, in the order of the matrices.

A gate's rows are summed, then activated where they lie; behind the four gates all units are
updated. The template templates/isa/mve_compact.S.j2 prints it.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..layout import fields
from ..layout.fields import Field, column
from ..layout.words import round_up
from .kernel import Kernel
from .mve_columns import compact_parts
from .mve_parts import Part, Pointer, arrays


@dataclass(frozen=True, eq=False)
class CompactKernel(Kernel):
    """What the template prints.

    fields: what the stream holds. parts: in the order in which they are summed.
    pointers: to the parts of the stream that are read side by side: weights, then biases, then
        shifts by row if there are any.
    middle: what happens between the parts: the sum over x is shifted (late), the sum over h goes
        through the mid shift of rule N3b, or nothing.
    counter: register of the rows left. shift_by: what has one shift for rule N4, the layer, a
        gate or a row; shift: of the layer, right where positive, or None.
    """

    fields: tuple[Field, ...]
    parts: tuple[Part, Part]
    pointers: tuple[Pointer, ...]
    middle: Literal["late", "mid"] | None
    counter: str
    units: int
    shift_by: Literal["layer", "gate", "row"]
    shift: int | None
    saturates: bool
    table_bits: int
    product_shift: int
    hidden_bits: int
    copies_output: ClassVar[bool] = True

    @property
    def gate_bytes(self) -> int:
        """Bytes of a gate's sums in the frame: whole vectors."""
        return 4 * round_up(self.units, 4)


def compact_kernel(layer: QuantizedLstm, tables: Tables, clamped: bool) -> CompactKernel:
    """Return the kernel of a layer; it takes any weights."""
    k = layer.units
    x, h = compact_parts(layer)
    mid = bool(layer.mid_shift.any())
    row_bytes = sum(slot.row_bytes for part in (x, h) for slot in part.slots)
    if x.weight_bytes != h.weight_bytes and row_bytes % 2:
        # Rows side by side would leave weights of 16 bits at odd addresses.
        h = replace(h, stream="r7")
    parts = (h, x) if mid else (x, h)
    shift_by = _shift_by(layer.shift.reshape(4, k))
    found: list[Field] = []
    pointers = []
    rows = range(4 * k)
    for stream in ("r3", "r7"):
        slots = [slot for part in parts if part.stream == stream for slot in part.slots]
        if slots:
            pointers.append(Pointer(stream, fields.end(found)))
            found += fields.turns(rows, 1, slots)
    found += fields.padding(found, 4)
    pointers.append(Pointer("r11", fields.end(found)))
    found += fields.turns(rows, 1, [column("bias", 0, 4), *([column("mid", 0, 1)] if mid else [])])
    if shift_by != "layer":
        pointers.append(Pointer("r6", fields.end(found)))
        # A vector has four rows, if need be the last one of a gate again.
        units = 1 if shift_by == "gate" else round_up(k, 4)
        shifts = [gate * k + min(unit, k - 1) for gate in range(4) for unit in range(units)]
        found += fields.turns(shifts, len(shifts), [column("shift", 0, 1)])
    return CompactKernel(
        name=f"Helium row by row, int{x.bits} and int{h.bits}",
        template="mve_compact.S.j2",
        stream=fields.pack(found, arrays(layer)),
        fields=tuple(found),
        parts=parts,
        pointers=tuple(pointers),
        middle="late" if x.late else "mid" if mid else None,
        counter="r8" if x.loop or h.loop else "lr",
        units=k,
        shift_by=shift_by,
        shift=int(layer.shift[0]) if shift_by == "layer" else None,
        saturates=clamped,
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
    )


def _shift_by(shifts: IntArray) -> Literal["layer", "gate", "row"]:
    if (shifts == shifts[0, 0]).all():
        return "layer"
    return "gate" if (shifts == shifts[:, :1]).all() else "row"
