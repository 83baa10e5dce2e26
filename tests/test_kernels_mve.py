"""The kernels for Cortex-M55: blocks and scalars, packed, equal, and fast."""

import shutil
import subprocess

import numpy as np
import pytest

from lstmgen.bench import bench
from lstmgen.bounds import bound_table
from lstmgen.codegen.kernels import choose
from lstmgen.codegen.kernels.mve import HeliumKernel, unpack
from lstmgen.network import Lstm, Network
from lstmgen.quantized import QuantizedNetwork
from lstmgen.quantizer import quantize
from lstmgen.verification import default_inputs, verify

from builders import NETWORKS, PRECISIONS, calibration, lstm, of_shape, quantized, raw_inputs
from compiled import sources
from tools import need_program, usable

CORE = "cortex-m55"
EFFORTS = ("speed", "balanced", "size")


def kernel_of(q: QuantizedNetwork, effort: str = "speed") -> HeliumKernel:
    bounds = dict(zip(q.layers, bound_table(q), strict=True))
    choice = choose("mve", q.lstms[0], bounds[q.lstms[0]], q.tables, effort, True)
    assert isinstance(choice.kernel, HeliumKernel)
    return choice.kernel


@pytest.mark.parametrize(
    ("precision", "bits", "weight_bytes"),
    [("q15", (16, 16), (2, 2)), ("w8a16", (16, 16), (2, 1)), ("q7", (8, 8), (1, 1))],
)
def test_the_lanes_of_each_precision(precision, bits, weight_bytes):
    parts = kernel_of(of_shape(64, 64, precision)).parts
    assert tuple(part.bits for part in parts) == bits
    assert tuple(part.weight_bytes for part in parts) == weight_bytes


def test_columns_that_fill_no_block():
    x, h = kernel_of(of_shape(10, 41, "q15")).parts
    assert ([block.columns for block in x.blocks], len(x.scalars)) == ([8], 2)
    assert ([block.columns for block in h.blocks], len(h.scalars)) == ([8] * 5, 1)
    x, h = kernel_of(of_shape(11, 43, "q15")).parts
    assert (len(x.scalars), len(h.scalars)) == (3, 0)
    assert h.blocks[-1].columns == 3


def test_blocks_beyond_the_registers_are_read_again():
    x, h = kernel_of(of_shape(64, 64, "q15")).parts
    held = [block.register for part in (x, h) for block in part.held]
    assert held == [f"q{n}" for n in range(len(held))]
    assert {block.register for part in (x, h) for block in part.streamed} == {"q6"}
    assert all(block.columns == part.lanes for part in (x, h) for block in part.streamed)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (9, 32), (8, 12), (20, 33), (70, 40)])
def test_unpacking_gives_the_weights_back(shape, precision, effort):
    q = of_shape(*shape, precision)
    wx, wh = unpack(kernel_of(q, effort), q.lstms[0])
    np.testing.assert_array_equal(wx, q.lstms[0].wx)
    np.testing.assert_array_equal(wh, q.lstms[0].wh)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_on_all_networks(precision):
    """Among them shifts to both sides in one gate and sums that rule N4 has to clamp."""
    target = usable(CORE)
    for name in NETWORKS:
        q = quantized(name, precision)
        result = verify(q, None, target, raw_inputs(q, 8))
        assert result.equal, f"{name}: {result.message}"


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "shape",
    [(1, 2), (2, 3), (1, 16), (4, 17), (5, 7), (8, 6), (13, 4), (17, 25), (64, 30), (33, 81)],
)
def test_equal_at_any_size_and_effort(shape, precision, effort):
    q = of_shape(*shape, precision)
    files = sources(q, target=CORE, effort=effort)
    assert "model_kernels.S" in files
    x = default_inputs(q, np.random.default_rng(3), steps=5)
    result = verify(q, files, usable(CORE), x)
    assert result.equal, result.message


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(680, 20), (40, 180)])
def test_equal_with_more_blocks_than_are_unrolled(shape, precision, effort):
    q = of_shape(*shape, precision, scale=0.05)
    if effort == "size" or (shape == (680, 20) and precision != "q7"):
        assert kernel_of(q, effort).looped
    x = default_inputs(q, np.random.default_rng(3), steps=2)
    result = verify(q, sources(q, target=CORE, effort=effort), usable(CORE), x)
    assert result.equal, result.message


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("inputs", [1, 3, 5, 8, 9, 14, 20, 31, 100, 400])
def test_inputs_of_8_bits_that_have_to_be_aligned(inputs, effort):
    """In their registers, with the sums, as scalars: wherever the shift of rule N2 is made."""
    network = Network.of(lstm(inputs, 9, scale=0.05))
    q = quantize(network, "q7", calibration(network) * 4)
    assert q.lstms[0].x_shift > 0
    files = sources(q, target=CORE, effort=effort)
    result = verify(q, files, usable(CORE), raw_inputs(q, 5))
    assert result.equal, result.message


def test_saturating_cells_are_equal():
    """One unit whose cell state runs into both ends of int32 while others stay in range."""
    r = np.random.default_rng(2)
    W, U, b = r.normal(0, 0.4, (12, 1)), r.normal(0, 0.2, (12, 3)), r.normal(0, 0.3, 12)
    W[[0, 3, 6, 9]], U[[0, 3, 6, 9]] = [[0], [0], [9], [0]], 0
    b[[0, 3, 6, 9]] = 15, 15.99, 0, 15
    network = Network.of(Lstm("lstm0", W, U, b), outputs="sequence")
    q = quantize(network, "q15", np.ones((1, 1, 1)))
    x = np.concatenate([np.full((1, 1100, 1), q.x.hi), np.full((1, 2300, 1), q.x.lo)], 1)
    result = verify(q, None, usable(CORE), x, instances=1)
    assert result.equal, result.message


@pytest.mark.parametrize(
    ("shape", "precision", "per_mac"),
    [
        ((1, 16), "q15", 0.545), ((9, 32), "q15", 0.365), ((64, 64), "q15", 0.305),
        ((1, 16), "w8a16", 0.545), ((9, 32), "w8a16", 0.365), ((64, 64), "w8a16", 0.305),
        ((1, 16), "q7", 0.43), ((9, 32), "q7", 0.28), ((64, 64), "q7", 0.175),
    ],
)
def test_instructions_per_mac(shape, precision, per_mac):
    q = of_shape(*shape, precision)
    result = bench(q, usable(CORE))
    assert result.instructions_per_step / result.macs_per_step <= per_mac


@pytest.mark.parametrize("precision", PRECISIONS)
def test_gcc_and_clang_encode_the_same_instructions(precision, tmp_path):
    """GAS 2.40 takes VQSHRNB for VQRSHRNB: nothing here may depend on the assembler."""
    need_program("clang")
    need_program("arm-none-eabi-objcopy")
    source = tmp_path / "kernels.S"
    files = sources(quantized("odd_sizes", precision), target=CORE)
    source.write_text(files["model_kernels.S"], encoding="utf-8")
    codes = []
    for name, *flags in (("clang", "--target=arm-none-eabi"), ("arm-none-eabi-gcc",)):
        compiled, code = tmp_path / f"{name}.o", tmp_path / f"{name}.bin"
        flags += ["-mcpu=cortex-m55", "-mfloat-abi=hard", "-mthumb"]
        done = subprocess.run(
            [shutil.which(name), *flags, "-c", source, "-o", compiled],
            capture_output=True, text=True, check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        section = ["-O", "binary", "-j", ".text.model_kernels"]
        copy = [shutil.which("arm-none-eabi-objcopy"), *section, compiled, code]
        subprocess.run(copy, check=True)
        codes.append(code.read_bytes())
    assert codes[0] == codes[1]
