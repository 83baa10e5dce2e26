"""Follows the tensors of a .tflite graph from its input to its output, as a chain of layers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from ..errors import ModelError
from ..layers import Bidirectional, Embedding, Lstm, Merge
from .tflite_features import (
    ACTIVATIONS,
    activated,
    activation,
    fully_connected,
    fused_activation,
    matmul,
    scaled,
    weights,
)
from .tflite_flow import Flow, FlowError
from .tflite_load import COPIES
from .tflite_lstm import FUSED
from .tflite_slices import sliced, strided
from .tflite_tensors import Graph, Op, Tensor

_RESHAPES = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "PACK", "UNPACK")
_ARITHMETIC = ("ADD", "SUB", "MUL", "DIV")


KERAS = "give the Keras file (.keras or .h5) that it was converted from"
"""What to do about a file that was made of a model in other ways."""


class TimeMajorError(Exception):
    """The first LSTM takes the axes of the input as (T, B, n), not as (B, T, n)."""


class Walker:
    """One walk through the operators, in the order of the file, which is that of execution."""

    def __init__(
        self, graph: Graph, fused: Mapping[int, Lstm | Bidirectional | None], time_major: bool
    ) -> None:
        self.graph = graph
        self.problems: list[str] = []
        self.range_tensor: Tensor | None = None
        self._fused = fused
        self._time_major = time_major
        # By tensor: a flow; or None for what is known to be unreadable or no values at all.
        self._flows: dict[int, Flow | None] = {}
        self._computed: set[int] = set()  # sizes that operators computed from SHAPE
        self._handlers: dict[str, Callable[[Op, Flow], Flow | None]] = {
            **dict.fromkeys(FUSED, self._lstm),
            **dict.fromkeys(COPIES, self._copy),
            **dict.fromkeys(_RESHAPES, self._reshape),
            **dict.fromkeys(ACTIVATIONS, partial(activation, graph)),
            **dict.fromkeys(_ARITHMETIC, self._arithmetic),
            "FULLY_CONNECTED": partial(fully_connected, graph),
            "BATCH_MATMUL": partial(matmul, graph),
            "REVERSE_V2": self._reverse,
            "TRANSPOSE": self._transpose,
            "STRIDED_SLICE": self._strided_slice,
            "SLICE": self._slice,
            "GATHER": self._gather,
            "CONCATENATION": self._concatenation,
        }

    def walk(self) -> Flow | None:
        """Return the flow of the output; None if there is a problem."""
        graph = self.graph
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            self.problems.append(
                f"{graph.source} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
                "expected one of each"
            )
        for index in graph.inputs[:1]:
            self._flows[index] = self._start(graph.tensors[index])
        for op in graph.ops:
            flow = self._step(op)
            for output in op.outputs:
                self._flows[output] = flow
        flow = self._flows.get(graph.outputs[0]) if graph.outputs else None
        unread = any(layer is None for layer in self._fused.values())
        if not self.problems and not unread and (flow is None or not flow.layers):
            self.problems.append(f"{graph.source}: no operator computes the output")
        if flow is not None and flow.backwards:
            self.problems.append(
                f"{graph.source}: the output runs from the last time step to the first; "
                "expected no REVERSE_V2 at the end"
            )
        return None if self.problems or unread else flow

    def _start(self, tensor: Tensor) -> Flow:
        self.range_tensor = tensor
        axes = ("T", "B", "F") if self._time_major else ("B", "T", "F")
        if len(tensor.shape) != 3:
            return Flow((), None, -1, -1, -1)
        lengths = dict(zip(axes, tensor.shape, strict=True))
        return Flow((), axes, lengths["B"], lengths["T"], lengths["F"])

    def _step(self, op: Op) -> Flow | None:
        """Return an operator's output, None after noting its problem."""
        used = [index for index in op.inputs if index >= 0]
        if op.kind == "SHAPE" or (
            any(n in self._computed for n in used)
            and all(n in self._computed or self.graph.constant(n) for n in used)
        ):
            self._computed.update(op.outputs)
            return None
        if op.kind in COPIES and self.graph.constant(op.input(0)):
            return None
        where = self.graph.where(op)
        handler = self._handlers.get(op.kind)
        if handler is None:
            self.problems.append(f"{where}: this operator is not supported; {KERAS}")
            return None
        at = next((n for n in used if n in self._flows and not self.graph.constant(n)), None)
        if at is None:
            self.problems.append(f"{where}: no input comes from that of the network")
            return None
        flow = self._flows[at]
        if flow is None:
            return None  # what is wrong there is a problem already
        if flow.axes is None and op.kind not in (*COPIES, *_RESHAPES, "GATHER"):
            rank = len(self.graph.tensors[at].shape)
            self.problems.append(
                f"{where}: the input has {rank} axes; expected 3: sequences, time steps, features"
            )
            return None
        try:
            return handler(op, flow)
        except FlowError as error:
            self.problems.append(f"{where}: {error}")
        except ModelError as error:
            self.problems.extend(str(error).splitlines())
        return None

    # Recurrent layers.

    def _lstm(self, op: Op, flow: Flow) -> Flow | None:
        layer = self._fused[op.number]
        if layer is None:
            return None
        if flow.taken:
            raise FlowError("takes the values of a single time step; expected a sequence")
        axes = ("T", "B", "F") if op.options["TimeMajor"] else ("B", "T", "F")
        if flow.plain() != flow.plain(axes):
            if not self._time_major and not any(
                isinstance(below, Lstm | Bidirectional) for below in flow.layers
            ):
                raise TimeMajorError
            raise FlowError(f"takes axes {'/'.join(flow.axes or ())}; expected {'/'.join(axes)}")
        if not flow.backwards:
            return replace(flow.with_layer(layer, layer.width), axes=axes)
        if isinstance(layer, Bidirectional):
            raise FlowError("a bidirectional LSTM over a reversed sequence is not supported")
        flipped = replace(layer, direction="flipped")
        return replace(flow.with_layer(flipped, layer.width), axes=axes, backwards=False)

    def _concatenation(self, op: Op, flow: Flow) -> Flow:
        other = self._other(op, flow)
        forward, backward, in_order = flow.beside(other)
        if not in_order:
            raise FlowError("has the backward LSTM's values first; expected them last")
        axis = op.options["Axis"]
        if flow.role(axis) != "F" or op.options["FusedActivationFunction"]:
            raise FlowError(f"joins axis {axis}; expected the features, without an activation")
        return _both(flow, Bidirectional("bidirectional", forward, backward))

    def _other(self, op: Op, flow: Flow) -> Flow:
        """Return the second flow of an operator that joins two."""
        flows = [self._flows.get(index) for index in op.inputs]
        if len(flows) != 2 or any(found is None for found in flows):
            raise FlowError(f"joins {len(flows)} tensors; expected the directions of an LSTM")
        other = flows[1]
        assert other is not None
        if flow.plain() != other.plain():
            raise FlowError("joins tensors of different axes")
        return other

    def _arithmetic(self, op: Op, flow: Flow) -> Flow:
        function = fused_activation(op)
        constants = [tensor for n in op.inputs if (tensor := self.graph.constant(n))]
        if len(op.inputs) != 2 or (not constants and op.kind not in ("ADD", "MUL")):
            raise FlowError("combines two branches; expected one of them to be constant")
        if not constants:
            forward, backward, _ = flow.beside(self._other(op, flow))
            merge: Merge = "sum" if op.kind == "ADD" else "multiply"
            flow = _both(flow, Bidirectional("bidirectional", forward, backward, merge))
        elif op.kind in ("SUB", "DIV") and self.graph.constant(op.inputs[0]):
            raise FlowError("has the constant on the left; expected it on the right")
        else:
            flow = scaled(self.graph, op.kind, flow, self.graph.values(constants[0]))
        return activated(self.graph, flow, function)

    # What only moves values.

    def _copy(self, op: Op, flow: Flow) -> Flow:
        if not flow.layers and self.range_tensor is not None and op.kind == "QUANTIZE":
            self.range_tensor = self.graph.tensors[op.outputs[0]]
        kind = self.graph.tensors[op.outputs[0]].type
        if op.kind == "CAST" and not kind.startswith("FLOAT") and flow.axes is not None:
            raise FlowError(f"rounds to {kind}, which is not supported")
        return flow

    def _reshape(self, op: Op, flow: Flow) -> Flow:
        if op.kind in ("PACK", "UNPACK") and len(op.inputs) + len(op.outputs) != 2:
            raise FlowError("of several tensors is not supported, as in an unrolled LSTM")
        shape = self.graph.tensors[op.outputs[0]].shape
        return flow.reshaped(shape)

    def _integers(self, op: Op, number: int) -> list[int]:
        found = self.graph.integers(op.input(number))
        if found is None:
            raise FlowError(f"input {number} is no small integer constant")
        return found

    def _reverse(self, op: Op, flow: Flow) -> Flow:
        for axis in self._integers(op, 1):
            flow = flow.turned(axis)
        return flow

    def _transpose(self, op: Op, flow: Flow) -> Flow:
        return flow.transposed(self._integers(op, 1))

    def _gather(self, op: Op, flow: Flow) -> Flow:
        axis = op.options["Axis"]
        if self.graph.constant(op.input(0)):
            shape = self.graph.tensors[op.input(1)].shape
            if flow.layers or flow.axes is not None or len(shape) != 2 or axis:
                raise FlowError("looks up other than the input; expected an embedding of (B, T)")
            table = weights(self.graph, op, 0, 2)
            layer = Embedding("embedding", table)
            return Flow((layer,), ("B", "T", "F"), shape[0], shape[1], table.shape[1])
        indices = self._integers(op, 1)
        if len(indices) != 1 or op.options["BatchDims"] or flow.axes is None:
            raise FlowError(f"takes indices {indices}; expected that of the last time step")
        taken = flow.step(axis, indices[0], self._length(op, axis))
        scalar = not self.graph.tensors[op.input(1)].shape
        return taken.without(axis) if scalar else taken

    def _length(self, op: Op, axis: int) -> int:
        shape = self.graph.tensors[op.input(0)].shape
        return shape[axis] if -len(shape) <= axis < len(shape) else -1

    def _slice(self, op: Op, flow: Flow) -> Flow:
        lengths = self.graph.tensors[op.input(0)].shape
        return sliced(flow, lengths, self._integers(op, 1), self._integers(op, 2))

    def _strided_slice(self, op: Op, flow: Flow) -> Flow:
        lengths = self.graph.tensors[op.input(0)].shape
        ranges = self._integers(op, 1), self._integers(op, 2), self._integers(op, 3)
        return strided(flow, lengths, ranges, op.options)


def _both(flow: Flow, layer: Bidirectional) -> Flow:
    return replace(flow.with_last(layer), width=layer.width)


def follow(
    graph: Graph, fused: Mapping[int, Lstm | Bidirectional | None]
) -> tuple[Flow | None, Tensor | None, Sequence[str]]:
    """Return the flow of the output, the tensor whose quantization tells the input's range, and
    the problems; `fused` holds the layers of the fused operators, None for unreadable ones."""
    walker = Walker(graph, fused, time_major=False)
    try:
        flow = walker.walk()
    except TimeMajorError:
        walker = Walker(graph, fused, time_major=True)
        flow = walker.walk()
    return flow, walker.range_tensor, walker.problems
