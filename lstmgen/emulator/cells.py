"""What a recurrent layer makes of its sums: gates, cell and hidden state, rule by rule."""

from ..qformat import IntArray
from ..quantized import Tables
from ..quantized_layers import QuantizedDense, QuantizedGru, QuantizedLstm
from . import ops
from .state import LstmState


def lstm(layer: QuantizedLstm, tables: Tables, v: IntArray, c_word: IntArray) -> LstmState:
    """Return the state after a step from the pre-activations v (batch, 4k) of rule N4."""
    k = layer.units
    v_i, v_f, v_g, v_o = (v[:, gate * k : (gate + 1) * k] for gate in range(4))
    wide, fine = layer.clip, None if layer.clip is None else 2 * layer.clip
    if layer.peephole is not None:
        v_i = ops.peephole(v_i, c_word, layer.peephole[0], layer.peephole_shift)
        v_f = ops.peephole(v_f, c_word, layer.peephole[1], layer.peephole_shift)
    table = tables.of(layer.gate)
    i = ops.activate(table, ops.limited(v_i, wide))
    f = ops.activate(table, ops.limited(v_f, wide))
    v_g = ops.limited(v_g, wide if layer.cell == "sigmoid" else fine)
    g = _candidate(layer, tables, v_g)
    t, c = ops.cell(c_word, i, f, g, product_shift(layer, tables))
    if layer.cell_limit is not None:
        t = ops.limited(t, layer.cell_limit)
        c = 2 * t
    if layer.peephole is not None:
        v_o = ops.peephole(v_o, c, layer.peephole[2], layer.peephole_shift)
    o = ops.activate(table, ops.limited(v_o, wide))
    y = _output(layer, tables, t)
    if layer.projection is None:
        return LstmState(ops.hidden(o, y, layer.h.bits), c)
    m = ops.hidden(o, y, 16)
    return LstmState(project(layer.projection, m), c)


def gru(
    layer: QuantizedGru, tables: Tables, v: IntArray, u: IntArray, c_word: IntArray
) -> LstmState:
    """Return the state after a step (rule N14).

    v: (batch, 3k) pre-activations, of n the part of x alone with reset_after; u: (batch, k)
    that of h, before it is multiplied by r (zeros without reset_after).
    """
    k = layer.units
    table = tables.of(layer.gate)
    z = ops.activate(table, ops.limited(v[:, k : 2 * k], layer.clip))
    v_n = v[:, 2 * k :]
    if layer.reset_after:
        v_n = v_n + ops.share(2 * u, reset(layer, tables, v))
    fine = None if layer.clip is None else 2 * layer.clip
    v_n = ops.limited(v_n, layer.clip if layer.cell == "sigmoid" else fine)
    n = _candidate(layer, tables, v_n)
    t, c = ops.cell(c_word, 32768 - z, z, n, product_shift(layer, tables))
    shift = tables.tanh_frac - layer.h.frac
    return LstmState(ops.gru_hidden(t, shift, layer.h.bits), c)


def reset(layer: QuantizedGru, tables: Tables, v: IntArray) -> IntArray:
    """Return the reset gate, Q0.15."""
    v_r = ops.limited(v[:, : layer.units], layer.clip)
    return ops.activate(tables.of(layer.gate), v_r)


def product_shift(layer: QuantizedLstm | QuantizedGru, tables: Tables) -> int:
    """Return the k of rule N6: from i * g to the cell state's fraction bits."""
    return tables.product_shift - (15 - layer.g_frac)


def project(layer: QuantizedDense, m: IntArray) -> IntArray:
    """N13: return the hidden state from m (batch, k)."""
    acc = ops.accumulate(layer.w, m) + layer.bias
    return ops.saturate(ops.rescale(ops.require_int32(acc, "N13"), layer.shift), layer.y.bits)


def _candidate(layer: QuantizedLstm | QuantizedGru, tables: Tables, v: IntArray) -> IntArray:
    if layer.cell in ("relu", "linear"):
        return ops.linear(v, tables.tanh_frac - layer.g_frac, layer.cell == "relu")
    return ops.activate(tables.of(layer.cell), v)


def _output(layer: QuantizedLstm, tables: Tables, t: IntArray) -> IntArray:
    if layer.output in ("relu", "linear"):
        return ops.linear(t, tables.tanh_frac - layer.y_frac, layer.output == "relu")
    # A sigmoid's argument has one fraction bit less than the cell state.
    return ops.activate(tables.of(layer.output), ops.asr(t, 1) if layer.output == "sigmoid" else t)
