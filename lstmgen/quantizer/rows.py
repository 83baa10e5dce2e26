"""What the quantization of LSTM and GRU rows shares."""

import numpy as np

from ..errors import ModelError
from ..layers import Recurrent
from ..qformat import FloatArray, IntArray, QFormat, max_frac
from ..quantized import ADDEND_LIMIT, Tables
from .rounding import BEYOND_ANY_FORMAT

LOWEST_SHIFT = -30
"""Shift below which a row's accumulator would have no useful bit."""


def weight_fracs(weights: FloatArray, bits: int) -> IntArray:
    """Return (rows,) the most fraction bits at which each row of weights fits its width."""
    peaks = np.abs(weights).max(1).clip(max=BEYOND_ANY_FORMAT)
    return np.array([max_frac(float(peak), bits) for peak in peaks], np.int64)


def refuse_huge(layer: Recurrent, shift: IntArray) -> None:
    """Raise a ModelError for the first row whose weights no accumulator holds."""
    for row in np.flatnonzero(shift < LOWEST_SHIFT)[:1]:
        gate, unit = divmod(int(row), layer.units)
        peak = max(np.abs(layer.W[row]).max(), np.abs(layer.U[row]).max(), abs(layer.b[row]))
        raise ModelError(
            f"{layer.name}: gate {layer.gates[gate]} of unit {unit} has weights or a bias of "
            f"{peak:.3g}; its sum cannot be bounded below 2**31 with useful bits left; "
            "rescale the model's inputs or weights"
        )


def initial_hidden(layer: Recurrent, h: QFormat) -> IntArray:
    """Return the initial hidden state in the format h; a ModelError beyond its range."""
    if layer.h0 is None:
        return np.zeros(layer.width, np.int64)
    peak = np.abs(layer.h0).max()
    most = 2.0 ** (h.bits - 1 - h.frac)
    if peak > most:
        why = ", as a hidden state is sigmoid times tanh" if most == 1 else ""
        raise ModelError(f"{layer.name}.h0 reaches {peak:.4g}; expected at most {most:g}{why}")
    return np.maximum(h.to_raw(layer.h0), -h.hi)


def clip_limit(layer: Recurrent, tables: Tables) -> int | None:
    """Return the limit of pre-activations at the sigmoid's fraction bits; None if it is none."""
    if layer.clip is None:
        return None
    raw = np.floor(layer.clip * 2.0**tables.sigmoid_frac + 0.5)
    return max(1, int(raw)) if raw <= ADDEND_LIMIT >> 1 else None
