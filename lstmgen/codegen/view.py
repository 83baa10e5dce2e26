"""Every value that a template prints, decided and computed here; templates only print.

A view is made of frozen values: names, types, sizes, shifts and constants, formats and
bounds as text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from .. import __version__
from ..bounds import bound_table, check
from ..network import Outputs
from ..qformat import IntArray
from ..quantized import (
    NUMERICS_VERSION,
    Precision,
    QuantizedDense,
    QuantizedLstm,
    QuantizedNetwork,
)
from .ctext import call, check_name, comment_text, unique_names
from .describe import LayerNames
from .kernels import Effort, choose, choose_dense
from .layers import DenseView, LayerView, LstmView
from .layout.tables import lines
from .values import Array, Value


@dataclass(frozen=True)
class Buffer:
    """A local array that carries a dense layer's values to the next layer."""

    type: str
    name: str
    size: str


@dataclass(frozen=True)
class Part:
    """A run of layers: the local arrays it needs and the calls, as C statements."""

    buffers: tuple[Buffer, ...]
    calls: tuple[str, ...]


@dataclass(frozen=True)
class ModelView:
    """A whole network as its templates see it.

    advance: the layers up to the last LSTM; head: those behind it (empty if there are none).
    copied_h: where LSTM values are the output, the expression that head copies from.
    line_tables: whether the tables of activations are lines (layout/tables.py).
    """

    name: str
    prefix: str
    version: str
    numerics: int
    digest: str
    precision: Precision
    outputs_mode: Outputs
    inputs: int
    outputs: int
    x: Value
    y: Value
    tables: tuple[Array, ...]
    line_tables: bool
    half_table: int
    product_rounding: int
    product_shift: int
    layers: tuple[LayerView, ...]
    advance: Part
    head: Part
    copied_h: str | None
    macs: int
    notes: tuple[str, ...]

    @property
    def PREFIX(self) -> str:  # noqa: N802 - named after what it prints: the prefix in capitals
        """The prefix of macros."""
        return self.prefix.upper()

    @property
    def state_layers(self) -> tuple[LstmView, ...]:
        """The layers that have a state, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, LstmView))

    @property
    def hidden_fields(self) -> tuple[LstmView, ...]:
        """The same layers, widest hidden state first, which leaves no gaps in the struct."""
        return tuple(sorted(self.state_layers, key=lambda layer: -layer.h.format.storage_bits))

    @property
    def state_values(self) -> int:
        """The number of values that h and C of all layers have together."""
        return sum(2 * layer.units for layer in self.state_layers)

    @property
    def state_padding(self) -> int:
        """Bytes that fill the struct to a multiple of 4 on every machine."""
        return -self._state_used % 4

    @property
    def state_bytes(self) -> int:
        """The size of the state."""
        return self._state_used + self.state_padding

    @property
    def _state_used(self) -> int:
        cell = sum(4 * layer.units for layer in self.state_layers)
        hidden = sum(layer.units * layer.h.format.storage_bits // 8 for layer in self.state_layers)
        return cell + hidden

    @property
    def argmax(self) -> bool:
        """Whether the output is a class number."""
        last = self.layers[-1]
        return isinstance(last, DenseView) and last.activation == "argmax"

    @property
    def sequence(self) -> bool:
        """Whether run() gives the values of every step."""
        return self.outputs_mode == "sequence"

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants but the tables."""
        return sum(array.bytes for layer in self.layers for array in layer.arrays)

    @property
    def near_bytes(self) -> int:
        """Bytes of the constants that C's pointers have to reach."""
        arrays = (array for layer in self.layers for array in layer.arrays)
        return self.table_bytes + sum(array.bytes for array in arrays if not array.far)

    @property
    def far(self) -> bool:
        """Whether there are constants that they need not reach."""
        return any(array.far for layer in self.layers for array in layer.arrays)

    @property
    def table_bytes(self) -> int:
        """Bytes of the activation tables."""
        return sum(table.bytes for table in self.tables)

    @cached_property
    def helpers(self) -> frozenset[str]:
        """The functions that some layer calls; no others are emitted."""
        called = frozenset[str]().union(*(layer.helpers for layer in self.layers))
        if not self.line_tables or "activate" not in called:
            return called
        called = called - {"activate"} | {"activate_line"}
        return called if self.softmax else called - {"interpolate"}

    @property
    def softmax(self) -> bool:
        """Whether the output is a softmax's."""
        last = self.layers[-1]
        return isinstance(last, DenseView) and last.activation == "softmax"

    @property
    def line_origin(self) -> int:
        """What V plus this is: how far from the first V of line tables, and one (rule N5)."""
        return (self.half_table << 15) + 1

    @property
    def assembly_layers(self) -> tuple[LayerView, ...]:
        """The layers that have a kernel in assembly, in order."""
        return tuple(
            layer for layer in self.layers if layer.kernel is not None and not layer.kernel.in_c
        )

    @property
    def output_kernel(self) -> LstmView | None:
        """The last layer, if its h is the output and its kernel copies that."""
        last = self.layers[-1]
        if not isinstance(last, LstmView) or last.kernel is None or not last.kernel.copies_output:
            return None
        return last

    @property
    def initial_state(self) -> bool:
        """Whether some layer starts from values other than zero."""
        return any(layer.h0 or layer.c0 for layer in self.state_layers)


def model_view(
    q: QuantizedNetwork, name: str, isa: str = "portable", effort: Effort = "speed"
) -> ModelView:
    """Return the view of `q` under the C name `name`, with the kernels of an instruction set.

    Raises LstmgenError for a bad name, RangeError for integers that are not proved.
    """
    check(q)
    prefix = check_name(name)
    h_at = 0
    c_names = unique_names([layer.name for layer in q.layers])
    layers: list[LayerView] = []
    for layer, c_name, bounds in zip(q.layers, c_names, bound_table(q), strict=True):
        if isinstance(layer, QuantizedLstm):
            choice = choose(isa, layer, bounds, q.tables, effort, h_at % 4 == 0)
            h_at += layer.units * layer.h.storage_bits // 8
            layers.append(LayerNames(prefix, c_name).lstm(layer, bounds, q.tables, choice))
        else:
            choice = choose_dense(isa, layer, bounds, effort)
            layers.append(LayerNames(prefix, c_name).dense(layer, bounds, choice))
    behind = max(i for i, layer in enumerate(layers) if isinstance(layer, LstmView)) + 1
    last = layers[behind - 1]
    assert isinstance(last, LstmView)
    line_tables = any(layer.kernel is not None and layer.kernel.line_tables for layer in layers)
    return ModelView(
        name=comment_text(q.name),
        prefix=prefix,
        version=__version__,
        numerics=NUMERICS_VERSION,
        digest=q.digest(),
        precision=q.precision,
        outputs_mode=q.outputs,
        inputs=q.inputs,
        outputs=q.width,
        x=Value(q.x),
        y=Value(q.y),
        tables=tuple(_tables(prefix, q, line_tables)),
        line_tables=line_tables,
        half_table=1 << (q.tables.bits - 1),
        product_rounding=1 << q.tables.product_shift,
        product_shift=q.tables.product_shift,
        layers=tuple(layers),
        advance=_part(layers[:behind], "x", None),
        head=_part(layers[behind:], f"state->{last.h_field}", "y"),
        copied_h=None if layers[behind:] else f"state->{last.h_field}",
        macs=q.macs_per_step,
        notes=tuple(comment_text(note) for note in q.notes),
    )


def _part(layers: list[LayerView], source: str, output: str | None) -> Part:
    """Return the calls that take `source` through `layers`, the last writing to `output`."""
    buffers, calls = [], []
    for layer in layers:
        if isinstance(layer, LstmView):
            h, c = f"state->{layer.h_field}", f"state->{layer.c_field}"
            calls.append(call(layer.function, [source, h, c]))
            source = h
        else:
            target = output if output and layer is layers[-1] else f"{layer.c_name}_y"
            if target != output:
                buffers.append(Buffer(layer.y.type, target, f"{layer.macro}_OUTPUTS"))
            calls.append(call(layer.function, [source, target]))
            source = target
    return Part(tuple(buffers), tuple(calls))


def _tables(prefix: str, q: QuantizedNetwork, as_lines: bool) -> Iterator[Array]:
    words = "Pairs of twice the slope and the value "
    edge = words + "at the even edge"
    first = words + "that the line has at the first of all segments, modulo 2^16"
    last = q.layers[-1]
    for name, table, what in (
        ("sigmoid", q.tables.sigmoid, "Sigmoid of -16 .. 16"),
        ("tanh", q.tables.tanh, "Hyperbolic tangent of -8 .. 8"),
    ):
        text = f"{what} in {len(table)} segments (rule N5)"
        rows, where = (lines(table), first) if as_lines else (table, edge)
        yield _table(f"{prefix}_{name}", rows, text, f"{where}, Q0.15")
    if isinstance(last, QuantizedDense) and last.activation == "softmax":
        text = f"2^x of 0 .. 1 in {len(q.tables.exp2)} segments (rule N10)"
        yield _table(f"{prefix}_exp2", q.tables.exp2, text, f"{edge}, Q1.14")


def _table(symbol: str, rows: IntArray, what: str, format_: str) -> Array:
    return Array(symbol, 16, f"[{len(rows)}][2]", rows, what, format_)
