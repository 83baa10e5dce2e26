"""Quantization of an LSTM layer (rules N2, N3 and N3b)."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..bounds import row_bounds
from ..errors import ModelError
from ..layers import Dense, Lstm
from ..preconditions import (
    MAX_MID_SHIFT,
    MAX_PEEPHOLE_SHIFT,
    argument_fracs,
    most_input_shift,
)
from ..qformat import FloatArray, IntArray, QFormat
from ..quantized import Tables
from ..quantized_layers import QuantizedLstm
from .dense import DensePlace, quantize_dense
from .formats import Formats
from .modes import Mode
from .rounding import fold_bias, to_nearest
from .rows import clip_limit, initial_hidden, refuse_huge, weight_fracs

MID_SHIFT_GAIN = 10**0.2
"""How many times less noise makes a mid shift worth a handful of instructions per unit: 2 dB."""


@dataclass(frozen=True, eq=False)
class LstmPlace:
    """Where a recurrent layer stands: formats, magnitude of its input, and mean squares.

    formats: of what it computes and hands on.
    square_x, square_h: mean square of the input and of the hidden state, by which formats
    are weighed against each other.
    """

    x: QFormat
    magnitude: int
    square_x: float
    square_h: float
    formats: Formats


def quantize_lstm(
    layer: Lstm, mode: Mode, tables: Tables, place: LstmPlace, mid_shift: bool | None = None
) -> QuantizedLstm:
    """Return the integers of a layer: those of the formats that promise the least noise.

    mid_shift: whether the sum over h may have a finer format than x's (rule N3b); None: where
    that promises to be worth its instructions.
    Raises ModelError for weights or states beyond what int32 holds.
    """
    rows = _Rows(layer, mode, tables, place)
    best = min((rows.fit(lx) for lx in range(rows.most_x_shift + 1)), key=rows.noise_of)
    if mid_shift is not False:
        shifted = rows.fit_shifted()
        # A product, as there is no noise where inputs and hidden state are always 0.
        gains = rows.noise_of(best) > MID_SHIFT_GAIN * rows.noise_of(shifted)
        if mid_shift or gains:
            best = shifted
    h0 = initial_hidden(layer, place.formats.h)
    return replace(best, h0=h0, c0=_initial_cell(layer, tables))


class _Rows:
    """The rows of a layer, to be given formats (rules N2, N3 and N3b)."""

    def __init__(self, layer: Lstm, mode: Mode, tables: Tables, place: LstmPlace) -> None:
        self.layer, self.mode, self.place = layer, mode, place
        self.h = place.formats.h
        self.variant = _variant(layer, mode, tables, place.formats)
        self.argument_frac = argument_fracs(4 * layer.units, layer.units, layer.cell, tables)
        self.most_x_shift = most_input_shift(place.x) if mode.hidden == 8 else 0
        self.w_frac = weight_fracs(layer.W, mode.input_weights)
        self.u_frac = weight_fracs(layer.U, mode.hidden_weights)

    def fit(self, x_shift: int = 0, mid_shift: IntArray | int = 0) -> QuantizedLstm:
        """Return the layer with the largest F_r at which all weights and sums fit."""
        mid = np.broadcast_to(mid_shift, self.w_frac.shape).astype(np.int64)
        from_x = self.w_frac + self.place.x.frac + x_shift
        from_h = self.u_frac + self.h.frac - mid
        largest = self.argument_frac + self.mode.max_right_shift
        frac = np.minimum(np.minimum(from_x, from_h), largest)
        while True:
            refuse_huge(self.layer, frac - self.argument_frac)
            quantized = self._round(frac, x_shift, mid)
            beyond = row_bounds(quantized, self.place.magnitude).overflows
            if not beyond.any():
                return quantized
            frac = frac - beyond

    def fit_shifted(self) -> QuantizedLstm:
        """Return the layer with the mid shift of each row that promises the least noise."""
        least = self.row_noise(self.fit())
        best = np.zeros_like(self.w_frac)
        for shift in range(1, MAX_MID_SHIFT + 1):
            noise = self.row_noise(self.fit(mid_shift=shift))
            better = noise < least
            if not better.any():
                break
            best[better] = shift
            least = np.minimum(least, noise)
        return self.fit(mid_shift=best)

    def row_noise(self, quantized: QuantizedLstm) -> FloatArray:
        """Return (4k,) the mean square of what rounding a row's weights adds, times 12."""
        fx = quantized.frac - quantized.x.frac - quantized.x_shift
        fh = quantized.frac + quantized.mid_shift - quantized.h.frac
        from_x = 4.0**-fx * (self.layer.inputs * self.place.square_x)
        return np.asarray(from_x + 4.0**-fh * (self.layer.width * self.place.square_h))

    def noise_of(self, quantized: QuantizedLstm) -> float:
        """Return the noise of all rows together."""
        return float(self.row_noise(quantized).sum())

    def _round(self, frac: IntArray, x_shift: int, mid: IntArray) -> QuantizedLstm:
        layer, mode, x, h = self.layer, self.mode, self.place.x, self.h
        return QuantizedLstm(
            name=layer.name,
            x=x,
            h=h,
            wx=to_nearest(layer.W, frac - x.frac - x_shift, mode.input_weights),
            wh=to_nearest(layer.U, frac + mid - h.frac, mode.hidden_weights),
            bias=fold_bias(layer.b, frac + mid, frac + mid - self.argument_frac),
            frac=frac,
            argument_frac=self.argument_frac,
            x_shift=x_shift,
            mid_shift=mid,
            h0=np.zeros(layer.width, np.int64),
            c0=np.zeros(layer.units, np.int64),
            **self.variant,
        )


def _variant(layer: Lstm, mode: Mode, tables: Tables, formats: Formats) -> dict[str, Any]:
    """Return the fields in which the layer is not the plain LSTM."""
    found: dict[str, Any] = {
        "gate": layer.gate,
        "cell": layer.cell,
        "output": layer.output,
        "g_frac": formats.g_frac,
        "y_frac": formats.y_frac,
        "clip": clip_limit(layer, tables),
        "direction": layer.direction,
    }
    if layer.cell_clip is not None:
        limit = int(np.floor(min(layer.cell_clip, 2.0**20) * 2.0**tables.tanh_frac + 0.5))
        found["cell_limit"] = max(1, limit) if limit < 1 << 30 else None
    if layer.peephole is not None:
        peak = float(np.abs(layer.peephole).max())
        left = max(0, int(np.floor(np.log2(max(peak, 1.0)))))
        if left > MAX_PEEPHOLE_SHIFT:
            raise ModelError(
                f"{layer.name}.peephole reaches {peak:.4g}; expected less than "
                f"{2 << MAX_PEEPHOLE_SHIFT}"
            )
        raw = np.floor(layer.peephole * 2.0 ** (14 - left) + 0.5)
        found["peephole"] = np.clip(raw, -32767, 32767).astype(np.int64)
        found["peephole_shift"] = left
    if layer.projection is not None:
        linear = Dense(layer.linear, layer.projection, np.zeros(layer.width))
        x = QFormat(16, formats.y_frac)
        place = DensePlace(x, 32767, formats.h, weight_bits=mode.dense_weights)
        found["projection"] = quantize_dense(linear, place, tables)
    return found


def _initial_cell(layer: Lstm, tables: Tables) -> IntArray:
    if layer.c0 is None:
        return np.zeros(layer.units, np.int64)
    limit = 2.0 ** (30 - tables.tanh_frac)
    peak = np.abs(layer.c0).max()
    if peak >= limit:
        raise ModelError(
            f"{layer.name}.c0 reaches {peak:.4g}; expected less than {limit:g}, the range of "
            "the cell state in this precision"
        )
    raw = np.floor(layer.c0 * 2.0**tables.tanh_frac + 0.5).astype(np.int64)
    return 2 * np.minimum(raw, (1 << 30) - 1)
