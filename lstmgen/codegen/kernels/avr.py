"""Kernels for AVR with hardware multiplier: 8-bit products of what program memory streams.

A unit's four gates are summed in one pass over a frame on the stack that holds x and h, then
activated and updated without leaving registers. Weights w and values v are multiplied as
unsigned numbers w' = w + 2**7 or 2**15 and v' alike, which spares the sign extension of every
product:

    sum w'v' = sum wv + (offset of v) * sum w + (offset of w) * sum v'

The second term is part of the start values; the third is the same for all units: computed once
per step, subtracted from every sum. All of it is exact modulo 2**24 or 2**32. Ways to multiply:

- q7: 8-bit weights and values, 24-bit sums. Needs |acc| < 2**23.
- bytes: 8-bit weights, 16-bit values, 32-bit sums; the carries out of the lower product are
  counted in a byte apart.
- words: 16-bit weights and values, 32-bit sums.

A shift (rule N4) is a multiplication by a power of two, whose bytes do not overlap.
The templates templates/isa/avr.S.j2 and avr_cell.j2 print all this.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized import QuantizedLstm, Tables
from .kernel import Choice, Effort, Kernel

Way = Literal["q7", "bytes", "words"]

TEMPLATE = "avr.S.j2"

_MOST_COLUMNS = 255
"""Columns that a byte can count, and whose carries it can."""

_MOST_BYTES = 32767
"""The largest array of avr-gcc; the stream is one."""

_UNROLLED: dict[Effort, int] = {"speed": 4, "balanced": 4, "size": 1}
"""Columns per turn of a loop."""

_NARROW_SUMS = (("r2", "r3", "r4"), ("r5", "r6", "r7"), ("r8", "r9", "r10"), ("r11", "r12", "r13"))
_WIDE_SUMS = tuple(tuple(f"r{2 + 4 * gate + byte}" for byte in range(4)) for gate in range(4))
_CARRIES = ("r18", "r19", "r20", "r21")

_RESULTS = ("r2", "r6", "r8", "r12")
"""Where the gates' values go: registers of sums that are no longer needed then."""

_V = ("r18", "r19", "r30", "r31")
"""The bytes of V; the upper two become the index of the table's segment."""

_FACTOR, _TOP = "r20", "r21"
"""The power of two, and the sum's top byte where MULSU can read it."""

_OFFSET: dict[Way, int] = {"q7": 7, "bytes": 7, "words": 15}
"""What is added to a weight, as a power of two."""


@dataclass(frozen=True)
class Span:
    """Columns that are multiplied in one way.

    turns: of a loop over `per_turn` columns, entered behind the first `skipped` of them; with
        one turn there is no loop. shift: doublings of the sums behind it, which align x with
        h (rule N2), before they get their start values.
    """

    way: Way
    columns: int
    per_turn: int
    turns: int
    skipped: int
    shift: int


@dataclass(frozen=True)
class Product:
    """A byte of the sum times the power of two: where its halves go.

    fresh: whether the lower half is the first to arrive there.
    """

    source: str
    signed: bool
    low: str | None
    high: str | None
    fresh: bool


@dataclass(frozen=True)
class GateShift:
    """How a gate's sum becomes V: V = sum * 2**e >> T with e by row, T by gate.

    halvings: T mod 8. cleared: bytes of V below the sum. top: the last byte of V that the
    products reach, whose sign the `extended` ones take. clamped: whether V can lie beyond the
    table.
    """

    name: str
    sums: tuple[str, ...]
    carry: str
    table: str
    result: str
    products: tuple[Product, ...]
    cleared: tuple[str, ...]
    top: str
    extended: tuple[str, ...]
    halvings: int
    clamped: bool


@dataclass(frozen=True, eq=False)
class AvrKernel(Kernel):
    """What the template prints.

    narrow: 24-bit sums of 8-bit values. frame: bytes of x', h' and the correction. wordwise:
    which values have 16-bit weights. inlined: whether the interpolation is printed where it is
    used rather than called. quarter_table: a fourth of a table's segments, which are as many
    as V's upper half can be below 0.
    """

    narrow: bool
    spans: tuple[Span, ...]
    gates: tuple[GateShift, ...]
    frame: int
    x_shift: int
    wordwise: Literal["all", "x"] | None
    inlined: bool
    table_bits: int
    quarter_table: int
    product_shift: int

    @property
    def sum_bytes(self) -> int:
        """Bytes of a sum."""
        return 3 if self.narrow else 4


def choose(
    layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, effort: Effort, _h_aligned: bool
) -> Choice:
    """Return the kernel that the weights allow."""
    k, columns = layer.units, layer.inputs + layer.units
    if bounds.clamped.any():
        return Choice(None, "a pre-activation has to be clamped")
    if columns > _MOST_COLUMNS:
        return Choice(None, f"{columns} columns, more than {_MOST_COLUMNS}")
    narrow = layer.h.bits == 8
    if layer.x.storage_bits != layer.h.bits or (layer.x_shift and not narrow):
        return Choice(None, "inputs of another width than the hidden state")
    widest = int(bounds.bound.max())
    if narrow and (widest >= 1 << 23 or not (_bytes(layer.wx) and _bytes(layer.wh))):
        return Choice(None, f"|acc| can reach {widest}; a sum of 24 bits holds less than 2^23")
    spans = _spans(layer, _UNROLLED[effort])
    sums = _NARROW_SUMS if narrow else _WIDE_SUMS
    quarter = 1 << (tables.bits - 2)
    gates = []
    for g, name in enumerate("ifgo"):
        rows = slice(g * k, (g + 1) * k)
        reach = bounds.bound[rows] * 2.0 ** -layer.shift[rows] + 1
        total = _total_shift(layer.shift[rows], reach, quarter)
        if total is None or total // 8 > len(sums[g]):
            return Choice(None, f"shifts of gate {name} differ by too much for one way")
        clamped = bool(reach.max() >= quarter << 16)
        gates.append((_gate(g, sums[g], total, clamped), total))
    stream = _stream(layer, spans, [total for _, total in gates])
    if 4 * stream.size > _MOST_BYTES:
        return Choice(None, f"{4 * stream.size} bytes for one array, more than {_MOST_BYTES}")
    size = layer.h.bits // 8
    ways = [span.way for span in spans]
    kernel = AvrKernel(
        name="MUL, 24-bit sums" if narrow else "MUL, 32-bit sums",
        template=TEMPLATE,
        stream=stream,
        narrow=narrow,
        spans=spans,
        gates=tuple(gate for gate, _ in gates),
        frame=size * columns + (3 if narrow else 4),
        x_shift=layer.x_shift,
        wordwise="all" if ways[-1] == "words" else "x" if ways[0] == "words" else None,
        inlined=effort == "speed",
        table_bits=tables.bits,
        quarter_table=quarter,
        product_shift=tables.product_shift,
    )
    what = "8-bit" if _bytes(layer.wh) else "16-bit"
    return Choice(kernel, f"{what} recurrent weights, |acc| at most {widest}")


def _bytes(weights: IntArray) -> bool:
    return bool(np.abs(weights).max() <= 127)


def _spans(layer: QuantizedLstm, unrolled: int) -> tuple[Span, ...]:
    n, k = layer.inputs, layer.units
    if layer.h.bits == 8:
        ways: tuple[Way, Way] = ("q7", "q7")
    else:
        h_way: Way = "bytes" if _bytes(layer.wh) else "words"
        ways = ("bytes" if h_way == "bytes" and _bytes(layer.wx) else "words", h_way)
    if ways[0] == ways[1] and not layer.x_shift:
        return (_span(ways[0], n + k, unrolled, 0),)
    return _span(ways[0], n, unrolled, layer.x_shift), _span(ways[1], k, unrolled, 0)


def _span(way: Way, columns: int, unrolled: int, shift: int) -> Span:
    per_turn = min(unrolled, columns)
    turns = -(-columns // per_turn)
    return Span(way, columns, per_turn, turns, turns * per_turn - columns, shift)


def _total_shift(shift: IntArray, reach: NDArray[np.float64], quarter: int) -> int | None:
    """Return T so that every row's V is sum * 2**(T - s) >> T with 0 <= T - s <= 7.

    reach: the largest |V| of each row. A multiple of 8 costs nothing, each bit more a shift
    of V. What is still shifted has to fit 32 bits, and V's upper half the addition of a
    quarter of the segments.
    """
    low, high = max(int(shift.max()), -8), int(shift.min()) + 7
    limit = (1 << 31) - ((quarter + 1) << 16)
    for total in sorted(range(low, high + 1), key=lambda t: (t % 8, t)):
        if reach.max() * 2.0 ** (total % 8) < limit:
            return total
    return None


def _gate(g: int, sums: tuple[str, ...], total: int, clamped: bool) -> GateShift:
    dropped = total // 8
    count = len(sums)
    products = []
    for m in range(max(dropped - 1, 0), count):
        low, high = m - dropped, m - dropped + 1
        last = m == count - 1
        products.append(
            Product(
                source=_TOP if last else sums[m],
                signed=last,
                low=_V[low] if 0 <= low < 4 else None,
                high=_V[high] if 0 <= high < 4 else None,
                fresh=m == 0,
            )
        )
    top = min(3, count - dropped)
    return GateShift(
        name="ifgo"[g],
        sums=sums,
        carry=_CARRIES[g],
        table="tanh" if "ifgo"[g] == "g" else "sigmoid",
        result=_RESULTS[g],
        products=tuple(products),
        cleared=_V[: max(0, -dropped)],
        top=_V[top],
        extended=_V[top + 1 :],
        halvings=total % 8,
        clamped=clamped,
    )


def _stream(layer: QuantizedLstm, spans: tuple[Span, ...], totals: list[int]) -> IntArray:
    """Return the words of all units, (k, words), of bytes: start values, weights, factors."""
    k, n = layer.units, layer.inputs
    wx, wh = layer.wx.reshape(4, k, n), layer.wh.reshape(4, k, k)
    parts = [np.concatenate([wx, wh], 2)] if len(spans) == 1 else [wx, wh]
    sum_bytes = 3 if layer.h.bits == 8 else 4
    value_offset = 1 << (layer.h.bits - 1)
    sums = wx.sum(2) * (1 << layer.x_shift) + wh.sum(2)
    start = _split((layer.bias.reshape(4, k) - value_offset * sums).T, sum_bytes)
    pieces = [] if spans[0].shift else [start]
    for span, weights in zip(spans, parts, strict=True):
        moved = weights + (1 << _OFFSET[span.way])
        pieces.append(_split(moved.transpose(1, 2, 0), 2 if span.way == "words" else 1))
        if span.shift:
            pieces.append(start)
    exponent = np.array(totals)[:, None] - layer.shift.reshape(4, k)
    pieces.append(_split((1 << exponent).T, 1))
    row = np.ascontiguousarray(np.concatenate(pieces, 1), dtype=np.uint8)
    return row.view("<i4").astype(np.int64)


def _split(values: IntArray, count: int) -> IntArray:
    """Return (k, bytes): `count` bytes of each value of (k, ...), least significant first."""
    split = (values[..., None] >> (8 * np.arange(count))) & 0xFF
    return split.reshape(len(values), -1)


def unpack(kernel: AvrKernel, layer: QuantizedLstm) -> tuple[IntArray, IntArray]:
    """Invert the packing: return the weights (4k, n), (4k, k) that the stream holds."""
    k, n = layer.units, layer.inputs
    row = np.ascontiguousarray(kernel.stream).astype("<i4").view(np.uint8).reshape(k, -1)
    start = 4 * kernel.sum_bytes
    at = 0 if kernel.spans[0].shift else start
    found = []
    for span in kernel.spans:
        size = 2 if span.way == "words" else 1
        end = at + 4 * size * span.columns
        split = row[:, at:end].astype(np.int64).reshape(k, span.columns, 4, size)
        value = (split << (8 * np.arange(size))).sum(3) - (1 << _OFFSET[span.way])
        found.append(value.transpose(2, 0, 1))
        at = end + (start if span.shift else 0)
    columns = np.concatenate(found, 2).reshape(4 * k, -1)
    return columns[:, :n], columns[:, n:]
