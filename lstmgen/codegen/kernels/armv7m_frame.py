"""How the values of h and x get to the frame on Cortex-M3, where they lie as words."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...qformat import QFormat
from ...quantized_layers import QuantizedLstm
from ..layout.words import round_up
from .armv7m_unit import GROUP

X, H = "r0", "r1"
"""The registers of the pointers that a kernel is called with."""

_LOADS = {1: "ldrsb", 2: "ldrsh"}
"""How values of so many bytes are loaded."""

_UNROLLED = 12
"""Values up to which their copying is unrolled."""

_REGISTERS = tuple(f"r{n}" for n in range(4, 12))
"""Registers that gathered values go through."""


@dataclass(frozen=True)
class Load:
    """A value from an offset of `source`, to be shifted left."""

    mnemonic: str
    register: str
    source: str
    offset: int
    shift: int = 0


@dataclass(frozen=True)
class Copy:
    """`count` values from where `source` points to, as they lie, to be shifted left.

    turns: of a loop that takes four, then `rest`. total: the register that they are summed in.
    """

    mnemonic: str
    source: str
    bytes: int
    count: int
    turns: int
    rest: tuple[int, ...]
    shift: int
    total: str | None


def frame_size(end: int) -> int:
    """Return the size of a frame whose values end at `end`: nine registers are pushed, and with 4
    more bytes the stack stays 8-aligned."""
    return round_up(end + 4, 8) - 4


def loads(
    values: QFormat, source: str, columns: Sequence[int], registers: Sequence[str]
) -> tuple[Load, ...]:
    """Return the loads of some of the values."""
    size = values.storage_bits // 8
    return tuple(
        Load(_LOADS[size], register, source, column * size)
        for column, register in zip(columns, registers, strict=True)
    )


def gathered(
    layer: QuantizedLstm, order: Sequence[int], x_shift: int
) -> tuple[tuple[Load, ...], ...]:
    """Return the loads, by groups, that bring columns of h and then x into an order."""
    k, found = layer.units, []
    for at, column in enumerate(order):
        values, source, first, shift = layer.h, H, 0, 0
        if column >= k:
            values, source, first, shift = layer.x, X, k, x_shift
        size = values.storage_bits // 8
        register = _REGISTERS[at % len(_REGISTERS)]
        found.append(Load(_LOADS[size], register, source, (column - first) * size, shift))
    groups = range(0, len(found), len(_REGISTERS))
    return tuple(tuple(found[at : at + len(_REGISTERS)]) for at in groups)


def copy(source: str, values: QFormat, count: int, shift: int, total: str | None) -> Copy:
    """Return how values are copied."""
    turns = count // GROUP if count > _UNROLLED else 0
    left = count - GROUP * turns
    rest = tuple(min(GROUP, left - at) for at in range(0, left, GROUP))
    size = values.storage_bits // 8
    return Copy(_LOADS[size], source, size, count, turns, rest, shift, total)
