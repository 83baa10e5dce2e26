"""What the RV32IMC kernels of LSTM layers share: the gates' steps, the frame, the copy of h."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ...bounds import INT32_MAX, LayerBounds
from ...qformat import IntArray
from ...quantized import Tables
from ...quantized_layers import QuantizedLstm
from ..layout import passes
from ..layout.passes import Block, Units
from ..layout.words import round_up
from .kernel import Effort, Kernel

TEMPLATE = "rv32imc.S.j2"

OFFSET = 2047
"""Largest offset of a load, and of ADDI."""

FAR = 1000
"""Instructions over which a pass is too long for a conditional branch, which reaches 4094 bytes."""

UNIT = 96
"""At most so many instructions take a unit from its sums to its new state."""

_MOVES: dict[Effort, int] = {"speed": 32, "balanced": 8, "size": 0}
"""Loads and stores up to which a copy is unrolled."""


_MOST_O = ((1 << 30) - (1 << 22) - 1) // 32767
"""The largest o that no tanh(c) takes to an h of 128."""

_FULL = -(-((127 << 23) - (1 << 22)) // _MOST_O)
"""The least tanh(c) that this o takes to an h of 127."""


@dataclass(frozen=True)
class GateStep:
    """How a sum becomes V + 2**(m + 14), which inside of the table is not negative.

    shift: the instruction; amount: by how much where all units agree, else None.
    late: whether 2**(m + 14) is added behind the shift, not by the start value.
    check: whether V may lie outside of the table.
    mid: the amount of rule N3b, None where units differ, 0 for none.
    """

    name: str
    shift: Literal["sll", "sra", "srl"]
    amount: int | None
    late: bool
    check: bool
    mid: int | None


@dataclass(frozen=True)
class Copy:
    """A copy to `to` behind the stack pointer, `turns` of a loop of `per_turn` values and the rest.

    load, store: the instructions; size: bytes that they take. pointer: from where.
    """

    pointer: str
    to: int
    load: str
    store: str
    size: int
    turns: int
    per_turn: int
    rest: int


@dataclass(frozen=True)
class Cell:
    """From a unit's sums to its new state.

    compact: whether look-ups are a routine's. last: what rule N7 needs in a register, for 16
    bits the rounding, for 8 bits full_from. output: how h is copied to the network's output by
    words, None where C does that.
    """

    gates: tuple[GateStep, ...]
    table_bits: int
    product_shift: int
    hidden_bits: int
    compact: bool
    last: int
    output: Copy | None
    most_o: ClassVar[int] = _MOST_O << 4
    """What LUI loads to the upper half of a register for _MOST_O."""

    @property
    def end_upper(self) -> int:
        """What LUI loads for 2**(m + 15), the end of the tables' V."""
        return 1 << (self.table_bits + 3)

    @property
    def middle_upper(self) -> int:
        """What LUI loads for 2**(m + 14)."""
        return self.end_upper // 2

    @property
    def end_shift(self) -> int:
        """The shift that makes 2**(m + 15) - 1 of a word of ones."""
        return 17 - self.table_bits


@dataclass(frozen=True, eq=False)
class CellKernel(Kernel):
    """What the template prints for any layer.

    units, blocks: of each kind of passes, and what their words are. saved: registers; kept:
    where the frame has the tables' addresses, None if registers keep them. frame: its bytes;
    copies: what goes to it first.
    """

    line_tables: ClassVar[bool] = True
    cell: Cell
    units: tuple[Units, ...]
    blocks: tuple[tuple[Block, ...], ...]
    saved: tuple[str, ...]
    kept: int | None
    frame: int
    copies: tuple[Copy, ...]

    @property
    def copies_output(self) -> bool:
        """Whether the output is copied in assembly."""
        return self.cell.output is not None


def cell_of(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, h_aligned: bool
) -> Cell | str:
    """Return the cell of a layer, or why there is none."""
    steps = gate_steps(layer, bounds, tables)
    if steps is None:
        return "a pre-activation comes too close to 2^31"
    last = 1 << 14 if layer.h.bits == 16 else full_from(tables)
    if last is None:
        return "a table of tanh that reaches 1 at once"
    output = copy_h(layer, 0, h_aligned, effort)
    by_words = output.size == 4 and effort != "size"
    return Cell(
        gates=steps,
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
        compact=effort == "size",
        last=last,
        output=output if by_words else None,
    )


def full_from(tables: Tables) -> int | None:
    """Return the V + 2**(m + 14) of tanh from which rule N7 may have to limit h of 8 bits.

    h passes 127 only if o and tanh(c) both pass _MOST_O. Where tanh(c) >= _FULL, o may be
    limited to _MOST_O instead: h is 127 with any o from there on. A segment begins where the
    one becomes possible and the other is sure; None if there is none.
    """
    slope2, base = tables.tanh.T
    odd = np.arange(len(base)) % 2
    first = base + (slope2 * np.where(odd, -32767, 1) >> 16)
    last = base + (slope2 * np.where(odd, 0, 32768) >> 16)
    segment = int((last > _MOST_O).argmax())
    if last[segment] <= _MOST_O:
        return 1 << (tables.bits + 15)
    return segment << 15 if first[segment:].min() >= _FULL else None


def gate_steps(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables
) -> tuple[GateStep, ...] | None:
    """Return a step for each gate, None where V + 2**(m + 14) may leave int32."""
    middle = 1 << (tables.bits + 14)
    steps = []
    by_gate = (rows.reshape(4, -1) for rows in (layer.shift, layer.mid_shift, bounds.bound))
    for name, shift, mid, bound in zip("ifgo", *by_gate, strict=True):
        left, right = np.maximum(-shift, 0), np.maximum(shift, 0)
        # |V| is at most this: a right shift rounds towards minus infinity.
        reach = (bound << left >> right) + 1
        if reach.max() + middle > INT32_MAX:
            return None
        check = bool(reach.max() > middle)
        if left.any():
            late = bool(left.max() > tables.bits + 14)
        else:
            # Unsigned, twice this is at most 2**32; signed, the sum has to fit int32.
            added = middle << right
            late = bool((bound + added > INT32_MAX).any() if check else (added > 1 << 31).any())
        late = late or bool(layer.mid_shift.any())
        kind: Literal["sll", "sra", "srl"] = "sra" if check or late else "srl"
        amount = abs(int(shift[0])) if (shift == shift[0]).all() else None
        mid_amount = int(mid[0]) if (mid == mid[0]).all() else None
        steps.append(GateStep(name, "sll" if left.any() else kind, amount, late, check, mid_amount))
    return tuple(steps)


def biases(layer: QuantizedLstm, tables: Tables, steps: Sequence[GateStep]) -> IntArray:
    """Return (4, k), with 2**(m + 14) as the accumulator has it where that is not late."""
    shift = layer.shift.reshape(4, -1)
    middle = 1 << (tables.bits + 14)
    added = np.where(shift < 0, middle >> np.maximum(-shift, 0), middle << np.maximum(shift, 0))
    folded = np.array([[not step.late] for step in steps])
    return np.asarray(layer.bias.reshape(4, -1) + added * folded, np.int64)


def shift_blocks(steps: Sequence[GateStep]) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
    """Return the blocks of the mid shifts and of the shifts, none where the code has them."""
    middle = (Block("middle"),) if any(step.mid is None for step in steps) else ()
    shifts = (Block("shifts"),) if any(step.amount is None for step in steps) else ()
    return middle, shifts


def copy(pointer: str, to: int, count: int, size: int, effort: Effort) -> Copy:
    """Return a copy of `count` values of `size` bytes."""
    load, store = {1: ("lb", "sb"), 2: ("lh", "sh"), 4: ("lw", "sw")}[size]
    if count <= _MOVES[effort]:
        return Copy(pointer, to, load, store, size, 0, 0, count)
    per_turn = 1 if effort == "size" else 4
    return Copy(pointer, to, load, store, size, count // per_turn, per_turn, count % per_turn)


def copy_h(layer: QuantizedLstm, to: int, aligned: bool, effort: Effort) -> Copy:
    """Return the copy of h, by words where it lies so."""
    each = layer.h.storage_bits // 8
    size = 4 if aligned and each * layer.units % 4 == 0 else each
    return copy("a1", to, each * layer.units // size, size, effort)


def frame_of(saved: Sequence[str], kept: bool, value_bytes: int) -> tuple[int | None, int, int]:
    """Return where the frame has the tables' addresses and its values, and its bytes."""
    head = 4 * len(saved)
    values = head + 8 * kept
    return head if kept else None, values, round_up(values + value_bytes, 16)


def stream_of(
    units: Sequence[Units],
    blocks: Sequence[Sequence[Block]],
    layer: QuantizedLstm,
    starts: Sequence[IntArray],
) -> IntArray:
    """Return all words; starts: by kind of passes (k, 4)."""
    parts = zip(units, blocks, starts, strict=True)
    words = [passes.pass_words(block, part, layer, start) for part, block, start in parts]
    return np.concatenate([part.ravel() for part in words])
