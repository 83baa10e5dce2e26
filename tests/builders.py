"""Small seeded networks; every bug becomes the smallest one here before it is fixed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lstmgen import reference
from lstmgen.network import Activation, Dense, Lstm, Network
from lstmgen.quantized import Precision, QuantizedNetwork
from lstmgen.quantized_layers import QuantizedLayer, QuantizedLstm
from lstmgen.quantizer import quantize
from lstmgen.scaling import InputScaling

PRECISIONS: tuple[Precision, ...] = ("q15", "w8a16", "q7")


def lstm(
    inputs: int, units: int, *, seed: int = 0, scale: float = 0.4, name: str = "lstm0"
) -> Lstm:
    r = np.random.default_rng([seed, inputs, units])
    return Lstm(
        name,
        r.normal(0, scale, (4 * units, inputs)),
        r.normal(0, scale, (4 * units, units)),
        r.normal(0, 0.5, 4 * units),
    )


def dense(
    inputs: int, rows: int, activation: Activation = "linear", *, seed: int = 0, name: str = "fc"
) -> Dense:
    r = np.random.default_rng([seed, inputs, rows, 1])
    return Dense(name, r.normal(0, 0.5, (rows, inputs)), r.normal(0, 0.3, rows), activation)


def one_unit() -> Network:
    return Network.of(lstm(1, 1, seed=1), name="one")


def odd_sizes() -> Network:
    return Network.of(
        dense(3, 5, "relu", name="pre"),
        lstm(5, 7, name="lstm0"),
        dense(7, 3, "tanh", name="between"),
        lstm(3, 2, name="lstm1"),
        dense(2, 3, "softmax", name="head"),
        name="odd",
    )


def sequence() -> Network:
    return Network.of(lstm(2, 6), dense(6, 1), outputs="sequence", name="seq")


def stacked_argmax() -> Network:
    return Network.of(
        lstm(4, 8, name="lstm0"),
        lstm(8, 5, name="lstm1"),
        dense(5, 6, "relu", name="hidden"),
        dense(6, 4, "argmax", name="head"),
        name="classes",
    )


def hidden_out() -> Network:
    return Network.of(lstm(3, 4), name="bare", outputs="sequence")


def sigmoid_everywhere() -> Network:
    return Network.of(
        dense(2, 4, "sigmoid", name="pre"),
        lstm(4, 6),
        dense(6, 5, "sigmoid", name="mid"),
        dense(5, 2, "sigmoid", name="head"),
        name="sig",
        outputs="sequence",
    )


def initial_state() -> Network:
    r = np.random.default_rng(5)
    layer = lstm(2, 5)
    return Network.of(
        Lstm("lstm0", layer.W, layer.U, layer.b, r.uniform(-1, 1, 5), r.normal(0, 3, 5)),
        dense(5, 2, "tanh", name="head"),
        name="started",
    )


def extreme_weights() -> Network:
    """Weights of both signs up to 25: shifts to both sides in one layer, saturated gates."""
    r = np.random.default_rng(9)
    scale = np.where(np.arange(4 * 6) % 3 == 0, 25.0, 0.05)[:, None]
    return Network.of(
        Lstm(
            "lstm0",
            r.uniform(-1, 1, (24, 3)) * scale,
            r.uniform(-1, 1, (24, 6)) * scale,
            r.normal(0, 2, 24),
        ),
        dense(6, 3, "softmax", name="head"),
        name="extreme",
    )


def huge_sums() -> Network:
    """Pre-activations beyond +-2048: rule N4 has to clamp."""
    r = np.random.default_rng(11)
    return Network.of(
        Lstm(
            "lstm0",
            r.uniform(-3000, 3000, (8, 2)),
            r.uniform(-900, 900, (8, 2)),
            r.normal(0, 100, 8),
        ),
        Dense("head", r.uniform(-5000, 5000, (3, 2)), r.normal(0, 10, 3), "softmax"),
        name="huge",
    )


def runaway_cell() -> Network:
    """f and i at 1, g at +-1 by the input's sign: the cell runs into both ends of int32."""
    W = np.array([[0.0], [0.0], [9.0], [0.0]])
    return Network.of(
        Lstm("lstm0", W, np.zeros((4, 1)), np.array([15.0, 15.99, 0.0, 15.0])),
        name="runaway",
        outputs="sequence",
    )


def zeros() -> Network:
    return Network.of(
        Lstm("lstm0", np.zeros((12, 2)), np.zeros((12, 3)), np.zeros(12)),
        Dense("head", np.zeros((2, 3)), np.zeros(2)),
        name="zeros",
    )


def one_class() -> Network:
    """avr-gcc 5 failed on it ("unrecognizable insn") where the interpolation was inlined."""
    return Network.of(lstm(1, 1), dense(1, 1, "softmax"), name="single")


def large_inputs() -> Network:
    """Inputs of up to 1000, though seldom: sums over h can be far finer (rule N3b)."""
    r = np.random.default_rng(13)
    W, U = r.normal(0, 0.02, (20, 4)), r.normal(0, 0.6, (20, 5))
    return Network.of(
        Lstm("lstm0", W, U, r.normal(0, 0.3, 20)),
        dense(5, 2),
        name="large",
        input_range=(-1000.0, 1000.0),
    )


NETWORKS: dict[str, Callable[[], Network]] = {
    made.__name__: made
    for made in (
        one_unit,
        odd_sizes,
        sequence,
        stacked_argmax,
        hidden_out,
        sigmoid_everywhere,
        initial_state,
        extreme_weights,
        huge_sums,
        runaway_cell,
        zeros,
        one_class,
        large_inputs,
    )
}


def nearest(
    network: Network, precision: Precision, calibration: object = None, **options: Any
) -> QuantizedNetwork:
    """Quantize with rounding to nearest: for what does not depend on how weights are rounded."""
    return quantize(network, precision, calibration, rounding="nearest", **options)


def quantized(name: str, precision: Precision) -> QuantizedNetwork:
    network = NETWORKS[name]()
    return nearest(network, precision, calibration(network))


def by_feature(q: QuantizedNetwork) -> QuantizedNetwork:
    """The same layers for an input whose features have formats and offsets of their own."""
    j = np.arange(q.inputs)
    return replace(q, scaling=InputScaling(j % 5, 100 - 70 * j))


def of_shape(
    inputs: int,
    units: int,
    precision: Precision,
    scale: float = 0.23,
) -> QuantizedNetwork:
    """One LSTM layer alone, without mid shifts."""
    network = Network.of(lstm(inputs, units, scale=scale))
    return nearest(network, precision, calibration(network), mid_shift=False)


def with_mid_shifts(q: QuantizedNetwork, by_row: bool) -> QuantizedNetwork:
    """The network with shifts of 0 to 6 behind the sums over h (rule N3b): not its float
    original any more, but integers that must come out alike everywhere."""
    r = np.random.default_rng(7)

    def shifted(layer: QuantizedLayer) -> QuantizedLayer:
        if not isinstance(layer, QuantizedLstm):
            return layer
        mid = r.integers(0, 7, (4, layer.units if by_row else 1))
        # Not less than it was: bounds hold on.
        rows = np.maximum(np.broadcast_to(mid, (4, layer.units)).ravel(), layer.mid_shift)
        return replace(layer, mid_shift=rows, x_shift=0)

    layers = tuple(shifted(layer) for layer in q.layers)
    assert any(layer.mid_shift.any() for layer in replace(q, layers=layers).lstms)
    return replace(q, layers=layers)


def undecided() -> Network:
    """An argmax whose classes are close to each other: quantization changes decisions."""
    network = stacked_argmax()
    *layers, head = network.layers
    assert isinstance(head, Dense)
    logits = reference.run(network, calibration(network, 300, 6)).layers[head.name]
    even = replace(head, b=head.b - logits[:, -1].mean(0))
    return Network.of(*layers, even, outputs=network.outputs, name=network.name)


def calibration(network: Network, sequences: int = 8, steps: int = 12) -> np.ndarray:
    r = np.random.default_rng(len(network.layers))
    return r.normal(0, 0.7, (sequences, steps, network.inputs))


def raw_inputs(q: QuantizedNetwork, steps: int = 24) -> np.ndarray:
    """(6, steps, n) integers: noise, all lowest, all highest, alternating, zero, faint noise."""
    r = np.random.default_rng(q.inputs)
    shape = (steps, q.inputs)
    even = np.arange(steps)[:, None] % 2 == 0
    return np.stack([
        r.integers(q.x.lo, q.x.hi + 1, shape),
        np.full(shape, q.x.lo),
        np.full(shape, q.x.hi),
        np.broadcast_to(np.where(even, q.x.lo, q.x.hi), shape),
        np.zeros(shape, np.int64),
        r.integers(-3, 4, shape),
    ])
