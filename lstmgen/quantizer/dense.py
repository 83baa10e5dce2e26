"""Quantization of a dense layer (rule N9, and N10 for the softmax)."""

from dataclasses import dataclass, replace

import numpy as np

from ..bounds import INT32_MAX, row_bounds
from ..errors import ModelError
from ..layers import Dense
from ..qformat import FloatArray, IntArray, QFormat
from ..quantized import SOFTMAX_FRAC, Tables
from ..quantized_layers import QuantizedDense
from .modes import DENSE_WEIGHT_BITS
from .rounding import BEYOND_ANY_FORMAT, fold_bias, to_nearest
from .rows import LOWEST_SHIFT, weight_fracs

_MAX_RIGHT_SHIFT = 16
_MAX_RAW_FRAC = 30
"""Most fraction bits of a raw output, so that its real range is never below +-2."""


@dataclass(frozen=True)
class DensePlace:
    """Where a dense layer stands: the format and magnitude of its input, and its output's.

    y: the format handed on; None where the layer ends the network with raw accumulators.
    own, own_magnitude: those of the network's input, for a layer that adds it.
    weight_bits: the width of its weights.
    """

    x: QFormat
    magnitude: int
    y: QFormat | None
    own: QFormat | None = None
    own_magnitude: int = 0
    weight_bits: int = DENSE_WEIGHT_BITS


def quantize_dense(layer: Dense, place: DensePlace, tables: Tables) -> QuantizedDense:
    """Return the integers of a dense layer; raises ModelError for weights beyond int32."""
    scaled = in_base_2(layer) if layer.activation == "softmax" else layer
    frac = weight_fracs(scaled.W, place.weight_bits) + place.x.frac
    if scaled.skip is not None and place.own is not None:
        frac = np.minimum(frac, weight_fracs(scaled.skip, DENSE_WEIGHT_BITS) + place.own.frac)
    fixed = _argument_frac(layer, place, tables)
    if fixed is None:
        frac = np.full_like(frac, min(int(frac.min()), _MAX_RAW_FRAC))
    else:
        frac = np.minimum(frac, fixed + _MAX_RIGHT_SHIFT)
    while True:
        argument_frac = frac if fixed is None else np.full_like(frac, fixed)
        _refuse_huge(layer, frac if fixed is None else frac - argument_frac)
        quantized = _round(scaled, place, frac, argument_frac)
        beyond = row_bounds(quantized, place.magnitude, place.own_magnitude).bound > INT32_MAX
        if not beyond.any():
            _refuse_lost(layer, quantized)
            return quantized
        frac = frac - (beyond.any() if fixed is None else beyond)


def _argument_frac(layer: Dense, place: DensePlace, tables: Tables) -> int | None:
    """Return the fraction bits that the accumulators are rescaled to; None for raw ones."""
    if layer.activation == "softmax":
        return SOFTMAX_FRAC
    if layer.activation == "sigmoid":
        return tables.sigmoid_frac
    if layer.activation == "tanh":
        return tables.tanh_frac
    return None if place.y is None else place.y.frac


def in_base_2(layer: Dense) -> Dense:
    """Return the layer whose logits are exponents of 2 (rule N10): exp(z) = 2**(z * log2(e))."""

    def scaled(values: FloatArray) -> FloatArray:
        return np.asarray(np.clip(values, -BEYOND_ANY_FORMAT, BEYOND_ANY_FORMAT) * np.log2(np.e))

    skip = None if layer.skip is None else scaled(layer.skip)
    return replace(layer, W=scaled(layer.W), b=scaled(layer.b), skip=skip)


def _round(
    layer: Dense, place: DensePlace, frac: IntArray, argument_frac: IntArray
) -> QuantizedDense:
    y = place.y
    if y is None:
        y = QFormat(16, 0) if layer.activation == "argmax" else QFormat(32, int(frac[0]))
    skip = None
    if layer.skip is not None and place.own is not None:
        skip = to_nearest(layer.skip, frac - place.own.frac, DENSE_WEIGHT_BITS)
    return QuantizedDense(
        name=layer.name,
        activation=layer.activation,
        x=place.x,
        y=y,
        w=to_nearest(layer.W, frac - place.x.frac, place.weight_bits),
        bias=fold_bias(layer.b, frac, frac - argument_frac),
        frac=frac,
        argument_frac=argument_frac,
        skip=skip,
        skip_x=place.own if skip is not None else None,
    )


def _refuse_lost(layer: Dense, quantized: QuantizedDense) -> None:
    """Refuse a layer whose biases left no bit to any weight, as a bias of -1e9 does."""
    peak = np.abs(layer.b).max()
    if not quantized.w.any() and 0 < np.abs(layer.W).max() < peak:
        raise ModelError(
            f"{layer.name}: a bias of {peak:.3g} beside weights of at most "
            f"{np.abs(layer.W).max():.3g} rounds all of these to 0; expected biases that the "
            "weights can reach: leave the class out, or limit its bias"
        )


def _refuse_huge(layer: Dense, shift: IntArray) -> None:
    beyond = shift < LOWEST_SHIFT
    if beyond.any():
        # Rows that share one F are all beyond: the largest is to blame.
        peaks = np.where(beyond, np.maximum(np.abs(layer.W).max(1), np.abs(layer.b)), 0)
        row = int(peaks.argmax())
        raise ModelError(
            f"{layer.name}: row {row} has weights or a bias of {peaks[row]:.3g}; its sum cannot "
            "be bounded below 2**31 with useful bits left; rescale the model's weights"
        )
