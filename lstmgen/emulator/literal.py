"""The layers as docs/numerics.md states them, rule by rule, one time step at a time."""

import numpy as np

from ..bounds import argument_limit
from ..qformat import IntArray
from ..quantized import LOGIT_LIMIT, Tables
from ..quantized_layers import QuantizedDense, QuantizedGru, QuantizedLstm, QuantizedRecurrent
from . import cells, ops
from .state import LstmState


def recurrent(
    layer: QuantizedRecurrent, tables: Tables, x: IntArray, state: LstmState
) -> tuple[IntArray, LstmState]:
    """Return the hidden states of all steps, (batch, T, p), and the state after the last."""
    hidden = np.empty((*x.shape[:2], layer.width), np.int64)
    for t in range(x.shape[1]):
        if isinstance(layer, QuantizedLstm):
            state = lstm_step(layer, tables, x[:, t], state)
        else:
            state = gru_step(layer, tables, x[:, t], state)
        hidden[:, t] = state.h
    return hidden, state


def lstm_step(
    layer: QuantizedLstm, tables: Tables, x: IntArray, state: LstmState
) -> LstmState:
    """Return the state after one time step; x: (batch, n), state's arrays: (batch, k)."""
    from_h = ops.accumulate(layer.wh, state.h) + layer.bias
    ops.require_int32(from_h, "N3b: the sum over h with its bias")
    from_x = ops.accumulate(layer.wx, x << layer.x_shift)
    acc = ops.require_int32(ops.asr(from_h, layer.mid_shift) + from_x, "N3: the accumulator")
    v = ops.rescale(acc, layer.shift, argument_limit(layer))
    return cells.lstm(layer, tables, v, state.c)


def gru_step(layer: QuantizedGru, tables: Tables, x: IntArray, state: LstmState) -> LstmState:
    """Return the state after one time step; x: (batch, n), state's arrays: (batch, k)."""
    k = layer.units
    limit = argument_limit(layer)
    from_x = ops.accumulate(layer.wx, x << layer.x_shift) + layer.bias
    from_h = ops.accumulate(layer.wh[: 2 * k], state.h)
    acc = ops.require_int32(from_x[:, : 2 * k] + from_h, "N3: the accumulator")
    v = ops.rescale(acc, layer.shift[: 2 * k], limit[: 2 * k])
    n = ops.require_int32(from_x[:, 2 * k :], "N14: the sum over x with its bias")
    u = np.zeros_like(state.h)
    if layer.reset_after:
        sums = ops.accumulate(layer.wh[2 * k :], state.h) + layer.bias_h
        ops.require_int32(sums, "N14: the sum over h with its bias")
        u = ops.rescale(sums, layer.shift_h, limit[2 * k :])
    else:
        r = cells.reset(layer, tables, v)
        gated = ops.asr(r * state.h + (1 << 14), 15)
        n = ops.require_int32(n + ops.accumulate(layer.wh[2 * k :], gated), "N3: the accumulator")
    v_n = ops.rescale(n, layer.shift[2 * k :], limit[2 * k :])
    return cells.gru(layer, tables, np.concatenate([v, v_n], 1), u, state.c)


def dense(layer: QuantizedDense, tables: Tables, x: IntArray, own: IntArray) -> IntArray:
    """Return the layer's output for x of shape (batch, n): (batch, width).

    own: (batch, n0) the network's own input, which a layer with `skip` adds.
    """
    products = ops.accumulate(layer.w, x)
    if layer.skip is not None:
        products = products + ops.accumulate(layer.skip, own)
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
