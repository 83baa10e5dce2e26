"""The numbered primitives of docs/numerics.md on int64 arrays, every precondition checked.

These functions are the specification in Python: correct, complete and readable, in this
order. Values are integers whose formats the rules give; shapes broadcast.
"""

import numpy as np
from numpy.typing import NDArray

from ..errors import RangeError
from ..qformat import IntArray

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1


def require(condition: NDArray[np.bool_] | np.bool_ | bool, rule: str) -> None:
    """Raise RangeError where a precondition of a rule does not hold for all elements."""
    if not np.all(condition):
        raise RangeError(f"numerics: {rule} does not hold; the network is not what was proved")


def require_int32(value: IntArray, what: str) -> IntArray:
    """Return `value`, having checked that int32 holds it."""
    require((value >= INT32_MIN) & (value <= INT32_MAX), f"{what} fits int32")
    return value


def asr(value: IntArray, shift: IntArray | int) -> IntArray:
    """Return floor(value / 2**shift), the arithmetic shift right; 0 <= shift <= 31."""
    require((np.asarray(shift) >= 0) & (np.asarray(shift) <= 31), "0 <= shift <= 31")
    return np.asarray(value >> shift)


def saturate(value: IntArray, bits: int) -> IntArray:
    """Return `value` clamped to a signed integer of `bits` bits."""
    return np.clip(value, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def accumulate(weights: IntArray, values: IntArray) -> IntArray:
    """N3: return the exact sums of weights (rows, n) times values (batch, n), (batch, rows)."""
    return require_int32(values @ weights.T, "N3: the accumulator")


def rescale(acc: IntArray, shift: IntArray, limit: IntArray | int = INT32_MAX) -> IntArray:
    """N4: return floor(acc * 2**-shift), limited to +-limit.

    A left shift clamps the accumulator first, to the largest value whose multiple fits.
    """
    limit = np.asarray(limit)
    right = np.clip(asr(acc, np.maximum(shift, 0)), -limit, limit)
    left = np.maximum(-shift, 0)
    largest = limit >> left
    return require_int32(
        np.where(shift >= 0, right, np.clip(acc, -largest, largest) << left), "N4: V"
    )


def interpolate(words: IntArray, v: IntArray) -> IntArray:
    """N5: return base + floor(slope2 * (F + 1) / 2**16), F the low 16 bits of v as signed.

    words: (..., 2) the {slope2, base} that belong to each v.
    """
    fraction = ((v & 0xFFFF) ^ 0x8000) - 0x8000
    product = require_int32(words[..., 0] * (fraction + 1), "N5: slope2 * (F + 1)")
    return words[..., 1] + asr(product, 16)


def activate(table: IntArray, v: IntArray) -> IntArray:
    """N5: return the table's function of v in Q0.15; v beyond the range is clamped."""
    half = len(table) // 2
    segment = np.clip(asr(v, 15), -half, half - 1)
    y = interpolate(table[segment + half], v)
    require((y >= -32767) & (y <= 32767), "N5: |y| <= 32767")
    return y


def cell(
    c_word: IntArray, i: IntArray, f: IntArray, g: IntArray, product_shift: int
) -> tuple[IntArray, IntArray]:
    """N6: return (t, C'), the new cell state as argument of the tanh and as stored word.

    c_word: C = 2c; i, f: 0..32767; g: -32767..32767, all Q0.15.
    """
    require((f >= 0) & (f <= 32767), "N6: 0 <= f <= 32767")
    kept = require_int32(asr(c_word * f, 16), "N6: C*f / 2**16")
    new = asr(require_int32(i * g + (1 << product_shift), "N6: i*g"), product_shift)
    t = require_int32(kept + new, "N6: t")
    return t, np.clip(2 * t, INT32_MIN, INT32_MAX)


def hidden(o: IntArray, tanh_c: IntArray, bits: int) -> IntArray:
    """N7: return h = o * tanh(c), rounded half up to a fraction of bits - 1 bits."""
    frac = bits - 1
    product = require_int32(o * tanh_c + (1 << (29 - frac)), "N7: o * tanh(c)")
    return np.minimum(asr(product, 30 - frac), (1 << frac) - 1)


def limited(value: IntArray, limit: int | None) -> IntArray:
    """N11: return `value` within +-limit, None for no limit."""
    return value if limit is None else np.clip(value, -limit, limit)


def linear(v: IntArray, shift: int, rectified: bool) -> IntArray:
    """N11: return v * 2**-shift rounded half up, within +-32767, without its negative values
    where rectified; shift >= 2."""
    rounded = asr(asr(v, shift - 1) + 1, 1)
    return np.clip(rounded, 0 if rectified else -32767, 32767)


def share(word: IntArray, factor: IntArray) -> IntArray:
    """N12, N14: return floor(word * factor / 2**16) of an int32 and an int16."""
    return require_int32(asr(word * factor, 16), "word * factor / 2**16")


def peephole(v: IntArray, c_word: IntArray, weight: IntArray, left: int) -> IntArray:
    """N12: return v + C * weight, C = 2c first limited so that it can be shifted left."""
    require(np.abs(v) < 1 << 30, "N12: |V| < 2**30")
    return require_int32(v + (share(saturate(c_word, 32 - left), weight) << left), "N12: V")


def gru_hidden(t: IntArray, shift: int, bits: int) -> IntArray:
    """N14: return the new state t rounded half up to h, within +-(2**(bits-1) - 1)."""
    hi = (1 << (bits - 1)) - 1
    return np.clip(asr(t + (1 << (shift - 1)), shift), -hi, hi)


def merge(way: str, forward: IntArray, backward: IntArray, bits: int, axis: int = -1) -> IntArray:
    """N15: return both directions' values as one; axis: that of the values at a time step."""
    if way == "concat":
        return np.concatenate([forward, backward], axis)
    if way == "multiply":
        product = asr(forward * backward + (1 << (bits - 2)), bits - 1)
        return np.minimum(product, (1 << (bits - 1)) - 1)
    return asr(forward + backward + 1, 1)


def narrow(y: IntArray) -> IntArray:
    """N9: return a Q0.15 value rounded half up to Q0.7."""
    return np.minimum(asr(y + (1 << 7), 8), 127)


def softmax(v: IntArray, exp2: IntArray) -> IntArray:
    """N10: return 2**v / sum(2**v) over the last axis in Q0.15; v has 20 fraction bits."""
    require(np.abs(v) <= 1 << 30, "N10: |V| <= 2**30")
    difference = v - v.max(-1, keepdims=True)
    exponent = -asr(difference, 20)
    fraction = difference & 0xFFFFF
    mantissa = interpolate(exp2[fraction >> 15], fraction)
    e20 = np.where(exponent <= 20, (mantissa * 64) >> np.minimum(exponent, 20), 0)
    total = e20.sum(-1, keepdims=True)
    require(total < 1 << 31, "N10: the sum fits int32")
    e = (e20 + 32) >> 6
    s = (total + 32) >> 6
    reciprocal = ((1 << 29) + s // 2) // s
    return np.asarray(np.minimum((e * reciprocal + (1 << 13)) >> 14, 32767))
