"""Dense layers, activations and arithmetic on features in a .tflite graph."""

from dataclasses import replace

import numpy as np

from ..folding import Affine
from ..layers import Activation, Bidirectional, Dense
from ..network import MAX_WIDTH
from ..qformat import FloatArray
from .tflite_flow import Flow, FlowError
from .tflite_lstm import activation_name
from .tflite_tensors import Graph, Op

ACTIVATIONS: dict[str, Activation] = {
    "RELU": "relu", "TANH": "tanh", "LOGISTIC": "sigmoid", "SOFTMAX": "softmax",
    "ARG_MAX": "argmax",
}
"""Operators that are activations."""

_FUSED: dict[int, Activation] = {0: "linear", 1: "relu", 4: "tanh"}


def weights(graph: Graph, op: Op, number: int, dims: int) -> FloatArray:
    """Return an input's values; a FlowError unless it is a constant with `dims` axes."""
    tensor = graph.constant(op.input(number))
    if tensor is None:
        raise FlowError(f"input {number} is no constant; expected weights")
    values = graph.values(tensor)
    if values.ndim != dims or 0 in values.shape:
        raise FlowError(f"input {number} is {values.shape}; expected {dims} axes")
    return values


def fully_connected(graph: Graph, op: Op, flow: Flow) -> Flow:
    """Return the flow behind FULLY_CONNECTED."""
    W = weights(graph, op, 1, 2)
    b = weights(graph, op, 2, 1) if op.input(2) >= 0 else np.zeros(W.shape[0])
    flow.features_last()
    if op.options["WeightsFormat"]:
        raise FlowError("weights in a shuffled order are not supported")
    axes = flow.axes or ()
    if not op.options["KeepNumDims"]:
        axes = ("".join(axes[:-1]), "F")
    flow = replace(flow, axes=axes)
    return flow.with_layer(Dense("dense", W, b, fused_activation(op)), W.shape[0])


def matmul(graph: Graph, op: Op, flow: Flow) -> Flow:
    """Return the flow behind BATCH_MATMUL with a constant matrix."""
    if op.options["AdjX"] or graph.constant(op.input(0)):
        raise FlowError("multiplies from the left; expected the weights on the right")
    W = weights(graph, op, 1, 2)
    flow.features_last()
    W = W if op.options["AdjY"] else np.ascontiguousarray(W.T)
    return flow.with_layer(Dense("dense", W, np.zeros(W.shape[0])), W.shape[0])


def fused_activation(op: Op) -> Activation:
    """Return the activation that an operator ends with."""
    number = op.options["FusedActivationFunction"]
    if number not in _FUSED:
        raise FlowError(f"activation {activation_name(number)} is not supported")
    return _FUSED[number]


def activation(graph: Graph, op: Op, flow: Flow) -> Flow:
    """Return the flow behind an operator that is an activation."""
    if op.kind == "SOFTMAX":
        flow.features_last()
        if op.options["Beta"] != 1.0:
            raise FlowError(f"beta is {op.options['Beta']:g}; expected 1")
    if op.kind == "ARG_MAX":
        axis = (graph.integers(op.input(1)) or [0])[0]
        if flow.role(axis) != "F":
            raise FlowError(f"acts along axis {axis}; expected the features")
        flow = flow.without(axis)
    return activated(graph, flow, ACTIVATIONS[op.kind])


def activated(graph: Graph, flow: Flow, function: Activation) -> Flow:
    """Return the flow with an activation; where no dense layer takes it, one is put in."""
    last = flow.layers[-1] if flow.layers else None
    free = ("linear", "softmax") if function == "argmax" else ("linear",)
    if function == "linear":
        return flow
    if isinstance(last, Dense) and last.activation in free:
        flow = flow.with_last(replace(last, activation=function))
    else:
        _check_width(flow)
        graph.charge(flow.width**2, f"{graph.source}: activations without a dense layer")
        identity = Dense("dense", np.eye(flow.width), np.zeros(flow.width), function)
        flow = flow.with_layer(identity, flow.width)
    return replace(flow, width=1) if function == "argmax" else flow


def scaled(graph: Graph, kind: str, flow: Flow, values: FloatArray) -> Flow:
    """Return the flow after ADD, SUB, MUL or DIV with one constant for all features, or each."""
    last = flow.layers[-1] if flow.layers else None
    half = {"MUL": 0.5, "DIV": 2.0}.get(kind)
    halved = half is not None and values.size > 0 and bool((values == half).all())
    if isinstance(last, Bidirectional) and last.merge == "sum" and halved:
        return flow.with_last(replace(last, merge="average"))
    flow.features_last()
    width = _check_width(flow)
    if values.size not in (1, width) or values.shape[-1:] not in ((), (1,), (width,)):
        raise FlowError(f"a constant of shape {values.shape}; expected one of {width} features")
    v = np.broadcast_to(values.ravel(), (width,))
    if kind == "DIV" and not v.all():
        raise FlowError("divides by zero")
    scale, offset = np.ones(width), np.zeros(width)
    if kind in ("MUL", "DIV"):
        scale = v if kind == "MUL" else 1.0 / v
    else:
        offset = v if kind == "ADD" else -v
    if isinstance(last, Dense) and last.activation == "linear" and last.b.shape == (width,):
        graph.charge(last.W.size, f"{graph.source}: arithmetic behind a dense layer")
        W = scale[:, None] * last.W
        return flow.with_last(replace(last, W=W, b=scale * last.b + offset))
    return flow.with_layer(Affine("normalization", scale, offset), width)


def _check_width(flow: Flow) -> int:
    if not 0 < flow.width <= MAX_WIDTH:
        raise FlowError(f"acts on {flow.width} features; expected 1 to {MAX_WIDTH}")
    return flow.width
