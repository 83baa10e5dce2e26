"""From the integers of a layer to its view: which C it gets is decided here.

How an accumulator is rescaled and where a value has to be clamped follows from the shifts and
from the proved bounds.
"""

from dataclasses import dataclass

import numpy as np

from ..bounds import LayerBounds, argument_limit
from ..layers import GATES, GRU_GATES
from ..qformat import IntArray, QFormat
from ..quantized import Tables
from ..quantized_layers import (
    QuantizedDense,
    QuantizedEmbedding,
    QuantizedGru,
    QuantizedLstm,
    QuantizedRecurrent,
)
from .ctext import comment_text
from .gru import GruView
from .kernels import Choice
from .layers import DenseView, EmbeddingView, Function, Gate, LstmView
from .layout import interleave, storage_bits
from .rescale import Rescale, rescales, shift_table
from .values import Array, Value


@dataclass(frozen=True)
class LayerNames:
    """The names of one layer in C, and the views that bear them."""

    prefix: str
    c_name: str

    @property
    def symbol(self) -> str:
        """What the layer's functions and constants start with."""
        return f"{self.prefix}_{self.c_name}"

    @property
    def macro(self) -> str:
        """What the layer's macros start with."""
        return self.symbol.upper()

    def title(self, name: str) -> str:
        """Return the layer's name in C, and that in the model where C cannot spell it."""
        return self.c_name if name == self.c_name else f"{self.c_name} ({comment_text(name)})"

    def lstm(
        self,
        layer: QuantizedLstm,
        bounds: LayerBounds,
        tables: Tables,
        choice: Choice,
        projection: DenseView | None = None,
    ) -> LstmView:
        """Return the view of an LSTM layer with the given bounds, kernel and projection."""
        k = layer.units
        unit, column = f"[{self.macro}_UNITS]", f"[{self.macro}_INPUTS]"
        hidden = unit if layer.projection is None else f"[{self.macro}_OUTPUTS]"
        rows = _gate_rows(4, k)
        ways = _gate_ways(layer, bounds, 4)
        never = np.zeros(k, np.bool_)
        mids = rescales([layer.mid_shift[r] for r in rows], [never] * 4)
        looks = {} if layer.peephole is None else {"i": 0, "f": 1, "o": 2}
        gates = tuple(
            Gate(
                name,
                g,
                self._function(layer.cell if name == "g" else layer.gate, tables, layer.g_frac),
                mids[g],
                ways[g],
                QFormat(32, int(layer.argument_frac[g * k])),
                int(bounds.bound[rows[g]].max()),
                _clip(layer, tables, g),
                looks.get(name),
            )
            for g, name in enumerate(GATES)
        )
        made_bits = layer.h.bits if layer.projection is None else 16
        return LstmView(
            title=self.title(layer.name),
            c_name=self.c_name,
            macro=self.macro,
            function=f"{self.symbol}_step",
            inputs=layer.inputs,
            units=k,
            x=Value(layer.x),
            h=Value(layer.h),
            c=Value(QFormat(32, tables.tanh_frac + 1)),
            wx=self._weights(
                "wx",
                interleave(layer.wx),
                f"{unit}{column}[4]",
                "weights of x; of each unit and input those of the gates i, f, g, o",
                layer.frac - layer.x.frac - layer.x_shift,
            ),
            wh=self._weights(
                "wh",
                interleave(layer.wh),
                f"{unit}{hidden}[4]",
                "weights of h(t - 1); of each unit and column those of the gates i, f, g, o",
                layer.frac + layer.mid_shift - layer.h.frac,
            ),
            bias=self._bias(interleave(layer.bias), f"{unit}[4]", layer.frac + layer.mid_shift),
            shift=self._shift("shift", interleave(layer.shift), f"{unit}[4]", ways),
            mid=self._shift("mid", interleave(layer.mid_shift), f"{unit}[4]", mids),
            h0=self._initial("h0", layer.h0, hidden, Value(layer.h)),
            c0=self._initial("c0", layer.c0, unit, Value(QFormat(32, tables.tanh_frac + 1))),
            x_factor=1 << layer.x_shift,
            gates=gates,
            hidden_rounding=1 << (30 - made_bits),
            hidden_shift=31 - made_bits,
            hidden_limit=127 if made_bits == 8 else None,
            output=self._function(layer.output, tables, layer.y_frac, of_cell=True),
            product_shift=None if layer.g_frac == 15 else _product_shift(layer, tables),
            cell_limit=layer.cell_limit,
            peephole=self._peephole(layer, unit),
            peephole_shift=layer.peephole_shift,
            g_frac=layer.g_frac,
            projection=projection,
            kernel=choice.kernel,
            why=choice.reason,
            streams=self._streams(choice),
        )

    def gru(self, layer: QuantizedGru, bounds: LayerBounds, tables: Tables) -> GruView:
        """Return the view of a GRU layer with the given bounds."""
        k, n = layer.units, slice(2 * layer.units, 3 * layer.units)
        unit, column = f"[{self.macro}_UNITS]", f"[{self.macro}_INPUTS]"
        rows, ways = _gate_rows(3, k), _gate_ways(layer, bounds, 3)
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
                self._function(layer.cell if name == "n" else layer.gate, tables, layer.g_frac),
                Rescale("none"),
                ways[g],
                QFormat(32, int(layer.argument_frac[g * k])),
                int(bounds.bound[rows[g]].max()),
                _clip(layer, tables, g),
            )
            for g, name in enumerate(GRU_GATES)
        )
        of_gates = "those of the gates r, z, n"
        state = Value(QFormat(32, tables.tanh_frac + 1))
        return GruView(
            title=self.title(layer.name),
            c_name=self.c_name,
            macro=self.macro,
            function=f"{self.symbol}_step",
            inputs=layer.inputs,
            units=k,
            x=Value(layer.x),
            h=Value(layer.h),
            c=state,
            wx=self._weights(
                "wx",
                interleave(layer.wx, 3),
                f"{unit}{column}[3]",
                f"weights of x; of each unit and input {of_gates}",
                layer.frac - layer.x.frac - layer.x_shift,
            ),
            wh=self._weights(
                "wh",
                interleave(layer.wh, 3),
                f"{unit}{unit}[3]",
                f"weights of h(t - 1); of each unit and column {of_gates}",
                frac_h - layer.h.frac,
            ),
            bias=self._bias(interleave(layer.bias, 3), f"{unit}[3]", layer.frac),
            shift=self._shift("shift", interleave(layer.shift, 3), f"{unit}[3]", ways),
            bias_h=self._bias(layer.bias_h, unit, layer.frac_h, "bias_h") if apart else None,
            shift_h=self._shift("shift_h", layer.shift_h, unit, inner) if apart else None,
            h0=self._initial("h0", layer.h0, unit, Value(layer.h)),
            c0=self._initial("c0", layer.c0, unit, state),
            x_factor=1 << layer.x_shift,
            gates=gates,
            inner=inner[0] if apart else Rescale("none"),
            inner_bound=int(bounds.partial.max()),
            product_shift=_product_shift(layer, tables),
            hidden_shift=tables.tanh_frac - layer.h.frac,
            hidden_limit=layer.h.hi,
        )

    def embedding(self, layer: QuantizedEmbedding) -> EmbeddingView:
        """Return the view of an embedding."""
        dims = f"[{self.macro}_ENTRIES][{self.macro}_OUTPUTS]"
        frac = np.array([layer.y.frac])
        return EmbeddingView(
            title=self.title(layer.name),
            c_name=self.c_name,
            macro=self.macro,
            function=f"{self.symbol}_step",
            x=Value(layer.x),
            y=Value(layer.y),
            entries=layer.entries,
            rows=layer.width,
            table=self._weights("table", layer.table, dims, "rows of values", frac),
        )

    def _function(
        self, name: str, tables: Tables, frac: int, of_cell: bool = False
    ) -> Function:
        """Return what a gate, a candidate or (of_cell) a cell state goes through."""
        if name in ("relu", "linear"):
            return Function(None, tables.tanh_frac - frac, 0 if name == "relu" else -32767)
        return Function(f"{self.prefix}_{name}", halved=of_cell and name == "sigmoid")

    def _peephole(self, layer: QuantizedLstm, unit: str) -> Array | None:
        if layer.peephole is None:
            return None
        frac = np.array([14 - layer.peephole_shift])
        values = layer.peephole.T
        return self._weights("peephole", values, f"{unit}[3]", "peepholes of i, f, o", frac)

    def dense(self, layer: QuantizedDense, bounds: LayerBounds, choice: Choice) -> DenseView:
        """Return the view of a dense layer with the given bounds and kernel."""
        row, column = f"[{self.macro}_OUTPUTS]", f"[{self.macro}_INPUTS]"
        ways = rescales([layer.shift], [bounds.clamped], [int(argument_limit(layer)[0])])
        low, high = _output_clamp(layer, bounds.bound)
        return DenseView(
            title=self.title(layer.name),
            c_name=self.c_name,
            macro=self.macro,
            function=f"{self.symbol}_step",
            activation=layer.activation,
            inputs=layer.inputs,
            rows=layer.rows,
            outputs="1" if layer.activation == "argmax" else f"{self.macro}_OUTPUTS",
            x=Value(layer.x),
            y=Value(layer.y),
            w=self._weights("w", layer.w, f"{row}{column}", "weights", layer.frac - layer.x.frac),
            bias=self._bias(layer.bias, row, layer.frac),
            shift=self._shift("shift", layer.shift, row, ways),
            rescale=ways[0],
            argument=_formats(32, layer.argument_frac),
            low=low,
            high=high,
            table={
                "sigmoid": f"{self.prefix}_sigmoid",
                "tanh": f"{self.prefix}_tanh",
                "softmax": f"{self.prefix}_exp2",
            }.get(layer.activation),
            bound=int(bounds.bound.max()),
            skip=self._skip(layer, row),
            skip_x=None if layer.skip_x is None else Value(layer.skip_x),
            kernel=choice.kernel,
            why=choice.reason,
            streams=self._streams(choice),
        )

    def _streams(self, choice: Choice) -> tuple[Array, ...]:
        kernel = choice.kernel
        if kernel is None:
            return ()
        arrays = kernel.arrays
        what = f"{self.c_name}: what the kernel ({kernel.name}) reads, from front to back"
        return tuple(
            Array(
                f"{self.symbol}_stream{number if number > 1 else ''}",
                kernel.stream_bits,
                f"[{words.size}]",
                words.ravel(),
                f"{what}, part {number} of {len(arrays)}" if arrays[1:] else what,
                "Start values, weights, shifts",
                far=kernel.far,
            )
            for number, words in enumerate(arrays, 1)
        )

    def _skip(self, layer: QuantizedDense, row: str) -> Array | None:
        if layer.skip is None or layer.skip_x is None:
            return None
        dims = f"{row}[{layer.skip.shape[1]}]"
        what = "weights of the network's own input"
        return self._weights("skip", layer.skip, dims, what, layer.frac - layer.skip_x.frac)

    def _weights(
        self, suffix: str, values: IntArray, dims: str, what: str, frac: IntArray
    ) -> Array:
        symbol = f"{self.symbol}_{suffix}"
        bits = storage_bits(symbol, values)
        return Array(symbol, bits, dims, values, f"{self.c_name}: {what}", _formats(bits, frac))

    def _bias(
        self, values: IntArray, dims: str, frac: IntArray, suffix: str = "bias"
    ) -> Array:
        inner = " of the sums over h" if suffix == "bias_h" else ""
        what = f"{self.c_name}: biases{inner}, the rounding of rule N4 added"
        return Array(f"{self.symbol}_{suffix}", 32, dims, values, what, _formats(32, frac))

    def _shift(
        self, suffix: str, values: IntArray, dims: str, ways: tuple[Rescale, ...]
    ) -> Array | None:
        table = shift_table(values, ways)
        if table is None:
            return None
        what = {
            "shift": "the accumulators (rule N4)",
            "mid": "the sums over h (rule N3b)",
            "shift_h": "the sums over h of n (rules N4 and N14)",
        }
        symbol = f"{self.symbol}_{suffix}"
        text = f"{self.c_name}: shifts of {what[suffix]}"
        return Array(symbol, 8, dims, table.values, text, table.meaning, unsigned=not table.signed)

    def _initial(self, suffix: str, values: IntArray, dims: str, value: Value) -> Array | None:
        if not values.any():
            return None
        what = f"{self.c_name}: initial {suffix[0]}"
        bits, text = value.format.storage_bits, str(value.format)
        return Array(f"{self.symbol}_{suffix}", bits, dims, values, what, text)


def _gate_rows(gates: int, units: int) -> list[slice]:
    return [slice(g * units, (g + 1) * units) for g in range(gates)]


def _gate_ways(
    layer: QuantizedRecurrent, bounds: LayerBounds, gates: int
) -> tuple[Rescale, ...]:
    """Return the rescaling of each gate's rows."""
    rows = _gate_rows(gates, layer.units)
    limit = argument_limit(layer)
    limits = [int(limit[r][0]) for r in rows]
    return rescales([layer.shift[r] for r in rows], [bounds.clamped[r] for r in rows], limits)


def _clip(layer: QuantizedRecurrent, tables: Tables, gate: int) -> int | None:
    """Return the limit of a gate's pre-activations, at their own fraction bits."""
    if layer.clip is None:
        return None
    return layer.clip << (int(layer.argument_frac[gate * layer.units]) - tables.sigmoid_frac)


def _product_shift(layer: QuantizedRecurrent, tables: Tables) -> int:
    """Return the k of rule N6: from gate times candidate to the cell state's fraction bits."""
    return tables.product_shift - (15 - layer.g_frac)


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


def _formats(bits: int, frac: IntArray) -> str:
    lo, hi = QFormat(bits, int(frac.min())), QFormat(bits, int(frac.max()))
    return str(lo) if lo == hi else f"{lo} to {hi} by row"
