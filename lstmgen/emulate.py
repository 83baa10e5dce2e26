"""Bit-exact inference on arrays of any size, in chunks of sequences and of time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .emulator import Emulator
from .qformat import IntArray
from .quantized import QuantizedNetwork

BATCH = 256
"""Sequences at a time: enough for full speed, few enough for the cache."""

_CHUNK_VALUES = 1 << 22
"""Values per layer and chunk, which bounds the memory to some hundred MB."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Raw outputs y for sequences `rows`, and time steps `steps` where the sequence is output.

    y: (len(rows), width) or (len(rows), len(steps), width). done: time steps computed,
    summed over the sequences; clipped: inputs limited to their format.
    """

    rows: slice
    steps: slice
    y: IntArray | None
    done: int
    clipped: int


def emulate(
    q: QuantizedNetwork, x: NDArray[Any], lengths: IntArray | None = None
) -> Iterator[Chunk]:
    """Yield the outputs of `q` for real inputs x (B, T, n), which may be memory-mapped.

    A network that outputs the last step yields y with the last chunk of each batch, None
    with those before. lengths: (B,) how many steps of each sequence count, or None for all;
    sequences that have lengths, and those of a network that does not stream, come whole.
    """
    whole = lengths is not None or not q.streams
    emulator = Emulator(q)
    widest = max(max(layer.inputs, 4 * layer.width) for layer in q.layers)
    for first in range(0, len(x), BATCH):
        rows = slice(first, min(first + BATCH, len(x)))
        batch = rows.stop - rows.start
        emulator.reset(batch)
        length = x.shape[1] if whole else max(1, _CHUNK_VALUES // (batch * widest))
        for start in range(0, x.shape[1], length):
            steps = slice(start, min(start + length, x.shape[1]))
            real = np.asarray(x[rows, steps], np.float64)
            y = emulator.run(q.to_raw(real), None if lengths is None else lengths[rows])
            wanted = q.outputs == "sequence" or steps.stop == x.shape[1]
            done = batch * (steps.stop - steps.start)
            yield Chunk(rows, steps, y if wanted else None, done, q.count_clipped(real))


def output_shape(q: QuantizedNetwork, x: NDArray[Any]) -> tuple[int, ...]:
    """Return the shape of the outputs for inputs x: (B, width) or (B, T, width)."""
    steps = (x.shape[1],) if q.outputs == "sequence" else ()
    return (x.shape[0], *steps, q.width)
