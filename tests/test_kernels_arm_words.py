"""The kernels for Cortex-M3 and M0: chosen by the weights, packed, equal, and fast."""

import shutil
import subprocess

import numpy as np
import pytest

from lstmgen.bench import bench
from lstmgen.bounds import bound_table
from lstmgen.codegen.kernels import EFFORTS, Choice, armv6m, armv7m, lanes
from lstmgen.network import Lstm, Network
from lstmgen.quantized import QuantizedNetwork
from lstmgen.quantizer import quantize
from lstmgen.verification import default_inputs, verify

from builders import NETWORKS, PRECISIONS, of_shape, quantized
from compiled import sources
from tools import need_program, usable

CORES = {"cortex-m3": armv7m, "cortex-m0": armv6m}
BOTH = pytest.mark.parametrize("core", CORES)


def chosen(q: QuantizedNetwork, core: str, effort: str = "speed") -> list[Choice]:
    return [
        CORES[core].choose(layer, bounds, q.tables, effort, False)
        for layer, bounds in zip(q.layers, bound_table(q), strict=True)
        if layer in q.lstms
    ]


def ways(choice: Choice) -> list[str]:
    return [span.way for span in choice.kernel.spans]


@pytest.mark.parametrize(
    ("core", "effort", "expected"),
    [
        ("cortex-m3", "speed", (["halves"], ["halves"], ["wide"])),
        ("cortex-m3", "balanced", (["halves"], ["bytes", "halves"], ["wide"])),
        ("cortex-m3", "size", (["halves"], ["bytes", "halves"], ["bytes"])),
        ("cortex-m0", "speed", (["halves"], ["halves"], ["lanes"])),
        ("cortex-m0", "balanced", (["halves"], ["bytes", "halves"], ["lanes"])),
        ("cortex-m0", "size", (["halves"], ["bytes", "halves"], ["bytes"])),
    ],
)
def test_how_each_precision_is_packed(core, effort, expected):
    for precision, found in zip(("q15", "w8a16", "q7"), expected, strict=True):
        (choice,) = chosen(of_shape(9, 32, precision), core, effort)
        assert ways(choice) == found


def test_wide_needs_room_in_its_lower_lane():
    q = of_shape(700, 40, "q7", scale=0.5)
    lower = bound_table(q)[0].bound.reshape(4, -1)[[1, 3]]
    assert (ways(chosen(q, "cortex-m3")[0]) == ["wide"]) == (lower.max() < 1 << 23)
    assert lower.max() >= 1 << 23


@BOTH
def test_portable_where_no_kernel_is_safe(core):
    choice = chosen(quantized("huge_sums", "q15"), core)[0]
    assert choice.kernel is None
    assert "clamped" in choice.reason
    mixed = [chosen(quantized("extreme_weights", p), core)[0] for p in PRECISIONS]
    assert any("both sides" in choice.reason and choice.kernel is None for choice in mixed)


@BOTH
@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (9, 32), (20, 33), (70, 40)])
def test_unpacking_gives_the_weights_back(core, shape, precision, effort):
    q = of_shape(*shape, precision)
    (choice,) = chosen(q, core, effort)
    wx, wh = CORES[core].unpack(choice.kernel, q.lstms[0])
    np.testing.assert_array_equal(wx, q.lstms[0].wx)
    np.testing.assert_array_equal(wh, q.lstms[0].wh)


@pytest.mark.parametrize("shape", [(1, 16), (9, 32), (28, 20), (64, 64)])
def test_segments_keep_lanes_within_their_bits(shape):
    """Every segment of every unit, with the inputs that are worst for it."""
    q = of_shape(*shape, "q7")
    layer = q.lstms[0]
    kernel = chosen(q, "cortex-m0")[0].kernel
    wx, wh = armv6m.unpack(kernel, layer)
    columns = np.concatenate([wh, wx], 1)[:, np.argsort(kernel.slots)]
    most = np.abs(columns).reshape(4, layer.units, -1) * 128
    (span,) = kernel.spans
    for word in (0, 1):
        total = np.zeros((2, layer.units), np.int64)
        for at, column in enumerate(span.rest):
            if column.first[word]:
                total[:] = 0
            total += most[2 * word : 2 * word + 2, :, at]
            assert total.max() <= lanes.SEGMENT_LIMIT
        assert span.rest[-1].last[word]


@BOTH
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_on_all_networks(core, precision):
    target = usable(core)
    for name in NETWORKS:
        q = quantized(name, precision)
        x = default_inputs(q, np.random.default_rng(1), steps=8)
        result = verify(q, None, target, x)
        assert result.equal, f"{name}: {result.message}"


@BOTH
@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_at_any_size_and_effort(core, precision, effort):
    target = usable(core)
    for shape in ((1, 16), (5, 7), (8, 6), (17, 24), (64, 30), (33, 41)):
        q = of_shape(*shape, precision)
        files = sources(q, target=core, effort=effort)
        assert "model_kernels.S" in files
        x = default_inputs(q, np.random.default_rng(3), steps=5)
        result = verify(q, files, target, x)
        assert result.equal, f"{shape}: {result.message}"


@BOTH
@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_with_a_frame_beyond_offsets(core, precision, effort):
    """More values than offsets from the stack pointer reach; as many as the M0's RAM takes."""
    target = usable(core)
    shape = (1000, 40) if core == "cortex-m3" else (250, 60)
    q = of_shape(*shape, precision, scale=0.03)
    files = sources(q, target=core, effort=effort)
    x = default_inputs(q, np.random.default_rng(3), steps=1)[:2]
    result = verify(q, files, target, x)
    assert result.equal, result.message


@BOTH
@pytest.mark.parametrize("precision", PRECISIONS)
def test_saturating_cells_are_equal(core, precision):
    """One unit whose cell state runs into both ends of int32 while others stay in range."""
    r = np.random.default_rng(2)
    W, U, b = r.normal(0, 0.4, (12, 1)), r.normal(0, 0.2, (12, 3)), r.normal(0, 0.3, 12)
    W[[0, 3, 6, 9]], U[[0, 3, 6, 9]] = [[0], [0], [9], [0]], 0
    b[[0, 3, 6, 9]] = 15, 15.99, 0, 15
    network = Network.of(Lstm("lstm0", W, U, b), outputs="sequence")
    q = quantize(network, precision, np.ones((1, 1, 1)))
    layer = q.lstms[0]
    layer.c0[:] = [2**31 - 2**25, 0, 0]
    x = np.concatenate([np.full((1, 60, 1), q.x.hi), np.full((1, 60, 1), q.x.lo)], 1)
    assert verify(q, None, usable(core), x, instances=1).equal
    layer.c0[:] = [-(2**31) + 2**25, 0, 0]
    assert verify(q, None, usable(core), -1 - x, instances=1).equal


@pytest.mark.parametrize(
    ("core", "shape", "precision", "per_mac"),
    [
        ("cortex-m3", (1, 16), "q15", 2.7),
        ("cortex-m3", (9, 32), "q15", 2.1),
        ("cortex-m3", (1, 16), "q7", 1.7),
        ("cortex-m3", (9, 32), "q7", 1.1),
        ("cortex-m0", (1, 16), "q15", 4.5),
        ("cortex-m0", (9, 32), "q15", 3.6),
        ("cortex-m0", (1, 16), "q7", 3.5),
        ("cortex-m0", (9, 32), "q7", 2.6),
    ],
)
def test_instructions_per_mac(core, shape, precision, per_mac):
    result = bench(of_shape(*shape, precision), usable(core))
    assert result.instructions_per_step / result.macs_per_step <= per_mac


@BOTH
@pytest.mark.parametrize("precision", PRECISIONS)
def test_clang_assembles_it_too(core, precision, tmp_path):
    need_program("clang")
    files = sources(quantized("odd_sizes", precision), target=core)
    (tmp_path / "kernels.S").write_text(files["model_kernels.S"], encoding="utf-8")
    command = [
        shutil.which("clang"), "--target=arm-none-eabi", f"-mcpu={core}", "-mthumb", "-c",
        tmp_path / "kernels.S", "-o", tmp_path / "kernels.o",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
