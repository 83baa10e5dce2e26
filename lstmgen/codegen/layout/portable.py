"""How the portable kernel wants its weights in memory, and the way back.

A unit's four gates lie side by side, column by column, so that one pass over the inputs
feeds four accumulators and every array is read from front to back.
"""

from typing import Literal

import numpy as np

from ...errors import RangeError
from ...qformat import IntArray

StorageBits = Literal[8, 16, 32]


def interleave(rows: IntArray, gates_of_unit: int = 4) -> IntArray:
    """Return gate-major rows (4k, ...) as (k, ..., 4), of another number of gates likewise."""
    gates = rows.reshape(gates_of_unit, rows.shape[0] // gates_of_unit, *rows.shape[1:])
    return np.ascontiguousarray(np.moveaxis(gates, 0, -1))


def deinterleave(packed: IntArray) -> IntArray:
    """Invert `interleave`: return (k, ..., 4) as gate-major rows (4k, ...)."""
    gates = np.moveaxis(packed, -1, 0)
    return np.ascontiguousarray(gates.reshape(-1, *packed.shape[1:-1]))


def storage_bits(name: str, values: IntArray) -> StorageBits:
    """Return the width of the narrowest C integer that holds all `values` of array `name`."""
    lo, hi = int(values.min()), int(values.max())
    widths: tuple[StorageBits, ...] = (8, 16, 32)
    for bits in widths:
        if -(1 << (bits - 1)) <= lo and hi < 1 << (bits - 1):
            return bits
    raise RangeError(f"{name} spans {lo}..{hi}; expected integers of 32 bits")
