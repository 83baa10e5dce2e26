"""Quantization of an LSTM layer (rules N2 and N3)."""

from dataclasses import replace

import numpy as np

from ..bounds import INT32_MAX, row_bounds
from ..errors import ModelError
from ..network import GATES, Lstm
from ..qformat import FloatArray, IntArray, QFormat, max_frac
from ..quantized import QuantizedLstm, Tables
from .modes import Mode
from .rounding import BEYOND_ANY_FORMAT, fold_bias, to_nearest

MAX_INPUT_SHIFT = 4
"""Largest alignment shift lx of an 8-bit input (rule N2)."""

LOWEST_SHIFT = -30
"""Shift below which a row's accumulator would have no useful bit."""


def quantize_lstm(
    layer: Lstm,
    mode: Mode,
    tables: Tables,
    x: QFormat,
    input_magnitude: int,
    squares: tuple[float, float],
) -> QuantizedLstm:
    """Return the integers of a layer whose input has the format x and that magnitude.

    squares: mean square of the input and of the hidden state, by which the input's
    alignment is chosen. Raises ModelError for weights or states beyond what int32 holds.
    """
    k = layer.units
    argument_frac = np.full(4 * k, tables.sigmoid_frac)
    argument_frac[2 * k : 3 * k] = tables.tanh_frac
    h = QFormat(mode.hidden, mode.hidden - 1)
    x_shift, frac = _best_alignment(layer, mode, x, h, argument_frac, squares)
    while True:
        _refuse_huge(layer, frac - argument_frac)
        quantized = _round(layer, mode, x, h, x_shift, frac, argument_frac)
        beyond = row_bounds(quantized, input_magnitude).bound > INT32_MAX
        if not beyond.any():
            break
        frac = frac - beyond
    return replace(
        quantized, h0=_initial_hidden(layer, h), c0=_initial_cell(layer, tables)
    )


def _best_alignment(
    layer: Lstm,
    mode: Mode,
    x: QFormat,
    h: QFormat,
    argument_frac: IntArray,
    squares: tuple[float, float],
) -> tuple[int, IntArray]:
    """Return lx and the fraction bits F_r that promise the least rounding noise."""
    best: tuple[float, int, IntArray] | None = None
    for x_shift in range(MAX_INPUT_SHIFT + 1 if mode.hidden == 8 else 1):
        frac = _row_fracs(layer, mode, x.frac + x_shift, h.frac, argument_frac)
        steps_x, steps_h = 4.0 ** -(frac - x.frac - x_shift), 4.0 ** -(frac - h.frac)
        noise = float(
            (steps_x * layer.inputs * squares[0] + steps_h * layer.units * squares[1]).sum()
        )
        if best is None or noise < best[0]:
            best = noise, x_shift, frac
    assert best is not None
    return best[1], best[2]


def _row_fracs(
    layer: Lstm, mode: Mode, x_frac: int, h_frac: int, argument_frac: IntArray
) -> IntArray:
    """Return (4k,) the largest F_r at which both parts of each row fit their widths."""
    from_x = _weight_fracs(layer.W, mode.input_weights) + x_frac
    from_h = _weight_fracs(layer.U, mode.hidden_weights) + h_frac
    largest = argument_frac + mode.max_right_shift
    return np.minimum(np.minimum(from_x, from_h), largest)


def _weight_fracs(weights: FloatArray, bits: int) -> IntArray:
    peaks = np.abs(weights).max(1).clip(max=BEYOND_ANY_FORMAT)
    return np.array([max_frac(float(peak), bits) for peak in peaks], np.int64)


def _round(
    layer: Lstm,
    mode: Mode,
    x: QFormat,
    h: QFormat,
    x_shift: int,
    frac: IntArray,
    argument_frac: IntArray,
) -> QuantizedLstm:
    return QuantizedLstm(
        name=layer.name,
        x=x,
        h=h,
        wx=to_nearest(layer.W, frac - x.frac - x_shift, mode.input_weights),
        wh=to_nearest(layer.U, frac - h.frac, mode.hidden_weights),
        bias=fold_bias(layer.b, frac, frac - argument_frac),
        frac=frac,
        argument_frac=argument_frac,
        x_shift=x_shift,
        h0=np.zeros(layer.units, np.int64),
        c0=np.zeros(layer.units, np.int64),
    )


def _refuse_huge(layer: Lstm, shift: IntArray) -> None:
    for row in np.flatnonzero(shift < LOWEST_SHIFT)[:1]:
        gate, unit = divmod(int(row), layer.units)
        peak = max(np.abs(layer.W[row]).max(), np.abs(layer.U[row]).max(), abs(layer.b[row]))
        raise ModelError(
            f"{layer.name}: gate {GATES[gate]} of unit {unit} has weights or a bias of "
            f"{peak:.3g}; its sum cannot be bounded below 2**31 with useful bits left; "
            "rescale the model's inputs or weights"
        )


def _initial_hidden(layer: Lstm, h: QFormat) -> IntArray:
    if layer.h0 is None:
        return np.zeros(layer.units, np.int64)
    peak = np.abs(layer.h0).max()
    if peak > 1:
        raise ModelError(
            f"{layer.name}.h0 reaches {peak:.4g}; expected at most 1, as a hidden state is "
            "sigmoid times tanh"
        )
    return np.maximum(h.to_raw(layer.h0), -h.hi)


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
