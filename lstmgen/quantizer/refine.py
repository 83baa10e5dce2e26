"""Weights of a quantized layer rounded anew, by the values that the layer gets in calibration.

The network up to the layer is emulated on the calibration data: its integers are what the
layer's weights will be multiplied with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bounds import row_bounds
from ..emulator import Emulator
from ..layers import Dense, Direction, Gru, Lstm, Recurrent
from ..qformat import FloatArray, IntArray, QFormat
from ..quantized import Precision, QuantizedNetwork, Tables
from ..quantized_layers import (
    QuantizedDense,
    QuantizedGru,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedRecurrent,
)
from .compensate import DAMPING, Grid, compensated, refitted, row_sums
from .dense import DensePlace, in_base_2
from .modes import MODES
from .moments import Moments, cross, moments, thinned
from .recipe import Recipe
from .rounding import fold_bias
from .widths import Widths

RIDGE = 3e-4
"""How strongly refitted weights are held: 3e-4 of the mean variance; 1e-2 was found to harm."""

FIRM = 1e-2
"""The damping of a recipe that holds weights more firmly, for few or unlike calibration data."""

PASSES = 2
"""How often a recurrent layer is rounded: its own h, which its weights are rounded by, changes."""

_TARGET_BITS = 24
"""Bits of the grid of float targets, on which their sums are exact."""


@dataclass(frozen=True, eq=False)
class Taken:
    """What a layer gets in calibration, raw and in float (B, T, n), and gives, raw (B, T, p)."""

    x: IntArray
    floats: FloatArray
    h: IntArray


class Refiner:
    """Rounds the layers of a network anew, one after the other from the input on.

    floats: what the layers of the float network hand on for the calibration inputs.
    """

    def __init__(
        self,
        floats: Mapping[str, FloatArray],
        precision: Precision,
        tables: Tables,
        calibration: FloatArray,
        recipe: Recipe,
        widths: Widths,
    ) -> None:
        self.precision, self.mode, self.tables = precision, MODES[precision], tables
        self.recipe, self.widths, self.inputs = recipe, widths, calibration
        self.floats = floats

    def taken(self, layers: Sequence[QuantizedLayer], below: str, name: str) -> Taken:
        """Emulate the layers; return what the layer of that name gets, from `below`, and gives.

        below: "" for the network's input.
        """
        q = QuantizedNetwork("calibration", self.precision, "sequence", self.tables, tuple(layers))
        raw = q.x.to_raw(self.inputs)
        trace = Emulator(q, batch=len(raw)).trace(raw)
        floats = self.floats[below] if below else self.inputs
        return Taken(trace[below] if below else raw, floats, trace[name])

    def recurrent(
        self,
        layer: Recurrent,
        quantized: QuantizedRecurrent,
        magnitude: int,
        taken: Taken,
        direction: Direction,
    ) -> QuantizedRecurrent:
        """Return a recurrent layer with weights rounded anew.

        magnitude: of its inputs. direction: in which it goes, that of a half too.
        """
        n, p = layer.inputs, layer.width
        before = _before(taken.h, quantized.h0, direction).reshape(-1, p)
        values = np.concatenate([taken.x.reshape(-1, n), before], 1)
        steps = np.repeat([quantized.x.step, quantized.h.step], [n, p])
        given = moments(values, steps)
        weights, bias = np.concatenate([layer.W, layer.U], 1), layer.b
        if isinstance(layer, Gru) and isinstance(quantized, QuantizedGru):
            return self._gru(layer, quantized, magnitude, weights, given)
        assert isinstance(layer, Lstm)
        assert isinstance(quantized, QuantizedLstm)
        if self.recipe.refit_recurrent:
            start = np.zeros(p) if layer.h0 is None else layer.h0
            h = _before(self.floats[layer.name], start, direction).reshape(-1, p)
            floats = np.concatenate([taken.floats.reshape(-1, n), h], 1)
            weights, bias = _refit(weights, bias, values, steps, given, floats)
        return self._lstm(quantized, magnitude, weights, bias, given)

    def _lstm(
        self,
        quantized: QuantizedLstm,
        magnitude: int,
        weights: FloatArray,
        bias: FloatArray,
        given: Moments,
    ) -> QuantizedLstm:
        n, frac, mid = quantized.inputs, quantized.frac, quantized.mid_shift
        while True:
            of_x, of_h = frac - quantized.x.frac - quantized.x_shift, frac + mid - quantized.h.frac
            grid = self._grid(quantized, of_x, of_h)
            raw, gain = self._rounded(weights, grid, given)
            shift = frac + mid - quantized.argument_frac
            folded = fold_bias(bias + gain, frac + mid, shift)
            found = replace(quantized, wx=raw[:, :n], wh=raw[:, n:], frac=frac, bias=folded)
            beyond = row_bounds(found, magnitude).overflows
            if not beyond.any():
                return found
            frac = frac - beyond

    def _gru(
        self,
        layer: Gru,
        quantized: QuantizedGru,
        magnitude: int,
        weights: FloatArray,
        given: Moments,
    ) -> QuantizedGru:
        """With reset_after the candidate's sums over x and over h are rounded apart."""
        n, k, frac, frac_h = layer.inputs, layer.units, quantized.frac, quantized.frac_h
        last = slice(2 * k, 3 * k)
        while True:
            all_h = frac.copy()
            if layer.reset_after:
                all_h[last] = frac_h
            of_x = frac - quantized.x.frac - quantized.x_shift
            grid = self._grid(quantized, of_x, all_h - quantized.h.frac)
            raw, gain = self._rounded(weights, grid, given)
            bias_h = quantized.bias_h
            if layer.reset_after:
                x, h = slice(0, n), slice(n, n + k)
                raw[last, x], gain[last] = self._apart(weights, grid, given, last, x)
                raw[last, h], gain_h = self._apart(weights, grid, given, last, h)
                shift_h = frac_h - quantized.argument_frac[last]
                bias_h = fold_bias(layer.b_u + gain_h, frac_h, shift_h)
            found = replace(
                quantized,
                wx=raw[:, :n],
                wh=raw[:, n:],
                frac=frac,
                bias=fold_bias(layer.b + gain, frac, frac - quantized.argument_frac),
                frac_h=frac_h if layer.reset_after else frac[last],
                bias_h=bias_h,
            )
            bounds = row_bounds(found, magnitude)
            beyond, apart = bounds.bound >= 1 << 31, bounds.partial[last] >= 1 << 31
            if not beyond.any() and not apart.any():
                return found
            frac, frac_h = frac - beyond, frac_h - apart

    def _apart(
        self, weights: FloatArray, grid: Grid, given: Moments, rows: slice, columns: slice
    ) -> tuple[IntArray, FloatArray]:
        own = Grid(grid.steps[rows, columns], grid.limits[columns])
        return self._rounded(weights[rows, columns], own, given.part(columns))

    def _grid(self, layer: QuantizedRecurrent, of_x: IntArray, of_h: IntArray) -> Grid:
        """Return the grid for weights of the inputs and hidden values at these fraction bits."""
        n, p = layer.inputs, layer.width
        steps = np.repeat(2.0 ** -np.stack([of_x, of_h], 1).astype(np.float64), [n, p], axis=1)
        mode = self.widths.mode(self.mode, layer.name)
        widths = [mode.input_weights, mode.hidden_weights]
        return Grid(steps, np.repeat([(1 << (bits - 1)) - 1 for bits in widths], [n, p]))

    def _rounded(
        self, weights: FloatArray, grid: Grid, given: Moments
    ) -> tuple[IntArray, FloatArray]:
        return compensated(weights, grid, given, FIRM if self.recipe.firm else DAMPING)

    def dense(
        self, layer: Dense, quantized: QuantizedDense, place: DensePlace, taken: Taken
    ) -> QuantizedDense:
        """Return a dense layer with weights rounded anew; one that adds the input as it is."""
        if layer.skip is not None:
            return quantized
        scaled = in_base_2(layer) if layer.activation == "softmax" else layer
        n = layer.inputs
        values, steps = taken.x.reshape(-1, n), np.full(n, quantized.x.step)
        given = moments(values, steps)
        weights, bias = scaled.W, scaled.b
        if self.recipe.refit_dense:
            floats = taken.floats.reshape(-1, n)
            weights, bias = _refit(weights, bias, values, steps, given, floats)
        limits = np.full(n, (1 << (place.weight_bits - 1)) - 1)
        # The accumulators of a last layer are its output, in one format.
        output = place.y is None and layer.activation != "softmax"
        frac = quantized.frac
        while True:
            argument = frac if output else quantized.argument_frac
            step = 2.0 ** -(frac - quantized.x.frac).astype(np.float64)
            raw, gain = self._rounded(weights, Grid(np.tile(step[:, None], n), limits), given)
            raw_output = output and layer.activation != "argmax"
            found = replace(
                quantized,
                w=raw,
                frac=frac,
                argument_frac=argument,
                y=QFormat(32, int(frac[0])) if raw_output else quantized.y,
                bias=fold_bias(bias + gain, frac, frac - argument),
            )
            beyond = row_bounds(found, place.magnitude).overflows
            if not beyond.any():
                return found
            frac = frac - (beyond.any() if output else beyond)


def _refit(
    weights: FloatArray,
    bias: FloatArray,
    values: IntArray,
    steps: FloatArray,
    given: Moments,
    floats: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return weights and biases for which the sums over raw `values` are nearest to float's."""
    targets = floats @ weights.T
    # On a grid, so that the last bit of a float product cannot decide a weight.
    most = max(1.0, float(np.abs(targets).max()))
    step = 2.0 ** (np.ceil(np.log2(most)) - _TARGET_BITS)
    raw = np.rint(targets / step).astype(np.int64)
    found = refitted(weights, given, cross(values, steps, raw, step), RIDGE)
    kept = thinned(raw)
    return found, bias + kept.sum(0) / len(kept) * step - row_sums(found * given.mean)


def _before(h: NDArray[Any], h0: NDArray[Any], direction: Direction) -> NDArray[Any]:
    """Return h before each step, (B, T, p), from h behind it; in the order of the inputs."""
    start = np.broadcast_to(h0, (len(h), 1, h.shape[2]))
    if direction == "reverse":
        return np.concatenate([h[:, 1:], start], 1)
    shifted = np.concatenate([start, h[:, :-1]], 1)
    return shifted[:, ::-1] if direction == "flipped" else shifted
