"""The formats of what a recurrent layer computes beyond its gates, from calibrated peaks."""

from dataclasses import dataclass, replace

import numpy as np

from ..layers import Gru, Lstm, Recurrent
from ..preconditions import frac_span
from ..qformat import QFormat, max_frac
from ..quantized import Tables
from .calibrate import Ranges
from .modes import Mode

UNKNOWN_PEAK = 16.0
"""Magnitude assumed of values without a limit of their own where no calibration data tells."""

HEADROOM = 2.0
"""How much larger than in the calibration data such values may become: a bit, as what
saturates in a recurrent layer stays wrong."""

PROJECTED_HEADROOM = 1.1
"""The same of a projection, whose peak is one of many values' sum."""


@dataclass(frozen=True)
class Formats:
    """Of a recurrent layer: fraction bits of the candidate and of the cell's output function,
    16 bits each, and the format of the hidden state."""

    g_frac: int
    y_frac: int
    h: QFormat

    def and_of(self, other: "Formats") -> "Formats":
        """Return the formats that hold the values of both layers."""
        y_frac = min(self.y_frac, other.y_frac)
        h = replace(self.h, frac=min(self.h.frac, other.h.frac))
        return Formats(min(self.g_frac, other.g_frac), y_frac, h)


def formats_of(layer: Recurrent, mode: Mode, tables: Tables, ranges: Ranges) -> Formats:
    """Return the formats of a layer: Q0.15 for tables, else such that calibrated peaks fit."""
    g_frac = _frac(layer.cell, ranges.candidates.get(layer.name), tables)
    if isinstance(layer, Gru):
        return Formats(g_frac, 15, QFormat(mode.hidden, g_frac - 16 + mode.hidden))
    y_frac = _frac(layer.output, ranges.cells.get(layer.name), tables)
    if layer.projection is None:
        return Formats(g_frac, y_frac, QFormat(mode.hidden, y_frac - 16 + mode.hidden))
    return Formats(g_frac, y_frac, QFormat(mode.hidden, _projected(layer, mode, y_frac, ranges)))


def _frac(function: str, peak: float | None, tables: Tables) -> int:
    if function not in ("relu", "linear"):
        return 15
    least, most = frac_span(tables)
    known = UNKNOWN_PEAK if not peak else peak * HEADROOM
    return min(most, max(least, max_frac(min(known, 2.0**30), 16)))


def _projected(layer: Lstm, mode: Mode, y_frac: int, ranges: Ranges) -> int:
    assert layer.projection is not None
    peak = ranges.layers.get(layer.name, 0.0) * PROJECTED_HEADROOM
    if not peak:
        peak = float(np.abs(layer.projection).sum(1).max()) * 2.0 ** (15 - y_frac)
    return max_frac(min(max(peak, 2.0**-20), 2.0**20), mode.hidden)
