"""The names of a layer in C, and the arrays and functions that bear them."""

from dataclasses import dataclass

from ..bounds import LayerBounds, argument_limit
from ..qformat import IntArray, QFormat
from ..quantized import Tables
from ..quantized_layers import QuantizedRecurrent
from .ctext import comment_text
from .layers import Function
from .layout import storage_bits
from .rescale import Rescale, rescales, shift_table
from .values import Array, Value


@dataclass(frozen=True)
class LayerNames:
    """The names of one layer in C, and what bears them."""

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

    def function(
        self, name: str, tables: Tables, frac: int, of_cell: bool = False
    ) -> Function:
        """Return what a gate, a candidate or (of_cell) a cell state goes through."""
        if name in ("relu", "linear"):
            return Function(None, tables.tanh_frac - frac, 0 if name == "relu" else -32767)
        return Function(f"{self.prefix}_{name}", halved=of_cell and name == "sigmoid")

    def weights(
        self, suffix: str, values: IntArray, dims: str, what: str, frac: IntArray
    ) -> Array:
        """Return an array of weights."""
        symbol = f"{self.symbol}_{suffix}"
        bits = storage_bits(symbol, values)
        return Array(symbol, bits, dims, values, f"{self.c_name}: {what}", formats(bits, frac))

    def bias(
        self, values: IntArray, dims: str, frac: IntArray, suffix: str = "bias"
    ) -> Array:
        """Return an array of biases."""
        inner = " of the sums over h" if suffix == "bias_h" else ""
        what = f"{self.c_name}: biases{inner}, the rounding of rule N4 added"
        return Array(f"{self.symbol}_{suffix}", 32, dims, values, what, formats(32, frac))

    def shift(
        self, suffix: str, values: IntArray, dims: str, ways: tuple[Rescale, ...]
    ) -> Array | None:
        """Return the table of shifts, None where all are constants."""
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

    def initial(self, suffix: str, values: IntArray, dims: str, value: Value) -> Array | None:
        """Return an array of initial values, None where all are 0."""
        if not values.any():
            return None
        what = f"{self.c_name}: initial {suffix[0]}"
        bits, text = value.format.storage_bits, str(value.format)
        return Array(f"{self.symbol}_{suffix}", bits, dims, values, what, text)


def gate_rows(gates: int, units: int) -> list[slice]:
    """Return the rows of each gate."""
    return [slice(g * units, (g + 1) * units) for g in range(gates)]


def gate_ways(
    layer: QuantizedRecurrent, bounds: LayerBounds, gates: int
) -> tuple[Rescale, ...]:
    """Return the rescaling of each gate's rows."""
    rows = gate_rows(gates, layer.units)
    limit = argument_limit(layer)
    limits = [int(limit[r][0]) for r in rows]
    return rescales([layer.shift[r] for r in rows], [bounds.clamped[r] for r in rows], limits)


def clip(layer: QuantizedRecurrent, tables: Tables, gate: int) -> int | None:
    """Return the limit of a gate's pre-activations, at their own fraction bits."""
    if layer.clip is None:
        return None
    return layer.clip << (int(layer.argument_frac[gate * layer.units]) - tables.sigmoid_frac)


def product_shift(layer: QuantizedRecurrent, tables: Tables) -> int:
    """Return the k of rule N6: from gate times candidate to the cell state's fraction bits."""
    return tables.product_shift - (15 - layer.g_frac)


def formats(bits: int, frac: IntArray) -> str:
    """Return the format of rows as text, the span of them where they differ."""
    lo, hi = QFormat(bits, int(frac.min())), QFormat(bits, int(frac.max()))
    return str(lo) if lo == hi else f"{lo} to {hi} by row"
