"""The kernels for x86-64: packed, equal with AVX2, with SSE2 and in plain C, and fast."""

import platform
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lstmgen.bench import bench
from lstmgen.bounds import bound_table
from lstmgen.codegen.kernels import Choice, choose, choose_dense, unpack_dense
from lstmgen.codegen.kernels.x86 import PairKernel, unpack
from lstmgen.network import Network
from lstmgen.qformat import QFormat
from lstmgen.quantized import Precision, QuantizedDense, QuantizedNetwork
from lstmgen.verification import default_inputs, verify

from builders import (
    NETWORKS,
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
from compiled import C_WARNINGS, LANGUAGES, compile_c, sources, write
from tools import usable

X86 = platform.machine() in ("x86_64", "AMD64")
AVX2 = X86 and Path("/proc/cpuinfo").exists() and " avx2 " in Path("/proc/cpuinfo").read_text()

ON_X86 = pytest.mark.skipif(not X86, reason="this computer is no x86-64")
FLAVOURS = [
    pytest.param((), id="run-time"),
    pytest.param(("-DMODEL_NO_AVX2",), id="sse2", marks=ON_X86),
    pytest.param(
        ("-mavx2",), id="avx2", marks=pytest.mark.skipif(not AVX2, reason="this has no AVX2")
    ),
    pytest.param(("-DMODEL_PLAIN_C",), id="plain"),
]
"""With what the model is compiled. Off x86-64 the first is plain C too."""

DISTINCT = [FLAVOURS[0], FLAVOURS[1], FLAVOURS[3]]
"""The first has AVX2 too, where the computer does."""

WIDTHS = (2, 3, 1, 16, 7, 12, 24, 30, 70, 41)
"""Of layers one behind the other: one group, two, an odd number, with and without a tail."""

SANITIZE = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
"""Optimised further, vectors of many layers take minutes to compile."""


def tower(precision: Precision) -> QuantizedNetwork:
    """LSTM layers of all widths, each the input of the next."""
    layers = [
        lstm(inputs, units, scale=0.23, name=f"lstm{number}")
        for number, (inputs, units) in enumerate(pairwise(WIDTHS))
    ]
    network = Network.of(*layers)
    return nearest(network, precision, calibration(network), mid_shift=False)


def chosen(q: QuantizedNetwork, effort: str = "speed") -> Choice:
    bounds = dict(zip(q.layers, bound_table(q), strict=True))
    return choose("x86-64", q.lstms[0], bounds[q.lstms[0]], q.tables, effort, True)


def check(q: QuantizedNetwork, x: np.ndarray, flags: tuple[str, ...], effort: str = "speed"):
    files = sources(q, effort=effort)
    result = verify(q, files, usable("host"), x, flags=flags)
    assert result.equal, result.message


@pytest.mark.parametrize("effort", ["speed", "balanced"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (9, 32), (20, 33), (70, 40)])
def test_unpacking_gives_the_weights_back(shape, precision, effort):
    q = of_shape(*shape, precision)
    kernel = chosen(q, effort).kernel
    assert isinstance(kernel, PairKernel)
    wx, wh = unpack(kernel, q.lstms[0])
    np.testing.assert_array_equal(wx, q.lstms[0].wx)
    np.testing.assert_array_equal(wh, q.lstms[0].wh)
    words = kernel.stream[:, :64:2] & 0xFFFF | kernel.stream[:, 1:64:2] << 16
    bias = words.reshape(-1, 4, 8).swapaxes(0, 1).reshape(4, -1)[:, : shape[1]]
    np.testing.assert_array_equal(bias.ravel(), q.lstms[0].bias)


def test_any_weights_have_a_kernel_but_none_is_small():
    for name in NETWORKS:
        for precision in PRECISIONS:
            q = quantized(name, precision)
            assert chosen(q).kernel is not None, (name, precision)
    small = chosen(quantized("one_unit", "q7"), "size")
    assert (small.kernel, small.reason) == (None, "the least flash was asked for")


def test_inputs_that_outgrow_a_lane_are_left_to_portable_c():
    q = quantized("one_unit", "q15")
    wide = replace(q.lstms[0], x=QFormat(16, 10), x_shift=1)
    choice = choose("x86-64", wide, bound_table(q)[0], q.tables, "speed", True)
    assert choice.kernel is None
    assert "exceed 16 bits" in choice.reason


@pytest.mark.parametrize("flags", FLAVOURS[1:])
@pytest.mark.parametrize("precision", ["q15", "q7"])
@pytest.mark.parametrize("name", ["extreme_weights", "huge_sums", "initial_state", "large_inputs"])
def test_equal_on_uncommon_networks(name, precision, flags):
    """Shifts to both sides, sums to be clamped, mid shifts. Others: test_kernels.py."""
    q = quantized(name, precision)
    check(q, raw_inputs(q, 8), flags)


@pytest.mark.parametrize("flags", DISTINCT)
@pytest.mark.parametrize("precision", ["w8a16", "q7"])
def test_equal_at_any_size(precision, flags):
    q = tower(precision)
    check(q, default_inputs(q, np.random.default_rng(3), steps=5), flags)


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("flags", DISTINCT)
def test_equal_with_mid_shifts_at_any_size(flags, by_row):
    precision: Precision = "q7" if by_row else "w8a16"
    q = with_mid_shifts(tower(precision), by_row)
    check(q, default_inputs(q, np.random.default_rng(3), steps=5), flags)


@pytest.mark.parametrize("flags", DISTINCT)
@pytest.mark.parametrize(("precision", "effort"), [("q7", "speed"), ("q15", "balanced")])
def test_equal_dense_layers(precision, flags, effort):
    """Rows of any number modulo 8 that fill from one vector to three passes; x of 8 and 16 bits."""
    widths = (1, 9, 16, 70, 7, 130, 4, 29, 131, 2, 3, 22, 13)
    network = Network.of(
        dense(3, 8, "tanh", name="first"),
        lstm(8, 3),
        dense(3, 1, "relu", name="second"),
        *(
            dense(inputs, rows, "linear", name=f"fc{number}")
            for number, (inputs, rows) in enumerate(pairwise(widths))
        ),
    )
    q = nearest(network, precision, calibration(network))
    header = sources(q, effort=effort)["model_weights.h"]
    assert all(f"model_{layer.name}_stream" in header for layer in q.layers)
    check(q, raw_inputs(q, 4), flags, effort)


@pytest.mark.parametrize("rows", [1, 8, 9, 31, 32, 33, 64, 65, 136])
@pytest.mark.parametrize("inputs", [1, 2, 7, 8, 81])
def test_a_dense_stream_holds_its_layer(inputs, rows):
    network = Network.of(lstm(2, inputs), dense(inputs, rows))
    q = nearest(network, "w8a16", calibration(network))
    layer = q.layers[-1]
    assert isinstance(layer, QuantizedDense)
    kernel = choose_dense("x86-64", layer, bound_table(q)[-1], "speed").kernel
    assert kernel is not None
    w, bias = unpack_dense("x86-64", kernel, layer)
    np.testing.assert_array_equal(w, layer.w)
    np.testing.assert_array_equal(bias, layer.bias)


@pytest.mark.parametrize("flags", FLAVOURS)
def test_equal_where_pairs_are_not_unrolled(flags):
    q = of_shape(9, 20, "w8a16")
    for made in (q, with_mid_shifts(q, True)):
        check(made, default_inputs(q, np.random.default_rng(3), steps=5), flags, "balanced")


@pytest.mark.parametrize("flags", FLAVOURS)
def test_a_cell_that_runs_into_both_ends(flags):
    q = quantized("runaway_cell", "q15")
    x = np.concatenate([np.full((1, 1100, 1), q.x.hi), np.full((1, 2300, 1), q.x.lo)], 1)
    check(q, x, flags)


@pytest.mark.parametrize("flags", FLAVOURS)
@pytest.mark.parametrize("inputs", [1, 7, 8, 21])
def test_inputs_of_8_bits_that_have_to_be_aligned(inputs, flags):
    network = Network.of(lstm(inputs, 9, scale=0.05))
    q = nearest(network, "q7", [sequence * 4 for sequence in calibration(network)])
    assert q.lstms[0].x_shift > 0
    check(q, raw_inputs(q, 5), flags)


@pytest.mark.parametrize("flags", DISTINCT)
@pytest.mark.parametrize("compiler", LANGUAGES)
def test_no_warning_in_any_flavour(compiler, flags, tmp_path):
    for name, precision in (
        ("odd_sizes", "q7"),
        ("extreme_weights", "q15"),
        ("huge_sums", "q7"),
        ("hidden_out", "w8a16"),
        ("large_inputs", "q15"),
    ):
        files = write(sources(quantized(name, precision)), tmp_path)
        options = [*LANGUAGES[compiler], *C_WARNINGS, "-O2", "-fPIC", "-shared", *flags]
        compile_c(compiler, [*options, *files, "-o", str(tmp_path / "model.so")])


@pytest.mark.parametrize("effort", ["speed", "balanced"])
@pytest.mark.parametrize("flags", DISTINCT)
def test_the_sanitizers_stay_silent(flags, effort):
    """At the ends of x, of the state and of the output too, where lanes are left empty."""
    network = Network.of(lstm(9, 11), dense(11, 13), name="ends")
    ends = nearest(network, "q7", calibration(network))
    for q in (ends, quantized("extreme_weights", "q15"), quantized("large_inputs", "q7")):
        check(q, raw_inputs(q, 8), (*flags, *SANITIZE), effort)


@pytest.mark.skipif(not AVX2, reason="this has no AVX2")
@pytest.mark.parametrize(
    ("shape", "sse2", "avx2"),
    [((1, 16), 1.50, 0.40), ((9, 32), 0.95, 0.24), ((10, 128), 0.65, 0.17)],
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_instructions_per_mac(shape, precision, sse2, avx2):
    q = of_shape(*shape, precision)
    for limit, flags in ((sse2, ("-DMODEL_NO_AVX2",)), (avx2, ())):
        result = bench(q, usable("host"), flags=flags)
        assert result.instructions_per_step / result.macs_per_step <= limit
