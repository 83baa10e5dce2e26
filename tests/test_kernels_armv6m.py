"""The kernels for Cortex-M0: chosen by the weights, packed, equal, fast and small."""

import shutil
import subprocess
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lstmgen.bench import BenchResult, bench
from lstmgen.bounds import INT32_MAX, bound_table
from lstmgen.codegen.kernels import EFFORTS, Choice, Effort, choose, choose_dense
from lstmgen.codegen.kernels.lanes import SEGMENT_LIMIT
from lstmgen.network import Lstm, Network
from lstmgen.quantized import Precision, QuantizedDense, QuantizedNetwork
from lstmgen.toolchain.size import footprint
from lstmgen.verification import default_inputs, model_files, verify

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
from compiled import sources
from tools import need_program, usable

CORE, ISA = "cortex-m0", "armv6m"


def chosen(q: QuantizedNetwork, effort: Effort = "speed") -> Choice:
    """What the first LSTM layer gets."""
    bounds = dict(zip((layer.name for layer in q.layers), bound_table(q), strict=True))
    layer = q.lstms[0]
    return choose(ISA, layer, bounds[layer.name], q.tables, effort, False)


def ways(choice: Choice) -> list[str]:
    return [way for _, way, _ in choice.kernel.parts]


def assert_equal(q: QuantizedNetwork, effort: Effort, steps: int = 4) -> None:
    x = default_inputs(q, np.random.default_rng(3), steps=steps)
    result = verify(q, None, usable(CORE), x, effort=effort)
    assert result.equal, result.message


def with_head(shape: tuple[int, int], rows: int, precision: Precision) -> QuantizedNetwork:
    network = Network.of(lstm(*shape, scale=0.23), dense(shape[1], rows, "linear"))
    return nearest(network, precision, calibration(network), mid_shift=False)


def with_shifts(q: QuantizedNetwork, shift: np.ndarray) -> QuantizedNetwork:
    """The network with other shifts of rule N4 in its first layer."""
    layer = q.lstms[0]
    return replace(q, layers=(replace(layer, frac=layer.argument_frac + shift), *q.layers[1:]))


# --- Which kernel ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        ("speed", (["halves"], ["halves"], ["lanes"])),
        ("balanced", (["halves"], ["bytes", "halves"], ["lanes"])),
        ("size", (["halves"], ["bytes", "halves"], ["bytes"])),
    ],
)
def test_how_each_precision_is_packed(effort, expected):
    for precision, found in zip(("q15", "w8a16", "q7"), expected, strict=True):
        assert ways(chosen(of_shape(9, 32, precision), effort)) == found


def test_lanes_are_for_layers_that_can_be_unrolled():
    small, large, huge = (of_shape(*shape, "q7") for shape in ((9, 32), (64, 64), (150, 91)))
    assert [ways(chosen(q))[0] for q in (small, large, huge)] == ["lanes", "lanes", "halves"]
    balanced = [ways(chosen(q, "balanced"))[0] for q in (small, large, huge)]
    assert balanced == ["lanes", "bytes", "bytes"]


def test_no_lanes_where_one_product_fills_one():
    """8-bit weights of 16-bit inputs."""
    q = of_shape(9, 32, "w8a16")
    layer = q.lstms[0]
    q = replace(q, layers=(replace(layer, wx=layer.wx >> 8),))
    assert np.abs(q.lstms[0].wx).max() <= 128
    assert ways(chosen(q)) == ["halves"]


def test_portable_where_no_kernel_is_safe():
    choice = chosen(quantized("huge_sums", "q15"))
    assert choice.kernel is None
    assert "clamped" in choice.reason
    mixed = [chosen(quantized("extreme_weights", p)) for p in PRECISIONS]
    assert any("both sides" in choice.reason and choice.kernel is None for choice in mixed)


def test_portable_where_the_middle_of_the_table_does_not_fit():
    q = with_shifts(of_shape(3, 4, "q7"), np.full(16, -8))
    bounds = bound_table(q)[0]
    near = replace(bounds, bound=np.full_like(bounds.bound, INT32_MAX >> 8))
    for effort, reason in (("speed", "2^31"), ("balanced", "2^31"), ("size", "least flash")):
        choice = choose(ISA, q.lstms[0], near, q.tables, effort, True)
        assert reason in choice.reason
        assert (choice.kernel is None) == (effort != "size")


def test_a_layer_without_mid_shifts_has_nothing_of_them():
    for precision in PRECISIONS:
        q = of_shape(9, 32, precision)
        for effort in EFFORTS:
            plain = chosen(q, effort).kernel
            shifted = chosen(with_mid_shifts(q, by_row=True), effort).kernel
            assert not plain.middle
            assert shifted.middle
            assert "N3b" not in sources(q, target=CORE, effort=effort)["model_kernels.S"]
            assert plain.stream.size <= shifted.stream.size


def test_with_mid_shifts_inputs_have_words_of_their_own_for_speed():
    for precision, way in (("q15", "halves"), ("w8a16", "halves"), ("q7", "lanes")):
        q = with_mid_shifts(of_shape(9, 32, precision), by_row=True)
        assert ways(chosen(q)) == [way, "single"]
    q = with_mid_shifts(of_shape(64, 64, "q7"), by_row=True)
    assert ways(chosen(q, "balanced")) == ["bytes", "bytes"]
    assert ways(chosen(q, "size")) == ["bytes", "bytes"]


@pytest.mark.parametrize(
    ("rows", "inputs", "effort", "few"),
    [
        (1, 128, "speed", True), (1, 129, "speed", True), (1, 16, "balanced", True),
        (1, 129, "balanced", None), (2, 64, "speed", True), (4, 32, "speed", True),
        (4, 32, "balanced", False), (4, 33, "speed", False), (5, 4, "speed", False),
        (1, 1, "size", None), (9, 40, "size", None),
    ],
)  # fmt: skip
def test_which_dense_layers_have_a_word_for_each_weight(rows, inputs, effort, few):
    network = Network.of(lstm(1, inputs, scale=0.1), dense(inputs, rows))
    q = nearest(network, "q15")
    kernel = choose_dense(ISA, q.layers[1], bound_table(q)[1], effort).kernel
    assert (None if kernel is None else kernel.few) == few


# --- Packing --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 16), (9, 32), (28, 20), (64, 64), (1, 40)])
def test_segments_keep_lanes_within_their_bits(shape):
    """Every segment of every unit, with the inputs that are worst for it."""
    q = of_shape(*shape, "q7")
    layer, kernel = q.lstms[0], chosen(q).kernel
    joined = np.concatenate([layer.wh, layer.wx], 1)[:, list(kernel.order)]
    most = np.abs(joined).reshape(4, layer.units, -1) * 128
    (span,) = [stage for stage in kernel.stages if stage.kind == "columns"]
    assert len(span.rest) == most.shape[2]
    for word, rows in ((0, [0, 1]), (1, [2, 3])):
        total, is_open = np.zeros((2, layer.units), np.int64), False
        for at, column in enumerate(span.rest):
            assert column.first[word] is not is_open
            total = most[rows, :, at] + (0 if column.first[word] else total)
            assert total.max() <= SEGMENT_LIMIT
            is_open = not column.last[word]
        assert not is_open
    shifted = [at for at, column in enumerate(span.rest) if column.shift]
    assert shifted == ([layer.inputs - 1] if layer.x_shift else [])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_least_flash_holds_weights_as_they_are(precision):
    """As signed numbers of 8 or 16 bits, gate f below i, and no more words than that takes."""
    q = of_shape(3, 5, precision)
    layer, kernel = q.lstms[0], chosen(q, "size").kernel
    whole = np.concatenate([layer.wh, layer.wx], 1).reshape(4, layer.units, -1)
    words, column = 4, 0
    assert kernel.stream[:, :4].tolist() == layer.bias.reshape(4, -1).T.tolist()
    for at, way, count in kernel.parts:
        bits, size = (16, 2) if way == "halves" else (8, 1)
        assert at == words
        held = kernel.stream[:, at : at + count * size].astype("<i4").view(f"<i{bits // 8}")
        gates = [1, 0, 3, 2] if way == "halves" else [3, 2, 1, 0]
        expected = whole[gates, :, column : column + count].transpose(1, 2, 0)
        assert held.reshape(expected.shape).tolist() == expected.tolist()
        words, column = words + count * size, column + count
    read = any(gate.distance is None for gate in kernel.gates)
    assert kernel.stream.shape == (layer.units, words + read)


@pytest.mark.parametrize(
    ("rows", "known", "shared"),
    [
        ("alike in all units", "ifgo", None),
        ("to the left", "", "lsl"),
        ("to the right", "", "asr"),
        ("to either side, by gates", "", None),
        ("alike in two gates", "if", None),
    ],
)
def test_equal_wherever_the_shifts_are(rows, known, shared):
    """In the code where units agree, else read: four words, or bytes of one."""
    q = of_shape(4, 6, "q7")
    k = q.lstms[0].units
    by_unit = np.arange(4 * k) % 2
    q = with_shifts(q, {
        "alike in all units": -np.repeat([0, 1, 2, 1], k),
        "to the left": -by_unit,
        "to the right": by_unit,
        "to either side, by gates": by_unit * np.repeat([1, -1, -1, 1], k),
        "alike in two gates": np.where(np.arange(4 * k) < 2 * k, -1, by_unit),
    }[rows])  # fmt: skip
    kernels = {effort: chosen(q, effort).kernel for effort in EFFORTS}
    assert kernels["size"].shared == shared
    for effort in ("speed", "balanced"):
        shifts = kernels[effort].shifts
        assert "".join(gate.name for gate in shifts.gates if gate.distance is not None) == known
        read = 4 - len(known)
        assert shifts.words.shape == (k, min(read, 1) if effort == "balanced" else read)
    for effort in ("balanced", "size"):
        assert_equal(q, effort, steps=2)


# --- Equal to the bit -----------------------------------------------------------------------


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_with_many_columns(precision, effort):
    q = of_shape(33, 41, precision)
    assert chosen(q, effort).kernel is not None
    assert_equal(q, effort, steps=2)


@pytest.mark.parametrize("effort", ["balanced", "size"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_with_mid_shifts(precision, effort):
    for shape, by_row in (((2, 5), False), ((30, 50), True)):
        assert_equal(with_mid_shifts(of_shape(*shape, precision), by_row), effort, steps=2)


@pytest.mark.parametrize(
    ("precision", "effort"), [("q15", "speed"), ("w8a16", "balanced"), ("w8a16", "size")]
)
def test_equal_with_a_frame_beyond_offsets(precision, effort):
    """More values than offsets from the stack pointer reach, in two loops."""
    assert_equal(with_mid_shifts(of_shape(260, 30, precision, scale=0.05), True), effort, steps=1)


def test_equal_with_the_most_columns_in_lanes():
    q = of_shape(220, 20, "q7", scale=0.05)
    assert ways(chosen(q)) == ["lanes"]
    assert_equal(q, "speed", steps=1)


@pytest.mark.parametrize("bits", [6, 10, 11])
def test_equal_with_tables_of_other_sizes(bits):
    """Their middle is no operand of an addition any more where they are large."""
    network = Network.of(lstm(3, 5), dense(5, 2, "tanh"))
    q = nearest(network, "q7", calibration(network), table_bits=bits)
    for effort in ("speed", "size"):
        assert chosen(q, effort).kernel is not None
        assert_equal(q, effort)


@pytest.mark.parametrize("effort", ["speed", "balanced"])
def test_equal_dense_layers_of_many_columns(effort):
    """Loops over groups of rows and over columns, and a frame beyond offsets."""
    network = Network.of(
        dense(300, 7, "relu", name="wide"),
        lstm(7, 50),
        dense(50, 11, "relu", name="groups"),
        dense(11, 130, "relu", name="short"),
        dense(130, 1, "linear", name="row"),
    )
    q = nearest(network, "q15", calibration(network))
    for layer, bounds in zip(q.layers, bound_table(q), strict=True):
        if isinstance(layer, QuantizedDense) and (layer.rows > 1 or effort == "speed"):
            assert choose_dense(ISA, layer, bounds, effort).kernel is not None
    assert_equal(q, effort, steps=1)


@pytest.mark.parametrize(("rows", "inputs"), [(1, 50), (2, 50), (3, 42), (3, 7), (4, 32)])
def test_equal_dense_layers_of_few_rows(rows, inputs):
    """Unrolled beyond the offsets of loads, and in loops."""
    network = Network.of(lstm(1, inputs, scale=0.1), dense(inputs, rows))
    for precision in ("q15", "q7")[inputs % 2 :]:
        q = nearest(network, precision, calibration(network))
        assert choose_dense(ISA, q.layers[1], bound_table(q)[1], "speed").kernel.few
        assert_equal(q, "speed", steps=1)


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


# --- What it costs --------------------------------------------------------------------------


@cache
def benched(shape: tuple[int, int], precision: Precision, effort: Effort = "speed") -> BenchResult:
    return bench(of_shape(*shape, precision), usable(CORE), effort=effort)


@pytest.mark.parametrize(
    ("shape", "precision", "per_mac"),
    [
        ((1, 16), "q15", 4.35), ((9, 32), "q15", 3.55),
        ((1, 16), "w8a16", 4.30), ((9, 32), "w8a16", 3.53),
        ((1, 16), "q7", 3.47), ((9, 32), "q7", 2.45),
    ],
)  # fmt: skip
def test_instructions_per_mac(shape, precision, per_mac):
    result = benched(shape, precision)
    assert result.instructions_per_step / result.macs_per_step <= per_mac


def test_a_step_is_told_apart():
    parts = benched((9, 32), "q7").parts
    assert parts.total == benched((9, 32), "q7").instructions_per_step
    assert parts.matrix_vector > parts.elementwise > parts.rest > 0


@pytest.mark.parametrize("precision", PRECISIONS)
def test_speed_takes_the_fewest_instructions(precision):
    results = [benched((1, 16), precision, effort).instructions_per_step for effort in EFFORTS]
    assert results == sorted(results)


def test_mid_shifts_cost_little():
    """Some for each unit: loads, shifts and moves of four sums, and V not moved by biases."""
    for precision in PRECISIONS:
        with_it = bench(with_mid_shifts(of_shape(1, 16, precision), True), usable(CORE))
        plain = benched((1, 16), precision).instructions_per_step
        assert with_it.instructions_per_step <= plain + 16 * 22


@pytest.mark.parametrize(("shape", "rows", "most"), [((1, 16), 1, 60), ((9, 32), 6, 830)])
def test_instructions_of_a_dense_layer(shape, rows, most):
    """What it adds to a layer whose h, without it, is copied to the output."""
    with_it = bench(with_head(shape, rows, "q7"), usable(CORE)).instructions_per_step
    assert with_it - benched(shape, "q7").instructions_per_step <= most


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("shape", "rows", "mid"), [((1, 16), 1, False), ((9, 32), 6, False), ((9, 32), 6, True)]
)
def test_flash_grows_with_the_effort(shape, rows, precision, mid, tmp_path):
    """The least is less than that of portable C, which has the same weights."""
    q = with_head(shape, rows, precision)
    q = with_mid_shifts(q, True) if mid else q

    def weighed(isa: str, effort: Effort) -> tuple[int, int]:
        target = replace(usable(CORE), isa=isa)
        files = model_files(q, None, target, effort)
        found = footprint(files, target, tmp_path / f"{isa}_{effort}", optimize="-Os")
        return found.code_bytes + found.table_bytes + found.weights_bytes, found.weights_bytes

    portable = weighed("portable", "size")
    speed, balanced, size = (weighed(ISA, effort) for effort in EFFORTS)
    assert size[0] < balanced[0] <= speed[0]
    assert size[0] <= portable[0] - 100
    assert size[1] <= portable[1]


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_clang_assembles_it_too(precision, effort, tmp_path):
    need_program("clang")
    heads = [with_head(shape, rows, precision) for shape, rows in (((260, 20), 6), ((1, 40), 3))]
    shifted = with_mid_shifts(of_shape(9, 32, precision), True)
    for q in (quantized("odd_sizes", precision), shifted, *heads):
        files = sources(q, target=CORE, effort=effort)
        (tmp_path / "kernels.S").write_text(files["model_kernels.S"], encoding="utf-8")
        command = [
            shutil.which("clang"), "--target=arm-none-eabi", f"-mcpu={CORE}", "-mthumb", "-c",
            tmp_path / "kernels.S", "-o", tmp_path / "kernels.o",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
