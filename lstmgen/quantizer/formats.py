"""The formats of what a recurrent layer computes beyond its gates, from calibrated peaks."""

from dataclasses import dataclass, replace

import numpy as np

from ..errors import ModelError
from ..layers import Bidirectional, Gru, Lstm, Recurrent
from ..preconditions import frac_span
from ..qformat import QFormat, max_frac
from ..quantized import Tables
from .calibrate import Ranges
from .modes import Mode

UNBOUNDED = ("relu", "linear")
"""Functions without a table, whose values have a format of their own."""

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


def common_formats(
    layer: Bidirectional, mode: Mode, tables: Tables, ranges: Ranges
) -> tuple[Formats, Formats]:
    """Return the formats of both halves, which hand on values of one.

    Raises ModelError where a half whose values lie within -1..1 stands beside one with larger
    ones: a format for both would cost it its accuracy.
    """
    f, b = (formats_of(half, mode, tables, ranges) for half in layer.halves)
    h = replace(f.h, frac=min(f.h.frac, b.h.frac))
    made = [_with_hidden(half, own, h) for half, own in zip(layer.halves, (f, b), strict=True)]
    if made[0].h != made[1].h:
        raise ModelError(
            f"{layer.name}: one half hands on {f.h}, the other {b.h}; expected halves with the "
            "same functions, or two layers"
        )
    return made[0], made[1]


def _with_hidden(layer: Recurrent, own: Formats, h: QFormat) -> Formats:
    """Return the formats with that of h, where the layer's functions leave it open."""
    before = h.frac + 16 - h.bits
    if isinstance(layer, Gru):
        return Formats(before, 15, h) if layer.cell in UNBOUNDED else own
    if layer.projection is not None:
        return replace(own, h=h)
    return Formats(own.g_frac, before, h) if layer.output in UNBOUNDED else own


def formats_of(layer: Recurrent, mode: Mode, tables: Tables, ranges: Ranges) -> Formats:
    """Return the formats of a layer: Q0.15 for tables, else such that calibrated peaks fit."""
    start = _start(layer)
    if isinstance(layer, Gru):
        g_frac = _frac(layer.cell, ranges.candidates.get(layer.name), tables, start)
        return Formats(g_frac, 15, QFormat(mode.hidden, g_frac - 16 + mode.hidden))
    g_frac = _frac(layer.cell, ranges.candidates.get(layer.name), tables)
    least = 0.0 if layer.projection is not None else start
    y_frac = _frac(layer.output, ranges.cells.get(layer.name), tables, least)
    if layer.projection is None:
        return Formats(g_frac, y_frac, QFormat(mode.hidden, y_frac - 16 + mode.hidden))
    return Formats(g_frac, y_frac, QFormat(mode.hidden, _projected(layer, mode, y_frac, ranges)))


def _frac(function: str, peak: float | None, tables: Tables, least_peak: float = 0.0) -> int:
    least, most = frac_span(tables, function)
    known = max(least_peak, UNKNOWN_PEAK if not peak else peak * HEADROOM)
    return min(most, max(least, max_frac(min(known, 2.0**30), 16)))


def _projected(layer: Lstm, mode: Mode, y_frac: int, ranges: Ranges) -> int:
    """Return the fraction bits of h; of peaks so that products of two have a format as well."""
    assert layer.projection is not None
    peak = ranges.layers.get(layer.name, 0.0) * PROJECTED_HEADROOM
    if not peak:
        peak = float(np.abs(layer.projection).sum(1).max()) * 2.0 ** (15 - y_frac)
    peak = max(peak, _start(layer))
    return max_frac(min(max(peak, 2.0**-7), 2.0**16), mode.hidden)


def _start(layer: Recurrent) -> float:
    """Return the largest initial |h|, a little less: a power of two may be limited to the
    format's largest value."""
    return 0.0 if layer.h0 is None else float(np.abs(layer.h0).max()) * (1 - 2.0**-6)
