"""The self-test that goes with the C: pseudo-random inputs and the CRC of what they cause.

The chip computes its outputs and final state from the same inputs and compares the CRC:
equality proves compiler, core and flash contents on that very device.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from .emulator import Emulator
from .qformat import IntArray
from .quantized import QuantizedNetwork
from .quantized_layers import QuantizedEmbedding

STEPS = 16
WHOLE_STEPS = 4
"""Steps for a network that takes whole sequences, which lie on the stack with their buffer."""

SEED = 0x4C53544D  # "LSTM"

_MULTIPLIER, _INCREMENT = 1664525, 1013904223
"""The linear congruential generator modulo 2**32 of Numerical Recipes."""


@dataclass(frozen=True)
class SelfTest:
    """steps: time steps run; seed: first value of the generator; crc: the CRC-32 expected."""

    steps: int
    seed: int
    crc: int


def make_selftest(q: QuantizedNetwork) -> SelfTest:
    """Return the self-test of `q`, computed by the emulator.

    The CRC-32 (IEEE 802.3) runs over the int32 values, least significant byte first, of every
    output after each step (or of the whole sequence), then of every recurrent layer's h and C
    after the last.
    """
    emulator = Emulator(q)
    steps = STEPS if q.streams else WHOLE_STEPS
    x = inputs(q, steps, SEED)
    if q.streams:
        values = [emulator.step(x[None, t]).ravel() for t in range(steps)]
    else:
        values = [emulator.run(x[None]).ravel()]
    for state in emulator.state:
        values += [state.h.ravel(), state.c.ravel()]
    return SelfTest(steps, SEED, zlib.crc32(np.concatenate(values).astype("<i4").tobytes()))


def inputs(q: QuantizedNetwork, steps: int, seed: int) -> IntArray:
    """Return (steps, n) inputs over the whole range, every step's smaller by a bit in turn."""
    x = np.empty((steps, q.inputs), np.int64)
    r = seed
    for t in range(steps):
        for j in range(q.inputs):
            r = (r * _MULTIPLIER + _INCREMENT) & 0xFFFFFFFF
            if isinstance(q.layers[0], QuantizedEmbedding):
                entries = q.layers[0].entries
                x[t, j] = (r >> 16) % ((entries + (1 << (t & 3)) - 1) >> (t & 3))
            else:
                x[t, j] = ((r >> (32 - q.x.bits)) + q.x.lo) >> (t & 3)
    return x
