"""Quantization of a GRU layer (rules N2, N3 and N14)."""

from dataclasses import replace

import numpy as np

from ..bounds import row_bounds
from ..layers import Gru
from ..preconditions import argument_fracs, most_input_shift
from ..qformat import IntArray
from ..quantized import Tables
from ..quantized_layers import QuantizedGru
from .lstm import LstmPlace
from .modes import Mode
from .rounding import fold_bias, to_nearest
from .rows import clip_limit, initial_hidden, refuse_huge, weight_fracs


def quantize_gru(layer: Gru, mode: Mode, tables: Tables, place: LstmPlace) -> QuantizedGru:
    """Return the integers of a layer: those of the formats that promise the least noise.

    Raises ModelError for weights or states beyond what int32 holds.
    """
    rows = _Rows(layer, mode, tables, place)
    most = most_input_shift(place.x) if mode.hidden == 8 else 0
    best = min((rows.fit(lx) for lx in range(most + 1)), key=rows.noise_of)
    h0 = initial_hidden(layer, place.formats.h)
    start = np.zeros(layer.units) if layer.h0 is None else layer.h0
    c0 = 2 * np.floor(start * 2.0**tables.tanh_frac + 0.5).astype(np.int64)
    return replace(best, h0=h0, c0=c0)


class _Rows:
    """The rows of a layer, to be given formats.

    With reset_after the rows n have two sums, each with the largest format that holds it.
    """

    def __init__(self, layer: Gru, mode: Mode, tables: Tables, place: LstmPlace) -> None:
        self.layer, self.mode, self.place, self.tables = layer, mode, place, tables
        self.n = slice(2 * layer.units, 3 * layer.units)
        self.argument_frac = argument_fracs(3 * layer.units, layer.units, layer.cell, tables)
        self.w_frac = weight_fracs(layer.W, mode.input_weights)
        self.u_frac = weight_fracs(layer.U, mode.hidden_weights)

    def fit(self, x_shift: int) -> QuantizedGru:
        """Return the layer with the largest F_r at which all weights and sums fit."""
        largest = self.argument_frac + self.mode.max_right_shift
        from_x = np.minimum(self.w_frac + self.place.x.frac + x_shift, largest)
        from_h = np.minimum(self.u_frac + self.place.formats.h.frac, largest)
        frac = np.minimum(from_x, from_h)
        frac_h = from_h[self.n]
        if self.layer.reset_after:
            frac[self.n] = from_x[self.n]
        while True:
            refuse_huge(self.layer, frac - self.argument_frac)
            quantized = self._round(frac, frac_h, x_shift)
            bounds = row_bounds(quantized, self.place.magnitude)
            beyond, apart = bounds.bound >= 1 << 31, bounds.partial[self.n] >= 1 << 31
            if not beyond.any() and not apart.any():
                return quantized
            frac, frac_h = frac - beyond, frac_h - apart

    def noise_of(self, quantized: QuantizedGru) -> float:
        """Return the mean square of what rounding all weights adds, times 12."""
        frac_h = quantized.frac.copy()
        if self.layer.reset_after:
            frac_h[self.n] = quantized.frac_h
        fx = quantized.frac - quantized.x.frac - quantized.x_shift
        fh = frac_h - quantized.h.frac
        from_x = 4.0**-fx * (self.layer.inputs * self.place.square_x)
        return float((from_x + 4.0**-fh * (self.layer.units * self.place.square_h)).sum())

    def _round(self, frac: IntArray, frac_h: IntArray, x_shift: int) -> QuantizedGru:
        layer, mode, x, h = self.layer, self.mode, self.place.x, self.place.formats.h
        all_h = frac.copy()
        if layer.reset_after:
            all_h[self.n] = frac_h
        shift, shift_h = frac - self.argument_frac, frac_h - self.argument_frac[self.n]
        zeros = np.zeros(layer.units, np.int64)
        return QuantizedGru(
            name=layer.name,
            x=x,
            h=h,
            wx=to_nearest(layer.W, frac - x.frac - x_shift, mode.input_weights),
            wh=to_nearest(layer.U, all_h - h.frac, mode.hidden_weights),
            bias=fold_bias(layer.b, frac, shift),
            frac=frac,
            argument_frac=self.argument_frac,
            x_shift=x_shift,
            bias_h=fold_bias(layer.b_u, frac_h, shift_h) if layer.reset_after else zeros,
            frac_h=frac_h if layer.reset_after else frac[self.n],
            h0=zeros,
            c0=zeros,
            reset_after=layer.reset_after,
            gate=layer.gate,
            cell=layer.cell,
            g_frac=self.place.formats.g_frac,
            clip=clip_limit(layer, self.tables),
            direction=layer.direction,
        )
