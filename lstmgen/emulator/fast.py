"""The same integers as `literal`, for whole batches at speed.

Matrix products run in float BLAS, which is exact: every partial sum is an integer below
2**24 (float32) or 2**53 (float64), by the bound of rule N3. The scale 2**-s of rule N4 is a
power of two and so folds into weights and bias. Everything else is int32 in place.

Arrays are time-major with the batch last, (T, n, batch), so that gates are contiguous.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bounds import LayerBounds, argument_limit
from ..qformat import IntArray
from ..quantized import Tables
from ..quantized_layers import QuantizedDense, QuantizedLstm
from . import ops
from .state import LstmState

Floats = NDArray[np.floating[Any]]
Int32s = NDArray[np.int32]
Values = NDArray[np.int64] | Floats | Int32s
"""Raw integers, in the number type of the way that computed them."""

_GATE_ORDER = (0, 1, 3, 2)
"""i, f, o, g: the three sigmoids side by side."""


class Argument:
    """Rules N3 and N4 for the rows of a layer: V from the values the layer takes."""

    def __init__(
        self,
        weights: tuple[IntArray, ...],
        bias: IntArray,
        shift: IntArray,
        bounds: LayerBounds,
        rows: IntArray,
        limit: IntArray | int = ops.INT32_MAX,
        mid_shift: IntArray | None = None,
    ) -> None:
        """mid_shift: of rule N3b, which the bias and the last of the weights go through."""
        mid = np.zeros_like(shift) if mid_shift is None else mid_shift
        # Where a shift to the right is followed by one to the left, its floor comes between.
        left = np.where(mid > 0, np.maximum(-shift, 0), 0)
        exact_in_single = not mid.any() and int(bounds.bound.max()) < 1 << 24
        self.dtype = np.dtype(np.float32 if exact_in_single else np.float64)
        scale = 2.0 ** -(shift + left)[rows, None].astype(np.float64)
        scale_mid = scale * 2.0 ** -mid[rows, None].astype(np.float64)
        *others, last = weights
        scaled = [*(w[rows] * scale for w in others), last[rows] * scale_mid]
        self.weights = tuple(np.ascontiguousarray(w, dtype=self.dtype) for w in scaled)
        self.bias = (bias[rows, None] * scale_mid).astype(self.dtype)
        self.floors = bool((shift > 0).any() or mid.any())
        self.left = 2.0 ** left[rows, None].astype(np.float64) if left.any() else None
        self.limits: Floats | None = None
        if bounds.clamped.any():
            left = np.maximum(-shift[rows], 0)
            most = np.broadcast_to(limit, shift.shape)[rows]
            self.limits = ((most >> left) << left).astype(np.float64)[:, None]

    def to_int(self, z: Floats, out: Int32s) -> None:
        """Write V for the exact scaled sums z, which are overwritten, to `out`."""
        if self.floors:
            np.floor(z, out=z)
        if self.left is not None:
            z *= self.left
        if self.limits is not None:
            z = np.clip(z, -self.limits, self.limits)
        np.copyto(out, z, casting="unsafe")


class _Activation:
    """Rule N5 on int32 arrays, with work space for a given shape."""

    def __init__(self, table: IntArray, shape: tuple[int, ...]) -> None:
        self.words = ((table[:, 1] << 16) + table[:, 0]).astype(np.int32)
        self.half = np.int32(len(table) // 2)
        self.word = np.empty(shape, np.int32)
        self.slope = np.empty(shape, np.int32)

    def __call__(self, v: Int32s) -> Int32s:
        """Return y in Q0.15; `v` is overwritten and the result is valid until the next call."""
        word, slope = self.word, self.slope
        np.right_shift(v, 15, out=slope)
        slope += self.half
        np.take(self.words, slope, mode="clip", out=word)
        np.bitwise_and(word, 0xFFFF, out=slope)
        v <<= 16
        v >>= 16
        v *= slope
        word += v
        word >>= 16
        return word


class FastLstm:
    """A plain LSTM layer prepared for batches.

    saturations: how many cell states have been limited since it was made.
    """

    def __init__(self, layer: QuantizedLstm, tables: Tables, bounds: LayerBounds) -> None:
        self.layer, self.tables = layer, tables
        self.saturations = 0
        k = layer.units
        rows = np.concatenate([np.arange(gate * k, gate * k + k) for gate in _GATE_ORDER])
        weights = (layer.wx << layer.x_shift, layer.wh)
        self.argument = Argument(
            weights, layer.bias, layer.shift, bounds, rows, mid_shift=layer.mid_shift
        )

    def run(self, x: Values, state: LstmState) -> tuple[Floats, LstmState]:
        """Return the hidden states (T, k, batch) for x (T, n, batch), and the last state."""
        k, (steps, _, batch) = self.layer.units, x.shape
        argument, dtype = self.argument, self.argument.dtype
        w_x, w_h = argument.weights
        x = np.ascontiguousarray(x, dtype=dtype)
        hidden: Floats = np.empty((steps, k, batch), dtype)
        h: Floats = np.ascontiguousarray(state.h.T, dtype=dtype)
        c = np.ascontiguousarray(state.c.T, dtype=np.int32)
        cell = _Cell(self.tables, self.layer.h.bits, (k, batch))
        sigmoid = _Activation(self.tables.sigmoid, (3 * k, batch))
        tanh = _Activation(self.tables.tanh, (k, batch))
        z: Floats = np.empty((4 * k, batch), dtype)
        from_x = np.empty_like(z)
        v = np.empty(z.shape, np.int32)
        for t in range(steps):
            np.matmul(w_h, h, out=z)
            np.matmul(w_x, x[t], out=from_x)
            z += from_x
            z += argument.bias
            argument.to_int(z, v)
            gates = sigmoid(v[: 3 * k])
            g = tanh(v[3 * k :])
            h = hidden[t]
            cell.update(c, gates[:k], gates[k : 2 * k], g)
            cell.hidden(gates[2 * k :], tanh(cell.t), h)
        self.saturations += cell.saturations
        return hidden, LstmState(h.T.astype(np.int64), c.T.astype(np.int64))


class _Cell:
    """Rules N6 and N7 on int32 arrays in place."""

    def __init__(self, tables: Tables, bits: int, shape: tuple[int, int]) -> None:
        self.shift = tables.product_shift
        self.frac = bits - 1
        self.saturations = 0
        self.t = np.empty(shape, np.int32)
        self.high = np.empty(shape, np.int32)

    def update(self, c: Int32s, i: Int32s, f: Int32s, g: Int32s) -> None:
        """Write the new cell words to `c` and the tanh's argument to `self.t`.

        floor(C*f / 2**16) = (C >> 16)*f + ((C & 0xffff)*f >> 16); each part fits int32, the
        second as uint32.
        """
        t, high = self.t, self.high
        np.multiply(i, g, out=t)
        t += np.int32(1 << self.shift)
        t >>= self.shift
        np.right_shift(c, 16, out=high)
        high *= f
        t += high
        np.bitwise_and(c, 0xFFFF, out=high)
        low = high.view(np.uint32)
        low *= f.view(np.uint32)
        low >>= 16
        t += high
        np.clip(t, -(1 << 30), (1 << 30) - 1, out=c)
        above = t >= 1 << 30
        self.saturations += int(np.count_nonzero(above)) + int(np.count_nonzero(t < -(1 << 30)))
        c <<= 1
        c |= above  # INT32_MAX, the only odd word

    def hidden(self, o: Int32s, tanh_c: Int32s, out: Floats) -> None:
        """Write h = o * tanh(c), rounded, to `out`; `tanh_c` is overwritten."""
        tanh_c *= o
        tanh_c += np.int32(1 << (29 - self.frac))
        tanh_c >>= 30 - self.frac
        if self.frac == 7:
            np.minimum(tanh_c, 127, out=tanh_c)
        np.copyto(out, tanh_c)


class FastDense:
    """A dense layer prepared for batches.

    saturations: how many linear or relu results have been limited since it was made.
    """

    def __init__(self, layer: QuantizedDense, tables: Tables, bounds: LayerBounds) -> None:
        self.layer, self.tables = layer, tables
        self.saturations = 0
        rows = np.arange(layer.rows)
        weights = (layer.w,) if layer.skip is None else (layer.w, layer.skip)
        limit = argument_limit(layer)
        self.argument = Argument(weights, layer.bias, layer.shift, bounds, rows, limit)

    def run(self, x: Values, own: Values) -> Values:
        """Return the outputs (T, width, batch) for x (T, n, batch).

        own: (T, n0, batch) the network's own input, which a layer with `skip` adds.
        """
        argument = self.argument
        z: Floats = np.matmul(argument.weights[0], x.astype(argument.dtype, copy=False))
        if self.layer.skip is not None:
            z += np.matmul(argument.weights[1], own.astype(argument.dtype, copy=False))
        z += self.argument.bias
        v = np.empty(z.shape, np.int32)
        self.argument.to_int(z, v)
        activation, bits = self.layer.activation, self.layer.y.bits
        if activation == "argmax":
            return np.asarray(v.argmax(1)[:, None], np.int32)
        if activation == "softmax":
            wide = np.moveaxis(v, 1, -1).astype(np.int64)
            return np.moveaxis(ops.softmax(wide, self.tables.exp2), -1, 1).astype(np.int32)
        if activation in ("linear", "relu"):
            highest = (1 << (bits - 1)) - 1
            lowest = 0 if activation == "relu" else -highest - 1
            self.saturations += int(np.count_nonzero(v > highest))
            self.saturations += int(np.count_nonzero(v < -highest - 1))
            return np.clip(v, lowest, highest)
        table = self.tables.sigmoid if activation == "sigmoid" else self.tables.tanh
        y = _Activation(table, v.shape)(v)
        if bits == 8:
            y += 1 << 7
            y >>= 8
            np.minimum(y, 127, out=y)
        return y
