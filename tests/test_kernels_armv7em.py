"""The kernels for Cortex-M4, M7 and M33: chosen by the weights, packed, equal, and fast."""

import shutil
import subprocess

import numpy as np
import pytest

from lstmgen.bench import bench
from lstmgen.bounds import bound_table
from lstmgen.codegen.kernels import Choice, choose
from lstmgen.network import Lstm, Network
from lstmgen.quantized import QuantizedNetwork
from lstmgen.verification import default_inputs, verify

from builders import PRECISIONS, nearest, of_shape, quantized
from compiled import sources
from tools import need_program, usable

EFFORTS = ("speed", "balanced", "size")


def chosen(q: QuantizedNetwork, effort: str = "speed") -> list[Choice]:
    return [
        choose("armv7em", layer, bounds, q.tables, effort, True)
        for layer, bounds in zip(q.layers, bound_table(q), strict=True)
        if layer in q.lstms
    ]


@pytest.mark.parametrize(
    ("precision", "name"),
    [("q15", "SMLAD"), ("w8a16", "long row pair"), ("q7", "row pair")],
)
def test_the_kernel_of_each_precision(precision, name):
    (choice,) = chosen(of_shape(9, 32, precision))
    assert choice.kernel is not None
    assert choice.kernel.name == name


def test_a_row_pair_needs_room_in_its_upper_lane():
    """With sums beyond 2^23 in lane A, 8-bit weights take the long pair."""
    q = of_shape(40, 40, "q7", scale=0.5)
    (choice,) = chosen(q)
    widest = int(bound_table(q)[0].bound.reshape(4, -1)[[0, 2]].max())
    assert (choice.kernel.name == "row pair") == (widest < 1 << 23)
    wide = of_shape(700, 40, "q7", scale=0.5)
    assert bound_table(wide)[0].bound.reshape(4, -1)[[0, 2]].max() >= 1 << 23
    assert chosen(wide)[0].kernel.name == "long row pair"


def test_portable_where_no_kernel_is_safe():
    assert "clamped" in chosen(quantized("huge_sums", "q15"))[0].reason
    mixed = [chosen(quantized("extreme_weights", p))[0] for p in PRECISIONS]
    assert any("both sides" in choice.reason and choice.kernel is None for choice in mixed)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 16), (5, 7), (8, 6), (17, 24), (64, 30), (33, 81)])
def test_equal_at_any_size_and_effort(shape, precision, effort):
    target = usable("cortex-m4")
    q = of_shape(*shape, precision)
    files = sources(q, target="cortex-m4", effort=effort)
    assert "model_kernels.S" in files
    x = default_inputs(q, np.random.default_rng(3), steps=5)
    result = verify(q, files, target, x)
    assert result.equal, result.message


@pytest.mark.parametrize("effort", EFFORTS)
def test_equal_with_more_columns_than_offsets_reach(effort):
    target = usable("cortex-m4")
    for precision in PRECISIONS:
        q = of_shape(300, 260, precision, scale=0.05)
        files = sources(q, target="cortex-m4", effort=effort)
        x = default_inputs(q, np.random.default_rng(3), steps=2)
        result = verify(q, files, target, x)
        assert result.equal, result.message


def test_saturating_cells_are_equal():
    """One unit whose cell state runs into both ends of int32 while others stay in range."""
    r = np.random.default_rng(2)
    W, U, b = r.normal(0, 0.4, (12, 1)), r.normal(0, 0.2, (12, 3)), r.normal(0, 0.3, 12)
    W[[0, 3, 6, 9]], U[[0, 3, 6, 9]] = [[0], [0], [9], [0]], 0
    b[[0, 3, 6, 9]] = 15, 15.99, 0, 15
    network = Network.of(Lstm("lstm0", W, U, b), outputs="sequence")
    q = nearest(network, "q15", np.ones((1, 1, 1)))
    x = np.concatenate([np.full((1, 1100, 1), q.x.hi), np.full((1, 2300, 1), q.x.lo)], 1)
    result = verify(q, None, usable("cortex-m4"), x, instances=1)
    assert result.equal, result.message


@pytest.mark.parametrize(
    ("shape", "precision", "per_mac"),
    [
        ((1, 16), "q15", 1.25), ((9, 32), "q15", 0.92), ((10, 128), "q15", 0.79),
        ((1, 16), "w8a16", 1.70), ((9, 32), "w8a16", 1.33), ((10, 128), "w8a16", 1.15),
        ((1, 16), "q7", 1.47), ((9, 32), "q7", 1.12), ((10, 128), "q7", 0.98),
    ],
)
def test_instructions_per_mac(shape, precision, per_mac):
    q = of_shape(*shape, precision)
    result = bench(q, usable("cortex-m4"))
    assert result.instructions_per_step / result.macs_per_step <= per_mac


@pytest.mark.parametrize("precision", PRECISIONS)
def test_clang_assembles_it_too(precision, tmp_path):
    need_program("clang")
    files = sources(quantized("odd_sizes", precision), target="cortex-m4")
    (tmp_path / "kernels.S").write_text(files["model_kernels.S"], encoding="utf-8")
    command = [
        shutil.which("clang"), "--target=arm-none-eabi", "-mcpu=cortex-m4", "-mthumb", "-c",
        tmp_path / "kernels.S", "-o", tmp_path / "kernels.o",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
