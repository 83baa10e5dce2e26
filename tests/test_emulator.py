import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmgen.emulate import emulate, output_shape
from lstmgen.emulator import Emulator
from lstmgen.errors import ModelError, RangeError
from lstmgen.network import Dense, Lstm, Network

from builders import (
    NETWORKS,
    PRECISIONS,
    calibration,
    nearest,
    quantized,
    raw_inputs,
    with_mid_shifts,
)


def assert_equal(one: Emulator, two: Emulator) -> None:
    for a, b in zip(one.state, two.state, strict=True):
        np.testing.assert_array_equal(a.h, b.h)
        np.testing.assert_array_equal(a.c, b.c)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_fast_equals_literal(name, precision):
    q = quantized(name, precision)
    x = raw_inputs(q)
    fast, literal = Emulator(q), Emulator(q, literal=True)
    for emulator in (fast, literal):
        emulator.reset(len(x))
    traces = fast.trace(x), literal.trace(x)
    for layer in q.layers:
        np.testing.assert_array_equal(traces[0][layer.name], traces[1][layer.name])
    assert_equal(fast, literal)


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["odd_sizes", "sequence", "extreme_weights", "large_inputs"])
def test_fast_equals_literal_with_mid_shifts(name, precision, by_row):
    q = with_mid_shifts(quantized(name, precision), by_row)
    x = raw_inputs(q)
    fast, literal = Emulator(q, batch=len(x)), Emulator(q, literal=True, batch=len(x))
    traces = fast.trace(x), literal.trace(x)
    for layer in q.layers:
        np.testing.assert_array_equal(traces[0][layer.name], traces[1][layer.name])
    assert_equal(fast, literal)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("literal", [False, True])
def test_run_is_repeated_step(name, precision, literal):
    q = quantized(name, precision)
    x = raw_inputs(q, steps=7)
    whole, stepped = Emulator(q, literal), Emulator(q, literal)
    whole.reset(len(x))
    stepped.reset(len(x))
    parts = [whole.run(x[:, :3]), whole.run(x[:, 3:])]
    steps = [stepped.step(x[:, t]) for t in range(7)]
    if q.outputs == "sequence":
        np.testing.assert_array_equal(np.concatenate(parts, 1), np.stack(steps, 1))
    else:
        np.testing.assert_array_equal(parts[0], steps[2])
        np.testing.assert_array_equal(parts[1], steps[6])
    assert_equal(whole, stepped)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_fast_equals_literal_on_random_networks(seed):
    r = np.random.default_rng(seed)
    network = _random_network(r)
    x = calibration(network, 4, 6) if r.random() < 0.7 else None
    mid_shift = [None, False, True][r.integers(3)]
    bits = int(r.integers(6, 12))
    q = nearest(network, r.choice(PRECISIONS), x, table_bits=bits, mid_shift=mid_shift)
    raw = raw_inputs(q, 6)
    fast, literal = Emulator(q), Emulator(q, literal=True)
    for emulator in (fast, literal):
        emulator.reset(len(raw))
    np.testing.assert_array_equal(fast.run(raw), literal.run(raw))
    assert_equal(fast, literal)


def _random_network(r):
    width = int(r.integers(1, 6))
    layers = []
    kinds = ["lstm"] + ["lstm" if r.random() < 0.4 else "dense" for _ in range(r.integers(0, 4))]
    r.shuffle(kinds)
    for at, kind in enumerate(kinds):
        rows, scale = int(r.integers(1, 7)), float(10.0 ** r.uniform(-3, 1.5))
        if kind == "lstm":
            layers.append(Lstm(
                f"l{at}",
                r.normal(0, scale, (4 * rows, width)),
                r.normal(0, scale, (4 * rows, rows)) * r.integers(0, 2, (4 * rows, 1)),
                r.normal(0, scale, 4 * rows),
            ))
        else:
            known = ["linear", "relu", "sigmoid", "tanh"]
            last = at == len(kinds) - 1
            activation = r.choice(known + ["softmax", "argmax"] * last)
            W, b = r.normal(0, scale, (rows, width)), r.normal(0, scale, rows)
            layers.append(Dense(f"d{at}", W, b, str(activation)))
        width = rows
    return Network(tuple(layers), outputs=str(r.choice(["last", "sequence"])))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((2, 3, 3), int), ModelError, r"2 sequences for a state of 1; call reset"),
        (np.zeros((1, 3), int), ModelError, r"inputs are \(1, 3\); expected \(1, steps, 3\)"),
        (np.zeros((1, 0, 3), int), ModelError, r"inputs are \(1, 0, 3\)"),
        (np.zeros((1, 3, 3)), ModelError, r"of type float64; expected integers"),
        (np.full((1, 3, 3), 128), RangeError, r"span 128..128; expected -128..127, the range of"),
    ],
)
def test_bad_inputs(x, error, message):
    with pytest.raises(error, match=message):
        Emulator(quantized("odd_sizes", "q7")).run(x)


def test_instances_are_independent():
    q = quantized("odd_sizes", "q7")
    x = raw_inputs(q, 5)
    together, alone = Emulator(q), Emulator(q)
    together.reset(len(x))
    y = together.run(x)
    for row in range(len(x)):
        alone.reset()
        np.testing.assert_array_equal(alone.run(x[row : row + 1]), y[row : row + 1])


def test_cell_reaches_and_leaves_both_ends():
    q = nearest(NETWORKS["runaway_cell"](), "q15", np.ones((1, 1, 1)))
    emulator = Emulator(q)
    emulator.run(np.full((1, 1100, 1), q.x.hi))
    assert emulator.state[0].c.item() == 2**31 - 1
    assert emulator.saturations["lstm0"] > 0
    emulator.run(np.full((1, 4200, 1), q.x.lo))
    assert emulator.state[0].c.item() == -(2**31)
    emulator.run(np.full((1, 10, 1), q.x.hi))
    assert emulator.state[0].c.item() > -(2**31)


def test_chunks_give_what_one_run_gives(monkeypatch, rng):
    import lstmgen.emulate as module

    monkeypatch.setattr(module, "BATCH", 3)
    monkeypatch.setattr(module, "_CHUNK_VALUES", 3 * 24 * 4)
    for name in ("sequence", "stacked_argmax"):
        q = quantized(name, "w8a16")
        x = rng.normal(0, 1, (7, 10, q.inputs))
        y = np.full(output_shape(q, x), -99)
        for chunk in emulate(q, x):
            if chunk.y is not None:
                y[(chunk.rows, chunk.steps) if q.outputs == "sequence" else chunk.rows] = chunk.y
        whole = Emulator(q)
        whole.reset(7)
        np.testing.assert_array_equal(y, whole.run(q.to_raw(x)))
