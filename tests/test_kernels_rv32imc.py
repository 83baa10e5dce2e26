"""The RV32IMC kernels: packing and back, choice, equality with the emulator, instructions."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lstmgen.bench import bench
from lstmgen.bounds import bound_table
from lstmgen.codegen import generate
from lstmgen.codegen.kernels import EFFORTS, Choice, Effort, choose
from lstmgen.codegen.kernels.rv32imc import LANE_LIMIT, Rv32Kernel, unpack
from lstmgen.codegen.kernels.segments import balanced_segments
from lstmgen.network import Network
from lstmgen.quantized import Precision, QuantizedLstm, QuantizedNetwork, Tables
from lstmgen.quantizer import quantize
from lstmgen.selftest import make_selftest
from lstmgen.verification import default_inputs, verify

from builders import NETWORKS, PRECISIONS, calibration, dense, lstm, quantized
from tools import need_program, usable

ISA = "rv32imc"


def layer_of(q: QuantizedNetwork) -> tuple[int, QuantizedLstm]:
    return next((i, x) for i, x in enumerate(q.layers) if isinstance(x, QuantizedLstm))


def chosen(q: QuantizedNetwork, effort: Effort = "speed") -> Choice:
    place, layer = layer_of(q)
    return choose(ISA, layer, bound_table(q)[place], q.tables, effort, True)


def random_network(n: int, k: int, precision: Precision, seed: int = 3) -> QuantizedNetwork:
    network = Network.of(lstm(n, k, seed=seed), dense(k, 2, "sigmoid"), name="random")
    return quantize(network, precision, calibration(network))


def assert_equal(q: QuantizedNetwork, effort: Effort = "speed") -> None:
    inputs = default_inputs(q, np.random.default_rng(0), steps=6)
    target = usable("riscv32")
    result = verify(q, None, target, inputs, effort=effort)
    assert result.equal, result.message


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 5), (9, 32), (28, 20), (150, 7)])
def test_unpack_inverts_the_packing(n: int, k: int, precision: Precision, effort: Effort) -> None:
    q = random_network(n, k, precision)
    _, layer = layer_of(q)
    kernel = chosen(q, effort).kernel
    assert isinstance(kernel, Rv32Kernel)
    wx, wh = unpack(kernel, layer)
    np.testing.assert_array_equal(wx, layer.wx)
    np.testing.assert_array_equal(wh, layer.wh)


def test_way_by_precision_and_effort() -> None:
    ways = {
        (precision, effort): chosen(random_network(3, 5, precision), effort).kernel.way
        for precision in PRECISIONS
        for effort in EFFORTS
    }
    lanes = {key for key, way in ways.items() if way == "lanes"}
    assert lanes == {("q7", "speed"), ("q7", "balanced")}


def test_lanes_hold_the_worst_input() -> None:
    q = random_network(28, 20, "q7")
    _, layer = layer_of(q)
    kernel = chosen(q).kernel
    assert isinstance(kernel, Rv32Kernel)
    joined = np.abs(np.concatenate([layer.wx, layer.wh], 1))
    at = 0
    for segment in kernel.passes[0].segments:
        columns = list(kernel.order[at : at + len(segment.columns)])
        assert (joined[:, columns].sum(1) * 128).max() <= LANE_LIMIT
        at += len(columns)
    assert sorted(kernel.order) == list(range(48))


@pytest.mark.parametrize("columns", [0, 1, 2, 17, 60])
def test_balanced_segments_keep_the_limit_and_every_column(columns: int) -> None:
    reach = np.random.default_rng(columns).integers(0, 16256, (40, columns))
    found = balanced_segments(reach, LANE_LIMIT)
    assert found is not None
    assert sorted(c for segment in found for c in segment) == list(range(columns))
    assert all(reach[:, list(segment)].sum(1).max() <= LANE_LIMIT for segment in found)
    assert found == balanced_segments(reach.copy(), LANE_LIMIT)


def test_one_column_beyond_the_limit_has_no_segments() -> None:
    assert balanced_segments(np.array([[1, 32768]]), LANE_LIMIT) is None


def test_portable_where_gates_clamp_or_shift_to_both_sides() -> None:
    assert chosen(quantized("huge_sums", "q15")).reason == "a pre-activation has to be clamped"
    q = random_network(3, 4, "q15")
    place, layer = layer_of(q)
    frac = layer.frac.copy()
    frac[:2] = layer.argument_frac[:2] + np.array([-1, 1])
    mixed = replace(layer, frac=frac)
    choice = choose(ISA, mixed, bound_table(q)[place], q.tables, "speed", True)
    assert choice.kernel is None
    assert "both sides" in choice.reason


def test_portable_where_the_middle_of_the_table_does_not_fit() -> None:
    q = random_network(3, 4, "q7")
    place, layer = layer_of(q)
    bounds = bound_table(q)[place]
    near = replace(bounds, bound=np.full_like(bounds.bound, (1 << 31) - 1 >> 8))
    far = replace(layer, frac=layer.argument_frac - 8)
    choice = choose(ISA, far, near, q.tables, "speed", True)
    assert choice.kernel is None
    assert "2^31" in choice.reason


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_the_emulator(name: str, precision: Precision) -> None:
    assert_equal(quantized(name, precision))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("n", "k"), [(1, 2), (5, 3), (7, 17), (4, 28), (13, 33), (4, 44), (60, 9), (133, 1), (160, 4)]
)
def test_equal_at_odd_sizes(n: int, k: int, precision: Precision) -> None:
    assert_equal(random_network(n, k, precision, seed=n))


@pytest.mark.parametrize("shift", [-4, 0, 7, 8, 9])
def test_equal_with_sums_of_any_size(shift: int) -> None:
    """Where the middle of the table is added, and whether V is limited, follows from these."""
    q = random_network(4, 6, "q15")
    place, layer = layer_of(q)
    r = np.random.default_rng(shift + 9)
    most = 4500 if shift >= 0 else 400
    drawn = replace(
        layer,
        wx=r.integers(-most, most, layer.wx.shape) * (1 + (r.random(layer.wx.shape) > 0.5)),
        wh=r.integers(-most, most, layer.wh.shape),
        bias=np.zeros_like(layer.bias),
        frac=layer.argument_frac + shift,
    )
    layers = list(q.layers)
    layers[place] = drawn
    changed = replace(q, layers=tuple(layers))
    kernel = chosen(changed).kernel
    assert isinstance(kernel, Rv32Kernel)
    assert all(step.amount == abs(shift) for step in kernel.gates)
    assert any(step.late for step in kernel.gates) == (shift in (7, 9))
    assert_equal(changed)


@pytest.mark.parametrize("bits", [6, 9, 10])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_with_other_tables(precision: Precision, bits: int) -> None:
    network = Network.of(lstm(3, 4, seed=bits), dense(4, 2, "tanh"), name="tables")
    q = quantize(network, precision, calibration(network), table_bits=bits)
    assert isinstance(q.tables, Tables)
    assert_equal(q)


@pytest.mark.parametrize("effort", ["balanced", "size"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_with_less_code(precision: Precision, effort: Effort) -> None:
    assert_equal(random_network(20, 7, precision), effort)


@pytest.mark.parametrize(
    ("n", "k", "precision", "most"),
    [(9, 32, "q7", 2.56), (64, 64, "q7", 2.11), (9, 32, "w8a16", 3.70), (28, 20, "q15", 3.68)],
)
def test_instructions_per_mac(n: int, k: int, precision: Precision, most: float) -> None:
    r = np.random.default_rng(1)
    weights = r.normal(0, 0.23, (4 * k, n + k))
    layer = replace(lstm(n, k), W=weights[:, :n], U=weights[:, n:], b=r.normal(0, 0.5, 4 * k))
    network = Network.of(layer)
    q = quantize(network, precision, calibration(network))
    result = bench(q, usable("riscv32"))
    assert result.instructions_per_step is not None
    assert result.instructions_per_step / result.macs_per_step <= most


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_clang_assembles_it(precision: Precision, effort: Effort, tmp_path: Path) -> None:
    need_program("clang")
    q = random_network(11, 5, precision)
    files = generate(
        q, name="m", target=usable("riscv32"), selftest=make_selftest(q), effort=effort
    )
    source = tmp_path / "m_kernels.S"
    source.write_text(files["m_kernels.S"])
    clang = shutil.which("clang")
    assert clang
    command = [clang, "--target=riscv32", "-march=rv32imc", "-mabi=ilp32", "-c"]
    subprocess.run([*command, source, "-o", tmp_path / "m.o"], check=True, timeout=60)
