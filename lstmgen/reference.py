"""The float64 forward pass: the yardstick for everything that is quantized."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layers import Bidirectional, Dense, Embedding, Gru, Layer, Lstm, Recurrent
from .network import Network
from .qformat import FloatArray, IntArray


@dataclass(frozen=True)
class Trace:
    """What a float run computed.

    y: (B, width) for networks that output the last step, else (B, T, width);
        argmax gives class numbers.
    layers: by layer name, the values it hands on at every step, (B, T, width); for a
        softmax or argmax layer its logits. The halves of a bidirectional layer stand beside it.
    cells, candidates: by name of a recurrent layer, its cell states (of a GRU zeros) and what
        its cell function gave, in the order computed, (B, T, k).
    """

    y: FloatArray
    layers: dict[str, FloatArray]
    cells: dict[str, FloatArray]
    candidates: dict[str, FloatArray]


def sigmoid(z: FloatArray) -> FloatArray:
    """Return 1 / (1 + exp(-z)), without overflow for any z."""
    return 0.5 * (1.0 + np.tanh(0.5 * z))


def softmax(logits: FloatArray) -> FloatArray:
    """Return exp(logits) / sum(exp(logits)) over the last axis."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


FUNCTIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda z: np.clip(0.2 * z + 0.5, 0.0, 1.0),
    "hard_sigmoid_6": lambda z: np.clip(z / 6.0 + 0.5, 0.0, 1.0),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
    "linear": lambda z: z,
    "softmax": lambda z: z,
    "argmax": lambda z: z,
}
"""What a gate, a cell or a dense layer applies; the heads are applied by `run`."""


def run(network: Network, x: FloatArray, lengths: IntArray | None = None) -> Trace:
    """Run the network in float64 on x of shape (B, T, n), from its initial state.

    lengths: (B,) steps of each sequence, 1 to T; what lies beyond is not read, and the values
    there are zeros, a dense layer's too. None: T for all.
    """
    values = np.asarray(x, np.float64)
    batch, steps = values.shape[:2]
    ends = np.full(batch, steps) if lengths is None else np.asarray(lengths)
    valid = np.arange(steps) < ends[:, None]
    inputs, runner = values, _Runner(valid)
    for layer in network.layers:
        values = runner.layer(layer, values, inputs)
    y = runner.within(_head(network, values))
    if network.outputs == "last":
        y = _head(network, runner.last(network.layers, values, inputs))
    return Trace(y, runner.layers, runner.cells, runner.candidates)


def resume(network: Network, known: Mapping[str, FloatArray], x: FloatArray) -> FloatArray:
    """Return y (B, [T,] width) where the network's first layers gave the values `known`.

    known: by name (B, T, width), halves of bidirectional layers too; of a network that does not
    stream and outputs the last step no layer behind the last recurrent one. x: (B, T, n).
    """
    values = inputs = np.asarray(x, np.float64)
    runner = _Runner(np.ones(values.shape[:2], np.bool_))
    runner.layers.update(known)
    for layer in network.layers:
        found = known.get(layer.name)
        values = runner.layer(layer, values, inputs) if found is None else found
    if network.outputs == "last":
        values = runner.last(network.layers, values, inputs, known)
    return _head(network, values)


_NOTHING: Mapping[str, FloatArray] = {}
"""No values known beforehand."""


class _Runner:
    """One run over a batch; valid: (B, T) whether a step belongs to its sequence."""

    def __init__(self, valid: NDArray[np.bool_]) -> None:
        self.valid = valid
        self.layers: dict[str, FloatArray] = {}
        self.cells: dict[str, FloatArray] = {}
        self.candidates: dict[str, FloatArray] = {}

    def layer(self, layer: Layer, x: FloatArray, inputs: FloatArray) -> FloatArray:
        """Return the values (B, T, width) that a layer hands on for x (B, T, n)."""
        if isinstance(layer, Embedding):
            y = layer.table[np.asarray(x[..., 0], np.int64)]
        elif isinstance(layer, Dense):
            y = self.within(dense(layer, x, inputs))
        elif isinstance(layer, Bidirectional):
            forward = self._walk(layer.forward, x, "forward")
            backward = self._walk(layer.backward, x, "reverse")
            y = merge(layer.merge, forward, backward)
        else:
            y = self._walk(layer, x, layer.direction)
        self.layers[layer.name] = y
        return y

    def within(self, values: FloatArray) -> FloatArray:
        """Return the values (B, T, n), zeros beyond the end of a sequence."""
        return values if self.valid.all() else np.where(self.valid[..., None], values, 0.0)

    def last(
        self,
        layers: tuple[Layer, ...],
        y: FloatArray,
        inputs: FloatArray,
        known: Mapping[str, FloatArray] = _NOTHING,
    ) -> FloatArray:
        """Return the last values (B, width): of the last recurrent layer, through what follows.

        known: as of `resume`.
        """
        at = max(n for n, layer in enumerate(layers) if not isinstance(layer, Dense | Embedding))
        values = self._last_of(layers[at])
        end = self.valid.sum(1) - 1
        newest = _at(inputs, end)
        for layer in layers[at + 1 :]:
            assert isinstance(layer, Dense)
            found = known.get(layer.name)
            values = dense(layer, values, newest) if found is None else _at(found, end)
        return values

    def _last_of(self, layer: Layer) -> FloatArray:
        end = self.valid.sum(1) - 1
        if isinstance(layer, Bidirectional):
            forward, backward = (self.layers[half.name] for half in layer.halves)
            oldest = end if layer.ends == "step" else 0 * end
            return merge(layer.merge, _at(forward, end), _at(backward, oldest))
        reverse = isinstance(layer, Lstm | Gru) and layer.direction == "reverse"
        return _at(self.layers[layer.name], 0 * end if reverse else end)

    def _walk(self, layer: Recurrent, x: FloatArray, direction: str) -> FloatArray:
        batch, steps = self.valid.shape
        out = np.zeros((batch, steps, layer.width))
        cells, candidates = np.zeros((2, batch, steps, layer.units))
        h = _start(layer.h0, batch, layer.width)
        c = _start(layer.c0 if isinstance(layer, Lstm) else None, batch, layer.units)
        lengths, rows = self.valid.sum(1), np.arange(batch)
        for t in range(steps):
            live = t < lengths
            source = np.full(batch, t) if direction == "forward" else np.maximum(lengths - 1 - t, 0)
            target = source if direction == "reverse" else np.full(batch, t)
            if isinstance(layer, Lstm):
                new_h, new_c, g = lstm_step(layer, x[rows, source], h, c)
            else:
                (new_h, g), new_c = gru_step(layer, x[rows, source], h), c
            h = np.where(live[:, None], new_h, h)
            c = np.where(live[:, None], new_c, c)
            out[rows[live], target[live]] = h[live]
            cells[rows[live], t], candidates[rows[live], t] = c[live], g[live]
        self.layers[layer.name] = out
        self.cells[layer.name], self.candidates[layer.name] = cells, candidates
        return out


def lstm_step(
    layer: Lstm, x: FloatArray, h: FloatArray, c: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return (h, c) after a step and the candidate; x: (B, n), h: (B, p), c: (B, k)."""
    k = layer.units
    gate, cell, output = (FUNCTIONS[name] for name in (layer.gate, layer.cell, layer.output))
    z = x @ layer.W.T + h @ layer.U.T + layer.b
    p = np.zeros((3, k)) if layer.peephole is None else layer.peephole
    i = gate(_clip(z[:, :k] + p[0] * c, layer.clip))
    f = gate(_clip(z[:, k : 2 * k] + p[1] * c, layer.clip))
    g = cell(_clip(z[:, 2 * k : 3 * k], layer.clip))
    c = _clip(f * c + i * g, layer.cell_clip)
    o = gate(_clip(z[:, 3 * k :] + p[2] * c, layer.clip))
    m = o * output(c)
    return (m if layer.projection is None else m @ layer.projection.T), c, g


def gru_step(layer: Gru, x: FloatArray, h: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return h after a step and the candidate; x: (B, n), h: (B, k)."""
    k = layer.units
    gate, cell = FUNCTIONS[layer.gate], FUNCTIONS[layer.cell]
    from_x = x @ layer.W.T + layer.b
    rz = gate(_clip(from_x[:, : 2 * k] + h @ layer.U[: 2 * k].T, layer.clip))
    r, z = rz[:, :k], rz[:, k:]
    U = layer.U[2 * k :]
    inner = r * (h @ U.T + layer.b_u) if layer.reset_after else (r * h) @ U.T
    n = cell(_clip(from_x[:, 2 * k :] + inner, layer.clip))
    return z * h + (1.0 - z) * n, n


def dense(layer: Dense, x: FloatArray, inputs: FloatArray) -> FloatArray:
    """Return a dense layer's values for x (..., n) and the network's own inputs (..., n0)."""
    z = x @ layer.W.T + layer.b
    if layer.skip is not None:
        z = z + inputs @ layer.skip.T
    return np.asarray(FUNCTIONS[layer.activation](z))


def merge(way: str, forward: FloatArray, backward: FloatArray) -> FloatArray:
    """Return both directions' values as one."""
    if way == "concat":
        return np.concatenate([forward, backward], -1)
    if way == "multiply":
        return forward * backward
    return (forward + backward) * (0.5 if way == "average" else 1.0)


def _at(values: FloatArray, steps: IntArray) -> FloatArray:
    return values[np.arange(len(values)), steps]


def _start(state: FloatArray | None, batch: int, width: int) -> FloatArray:
    return np.tile(np.zeros(width) if state is None else state, (batch, 1))


def _clip(values: FloatArray, limit: float | None) -> FloatArray:
    return values if limit is None else np.clip(values, -limit, limit)


def _head(network: Network, values: FloatArray) -> FloatArray:
    if network.activation == "softmax":
        return softmax(values)
    if network.activation == "argmax":
        return np.asarray(values.argmax(-1, keepdims=True), np.float64)
    return values
