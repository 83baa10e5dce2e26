"""From the integers of a layer to its view: which C it gets is decided here.

How an accumulator is rescaled and where a value has to be clamped follows from the shifts and
from the proved bounds.
"""


import numpy as np

from ..bounds import LayerBounds, argument_limit
from ..layers import GATES
from ..qformat import IntArray, QFormat
from ..quantized import Tables
from ..quantized_layers import (
    QuantizedDense,
    QuantizedLstm,
)
from .kernels import Choice
from .layers import DenseView, Gate, LstmView
from .layout import interleave
from .names import LayerNames, clip, formats, gate_rows, gate_ways, product_shift
from .rescale import rescales
from .values import Array, Value


def lstm_view(
    names: LayerNames,
    layer: QuantizedLstm,
    bounds: LayerBounds,
    tables: Tables,
    choice: Choice,
    projection: DenseView | None = None,
) -> LstmView:
    """Return the view of an LSTM layer with the given bounds, kernel and projection."""
    k = layer.units
    unit, column = f"[{names.macro}_UNITS]", f"[{names.macro}_INPUTS]"
    hidden = unit if layer.projection is None else f"[{names.macro}_OUTPUTS]"
    rows = gate_rows(4, k)
    ways = gate_ways(layer, bounds, 4)
    never = np.zeros(k, np.bool_)
    mids = rescales([layer.mid_shift[r] for r in rows], [never] * 4)
    looks = {} if layer.peephole is None else {"i": 0, "f": 1, "o": 2}
    gates = tuple(
        Gate(
            name,
            g,
            names.function(layer.cell if name == "g" else layer.gate, tables, layer.g_frac),
            mids[g],
            ways[g],
            QFormat(32, int(layer.argument_frac[g * k])),
            int(bounds.bound[rows[g]].max()),
            clip(layer, tables, g),
            looks.get(name),
        )
        for g, name in enumerate(GATES)
    )
    made_bits = layer.h.bits if layer.projection is None else 16
    return LstmView(
        title=names.title(layer.name),
        c_name=names.c_name,
        macro=names.macro,
        function=f"{names.symbol}_step",
        inputs=layer.inputs,
        units=k,
        x=Value(layer.x),
        h=Value(layer.h),
        c=Value(QFormat(32, tables.tanh_frac + 1)),
        wx=names.weights(
            "wx",
            interleave(layer.wx),
            f"{unit}{column}[4]",
            "weights of x; of each unit and input those of the gates i, f, g, o",
            layer.frac - layer.x.frac - layer.x_shift,
        ),
        wh=names.weights(
            "wh",
            interleave(layer.wh),
            f"{unit}{hidden}[4]",
            "weights of h(t - 1); of each unit and column those of the gates i, f, g, o",
            layer.frac + layer.mid_shift - layer.h.frac,
        ),
        bias=names.bias(interleave(layer.bias), f"{unit}[4]", layer.frac + layer.mid_shift),
        shift=names.shift("shift", interleave(layer.shift), f"{unit}[4]", ways),
        mid=names.shift("mid", interleave(layer.mid_shift), f"{unit}[4]", mids),
        h0=names.initial("h0", layer.h0, hidden, Value(layer.h)),
        c0=names.initial("c0", layer.c0, unit, Value(QFormat(32, tables.tanh_frac + 1))),
        x_factor=1 << layer.x_shift,
        gates=gates,
        hidden_rounding=1 << (30 - made_bits),
        hidden_shift=31 - made_bits,
        hidden_limit=127 if made_bits == 8 else None,
        output=names.function(layer.output, tables, layer.y_frac, of_cell=True),
        product_shift=None if layer.g_frac == 15 else product_shift(layer, tables),
        cell_limit=layer.cell_limit,
        peephole=_peephole(names, layer, unit),
        peephole_shift=layer.peephole_shift,
        g_frac=layer.g_frac,
        projection=projection,
        kernel=choice.kernel,
        why=choice.reason,
        streams=_streams(names, choice),
    )


def _peephole(names: LayerNames, layer: QuantizedLstm, unit: str) -> Array | None:
    if layer.peephole is None:
        return None
    frac = np.array([14 - layer.peephole_shift])
    values = layer.peephole.T
    return names.weights("peephole", values, f"{unit}[3]", "peepholes of i, f, o", frac)


def dense_view(
    names: LayerNames, layer: QuantizedDense, bounds: LayerBounds, choice: Choice
) -> DenseView:
    """Return the view of a dense layer with the given bounds and kernel."""
    row, column = f"[{names.macro}_OUTPUTS]", f"[{names.macro}_INPUTS]"
    ways = rescales([layer.shift], [bounds.clamped], [int(argument_limit(layer)[0])])
    low, high = _output_clamp(layer, bounds.bound)
    return DenseView(
        title=names.title(layer.name),
        c_name=names.c_name,
        macro=names.macro,
        function=f"{names.symbol}_step",
        activation=layer.activation,
        inputs=layer.inputs,
        rows=layer.rows,
        outputs="1" if layer.activation == "argmax" else f"{names.macro}_OUTPUTS",
        x=Value(layer.x),
        y=Value(layer.y),
        w=names.weights("w", layer.w, f"{row}{column}", "weights", layer.frac - layer.x.frac),
        bias=names.bias(layer.bias, row, layer.frac),
        shift=names.shift("shift", layer.shift, row, ways),
        rescale=ways[0],
        argument=formats(32, layer.argument_frac),
        low=low,
        high=high,
        table={
            "sigmoid": f"{names.prefix}_sigmoid",
            "tanh": f"{names.prefix}_tanh",
            "softmax": f"{names.prefix}_exp2",
        }.get(layer.activation),
        bound=int(bounds.bound.max()),
        skip=_skip(names, layer, row),
        skip_x=None if layer.skip_x is None else Value(layer.skip_x),
        kernel=choice.kernel,
        why=choice.reason,
        streams=_streams(names, choice),
    )


def _streams(names: LayerNames, choice: Choice) -> tuple[Array, ...]:
    kernel = choice.kernel
    if kernel is None:
        return ()
    arrays = kernel.arrays
    what = f"{names.c_name}: what the kernel ({kernel.name}) reads, from front to back"
    return tuple(
        Array(
            f"{names.symbol}_stream{number if number > 1 else ''}",
            kernel.stream_bits,
            f"[{words.size}]",
            words.ravel(),
            f"{what}, part {number} of {len(arrays)}" if arrays[1:] else what,
            "Start values, weights, shifts",
            far=kernel.far,
        )
        for number, words in enumerate(arrays, 1)
    )


def _skip(names: LayerNames, layer: QuantizedDense, row: str) -> Array | None:
    if layer.skip is None or layer.skip_x is None:
        return None
    dims = f"{row}[{layer.skip.shape[1]}]"
    what = "weights of the network's own input"
    return names.weights("skip", layer.skip, dims, what, layer.frac - layer.skip_x.frac)


def _output_clamp(layer: QuantizedDense, bound: IntArray) -> tuple[int | None, int | None]:
    """Return the limits that V is forced into to become y; None where it cannot pass them."""
    if layer.activation not in ("linear", "relu"):
        return None, None
    right, left = np.clip(layer.shift, 0, None), np.clip(-layer.shift, 0, None)
    # Python integers: a left shift may pass 2**63 where N4 clamps.
    reach = max(
        ((int(b) >> int(r)) + bool(r)) << int(left_by)
        for b, r, left_by in zip(bound, right, left, strict=True)
    )
    if reach <= layer.y.hi or layer.y.bits == 32:
        return (0 if layer.activation == "relu" else None), None
    return (0 if layer.activation == "relu" else layer.y.lo), layer.y.hi
