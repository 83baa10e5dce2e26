"""The kernels for AVR: chosen by the weights, in memory near and far, and fast."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from lstmgen.bench import bench
from lstmgen.bounds import bound_table
from lstmgen.codegen import Effort, kernels
from lstmgen.codegen.kernels import Choice, Kernel, choose, choose_dense
from lstmgen.codegen.kernels.avr import AvrLstm, unpack
from lstmgen.codegen.kernels.avr_gates import argument_limit
from lstmgen.network import Lstm, Network
from lstmgen.quantized import QuantizedNetwork
from lstmgen.quantized_layers import QuantizedDense
from lstmgen.verification import default_inputs, verify

from builders import PRECISIONS, calibration, dense, lstm, nearest, of_shape, quantized
from compiled import flash_bytes, sources
from tools import need_program, usable

CORE = "avr"
EFFORTS = ("speed", "balanced", "size")


def chosen(q: QuantizedNetwork, effort: str = "speed") -> Choice:
    bounds = dict(zip(q.layers, bound_table(q), strict=True))
    return choose("avr", q.lstms[0], bounds[q.lstms[0]], q.tables, effort, True)


def kernel_of(q: QuantizedNetwork, effort: str = "speed") -> AvrLstm:
    kernel = chosen(q, effort).kernel
    assert isinstance(kernel, AvrLstm)
    return kernel


def with_layer(q: QuantizedNetwork, **changes: object) -> QuantizedNetwork:
    return replace(q, layers=(replace(q.lstms[0], **changes), *q.layers[1:]))


def assert_equal(
    q: QuantizedNetwork, effort: str = "speed", steps: int = 3, instances: int = 2
) -> None:
    files = sources(q, target=CORE, effort=effort)
    assert "_lstm0_wh" not in files["model_weights.h"]
    x = default_inputs(q, np.random.default_rng(3), steps=steps)
    result = verify(q, files, usable(CORE), x, instances=instances)
    assert result.equal, result.message


def ways(kernel: AvrLstm) -> list[list[str]]:
    return [[span.way.name for span in block.spans] for block in kernel.blocks]


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("q15", [["16x16"]]), ("w8a16", [["16x16"], ["8x16"]]), ("q7", [["8x8"], ["8x8"]])],
)
def test_the_ways_of_each_precision(precision, expected):
    """In q7 the sums over x are shifted to those over h: they stand apart."""
    assert ways(kernel_of(of_shape(9, 32, precision))) == expected


def test_bytes_alone_where_all_weights_are_bytes():
    q = of_shape(3, 8, "w8a16")
    small = with_layer(q, wx=np.clip(q.lstms[0].wx, -127, 127))
    assert ways(kernel_of(small)) == [["8x16"]]
    assert_equal(small)


@pytest.mark.parametrize("effort", EFFORTS)
def test_sums_of_q7_have_32_bits_where_24_are_too_few(effort):
    full = of_shape(254, 1, "q7")
    assert bound_table(full)[0].bound.max() >= 1 << 23
    shifted = with_layer(of_shape(3, 7, "q7"), mid_shift=np.full(28, 9), x_shift=0)
    layer = shifted.lstms[0]
    shifted = with_layer(shifted, bias=np.where(np.arange(28) % 3, layer.bias << 9, 1 << 24))
    assert bound_table(shifted)[0].bound.max() < 1 << 23 < bound_table(shifted)[0].partial.max()
    words = with_layer(of_shape(3, 7, "q7"), wx=11 * of_shape(3, 7, "q7").lstms[0].wx)
    assert ways(kernel_of(words)) == [["16x8"], ["8x8"]]
    for q in (full, shifted, words):
        assert kernel_of(q, effort).sum_bytes == 4
        assert_equal(q, effort)


def test_inputs_of_q7_are_aligned_with_h():
    q = quantized("runaway_cell", "q7")
    assert q.lstms[0].x_shift
    assert [block.doublings for block in kernel_of(q).blocks] == [q.lstms[0].x_shift, 0]


def test_what_a_turn_does_not_need_is_jumped_over():
    q = of_shape(8, 12, "q15")
    ((whole,),) = [block.spans for block in kernel_of(q).blocks]
    assert (whole.per_turn, whole.turns, whole.skipped) == (10, 2, 0)
    ((few,),) = [block.spans for block in kernel_of(q, "balanced").blocks]
    assert (few.per_turn, few.turns, few.skipped) == (3, 7, 1)
    ((one,),) = [block.spans for block in kernel_of(q, "size").blocks]
    assert (one.per_turn, one.turns, one.skipped) == (1, 20, 0)


def test_room_goes_where_it_saves_most_turns():
    """Two blocks share it: the longer one is unrolled more."""
    short, long = (block.spans[0] for block in kernel_of(of_shape(9, 32, "q7"), "balanced").blocks)
    assert (short.columns, long.columns) == (9, 32)
    assert 1 < short.per_turn < long.per_turn


@pytest.mark.parametrize("gate", range(4))
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_argument_as_large_as_a_kernel_takes(gate, sign):
    """The look-up adds a quarter of the segments; one beyond goes to portable C (found by fuzz)."""
    q = of_shape(1, 1, "q7")
    layer = q.lstms[0]
    none = {"wx": 0 * layer.wx, "wh": 0 * layer.wh, "frac": layer.argument_frac}
    limit = argument_limit(1 << (q.tables.bits - 2))
    for bias, taken in ((limit - 2, True), (limit - 1, False), ((1 << 31) - 1, False)):
        made = with_layer(q, **none, bias=sign * bias * (np.arange(4) == gate))
        assert (made.lstms[0].shift == 0).all()
        for effort in EFFORTS:
            choice = chosen(made, effort)
            assert (choice.kernel is not None) == taken
            assert taken or "too close to 2^31" in choice.reason
        if taken:
            assert_equal(made)
            assert_equal(made, "size")


def test_portable_where_no_kernel_is_safe():
    assert "clamped" in chosen(quantized("huge_sums", "q15")).reason
    assert "256 units" in chosen(of_shape(1, 256, "q7")).reason
    assert "1021 inputs" in chosen(of_shape(1021, 1, "q7")).reason
    mixed = with_layer(of_shape(3, 2, "w8a16"), x_shift=1)
    assert "another width" in chosen(mixed).reason


def test_dense_layers_in_c_where_that_is_better():
    def choices(rows: int, inputs: int, effort: str) -> list[Choice]:
        network = Network.of(lstm(2, 3), dense(3, inputs), dense(inputs, rows, name="last"))
        q = nearest(network, "q15", calibration(network))
        pairs = list(zip(q.layers, bound_table(q), strict=True))[1:]
        return [choose_dense("avr", layer, bounds, effort) for layer, bounds in pairs]

    assert [choice.kernel for choice in choices(5, 6, "size")] == [None, None]
    assert all(choice.kernel for choice in choices(260, 6, "balanced"))
    assert "257 rows" in choices(257, 6, "balanced")[1].reason
    assert "1021 inputs" in choices(2, 1021, "speed")[1].reason


@pytest.mark.parametrize("effort", ["speed", "balanced"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_more_values_than_a_byte_counts(precision, effort):
    network = Network.of(
        dense(290, 3, name="narrow"),
        dense(3, 280, "relu", name="widen"),
        lstm(280, 4, scale=0.05),
        dense(4, 261, name="out"),
    )
    assert_equal(nearest(network, precision, calibration(network)), effort, instances=1)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_shifts_by_whole_bytes_and_bit_by_bit(precision, effort):
    """Mid shifts of 8 and more, and rows whose shifts of rule N4 lie further apart than 7."""
    r = np.random.default_rng(1)
    for least, most in ((8, 16), (0, 16), (3, 4), (8, 9)):
        shifted = of_shape(4, 7, precision)
        rows = np.maximum(r.integers(least, most, (4, 7)).ravel(), shifted.lstms[0].mid_shift)
        shifted = with_layer(shifted, mid_shift=rows, x_shift=0)
        kernel = kernel_of(shifted, effort)
        assert [len(shift.signs) for shift in kernel.blocks[0].mid] == [least // 8] * 4
        assert_equal(shifted, effort, steps=6)
    layer = lstm(4, 7, scale=0.3)
    W, U, b = layer.W.copy(), layer.U.copy(), layer.b.copy()
    for rows in (W, U, b):
        rows[3::7] *= 1 / 1024
        rows[5::7] *= 40
    network = Network.of(Lstm("lstm0", W, U, b))
    far = nearest(network, precision, calibration(network), mid_shift=False)
    assert np.ptp(far.lstms[0].shift.reshape(4, 7), 1).max() > 7
    assert_equal(far, effort, steps=6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_mid_shift_costs_nothing(precision):
    q = of_shape(4, 7, precision)
    shifted = with_layer(q, mid_shift=np.full(28, 2), x_shift=0)
    plain = with_layer(q, x_shift=0)
    before, after = (
        sources(each, target=CORE)["model_kernels.S"].count("\n") for each in (plain, shifted)
    )
    assert before < after
    assert kernel_of(plain).stream.size < kernel_of(shifted).stream.size
    assert kernel_of(plain).stream.nbytes // 4 == kernel_of(q).stream.nbytes // 4


def arrays(kernel: Kernel) -> list[int]:
    return [2 * array.size for array in kernel.arrays]


@pytest.mark.parametrize(
    ("shape", "precision", "count"),
    [((64, 64), "q7", 2), ((10, 128), "q7", 3), ((64, 64), "q15", 3), ((10, 128), "q15", 5)],
)
def test_streams_beyond_an_array_and_beyond_64_kib(shape, precision, count):
    q = of_shape(*shape, precision)
    kernel = kernel_of(q)
    assert len(arrays(kernel)) == count
    assert max(arrays(kernel)) <= 32767
    assert len(kernel.resumes) == count - 1
    np.testing.assert_array_equal(np.concatenate(kernel.arrays), kernel.stream)
    assert_equal(q, steps=2, instances=1)


@pytest.mark.parametrize("rows", [200, 202])
def test_dense_streams_beyond_an_array(rows):
    """What is left over after groups of four rows lies behind them, in the last array."""
    network = Network.of(lstm(2, 100, scale=0.05), dense(100, rows, name="wide"), dense(rows, 2))
    q = nearest(network, "q15", calibration(network))
    wide = q.layers[1]
    assert isinstance(wide, QuantizedDense)
    kernel = choose_dense("avr", wide, bound_table(q)[1], "speed").kernel
    assert kernel is not None
    assert len(arrays(kernel)) == 2
    assert max(arrays(kernel)) <= 32767
    w, bias = kernels.unpack_dense("avr", kernel, wide)
    np.testing.assert_array_equal(w, wide.w)
    np.testing.assert_array_equal(bias, wide.bias)
    assert_equal(q, steps=2, instances=1)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_unpacking_the_widest(precision, effort):
    for shape in ((200, 4), (64, 64), (300, 2)):
        q = of_shape(*shape, precision, scale=0.1)
        wx, wh = unpack(kernel_of(q, effort), q.lstms[0])
        np.testing.assert_array_equal(wx, q.lstms[0].wx)
        np.testing.assert_array_equal(wh, q.lstms[0].wh)


@pytest.mark.parametrize("effort", ["speed", "size"])
@pytest.mark.parametrize("table_bits", [6, 7, 8, 9, 10, 11])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_saturating_states_are_equal_with_any_table(precision, table_bits, effort):
    """Cells that begin at and near both ends of int32, gates beyond both ends of the tables."""
    r = np.random.default_rng([2, table_bits])
    W, U, b = r.normal(0, 0.4, (48, 2)), r.normal(0, 0.4, (48, 12)), r.normal(0, 2, 48)
    b[12:24] = 9
    network = Network.of(Lstm("lstm0", W, U, b), outputs="sequence")
    q = nearest(network, precision, calibration(network), table_bits=table_bits)
    top, h = 1 << 31, q.lstms[0].h
    edges = [top - 1, -top, top - 2, 2 - top, 1 << 30, -1 << 30, 0, 2, -2, 1 << 17, -1 << 17]
    q = with_layer(
        q,
        c0=np.array([*edges, top - 65536]),
        h0=r.integers(h.lo + (h.bits == 16), h.hi, 12, endpoint=True),
    )
    assert kernel_of(q, effort)
    x = r.choice([q.x.lo, q.x.hi, 0, 1, -1], (2, 8, 2))
    result = verify(q, sources(q, target=CORE, effort=effort), usable(CORE), x, instances=2)
    assert result.equal, result.message


@pytest.mark.parametrize("effort", ["speed", "size"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_small_gates_stay_within_the_tables(precision, effort):
    """Sums that the bounds keep within the tables are not clamped, with tables of any size."""
    network = Network.of(lstm(2, 6, scale=0.1), outputs="sequence")
    for table_bits in (6, 9, 10, 11):
        q = nearest(network, precision, calibration(network), table_bits=table_bits)
        steps = kernel_of(q).gates
        assert not any(step.clamped for step in steps)
        assert_equal(q, effort, steps=6)


@pytest.mark.parametrize(
    ("shape", "precision", "per_mac"),
    [
        ((1, 16), "q15", 34.5), ((9, 32), "q15", 29.8), ((10, 128), "q15", 27.2),
        ((1, 16), "w8a16", 23.4), ((9, 32), "w8a16", 20.5), ((10, 128), "w8a16", 16.2),
        ((1, 16), "q7", 16.8), ((9, 32), "q7", 12.1), ((10, 128), "q7", 9.7),
    ],
)
def test_cycles_per_mac(shape, precision, per_mac):
    result = bench(of_shape(*shape, precision), usable(CORE))
    assert result.instructions_per_step / result.macs_per_step <= per_mac


@pytest.mark.parametrize(("precision", "per_mac"), [("q15", 28), ("w8a16", 28), ("q7", 18)])
def test_cycles_per_mac_of_a_dense_layer(precision, per_mac):
    def cycles(*layers):
        network = Network.of(lstm(1, 2), *layers)
        q = nearest(network, precision, calibration(network), mid_shift=False)
        return bench(q, usable(CORE)).instructions_per_step

    first = dense(2, 64, "relu", name="first")
    cost = cycles(first, dense(64, 12, "linear")) - cycles(first, dense(64, 1, "linear"))
    assert cost / (64 * 11) <= per_mac


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_least_flash_is_that_of_size(precision, tmp_path):
    target = usable(CORE)
    network = Network.of(lstm(9, 32, scale=0.23), dense(32, 6, "softmax"))
    q = nearest(network, precision, calibration(network))

    def flash(effort: Effort, optimize: str, isa: str = "avr") -> int:
        folder = tmp_path / f"{isa}{effort}{optimize}"
        return flash_bytes(q, replace(target, isa=isa), effort, optimize, folder)

    least = flash("size", "-Os")
    others = [flash("speed", "-O2"), flash("balanced", "-O2"), flash("balanced", "-Os")]
    assert least < min(others)
    assert least < flash("size", "-Os", isa="portable")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("device", ["atmega328p", "atmega2560", "atxmega128a1"])
def test_every_device_with_a_multiplier_assembles_it(device, precision, tmp_path):
    """Without ELPM, or where RAMPZ extends addresses of data too, streams are read by LPM."""
    need_program("avr-gcc")
    files = sources(quantized("stacked_argmax", precision), target="avr")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for source in ("model_kernels.S", "model_weights.c"):
        command = ["avr-gcc", f"-mmcu={device}", "-std=gnu99", "-Wall", "-Wextra", "-c", source]
        command += ["-o", f"{source}.o"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    code = subprocess.run(
        ["avr-objdump", "-d", "model_kernels.S.o"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout
    assert ("elpm" in code) == (device == "atmega2560")


def test_strict_c99_is_refused_at_compile_time(tmp_path):
    """There the constants go to RAM, and the kernels would read something else."""
    need_program("avr-gcc")
    files = sources(quantized("odd_sizes", "q7"), target="avr")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = ["avr-gcc", "-mmcu=atmega2560", "-std=c99", "-c", "model_weights.c", "-o", "m.o"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "compile as GNU C, -std=gnu99" in done.stderr
