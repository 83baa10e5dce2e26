"""`lstmgen inspect`: a line for each variant, streaming, and known outputs for every format."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lstmgen import artefact, reference
from lstmgen.cli import main
from lstmgen.cli.layers import layer_text
from lstmgen.quantizer import quantize
from lstmgen.readers import formats
from lstmgen.readers.options import Draft

import float_variants as variants


def inspect(*args, code=0):
    result = CliRunner().invoke(main, ["inspect", *map(str, args)])
    assert result.exit_code == code, result.output + result.stderr
    return result


LINES = {
    "lstm": "LSTM 3 -> 4",
    "lstm reverse": "LSTM 3 -> 4, reverse",
    "lstm flipped": "LSTM 3 -> 4, flipped",
    "lstm h0 and c0": "LSTM 3 -> 4, initial h0 and c0",
    "lstm peepholes": "LSTM 3 -> 4, peepholes",
    "lstm projection": "LSTM 3 -> 4, projection 2",
    "lstm clip": "LSTM 3 -> 4, clip 0.4",
    "lstm cell clip": "LSTM 3 -> 4, peepholes, cell clip 0.25",
    "lstm gates hard_sigmoid": "LSTM 3 -> 4, gates hard_sigmoid",
    "lstm gates hard_sigmoid_6": "LSTM 3 -> 4, gates hard_sigmoid_6",
    "lstm cell relu": "LSTM 3 -> 4, cell relu",
    "lstm output linear": "LSTM 3 -> 4, output linear",
    "lstm everything": "LSTM 3 -> 4, reverse, peepholes, projection 3, initial h0 and c0, "
    "gates hard_sigmoid, cell relu, output linear, clip 1.5, cell clip 0.75",
    "gru": "GRU 3 -> 4",
    "gru h0": "GRU 3 -> 4, initial h0",
    "gru reset before": "GRU 3 -> 4, reset before the product",
    "gru flipped": "GRU 3 -> 4, flipped",
    "gru cell sigmoid": "GRU 3 -> 4, cell sigmoid",
    "embedding": "embedding of 6 -> 3",
    "both ways concat state": "both ways 3 -> 8, concat: both LSTM 3 -> 4",
    "both ways average step": "both ways 3 -> 4, average, last the values at the last step: "
    "both LSTM 3 -> 4",
    "both ways gru sum": "both ways 3 -> 4, sum: forward GRU 3 -> 4; backward GRU 3 -> 4, reset "
    "before the product",
    "both ways of two kinds": "both ways 3 -> 7, concat: forward LSTM 3 -> 2; backward GRU 3 -> 5",
}


@pytest.mark.parametrize("variant", LINES)
def test_line(variant):
    assert layer_text(variants.LAYERS[variant][0]) == LINES[variant]


def test_every_variant_has_a_line_of_its_own():
    default = {"lstm gates sigmoid", "lstm cell tanh", "lstm output tanh", "lstm forward"}
    default |= {"gru gates sigmoid", "gru cell tanh", "gru forward"}
    lines = {
        variant: tuple(layer_text(layer) for layer in layers)
        for variant, layers in variants.LAYERS.items() if variant not in default
    }
    assert len(set(lines.values())) == len(lines)
    assert not [line for found in lines.values() for line in found if "\n" in line]


@pytest.mark.parametrize("variant", variants.LAYERS)
def test_printed(variant, tmp_path):
    network = variants.network(variant)
    network.save(tmp_path / "m.npz")
    text = inspect(tmp_path / "m.npz").stdout
    for layer in network.layers:
        assert f"  {layer.name:<12} {layer_text(layer)}\n" in text
    streams = "streams: a step at a time (step), or a whole sequence (run)"
    whole = "whole sequences only (run, no step): a layer needs what comes later"
    assert (streams in text, whole in text) == (network.streams, not network.streams)
    described = json.loads(inspect(tmp_path / "m.npz", "--json").stdout)
    assert described["streams"] == network.streams
    assert [layer["name"] for layer in described["layers"]] == [
        layer.name for layer in network.layers
    ]


def described(variant, tmp_path):
    variants.network(variant).save(tmp_path / "m.npz")
    return json.loads(inspect(tmp_path / "m.npz", "--json").stdout)["layers"]


def test_json_of_each_type(tmp_path):
    cell = {"gate": "sigmoid", "cell": "tanh", "clip": None}
    plain = {
        "name": "l", "type": "lstm", "inputs": 3, "outputs": 4, "activation": None, "units": 4,
        "direction": "forward", "initial": [], **cell, "output": "tanh", "cell_clip": None,
        "peepholes": False, "projection": None,
    }
    gru = {
        "name": "g", "type": "gru", "inputs": 3, "outputs": 4, "activation": None, "units": 4,
        "direction": "forward", "initial": [], **cell, "reset_after": True,
    }
    assert described("lstm", tmp_path) == [plain]
    assert described("lstm everything", tmp_path) == [{
        **plain, "outputs": 3, "direction": "reverse", "initial": ["h0", "c0"],
        "gate": "hard_sigmoid", "cell": "relu", "output": "linear", "clip": 1.5,
        "cell_clip": 0.75, "peepholes": True, "projection": 3,
    }]
    assert described("gru h0", tmp_path) == [{**gru, "initial": ["h0"]}]
    assert described("both ways gru sum", tmp_path) == [{
        "name": "both", "type": "bidirectional", "inputs": 3, "outputs": 4, "activation": None,
        "merge": "sum", "ends": "state",
        "forward": {**gru, "name": "both_forward"},
        "backward": {**gru, "name": "both_backward", "reset_after": False},
    }]
    assert described("embedding", tmp_path)[::2] == [
        {"name": "table", "type": "embedding", "inputs": 1, "outputs": 3, "activation": None,
         "entries": 6},
        {"name": "d", "type": "dense", "inputs": 4, "outputs": 2, "activation": "softmax",
         "skip": False},
    ]
    assert described("dense skip", tmp_path)[1]["skip"]
    assert "plus the network's input" in inspect(tmp_path / "m.npz").stdout


def test_types_of_quantized_layers(tmp_path):
    for variant, kinds in (
        ("embedding gru", ["embedding", "gru"]),
        ("both ways stacked", ["bidirectional", "lstm"]),
        ("dense skip tanh", ["linear", "lstm", "tanh"]),
    ):
        artefact.save(quantize(variants.network(variant), "q7"), tmp_path / "q.npz")
        layers = json.loads(inspect(tmp_path / "q.npz", "--json").stdout)["layers"]
        assert [layer["type"] for layer in layers] == kinds


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A model file of a format that is no npz, and files of outputs that do and do not fit."""
    network = variants.network("both ways concat state", "last")

    class Toy(formats.Format):
        def read(self, path, options):
            return Draft(str(path), "toy", network.layers, outputs="last")

    made = Toy("toy", "absent", head=lambda head: head.startswith(b"toy"))
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, made))
    (tmp_path / "m.toy").write_bytes(b"toy")
    x, lengths = variants.inputs(network, 5, 6), np.array([6, 3, 1, 6, 2])
    y = reference.run(network, x, lengths).y
    np.savez(tmp_path / "known.npz", x=x, y=y, lengths=lengths)
    step = variants.network("both ways concat step", "last")
    np.savez(tmp_path / "step.npz", x=x, y=reference.run(step, x, lengths).y, lengths=lengths)
    return tmp_path


def test_a_model_of_another_format(toy):
    """The model's file is not taken for an npz."""
    assert "both ways 3 -> 8" in inspect(toy / "m.toy").stdout
    assert json.loads(inspect(toy / "m.toy", "--json").stdout)["expected"] is None
    text = inspect(toy / "m.toy", "--expect", toy / "known.npz").stdout
    assert "known.npz: float64 differs from its y by up to 0, largest |y| " in text
    assert "5 sequences: read right" in text


def test_the_cause_is_named(toy):
    text = inspect(toy / "m.toy", "--expect", toy / "step.npz", code=1).stdout
    assert (
        "5 sequences: NOT READ RIGHT; the outputs fit if both ends with step, not state "
        "(max error 0); set it with --ends step"
    ) in text
    found = json.loads(
        inspect(toy / "m.toy", "--expect", toy / "step.npz", "--json", code=1).stdout
    )["expected"]
    assert found["cause"] == {
        "what": "both ends with step, not state", "flag": "--ends step", "max_abs_error": 0
    }
    assert found["right"] is False


def test_lengths_beside_the_weights(tmp_path):
    network = variants.network("flipped before reverse")
    network.save(tmp_path / "m.npz")
    x, lengths = variants.inputs(network, 3, 5), np.array([5, 1, 3])
    with np.load(tmp_path / "m.npz") as arrays:
        y = reference.run(network, x, lengths).y
        np.savez(tmp_path / "both.npz", **arrays, x=x, y=y, lengths=lengths)
    text = inspect(tmp_path / "both.npz").stdout
    assert "3 sequences: read right" in text
    assert "arrays that are no weights, ignored: x, y, lengths" in text


def test_shared_fixtures_are_diagnosed(shared_data: Path):
    """A framework's own outputs: its softmax, which the state dict does not hold, is named."""
    folder = shared_data / "digits_lstm32"
    text = inspect(folder / "model_torch.npz", "--expect", folder / "torch_out.npz", code=1).stdout
    assert "fc has the activation softmax, not linear" in text
    assert "set it with --head softmax" in text


def test_halves_that_are_alike_are_said_once():
    pair = variants.LAYERS["both ways concat state"][0]
    text = layer_text(replace(pair, backward=replace(pair.backward, clip=2.0)))
    assert text == "both ways 3 -> 8, concat: forward LSTM 3 -> 4; backward LSTM 3 -> 4, clip 2"
