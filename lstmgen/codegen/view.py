"""Every value that a template prints, decided and computed here; templates only print.

A view is made of frozen values: names, types, sizes, shifts and constants, formats and
bounds as text.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from .. import __version__
from ..bounds import bound_table
from ..network import Outputs
from ..preconditions import check
from ..qformat import IntArray
from ..quantized import NUMERICS_VERSION, Precision, QuantizedNetwork
from ..quantized_layers import (
    QuantizedBidirectional,
    QuantizedDense,
    QuantizedEmbedding,
    QuantizedGru,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedRecurrent,
)
from .ctext import check_name, comment_text, unique_names
from .describe import dense_view, lstm_view
from .describe_variants import embedding_view, gru_view
from .features import FeaturesView, features_view
from .gru import LayerView, RecurrentView
from .kernels import Effort, choose, choose_dense
from .layers import DenseView, EmbeddingView, LstmView
from .layout.tables import lines
from .names import LayerNames
from .sequence import Part, Stage, Whole, make_part, make_whole
from .values import Array, Value


@dataclass(frozen=True)
class ModelView:
    """A whole network as its templates see it.

    layers: all with a function of their own, halves of bidirectional ones and projections too.
    advance: the layers up to the last recurrent one; head: those behind it (empty if there are
        none). copied_h: where its values are the output, the expression that head copies from.
    whole: how a network that needs whole sequences is run, None for one that streams.
    input_lo, input_hi: the least and the greatest input.
    features: how the input's features differ from its format x; None where none does.
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
    whole: Whole | None
    input_lo: int
    input_hi: int
    features: FeaturesView | None
    macs: int
    notes: tuple[str, ...]

    @property
    def PREFIX(self) -> str:  # noqa: N802 - named after what it prints: the prefix in capitals
        """The prefix of macros."""
        return self.prefix.upper()

    @property
    def state_layers(self) -> tuple[RecurrentView, ...]:
        """The layers that have a state, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, RecurrentView))

    @property
    def hidden_fields(self) -> tuple[RecurrentView, ...]:
        """The same layers, widest hidden state first, which leaves no gaps in the struct."""
        return tuple(sorted(self.state_layers, key=lambda layer: -layer.h.format.storage_bits))

    @property
    def state_values(self) -> int:
        """The number of values that h and C of all layers have together."""
        return sum(layer.width + layer.units for layer in self.state_layers)

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
        hidden = sum(layer.width * layer.h.format.storage_bits // 8 for layer in self.state_layers)
        return cell + hidden

    @property
    def argmax(self) -> bool:
        """Whether the output is a class number."""
        last = self.layers[-1]
        return isinstance(last, DenseView) and last.activation == "argmax"

    @property
    def embedding(self) -> bool:
        """Whether the input is the number of an embedding's row."""
        return isinstance(self.layers[0], EmbeddingView)

    @property
    def kind(self) -> str:
        """The recurrent layers' kind, for titles."""
        lstm = any(isinstance(layer, LstmView) for layer in self.layers)
        return "LSTM" if lstm else "GRU"

    @property
    def last_kind(self) -> str:
        """The same of the last of them."""
        return "LSTM" if isinstance(self.state_layers[-1], LstmView) else "GRU"

    @property
    def float_helpers(self) -> tuple[str, ...]:
        """Calls of the functions between float and fixed point, for a reader."""
        calls = []
        if not self.embedding:
            calls.append((f"{self.prefix}_input_from_float(real, x);", "all inputs of a step"))
        if not self.argmax:
            calls.append((f"real_y = {self.prefix}_output_to_float(y[i]);", "a single output"))
        width = max((len(call) for call, _ in calls), default=0)
        return tuple(f"{call:<{width}}  /* {comment} */" for call, comment in calls)

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
        if self.whole is not None and {"halve", "multiply"} & self.whole.helpers:
            called |= {"asr"}
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
        if self.whole is not None:
            return None
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
    layers = _layer_views(q, prefix, isa, effort)
    first, x = q.layers[0], Value(q.x, by_feature=q.scaling is not None)
    for part in first.halves if isinstance(first, QuantizedBidirectional) else (first,):
        layers[part.name] = replace(layers[part.name], x=x)
    last_layer = layers.get(q.layers[-1].name)
    if isinstance(last_layer, DenseView) and last_layer.skip is not None:
        layers[q.layers[-1].name] = replace(last_layer, skip_x=x)
    stages = [_stage(layer, layers) for layer in q.layers]
    behind = q.last_recurrent + 1
    last = stages[behind - 1]
    views = tuple(layers.values())
    line_tables = any(view.kernel is not None and view.kernel.line_tables for view in views)
    whole = None if q.streams else make_whole(stages[:behind], stages[behind:], q.outputs, prefix)
    advance, head, copied = Part((), ()), Part((), ()), None
    if whole is None:
        source = f"state->{last.parts[0].h_field}"  # type: ignore[union-attr]
        advance = make_part(stages[:behind], "x", None)
        head = make_part(stages[behind:], source, "y")
        copied = None if stages[behind:] else source
    else:
        head = make_part(stages[behind:], "values", "y")
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
        x=x,
        y=Value(q.y),
        tables=tuple(_tables(prefix, q, line_tables)),
        line_tables=line_tables,
        half_table=1 << (q.tables.bits - 1),
        product_rounding=1 << q.tables.product_shift,
        product_shift=q.tables.product_shift,
        layers=views,
        advance=advance,
        head=head,
        copied_h=copied,
        whole=whole,
        input_lo=q.input_span[0],
        input_hi=q.input_span[1],
        features=None if q.scaling is None else features_view(q.x, q.scaling),
        macs=q.macs_per_step,
        notes=tuple(comment_text(note) for note in q.notes),
    )


def _layer_views(
    q: QuantizedNetwork, prefix: str, isa: str, effort: Effort
) -> dict[str, LayerView]:
    """Return the views of all parts by their names, a projection before its layer."""
    h_at = 0
    c_names = unique_names([part.name for part in q.parts])
    found: dict[str, LayerView] = {}
    own = {
        part.name: (c_name, bounds)
        for part, c_name, bounds in zip(q.parts, c_names, bound_table(q), strict=True)
    }
    for part in q.parts:
        c_name, bounds = own[part.name]
        names = LayerNames(prefix, c_name)
        if isinstance(part, QuantizedLstm):
            projection = None
            if part.projection is not None:
                other, its_bounds = own[part.projection.name]
                choice = choose_dense(isa, part.projection, its_bounds, effort)
                projection = dense_view(
                    LayerNames(prefix, other), part.projection, its_bounds, choice
                )
                found[part.projection.name] = projection
            choice = choose(isa, part, bounds, q.tables, effort, h_at % 4 == 0)
            found[part.name] = lstm_view(names, part, bounds, q.tables, choice, projection)
        elif isinstance(part, QuantizedGru):
            found[part.name] = gru_view(names, part, bounds, q.tables)
        elif isinstance(part, QuantizedEmbedding):
            found[part.name] = embedding_view(names, part)
        elif part.name not in found:
            choice = choose_dense(isa, part, bounds, effort)
            found[part.name] = dense_view(names, part, bounds, choice)
        if isinstance(part, QuantizedRecurrent):
            h_at += part.width * part.h.storage_bits // 8
    return found


def _stage(layer: QuantizedLayer, views: dict[str, LayerView]) -> Stage:
    """Return a layer as a stage of the way from input to output."""
    if isinstance(layer, QuantizedBidirectional):
        halves = tuple(views[half.name] for half in layer.halves)
        return Stage(halves, "forward", layer.merge, layer.ends, layer.width)
    direction = layer.direction if isinstance(layer, QuantizedRecurrent) else "forward"
    return Stage((views[layer.name],), direction, None, "state", layer.width)


def _tables(prefix: str, q: QuantizedNetwork, as_lines: bool) -> Iterator[Array]:
    words = "Pairs of twice the slope and the value "
    edge = words + "at the even edge"
    first = words + "that the line has at the first of all segments, modulo 2^16"
    last = q.layers[-1]
    hard = {"hard_sigmoid": "0.2 z + 0.5", "hard_sigmoid_6": "z / 6 + 0.5"}
    for name, table, what in (
        ("sigmoid", q.tables.sigmoid, "Sigmoid of -16 .. 16"),
        ("tanh", q.tables.tanh, "Hyperbolic tangent of -8 .. 8"),
        *(
            (name, q.tables.of(name), f"{hard[name]} of -16 .. 16, within 0 .. 1,")
            for name in q.hard_functions
        ),
    ):
        text = f"{what} in {len(table)} segments (rule N5)"
        rows, where = (lines(table), first) if as_lines else (table, edge)
        yield _table(f"{prefix}_{name}", rows, text, f"{where}, Q0.15")
    if isinstance(last, QuantizedDense) and last.activation == "softmax":
        text = f"2^x of 0 .. 1 in {len(q.tables.exp2)} segments (rule N10)"
        yield _table(f"{prefix}_exp2", q.tables.exp2, text, f"{edge}, Q1.14")


def _table(symbol: str, rows: IntArray, what: str, format_: str) -> Array:
    return Array(symbol, 16, f"[{len(rows)}][2]", rows, what, format_)
