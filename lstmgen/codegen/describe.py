"""From the integers of a layer to its view: which C it gets is decided here.

How an accumulator is rescaled and where a value has to be clamped follows from the shifts and
from the proved bounds.
"""

from dataclasses import dataclass

import numpy as np

from ..bounds import LayerBounds, argument_limit
from ..layers import GATES
from ..qformat import IntArray, QFormat
from ..quantized import QuantizedDense, QuantizedLstm, Tables
from .ctext import comment_text
from .kernels import Choice
from .layers import DenseView, Gate, LstmView
from .layout import pack_lstm, storage_bits
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
        self, layer: QuantizedLstm, bounds: LayerBounds, tables: Tables, choice: Choice
    ) -> LstmView:
        """Return the view of an LSTM layer with the given bounds and kernel."""
        k = layer.units
        packed = pack_lstm(layer)
        unit, column = f"[{self.macro}_UNITS]", f"[{self.macro}_INPUTS]"
        rows = [slice(g * k, (g + 1) * k) for g in range(4)]
        ways = rescales([layer.shift[r] for r in rows], [bounds.clamped[r] for r in rows])
        never = np.zeros(k, np.bool_)
        mids = rescales([layer.mid_shift[r] for r in rows], [never] * 4)
        gates = tuple(
            Gate(
                name,
                g,
                f"{self.prefix}_{'tanh' if name == 'g' else 'sigmoid'}",
                mids[g],
                ways[g],
                QFormat(32, int(layer.argument_frac[g * k])),
                int(bounds.bound[rows[g]].max()),
            )
            for g, name in enumerate(GATES)
        )
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
                packed.wx,
                f"{unit}{column}[4]",
                "weights of x; of each unit and input those of the gates i, f, g, o",
                layer.frac - layer.x.frac - layer.x_shift,
            ),
            wh=self._weights(
                "wh",
                packed.wh,
                f"{unit}{unit}[4]",
                "weights of h(t - 1); of each unit and column those of the gates i, f, g, o",
                layer.frac + layer.mid_shift - layer.h.frac,
            ),
            bias=self._bias(packed.bias, f"{unit}[4]", layer.frac + layer.mid_shift),
            shift=self._shift("shift", packed.shift, f"{unit}[4]", ways),
            mid=self._shift("mid", packed.mid_shift, f"{unit}[4]", mids),
            h0=self._initial("h0", layer.h0, unit, Value(layer.h)),
            c0=self._initial("c0", layer.c0, unit, Value(QFormat(32, tables.tanh_frac + 1))),
            x_factor=1 << layer.x_shift,
            gates=gates,
            hidden_rounding=1 << (29 - layer.h.frac),
            hidden_shift=30 - layer.h.frac,
            hidden_limit=layer.h.hi if layer.h.bits < 16 else None,
            kernel=choice.kernel,
            why=choice.reason,
            streams=self._streams(choice),
        )

    def dense(self, layer: QuantizedDense, bounds: LayerBounds, choice: Choice) -> DenseView:
        """Return the view of a dense layer with the given bounds and kernel."""
        row, column = f"[{self.macro}_OUTPUTS]", f"[{self.macro}_INPUTS]"
        ways = rescales([layer.shift], [bounds.clamped], argument_limit(layer))
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

    def _weights(
        self, suffix: str, values: IntArray, dims: str, what: str, frac: IntArray
    ) -> Array:
        symbol = f"{self.symbol}_{suffix}"
        bits = storage_bits(symbol, values)
        return Array(symbol, bits, dims, values, f"{self.c_name}: {what}", _formats(bits, frac))

    def _bias(self, values: IntArray, dims: str, frac: IntArray) -> Array:
        what = f"{self.c_name}: biases, the rounding of rule N4 added"
        return Array(f"{self.symbol}_bias", 32, dims, values, what, _formats(32, frac))

    def _shift(
        self, suffix: str, values: IntArray, dims: str, ways: tuple[Rescale, ...]
    ) -> Array | None:
        table = shift_table(values, ways)
        if table is None:
            return None
        what = {"shift": "the accumulators (rule N4)", "mid": "the sums over h (rule N3b)"}
        symbol = f"{self.symbol}_{suffix}"
        text = f"{self.c_name}: shifts of {what[suffix]}"
        return Array(symbol, 8, dims, table.values, text, table.meaning, unsigned=not table.signed)

    def _initial(self, suffix: str, values: IntArray, dims: str, value: Value) -> Array | None:
        if not values.any():
            return None
        what = f"{self.c_name}: initial {suffix[0]}"
        bits, text = value.format.storage_bits, str(value.format)
        return Array(f"{self.symbol}_{suffix}", bits, dims, values, what, text)


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
