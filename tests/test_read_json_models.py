"""JSON of audio models: RTNeural in both layouts, AIDA-X, NAM and GuitarML."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmgen.errors import LstmgenError, ModelError
from lstmgen.expect import compare
from lstmgen.layers import Dense
from lstmgen.network import Network
from lstmgen.npz import read_npz
from lstmgen.readers import ReadOptions, read_model
from lstmgen.readers.json_text import parse
from lstmgen.reference import run

import torch_files as tf
from json_files import K, guitarml, keras_dense, keras_gru, keras_lstm, lists, nam, rtneural
from torch_files import named

B, T = 2, 6


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(B, T, 1))


def read(folder: Path, value: object, suffix: str = ".json", **options: Any) -> Network:
    path = folder / f"net{suffix}"
    path.write_text(json.dumps(value))
    return read_model(path, ReadOptions(**options))


def refused(folder: Path, value: object, message: str, **options: Any) -> list[str]:
    with pytest.raises(ModelError, match=message) as caught:
        read(folder, value, **options)
    lines = str(caught.value).splitlines()
    assert all(line.startswith((str(folder / "net.json"), "--")) for line in lines)
    return lines


def close(network: Network, x: np.ndarray, y: np.ndarray) -> None:
    got = run(network, x).y
    assert got.shape == y.shape
    assert np.abs(got - y).max() < 1e-9


def linear(fc: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return x @ fc["weight"].T + fc["bias"]


# RTNeural


def test_rtneural_lstm_and_dense(tmp_path, rng, x):
    lstm, fc = tf.weights(rng, 1, K), tf.linear(rng, K, 2)
    value = rtneural(keras_lstm(lstm), keras_dense(fc, "relu"))
    network = read(tmp_path, value)
    close(network, x, np.maximum(linear(fc, tf.recurrent(lstm, x)), 0))
    assert network.notes[:3] == (
        "RTNeural layers; kernels transposed, gate order i, f, c, o (c is g)",
        "dense0: activation relu (from the file)",
        "outputs sequence (from the file)",
    )
    assert [layer.name for layer in network.layers] == ["lstm0", "dense0"]
    close(read(tmp_path, value, outputs="last"), x,
          np.maximum(linear(fc, tf.recurrent(lstm, x)), 0)[:, -1])


def test_rtneural_gru(tmp_path, rng, x):
    gru, fc = tf.weights(rng, 1, K, gates=3), tf.linear(rng, K, 1)
    network = read(tmp_path, rtneural(keras_gru(gru), keras_dense(fc)))
    close(network, x, linear(fc, tf.recurrent(gru, x)))
    assert "gru0: GRU with reset_after, gate order z, r, h" in network.notes


@pytest.mark.parametrize("affine", [True, False])
def test_rtneural_batchnorm_and_activation_layers(tmp_path, rng, x, affine):
    lstm, fc, bn, end = tf.weights(rng, 3, K), tf.linear(rng, 1, 3), tf.norm(rng, 3), \
        tf.linear(rng, K, 1)
    keys = ("weight", "bias", "running_mean", "running_var")[0 if affine else 2 :]
    bn = {key: bn[key] for key in keys}
    value = rtneural(
        keras_dense(fc) | {"type": "time-distributed-dense"},
        {"type": "activation", "activation": "tanh", "shape": [None, 3], "weights": []},
        {"type": "batchnorm", "activation": "", "shape": [None, 3], "epsilon": 0.01,
         "weights": [bn[key].tolist() for key in keys]},
        keras_lstm(lstm),
        keras_dense(end),
    )
    network = read(tmp_path, value)
    y = tf.batch_norm(bn, np.tanh(linear(fc, x)), 0.01)
    close(network, x, linear(end, tf.recurrent(lstm, y)))
    assert "batchnorm0: batch normalization, epsilon 0.01" in network.notes


def test_aida_x_skip(tmp_path, rng, x):
    lstm, fc = tf.weights(rng, 1, K), tf.linear(rng, K, 1)
    value = rtneural(keras_lstm(lstm), keras_dense(fc), in_skip=1, out_gain=-3.0, in_gain=0)
    network = read(tmp_path, value)
    close(network, x, linear(fc, tf.recurrent(lstm, x)) + x)
    assert "dense0: in_skip 1: the input is added to the output" in network.notes
    assert "out_gain '-3.0' dB is the player's, not applied" in network.notes
    close(read(tmp_path, value | {"in_skip": 0}), x, linear(fc, tf.recurrent(lstm, x)))


def changed(layer: dict[str, Any], **entries: Any) -> dict[str, Any]:
    return layer | entries


RNG = np.random.default_rng(3)
LSTM, FC = keras_lstm(tf.weights(RNG, 1, K)), keras_dense(tf.linear(RNG, K, 1))
GRU = keras_gru(tf.weights(RNG, 1, K, gates=3))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (rtneural(LSTM, FC, inputs=2), r"in_shape ends with '2'; expected 1, the inputs of lstm0"),
        (rtneural(LSTM, changed(FC, activation="elu")), r"dense0: activation 'elu' is not support"),
        (rtneural(changed(LSTM, activation="relu"), FC), r"lstm0: activation 'relu' is not suppor"),
        (rtneural(LSTM, {"type": "conv1d"}), r"layers\[1\]: a layer of type 'conv1d' is not suppo"),
        (rtneural(LSTM, {"kind": "x"}), r"layers\[1\] has no type; expected one of lstm, gru, den"),
        (rtneural(LSTM, 7), r"layers\[1\] has no type"),
        (rtneural(LSTM, {"type": "activation", "activation": "tanh"}), r"layers\[1\]: an activati"),
        (rtneural(), r"layers is no list of 1 to 64 layers"),
        (rtneural(*[FC] * 65), r"layers is no list of 1 to 64 layers"),
        (rtneural(FC, inputs=K), r"1 layers, none of them an LSTM"),
        (rtneural(changed(LSTM, shape=[None, 5]), FC), r"lstm0: shape ends with '5'; expected 4, "),
        (rtneural(changed(LSTM, weights=[]), FC), r"lstm0 has no list of weights"),
        (rtneural(changed(LSTM, weights=LSTM["weights"][:1])), r"lstm0 has no recurrent kernel"),
        (rtneural(changed(LSTM, weights=[[[1, 2], [3]], [1]])), r"lstm0: weights\[0\] is not a li"),
        (rtneural(changed(LSTM, weights=["a", [1]])), r"lstm0: weights\[0\] is not a list of numb"),
        (rtneural(changed(LSTM, weights=[[1.0], [[1.0]]])), r"lstm0\.U is \(1, 1\)"),
        (rtneural(changed(GRU, weights=[*GRU["weights"][:2], [1.0] * 12])), r"gru0 has weights"),
        (rtneural({"type": "batchnorm", "weights": [[1], [1]]}), r"batchnorm0 has epsilon 'None'"),
        (rtneural({"type": "batchnorm", "weights": [[1]]}), r"batchnorm0 has no 2 or 4 vectors"),
        (rtneural({"type": "batchnorm", "weights": [[1], [-1]]}), r"batchnorm0 has no variances"),
        (rtneural(LSTM, in_skip=1), r"in_skip is '1'; expected 0, or 1 with one input and a linea"),
        (rtneural(LSTM, FC, in_skip=2), r"in_skip is '2'; expected 0, or 1 with one input and a l"),
        (rtneural(LSTM, changed(FC, activation="tanh"), in_skip=1), r"in_skip is '1'; expected 0"),
    ],
)
def test_rtneural_files_that_are_refused(tmp_path, value, message):
    refused(tmp_path, value, message)


def test_all_problems_of_an_rtneural_file_at_once(tmp_path):
    value = rtneural({"type": "conv1d"}, changed(LSTM, activation="relu"), changed(FC, shape=[9]))
    assert len(refused(tmp_path, value, "conv1d")) == 3


def test_rtneural_batchnorm_out_of_range_is_refused_without_a_warning(tmp_path):
    """Its factors are finite, and what they make of a kernel is not."""
    norm = {"type": "batchnorm", "epsilon": 0.01, "weights": [[1e308], [0], [0], [1e-300]]}
    value = rtneural(norm, changed(LSTM, weights=[[[1e300] * 16], *LSTM["weights"][1:]]), FC)
    lines = refused(tmp_path, value, r"lstm0\.W holds 16 values that are NaN or infinite")
    assert len(lines) == 2  # and lstm0.b, by 0 times infinity


def test_rtneural_state_dict(tmp_path, rng, x):
    lstm, more, fc = tf.weights(rng, 1, K), tf.weights(rng, K, K), tf.linear(rng, K, 1)
    network = read(tmp_path, lists(named(lstm=lstm, lstm2=more, dense=fc)))
    close(network, x, linear(fc, tf.recurrent(more, tf.recurrent(lstm, x))))
    assert network.notes[0] == "PyTorch state dict as JSON; gate order i, f, g, o"
    note = "RTNeural computes an output for each sample: the outputs are the sequence"
    assert note in network.notes
    value = lists(named(lstm=lstm)) | {"dense.weight": [[1], [2, 3]], "dense.bias": "x"}
    assert len(refused(tmp_path, value, r"'dense\.weight' is not a list of numbers")) == 2


# NAM


@pytest.mark.parametrize(("count", "inputs"), [(1, 1), (3, 1), (2, 2)])
def test_nam_lstm_with_initial_states(tmp_path, rng, count, inputs):
    value, (*layers, fc) = nam(rng, count, inputs)
    x = rng.normal(size=(B, T, inputs))
    network = read(tmp_path, value, ".nam")
    y = x
    for arrays, h0, c0 in layers:
        # PyTorch's formulas step by step, from the state that the file gives.
        W, U = arrays["weight_ih_l0"].astype(float), arrays["weight_hh_l0"].astype(float)
        b = arrays["bias_ih_l0"].astype(float) + arrays["bias_hh_l0"]
        h, c = (np.tile(start.astype(float), (B, 1)) for start in (h0, c0))
        out = np.zeros((B, T, K))
        for t in range(T):
            i, f, g, o = np.split(y[:, t] @ W.T + h @ U.T + b, 4, axis=1)
            c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
            out[:, t] = h
        y = out
    close(network, x, linear(fc, y))
    assert network.notes[:2] == (
        "NAM LSTM with its initial states; gate order i, f, g, o", "for samples at 48000 Hz",
    )


def test_nam_files_that_are_refused(tmp_path, rng):
    value, _ = nam(rng, 2)
    refused(tmp_path, value | {"architecture": "WaveNet"}, r"NAM architecture 'WaveNet' is not sup")
    refused(tmp_path, value | {"config": 3}, r"config is missing; expected input_size, hidden_si")
    config = value["config"]
    wrong = {"hidden_size": 0, "num_layers": 10**9, "input_size": True}
    for key, number in wrong.items():
        message = rf"config: {key} is '{number}'; expected a number from 1 to"
        refused(tmp_path, value | {"config": config | {key: number}}, message)
    short = value | {"weights": value["weights"][:-1]}
    message = r"weights are \(260,\); expected \(261,\): 2 layers of 4 units over 1 inputs with"
    refused(tmp_path, short, message)
    refused(tmp_path, value | {"weights": None}, r"weights is not a list of numbers")
    refused(tmp_path, value | {"weights": [1e999] * 261}, r"weights holds 261 values that are NaN")


# GuitarML


@pytest.mark.parametrize("unit", ["LSTM", "GRU"])
@pytest.mark.parametrize("skip", [0, 1])
def test_guitarml_skip(tmp_path, rng, x, unit, skip):
    value, arrays, fc = guitarml(rng, unit, skip=skip)
    network = read(tmp_path, value)
    close(network, x, linear(fc, tf.recurrent(arrays, x)) + skip * x)
    notes = ("skip 0: no input is added to the outputs",
             "lin: skip 1: the first inputs are added to the outputs")
    assert notes[skip] in network.notes
    assert "lin: activation linear (from the file)" in network.notes


@pytest.mark.parametrize(("skip", "outputs"), [(1, 1), (1, 2), (2, 2)])
def test_guitarml_with_controls_as_inputs(tmp_path, rng, skip, outputs):
    """The residual is x[:, :, :skip], which PyTorch adds to every output if it is one."""
    value, arrays, fc = guitarml(rng, inputs=3, outputs=outputs, skip=skip)
    x = rng.normal(size=(B, T, 3))
    close(read(tmp_path, value), x, linear(fc, tf.recurrent(arrays, x)) + x[..., :skip])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"unit_type": "RNN"}, r"unit_type is 'RNN'; expected LSTM or GRU"),
        ({"unit_type": "GRU"}, r"has unit_type GRU; expected LSTM, which its arrays have"),
        ({"model": "RecNet"}, r"model is 'RecNet'; expected SimpleRNN, recurrent layers and a lin"),
        ({"hidden_size": 5}, r"has hidden_size 5; expected 4, which its arrays have"),
        ({"num_layers": 2}, r"has num_layers 2; expected 1, which its arrays have"),
        ({"input_size": 2}, r"has input_size 2; expected 1, which its arrays have"),
        ({"input_size": "a\nb"}, r"model_data: input_size is 'a\\nb'; expected a number from 1 to"),
        ({"skip": 2}, r"skip is '2'; expected 0, 1, or 1 as it has outputs, and at most the 1 inp"),
        ({"skip": None}, r"skip is 'None'; expected 0, 1"),
        ({"skip": "1"}, r"skip is '1'; expected 0, 1"),
    ],
)
def test_guitarml_files_that_are_refused(tmp_path, rng, more, message):
    value, _, _ = guitarml(rng)
    value["model_data"].update(more)
    refused(tmp_path, value, message)


def test_guitarml_with_other_layers_is_refused(tmp_path, rng):
    value, arrays, _ = guitarml(rng)
    only = value | {"state_dict": lists(named(rec=arrays))}
    refused(tmp_path, only, r"its layers are no LSTM layers and a linear one behind them")
    refused(tmp_path, value | {"state_dict": {}}, r"its layers are no LSTM layers and a linear")
    refused(tmp_path, value | {"model_data": 1}, r"model_data or state_dict is no object")


# JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}', r"holds 'a'; expected RTNeural's in_shape and layers, a PyTorch state dict"),
        ("{}", r"holds nothing; expected RTNeural's"),
        ('{"a\\nb": 1}', r"holds 'a\\nb'; expected"),
        ('{"class_name": "Sequential", "config": {}}', r"is a Keras architecture without weights"),
        ('{"a": 1, "a": 2}', r"is no valid JSON \(\"the name 'a' occurs twice\"\)"),
        ('{"a": ', r"is no valid JSON"),
        ('{"a": ' + "[" * 33, r"nests deeper than 32 levels; expected less"),
        ('{"a": ' + "9" * 9999 + "}", r"is no valid JSON"),
        ('{"architecture": {"a": [1e400, NaN]}}', r"NAM architecture"),
    ],
)
def test_json_that_is_no_model(tmp_path, text, message):
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=message) as caught:
        read_model(path)
    assert len(str(caught.value).splitlines()) == 1


def test_json_brackets_in_texts_do_not_nest():
    assert parse(b'{"a\\"[[": "' + b"[" * 99 + b'"}', "m") == {'a"[[': "[" * 99}
    assert parse(b"\xef\xbb\xbf [1]", "m") == [1]
    with pytest.raises(ModelError, match=r"m has 16777217 bytes of JSON; expected at most"):
        parse(b" " * ((16 << 20) + 1), "m")
    for part in (b"[],", b"{},", b'"",', b'"'):
        with pytest.raises(ModelError, match=r"m has more than 131072 lists, objects and texts"):
            parse(b"[" + part * 300_000, "m")
    with pytest.raises(ModelError, match="no valid JSON"):  # in no time: a text without an end
        parse(b'"' + b'\\"' * 1_000_000, "m")


@pytest.mark.parametrize("kind", ["rtneural", "state dict", "nam", "guitarml"])
def test_damaged_json_models_are_read_or_refused(tmp_path, rng, kind):
    lstm, fc = tf.weights(rng, 1, 2), tf.linear(rng, 2, 1)
    value = {
        "rtneural": rtneural(GRU, FC, in_skip=1),
        "state dict": lists(named(lstm=lstm, fc=fc)),
        "nam": nam(rng, 2)[0],
        "guitarml": guitarml(rng)[0],
    }[kind]
    right = json.dumps(json.loads(json.dumps(value), parse_float=lambda text: float(text[:5])))
    path = tmp_path / "m.json"
    for trial in range(250):
        data = bytearray(right.encode())
        for _ in range(rng.integers(1, 3)):
            at = rng.integers(0, len(data))
            data[at : at + 1] = rng.choice(
                [b"", b"[", b"]", b'"', b"0", b",", b"-", b"null", b"{}", bytes([trial])]
            )
        path.write_bytes(data)
        lines = [str(path)]
        try:
            network = read_model(path)
        except LstmgenError as error:
            lines = str(error).splitlines()
        else:
            with np.errstate(all="ignore"):
                assert run(network, np.zeros((1, 2, network.inputs))).y.size
        assert lines
        assert all(line.startswith(str(path)) for line in lines)


# Files of RTNeural itself


def test_rtneurals_own_files(shared_data):
    folder = shared_data / "rtneural"
    network = read_model(folder / "lstm_1d.json")
    x, y = (np.loadtxt(folder / f"lstm_1d_{name}_python.csv") for name in "xy")
    known = {"x": x[None, :, None], "y": y[None, :, None]}
    assert compare(network, known, "csv").max_abs_error < 1e-6
    network = read_model(folder / "lstm_torch.json")
    known = read_npz(folder / "rtneural_lstm_torch_4layer.npz")
    assert compare(network, known, "npz").max_abs_error < 1e-6
    assert isinstance(network.layers[-1], Dense)
