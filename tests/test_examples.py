"""The examples: their files load, quantization keeps their accuracy, their READMEs are true."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmgen.emulator import Emulator
from lstmgen.network import Lstm, Network
from lstmgen.npz import read_npz
from lstmgen.quantized import PRECISIONS, Precision
from lstmgen.quantizer import quantize
from lstmgen.readers import read_model
from lstmgen.reference import run

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CLASSIFIERS = ("weather", "digits")
NAMES = ("next_number", *CLASSIFIERS)

WORSE_BY = {"q15": 1.01, "w8a16": 1.10, "q7": 1.60}
"""How many times the float network's RMSE is allowed, with plain rounding to nearest."""

FLOORS = {"weather": 95.0, "digits": 96.0}
"""The float accuracy below which an example is badly trained, in percent."""


def load(name: str) -> tuple[Network, dict[str, np.ndarray]]:
    return read_model(EXAMPLES / name / "model.npz"), read_npz(EXAMPLES / name / "data.npz")


def metric(data: dict[str, np.ndarray], y: np.ndarray) -> float:
    """Return the accuracy in percent where there are labels, else the RMSE."""
    if "label" in data:
        return 100.0 * float(np.mean(y.argmax(-1) == data["label"]))
    return float(np.sqrt(np.mean((y - data["target"]) ** 2)))


def emulated(network: Network, data: dict[str, np.ndarray], precision: Any) -> np.ndarray:
    q = quantize(network, precision, data["x_calib"].astype(np.float64))
    emulator = Emulator(q)
    emulator.reset(len(data["x"]))
    return q.y.to_real(emulator.run(q.to_raw(data["x"])))


def figures(name: str, row: str) -> list[float]:
    """Return the numbers in a row of the README's table of accuracy."""
    text = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    match = re.search(rf"^\| {row} \|(.*)\|$", text, re.MULTILINE)
    assert match, f"the README of {name} has no row {row}"
    return [float(number) for number in re.findall(r"[-+]?\d+\.\d+", match[1])]


@pytest.mark.parametrize(
    ("name", "inputs", "steps", "layers", "activation"),
    [
        ("next_number", 1, 32, 2, "linear"),
        ("weather", 2, 10, 2, "softmax"),
        ("digits", 8, 8, 3, "softmax"),
    ],
)
def test_files(name: str, inputs: int, steps: int, layers: int, activation: str) -> None:
    network, data = load(name)
    assert (network.name, network.outputs) == (name, "last")
    assert (network.inputs, len(network.layers)) == (inputs, layers)
    assert network.activation == activation
    assert all(isinstance(layer, Lstm) for layer in network.layers[:-1])
    for key in ("x", "x_calib"):
        assert data[key].dtype == np.float32
        assert data[key].shape[1:] == (steps, inputs)
    assert 100 <= len(data["x_calib"]) <= 200
    answers = data["label"] if name in CLASSIFIERS else data["target"]
    assert len(answers) == len(data["x"])
    assert network.input_range is not None
    lo, hi = network.input_range
    assert lo <= min(data["x"].min(), data["x_calib"].min())
    assert hi >= max(data["x"].max(), data["x_calib"].max())
    assert sum(path.stat().st_size for path in (EXAMPLES / name).iterdir()) < 400_000


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_what_saving_gives(name: str, tmp_path: Path) -> None:
    load(name)[0].save(tmp_path / "model.npz")
    stored = (EXAMPLES / name / "model.npz").read_bytes()
    assert (tmp_path / "model.npz").read_bytes() == stored


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_tells_the_float_figure(name: str) -> None:
    network, data = load(name)
    (told,) = figures(name, "float")
    found = metric(data, run(network, data["x"]).y)
    assert found == pytest.approx(told, abs=0.00006 if name == "next_number" else 0.006)
    assert name not in FLOORS or FLOORS[name] < found < 99.5


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_stay_within_half_a_point(name: str, precision: Precision) -> None:
    network, data = load(name)
    wanted, got = run(network, data["x"]).y, emulated(network, data, precision)
    assert abs(metric(data, got) - metric(data, wanted)) <= 0.5
    accuracy, agreement = figures(name, precision)
    assert metric(data, got) == pytest.approx(accuracy, abs=0.006)
    same = 100.0 * np.mean(got.argmax(-1) == wanted.argmax(-1))
    assert same == pytest.approx(agreement, abs=0.006)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_next_number_keeps_its_error(precision: Precision) -> None:
    network, data = load("next_number")
    wanted = metric(data, run(network, data["x"]).y)
    got = metric(data, emulated(network, data, precision))
    assert got <= WORSE_BY[precision] * wanted
    rmse, percent = figures("next_number", precision)
    assert got == pytest.approx(rmse, abs=0.00006)
    assert 100.0 * (got / wanted - 1.0) == pytest.approx(percent, abs=0.006)
