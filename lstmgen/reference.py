"""The float64 forward pass: the yardstick for everything that is quantized."""

from dataclasses import dataclass

import numpy as np

from .network import Dense, Lstm, Network
from .qformat import FloatArray


@dataclass(frozen=True)
class Trace:
    """What a float run computed.

    y: (B, width) for networks that output the last step, else (B, T, width);
        argmax gives class numbers.
    layers: by layer name, the values it hands on at every step, (B, T, width); for a
        softmax or argmax layer its logits.
    """

    y: FloatArray
    layers: dict[str, FloatArray]


def sigmoid(z: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-z)), without overflow for any z."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def softmax(logits: FloatArray) -> FloatArray:
    """Return exp(logits) / sum(exp(logits)) over the last axis."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def run(network: Network, x: FloatArray) -> Trace:
    """Run the network in float64 on x of shape (B, T, n), from its initial state."""
    values = np.asarray(x, np.float64)
    layers: dict[str, FloatArray] = {}
    for layer in network.layers:
        values = _lstm(layer, values) if isinstance(layer, Lstm) else _dense(layer, values)
        layers[layer.name] = values
    y = _head(network, values)
    return Trace(y if network.outputs == "sequence" else y[:, -1], layers)


def _lstm(layer: Lstm, x: FloatArray) -> FloatArray:
    batch, steps, _ = x.shape
    k = layer.units
    zeros = np.zeros(k)
    h = np.tile(zeros if layer.h0 is None else layer.h0, (batch, 1))
    c = np.tile(zeros if layer.c0 is None else layer.c0, (batch, 1))
    from_x = x @ layer.W.T + layer.b
    out = np.empty((batch, steps, k))
    for t in range(steps):
        z = from_x[:, t] + h @ layer.U.T
        i, f, g, o = z[:, :k], z[:, k : 2 * k], z[:, 2 * k : 3 * k], z[:, 3 * k :]
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out[:, t] = h
    return out


def _dense(layer: Dense, x: FloatArray) -> FloatArray:
    z = x @ layer.W.T + layer.b
    if layer.activation == "relu":
        return np.maximum(z, 0.0)
    if layer.activation == "sigmoid":
        return sigmoid(z)
    if layer.activation == "tanh":
        return np.asarray(np.tanh(z))
    return np.asarray(z)


def _head(network: Network, values: FloatArray) -> FloatArray:
    if network.activation == "softmax":
        return softmax(values)
    if network.activation == "argmax":
        return np.asarray(values.argmax(-1, keepdims=True), np.float64)
    return values
