"""How a Helium kernel goes over the columns of x and h: blocks, scalars, registers.

A block of columns lies in a vector register, or is read again for each unit where there are
more blocks than registers, and meets a block of each gate's weights in one VMLADAVA. It has 16
columns where values and weights are int8, and 8 where either is int16; int8 weights are
widened as they are read. Up to three columns that would begin another block are scalars
instead, multiplied with the weights of four units when these are updated.
"""

from dataclasses import dataclass

import numpy as np

from ...qformat import IntArray
from ...quantized import QuantizedLstm
from .kernel import Effort

_UNROLLED = {"speed": 80, "balanced": 24, "size": 1}
"""Blocks of a unit that are unrolled at most, 36 bytes of code each."""

_VECTORS = 7
"""Vector registers, beside the one that weights go through."""

_SCALARS = ("r9", "r10", "r11")
"""Registers for the values of scalar columns."""

_SCALAR_REACH = 4095
"""Largest offset of LDRSH and LDRSB."""


@dataclass(frozen=True)
class Block:
    """Columns in one vector register.

    offset: bytes from the first column; near: whether a load reaches that far.
    columns: fewer than the part's lanes in its last block, which is read under a predicate.
    row_bytes: from one gate's weights to the next.
    """

    register: str
    offset: int
    near: bool
    columns: int
    row_bytes: int


@dataclass(frozen=True)
class Scalar:
    """A column that is multiplied as a scalar."""

    register: str
    offset: int


@dataclass(frozen=True)
class Part:
    """How x or h is multiplied by its weights.

    pointer: register of its address. lanes: columns of a block.
    streamed: full blocks that are read for each unit, in a loop if `looped`; held: the others.
    shift: to the left, aligns the values with h (rule N2); late: it is made with the sums.
    """

    pointer: str
    value_bytes: int
    weight_bytes: int
    lanes: int
    streamed: tuple[Block, ...]
    held: tuple[Block, ...]
    looped: bool
    scalars: tuple[Scalar, ...]
    shift: int
    late: bool

    @property
    def bits(self) -> int:
        """Bits of a lane."""
        return 128 // self.lanes

    @property
    def load(self) -> str:
        """The suffix of the load of values."""
        return self._suffix(self.value_bytes)

    @property
    def weight_load(self) -> str:
        """The suffix of the load of weights."""
        return self._suffix(self.weight_bytes)

    @property
    def block_bytes(self) -> int:
        """Bytes of a full block of values."""
        return self.lanes * self.value_bytes

    @property
    def walks(self) -> bool:
        """Whether streamed blocks are read through a pointer of their own."""
        return self.looped or any(not block.near for block in self.streamed)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, by column."""
        return self.streamed + self.held

    def _suffix(self, size: int) -> str:
        return "h.u16" if size == 2 else "b.u8" if self.lanes == 16 else "b.s16"


@dataclass(frozen=True)
class _Plan:
    """Columns of a vector, sorted into blocks and, behind them, scalars."""

    value_bytes: int
    weight_bytes: int
    lanes: int
    columns: int
    scalars: int
    shift: int

    @property
    def blocks(self) -> int:
        return -(-(self.columns - self.scalars) // self.lanes)

    @property
    def early(self) -> bool:
        """Whether values are shifted once, in their registers: |x'| <= 2**11 there."""
        return self.shift > 0 and self.lanes == 8 and self.value_bytes == 1 and self.blocks <= 4

    @property
    def late(self) -> bool:
        return self.shift > 0 and self.blocks > 0 and not self.early

    @property
    def partial(self) -> int:
        """1 if the last block is not full."""
        return int((self.columns - self.scalars) % self.lanes > 0)

    @property
    def hold(self) -> int:
        """How many of the blocks, counted from the last, have to stay in registers."""
        return self.blocks if self.early else self.partial

    def cost(self, effort: Effort) -> int:
        """Return instructions for each unit or, for `size`, bytes of code."""
        if effort != "size":
            return 8 * self.blocks + 2 * self.scalars + 4 * self.late
        full = self.blocks - self.partial
        # Two full blocks or more take a loop, unless they are shifted in their registers.
        full_bytes = 40 * full if self.early else 36 * full if full < 2 else 56
        return full_bytes + 48 * self.partial + 38 * self.scalars + 20 * self.late


def _plan(weights: IntArray, value_bytes: int, shift: int, free: int, effort: Effort) -> _Plan:
    columns = int(weights.shape[1])
    weight_bytes = 1 if np.abs(weights).max() <= 127 else 2
    plans = []
    for lanes in (16, 8):
        rest = columns % lanes
        if lanes == 8 or value_bytes == weight_bytes == 1:
            plans.append(_Plan(value_bytes, weight_bytes, lanes, columns, 0, shift))
            if rest <= free and (columns - 1) * value_bytes <= _SCALAR_REACH:
                plans.append(_Plan(value_bytes, weight_bytes, lanes, columns, rest, shift))
    return min(plans, key=lambda plan: plan.cost(effort))


def parts_of(layer: QuantizedLstm, effort: Effort) -> tuple[Part, Part]:
    """Return the ways of x and of h."""
    x = _plan(layer.wx, layer.x.storage_bits // 8, layer.x_shift, len(_SCALARS), effort)
    left = len(_SCALARS) - x.scalars
    h = _plan(layer.wh, layer.h.storage_bits // 8, 0, left, effort)
    total = x.blocks + h.blocks
    if effort == "size":
        x_held, h_held = (p.blocks if p.blocks - p.hold < 2 else p.hold for p in (x, h))
    elif total <= _VECTORS:
        x_held, h_held = x.blocks, h.blocks
    else:
        # One register goes for the streamed blocks.
        x_held = min(x.blocks, _VECTORS - 1 - h.hold)
        h_held = min(h.blocks, _VECTORS - 1 - x_held)
    looped = total > _UNROLLED[effort]
    return (
        _part("r0", x, x_held, 0, looped, effort, _SCALARS),
        _part("r1", h, h_held, x_held, looped, effort, _SCALARS[x.scalars :]),
    )


def _part(
    pointer: str,
    plan: _Plan,
    held: int,
    first_register: int,
    looped: bool,
    effort: Effort,
    scalar_registers: tuple[str, ...],
) -> Part:
    streamed = plan.blocks - held
    stride = plan.lanes * plan.value_bytes
    reach = 127 * plan.value_bytes
    # Rows of weights begin at words, where loads are fastest, unless flash is dearer.
    align = 1 if effort == "size" else 4
    columns = plan.columns - plan.scalars
    blocks = []
    for number in range(plan.blocks):
        own = min(plan.lanes, columns - number * plan.lanes)
        register = _VECTORS - 1 if number < streamed else first_register + number - streamed
        row_bytes = round_up(own * plan.weight_bytes, align)
        offset = number * stride
        blocks.append(Block(f"q{register}", offset, offset <= reach, own, row_bytes))
    return Part(
        pointer=pointer,
        value_bytes=plan.value_bytes,
        weight_bytes=plan.weight_bytes,
        lanes=plan.lanes,
        streamed=tuple(blocks[:streamed]),
        held=tuple(blocks[streamed:]),
        looped=looped and streamed > 1,
        scalars=tuple(
            Scalar(register, (columns + number) * plan.value_bytes)
            for number, register in enumerate(scalar_registers[: plan.scalars])
        ),
        shift=plan.shift,
        late=plan.late,
    )


def round_up(count: int, multiple: int) -> int:
    """Return the least multiple that is not below the count."""
    return -(-count // multiple) * multiple
