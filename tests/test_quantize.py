from dataclasses import replace

import numpy as np
import pytest

from lstmgen import reference
from lstmgen.bounds import INT32_MAX, bound_table, magnitude
from lstmgen.emulator import Emulator
from lstmgen.errors import ModelError, RangeError
from lstmgen.network import Dense, Lstm, Network
from lstmgen.preconditions import check
from lstmgen.qformat import QFormat
from lstmgen.quantized_layers import QuantizedDense, QuantizedLstm
from lstmgen.quantizer import quantize

from builders import (
    NETWORKS,
    PRECISIONS,
    calibration,
    dense,
    lstm,
    nearest,
    quantized,
    with_mid_shifts,
)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_formats_follow_the_contract(name, precision):
    q = quantized(name, precision)
    widths = {"q15": (32767, 32767), "w8a16": (32767, 127), "q7": (127, 127)}[precision]
    for layer in q.layers:
        assert layer.shift.max() <= (0 if precision == "q7" else 16) or isinstance(
            layer, QuantizedDense
        )
        if isinstance(layer, QuantizedLstm):
            assert np.abs(layer.wx).max() <= widths[0]
            assert np.abs(layer.wh).max() <= widths[1]
            assert layer.h == (QFormat(8, 7) if precision == "q7" else QFormat(16, 15))
            assert (layer.x_shift == 0) or precision == "q7"
    check(q)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_bounds_hold_for_the_worst_input(name, precision):
    """For each row, the input that makes its sum largest reaches the bound and not more."""
    q = quantized(name, precision)
    reach = -q.x.lo
    for layer, bounds in zip(q.layers, bound_table(q), strict=True):
        for row in range(len(layer.bias)):
            sums, partial = abs(int(layer.bias[row])), 0
            if isinstance(layer, QuantizedLstm):
                h = layer.h.hi if layer.h.bits == 16 else -layer.h.lo
                sums += sum(abs(int(v)) * h for v in layer.wh[row])
                mid = int(layer.mid_shift[row])
                if mid:
                    partial, sums = sums, max(sums >> mid, -(-sums >> mid)) + (sums % 2**mid == 0)
                sums += sum(abs(int(v)) * (reach << layer.x_shift) for v in layer.wx[row])
            else:
                sums += sum(abs(int(v)) * reach for v in layer.w[row])
            assert bounds.bound[row] == sums <= INT32_MAX
            assert bounds.partial[row] == partial <= INT32_MAX
        reach = magnitude(layer)


def test_a_mid_shift_where_it_is_worth_it():
    """Large inputs starve the recurrent weights of bits unless their sum has its own format."""
    q = quantized("large_inputs", "q15")
    (layer,) = q.lstms
    assert layer.mid_shift.min() >= 3
    assert layer.x_shift == 0
    network = NETWORKS["large_inputs"]()
    # Multiples of the input format's step, so that only weights are rounded.
    x = q.x.to_real(np.random.default_rng(1).integers(-2000, 2000, (20, 30, 4)))
    without = quantize(network, "q15", calibration(network), mid_shift=False)
    assert not without.lstms[0].mid_shift.any()
    error = {}
    for key, each in (("with", q), ("without", without)):
        h = Emulator(each, batch=20).trace(each.x.to_raw(x))["lstm0"] * 2.0**-15
        error[key] = np.mean((h - reference.run(network, x).layers["lstm0"]) ** 2)
    assert error["with"] < error["without"] / 3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_bounds_of_a_mid_shift(precision):
    q = with_mid_shifts(quantized("sequence", precision), by_row=True)
    check(q)
    (layer,) = q.lstms
    bounds = bound_table(q)[0]
    assert (bounds.partial > 0).tolist() == (layer.mid_shift > 0).tolist()
    with pytest.raises(RangeError, match=r"x_shift and mid_shift; expected one of them to be 0"):
        check(replace(q, layers=(replace(layer, x_shift=1), *q.layers[1:])))
    large = replace(layer, mid_shift=layer.mid_shift * 0 + 16)
    with pytest.raises(RangeError, match=r"mid_shift spans \d+\.\.16; expected 0\.\.15"):
        check(replace(q, layers=(large, *q.layers[1:])))
    heavy = replace(layer, mid_shift=layer.mid_shift * 0 + 1, bias=layer.bias * 0 + 2**31 - 1)
    with pytest.raises(RangeError, match=r"row 0: accumulator can reach \d+; exp"):
        check(replace(q, layers=(heavy, *q.layers[1:])))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_trace_leaves_its_magnitude(precision, rng):
    for name in NETWORKS:
        q = quantized(name, precision)
        emulator = Emulator(q)
        emulator.reset(16)
        trace = emulator.trace(rng.integers(q.x.lo, q.x.hi + 1, (16, 30, q.inputs)))
        for layer in q.layers:
            assert np.abs(trace[layer.name]).max() <= magnitude(layer)


def test_a_row_beyond_int32_gives_up_bits():
    wide = Network.of(lstm(400, 4, scale=0.9))
    q = quantize(wide, "q15", np.ones((1, 1, 400)))
    layer = q.lstms[0]
    alone = 15 + 15 - np.ceil(np.log2(np.abs(wide.lstms[0].W).max(1)))
    assert (layer.frac < alone).all()
    assert bound_table(q)[0].bound.max() <= INT32_MAX


@pytest.mark.parametrize(
    ("precision", "floor"), [("q15", 55), ("w8a16", 28), ("q7", 20)]
)
def test_accuracy_floor(precision, floor):
    """Plain rounding on random networks with well-behaved weights."""
    for seed in range(4):
        network = Network.of(
            lstm(6, 24, seed=seed, scale=0.2, name="lstm0"),
            lstm(24, 16, seed=seed, scale=0.2, name="lstm1"),
            dense(16, 5),
            outputs="sequence",
        )
        x = calibration(network, 16, 40)
        q = quantize(network, precision, x)
        emulator = Emulator(q)
        emulator.reset(len(x))
        y = q.y.to_real(emulator.run(q.to_raw(x)))
        expected = reference.run(network, x).y
        sqnr = 10 * np.log10(np.sum(expected**2) / np.sum((y - expected) ** 2))
        assert sqnr > floor


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("units", [1, 2, 64, 512])
def test_any_number_of_units(precision, units):
    network = Network.of(lstm(3, units, scale=0.1), dense(units, 2))
    q = quantize(network, precision)
    y = Emulator(q).run(q.to_raw(np.zeros((1, 2, 3))))
    assert y.shape == (1, 2)


def test_badly_scaled_features_are_named():
    network = Network.of(lstm(3, 2))
    x = calibration(network)
    assert not any("WARNING" in note for note in nearest(network, "q7", x).notes)
    x[..., 1] *= 100.0
    note = next(note for note in nearest(network, "q7", x).notes if "WARNING" in note)
    assert "2 of 3 features (0, 2) stay below 1/16 of the largest and lose up to" in note
    assert "standardise the inputs" in note


def test_notes_say_what_was_assumed():
    network = Network.of(lstm(2, 2))
    first, second = quantize(network).notes[-2:]
    assert "inputs assumed within -4..4" in first
    assert second == "no calibration data: weights are rounded to nearest"
    ranged = Network.of(lstm(2, 2), input_range=(-1.0, 2.0))
    assert "from the range -1..2" in quantize(ranged).notes[-2]
    assert quantize(ranged, "q15").x == QFormat(16, 13)
    x = np.full((1, 3, 2), 0.3)
    assert "1 calibration sequences, largest |x| 0.3" in quantize(network, "q15", x).notes[-2]
    assert "widened to the declared range of 2" in quantize(ranged, "q15", x).notes[-2]


def test_uncalibrated_dense_results_never_saturate(rng):
    network = Network.of(dense(4, 6, "relu", name="pre"), lstm(6, 3), input_range=(-2.0, 2.0))
    q = quantize(network, "w8a16")
    emulator = Emulator(q)
    emulator.reset(64)
    emulator.run(q.to_raw(rng.choice([-2.0, 2.0], (64, 10, 4))))
    assert emulator.saturations["pre"] == 0


def test_initial_state_is_rounded():
    q = quantized("initial_state", "q15")
    network = NETWORKS["initial_state"]()
    layer = q.lstms[0]
    assert np.abs(layer.h.to_real(layer.h0) - network.lstms[0].h0).max() <= 2.0**-16
    assert np.abs(layer.c0 * 2.0**-21 - network.lstms[0].c0).max() <= 2.0**-21


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "q8"}, r"precision 'q8'; expected one of q7, w8a16, q15"),
        ({"table_bits": 12}, r"table bits 12; expected 6 to 11"),
        ({"calibration": np.zeros((2, 5, 3))}, r"calibration: the inputs are \(2, 5, 3\); "
         r"expected \(sequences, steps, 2\), since the network takes 2 inputs"),
        ({"calibration": np.full((1, 1, 2), 1e30)}, r"inputs reach 1e\+30; expected at most 2\^31"),
        ({"calibration": np.full((1, 1, 2), 1e300)}, r"inputs reach 1e\+300; expected at most"),
        ({"calibration": np.zeros((1, 1, 2))}, r"inputs reach 0; expected at least 2\^-24: give"),
        ({"calibration": np.full((1, 1, 2), 1e-310)}, r"inputs reach 1e-310; expected at least"),
        ({"calibration": np.zeros((5, 2))}, r"the inputs are \(5, 2\)"),
        ({"calibration": np.full((1, 1, 2), np.nan)}, r"2 inputs are NaN or infinite"),
        ({"calibration": np.array([[["a", "b"]]])}, r"of type <U1; expected numbers"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ModelError, match=message):
        quantize(Network.of(lstm(2, 2)), **{"precision": "q7", **change})


def test_weights_beyond_any_format_are_refused():
    layer = lstm(2, 2)
    huge = Lstm("lstm0", layer.W * 1e12, layer.U, layer.b)
    with pytest.raises(ModelError, match=r"lstm0: gate i of unit 0 has weights or a bias of"):
        quantize(Network.of(huge))
    with pytest.raises(ModelError, match=r"head: row 0 has weights or a bias of"):
        quantize(Network.of(layer, Dense("head", np.full((1, 2), 1e16), np.zeros(1), "tanh")))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("value", [1e-310, 3e-304, 1e300, 1.7e308])
def test_weights_of_any_size_are_quantized_or_refused_in_one_line(precision, value):
    fill = np.full_like
    first, last = lstm(2, 3), dense(3, 2)
    pre = Dense("pre", np.full((2, 2), value), np.zeros(2), "relu")
    networks = [
        Network.of(Lstm("lstm0", fill(first.W, value), first.U, first.b)),
        Network.of(Lstm("lstm0", first.W, fill(first.U, value), fill(first.b, -value))),
        Network.of(pre, first),
    ]
    for activation in ("linear", "sigmoid", "softmax", "argmax"):
        head = Dense("head", fill(last.W, value), fill(last.b, -value), activation)
        networks.append(Network.of(first, head))
    for network in networks:
        for data in (None, calibration(network)):
            if value < 1:
                quantize(network, precision, data)
                continue
            with pytest.raises(ModelError) as caught:
                quantize(network, precision, data)
            assert len(str(caught.value).splitlines()) == 1


def test_a_range_too_narrow_is_refused():
    with pytest.raises(ModelError, match=r"the input range reaches 1e-310; expected at least"):
        quantize(Network.of(lstm(2, 2), input_range=(0.0, 1e-310)))


def test_counts_of_a_24_bit_converter_are_quantized():
    network = Network.of(lstm(2, 2, scale=1e-6), input_range=(-(2.0**23), 2.0**23))
    q = quantize(network, "q15")
    assert q.x == QFormat(16, -9)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 9, 2)) * 2.0**23
    y = q.y.to_real(Emulator(q, batch=4).run(q.to_raw(x)))
    np.testing.assert_allclose(y, reference.run(network, x).y, atol=0.01)


def test_a_dense_layer_that_was_never_but_0_gets_its_range_from_the_weights():
    pre = Dense("pre", np.array([[1.0], [-1.0]]), np.full(2, -4.0), "relu")
    q = quantize(Network.of(pre, lstm(2, 2)), "q15", np.ones((1, 1, 1)))
    assert q.layers[0].y.hi * q.layers[0].y.step >= 5.0


def test_results_beyond_any_format_are_refused():
    pre = Dense("pre", np.full((2, 1), 1e12), np.zeros(2))
    message = r"pre: its results reach 8e\+12; expected at most 2\^31: rescale its weights"
    with pytest.raises(ModelError, match=message):
        quantize(Network.of(pre, lstm(2, 2)))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_masking_bias_costs_bits_and_does_not_overflow(precision, activation):
    """What excludes a class, say -1e9, is far beyond the accumulator's range."""
    plain = dense(4, 3, activation)
    def masked(bias):
        b = np.array([plain.b[0], bias, plain.b[2]])
        return Network.of(lstm(2, 4), Dense("fc", plain.W, b, activation))

    q = quantize(masked(-1e9), precision)
    x = calibration(masked(-1e9))
    y = q.y.to_real(Emulator(q, batch=len(x)).run(q.to_raw(x)))
    assert (y.argmin(-1) == 1).all()
    with pytest.raises(ModelError, match=r"fc: row 1 has weights or a bias of 1e\+30; its sum can"):
        quantize(masked(-1e30), precision)


def test_states_beyond_their_range_are_refused():
    layer = lstm(2, 2)
    with pytest.raises(ModelError, match=r"lstm0.h0 reaches 1.5; expected at most 1"):
        quantize(Network.of(Lstm("lstm0", layer.W, layer.U, layer.b, np.array([1.5, 0]))))
    c0 = np.array([0, 1025.0])
    with pytest.raises(ModelError, match=r"lstm0.c0 reaches 1025; expected less than 1024"):
        quantize(Network.of(Lstm("lstm0", layer.W, layer.U, layer.b, None, c0)), "q15")


def test_softmax_over_too_many_classes_is_refused():
    with pytest.raises(RangeError, match=r"softmax over 2048 classes; expected at most 2047"):
        quantize(Network.of(lstm(1, 1), dense(1, 2048, "softmax")))


@pytest.mark.parametrize("activation", ["argmax", "linear"])
def test_a_bias_that_drowns_the_weights_is_refused(activation):
    head = dense(3, 4, activation)
    masked = Dense("head", head.W, np.where(np.arange(4) == 2, -1e9, head.b), activation)
    with pytest.raises(ModelError, match=r"head: a bias of 1e\+09 beside weights of at most"):
        quantize(Network.of(lstm(2, 3), masked))
