"""Weights of a quantized layer rounded anew, by the values that the layer gets in calibration.

The network up to the layer is emulated on the calibration data: its integers are what the
layer's weights will be multiplied with.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import reference
from ..bounds import row_bounds
from ..emulator import Emulator
from ..layers import Dense, Lstm, Recurrent
from ..network import Network
from ..qformat import FloatArray, IntArray, QFormat
from ..quantized import (
    Precision,
    QuantizedDense,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedNetwork,
    QuantizedRecurrent,
    Tables,
)
from .compensate import Grid, compensated, refitted, row_sums
from .dense import DensePlace, in_base_2
from .modes import DENSE_WEIGHT_BITS, Mode
from .moments import Moments, cross, moments, thinned
from .recipe import Recipe
from .rounding import fold_bias

RIDGE = 3e-4
"""How strongly refitted weights are held: 3e-4 of the mean variance; 1e-2 was found to harm."""

_TARGET_STEP = 2.0**-24
"""The grid of float targets, on which their sums are exact."""


class Refiner:
    """Rounds the layers of a network anew, one after the other from the input on."""

    def __init__(
        self,
        network: Network,
        precision: Precision,
        mode: Mode,
        tables: Tables,
        calibration: FloatArray,
        recipe: Recipe,
    ) -> None:
        self.network, self.precision, self.mode, self.tables = network, precision, mode, tables
        self.recipe, self.inputs = recipe, calibration
        with np.errstate(over="ignore", invalid="ignore"):
            trace = reference.run(network, calibration)
        self.floats, self.cells = trace.layers, trace.cells

    def recurrent(
        self,
        layer: Recurrent,
        quantized: QuantizedRecurrent,
        magnitude: int,
        taken: "Taken",
    ) -> QuantizedRecurrent:
        """Return the layer with weights rounded anew."""
        if isinstance(layer, Lstm) and isinstance(quantized, QuantizedLstm):
            return self._lstm(layer, quantized, magnitude, taken)
        return quantized

    def _lstm(
        self, layer: Lstm, quantized: QuantizedLstm, magnitude: int, taken: "Taken"
    ) -> QuantizedLstm:
        n, p = layer.inputs, layer.width
        before = _before(taken.h, quantized.h0, quantized.direction)
        steps = np.repeat([quantized.x.step, quantized.h.step], [n, p])
        values = np.concatenate([taken.x.reshape(-1, n), before.reshape(-1, p)], 1)
        importance = self._importance(layer, taken) if self.recipe.weighted else None
        given = moments(values, steps, importance)
        weights, bias = np.concatenate([layer.W, layer.U], 1), layer.b
        if self.recipe.refit_recurrent:
            start = np.zeros(p) if layer.h0 is None else layer.h0
            h = _before(self.floats[layer.name], start, layer.direction)
            floats = np.concatenate([taken.floats.reshape(-1, n), h.reshape(-1, p)], 1)
            weights, bias = _refit(weights, bias, values, steps, given, floats)
        limits = np.repeat(
            [_most(self.mode.input_weights), _most(self.mode.hidden_weights)], [n, p]
        )
        frac, mid = quantized.frac, quantized.mid_shift
        while True:
            of_x = 2.0 ** -(frac - quantized.x.frac - quantized.x_shift).astype(np.float64)
            of_h = 2.0 ** -(frac + mid - quantized.h.frac).astype(np.float64)
            grid = Grid(np.repeat(np.stack([of_x, of_h], 1), [n, p], axis=1), limits)
            raw, gain = compensated(weights, grid, given)
            shift = frac + mid - quantized.argument_frac
            found = replace(
                quantized,
                wx=raw[:, :n],
                wh=raw[:, n:],
                frac=frac,
                bias=fold_bias(bias + gain, frac + mid, shift),
            )
            beyond = row_bounds(found, magnitude).overflows
            if not beyond.any():
                return found
            frac = frac - beyond

    def _importance(self, layer: Lstm, taken: "Taken") -> FloatArray:
        """Return (time steps, 4k) the squared effect of each pre-activation on cell or output."""
        n, k, p = layer.inputs, layer.units, layer.width
        gate = {"sigmoid": reference.sigmoid}.get(layer.gate, reference.FUNCTIONS[layer.gate])
        h = _before(self.floats[layer.name], np.zeros(p), layer.direction).reshape(-1, p)
        z = taken.floats.reshape(-1, n) @ layer.W.T + h @ layer.U.T + layer.b
        c = self.cells[layer.name]
        before = _before(c, np.zeros(k), "forward").reshape(-1, k)
        c = c.reshape(-1, k)
        i, f, o = (gate(z[:, g * k : (g + 1) * k]) for g in (0, 1, 3))
        g = np.tanh(z[:, 2 * k : 3 * k])
        y = np.tanh(c)
        seen = o * (1 - y**2) + 0.1
        effect = np.concatenate(
            [
                i * (1 - i) * g * seen,
                f * (1 - f) * before * seen,
                i * (1 - g**2) * seen,
                o * (1 - o) * y,
            ],
            1,
        )
        square = effect**2
        return np.asarray(square + self.recipe.weighted * square.mean(0))

    def dense(
        self, layer: Dense, quantized: QuantizedDense, place: DensePlace, taken: "Taken"
    ) -> QuantizedDense:
        """Return a dense layer with weights rounded anew."""
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
        limits = np.full(n, _most(DENSE_WEIGHT_BITS))
        frac = quantized.frac
        fixed = place.y is not None or layer.activation == "softmax"
        while True:
            argument = quantized.argument_frac if fixed else frac
            step = 2.0 ** -(frac - quantized.x.frac).astype(np.float64)
            grid = Grid(np.repeat(step[:, None], n, axis=1), limits)
            raw, gain = compensated(weights, grid, given)
            y = quantized.y
            if not fixed and layer.activation != "argmax":
                y = QFormat(32, int(frac[0]))
            found = replace(
                quantized,
                w=raw,
                frac=frac,
                argument_frac=argument,
                y=y,
                bias=fold_bias(bias + gain, frac, frac - argument),
            )
            beyond = row_bounds(found, place.magnitude).overflows
            if not beyond.any():
                return found
            frac = frac - (beyond if fixed else beyond.any())

    def taken(
        self, layers: Sequence[QuantizedLayer], below: str, name: str, x: QFormat
    ) -> "Taken":
        """Emulate the layers and return what the last of them, of that name, gets and gives."""
        q = QuantizedNetwork(
            "calibration", self.precision, "sequence", self.tables, tuple(layers)
        )
        raw = q.x.to_raw(self.inputs)
        trace = Emulator(q, batch=len(raw)).trace(raw)
        floats = self.floats[below] if below else self.inputs
        return Taken(trace[below] if below else raw, floats, trace[name])


@dataclass(frozen=True, eq=False)
class Taken:
    """What a layer gets in calibration: raw and in float, (B, T, n), and gives, raw (B, T, p)."""

    x: IntArray
    floats: FloatArray
    h: IntArray


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
    scale = max(1.0, float(np.abs(targets).max()))
    step = _TARGET_STEP * 2.0 ** np.ceil(np.log2(scale))
    raw = np.rint(targets / step).astype(np.int64)
    found = refitted(weights, given, cross(values, steps, raw, step), RIDGE)
    lost = thinned(raw).sum(0) / len(thinned(raw)) * step
    return found, bias + lost - row_sums(found * given.mean)


def _before(h: IntArray, h0: IntArray, direction: str) -> IntArray:
    """Return h before each step, (B, T, p), from h behind it; in the order of the inputs."""
    start = np.broadcast_to(h0, (len(h), 1, h.shape[2]))
    if direction == "forward":
        return np.concatenate([start, h[:, :-1]], 1)
    if direction == "reverse":
        return np.concatenate([h[:, 1:], start], 1)
    return np.concatenate([start, h[:, :-1]], 1)[:, ::-1]


def _most(bits: int) -> int:
    return (1 << (bits - 1)) - 1
