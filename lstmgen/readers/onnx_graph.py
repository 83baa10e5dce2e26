"""A walk through the graph of an ONNX file, operator by operator, to the values it hands on."""

import re
from collections import ChainMap
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

import numpy as np

from ..errors import ModelError
from ..folding import Affine
from ..layers import arrays_of, parts_of
from ..network import MAX_WEIGHTS
from . import onnx_dense as dense
from . import onnx_moves as moves
from . import onnx_stack as stack
from .onnx_axes import axis_of
from .onnx_folding import folded, is_known
from .onnx_node import Node, Unread, Value, attributes_of, label_of, shown
from .onnx_recurrent import GATES, layer_of, outputs_of
from .onnx_signal import Signal
from .onnx_tensors import Beside, array_of, text
from .options import ReadOptions

MAX_NODES = 1 << 14
MAX_INPUTS = 1 << 17
MAX_DEPTH = 8
MAX_LINES = 50
"""Bounds on a file: its operators and all their inputs, its If inside If, and the problems
listed of it."""

MAX_WORK = 8 * MAX_WEIGHTS
"""Largest number of values that all operators together take, compute and make layers of, where
those of layers count twice: they stand in float64."""

_DEFAULTS = {"float": 1, "int": 2, "floats": 6, "ints": 7}

_HANDLERS: dict[str, Callable[[Node], list[Value]]] = {
    "Identity": moves.identity,
    "Dropout": moves.dropout,
    "Cast": moves.cast_to,
    "Transpose": moves.transpose,
    "Squeeze": moves.squeeze,
    "Unsqueeze": moves.unsqueeze,
    "Reshape": moves.reshape,
    "Flatten": moves.reshape,
    "Shape": moves.shape,
    "Expand": moves.expand,
    "Slice": moves.cut,
    "Split": moves.split,
    "Concat": stack.concat,
    "ReverseSequence": moves.reverse_sequence,
    "Gemm": dense.gemm,
    "MatMul": dense.matmul,
    "Softmax": dense.softmax,
    "ArgMax": dense.argmax,
    "BatchNormalization": dense.batch_normalization,
    **dict.fromkeys(dense.ELEMENTWISE, dense.activation),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Sum", "Mean"), dense.arithmetic),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceProd"), dense.reduced),
}

Scope = MutableMapping[str, Value]


class Walker:
    """Follows a graph; notes: what it found, a sentence each; inputs: the graph's, by name."""

    def __init__(self, options: ReadOptions, opset: int, beside: Beside) -> None:
        self.notes: list[str] = []
        self.inputs: dict[str, Value] = {}
        self._options, self._opset, self._beside = options, opset, beside
        self._nodes = self._inputs = self._work = 0

    def walk(self, graph: Any, outer: Scope | None = None, depth: int = 0) -> list[Value]:
        """Return the values of the graph's outputs; `outer` are those a branch may use."""
        scope: Scope = ChainMap({}, *([outer] if outer is not None else []))
        for tensor in graph.initializer:
            scope[text(tensor.name)] = self._tensor(tensor)
        for tensor in graph.sparse_initializer:
            line = f"initializer {shown(tensor.values.name)} is sparse, which is not supported"
            scope[text(tensor.values.name)] = Unread((line,))
        for value in graph.input if outer is None else ():
            if text(value.name) not in scope:
                self.inputs[shown(value.name)] = scope[text(value.name)] = _input(value)
        for proto in graph.node:
            self._nodes += 1
            self._inputs += len(proto.input)
            if self._nodes > MAX_NODES or self._inputs > MAX_INPUTS:
                raise ModelError(
                    f"the graph has more than {MAX_NODES} operators or {MAX_INPUTS} inputs of them"
                )
            results = self._node(proto, scope, depth)
            if self._work > MAX_WORK:
                raise ModelError(f"the graph computes with more than {MAX_WORK} constants")
            for at, name in enumerate(map(text, proto.output)):
                if name:
                    missing = Unread((f"{label_of(proto)}: its output {at} is not supported",))
                    scope[name] = results[at] if at < len(results) else missing
        lost = "is computed by nothing"
        return [
            scope.get(text(value.name), Unread((f"output {shown(value.name)} {lost}",)))
            for value in graph.output
        ]

    def _tensor(self, tensor: Any) -> Value:
        try:
            return array_of(tensor, f"initializer {shown(tensor.name)}", self._beside)
        except ModelError as error:
            return Unread((str(error),))

    def _node(self, proto: Any, scope: Scope, depth: int) -> list[Value]:
        """Return an operator's outputs, Unread ones if it or its inputs cannot be read."""
        label = label_of(proto)
        inputs = tuple(
            scope.get(name, Unread((f"{label}: its input {shown(name)} is computed by nothing",)))
            if name else None
            for name in map(text, proto.input)
        )
        lines = [line for value in inputs if isinstance(value, Unread) for line in value.lines]
        try:
            kind, domain = text(proto.op_type), text(proto.domain)
            node = Node(
                shown(kind if domain in ("", "ai.onnx") else f"{domain}.{kind}"), label,
                _layer_name(proto), attributes_of(proto, label, self._beside), inputs,
                len(proto.output), self._opset,
            )
            if node.type == "If":
                lines = []  # why its condition is not known does not matter
                return self._branch(node, scope, depth)
            self._work += _work(inputs)
            make = self._recurrent if node.type in GATES else self._values
            results = make(node, lines)
            self._work += _work(results, inputs)
            return results
        except ModelError as error:
            lines += str(error).splitlines()
        except (ValueError, IndexError, TypeError, KeyError, OverflowError) as error:
            why = shown(" ".join(str(error).split()))
            lines.append(f"{label}: cannot be followed ({why})")
        return [Unread(tuple(dict.fromkeys(lines))[:MAX_LINES])] * len(proto.output)

    def _values(self, node: Node, lines: list[str]) -> list[Value]:
        known = all(value is None or isinstance(value, np.ndarray) for value in node.inputs)
        if node.type == "Constant":
            return [_constant(node)]
        if known and is_known(node.type):
            return list(folded(node))
        handler = _HANDLERS.get(node.type)
        if node.type == "Gather":
            table = isinstance(node.inputs[0], np.ndarray)
            handler = dense.embedding if table else moves.gather
        if handler is None and not is_known(node.type):
            raise ModelError(f"{node.label}: the operator {node.type} is not supported")
        if lines:
            return [Unread(tuple(dict.fromkeys(lines)))] * node.outputs
        if handler is None:
            raise ModelError(f"{node.label}: {node.type} of the network's values is not supported")
        return handler(node)

    def _recurrent(self, node: Node, lines: list[str]) -> list[Value]:
        """Return Y, Y_h and Y_c; weights are checked even where the input cannot be read."""
        wrong = [value.lines for value in node.inputs[1:] if isinstance(value, Unread)]
        if wrong:
            return [Unread(tuple(dict.fromkeys(lines)))] * 3
        layer = layer_of(node, node.name, self._options.state_row, self.notes)
        if lines:
            return [Unread(tuple(dict.fromkeys(lines)))] * 3
        if node.has(4) and isinstance(node.inputs[4], Signal):
            self.notes.append(
                f"{node.label}: lengths come with each sequence (the graph's input "
                f"{shown(node.inputs[4].source)}); pass them when the network is run"
            )
        y, h = outputs_of(node, layer)
        return [y, h, Unread((f"{node.label}: its cell state Y_c is used; expected Y or Y_h",))]

    def _branch(self, node: Node, scope: Scope, depth: int) -> list[Value]:
        """Return the outputs of the branch that a constant, or the user, chooses."""
        if depth >= MAX_DEPTH:
            raise ModelError(f"{node.label}: more than {MAX_DEPTH} If inside each other")
        branches = {key: node.attributes.get(f"{key}_branch") for key in ("then", "else")}
        if not node.inputs or any(graph is None for graph in branches.values()):
            raise ModelError(f"{node.label}: expected a condition and both branches")
        condition = node.inputs[0]
        if isinstance(condition, np.ndarray) and condition.size == 1:
            chosen = "then" if condition.ravel()[0] else "else"
        elif self._options.branch is not None:
            chosen = self._options.branch
            self.notes.append(f"{node.label}: the branch {chosen} (set by --branch)")
        else:
            given = "; ".join(f"{key}: {_summary(graph)}" for key, graph in branches.items())
            raise ModelError(
                f"{node.label}: the input decides between {given}; choose with --branch then "
                "or --branch else"
            )
        return self.walk(branches[chosen], scope, depth + 1)


def _work(values: Iterable[Value | None], inputs: Iterable[Value | None] = ()) -> int:
    """Return how many constants there are, and how many in layers that `inputs` did not have."""
    total = sum(value.size for value in values if isinstance(value, np.ndarray))
    if inputs:
        old = [value.layers[-1:] for value in inputs if isinstance(value, Signal)]
        new = {value.layers[-1:] for value in values if isinstance(value, Signal)}
        for layer in (layers[0] for layers in new if layers and layers not in old):
            if not isinstance(layer, Affine):
                arrays = (arrays_of(part).values() for part in parts_of(layer))
                total += 2 * sum(array.size for some in arrays for array in some)
    return total


def _input(value: Any) -> Value:
    """Return the signal of a graph's input, with its axes as far as they are declared."""
    name = shown(value.name)
    if not value.type.tensor_type.HasField("shape"):
        return Unread((f"the input {name} declares no shape; expected its axes",))
    axes = []
    for at, size in enumerate(value.type.tensor_type.shape.dim):
        known = size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None
        axes.append(axis_of(f"axis {at} of {name}", known))
    return Signal(name, tuple(axes[:8]))


def _constant(node: Node) -> Value:
    values = [value for key, value in node.attributes.items() if key.startswith("value")]
    if len(values) != 1 or isinstance(values[0], str):
        raise ModelError(f"{node.label}: holds no array of numbers")
    value = values[0]
    if isinstance(value, np.ndarray):
        return value
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, str):
        raise ModelError(f"{node.label}: holds text; expected numbers")
    return np.array(value, np.float32 if isinstance(first, float) else np.int64)


def _layer_name(proto: Any) -> str:
    """Return a name for a layer: the operator's own path without its type at the end."""
    kind = text(proto.op_type)
    parts = [re.sub(r"[^\w.:-]+", "_", part) for part in text(proto.name).split("/")]
    parts = [part for part in parts if part]
    if parts and re.fullmatch(rf"(node_)?{re.escape(kind)}(_?\d+)?", parts[-1], re.I):
        parts.pop()
    name = ".".join(parts)[-64:].strip("._")
    if name and name.isprintable():
        return name
    kinds = {"LSTM": "lstm", "GRU": "gru", "Gather": "embedding"}
    return kinds.get(kind, "dense")


def _summary(graph: Any) -> str:
    """Return what a branch holds, for the user to choose by."""
    counts: dict[str, int] = {}
    for kind in (text(proto.op_type) for proto in graph.node):
        if kind != "Constant":
            counts[kind] = counts.get(kind, 0) + 1
    first = sorted(counts, key=lambda kind: (kind not in GATES, -counts[kind]))[:3]
    return shown(", ".join(f"{counts[kind]} {kind}" for kind in first) or "nothing")
