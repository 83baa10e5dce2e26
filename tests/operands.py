"""Operands for the networks of primitives.py: inputs, h and C before a step."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lstmgen.emulator import Emulator
from lstmgen.qformat import IntArray
from lstmgen.quantized import QuantizedNetwork
from lstmgen.quantized_layers import QuantizedRecurrent

from primitives import UNITS

ALL = 1 << 16
GATES = "ifgo"
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True, eq=False)
class Sweep:
    """N operands of one kind: inputs x (N, n), h (N, p) and cell words c (N, k) before a step.

    each: the operands of the swept primitive that a step has: one for each unit or row.
    """

    what: str
    x: IntArray
    h: IntArray
    c: IntArray
    each: int

    @property
    def operands(self) -> int:
        return len(self.x) * self.each

    def thinned(self, most: int) -> "Sweep":
        """Every so manieth step, at most `most`, from different places in each column."""
        if len(self.x) <= most:
            return self
        at = (np.arange(most) * len(self.x)) // most
        return replace(self, x=self.x[at], h=self.h[at], c=self.c[at])


def cell_sweeps(q: QuantizedNetwork, seed: int = 0) -> Iterator[Sweep]:
    """Yield the operands for `cells`: every gate, both halves of C, tanh(c), noise, extremes.

    Every input and every h of 16 bits occurs, and where both have 8 bits every pair.
    """
    r = np.random.default_rng([seed, 1])
    j = np.arange(ALL)
    x = _spread(j, q.x.lo, q.x.hi)
    h = _h_values(q, j)
    for at, gate in enumerate(GATES):
        # i and g are seen in i * g alone, f and o by what C holds.
        inputs = np.full((ALL, 4), q.x.hi)
        if gate in "fo":
            inputs[:, 0] = q.x.lo
        inputs[:, at] = x
        c = np.full((ALL, UNITS), 1 << 30 if gate in "fo" else 0)
        yield Sweep(f"gate {gate}", inputs, h, c, UNITS)

    quarter = np.arange(ALL).reshape(-1, UNITS)
    low, high = (r.integers(0, ALL, quarter.shape) for _ in range(2))
    some = r.integers(q.x.lo, q.x.hi, (2, len(quarter), 4), endpoint=True)
    hidden = h[::UNITS]
    yield Sweep("high half of C", some[0], hidden, _word(quarter, low), UNITS)
    yield Sweep("low half of C", some[1], hidden, _word(high, quarter), UNITS)
    held = np.broadcast_to([q.x.lo, q.x.hi, 0, q.x.hi], (len(quarter), 4))
    # One to each side more than the table's width, in words of twice the state.
    span = 1.25 * 2.0 ** (q.tables.bits + 15)
    c = np.floor((quarter / (ALL / 2) - 1) * span).astype(np.int64)
    yield Sweep("tanh of c", held, hidden, c + r.integers(0, 1 << 9, c.shape), UNITS)
    yield saturation(q)
    yield noise(q, seed, len(quarter))
    yield extremes(q, seed, len(quarter))


def saturation(q: QuantizedNetwork) -> Sweep:
    """Cell words that take the new cell state to 2^30 and -2^30 and all near them, where the word
    to store begins to be limited: with f open, i open and g at either end."""
    span = np.arange(-1024, 1024)
    parts = []
    for end, sign in ((q.x.hi, 1), (q.x.lo, -1)):
        x = np.array([[q.x.hi, q.x.hi, end, q.x.hi]])
        product, kept = (_new_words(q, x, word) // 2 for word in (0, 1 << 30))
        f = (kept - product) >> 14
        wanted = (sign << 30) + span[:, None] - product
        words = -(-(wanted << 16) // f)
        parts.append((np.repeat(x, len(span), 0), np.clip(words, INT32_MIN, INT32_MAX)))
    x, c = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Sweep("saturation", x, np.zeros_like(c), c, UNITS)


def _new_words(q: QuantizedNetwork, x: IntArray, word: int) -> IntArray:
    """(1, k) what a step makes of the word as C of all units, h being 0."""
    emulator = Emulator(q)
    (state,) = emulator.state
    state.h[:], state.c[:] = 0, word
    emulator.step(x)
    return emulator.state[0].c


def extremes(q: QuantizedNetwork, seed: int, count: int) -> Sweep:
    """Inputs, h and C from the ends of their ranges and around zero."""
    r = np.random.default_rng([seed, 4])
    (layer,) = q.recurrent
    lo, hi = q.input_span
    low = _lowest(layer)
    words = [INT32_MIN, INT32_MIN + 2, -65536, -2, 0, 2, 65534, 1 << 30, INT32_MAX - 1, INT32_MAX]
    return Sweep(
        "extremes",
        r.choice(np.clip([lo, lo, -1, 0, 1, hi, hi], lo, hi), (count, q.inputs)),
        r.choice([low, low, -1, 0, 1, layer.h.hi, layer.h.hi], (count, layer.width)),
        r.choice(words, (count, layer.units)),
        layer.units,
    )


def noise(q: QuantizedNetwork, seed: int, count: int) -> Sweep:
    """Inputs, h and C at random over their whole ranges."""
    r = np.random.default_rng([seed, 2])
    (layer,) = q.recurrent
    x = r.integers(*q.input_span, (count, q.inputs), endpoint=True)
    h = r.integers(_lowest(layer), layer.h.hi, (count, layer.width), endpoint=True)
    c = r.integers(INT32_MIN, INT32_MAX, (count, layer.units), endpoint=True)
    return Sweep("noise", x, h, c, layer.units)


def head_sweep(q: QuantizedNetwork, seed: int = 0, count: int = ALL) -> Sweep:
    """Return the operands for `heads`: pairs of h that are even over their range, of 8 bits all."""
    r = np.random.default_rng([seed, 3])
    if count == ALL and q.lstms[0].h.bits == 8:
        even = np.stack(np.divmod(np.arange(ALL), 256), 1) / 256
    else:
        even = np.stack([r.permutation(count) / count, r.permutation(count) / count], 1)
    share = (even * 2 - 1 + r.uniform(0, 2.0**-17, even.shape)).clip(-0.99999, 0.99999)
    c = 2 * np.rint(np.arctanh(share) * 2.0**q.tables.tanh_frac).astype(np.int64)
    zero = np.zeros((count, 2), np.int64)
    return Sweep("outputs", zero[:, :1], zero, c, q.layers[1].width)


def _spread(j: IntArray, lo: int, hi: int) -> IntArray:
    """Every integer of lo .. hi, a power of two of them, equally often."""
    return lo + j % (hi - lo + 1)


def _h_values(q: QuantizedNetwork, j: IntArray) -> IntArray:
    """(ALL, UNITS): of 8 bits the values for which all pairs with an input occur; of 16 bits
    each value once for every unit, in orders of their own."""
    layer = q.lstms[0]
    if layer.h.bits == 8:
        return np.repeat((j // 256 - 128)[:, None], layer.units, 1)
    odd = 2 * np.arange(20251, 20251 + layer.units) + 1
    return np.maximum((j[:, None] * odd) % ALL - ALL // 2, -layer.h.hi)


def _lowest(layer: QuantizedRecurrent) -> int:
    """The least h that there is: of 16 bits without a projection, -32767 (rule N7)."""
    return -layer.h.hi if layer.h.bits == 16 else layer.h.lo


def _word(high: IntArray, low: IntArray) -> IntArray:
    """The int32 of two halves, 0 .. 2^16 - 1."""
    return ((high << 16 | low) + (1 << 31)) % (1 << 32) - (1 << 31)
