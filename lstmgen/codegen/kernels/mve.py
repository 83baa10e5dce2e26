"""Kernels for Arm cores with Helium (MVE): Cortex-M55 and its like.

A layer is computed in groups of units. First the four gates of each unit of the group are
summed, as mve_columns.py says; then the group is activated and updated, four units in a vector.

Sums are int32 and wrap, shifts are vectors and saturate where rule N4 clamps: no weights are
unfit. The template templates/isa/mve.S.j2 prints the kernels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import QuantizedLstm, Tables
from .kernel import Choice, Effort, Kernel
from .mve_columns import Part, parts_of, round_up

TEMPLATE = "mve.S.j2"

_GROUP = {"speed": 32, "balanced": 16, "size": 16}
"""Most units of a group, 16 bytes of stack each."""


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

    group: units of a group; whole: whether the last group has as many.
    copied: bytes for a copy of h on the stack, which units behind the first group read.
    """

    parts: tuple[Part, Part]
    group: int
    groups: int
    whole: bool
    copied: int
    gates: tuple[GateShift, ...]
    table_bits: int
    product_shift: int
    hidden_bits: int
    copies_output: ClassVar[bool] = True

    @property
    def late(self) -> bool:
        """Whether the sums over x are shifted before biases and h are added."""
        return self.parts[0].late

    @property
    def looped(self) -> bool:
        """Whether there is a loop over blocks."""
        return any(part.looped for part in self.parts)


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, h_aligned: bool
) -> Choice:
    """Return the kernel; it takes any weights, and h at any address of its type."""
    del h_aligned
    k = layer.units
    parts = parts_of(layer, effort)
    group = round_up(-(-k // -(-k // _GROUP[effort])), 4)
    gates = tuple(
        GateShift(
            name,
            f"q{g}",
            "r8" if name == "g" else "r7",
            bool(bounds.clamped[g * k : (g + 1) * k].any()),
            int(rows[0]) if (rows == rows[0]).all() else None,
        )
        for g, (name, rows) in enumerate(zip("ifgo", layer.shift.reshape(4, k), strict=True))
    )
    kernel = HeliumKernel(
        name=f"Helium, int{parts[0].bits} and int{parts[1].bits}",
        template=TEMPLATE,
        stream=_stream(layer, parts, gates, group),
        parts=parts,
        group=group,
        groups=-(-k // group),
        whole=round_up(k, 4) % group == 0,
        copied=round_up(k * layer.h.bits // 8, 16) if k > group else 0,
        gates=gates,
        table_bits=tables.bits,
        product_shift=tables.product_shift,
        hidden_bits=layer.h.bits,
    )
    return Choice(kernel, "takes any weights")


@dataclass(frozen=True)
class _Field:
    """Integers of the stream: those of some rows and columns of an array.

    size: bytes of each; width: bytes of the field, zeros behind the integers.
    """

    array: str
    rows: range
    columns: range
    size: int
    width: int


def _fields(
    parts: tuple[Part, Part], gates: tuple[GateShift, ...], k: int, group: int
) -> Iterator[_Field]:
    """Yield what the kernel reads, in its order."""
    x, h = parts
    for begin in range(0, k, group):
        units = range(begin, min(begin + group, k))
        for unit in units:
            bias = _Field("bias", range(unit, 4 * k, k), range(1), 4, 16)
            yield from () if x.late else (bias,)
            yield from _rows("wx", x, k, unit)
            yield from (bias,) if x.late else ()
            yield from _rows("wh", h, k, unit)
        for unit in units[::4]:
            for g, gate in enumerate(gates):
                rows = range(g * k + unit, g * k + min(unit + 4, k))
                for array, part in (("wx", x), ("wh", h)):
                    for scalar in part.scalars:
                        column = scalar.offset // part.value_bytes
                        size = part.weight_bytes
                        yield _Field(array, rows, range(column, column + 1), size, 4 * size)
                if gate.shift is None:
                    yield _Field("shift", rows, range(1), 1, 4)


def _rows(array: str, part: Part, k: int, unit: int) -> Iterator[_Field]:
    for block in part.blocks:
        begin = block.offset // part.value_bytes
        columns = range(begin, begin + block.columns)
        for g in range(4):
            row = range(g * k + unit, g * k + unit + 1)
            yield _Field(array, row, columns, part.weight_bytes, block.row_bytes)


def _stream(
    layer: QuantizedLstm, parts: tuple[Part, Part], gates: tuple[GateShift, ...], group: int
) -> IntArray:
    """Return the words of the stream, (1, words)."""
    arrays = {
        "bias": layer.bias[:, None],
        "wx": layer.wx,
        "wh": layer.wh,
        # VSHL shifts to the left where positive.
        "shift": -layer.shift[:, None],
    }
    stream = bytearray()
    for field in _fields(parts, gates, layer.units, group):
        found = arrays[field.array][
            field.rows.start : field.rows.stop : field.rows.step,
            field.columns.start : field.columns.stop,
        ]
        stream += found.astype(f"<i{field.size}").tobytes().ljust(field.width, b"\0")
    if any(block.columns < part.lanes for part in parts for block in part.held):
        # The load of a short row reads on: of the last one, past the stream's end.
        stream += bytes(16)
    return np.frombuffer(bytes(stream), "<i4").astype(np.int64)[None]


def unpack(kernel: HeliumKernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Invert the packing: return the weights (4k, n), (4k, k) that the stream holds."""
    k = layer.units
    arrays = {
        "bias": np.zeros((4 * k, 1), np.int64),
        "wx": np.zeros((4 * k, layer.inputs), np.int64),
        "wh": np.zeros((4 * k, k), np.int64),
        "shift": np.zeros((4 * k, 1), np.int64),
    }
    stream = kernel.stream.astype("<i4").tobytes()
    at = 0
    for field in _fields(kernel.parts, kernel.gates, k, kernel.group):
        count = len(field.rows) * len(field.columns)
        found = np.frombuffer(stream, f"<i{field.size}", count, at)
        arrays[field.array][np.ix_(field.rows, field.columns)] = found.reshape(
            len(field.rows), len(field.columns)
        )
        at += field.width
    return arrays["wx"], arrays["wh"]
