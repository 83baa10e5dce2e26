"""Recurrent layers other than the plain LSTM at speed: sums in float BLAS, the rest by the rules.

What follows the sums is shared with `literal`: it is elementwise, so that numpy is fast enough.
"""

import numpy as np

from ..bounds import INT32_MAX, LayerBounds, argument_limit
from ..qformat import IntArray
from ..quantized import Tables
from ..quantized_layers import QuantizedGru, QuantizedLstm, QuantizedRecurrent
from . import cells, ops
from .fast import Argument, Floats, Int32s, Values
from .state import LstmState


class FastVariant:
    """A recurrent layer prepared for batches.

    saturations: how many cell states have been limited to int32 since it was made.
    """

    def __init__(self, layer: QuantizedRecurrent, tables: Tables, bounds: LayerBounds) -> None:
        self.layer, self.tables = layer, tables
        self.saturations = 0
        self._sums = (
            _LstmSums(layer, tables, bounds)
            if isinstance(layer, QuantizedLstm)
            else _GruSums(layer, tables, bounds)
        )

    def run(self, x: Values, state: LstmState) -> tuple[Values, LstmState]:
        """Return the hidden states (T, p, batch) for x (T, n, batch), and the last state."""
        hidden = np.empty((len(x), self.layer.width, x.shape[2]), np.int64)
        for t in range(len(x)):
            state = self._sums.step(x[t], state)
            limited = (state.c == INT32_MAX) | (state.c == -INT32_MAX - 1)
            self.saturations += int(np.count_nonzero(limited))
            hidden[t] = state.h.T
        return hidden, state


class _LstmSums:
    def __init__(self, layer: QuantizedLstm, tables: Tables, bounds: LayerBounds) -> None:
        self.layer, self.tables = layer, tables
        self.argument = Argument(
            (layer.wx << layer.x_shift, layer.wh),
            layer.bias,
            layer.shift,
            bounds,
            np.arange(len(layer.bias)),
            argument_limit(layer),
            layer.mid_shift,
        )

    def step(self, x: Values, state: LstmState) -> LstmState:
        v = _sums(self.argument, x, state.h.T)
        return cells.lstm(self.layer, self.tables, v.T.astype(np.int64), state.c)


class _GruSums:
    def __init__(self, layer: QuantizedGru, tables: Tables, bounds: LayerBounds) -> None:
        self.layer, self.tables = layer, tables
        k = layer.units
        gates, n = np.arange(2 * k), np.arange(2 * k, 3 * k)
        limit = argument_limit(layer)
        wx = layer.wx << layer.x_shift

        def argument(
            rows: IntArray, *weights: IntArray, apart: bool = False
        ) -> Argument:
            bias, shift, at = layer.bias[rows], layer.shift[rows], bounds.bound[rows]
            clamped = bounds.clamped[rows]
            if apart:
                bias, shift, at = layer.bias_h, layer.shift_h, bounds.partial[rows]
                clamped = bounds.partial_clamped[rows]
            own = LayerBounds(layer.name, at, 0 * at, clamped, clamped)
            chosen = tuple(w[rows] for w in weights)
            return Argument(chosen, bias, shift, own, np.arange(len(rows)), limit[rows])

        self.gates = argument(gates, wx, layer.wh)
        if layer.reset_after:
            self.n, self.inner = argument(n, wx), argument(n, layer.wh, apart=True)
        else:
            self.n = argument(n, wx, layer.wh)

    def step(self, x: Values, state: LstmState) -> LstmState:
        v = _sums(self.gates, x, state.h.T).T.astype(np.int64)
        u = np.zeros_like(state.h)
        if self.layer.reset_after:
            u = _sums(self.inner, state.h.T).T.astype(np.int64)
            n = _sums(self.n, x)
        else:
            r = cells.reset(self.layer, self.tables, v)
            n = _sums(self.n, x, ops.asr(r * state.h + (1 << 14), 15).T)
        v = np.concatenate([v, n.T.astype(np.int64)], 1)
        return cells.gru(self.layer, self.tables, v, u, state.c)


def _sums(argument: Argument, *values: Values) -> Int32s:
    """Return V (rows, batch) for values (n, batch) by the argument's weights."""
    z: Floats = argument.bias + sum(
        w @ np.ascontiguousarray(value, argument.dtype)
        for w, value in zip(argument.weights, values, strict=True)
    )
    v = np.empty(z.shape, np.int32)
    argument.to_int(z, v)
    return v
