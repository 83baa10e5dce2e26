"""The activation tables of rule N5: fitted once, shipped as integers, loaded by size."""

import json
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np

from ..qformat import FloatArray, IntArray
from ..quantized import TABLE_BITS, Tables
from ..reference import sigmoid

_FILE = Path(__file__).with_name("tables.json")
_POSITIONS = 257
"""Evenly spaced points of a segment over which the rms error is taken."""


_HARD_SLOPES = {"hard_sigmoid": Fraction(1, 5), "hard_sigmoid_6": Fraction(1, 6)}


@cache
def load_tables(bits: int, hard: tuple[str, ...] = ()) -> Tables:
    """Return the shipped tables of 2**bits words; the C library's tanh never matters.

    hard: the hard sigmoids that gates apply, whose tables are computed.
    """
    shipped = json.loads(_FILE.read_text(encoding="utf-8"))

    def words(name: str) -> IntArray:
        return np.array(shipped[name], np.int64).reshape(-1, 2)

    made = {name: hard_table(_HARD_SLOPES[name], bits) for name in hard}
    return Tables(bits, words(f"sigmoid{bits}"), words(f"tanh{bits}"), words("exp2"), made)


def hard_table(slope: Fraction, bits: int) -> IntArray:
    """Return the table of clip(slope * z + 1/2, 0, 1) over -16..16, within an LSB of Q0.15.

    Both corners lie between segments, and a segment's line is exact but for its slope's
    rounding; exact fractions make it the same everywhere.
    """
    half = 1 << (bits - 1)
    rise = slope * Fraction(32, 2 * half) * 32768  # over a segment, in LSB
    table = np.zeros((2 * half, 2), np.int64)
    for row, segment in enumerate(range(-half, half)):
        left = slope * Fraction(32 * segment, 2 * half) * 32768 + 16384
        if left + rise <= 0 or left >= 32768:
            table[row] = 0, 0 if left < 16384 else 32767
            continue
        slope2 = round(2 * rise)
        most = (slope2 * 32768) >> 16
        if segment & 1:  # the base is the right edge's
            table[row] = slope2, min(round(left + rise), 32767)
        else:
            table[row] = slope2, min(round(left), 32767 - most)
    return table


def fit_tables(bits: int) -> Tables:
    """Fit the tables of 2**bits words anew; what is shipped came from here."""
    return Tables(
        bits, _fit_symmetric("sigmoid", bits), _fit_symmetric("tanh", bits), _fit_exp2()
    )


def dump_tables() -> str:
    """Return the text of the shipped table file."""
    entries: dict[str, IntArray] = {"exp2": _fit_exp2()}
    for bits in TABLE_BITS:
        tables = fit_tables(bits)
        entries[f"sigmoid{bits}"] = tables.sigmoid
        entries[f"tanh{bits}"] = tables.tanh
    lines = (f'"{name}": {table.ravel().tolist()}' for name, table in entries.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _fit_symmetric(name: str, bits: int) -> IntArray:
    """Fit sigmoid over -16..16 or tanh over -8..8; the end segments are constants."""
    function, reach, lowest = (sigmoid, 16.0, 0) if name == "sigmoid" else (np.tanh, 8.0, -32767)
    segments = 1 << bits
    index = np.arange(-segments // 2, segments // 2)
    width = 2 * reach / segments
    position = _positions()
    # V + 1/2 LSB: the middle of the reals that floor to V.
    x = index[:, None] * width + (position + 0.5) / 32768 * width
    table = _fit(function(x) * 32768.0, index[:, None], lowest)
    # The end segments serve everything beyond as well: their mean, slope 0.
    for row, edge in ((0, np.array([-reach - 64, -reach + width])),
                      (-1, np.array([reach - width, reach + 64]))):
        mean = int(np.rint(function(edge).mean() * 32768))
        table[row] = 0, min(max(mean, lowest), 32767)
    return table


def _fit_exp2() -> IntArray:
    """Fit 2**x over 0 <= x < 1 in Q0.14 with 32 segments."""
    index = np.arange(32)[:, None]
    position = _positions()
    x = (index + (position + 0.5) / 32768) / 32
    return _fit(np.exp2(x) * 16384.0, index, 0)


def _positions() -> IntArray:
    return np.round(np.linspace(0, 32767, _POSITIONS)).astype(np.int64)


def _fit(y: FloatArray, index: IntArray, lowest: int) -> IntArray:
    """Return {slope2, base} per segment with the least rms error of the floored output.

    y: (segments, positions) the function in LSB; index: (segments, 1) of the table.
    In odd segments the fraction F is negative, so that base is the right edge's.
    Around the chord every slope within 2 and base within 1 of the rounded real solution is
    tried; the first minimum in that order wins.
    """
    position = _positions()
    fraction = np.where(index & 1, position - 32768, position)
    chord = (y[:, -1] - y[:, 0]) / (position[-1] - position[0]) * 65536
    best = np.full(len(y), np.inf)
    table = np.zeros((len(y), 2), np.int64)
    for slope_step in (-2, -1, 0, 1, 2):
        slope2 = np.clip(np.rint(chord) + slope_step, 0, 32767).astype(np.int64)
        rise = (slope2[:, None] * (fraction + 1)) >> 16
        error = rise - y
        middle = -(error.max(1) + error.min(1)) / 2
        for base_step in (-1, 0, 1):
            base = np.rint(middle).astype(np.int64) + base_step
            base = np.minimum(np.maximum(base, lowest - rise.min(1)), 32767 - rise.max(1))
            rms = np.sqrt(((error + base[:, None]) ** 2).mean(1))
            better = rms < best
            best[better] = rms[better]
            table[better] = np.stack([slope2, base], 1)[better]
    return table
