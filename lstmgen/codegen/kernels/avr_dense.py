"""Kernels of dense layers for AVR with hardware multiplier: the sums of their rows.

A pass takes one to four rows; those behind the last full pass take one of their own. Ways to
multiply: 16x16, in q7 16x8, both with 32-bit sums.
"""

from dataclasses import dataclass

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized_layers import QuantizedDense
from ..layout import offsets
from ..layout.offsets import Part, Reader, Way
from ..layout.words import int32
from .avr_blocks import MOST, MOST_COLUMNS, TEMPLATE, AvrKernel, Block, source, spans, wide_sums
from .kernel import Choice, Effort

_ROOM: dict[Effort, int] = {"speed": 600, "balanced": 176}
"""Bytes of code that unrolled columns of a full pass may take."""

_X = "r4"
"""Where the address of x is when it is copied."""

_POINTER_BYTES = 2
"""The frame's end: where the sums go."""


@dataclass(frozen=True, eq=False)
class AvrDense(AvrKernel):
    """What the template prints for a dense layer. rest: rows behind the passes in the loop."""

    rest: int


def choose_dense(layer: QuantizedDense, bounds: LayerBounds, effort: Effort) -> Choice:
    """Return the kernel of a dense layer, whose sums are proved to fit int32."""
    del bounds  # modulo 2**32 any sum is exact
    if effort == "size":
        return Choice(None, "the least flash was asked for")
    if layer.inputs > MOST_COLUMNS:
        return Choice(None, f"{layer.inputs} inputs, more than {MOST_COLUMNS}")
    rows = _rows_of_a_pass(layer.rows, effort)
    passes = layer.rows // rows
    if passes > MOST:
        return Choice(None, f"{layer.rows} rows, more than {MOST} times {rows}")
    way = Way(2, layer.x.storage_bits // 8)
    stream = np.concatenate(
        [
            _stream(layer, way, 0, rows, passes),
            _stream(layer, way, rows * passes, layer.rows % rows, 1),
        ]
    )
    sums = wide_sums(rows)
    (columns,) = spans([(way, layer.inputs)], sums, _ROOM[effort])
    kernel = AvrDense(
        name="MUL, 32-bit sums",
        template=TEMPLATE,
        stream=stream,
        blocks=(Block((source(_X, layer.inputs),), columns, weighed=True),),
        sums=sums,
        saved=tuple(f"r{register}" for register in range(2, 2 + 4 * rows)),
        frame=way.value * layer.inputs + 4 + _POINTER_BYTES,
        passes=passes,
        pass_halfwords=rows * (2 + layer.inputs),
        rest=layer.rows % rows,
    )
    return Choice(kernel, f"{rows} rows at a time" if rows > 1 else "row by row")


def _rows_of_a_pass(rows: int, effort: Effort) -> int:
    """Return how many rows share the reading of the values."""
    if effort == "speed" or rows <= 4:
        return min(rows, 4)
    # No rows left over, for which there would be code of their own.
    return max(count for count in (1, 2, 3, 4) if rows % count == 0)


def _stream(layer: QuantizedDense, way: Way, first: int, rows: int, passes: int) -> IntArray:
    """Return what passes over `rows` rows each read: start values and weights, as halfwords."""
    at = slice(first, first + rows * passes)
    weights = layer.w[at].reshape(passes, rows, layer.inputs).transpose(1, 0, 2)
    part = Part(weights, way)
    bias = layer.bias[at].reshape(passes, rows).T
    return offsets.halfwords([offsets.start_bytes(bias, [part], 4), offsets.weight_bytes(part)])


def unpack_dense(kernel: AvrDense, layer: QuantizedDense) -> tuple[IntArray, IntArray]:
    """Return the weights (m, n) and biases (m,) that the kernel's stream holds."""
    way, rows = kernel.blocks[0].spans[0].way, len(kernel.sums)
    cut = kernel.passes * kernel.pass_halfwords
    weights, biases = [], []
    for stream, count, passes in (
        (kernel.stream[:cut], rows, kernel.passes),
        (kernel.stream[cut:], kernel.rest, 1),
    ):
        reader = Reader(stream, passes)
        start = reader.numbers(count, 4)
        found = reader.weights(way, count, layer.inputs)
        weights.append(found.transpose(1, 0, 2).reshape(count * passes, layer.inputs))
        biases.append(int32(start + Part(found, way).excess).T.ravel())
    return np.concatenate(weights), np.concatenate(biases)
