"""The float run of every variant against loops over single numbers, written here anew."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from lstmgen import reference
from lstmgen.layers import Bidirectional, Dense, Embedding, Gru, Layer, Lstm
from lstmgen.network import Network

import float_variants as variants

Row = list[float]


def sigma(z: float) -> float:
    return 1 / (1 + math.exp(-z))


SCALAR = {
    "sigmoid": sigma,
    "hard_sigmoid": lambda z: min(1.0, max(0.0, z / 5 + 0.5)),
    "hard_sigmoid_6": lambda z: min(6.0, max(0.0, z + 3)) / 6,
    "tanh": math.tanh,
    "relu": lambda z: z if z > 0 else 0.0,
    "linear": lambda z: z,
}


def dot(row: Sequence[float], values: Row) -> float:
    assert len(row) == len(values)
    return sum(float(w) * v for w, v in zip(row, values, strict=True))


def limited(z: float, limit: float | None) -> float:
    return z if limit is None else max(-limit, min(limit, z))


def lstm_states(layer: Lstm, xs: list[Row]) -> list[Row]:
    """Return h after each step, unit by unit."""
    k, width = layer.units, layer.width
    h = [0.0] * width if layer.h0 is None else [float(v) for v in layer.h0]
    c = [0.0] * k if layer.c0 is None else [float(v) for v in layer.c0]
    gate, cell, output = SCALAR[layer.gate], SCALAR[layer.cell], SCALAR[layer.output]
    states = []
    for x in xs:
        new_c, m = [], []
        for unit in range(k):
            i, f, g, o = (
                dot(layer.W[at], x) + dot(layer.U[at], h) + float(layer.b[at])
                for at in (unit, k + unit, 2 * k + unit, 3 * k + unit)
            )
            if layer.peephole is not None:
                i += float(layer.peephole[0][unit]) * c[unit]
                f += float(layer.peephole[1][unit]) * c[unit]
            kept = gate(limited(f, layer.clip)) * c[unit]
            added = gate(limited(i, layer.clip)) * cell(limited(g, layer.clip))
            new_c.append(limited(kept + added, layer.cell_clip))
            if layer.peephole is not None:
                o += float(layer.peephole[2][unit]) * new_c[unit]
            m.append(gate(limited(o, layer.clip)) * output(new_c[unit]))
        c = new_c
        h = m if layer.projection is None else [dot(row, m) for row in layer.projection]
        states.append(h)
    return states


def gru_states(layer: Gru, xs: list[Row]) -> list[Row]:
    """Return h after each step, unit by unit."""
    k = layer.units
    h = [0.0] * k if layer.h0 is None else [float(v) for v in layer.h0]
    gate, cell = SCALAR[layer.gate], SCALAR[layer.cell]
    states = []
    for x in xs:
        r, u = (
            [
                gate(limited(dot(layer.W[at], x) + dot(layer.U[at], h) + float(layer.b[at]),
                             layer.clip))
                for at in range(first, first + k)
            ]
            for first in (0, k)
        )
        new = []
        for unit in range(k):
            at = 2 * k + unit
            z = dot(layer.W[at], x) + float(layer.b[at])
            if layer.reset_after:
                z += r[unit] * (dot(layer.U[at], h) + float(layer.b_u[unit]))
            else:
                z += dot(layer.U[at], [a * b for a, b in zip(r, h, strict=True)])
            new.append(u[unit] * h[unit] + (1 - u[unit]) * cell(limited(z, layer.clip)))
        h = new
        states.append(h)
    return states


def states(layer: Lstm | Gru, xs: list[Row]) -> list[Row]:
    return lstm_states(layer, xs) if isinstance(layer, Lstm) else gru_states(layer, xs)


def merged(way: str, one: Row, other: Row) -> Row:
    if way == "concat":
        return one + other
    joined = {"sum": lambda a, b: a + b, "average": lambda a, b: (a + b) / 2,
              "multiply": lambda a, b: a * b}[way]
    return [joined(a, b) for a, b in zip(one, other, strict=True)]


def dense_value(layer: Dense, x: Row, u: Row) -> Row:
    z = [dot(row, x) + float(b) for row, b in zip(layer.W, layer.b, strict=True)]
    if layer.skip is not None:
        z = [a + dot(row, u) for a, row in zip(z, layer.skip, strict=True)]
    if layer.activation == "softmax":
        e = [math.exp(a) for a in z]
        return [a / sum(e) for a in e]
    if layer.activation == "argmax":
        return [float(z.index(max(z)))]
    return [SCALAR[layer.activation](a) for a in z]


def sequence_of(layer: Layer, xs: list[Row], us: list[Row]) -> list[Row]:
    """Return what a layer hands on at every step."""
    if isinstance(layer, Embedding):
        return [[float(v) for v in layer.table[int(x[0])]] for x in xs]
    if isinstance(layer, Dense):
        return [dense_value(layer, x, u) for x, u in zip(xs, us, strict=True)]
    if isinstance(layer, Bidirectional):
        there = states(layer.forward, xs)
        back = states(layer.backward, xs[::-1])[::-1]
        return [merged(layer.merge, f, b) for f, b in zip(there, back, strict=True)]
    if layer.direction == "forward":
        return states(layer, xs)
    turned = states(layer, xs[::-1])
    return turned[::-1] if layer.direction == "reverse" else turned


def last_of(layer: Layer, xs: list[Row]) -> Row:
    """Return what a recurrent layer hands on as its last value."""
    if isinstance(layer, Bidirectional):
        back = states(layer.backward, xs[::-1])
        newest = back[-1] if layer.ends == "state" else back[0]
        return merged(layer.merge, states(layer.forward, xs)[-1], newest)
    assert isinstance(layer, Lstm | Gru)
    return states(layer, xs if layer.direction == "forward" else xs[::-1])[-1]


def expected(network: Network, x: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Return y as `reference.run` should, a sequence at a time."""
    found = []
    for sequence, length in zip(x.tolist(), lengths, strict=True):
        us = xs = sequence[:length]
        last = max(n for n, layer in enumerate(network.layers)
                   if isinstance(layer, Lstm | Gru | Bidirectional))
        if network.outputs == "last":
            for layer in network.layers[:last]:
                xs = sequence_of(layer, xs, us)
            y = last_of(network.layers[last], xs)
            for layer in network.layers[last + 1 :]:
                y = dense_value(layer, y, us[-1])
            found.append(y)
        else:
            for layer in network.layers:
                xs = sequence_of(layer, xs, us)
            found.append(xs + [[0.0] * len(xs[0])] * (len(sequence) - length))
    return np.array(found)


@pytest.mark.parametrize("lengths", [None, (6, 1, 4)], ids=["whole", "lengths"])
@pytest.mark.parametrize("outputs", ["last", "sequence"])
@pytest.mark.parametrize("variant", variants.LAYERS)
def test_variant(variant, outputs, lengths):
    network = variants.network(variant, outputs)
    x = 1.5 * variants.inputs(network)
    if isinstance(network.layers[0], Embedding):
        x = variants.inputs(network)
    y = reference.run(network, x, None if lengths is None else np.array(lengths)).y
    wanted = expected(network, x, lengths or (6, 6, 6))
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-13)
    assert np.abs(wanted).max() > 0.05


@pytest.mark.parametrize("head", ["softmax", "argmax", "sigmoid", "relu"])
@pytest.mark.parametrize("outputs", ["last", "sequence"])
def test_heads_with_lengths(head, outputs):
    network = Network.of(variants.lstm(), variants.dense(4, 3, activation=head), outputs=outputs)
    x, lengths = variants.inputs(network), [2, 6, 5]
    y = reference.run(network, x, np.array(lengths)).y
    np.testing.assert_allclose(y, expected(network, x, lengths), rtol=0, atol=1e-13)


@pytest.mark.parametrize("variant", variants.LAYERS)
def test_variants_are_not_the_plain_layer(variant):
    """Each choice changes the outputs: a run that ignored it would be seen."""
    network = variants.network(variant)
    x = variants.inputs(network)
    y = reference.run(network, x).y
    others = [
        other for other in variants.LAYERS
        if other != variant and variants.network(other).width == network.width
        and variants.network(other).inputs == network.inputs
    ]
    same = [
        other for other in others if np.allclose(reference.run(variants.network(other), x).y, y)
    ]
    assert set(same) <= ALIKE.get(variant, set())


PLAIN = {"lstm", "lstm gates sigmoid", "lstm cell tanh", "lstm output tanh"}
PLAIN_GRU = {"gru", "gru gates sigmoid", "gru cell tanh", "gru forward"}
ALIKE = {
    **{one: PLAIN - {one} for one in PLAIN},
    **{one: PLAIN_GRU - {one} for one in PLAIN_GRU},
    # Which end is the last does not touch sequences.
    **{
        f"both ways {merge} {ends}": {f"both ways {merge} {other}"}
        for merge in ("concat", "sum", "average", "multiply")
        for ends, other in (("state", "step"), ("step", "state"))
    },
}


def test_ends_differ_for_every_merge():
    for merge in ("concat", "sum", "average", "multiply"):
        both = [variants.network(f"both ways {merge} {ends}", "last") for ends in ("state", "step")]
        x = variants.inputs(both[0])
        one, other = (reference.run(network, x).y for network in both)
        assert np.abs(one - other).max() > 1e-3


def test_steps_beyond_a_length_are_not_read():
    """Not even where they are NaN; and the traces there are zeros."""
    for variant in ("both ways concat state", "flipped before reverse", "dense skip tanh"):
        network = variants.network(variant)
        x = variants.inputs(network)
        lengths = np.array([3, 6, 1])
        plain = reference.run(network, x, lengths)
        for row, length in enumerate(lengths):
            alone = reference.run(network, x[row : row + 1, :length])
            np.testing.assert_allclose(plain.y[row, :length], alone.y[0], rtol=0, atol=1e-14)
            assert not plain.y[row, length:].any()
            for values in (*plain.layers.values(), *plain.cells.values()):
                assert not values[row, length:].any()
            x[row, length:] = np.nan
        np.testing.assert_array_equal(reference.run(network, x, lengths).y, plain.y)


def test_traces_hold_the_halves():
    network = variants.network("both ways concat state")
    trace = reference.run(network, variants.inputs(network))
    assert set(trace.layers) == {"both", "both_forward", "both_backward", "d"}
    np.testing.assert_array_equal(
        trace.layers["both"],
        np.concatenate([trace.layers["both_forward"], trace.layers["both_backward"]], -1),
    )
    assert trace.cells["both_backward"].shape == (3, 6, 4)


def test_cells_are_in_the_order_computed():
    for direction in ("reverse", "flipped"):
        network = variants.network(f"lstm {direction}")
        x = variants.inputs(network)
        forward = variants.network("lstm forward")
        np.testing.assert_array_equal(
            reference.run(network, x).cells["l"], reference.run(forward, x[:, ::-1]).cells["l"]
        )
