"""From the integers of a GRU layer or an embedding to its view."""

import numpy as np

from ..bounds import LayerBounds, argument_limit
from ..layers import GRU_GATES
from ..qformat import QFormat
from ..quantized import Tables
from ..quantized_layers import QuantizedEmbedding, QuantizedGru
from .gru import GruView
from .layers import EmbeddingView, Gate
from .layout import interleave
from .names import LayerNames, clip, gate_rows, gate_ways, product_shift
from .rescale import Rescale, rescales
from .values import Value


def gru_view(
    names: LayerNames, layer: QuantizedGru, bounds: LayerBounds, tables: Tables
) -> GruView:
    """Return the view of a GRU layer with the given bounds."""
    k, n = layer.units, slice(2 * layer.units, 3 * layer.units)
    unit, column = f"[{names.macro}_UNITS]", f"[{names.macro}_INPUTS]"
    rows, ways = gate_rows(3, k), gate_ways(layer, bounds, 3)
    apart = layer.reset_after
    limit = int(argument_limit(layer)[n][0])
    inner = rescales([layer.shift_h], [bounds.partial_clamped[n]], [limit])
    frac_h = layer.frac.copy()
    if apart:
        frac_h[n] = layer.frac_h
    gates = tuple(
        Gate(
            name,
            g,
            names.function(layer.cell if name == "n" else layer.gate, tables, layer.g_frac),
            Rescale("none"),
            ways[g],
            QFormat(32, int(layer.argument_frac[g * k])),
            int(bounds.bound[rows[g]].max()),
            clip(layer, tables, g),
        )
        for g, name in enumerate(GRU_GATES)
    )
    of_gates = "those of the gates r, z, n"
    state = Value(QFormat(32, tables.tanh_frac + 1))
    return GruView(
        title=names.title(layer.name),
        c_name=names.c_name,
        macro=names.macro,
        function=f"{names.symbol}_step",
        inputs=layer.inputs,
        units=k,
        x=Value(layer.x),
        h=Value(layer.h),
        c=state,
        wx=names.weights(
            "wx",
            interleave(layer.wx, 3),
            f"{unit}{column}[3]",
            f"weights of x; of each unit and input {of_gates}",
            layer.frac - layer.x.frac - layer.x_shift,
        ),
        wh=names.weights(
            "wh",
            interleave(layer.wh, 3),
            f"{unit}{unit}[3]",
            f"weights of h(t - 1); of each unit and column {of_gates}",
            frac_h - layer.h.frac,
        ),
        bias=names.bias(interleave(layer.bias, 3), f"{unit}[3]", layer.frac),
        shift=names.shift("shift", interleave(layer.shift, 3), f"{unit}[3]", ways),
        bias_h=names.bias(layer.bias_h, unit, layer.frac_h, "bias_h") if apart else None,
        shift_h=names.shift("shift_h", layer.shift_h, unit, inner) if apart else None,
        h0=names.initial("h0", layer.h0, unit, Value(layer.h)),
        c0=names.initial("c0", layer.c0, unit, state),
        x_factor=1 << layer.x_shift,
        gates=gates,
        inner=inner[0] if apart else Rescale("none"),
        inner_bound=int(bounds.partial.max()),
        product_shift=product_shift(layer, tables),
        hidden_shift=tables.tanh_frac - layer.h.frac,
        hidden_limit=layer.h.hi,
    )


def embedding_view(names: LayerNames, layer: QuantizedEmbedding) -> EmbeddingView:
    """Return the view of an embedding."""
    dims = f"[{names.macro}_ENTRIES][{names.macro}_OUTPUTS]"
    frac = np.array([layer.y.frac])
    return EmbeddingView(
        title=names.title(layer.name),
        c_name=names.c_name,
        macro=names.macro,
        function=f"{names.symbol}_step",
        x=Value(layer.x),
        y=Value(layer.y),
        entries=layer.entries,
        rows=layer.width,
        table=names.weights("table", layer.table, dims, "rows of values", frac),
    )
