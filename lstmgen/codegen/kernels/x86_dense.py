"""Dense layers for x86-64: the sums of eight rows in each vector, up to four vectors in a group.

With AVX2 two groups are taken at a time, which share the values of x. Portable C does the rest
of the layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ...bounds import LayerBounds
from ...qformat import IntArray
from ...quantized_layers import QuantizedDense
from .kernel import Choice, Effort, Kernel
from .x86_pairs import EXACT, LANES, Run, halves, padded, run, whole

_VECTORS = 4
"""Vectors of a group: with SSE2 two registers each."""


@dataclass(frozen=True)
class Store:
    """Where a register goes: `rows` of it from `row` on; it is the group's `number`-th."""

    group: int
    number: int
    row: int
    rows: int


@dataclass(frozen=True)
class Pass:
    """Groups whose sums AVX2 has in registers together.

    count: of such passes, one behind the other. groups: the vectors of each group. tail: rows of
    the last vector if they are fewer than LANES, else 0. words: of the stream.
    """

    count: int
    groups: tuple[int, ...]
    tail: int
    words: int

    @property
    def rows(self) -> int:
        """The number of rows of one pass."""
        return sum(self.groups) * LANES - (-self.tail % LANES)

    @property
    def numbered(self) -> list[tuple[int, int]]:
        """The groups, from 0, and their vectors."""
        return list(enumerate(self.groups))

    def stores(self, per_vector: int) -> list[Store]:
        """Return what is to be stored where a vector takes so many registers."""
        lanes = LANES // per_vector
        registers = [(g, n) for g, size in self.numbered for n in range(size * per_vector)]
        return [
            Store(g, n, row, min(lanes, self.rows - row))
            for (g, n), row in zip(registers, range(0, self.rows, lanes), strict=False)
        ]


@dataclass(frozen=True, eq=False)
class DensePairKernel(Kernel):
    """What the template prints.

    passes: over all rows, in order. run: of whole pairs of columns; alone: whether a column is
    left, which is then read alone; pairs: with that one. group_words: of a group of all
    vectors. uses: shared functions.
    """

    stream_bits: ClassVar[Literal[16, 32]] = 16
    passes: tuple[Pass, ...]
    run: Run
    alone: bool
    pairs: int
    group_words: int
    unrolled: bool
    uses: frozenset[str]
    plain: ClassVar[frozenset[str]] = frozenset()


def choose_dense(layer: QuantizedDense, bounds: LayerBounds, effort: Effort) -> Choice:
    """Return the kernel of a dense layer."""
    del bounds  # modulo 2**32 any sum is exact
    if effort == "size":
        return Choice(None, "the least flash was asked for")
    if layer.rows == 1 and layer.inputs >= 2 * LANES and layer.inputs % LANES == 0:
        return Choice(None, "of a single row compilers make vectors themselves")
    pairs = (layer.inputs + 1) // 2
    passes = tuple(_passes(layer.rows, pairs))
    bytes_in = layer.x.storage_bits == 8
    # Behind the last of 16 bits nothing may be read; bytes are widened into an array.
    read = pairs if bytes_in else layer.inputs // 2
    kernel = DensePairKernel(
        name="column pairs",
        template="x86_dense.c.j2",
        stream=np.concatenate(list(_stream(layer, passes))),
        passes=passes,
        run=run(0, read, effort),
        alone=read < pairs,
        pairs=pairs,
        group_words=_words(_VECTORS, pairs),
        unrolled=effort == "speed",
        uses=frozenset(_uses(layer, passes)),
    )
    return Choice(kernel, EXACT)


def _passes(rows: int, pairs: int) -> Iterator[Pass]:
    vectors = -(-rows // LANES)
    most = 2 * _VECTORS
    tail = rows % LANES
    left = vectors % most or (most if tail else 0)
    count = (vectors - left) // most
    if count:
        yield Pass(count, (_VECTORS, _VECTORS), 0, _words(most, pairs))
    if left:
        groups = (left,) if left <= _VECTORS else (_VECTORS, left - _VECTORS)
        yield Pass(1, groups, tail, _words(left, pairs))


def _words(vectors: int, pairs: int) -> int:
    """Return the halfwords of so many vectors: of biases and of pairs of weights."""
    return 2 * LANES * vectors * (1 + pairs)


def _uses(layer: QuantizedDense, passes: tuple[Pass, ...]) -> Iterator[str]:
    for one in passes:
        yield from (f"pair_{vectors}" for vectors in one.groups)
        yield from (f"store_{store.rows}_avx2" for store in one.stores(1))
        yield from (f"store_{store.rows}_sse2" for store in one.stores(2))
    if layer.x.storage_bits == 16 and layer.inputs > 1:
        yield "column_pair"
    elif layer.x.storage_bits == 8 and layer.inputs >= LANES:
        yield "widen_8"


def _groups(passes: tuple[Pass, ...]) -> Iterator[int]:
    """Return the vectors of each group, in order."""
    for one in passes:
        yield from one.groups * one.count


def _stream(layer: QuantizedDense, passes: tuple[Pass, ...]) -> Iterator[IntArray]:
    """Return of each group the biases [row] as low and high halves, the weights [pair][row][2]."""
    bias = padded(layer.bias, LANES, 0)
    w = padded(padded(layer.w, 2, 1), LANES, 0)
    first = 0
    for vectors in _groups(passes):
        rows = slice(first, first + vectors * LANES)
        yield halves(bias[rows]).ravel()
        yield w[rows].reshape(vectors * LANES, -1, 2).swapaxes(0, 1).ravel()
        first = rows.stop


def unpack_dense(kernel: DensePairKernel, layer: QuantizedDense) -> tuple[IntArray, IntArray]:
    """Return the weights (m, n) and biases (m,) that the stream holds."""
    words, weights, biases = kernel.stream, [], []
    for vectors in _groups(kernel.passes):
        rows = vectors * LANES
        group, words = np.split(words, [2 * rows * (1 + kernel.pairs)])
        pairs = group.reshape(-1, rows, 2)
        biases.append(whole(pairs[0]))
        weights.append(pairs[1:].swapaxes(0, 1).reshape(rows, -1))
    m = layer.rows
    return np.concatenate(weights)[:m, : layer.inputs], np.concatenate(biases)[:m]
