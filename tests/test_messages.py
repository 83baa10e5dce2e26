"""What people meet first when a model does not fit: one line each, exit status 2, no traceback."""

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from lstmgen.cli import main
from lstmgen.npz import shown_name
from lstmgen.readers import hdf5, onnx_node

import keras_files as kf
from onnx_files import Graph, K
from tflite_files import TfliteFile


def line(*args) -> str:
    """Run a command that has to fail; return the one line that it says."""
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (only,) = result.stderr.splitlines()
    assert only.startswith("lstmgen: ")
    return only.removeprefix("lstmgen: ")


def keras_model(folder, *more):
    return kf.write_keras(folder / "model", [kf.lstm("rnn", 3, 4), *more, kf.dense("fc", 4, 2)])


@pytest.mark.parametrize("command", [["inspect"], ["build", "--target", "arm"], ["bench"]])
def test_a_missing_extra(tmp_path, monkeypatch, command):
    """The extra is named, and the framework is not asked for."""
    monkeypatch.chdir(tmp_path)
    g = Graph()
    files = {
        "h5py": (keras_model(tmp_path), "keras"),
        "onnx": (g.save(tmp_path, g.cell()[1]), "onnx"),
        "tflite": (tmp_path / "model.tflite", "tflite"),
    }
    files["tflite"][0].write_bytes(TfliteFile().to_bytes([0]))
    for package, (path, extra) in files.items():
        monkeypatch.setitem(sys.modules, package, None)
        said = line(*command, path)
        assert said.startswith(f"{path}: ")
        assert said.endswith(
            f"reading it needs the package {package}; "
            f"install it with: pip install 'lstmgen[{extra}]'"
        )


@pytest.mark.parametrize("data", [b"", b"GIF89a and so on", b"\0" * 100, b"# Notes\n" * 9])
def test_an_unknown_file(tmp_path, data):
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    said = line("inspect", path)
    assert said.startswith(f"{path} is ")
    for known in (".npz", ".keras", ".h5", ".onnx", ".pt", ".safetensors", ".tflite"):
        assert known in said


def test_an_unsupported_operator(tmp_path):
    g = Graph()
    y = g.add("LeakyRelu", g.cell()[1], name="leaky")
    said = line("build", g.save(tmp_path, y), "--target", "arm")
    assert said.startswith(f"{tmp_path}/")
    assert "LeakyRelu leaky" in said
    assert "not supported" in said


def test_layer_normalization_is_refused(tmp_path):
    """By its name in ONNX and in the own schema."""
    g = Graph()
    y = g.add("LayerNormalization", g.cell()[1], np.ones(K), np.ones(K), name="norm")
    assert "LayerNormalization norm: " in line("inspect", g.save(tmp_path, y))
    layers = [{"type": "lstm", "name": "rnn"}, {"type": "layer_normalization", "name": "norm"}]
    arrays = {"rnn.W": np.ones((8, 3)), "rnn.U": np.ones((8, 2)), "rnn.b": np.ones(8)}
    described = np.array(json.dumps({"schema": 1, "layers": layers}))
    np.savez(tmp_path / "own.npz", lstmgen=described, **arrays)
    assert "type is 'layer_normalization'; expected one of" in line("inspect", tmp_path / "own.npz")


def test_a_layer_of_python_code(tmp_path):
    path = keras_model(tmp_path, kf.layer("Lambda", "scaled", function="4wEAAA=="))
    said = line("build", path, "--target", "arm")
    assert said.startswith(f"{path}: layer scaled is a 'Lambda', which is not supported")
    assert "its Python code is never loaded" in said


def test_a_file_that_is_not_there(tmp_path):
    assert line("build", tmp_path / "model.keras").startswith(
        f"{tmp_path / 'model.keras'}: no such file"
    )


@pytest.mark.parametrize(("shown", "most"), [
    (onnx_node.shown, 80), (hdf5.shown, 400), (shown_name, 66),
])
@pytest.mark.parametrize("letter", ["a", "'", "\b", "\ud800", "\U000e0001"])
def test_a_name_out_of_a_file_is_short_however_it_is_escaped(shown, most, letter):
    for count in (1, 20, 70, 1000):
        text = shown(letter * count)
        assert text.isprintable()
        assert len(text) <= most
    assert shown("dense_1").strip("'") == "dense_1"
