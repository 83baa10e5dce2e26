"""Operators that compute feature by feature: dense layers, activations, constants, embeddings."""

from dataclasses import replace

import numpy as np

from ..errors import ModelError
from ..layers import Activation, Dense, Embedding, Merge
from ..qformat import FloatArray
from ..weights import weights_of
from .onnx_axes import Axis, axis_of, position
from .onnx_node import Node, Value
from .onnx_signal import Signal, activated, bound, halves, merged, scaled, settled, width_of

ELEMENTWISE: dict[str, Activation] = {"Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh"}


def gemm(node: Node) -> list[Value]:
    """Gemm: alpha A B + beta C, the network's values being A."""
    signal = node.signal(0)
    W = _weights(node, 1, "B")
    if len(signal.axes) != 2 or W.ndim != 2:
        raise ModelError(f"{node.label}: its inputs have other than two axes; expected two each")
    W = W if node.integer("transB", 0) else W.T
    at = 0 if node.integer("transA", 0) else 1
    made = _dense(node, signal, at, node.real("alpha", 1.0) * W)
    if at == 0:
        made = replace(made, axes=made.axes[::-1])
    if not node.has(2):
        return [made]
    C = _weights(node, 2, "C")
    rows = C.reshape(-1, C.shape[-1]) if C.ndim and C.size else C.reshape(1, -1)
    if not rows.size or not (rows == rows[0]).all() or rows.shape[1] not in (1, len(W)):
        raise ModelError(f"{node.label}: C is {C.shape}; expected one value for each output")
    offset = node.real("beta", 1.0) * np.broadcast_to(rows[0], (len(W),))
    return [scaled(made, np.ones(len(W)), offset, node.name, node.label)]


def matmul(node: Node) -> list[Value]:
    """MatMul by a constant matrix, on either side."""
    signals = [isinstance(value, Signal) for value in node.inputs[:2]]
    if all(signals):
        raise ModelError(
            f"{node.label}: multiplies two values that follow from the input; expected a constant"
        )
    right = signals == [True, False]
    signal = node.signal(0 if right else 1)
    W = _weights(node, 1 if right else 0, "the constant")
    while W.ndim > 2 and W.shape[0] == 1:
        signal = replace(signal, axes=((),) * (W.ndim - len(signal.axes)) + signal.axes)
        W = W[0]
    if W.ndim == 1 and right:
        made = _dense(node, signal, len(signal.axes) - 1, W[None, :])
        return [replace(made, axes=made.axes[:-1])]
    if W.ndim != 2 or len(signal.axes) < (1 if right else 2):
        raise ModelError(f"{node.label}: the constant is {W.shape}; expected a matrix")
    at = len(signal.axes) - (1 if right else 2)
    return [_dense(node, signal, at, W.T if right else W)]


def activation(node: Node) -> list[Value]:
    """Relu, Sigmoid, Tanh: value by value."""
    signal = node.signal()
    if signal.features is None:
        signal = bound(signal, len(signal.axes) - 1, None, node.label)
    return [activated(signal, ELEMENTWISE[node.type], node.name, node.label)]


def softmax(node: Node) -> list[Value]:
    """Softmax over the features; before opset 13 over all axes from one on."""
    signal = node.signal()
    rank = len(signal.axes)
    at = position(node.integer("axis", -1 if node.opset >= 13 else 1), rank)
    if node.opset < 13:
        rest = sum(signal.axes[at:], ())
        over = [n for n in range(at, rank) if signal.axes[n]]
        if rest != signal.features or len(over) > 1:
            raise ModelError(
                f"{node.label}: is over the axes {signal.layout(signal.axes[at:])}; "
                "expected the features"
            )
        at = over[0] if over else at
    signal = bound(signal, at, None, node.label)
    return [activated(signal, "softmax", node.name, node.label)]


def argmax(node: Node) -> list[Value]:
    """ArgMax over the features."""
    signal = node.signal()
    at = position(node.integer("axis", 0), len(signal.axes))
    if node.integer("select_last_index", 0):
        raise ModelError(f"{node.label}: select_last_index is set; expected the first of equals")
    signal = activated(
        bound(signal, at, None, node.label), "argmax", node.name, node.label
    )
    kept: tuple[Axis, ...] = ((),) if node.integer("keepdims", 1) else ()
    axes = (*signal.axes[:at], *kept, *signal.axes[at + 1 :])
    return [replace(signal, axes=axes, features=())]


def batch_normalization(node: Node) -> list[Value]:
    """BatchNormalization of the features, which ONNX has on axis 1."""
    signal = node.signal()
    if node.integer("training_mode", 0) or not node.integer("spatial", 1):
        raise ModelError(
            f"{node.label}: is in training mode or not spatial; export the model in eval mode"
        )
    if len(signal.axes) < 2:
        raise ModelError(f"{node.label}: its input has the axes {signal.layout()}; expected two")
    gamma, beta, mean, variance = (
        _weights(node, at, key) for at, key in enumerate(("scale", "B", "mean", "var"), 1)
    )
    if not gamma.shape == beta.shape == mean.shape == variance.shape or gamma.ndim != 1:
        raise ModelError(f"{node.label}: its four arrays have different shapes, or no single axis")
    signal = bound(signal, 1, len(gamma), node.label)
    spread = variance + node.real("epsilon", 1e-5)
    if (spread <= 0).any():
        raise ModelError(f"{node.label}: var is negative; expected variances")
    scale = gamma / np.sqrt(spread)
    return [scaled(signal, scale, beta - mean * scale, node.name, node.label)]


def embedding(node: Node) -> list[Value]:
    """Gather of rows of a constant by the graph's input."""
    signal = node.signal(1)
    table = _weights(node, 0, "the table")
    if table.ndim != 2 or position(node.integer("axis", 0), 2) != 0:
        raise ModelError(f"{node.label}: takes from {table.shape}; expected rows of a matrix")
    if signal.layers or (signal.scale, signal.offset) != (1.0, 0.0):
        raise ModelError(f"{node.label}: takes rows by computed numbers; expected the input's")
    features = axis_of(f"features of {node.name}", table.shape[1])
    layer = Embedding(node.name, table)
    return [replace(
        signal, axes=(*signal.axes, features), features=features, layers=(layer,)
    )]


def arithmetic(node: Node) -> list[Value]:
    """Add, Sub, Mul, Div: a constant for each feature, or both directions, or a skip connection."""
    if node.type in ("Sum", "Mean") and len(node.inputs) != 2:
        raise ModelError(f"{node.label}: takes {len(node.inputs)} inputs; expected two")
    if all(isinstance(value, Signal) for value in node.inputs[:2]):
        return [_of_two(node, node.signal(0), node.signal(1))]
    first = isinstance(node.inputs[0], np.ndarray)
    signal = node.signal(1 if first else 0)
    values = _weights(node, 0 if first else 1, "the constant")
    signal = replace(signal, axes=((),) * (values.ndim - len(signal.axes)) + signal.axes)
    rank = len(signal.axes)
    long = [rank - values.ndim + at for at, size in enumerate(values.shape) if size != 1]
    if len(long) > 1 or not values.size:
        raise ModelError(
            f"{node.label}: the constant is {values.shape}; expected one value for each feature"
        )
    values = values.ravel()
    if long:
        signal = bound(signal, long[0], len(values), node.label)
    one, zero = np.ones_like(values), np.zeros_like(values)
    if node.type in ("Add", "Sum"):
        scale, offset = one, values
    elif node.type == "Sub":
        scale, offset = (-one, values) if first else (one, -values)
    elif node.type == "Mul":
        scale, offset = values, zero
    elif node.type == "Div" and not first and values.all():
        scale, offset = 1.0 / values, zero
    else:
        raise ModelError(f"{node.label}: divides by 0, or a constant by the network's values, "
                         "which is not supported")
    return [scaled(signal, scale, offset, node.name, node.label)]


def reduced(node: Node) -> list[Value]:
    """ReduceSum, ReduceMean, ReduceProd over both directions of a layer."""
    signal = node.signal()
    axes = node.axes() or []
    at = position(axes[0], len(signal.axes)) if len(axes) == 1 else None
    if at is None or not signal.directions or signal.axes[at] != signal.directions:
        over = signal.layout(tuple(signal.axes[n] for n in axes if n < len(signal.axes)))
        raise ModelError(f"{node.label}: is over {over}, which is not supported")
    made = merged(*halves(signal), _MERGES[node.type], node.label)
    assert made is not None
    if node.integer("keepdims", 1):
        made = replace(made, axes=(*made.axes[:at], (), *made.axes[at:]))
    return [made]


_MERGES: dict[str, Merge] = {
    "Add": "sum", "Sum": "sum", "Mul": "multiply", "Mean": "average",
    "ReduceSum": "sum", "ReduceMean": "average", "ReduceProd": "multiply",
}


def _of_two(node: Node, a: Signal, b: Signal) -> Signal:
    way = _MERGES.get(node.type)
    if way is not None:
        both = merged(a, b, way, node.label) or merged(b, a, way, node.label)
        if both is not None:
            return both
    made = _skipped(node, a, b) or _skipped(node, b, a) if node.type in ("Add", "Sum") else None
    if made is None:
        raise ModelError(
            f"{node.label}: joins two branches; expected both directions of one layer, or the "
            "network's own input added to its last, linear dense layer"
        )
    return made


def _skipped(node: Node, values: Signal, inputs: Signal) -> Signal | None:
    """Return `values` with the graph's input added, if they are such."""
    last = values.layers[-1] if values.layers else None
    if not isinstance(last, Dense) or last.activation != "linear" or last.skip is not None:
        return None
    if values.recurrent is None or values.taken is not None:
        return None
    if (values.source, values.flipped) != (inputs.source, inputs.flipped):
        return None
    if not inputs.layers:
        inputs = bound(inputs, len(inputs.axes) - 1, None, node.label)
    first = inputs.layers[0] if inputs.layers else None
    if first is not None and (
        len(inputs.layers) > 1 or not isinstance(first, Dense) or first.activation != "linear"
    ):
        return None
    S = np.eye(width_of(inputs.features or (), node.label)) if first is None else first.W
    features = axis_of("skipped", len(last.W))
    axes = [tuple(features if part == signal.features else part for part in signal.axes)
            for signal in (values, inputs)]
    if (values.features and axes[0] != axes[1]) or len(S) != len(last.W):
        return None
    offset = last.b if first is None else last.b + first.b
    return replace(values, layers=(*values.layers[:-1], replace(last, b=offset, skip=S)))


def _dense(node: Node, signal: Signal, at: int, W: FloatArray) -> Signal:
    """Return W times the features on axis `at`, where the new ones stand."""
    signal = settled(bound(signal, at, W.shape[1], node.label), node.label)
    features = axis_of(f"features of {node.name}", len(W))
    layer = Dense(node.name, np.ascontiguousarray(W), np.zeros(len(W)))
    axes = (*signal.axes[:at], features, *signal.axes[at + 1 :])
    return replace(signal, axes=axes, features=features, layers=(*signal.layers, layer))


def _weights(node: Node, at: int, key: str) -> FloatArray:
    return weights_of(node.constant(at), f"{node.label}: {key}")
