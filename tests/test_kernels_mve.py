"""The kernels for Cortex-M55: blocks and scalars, rows in a turn, the least flash."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from lstmgen.bench import bench
from lstmgen.bounds import bound_table
from lstmgen.codegen.kernels import choose, choose_dense
from lstmgen.codegen.kernels.kernel import Kernel
from lstmgen.codegen.kernels.mve import HeliumKernel
from lstmgen.codegen.kernels.mve_compact import CompactKernel
from lstmgen.codegen.kernels.mve_dense import HeliumDense
from lstmgen.network import Lstm, Network
from lstmgen.quantized import QuantizedDense, QuantizedNetwork
from lstmgen.verification import default_inputs, verify

from builders import (
    PRECISIONS,
    calibration,
    dense,
    lstm,
    nearest,
    of_shape,
    quantized,
    raw_inputs,
    with_mid_shifts,
)
from compiled import flash_bytes, sources
from tools import need_program, usable

CORE = "cortex-m55"
EFFORTS = ("speed", "balanced", "size")


def chosen(q: QuantizedNetwork, effort: str) -> Kernel | None:
    bounds = dict(zip(q.layers, bound_table(q), strict=True))
    return choose("mve", q.lstms[0], bounds[q.lstms[0]], q.tables, effort, True).kernel


def kernel_of(q: QuantizedNetwork, effort: str = "speed") -> HeliumKernel:
    kernel = chosen(q, effort)
    assert isinstance(kernel, HeliumKernel)
    return kernel


def compact_kernel_of(q: QuantizedNetwork) -> CompactKernel:
    kernel = chosen(q, "size")
    assert isinstance(kernel, CompactKernel)
    return kernel


def with_dense(
    inputs: int, units: int, rows: int, precision: str, activation: str = "linear"
) -> QuantizedNetwork:
    network = Network.of(lstm(inputs, units, scale=0.1), dense(units, rows, activation))
    return nearest(network, precision, calibration(network), mid_shift=False)


def assert_equal(q: QuantizedNetwork, effort: str, steps: int) -> None:
    x = default_inputs(q, np.random.default_rng(3), steps=steps)
    result = verify(q, None, usable(CORE), x, effort=effort)
    assert result.equal, result.message


@pytest.mark.parametrize(
    ("precision", "bits", "weight_bytes"),
    [("q15", (16, 16), (2, 2)), ("w8a16", (16, 16), (2, 1)), ("q7", (8, 8), (1, 1))],
)
def test_the_lanes_of_each_precision(precision, bits, weight_bytes):
    for kernel in (kernel_of(of_shape(64, 64, precision)),
                   compact_kernel_of(of_shape(64, 64, precision))):
        assert tuple(part.bits for part in kernel.parts) == bits
        assert tuple(part.weight_bytes for part in kernel.parts) == weight_bytes


def test_columns_that_fill_no_block():
    x, h = kernel_of(of_shape(10, 41, "q15")).parts
    assert ([block.columns for block in x.blocks], len(x.scalars)) == ([8], 2)
    assert ([block.columns for block in h.blocks], len(h.scalars)) == ([8] * 5, 1)
    h, x = kernel_of(with_mid_shifts(of_shape(10, 41, "q15"), True)).parts
    assert (len(x.scalars), len(h.scalars)) == (2, 0)
    assert h.blocks[-1].columns == 1


@pytest.mark.parametrize("precision", ["q15", "w8a16"])
def test_the_last_block_of_x_takes_columns_of_h(precision):
    x, h = kernel_of(of_shape(28, 20, precision)).parts
    assert [(block.columns, block.borrowed) for block in x.blocks] == [(8, 0)] * 3 + [(4, 4)]
    assert [(block.offset, block.columns) for block in h.blocks] == [(8, 8), (24, 8)]
    mid_shifted = kernel_of(with_mid_shifts(of_shape(28, 20, precision), True))
    assert not any(block.borrowed for part in mid_shifted.parts for block in part.blocks)


def test_blocks_beyond_the_registers_are_read_again():
    x, h = kernel_of(of_shape(64, 64, "q15")).parts
    held = [block.register for part in (x, h) for block in part.held]
    assert held == [f"q{n}" for n in range(len(held))]
    assert {block.register for part in (x, h) for block in part.streamed} == {"q6"}
    assert all(block.columns == part.lanes for part in (x, h) for block in part.streamed)


def test_rows_in_a_turn():
    """Two units where nothing but sums happens in a turn, and registers suffice."""
    assert len(kernel_of(of_shape(9, 32, "q15")).sums) == 8
    assert len(kernel_of(of_shape(9, 33, "q15")).sums) == 4
    assert len(kernel_of(of_shape(9, 32, "q15"), "balanced").sums) == 4
    mid_shifted = kernel_of(with_mid_shifts(of_shape(9, 32, "q15"), True))
    assert (mid_shifted.middle, len(mid_shifted.sums)) == ("mid", 4)
    late = kernel_of(of_shape(64, 64, "q7"))
    assert (late.middle, len(late.sums)) == ("late", 4)
    looped = kernel_of(of_shape(680, 20, "q15", scale=0.05))
    assert (looped.parts[0].looped, len(looped.sums)) == (True, 4)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "shape", [(1, 16), (4, 17), (8, 6), (13, 4), (28, 20), (17, 25), (64, 30), (33, 81), (9, 130)]
)
def test_equal_at_any_size_and_effort(shape, precision, effort):
    assert_equal(of_shape(*shape, precision, scale=0.1), effort, 4)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(680, 20), (300, 20), (40, 180)])
def test_equal_with_more_blocks_than_are_unrolled(shape, precision, effort):
    q = of_shape(*shape, precision, scale=0.05)
    if effort == "balanced" and precision != "q7":
        assert any(part.looped for part in kernel_of(q, effort).parts)
    assert_equal(q, effort, 2)


@pytest.mark.parametrize("effort", ["balanced", "size"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(2, 3), (17, 9), (9, 68), (300, 12)])
def test_equal_with_mid_shifts(shape, precision, effort):
    assert_equal(with_mid_shifts(of_shape(*shape, precision, scale=0.1), True), effort, 3)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("inputs", [1, 3, 5, 8, 9, 14, 20, 31, 100, 400])
def test_inputs_of_8_bits_that_have_to_be_aligned(inputs, effort):
    """In their registers, with the sums, as scalars: wherever the shift of rule N2 is made."""
    network = Network.of(lstm(inputs, 9, scale=0.05))
    q = nearest(network, "q7", calibration(network) * 4)
    assert q.lstms[0].x_shift > 0
    files = sources(q, target=CORE, effort=effort)
    result = verify(q, files, usable(CORE), raw_inputs(q, 5))
    assert result.equal, result.message


@pytest.mark.parametrize("effort", ["speed", "size"])
def test_saturating_cells_are_equal(effort):
    """One unit whose cell state runs into both ends of int32 while others stay in range."""
    r = np.random.default_rng(2)
    W, U, b = r.normal(0, 0.4, (12, 1)), r.normal(0, 0.2, (12, 3)), r.normal(0, 0.3, 12)
    W[[0, 3, 6, 9]], U[[0, 3, 6, 9]] = [[0], [0], [9], [0]], 0
    b[[0, 3, 6, 9]] = 15, 15.99, 0, 15
    network = Network.of(Lstm("lstm0", W, U, b), outputs="sequence")
    q = nearest(network, "q15", np.ones((1, 1, 1)))
    x = np.concatenate([np.full((1, 1100, 1), q.x.hi), np.full((1, 2300, 1), q.x.lo)], 1)
    result = verify(q, None, usable(CORE), x, instances=1, effort=effort)
    assert result.equal, result.message


@pytest.mark.parametrize("precision", PRECISIONS)
def test_least_flash_whatever_has_one_shift(precision):
    """The layer, a gate or a row; clamped sums among them."""
    for name in ("extreme_weights", "huge_sums", "zeros", "runaway_cell", "large_inputs"):
        assert_equal(quantized(name, precision), "size", 5)
    q = of_shape(9, 6, precision)
    by_row = np.random.default_rng(1).integers(0, 3, (4, 6))
    for shifts, what in ((0, "layer"), (by_row[:, :1], "gate"), (by_row, "row")):
        frac = q.lstms[0].argument_frac + np.broadcast_to(shifts, (4, 6)).ravel()
        shifted = replace(q, layers=(replace(q.lstms[0], frac=frac),))
        assert compact_kernel_of(shifted).shift_by == what
        assert_equal(shifted, "size", 3)


def test_least_flash_wastes_no_bytes_of_weights():
    """Odd rows of int8 beside those of int16 are streams of their own."""
    q = of_shape(3, 33, "w8a16")
    kernel = compact_kernel_of(q)
    assert len({part.stream for part in kernel.parts}) == 2
    weights, biases, shifts = 4 * 33 * (2 * 3 + 33), 4 * 4 * 33, 4 * 36
    assert 4 * kernel.stream.size == weights + biases + shifts


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 16), (3, 5), (28, 20), (9, 65)])
def test_least_flash_is_less_than_that_of_portable_c(shape, precision, tmp_path):
    def flash(isa: str, effort: str) -> int:
        target = replace(usable(CORE), isa=isa)
        return flash_bytes(q, target, effort, "-Os", tmp_path / f"{isa}{effort}")

    q = of_shape(*shape, precision)
    sizes = [flash("mve", effort) for effort in EFFORTS]
    assert sizes[2] == min(sizes)
    assert sizes[2] < flash("portable", "size")
    assert chosen(of_shape(shape[0], 1, precision), "size") is None


@pytest.mark.parametrize(
    ("shape", "effort", "rows", "turns", "rest"),
    [
        ((32, 6), "speed", 6, 1, 0), ((20, 10), "speed", 5, 2, 0), ((20, 11), "speed", 6, 1, 5),
        ((20, 8), "speed", 8, 1, 0), ((300, 9), "speed", 3, 3, 0), ((20, 10), "balanced", 1, 10, 0),
        ((128, 12), "balanced", 4, 3, 0), ((128, 9), "balanced", 3, 3, 0),
    ],
)
def test_rows_of_dense_layers(shape, effort, rows, turns, rest):
    q = with_dense(3, 5, shape[1], "q15")
    assert isinstance(q.layers[-1], QuantizedDense)
    layer = replace(q.layers[-1], w=np.full(shape[::-1], 300))
    kernel = choose_dense("mve", layer, bound_table(q)[-1], effort).kernel
    assert isinstance(kernel, HeliumDense)
    assert (len(kernel.sums), kernel.turns, len(kernel.rest)) == (rows, turns, rest)


def test_few_weights_are_not_worth_a_call():
    q = with_dense(2, 3, 1, "q15")
    assert choose_dense("mve", q.layers[-1], bound_table(q)[-1], "speed").kernel is None


@pytest.mark.parametrize("effort", ["speed", "balanced"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_dense_layers_of_many_columns(precision, effort):
    for units, rows in ((128, 12), (60, 11), (130, 17), (64, 8), (20, 1)):
        assert_equal(with_dense(3, units, rows, precision, "relu"), effort, 2)
    network = Network.of(
        lstm(3, 4), dense(4, 300, "tanh", name="wide"), dense(300, 9, "linear", name="head")
    )
    assert_equal(nearest(network, precision, calibration(network)), effort, 3)


@pytest.mark.parametrize(
    ("shape", "precision", "per_mac"),
    [
        ((1, 16), "q15", 0.52), ((28, 20), "q15", 0.338), ((64, 64), "q15", 0.291),
        ((1, 16), "w8a16", 0.52), ((28, 20), "w8a16", 0.341), ((64, 64), "w8a16", 0.291),
        ((1, 16), "q7", 0.403), ((9, 32), "q7", 0.26), ((64, 64), "q7", 0.17),
    ],
)
def test_instructions_per_mac(shape, precision, per_mac):
    result = bench(of_shape(*shape, precision), usable(CORE))
    assert result.instructions_per_step / result.macs_per_step <= per_mac


@pytest.mark.parametrize(("precision", "most"), [("q15", 475), ("w8a16", 475), ("q7", 500)])
def test_instructions_of_a_dense_layer(precision, most):
    """128 to 12, and the largest of 12."""
    network = Network.of(lstm(10, 128, scale=0.23), dense(128, 12, "argmax"))
    q = nearest(network, precision, calibration(network), mid_shift=False)
    without = replace(q, layers=q.layers[:1])
    counts = [bench(net, usable(CORE)).instructions_per_step for net in (q, without)]
    assert counts[0] - counts[1] <= most


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_gcc_and_clang_encode_the_same_instructions(precision, effort, tmp_path):
    """GAS 2.40 takes VQSHRNB for VQRSHRNB: nothing here may depend on the assembler."""
    need_program("clang")
    need_program("arm-none-eabi-objcopy")
    source = tmp_path / "kernels.S"
    for q in (quantized("odd_sizes", precision), with_dense(28, 20, 9, precision)):
        files = sources(q, target=CORE, effort=effort)
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
