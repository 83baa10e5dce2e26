"""What each emitted function may rely on and has to give, for the prover's analyses.

Spans are of integers. A layer's function is proved under its contract alone, for any arguments
within it; where another function calls it, only the contract counts. Together these are an
induction: the state after a step lies in the span that was assumed before it.
"""

from dataclasses import dataclass

from ..bounds import LayerBounds, bound_table
from ..quantized import QuantizedNetwork
from ..quantized_layers import (
    QuantizedBidirectional,
    QuantizedDense,
    QuantizedEmbedding,
    QuantizedLayer,
    QuantizedLstm,
    QuantizedPart,
    QuantizedRecurrent,
)
from .gru import LayerView, RecurrentView
from .layers import DenseView
from .view import ModelView

RUN_STEPS = 4
"""The longest sequence on which `run` is analysed; shorter ones, 0 among them, are too."""


@dataclass(frozen=True)
class Span:
    """The integers from lo to hi."""

    lo: int
    hi: int

    @property
    def c_lo(self) -> str:
        """The least as a C constant: INT32_MIN cannot be written as one literal."""
        return f"({self.lo + 1} - 1)" if self.lo == -(1 << 31) else str(self.lo)

    def within(self, array: str) -> str:
        """Return in ACSL that all values of `array`, a term with a range, are in the span."""
        return f"\\subset({array}, ({self.lo}..{self.hi}))"


INT16 = Span(-(1 << 15), (1 << 15) - 1)
INT32 = Span(-(1 << 31), (1 << 31) - 1)


@dataclass(frozen=True)
class Argument:
    """An array that a function is given: `takes` before the call, `gives` behind it.

    takes: None where it is only written; gives: None where it is only read.
    """

    name: str
    type: str
    count: int
    takes: Span | None
    gives: Span | None

    @property
    def all(self) -> str:
        """All its elements in ACSL."""
        return f"{self.name}[0..{self.count - 1}]"

    @property
    def declared(self) -> str:
        """The parameter as C declares it."""
        return f"{'' if self.gives else 'const '}{self.type} {self.name}[{self.count}]"


@dataclass(frozen=True)
class Contract:
    """The contract of a layer's function. calls: functions of which only the contract counts."""

    layer: str
    function: str
    arguments: tuple[Argument, ...]
    calls: tuple[str, ...]

    @property
    def reads(self) -> str:
        """What its results come from, in ACSL."""
        return ", ".join(a.all for a in self.arguments if a.takes)

    @property
    def writes(self) -> tuple[Argument, ...]:
        """The arguments that it writes."""
        return tuple(a for a in self.arguments if a.gives)


@dataclass(frozen=True)
class TableSpan:
    """A table of rule N5: its C name, and the span of what it gives."""

    symbol: str
    span: Span


@dataclass(frozen=True)
class StateSpan:
    """An array of the state and the span that every step leaves it in."""

    field: str
    count: int
    span: Span


@dataclass(frozen=True)
class Proof:
    """All that the analyses of a network assume and have to show.

    tables: of activations. softmax: whether there is its table too. state: the invariant.
    x, y: spans of one input and one output.
    """

    tables: tuple[TableSpan, ...]
    softmax: bool
    contracts: tuple[Contract, ...]
    state: tuple[StateSpan, ...]
    x: Span
    y: Span

    @property
    def has_tables(self) -> bool:
        """Whether there is an analysis of tables."""
        return bool(self.tables) or self.softmax


def proof_of(q: QuantizedNetwork, view: ModelView) -> Proof:
    """Return the contracts of the C that `view` stands for."""
    bounds = {part.name: table for part, table in zip(q.parts, bound_table(q), strict=True)}
    # Kernels in C have it too, in the plain C beside their intrinsics.
    calls = {"activate"} & view.helpers or any(
        layer.kernel is not None and layer.kernel.in_c for layer in view.state_layers
    )
    activates = (f"{view.prefix}_activate",) if calls else ()
    views = _by_part(q, view)
    x = INT16 if view.embedding else Span(*q.input_span)
    contracts: list[Contract] = []
    state: list[StateSpan] = []
    taken = x
    for layer in q.layers:
        for part in layer.halves if isinstance(layer, QuantizedBidirectional) else (layer,):
            own = views[part.name]
            if isinstance(own, RecurrentView):
                assert isinstance(part, QuantizedRecurrent)
                contracts += _recurrent(part, own, views, taken, activates)
                state.append(StateSpan(own.c_field, own.units, INT32))
                state.append(StateSpan(own.h_field, own.width, hidden_span(part)))
                continue
            given = handed_on(part, _reach(bounds[part.name]))
            contracts.append(_plain(own, q, taken, given, x, activates))
        taken = handed_on(layer, _reach(bounds.get(layer.name)))
    tables = tuple(
        TableSpan(table.symbol, Span(-32767 if table.symbol.endswith("_tanh") else 0, 32767))
        for table in view.tables
        if activates and not table.symbol.endswith("_exp2")
    )
    return Proof(tables, view.softmax, tuple(contracts), tuple(state), x, taken)


def _reach(bounds: LayerBounds | None) -> int:
    """Return the largest |accumulator| of a layer, 0 of one that has none of its own."""
    return 0 if bounds is None else int(bounds.bound.max(initial=0))


def hidden_span(part: QuantizedRecurrent) -> Span:
    """Return the span of h (rules N7, N13 and N14)."""
    projected = isinstance(part, QuantizedLstm) and part.projection is not None
    if projected or (part.h.bits == 8 and isinstance(part, QuantizedLstm)):
        return Span(part.h.lo, part.h.hi)
    return Span(-part.h.hi, part.h.hi)


def handed_on(layer: QuantizedLayer, bound: int) -> Span:
    """Return the span of the values that a layer hands on; bound: of its accumulators."""
    if isinstance(layer, QuantizedBidirectional):
        # Half of a sum, and a product of two, lie where both do.
        halves = [hidden_span(half) for half in layer.halves]
        return Span(min(half.lo for half in halves), max(half.hi for half in halves))
    if isinstance(layer, QuantizedEmbedding):
        return Span(int(layer.table.min()), int(layer.table.max()))
    if isinstance(layer, QuantizedRecurrent):
        return hidden_span(layer)
    return _dense_span(layer, bound)


def _dense_span(layer: QuantizedDense, bound: int) -> Span:
    if layer.activation == "argmax":
        return Span(0, layer.rows - 1)
    raw = layer.y.bits == 32
    hi = bound if raw else layer.y.hi
    if layer.activation in ("relu", "sigmoid", "softmax"):
        return Span(0, hi)
    if layer.activation == "tanh" and layer.y.bits == 16:
        return Span(-hi, hi)
    return Span(-bound if raw else layer.y.lo, hi)


def _by_part(q: QuantizedNetwork, view: ModelView) -> dict[str, LayerView]:
    """Return the view of each part by the part's name."""
    # The views have a projection before its layer, the parts behind it.
    order: list[QuantizedPart] = []
    for part in q.parts:
        if isinstance(part, QuantizedLstm) and part.projection is not None:
            order.append(part.projection)
        if all(part is not other for other in order):
            order.append(part)
    return {part.name: own for part, own in zip(order, view.layers, strict=True)}


def _plain(
    own: LayerView,
    q: QuantizedNetwork,
    taken: Span,
    given: Span,
    x: Span,
    activates: tuple[str, ...],
) -> Contract:
    """Return the contract of a dense layer or an embedding."""
    assert not isinstance(own, RecurrentView)
    outputs = own.rows
    arguments = [Argument("x", own.x.type, own.inputs, taken, None)]
    if isinstance(own, DenseView):
        outputs = 1 if own.activation == "argmax" else own.rows
        if own.skip is not None and own.skip_x is not None:
            arguments.append(Argument("own", own.skip_x.type, q.inputs, x, None))
    arguments.append(Argument("y", own.y.type, outputs, None, given))
    # A softmax has a table, but not by way of `activate`.
    looks_up = isinstance(own, DenseView) and own.activation in ("sigmoid", "tanh")
    return Contract(own.c_name, own.function, tuple(arguments), activates if looks_up else ())


def _recurrent(
    part: QuantizedRecurrent,
    own: RecurrentView,
    views: dict[str, LayerView],
    taken: Span,
    activates: tuple[str, ...],
) -> list[Contract]:
    """Return the contract of a recurrent layer, that of its projection before it."""
    found: list[Contract] = []
    calls = activates
    hidden = hidden_span(part)
    if isinstance(part, QuantizedLstm) and part.projection is not None:
        inner = views[part.projection.name]
        assert isinstance(inner, DenseView)
        limit = Span(-part.projection.x.hi, part.projection.x.hi)
        made = Argument("x", inner.x.type, inner.inputs, limit, None)
        h = Argument("y", inner.y.type, inner.rows, None, hidden)
        found.append(Contract(inner.c_name, inner.function, (made, h), ()))
        calls = (*calls, inner.function)
    arguments = (
        Argument("x", own.x.type, own.inputs, taken, None),
        Argument("h", own.h.type, own.width, hidden, hidden),
        Argument("c", "int32_t", own.units, INT32, INT32),
    )
    return [*found, Contract(own.c_name, own.function, arguments, calls)]
