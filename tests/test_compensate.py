"""Rounding of weights by what it does to sums, and the choice by held-back calibration data."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from lstmgen import reference
from lstmgen.emulator import Emulator
from lstmgen.errors import ModelError
from lstmgen.layers import Dense, Lstm
from lstmgen.network import Network
from lstmgen.quantizer import quantize
from lstmgen.quantizer.choice import choose
from lstmgen.quantizer.compensate import Grid, compensated, refitted
from lstmgen.quantizer.moments import moments
from lstmgen.quantizer.recipe import Offers, Recipe

from builders import NETWORKS, PRECISIONS, calibration, dense, lstm, nearest
from conftest import ROOT
from variants import VARIANTS, inputs_of


def sqnr(expected: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10((expected**2).sum() / ((got - expected) ** 2).sum()))


def trained_like() -> tuple[Network, np.ndarray, np.ndarray]:
    """A network with correlated inputs, calibration data, and other data of the same kind."""
    r = np.random.default_rng(3)
    network = Network.of(lstm(6, 16, scale=0.5), dense(16, 4, name="head"), name="trained")
    slow = r.normal(0, 1, (72, 40, 2))
    for t in range(1, 40):
        slow[:, t] = 0.9 * slow[:, t - 1] + 0.4 * slow[:, t]
    x = np.tanh(slow @ r.normal(0, 0.6, (2, 6)))
    return network, x[:48], x[48:]


def test_moments_are_those_of_the_real_values():
    r = np.random.default_rng(0)
    raw, steps = r.integers(-32768, 32768, (500, 4)), np.array([0.5, 1.0, 0.25, 2.0])
    found = moments(raw, steps)
    real = raw * steps
    np.testing.assert_allclose(found.mean, real.mean(0))
    np.testing.assert_allclose(found.covariance, np.cov(real.T, bias=True), rtol=1e-9)


def test_the_error_is_the_least_of_all_neighbours():
    """Of three weights and all integers within two units of each."""
    r = np.random.default_rng(1)
    raw = r.normal(0, 1, (2000, 2)) @ r.normal(0, 1, (2, 3)) + r.normal(0, 0.1, (2000, 3))
    given = moments(np.rint(raw * 1000).astype(np.int64), np.full(3, 1e-3))
    weights = r.normal(0, 0.1, (20, 3))
    grid = Grid(np.full((20, 3), 2.0**-6), np.full(3, 127))
    found, gain = compensated(weights, grid, given)
    damped = given.covariance + 1e-2 * np.trace(given.covariance) / 3 * np.eye(3)

    def error(row: int, candidate: np.ndarray) -> float:
        e = weights[row] - candidate * 2.0**-6
        return float(e @ damped @ e)

    around = np.array(list(itertools.product(range(-2, 3), repeat=3)))
    best = [min(error(row, c) for c in around + grid.nearest(weights)[row]) for row in range(20)]
    mine = [error(row, found[row]) for row in range(20)]
    rounded = [error(row, grid.nearest(weights)[row]) for row in range(20)]
    assert all(m <= n for m, n in zip(mine, rounded, strict=True))
    # A search by single moves misses the optimum seldom, and then by little.
    assert sum(np.isclose(m, b, rtol=1e-6) for m, b in zip(mine, best, strict=True)) >= 15
    assert sum(mine) < 1.2 * sum(best) < 0.5 * sum(rounded)
    np.testing.assert_allclose(gain, (weights - found * 2.0**-6) @ given.mean, atol=1e-12)


def test_integers_stay_within_their_limits():
    r = np.random.default_rng(2)
    given = moments(r.integers(-99, 99, (300, 5)), np.ones(5))
    weights = r.uniform(-1, 1, (8, 5))
    found, _ = compensated(weights, Grid(np.full((8, 5), 1 / 127), np.full(5, 127)), given)
    assert np.abs(found).max() <= 127


def test_inputs_that_never_change_leave_weights_at_the_nearest():
    given = moments(np.full((50, 3), 7), np.ones(3))
    weights = np.array([[0.24, -0.26, 0.5]])
    grid = Grid(np.full((1, 3), 0.5), np.full(3, 127))
    found, gain = compensated(weights, grid, given)
    np.testing.assert_array_equal(found, grid.nearest(weights))
    np.testing.assert_allclose(gain, 7 * (weights - 0.5 * found).sum(1))


def test_refitted_weights_undo_what_inputs_lack():
    r = np.random.default_rng(4)
    raw = r.integers(-1000, 1000, (4000, 3))
    weights = r.normal(0, 1, (2, 3))
    given = moments(raw, np.full(3, 1e-3))
    # The targets come from inputs a tenth larger.
    towards = given.covariance @ (1.1 * weights).T
    np.testing.assert_allclose(refitted(weights, given, towards, 1e-9), 1.1 * weights, rtol=1e-6)
    held = refitted(weights, given, towards, 1e3)
    np.testing.assert_allclose(held, weights, rtol=2e-3)


@pytest.mark.parametrize(("precision", "gain"), [("q15", 5.0), ("w8a16", 6.0), ("q7", 1.5)])
def test_compensation_beats_rounding_to_nearest_on_other_data(precision, gain):
    network, x, other = trained_like()
    expected = reference.run(network, other).y
    found = []
    for rounding in ("nearest", "compensated", "auto"):
        q = quantize(network, precision, x, rounding=rounding)
        y = Emulator(q, batch=len(other)).run(q.to_raw(other))
        found.append(sqnr(expected, q.y.to_real(y)))
    assert found[1] > found[0] + gain
    assert found[2] > found[0] + gain


@pytest.mark.parametrize("precision", PRECISIONS)
def test_all_networks_are_equal_in_both_emulators(precision):
    made = [(NETWORKS[name](), calibration(NETWORKS[name]())) for name in NETWORKS]
    made += [(VARIANTS[name](), inputs_of(VARIANTS[name]())) for name in VARIANTS]
    for network, x in made:
        q = quantize(network, precision, x, rounding="compensated")
        raw = q.to_raw(x)
        fast, literal = (Emulator(q, way, batch=len(x)) for way in (False, True))
        np.testing.assert_array_equal(fast.run(raw), literal.run(raw), network.name)


def test_variants_gain_too():
    """White noise as input leaves little to make up for, but the hidden state is correlated."""
    gains = []
    for name in ("gru", "gru_reset_before", "bidirectional", "reverse", "flipped", "peephole"):
        network = VARIANTS[name]()
        x = inputs_of(network, 24, 20)
        expected, decibels = reference.run(network, x).y, []
        for rounding in ("nearest", "compensated"):
            q = quantize(network, "w8a16", x, rounding=rounding)
            y = Emulator(q, batch=len(x)).run(q.to_raw(x))
            decibels.append(sqnr(expected, q.y.to_real(y)))
        gains.append(decibels[1] - decibels[0])
    assert min(gains) > -1.0
    assert np.mean(gains) > 1.5


def test_the_choice_is_never_worse_than_nearest_on_held_back_data():
    network, x, _ = trained_like()
    tried = []

    def make(recipe: Recipe, data: np.ndarray):
        tried.append(recipe)
        rounding = "compensated" if recipe.compensated else "nearest"
        return quantize(network, "q7", data, rounding=rounding)

    chosen = choose(network, x, make, Recipe(compensated=True), Offers("q7"))
    assert chosen.decibel >= chosen.nearest
    assert Recipe() in tried
    # A start that spoils everything is left for rounding to nearest.

    def spoiled(recipe: Recipe, data: np.ndarray):
        calm = data * (1e-3 if recipe.compensated else 1.0)
        return nearest(network, "q7", calm)

    found = choose(network, x, spoiled, Recipe(compensated=True), Offers("q7"))
    assert not found.recipe.compensated
    assert found.decibel == found.nearest


def test_half_of_the_data_may_be_silence():
    network, x, _ = trained_like()
    x[1::2] = 0
    assert quantize(network, "q15", x).calibrated


@pytest.mark.parametrize("silent", [slice(None), slice(1, None, 2)])
@pytest.mark.parametrize("precision", ["q15", "w8a16", "q7"])
def test_a_layer_may_get_nothing_but_zeros(silent, precision):
    """Of all sequences, or of the half that one fold has."""
    network, x, _ = trained_like()
    first = network.layers[0]
    dead = Dense("dead", np.eye(first.inputs), np.zeros(first.inputs), "relu")
    calm = replace(first, b=np.zeros_like(first.b))
    x[silent] = -1.0 - abs(x[silent])
    assert quantize(Network((dead, calm, *network.layers[1:])), precision, x).calibrated


def test_notes_say_how_weights_were_rounded():
    network, x, _ = trained_like()
    note = quantize(network, "w8a16", x).notes[-1]
    assert note.startswith("rounding compensated")
    assert "dB on held-back calibration data, to nearest" in note
    one_recording = quantize(network, "w8a16", x[:1]).notes[-1]
    assert "dB on held-back calibration data, to nearest" in one_recording
    one_step = quantize(network, "w8a16", x[:1, :1]).notes[-1]
    assert one_step == "rounding compensated, dense layers refitted"
    with pytest.raises(ModelError, match="expected one of auto, nearest, compensated"):
        quantize(network, "w8a16", x, rounding="up")  # type: ignore[arg-type]


def test_equal_integers_from_any_number_of_threads():
    code = (
        "import numpy as np; from test_compensate import trained_like; "
        "from lstmgen.quantizer import quantize; network, x, _ = trained_like(); "
        "print(*(quantize(network, p, x).digest() for p in ('q15', 'w8a16', 'q7')))"
    )
    found = set()
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        env = {**os.environ, **dict.fromkeys(names, threads), "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_a_long_memory_does_not_drift():
    """4000 steps of leaky integrators, time constants of 20 to 100 steps: a unit of the forget
    gate, 2^-15, is 0.3 % of the longest's loss."""
    k = 8
    keep = np.log(np.geomspace(20, 100, k))  # sigmoid(keep) = 1 - 1/(1 + constant)
    W = np.zeros((4 * k, 1))
    W[2 * k : 3 * k, 0] = 0.5
    U = np.random.default_rng(6).normal(0, 0.02, (4 * k, k))
    b = np.concatenate([np.full(k, -4.0), keep, np.zeros(k), np.ones(k)])
    network = Network.of(Lstm("lstm0", W, U, b), outputs="sequence", name="integrator")
    r = np.random.default_rng(7)
    x = r.normal(0, 1, (6, 4000, 1))
    q = quantize(network, "q15", x[:4, :1000])
    hidden = Emulator(q, batch=2).run(q.to_raw(x[4:]))
    expected = reference.run(network, x[4:]).y
    assert sqnr(expected[:, -500:], q.y.to_real(hidden)[:, -500:]) >= 50.0
