"""The kernels for AVR: chosen by the weights, packed, equal, and fast."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from lstmgen.bench import bench
from lstmgen.bounds import bound_table
from lstmgen.codegen.kernels import Choice, choose
from lstmgen.codegen.kernels.avr import AvrKernel, unpack
from lstmgen.network import Lstm, Network
from lstmgen.quantized import QuantizedNetwork
from lstmgen.quantizer import quantize
from lstmgen.verification import default_inputs, verify

from builders import NETWORKS, PRECISIONS, calibration, of_shape, quantized, raw_inputs
from compiled import sources
from tools import need_program, usable

CORE = "avr"
EFFORTS = ("speed", "balanced", "size")


def chosen(q: QuantizedNetwork, effort: str = "speed") -> Choice:
    bounds = dict(zip(q.layers, bound_table(q), strict=True))
    return choose("avr", q.lstms[0], bounds[q.lstms[0]], q.tables, effort, True)


def kernel_of(q: QuantizedNetwork, effort: str = "speed") -> AvrKernel:
    kernel = chosen(q, effort).kernel
    assert isinstance(kernel, AvrKernel)
    return kernel


def with_layer(q: QuantizedNetwork, **changes: object) -> QuantizedNetwork:
    return replace(q, layers=(replace(q.lstms[0], **changes), *q.layers[1:]))


@pytest.mark.parametrize(
    ("precision", "ways"), [("q15", ["words"]), ("w8a16", ["words", "bytes"]), ("q7", ["q7"])]
)
def test_the_ways_of_each_precision(precision, ways):
    assert [span.way for span in kernel_of(of_shape(1, 16, precision)).spans] == ways


def test_bytes_alone_where_all_weights_are_bytes():
    q = of_shape(3, 8, "w8a16")
    small = with_layer(q, wx=np.clip(q.lstms[0].wx, -127, 127))
    assert [span.way for span in kernel_of(small).spans] == ["bytes"]
    x = default_inputs(small, np.random.default_rng(3), steps=4)
    result = verify(small, None, usable(CORE), x)
    assert result.equal, result.message


def test_inputs_of_q7_are_aligned_in_a_span_of_their_own():
    q = quantized("runaway_cell", "q7")
    assert q.lstms[0].x_shift
    assert [span.shift for span in kernel_of(q).spans] == [q.lstms[0].x_shift, 0]


def test_loops_are_entered_behind_the_columns_that_are_too_many():
    (span,) = kernel_of(of_shape(1, 16, "q15")).spans
    assert (span.per_turn, span.turns, span.skipped) == (4, 5, 3)
    (span,) = kernel_of(of_shape(1, 16, "q15"), "size").spans
    assert (span.per_turn, span.turns, span.skipped) == (1, 17, 0)


def test_portable_where_no_kernel_is_safe():
    assert "clamped" in chosen(quantized("huge_sums", "q15")).reason
    extreme = chosen(quantized("extreme_weights", "q15"))
    assert extreme.kernel is None
    assert "differ" in extreme.reason
    assert "256 columns" in chosen(of_shape(255, 1, "q15")).reason
    full = of_shape(254, 1, "q7")
    assert bound_table(full)[0].bound.max() >= 1 << 23
    assert "24 bits" in chosen(full).reason
    assert "one array" in chosen(of_shape(64, 64, "q7")).reason
    mixed = with_layer(of_shape(3, 2, "w8a16"), x_shift=1)
    assert "another width" in chosen(mixed).reason


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (9, 32), (8, 12), (20, 33), (200, 4)])
def test_unpacking_gives_the_weights_back(shape, precision, effort):
    q = of_shape(*shape, precision)
    wx, wh = unpack(kernel_of(q, effort), q.lstms[0])
    np.testing.assert_array_equal(wx, q.lstms[0].wx)
    np.testing.assert_array_equal(wh, q.lstms[0].wh)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_on_all_networks(precision):
    target = usable(CORE)
    for name in NETWORKS:
        q = quantized(name, precision)
        result = verify(q, None, target, raw_inputs(q, 6))
        assert result.equal, f"{name}: {result.message}"


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 16), (5, 7), (8, 6), (1, 2), (33, 20), (200, 8)])
def test_equal_at_any_size_and_effort(shape, precision, effort):
    target = usable(CORE)
    q = of_shape(*shape, precision)
    files = sources(q, target=CORE, effort=effort)
    assert "model_kernels.S" in files
    x = default_inputs(q, np.random.default_rng(3), steps=3)
    result = verify(q, files, target, x)
    assert result.equal, result.message


@pytest.mark.parametrize("effort", ["speed", "size"])
@pytest.mark.parametrize("table_bits", [6, 7, 8, 9, 10, 11])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_saturating_states_are_equal_with_any_table(precision, table_bits, effort):
    """Cells that begin at and near both ends of int32, gates beyond both ends of the tables."""
    r = np.random.default_rng([2, table_bits])
    W, U, b = r.normal(0, 0.4, (48, 2)), r.normal(0, 0.4, (48, 12)), r.normal(0, 2, 48)
    b[12:24] = 9
    network = Network.of(Lstm("lstm0", W, U, b), outputs="sequence")
    q = quantize(network, precision, calibration(network), table_bits=table_bits)
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


@pytest.mark.parametrize(
    ("shape", "precision", "per_mac"),
    [
        ((1, 16), "q15", 35.1), ((9, 32), "q15", 30.1),
        ((1, 16), "w8a16", 24.2), ((9, 32), "w8a16", 20.9),
        ((1, 16), "q7", 17.2), ((9, 32), "q7", 12.6),
    ],
)
def test_cycles_per_mac(shape, precision, per_mac):
    result = bench(of_shape(*shape, precision), usable(CORE))
    assert result.instructions_per_step / result.macs_per_step <= per_mac


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
