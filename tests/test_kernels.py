"""What holds for the kernels of every core: equal to the bit, whatever the weights and sizes.

What is particular to one core is in test_kernels_<instruction set>.py. On each core, each pair of
a precision, an effort and a size (or a shift, or an activation) is compiled and run, but not each
triple: `turn` deals them out.
"""

from dataclasses import replace

import numpy as np
import pytest

from lstmgen.bounds import bound_table
from lstmgen.codegen import kernels
from lstmgen.codegen.kernels import choose, choose_dense
from lstmgen.network import Network
from lstmgen.quantized import QuantizedDense, QuantizedLstm, QuantizedNetwork
from lstmgen.target import load_target
from lstmgen.verification import default_inputs, verify

from builders import (
    NETWORKS,
    PRECISIONS,
    calibration,
    dense,
    lstm,
    nearest,
    of_shape,
    quantized,
    raw_inputs,
    with_mid_shifts,
)
from compiled import sources
from tools import usable

CORES = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m55", "riscv32", "avr", "host")
ALIKE = ("cortex-m7", "cortex-m33")
"""Cores with the kernels of the Cortex-M4."""

EFFORTS = ("speed", "balanced", "size")
SIZES = ((1, 1), (1, 2), (3, 3), (5, 5), (3, 7), (9, 17), (7, 33))


def turn(values, *others, ways):
    """Return every `ways`th of the values, from another one on for each place of the other
    parameters: where these have `ways` places or more each, every pair of values occurs."""
    return [value for at, value in enumerate(values) if (at + sum(others)) % ways == 0]


def assert_equal(q: QuantizedNetwork, core: str, steps: int, effort: str = "speed") -> None:
    x = default_inputs(q, np.random.default_rng(3), steps=steps)
    result = verify(q, None, usable(core), x, effort=effort)
    assert result.equal, result.message


@pytest.mark.parametrize("core", CORES + ALIKE)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_on_all_networks(core, precision):
    """Each in each precision; in one, in turn, where these kernels are compared with all networks
    in all precisions elsewhere: those of the Cortex-M4 here, the host's in test_verify.py."""
    target = usable(core)
    networks = list(NETWORKS)
    if core in ALIKE or core == "host":
        networks = turn(networks, PRECISIONS.index(precision), ways=3)
    for name in networks:
        q = quantized(name, precision)
        result = verify(q, None, target, raw_inputs(q, 8))
        assert result.equal, f"{name}: {result.message}"


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_at_odd_sizes(core, precision, effort):
    for inputs, units in turn(SIZES, PRECISIONS.index(precision), EFFORTS.index(effort), ways=3):
        network = Network.of(
            lstm(inputs, units, scale=0.3), dense(units, units % 6 + 1, "softmax", name="head")
        )
        assert_equal(nearest(network, precision, calibration(network)), core, 4, effort)


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_with_mid_shifts(core, precision, by_row):
    networks = [of_shape(*shape, precision) for shape in ((1, 1), (5, 7), (9, 32))]
    networks.append(quantized("extreme_weights", precision))
    for q in turn(networks, PRECISIONS.index(precision), int(by_row), ways=2):
        assert_equal(with_mid_shifts(q, by_row), core, 4)


@pytest.mark.parametrize("effort", ["speed", "balanced"])
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_dense_layers(core, precision, effort):
    """Dense layers of every number of rows modulo 4 and of every activation."""
    network = Network.of(
        dense(3, 9, "relu", name="a"),
        dense(9, 6, "tanh", name="b"),
        lstm(6, 5),
        dense(5, 11, "sigmoid", name="c"),
        dense(11, 40, "relu", name="d"),
        dense(40, 4, "linear", name="e"),
    )
    activations = ("linear", "relu", "argmax", "softmax", "tanh")
    others = (PRECISIONS.index(precision), EFFORTS.index(effort))
    for activation in turn(activations, *others, ways=2):
        layers = (*network.layers[:-1], replace(network.layers[-1], activation=activation))
        made = replace(network, layers=layers)
        assert_equal(nearest(made, precision, calibration(made)), core, 3, effort)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_unpacking_gives_the_weights_back(core, precision, effort):
    isa = load_target(core).isa
    for shape in ((1, 1), (3, 5), (9, 32), (8, 12), (20, 33), (70, 40)):
        network = Network.of(lstm(*shape, scale=0.23), dense(shape[1], 7, "relu"))
        plain = nearest(network, precision, calibration(network), mid_shift=False)
        for q in (plain, with_mid_shifts(plain, True)):
            for layer, bounds in zip(q.layers, bound_table(q), strict=True):
                if isinstance(layer, QuantizedLstm):
                    kernel = choose(isa, layer, bounds, q.tables, effort, True).kernel
                    if kernel is not None:
                        wx, wh = kernels.unpack(isa, kernel, layer)
                        np.testing.assert_array_equal(wx, layer.wx)
                        np.testing.assert_array_equal(wh, layer.wh)
                else:
                    assert isinstance(layer, QuantizedDense)
                    kernel = choose_dense(isa, layer, bounds, effort).kernel
                    if kernel is not None:
                        w, bias = kernels.unpack_dense(isa, kernel, layer)
                        np.testing.assert_array_equal(w, layer.w)
                        np.testing.assert_array_equal(bias, layer.bias)


@pytest.mark.parametrize("core", CORES)
def test_each_core_has_kernels(core):
    """Ordinary weights get them, for both kinds of layers."""
    for precision in PRECISIONS:
        network = Network.of(lstm(9, 32, scale=0.23), dense(32, 6, "softmax"))
        q = nearest(network, precision, calibration(network), mid_shift=False)
        files = sources(q, target=core)
        assert "stream" in files["model_weights.h"], precision
        assert "_lstm0_wh" not in files["model_weights.h"], precision
