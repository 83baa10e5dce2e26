"""The layers as docs/numerics.md states them, rule by rule, one time step at a time."""

import numpy as np

from ..qformat import IntArray
from ..quantized import LOGIT_LIMIT, QuantizedDense, QuantizedLstm, Tables
from . import ops
from .state import LstmState


def lstm_step(
    layer: QuantizedLstm, tables: Tables, x: IntArray, state: LstmState
) -> LstmState:
    """Return the state after one time step; x: (batch, n), state's arrays: (batch, k)."""
    k = layer.units
    from_h = ops.accumulate(layer.wh, state.h) + layer.bias
    ops.require_int32(from_h, "N3b: the sum over h with its bias")
    from_x = ops.accumulate(layer.wx, x << layer.x_shift)
    acc = ops.require_int32(ops.asr(from_h, layer.mid_shift) + from_x, "N3: the accumulator")
    v = ops.rescale(acc, layer.shift)
    i = ops.activate(tables.sigmoid, v[:, :k])
    f = ops.activate(tables.sigmoid, v[:, k : 2 * k])
    g = ops.activate(tables.tanh, v[:, 2 * k : 3 * k])
    o = ops.activate(tables.sigmoid, v[:, 3 * k :])
    t, c = ops.cell(state.c, i, f, g, tables.product_shift)
    tanh_c = ops.activate(tables.tanh, t)
    return LstmState(ops.hidden(o, tanh_c, layer.h.bits), c)


def lstm(
    layer: QuantizedLstm, tables: Tables, x: IntArray, state: LstmState
) -> tuple[IntArray, LstmState]:
    """Return the hidden states of all steps, (batch, T, k), and the state after the last."""
    hidden = np.empty((*x.shape[:2], layer.units), np.int64)
    for t in range(x.shape[1]):
        state = lstm_step(layer, tables, x[:, t], state)
        hidden[:, t] = state.h
    return hidden, state


def dense(layer: QuantizedDense, tables: Tables, x: IntArray) -> IntArray:
    """Return the layer's output for x of shape (batch, n): (batch, width)."""
    products = ops.accumulate(layer.w, x)
    acc = ops.require_int32(products + layer.bias, "N3: the accumulator with its bias")
    if layer.activation == "argmax":
        return np.asarray(acc.argmax(-1)[:, None])
    if layer.activation == "softmax":
        return ops.softmax(ops.rescale(acc, layer.shift, LOGIT_LIMIT), tables.exp2)
    v = ops.rescale(acc, layer.shift)
    if layer.activation in ("linear", "relu"):
        y = np.maximum(v, 0) if layer.activation == "relu" else v
        return ops.saturate(y, layer.y.bits)
    table = tables.sigmoid if layer.activation == "sigmoid" else tables.tanh
    y = ops.activate(table, v)
    return ops.narrow(y) if layer.y.bits == 8 else y
