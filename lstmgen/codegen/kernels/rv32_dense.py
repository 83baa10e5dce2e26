"""The sums of a dense layer for RV32IMC: up to six rows at a time, a product for each weight.

No register has to be saved for that. Portable C does the rest of the layer.
"""

from dataclasses import dataclass

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized_layers import QuantizedDense
from ..layout.rows import row_words, unpack_rows
from ..layout.words import round_up
from .kernel import Choice, Effort, Kernel

_ROWS = 6
"""Rows that have registers."""

_UNROLLED: dict[Effort, int] = {"speed": 80, "balanced": 24}
"""Products up to which all of a group is unrolled."""

_TURN: dict[Effort, int] = {"speed": 40, "balanced": 16}
"""About so many products are in a turn of the loop over columns else."""


@dataclass(frozen=True)
class RowGroup:
    """`count` groups of rows, their sums in `registers`.

    turns: of a loop over `per_turn` columns, 0 for none; rest: columns behind it. tail: what
    the stream's pointer is moved on by from there to the next group.
    """

    count: int
    registers: tuple[str, ...]
    turns: int
    per_turn: int
    rest: int
    tail: int


@dataclass(frozen=True, eq=False)
class Rv32Dense(Kernel):
    """What the template prints. load, weight: instructions, and the bytes they load."""

    groups: tuple[RowGroup, ...]
    load: str
    value_bytes: int
    weight: str
    weight_bytes: int

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows of each group."""
        return tuple(len(group.registers) for group in self.groups for _ in range(group.count))


def choose_dense(layer: QuantizedDense, bounds: LayerBounds, effort: Effort) -> Choice:
    """Return the kernel of a dense layer, whose sums are proved to fit int32."""
    del bounds  # modulo 2**32 any sum is exact
    if effort == "size":
        return Choice(None, "the least flash was asked for")
    size = 1 if np.abs(layer.w).max(initial=0) <= 127 else 2
    rows = _rows_of(layer.rows)
    count, rest = divmod(layer.rows, rows)
    groups = [_group(layer, rows, count, size, effort)]
    if rest:
        groups.append(_group(layer, rest, 1, size, effort))
    kernel = Rv32Dense(
        name="rows in registers",
        template="rv32imc.S.j2",
        stream=row_words(layer, [rows] * count + [rest] * (rest > 0), size),
        groups=tuple(groups),
        load="lb" if layer.x.storage_bits == 8 else "lh",
        value_bytes=layer.x.storage_bits // 8,
        weight="lb" if size == 1 else "lh",
        weight_bytes=size,
    )
    return Choice(kernel, f"{min(rows, layer.rows)} rows at a time")


def _rows_of(rows: int) -> int:
    """Return how many rows share a pass: such that none are left, where that can be."""
    if rows <= _ROWS:
        return rows
    return next((count for count in range(_ROWS, 3, -1) if rows % count == 0), _ROWS)


def _group(layer: QuantizedDense, rows: int, count: int, size: int, effort: Effort) -> RowGroup:
    columns = layer.inputs
    per_turn = max(_TURN[effort] // rows, 1)
    turns = 0 if columns * rows <= _UNROLLED[effort] else columns // per_turn
    turns = turns if turns > 1 else 0
    rest = columns - turns * per_turn
    before = rows * turns * per_turn * size if turns else -4 * rows
    return RowGroup(
        count,
        tuple(f"t{row}" for row in range(rows)),
        turns,
        per_turn,
        rest,
        round_up(rows * columns * size, 4) - before,
    )


def unpack_dense(kernel: Rv32Dense, layer: QuantizedDense) -> tuple[IntArray, IntArray]:
    """Return the weights (m, n) and biases (m,) that the kernel's stream holds."""
    return unpack_rows(kernel.stream, kernel.rows, kernel.weight_bytes, layer)
