import json
import math

import numpy as np
import pytest

from lstmgen import reference
from lstmgen.dataset import Dataset
from lstmgen.emulator import Emulator
from lstmgen.errors import ModelError
from lstmgen.network import Dense, Network
from lstmgen.quantizer import quantize
from lstmgen.report import measure_accuracy

from builders import NETWORKS, calibration, dense, lstm, quantized


@pytest.mark.parametrize("name", ["sequence", "odd_sizes", "stacked_argmax"])
def test_figures_by_hand(name, monkeypatch):
    """In chunks of two sequences, as the definitions say."""
    network, q = NETWORKS[name](), quantized(name, "q7")
    x = calibration(network, 5, 9)
    monkeypatch.setattr("lstmgen.report._CHUNK_VALUES", 2 * 9 * 25)
    accuracy = measure_accuracy(network, q, Dataset(x))
    emulator = Emulator(q)
    emulator.reset(5)
    trace = emulator.trace(q.to_raw(x))
    floats = reference.run(network, x)
    for layer in accuracy.layers:
        error = trace[layer.name] / 128 - floats.layers[layer.name]
        noise = np.sum(error**2)
        signal = np.sum(floats.layers[layer.name] ** 2)
        assert layer.hidden_sqnr_db == pytest.approx(10 * np.log10(signal / noise))
        assert layer.max_abs_error == pytest.approx(np.abs(error).max())
    y = trace[q.layers[-1].name] * q.y.step
    y = y if q.outputs == "sequence" else y[:, -1]
    if name == "stacked_argmax":
        assert (accuracy.sqnr_db, accuracy.max_abs_error) == (None, None)
        assert accuracy.to_json()["output"] == {"sqnr_db": None, "max_abs_error": None}
        assert accuracy.agreement == np.mean(y == floats.y)
        return
    error = y - floats.y
    assert accuracy.sqnr_db == pytest.approx(
        10 * np.log10(np.sum(floats.y**2) / np.sum(error**2))
    )
    assert accuracy.max_abs_error == pytest.approx(np.abs(error).max())


def test_saturations_are_counted():
    network = Network.of(dense(2, 3, "relu", name="pre"), lstm(3, 4))
    q = quantize(network, "q7", np.full((1, 2, 2), 0.1))
    accuracy = measure_accuracy(network, q, Dataset(np.full((2, 5, 2), 3.0)))
    assert (accuracy.input_saturations, accuracy.inputs) == (20, 20)
    assert set(accuracy.dense_saturations) == {"pre"}
    runaway = NETWORKS["runaway_cell"]()
    q = quantize(runaway, "q15", np.ones((1, 1, 1)))
    accuracy = measure_accuracy(runaway, q, Dataset(np.ones((1, 1100, 1))))
    assert accuracy.layers[0].cell_saturations > 0


def test_metrics():
    network, q = NETWORKS["odd_sizes"](), quantized("odd_sizes", "q15")
    x = calibration(network, 20, 6)
    label = reference.run(network, x).y.argmax(-1)
    metric = measure_accuracy(network, q, Dataset(x, label=label)).metric
    assert metric["name"] == "accuracy"
    assert metric["float"] == 1.0
    seq, q = NETWORKS["sequence"](), quantized("sequence", "q15")
    x = calibration(seq, 4, 6)
    target = reference.run(seq, x).y
    for shape in (target.shape, target.shape[:-1]):
        metric = measure_accuracy(seq, q, Dataset(x, target=target.reshape(shape))).metric
        assert metric["name"] == "rmse"
        assert metric["float"] == 0
        assert 0 < metric["quantized"] < 1e-3


@pytest.mark.parametrize(
    ("bias", "sqnr"), [(0.0, math.inf), (0.3, -math.inf)]
)
def test_exact_is_not_the_same_as_no_signal(bias, sqnr):
    """The float network gives 0; the quantized one, of another bias, does not."""
    network = NETWORKS["zeros"]()
    other = Network.of(network.layers[0], Dense("head", np.zeros((2, 3)), np.full(2, bias)))
    accuracy = measure_accuracy(network, quantize(other, "q15"), Dataset(np.ones((2, 3, 2))))
    assert accuracy.sqnr_db == sqnr
    assert accuracy.max_abs_error == pytest.approx(bias, abs=1e-4)
    output = accuracy.to_json()["output"]
    assert output["sqnr_db"] is None
    assert (output["max_abs_error"] == 0) == (sqnr > 0)
    json.dumps(accuracy.to_json(), allow_nan=False)


def test_json_keys_are_stable():
    network, q = NETWORKS["sequence"](), quantized("sequence", "w8a16")
    described = measure_accuracy(network, q, Dataset(calibration(network))).to_json()
    assert described["precision"] == "w8a16"
    assert set(described["output"]) == {"sqnr_db", "max_abs_error"}
    assert {"name", "hidden_sqnr_db"} <= set(described["layers"][0])
    assert described["metric"] == {}


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"label": np.zeros(3)}, r"label is \(3,\); expected \(8,\)"),
        ({"label": np.array(["a"] * 8)}, r"label holds <U1; expected numbers"),
        ({"label": np.arange(8)}, r"label spans 0..7; expected 0..2"),
        ({"target": np.zeros((8, 2))}, r"target is \(8, 2\); expected \(8, 3\)"),
    ],
)
def test_answers_that_do_not_fit(answers, message):
    network, q = NETWORKS["odd_sizes"](), quantized("odd_sizes", "q7")
    with pytest.raises(ModelError, match=message):
        measure_accuracy(network, q, Dataset(calibration(network), **answers))


def test_labels_need_classes():
    network, q = NETWORKS["sequence"](), quantized("sequence", "q7")
    with pytest.raises(ModelError, match="class labels, but the network has one output"):
        measure_accuracy(network, q, Dataset(calibration(network), label=np.zeros((8, 12))))
