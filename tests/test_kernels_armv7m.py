"""The kernels for Cortex-M3: chosen by the weights, packed, equal, fast and small."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from lstmgen.bench import bench
from lstmgen.bounds import bound_table
from lstmgen.codegen.kernels import EFFORTS, Choice, choose, choose_dense
from lstmgen.codegen.kernels.lanes import SEGMENT_LIMIT
from lstmgen.network import Lstm, Network
from lstmgen.quantized import QuantizedDense, QuantizedNetwork
from lstmgen.target import load_target
from lstmgen.verification import default_inputs, verify

from builders import (
    PRECISIONS,
    calibration,
    dense,
    lstm,
    nearest,
    of_shape,
    quantized,
    with_mid_shifts,
)
from compiled import flash_bytes, sources
from tools import need_program, usable

CORE, ISA = "cortex-m3", "armv7m"


def chosen(q: QuantizedNetwork, effort: str = "speed") -> Choice:
    """What the first LSTM layer gets."""
    bounds = dict(zip((layer.name for layer in q.layers), bound_table(q), strict=True))
    layer = q.lstms[0]
    return choose(ISA, layer, bounds[layer.name], q.tables, effort, False)


def ways(choice: Choice) -> list[str]:
    return [way for _, way, _ in choice.kernel.parts]


def assert_equal(q: QuantizedNetwork, effort: str, steps: int = 5) -> None:
    x = default_inputs(q, np.random.default_rng(3), steps=steps)
    result = verify(q, None, usable(CORE), x, effort=effort)
    assert result.equal, result.message


def with_head(shape: tuple[int, int], rows: int, precision: str) -> QuantizedNetwork:
    network = Network.of(lstm(*shape, scale=0.23), dense(shape[1], rows, "linear"))
    return nearest(network, precision, calibration(network), mid_shift=False)


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        ("speed", (["halves"], ["halves"], ["lanes", "lanes"])),
        ("balanced", (["halves"], ["bytes", "halves"], ["lanes", "lanes"])),
        ("size", (["halves"], ["bytes", "halves"], ["bytes"])),
    ],
)
def test_how_each_precision_is_packed(effort, expected):
    for precision, found in zip(("q15", "w8a16", "q7"), expected, strict=True):
        q = of_shape(9, 32, precision)
        assert q.lstms[0].x_shift > 0 or precision != "q7"
        assert ways(chosen(q, effort)) == found


@pytest.mark.parametrize(
    ("inputs", "x_shift", "expected"),
    [(1, 0, ["lanes"]), (2, 2, ["lanes", "single"]), (3, 2, ["lanes", "lanes"])],
)
def test_few_shifted_inputs_have_words_of_their_own(inputs, x_shift, expected):
    q = of_shape(inputs, 16, "q7")
    q = replace(q, layers=(replace(q.lstms[0], x_shift=x_shift),))
    assert ways(chosen(q)) == expected
    assert_equal(q, "speed")


def test_balanced_holds_large_layers_in_bytes():
    q = of_shape(64, 64, "q7")
    assert "lanes" in ways(chosen(q, "speed"))
    assert ways(chosen(q, "balanced")) == ["bytes"]


def test_with_mid_shifts_inputs_have_words_of_their_own():
    for precision, way in (("q15", "halves"), ("w8a16", "halves"), ("q7", "lanes")):
        q = with_mid_shifts(of_shape(9, 32, precision), by_row=True)
        assert ways(chosen(q)) == [way, "single"]
    assert ways(chosen(q, "size")) == ["bytes", "bytes"]


def test_portable_where_no_kernel_is_safe():
    choice = chosen(quantized("huge_sums", "q15"))
    assert choice.kernel is None
    assert "clamped" in choice.reason
    mixed = [chosen(quantized("extreme_weights", p)) for p in PRECISIONS]
    assert any("both sides" in choice.reason and choice.kernel is None for choice in mixed)


@pytest.mark.parametrize("shape", [(1, 16), (9, 32), (28, 20), (64, 64), (1, 40)])
def test_segments_keep_lanes_within_their_bits(shape):
    """Every segment of every unit, with the inputs that are worst for it."""
    q = of_shape(*shape, "q7")
    layer, kernel = q.lstms[0], chosen(q).kernel
    columns = np.concatenate([layer.wh, layer.wx], 1)[:, list(kernel.order)]
    most = np.abs(columns).reshape(4, layer.units, -1) * 128
    at = 0
    for stage in kernel.stages:
        if stage.kind != "lanes":
            continue
        lanes = [lane for step in stage.steps for lane in step.columns]
        for word, rows in ((0, [0, 1]), (1, [2, 3])):
            total = np.zeros((2, layer.units), np.int64)
            for offset, lane in enumerate(lanes):
                total = most[rows, :, at + offset] + (0 if lane[word].starts else total)
                assert total.max() <= SEGMENT_LIMIT
                following = lanes[offset + 1] if offset + 1 < len(lanes) else None
                assert lane[word].ends == (following is None or following[word].starts)
        at += len(lanes)
    assert at == sum(columns for _, way, columns in kernel.parts if way == "lanes")


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_at_any_size_and_effort(precision, effort):
    for shape in ((1, 16), (5, 7), (8, 6), (17, 24), (64, 30), (33, 41), (65, 64)):
        q = of_shape(*shape, precision)
        assert chosen(q, effort).kernel is not None
        assert_equal(q, effort)


@pytest.mark.parametrize("effort", ["balanced", "size"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_with_mid_shifts(precision, effort):
    for shape, by_row in (((1, 1), False), ((2, 5), True), ((9, 32), True), ((30, 60), False)):
        assert_equal(with_mid_shifts(of_shape(*shape, precision), by_row), effort)


@pytest.mark.parametrize(
    ("rows", "distances", "shared"),
    [
        ("alike in all units", [0, 1, 1, 2], None),
        ("to the left", [None] * 4, "lsl"),
        ("to the right", [None] * 4, "asr"),
        ("to either side, by gates", [None] * 4, None),
    ],
)
def test_equal_wherever_the_shifts_are(rows, distances, shared):
    """The smallest kernel shifts in each gate or in its one routine, by code or by bytes."""
    q = of_shape(4, 6, "q7")
    layer = q.lstms[0]
    by_unit = np.arange(4 * layer.units) % 2
    shift = {
        "alike in all units": -np.repeat([0, 1, 2, 1], layer.units),
        "to the left": -by_unit,
        "to the right": by_unit,
        "to either side, by gates": by_unit * np.repeat([1, -1, -1, 1], layer.units),
    }[rows]
    q = replace(q, layers=(replace(layer, frac=layer.argument_frac + shift),))
    kernel = chosen(q, "size").kernel
    assert [gate.distance for gate in kernel.gates] == distances
    assert kernel.shared == shared
    for effort in EFFORTS:
        assert_equal(q, effort)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_with_a_frame_beyond_offsets(precision, effort):
    """More values than offsets from the stack pointer reach: LDRD's first, then all."""
    for shape, scale in (((260, 30), 0.1), ((700, 20), 0.05), ((1000, 40), 0.03)):
        assert_equal(of_shape(*shape, precision, scale=scale), effort, steps=1)


@pytest.mark.parametrize("effort", ["speed", "balanced"])
def test_equal_dense_layers_of_many_columns(effort):
    """Loops over groups of rows and over columns, and a frame beyond offsets."""
    network = Network.of(
        dense(1100, 7, "relu", name="wide"), lstm(7, 33), dense(33, 11, "linear", name="head")
    )
    q = nearest(network, "q15", calibration(network))
    for layer, bounds in zip(q.layers, bound_table(q), strict=True):
        if isinstance(layer, QuantizedDense):
            assert choose_dense(ISA, layer, bounds, effort).kernel is not None
    assert_equal(q, effort, steps=2)


@pytest.mark.parametrize("effort", ["speed", "size"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_saturating_cells_are_equal(precision, effort):
    """One unit whose cell state runs into both ends of int32 while others stay in range."""
    r = np.random.default_rng(2)
    W, U, b = r.normal(0, 0.4, (12, 1)), r.normal(0, 0.2, (12, 3)), r.normal(0, 0.3, 12)
    W[[0, 3, 6, 9]], U[[0, 3, 6, 9]] = [[0], [0], [9], [0]], 0
    b[[0, 3, 6, 9]] = 15, 15.99, 0, 15
    network = Network.of(Lstm("lstm0", W, U, b), outputs="sequence")
    q = nearest(network, precision, np.ones((1, 1, 1)))
    layer = q.lstms[0]
    layer.c0[:] = [2**31 - 2**25, 0, 0]
    x = np.concatenate([np.full((1, 60, 1), q.x.hi), np.full((1, 60, 1), q.x.lo)], 1)
    assert verify(q, None, usable(CORE), x, effort=effort, instances=1).equal
    layer.c0[:] = [-(2**31) + 2**25, 0, 0]
    assert verify(q, None, usable(CORE), -1 - x, effort=effort, instances=1).equal


@pytest.mark.parametrize(
    ("shape", "precision", "per_mac"),
    [
        ((1, 16), "q15", 2.70), ((9, 32), "q15", 2.10), ((10, 128), "q15", 1.82),
        ((1, 16), "w8a16", 2.70), ((9, 32), "w8a16", 2.10), ((10, 128), "w8a16", 1.82),
        ((1, 16), "q7", 2.00), ((9, 32), "q7", 1.42), ((10, 128), "q7", 1.10),
    ],
)  # fmt: skip
def test_instructions_per_mac(shape, precision, per_mac):
    result = bench(of_shape(*shape, precision), usable(CORE))
    assert result.instructions_per_step / result.macs_per_step <= per_mac


@pytest.mark.parametrize(("shape", "rows", "most"), [((1, 16), 1, 0), ((10, 128), 12, 2600)])
def test_instructions_of_a_dense_layer(shape, rows, most):
    """What it adds to a layer whose h, without it, is copied to the output."""
    with_it, alone = (
        bench(q, usable(CORE)).instructions_per_step
        for q in (with_head(shape, rows, "q15"), of_shape(*shape, "q15"))
    )
    assert with_it - alone <= most


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("shape", "rows"), [((1, 16), 1), ((9, 32), 6)])
def test_size_takes_the_least_flash(shape, rows, precision, tmp_path):
    q = with_head(shape, rows, precision)
    portable = replace(load_target(CORE), isa="portable")
    flash = [flash_bytes(q, usable(CORE), e, "-Os", tmp_path / e) for e in EFFORTS]
    flash.append(flash_bytes(q, portable, "speed", "-Os", tmp_path / "portable"))
    assert flash[EFFORTS.index("size")] == min(flash)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_clang_assembles_it_too(precision, effort, tmp_path):
    need_program("clang")
    for q in (quantized("odd_sizes", precision), with_head((300, 20), 6, precision)):
        files = sources(q, target=CORE, effort=effort)
        (tmp_path / "kernels.S").write_text(files["model_kernels.S"], encoding="utf-8")
        command = [
            shutil.which("clang"), "--target=arm-none-eabi", f"-mcpu={CORE}", "-mthumb", "-c",
            tmp_path / "kernels.S", "-o", tmp_path / "kernels.o",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
