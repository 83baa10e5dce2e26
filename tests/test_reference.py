from dataclasses import replace

import numpy as np
import pytest

from lstmgen import reference
from lstmgen.errors import ModelError
from lstmgen.network import Dense, Lstm, Network

from builders import dense, lstm


def test_one_unit_by_hand():
    network = Network.of(
        Lstm("l", np.array([[1.0], [2.0], [3.0], [4.0]]), np.full((4, 1), 0.5), np.full(4, 0.1)),
        outputs="sequence",
    )
    y = reference.run(network, np.array([[[0.2], [-0.3]]])).y[0, :, 0]
    h = c = 0.0
    for x, got in zip((0.2, -0.3), y, strict=True):
        i, f, g, o = (w * x + 0.5 * h + 0.1 for w in (1, 2, 3, 4))
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        assert got == pytest.approx(h, abs=1e-15)


def test_initial_state_and_batch():
    layer = lstm(2, 3)
    h0, c0 = np.array([0.1, -0.2, 0.3]), np.array([1.0, 2.0, -1.0])
    started = Network.of(Lstm("l", layer.W, layer.U, layer.b, h0, c0))
    x = np.random.default_rng(0).normal(size=(4, 6, 2))
    y = reference.run(started, x).y
    for row in range(4):
        np.testing.assert_allclose(reference.run(started, x[row : row + 1]).y[0], y[row])
    assert not np.allclose(y, reference.run(Network.of(layer), x).y)


def test_heads():
    x = np.random.default_rng(0).normal(size=(2, 3, 2))
    body = lstm(2, 3)

    def y(activation):
        return reference.run(Network.of(body, dense(3, 4, activation)), x).y

    logits = y("linear")
    np.testing.assert_allclose(y("softmax"), np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_array_equal(y("argmax")[:, 0], logits.argmax(-1))
    np.testing.assert_allclose(y("relu"), np.maximum(logits, 0))
    np.testing.assert_allclose(y("sigmoid"), 1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose(y("tanh"), np.tanh(logits))


L = lstm(2, 3)


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        ((), {}, r"the network has no layers; expected at least one LSTM layer"),
        ((dense(2, 2),), {}, r"1 layers, none of them an LSTM"),
        ((Lstm("l", L.W[:8], L.U, L.b),), {}, r"l.W is \(8, 2\); expected \(12, 2\), since l.U"),
        ((Lstm("l", L.W, L.U[:9], L.b),), {}, r"l.U is \(9, 3\); expected \(4k, k\)"),
        ((Lstm("l", L.W, L.U, L.b[:3]),), {}, r"l.b is \(3,\); expected \(12,\)"),
        ((Lstm("l", L.W, L.U, L.b, np.zeros(2)),), {}, r"l.h0 is \(2,\); expected \(3,\)"),
        ((Lstm("l", L.W, L.U, L.b * np.nan),), {}, r"l.b holds 12 values that are NaN"),
        ((L, dense(4, 2)), {}, r"fc.W takes 4 inputs; expected 3, the width of lstm0"),
        ((L, Dense("d", np.ones((2, 3)), np.ones(3))), {}, r"d.b is \(3,\); expected \(2,\)"),
        ((L, dense(3, 2, "gelu")), {}, r"activation 'gelu' is unknown; expected one of linear"),
        ((dense(2, 2, "softmax"), L), {}, r"fc: softmax is followed by lstm0"),
        ((L, L), {}, r"2 layers are called 'lstm0'"),
        ((L,), {"name": ""}, r"^a network or layer is called ''; expected 1 to 256 printable"),
        ((replace(L, name="a\x1b"),), {}, r"^a network or layer is called 'a\\x1b'; expected 1"),
        ((L,), {"outputs": "first"}, r"outputs is 'first'; expected 'last' or 'sequence'"),
        ((L,), {"input_range": (1.0, 1.0)}, r"input range 1.0:1.0; expected two finite"),
        ((lstm(4097, 1),), {}, r"4097 inputs, 1 outputs; expected at most 4096"),
        (tuple(lstm(1, 1, name=f"l{i}") for i in range(65)), {}, r"65 layers; expected at most 64"),
    ],
)
def test_bad_networks(layers, options, message):
    with pytest.raises(ModelError, match=message):
        Network(layers, **options)


def test_all_problems_at_once():
    with pytest.raises(ModelError) as caught:
        Network.of(Lstm("l", L.W[:8], L.U, L.b[:3]), outputs="first")
    assert len(str(caught.value).splitlines()) == 3
