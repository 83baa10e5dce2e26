"""Real trained networks, where they are at hand: accuracy and equality on every core."""

import numpy as np
import pytest
from click.testing import CliRunner

from lstmgen.cli import main
from lstmgen.dataset import Dataset
from lstmgen.quantizer import quantize
from lstmgen.readers import ReadOptions, read_model
from lstmgen.report import measure_accuracy
from lstmgen.verification import verify

from builders import PRECISIONS
from tools import usable

FLOORS = {"q15": 64, "w8a16": 47, "q7": 37}
"""Output SQNR in dB that plain rounding reaches on the activity recogniser."""

CORES = ("host", "cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55",
         "riscv32")


@pytest.fixture(scope="module")
def har(shared_data):
    file = shared_data / "har" / "embarc_har_2xlstm32.npz"
    network = read_model(file, ReadOptions(activations={"pre": "relu"}))
    arrays = np.load(file)
    return network, Dataset(arrays["x"].astype(np.float64), arrays["label"])


def test_activity_recogniser_is_read_right(shared_data):
    """Its file holds the outputs that its makers computed."""
    file = str(shared_data / "har" / "embarc_har_2xlstm32.npz")
    result = CliRunner().invoke(main, ["inspect", file])
    assert (result.exit_code, "30 sequences: read right" in result.stdout) == (0, True)
    result = CliRunner().invoke(main, ["inspect", file, "--activation", "pre=linear"])
    assert (result.exit_code, "NOT READ RIGHT" in result.stdout) == (1, True)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_activity_recogniser_accuracy(har, precision):
    network, data = har
    q = quantize(network, precision, data.x, rounding="nearest")
    accuracy = measure_accuracy(network, q, data)
    assert accuracy.sqnr_db > FLOORS[precision]
    assert accuracy.agreement == 1.0
    assert accuracy.metric["quantized"] * 30 == pytest.approx(27)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_activity_recogniser_is_equal(har, precision, core):
    network, data = har
    q = quantize(network, precision, data.x, rounding="nearest")
    result = verify(q, None, usable(core), q.to_raw(data.x))
    assert result.equal, result.message
    assert result.steps == 30 * 128
