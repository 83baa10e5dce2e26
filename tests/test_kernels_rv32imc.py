"""What is particular to RV32IMC: lanes and their segments, straight code and loops, tables as
lines; ceilings of instructions and of flash. What holds on every core is in test_kernels.py."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lstmgen.bench import BenchResult, bench
from lstmgen.bounds import bound_table
from lstmgen.codegen.kernels import EFFORTS, Choice, Effort, choose, rv32imc, unpack
from lstmgen.codegen.kernels.rv32_cell import full_from
from lstmgen.codegen.kernels.rv32_forms import LANE_LIMIT, Form, form_of
from lstmgen.codegen.kernels.rv32_lanes import LaneKernel
from lstmgen.codegen.kernels.rv32_passes import LanePass, Part
from lstmgen.codegen.kernels.rv32_single import SingleKernel
from lstmgen.codegen.kernels.segments import dealt, ends, ordered
from lstmgen.network import Lstm, Network
from lstmgen.quantized import (
    TABLE_BITS,
    Precision,
    QuantizedLstm,
    QuantizedNetwork,
    Tables,
)
from lstmgen.quantizer.tables import load_tables
from lstmgen.target import load_target
from lstmgen.verification import default_inputs, verify

from builders import PRECISIONS, calibration, dense, lstm, nearest, of_shape, quantized
from compiled import C_WARNINGS, LANGUAGES, sources
from tools import need_program, usable

ISA = "rv32imc"

FORMS = [Form(group, looped) for looped in (False, True) for group in (1, 2, 3)]
FORMS += [Form(2, False, 2), Form(3, False, 3)]

SHAPES = [(1, 17), (40, 7), (17, 38)]
"""With one value more than is straight code beside loops; with none of x, or of h, in a loop."""


def lstm_of(q: QuantizedNetwork) -> QuantizedLstm:
    return q.lstms[0]


def chosen(q: QuantizedNetwork, effort: Effort = "speed") -> Choice:
    place = q.layers.index(lstm_of(q))
    return choose(ISA, lstm_of(q), bound_table(q)[place], q.tables, effort, True)


def lane_kernel(n: int, k: int) -> tuple[LaneKernel, QuantizedLstm]:
    q = of_shape(n, k, "q7")
    kernel = chosen(q).kernel
    assert isinstance(kernel, LaneKernel)
    return kernel, lstm_of(q)


def assert_equal(q: QuantizedNetwork, effort: Effort = "speed", steps: int = 5) -> None:
    x = default_inputs(q, np.random.default_rng(3), steps=steps)
    result = verify(q, None, usable("riscv32"), x, effort=effort)
    assert result.equal, result.message


def form_id(form: Form) -> str:
    return f"{form.group}{'looped' if form.looped else ''}-{form.kinds}"


@pytest.fixture(params=FORMS, ids=form_id)
def form(request, monkeypatch) -> Form:
    """A form that all lanes then have, if they have the units."""
    wanted: Form = request.param

    def form_of(layer: QuantizedLstm, effort: Effort) -> Form:
        return replace(wanted, group=min(wanted.group, layer.units))

    monkeypatch.setattr(rv32imc, "form_of", form_of)
    return wanted


# --- Which kernel ---------------------------------------------------------------------------


def test_the_way_of_each_precision_and_effort():
    ways = {
        (precision, effort): chosen(of_shape(3, 5, precision), effort).kernel.way
        for precision in PRECISIONS
        for effort in EFFORTS
    }
    lanes = {key for key, way in ways.items() if way == "lanes"}
    assert lanes == {("q7", "speed"), ("q7", "balanced")}


def test_a_layer_with_a_mid_shift_has_one_weight_a_product():
    q = of_shape(3, 5, "q7")
    layer = replace(lstm_of(q), x_shift=0, mid_shift=np.full(20, 2))
    assert isinstance(chosen(replace(q, layers=(layer,))).kernel, SingleKernel)


@pytest.mark.parametrize(
    ("shape", "effort", "form"),
    [
        ((1, 16), "speed", Form(3, looped=False, kinds=2)),
        ((1, 16), "balanced", Form(2, looped=False)),
        ((9, 32), "speed", Form(2, looped=False)),
        ((10, 128), "speed", Form(3, looped=True)),
        ((10, 128), "balanced", None),
        ((1, 1), "speed", Form(1, looped=False)),
        ((1800, 2), "speed", None),
    ],
)
def test_the_form_follows_from_the_code_that_it_takes(shape, effort, form):
    q = of_shape(*shape, "q7", scale=0.02)
    assert form_of(lstm_of(q), effort) == form


def test_portable_where_gates_clamp_or_shift_to_both_sides():
    assert chosen(quantized("huge_sums", "q15")).reason == "a pre-activation has to be clamped"
    q = of_shape(3, 4, "q7")
    frac = lstm_of(q).frac.copy()
    frac[:2] = lstm_of(q).argument_frac[:2] + np.array([-1, 1])
    choice = chosen(replace(q, layers=(replace(lstm_of(q), frac=frac),)))
    assert choice.kernel is None
    assert "both sides" in choice.reason


def test_portable_where_the_middle_of_the_table_does_not_fit():
    q = of_shape(3, 4, "q7")
    bounds = bound_table(q)[0]
    near = replace(bounds, bound=np.full_like(bounds.bound, (1 << 31) - 1 >> 8))
    far = replace(lstm_of(q), frac=lstm_of(q).argument_frac - 8)
    choice = choose(ISA, far, near, q.tables, "speed", True)
    assert choice.kernel is None
    assert "2^31" in choice.reason


def test_portable_where_tanh_reaches_one_in_a_single_segment():
    q = of_shape(3, 4, "q7")
    step = np.zeros_like(q.tables.tanh)
    step[len(step) // 2] = 32767, 16384
    step[len(step) // 2 + 1 :, 1] = 32767
    changed = replace(q, tables=replace(q.tables, tanh=step))
    assert chosen(changed).reason == "a table of tanh that reaches 1 at once"
    assert chosen(replace(of_shape(3, 4, "q15"), tables=changed.tables)).kernel is not None


@pytest.mark.parametrize("bits", TABLE_BITS)
def test_where_h_may_be_full_a_limited_o_makes_no_difference(bits):
    """For any tanh(c) of the table that side, and any o: rule N7 with o limited, and without."""
    tables = load_tables(bits)
    full = full_from(tables)
    assert full is not None
    slope2, base = tables.tanh.T
    o = np.arange(32000, 32768)[:, None]
    for segment in range(len(base) // 2, len(base)):
        edge = -32768 if segment % 2 else 0
        tanh = base[segment] + (slope2[segment] * (edge + np.arange(1, 32769)) >> 16)
        tanh = np.unique(tanh)
        limited = np.minimum(o, 32640) if segment << 15 >= full else o
        h = (limited * tanh + (1 << 22)) >> 23
        assert h.max() <= 127
        np.testing.assert_array_equal(h, np.minimum((o * tanh + (1 << 22)) >> 23, 127))


# --- Segments -------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [0, 1, 2, 17, 45])
def test_ends_keep_the_limit_in_any_order_and_ordered_has_every_column(columns):
    reach = np.random.default_rng(columns).integers(0, 128, (4, 30, columns))
    order = ordered(reach, LANE_LIMIT)
    assert sorted(order) == list(range(columns))
    assert order == ordered(reach.copy(), LANE_LIMIT)
    for tried in (order, tuple(range(columns))):
        for word, places in zip(reach, ends(reach, tried, LANE_LIMIT), strict=True):
            assert places[-1] == columns - 1
            first = 0
            for place in places:
                assert word[:, list(tried[first : place + 1])].sum(1).max(initial=0) <= LANE_LIMIT
                first = place + 1


def test_an_order_makes_for_fewer_ends():
    drawn = np.random.default_rng(0).normal(0, 40, (4, 30, 40))
    reach = np.abs(drawn).astype(np.int64).clip(max=127)
    found, natural = (
        sum(map(len, ends(reach, order, LANE_LIMIT)))
        for order in (ordered(reach, LANE_LIMIT), tuple(range(40)))
    )
    assert found < 0.9 * natural


def test_columns_are_dealt_to_segments_of_given_sizes():
    reach = np.random.default_rng(1).integers(0, 128, (60, 30))
    sizes = (4, 3, 3) * 3
    order = dealt(reach, sizes, 380)
    assert order is not None
    assert sorted(order) == list(range(30))
    assert order == dealt(reach.copy(), sizes, 380)
    first = 0
    for size in sizes:
        assert reach[:, list(order[first : first + size])].sum(1).max() <= 380
        first += size


def test_no_columns_are_dealt_where_they_do_not_fit():
    reach = np.full((2, 6), 100)
    assert dealt(reach, (2, 2, 2), 200) is not None
    assert dealt(reach, (2, 2, 2), 199) is None
    assert dealt(reach, (3, 3), 299) is None


def parts_of(made: LanePass) -> list[Part]:
    return [*made.opening, *made.parts]


@pytest.mark.parametrize("shape", [*SHAPES, (9, 32), (28, 20)])
def test_the_code_takes_every_word_apart_before_a_lane_overflows(shape, form):
    """Follows each word through the columns of the code, turn by turn, with the worst values."""
    kernel, layer = lane_kernel(*shape)
    assert any(made.looped for made in kernel.passes) == form.looped
    joined = np.abs(np.concatenate([layer.wx, layer.wh], 1)).reshape(4, layer.units, -1)
    for made, units, blocks in zip(kernel.passes, kernel.units, kernel.blocks, strict=True):
        columns = [part.columns for part in parts_of(made) for _ in range(part.turns)]
        code = [column for turn in columns for column in turn]
        lanes = [block for block in blocks if block.kind == "lanes"]
        order = [column for block in lanes for column in block.columns]
        assert len(code) == len(order)
        for number in range(2 * units.group):
            gates = lanes[0].gates[2 * (number % 2) : 2 * (number % 2) + 2]
            taken = slice(units.first + number // 2, units.first + units.count * units.group,
                          units.group)
            rows = joined[list(gates), taken].reshape(-1, joined.shape[2])
            total, open_segment = np.zeros(len(rows), np.int64), False
            for column, place in zip(code, order, strict=True):
                word = column.words[number]
                assert word.begins is not open_segment
                total = rows[:, place] + (0 if word.begins else total)
                assert total.max() * 128 < 1 << 15
                open_segment = not word.ends
            assert not open_segment


@pytest.mark.parametrize("shape", SHAPES)
def test_unpacking_inverts_the_packing_of_every_form(shape, form):
    kernel, layer = lane_kernel(*shape)
    wx, wh = unpack(ISA, kernel, layer)
    np.testing.assert_array_equal(wx, layer.wx)
    np.testing.assert_array_equal(wh, layer.wh)


# --- Equality -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_in_every_form(shape, form):
    assert_equal(of_shape(*shape, "q7"))


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_with_more_values_than_offsets_reach(precision, effort):
    assert_equal(of_shape(2100, 3, precision, scale=0.02), effort, steps=1)


@pytest.mark.parametrize("shift", [-4, 0, 7, 8, 9])
def test_equal_with_sums_of_any_size(shift):
    """Where the middle of the table is added, and whether V is limited, follows from these."""
    q = of_shape(4, 6, "q15")
    layer = lstm_of(q)
    r = np.random.default_rng(shift + 9)
    most = 4500 if shift >= 0 else 400
    drawn = replace(
        layer,
        wx=r.integers(-most, most, layer.wx.shape) * (1 + (r.random(layer.wx.shape) > 0.5)),
        wh=r.integers(-most, most, layer.wh.shape),
        bias=np.zeros_like(layer.bias),
        frac=layer.argument_frac + shift,
    )
    changed = replace(q, layers=(drawn,))
    kernel = chosen(changed).kernel
    assert isinstance(kernel, SingleKernel)
    assert all(step.amount == abs(shift) for step in kernel.cell.gates)
    assert any(step.late for step in kernel.cell.gates) == (shift in (7, 9))
    assert_equal(changed)


@pytest.mark.parametrize("bits", [6, 9, 11])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_with_other_tables(precision, bits):
    network = Network.of(lstm(3, 4, seed=bits), dense(4, 2, "tanh"), name="tables")
    q = nearest(network, precision, calibration(network), table_bits=bits)
    assert isinstance(q.tables, Tables)
    assert_equal(q)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_full_cells_and_outputs_are_equal(precision, effort):
    """Units whose cell states run into both ends of int32 and whose h reaches both of its own,
    beside one that stays in range."""
    W, U = np.zeros((16, 1)), np.zeros((16, 4))
    b = np.array([15, 15, 15, 0.1, 15.99, 15.99, 15.99, 0.3, 0, 4, -4, 0.2, 15, 15, 15, 0.1])
    W[8] = 9
    W[11], U[3] = 0.3, 0.2
    network = Network.of(Lstm("lstm0", W, U, b), outputs="sequence")
    q = nearest(network, precision, np.ones((1, 1, 1)))
    x = np.concatenate([np.full((1, 60, 1), q.x.hi), np.full((1, 60, 1), q.x.lo)], 1)
    for c0, values in ((2**31 - 2**25, x), (-(2**31) + 2**25, -1 - x)):
        layer = replace(lstm_of(q), c0=np.array([c0, 0, 0, 0]))
        started = replace(q, layers=(layer,))
        result = verify(started, None, usable("riscv32"), values, instances=1, effort=effort)
        assert result.equal, result.message


def test_equal_where_the_output_lies_at_no_word():
    q = of_shape(2, 8, "q7")
    files = dict(sources(q, target="riscv32"))
    call = "    model_copy_output(state->lstm0_h, y);\n"
    assert call in files["model.c"]
    odd = (
        "    static int8_t odd[MODEL_OUTPUTS + 1] __attribute__((aligned(4)));\n"
        "    model_copy_output(state->lstm0_h, odd + 1);\n"
        "    for (int n = 0; n < (int)MODEL_OUTPUTS; n++) { y[n] = odd[n + 1]; }\n"
    )
    files["model.c"] = files["model.c"].replace(call, odd)
    x = default_inputs(q, np.random.default_rng(3), steps=5)
    result = verify(q, files, usable("riscv32"), x)
    assert result.equal, result.message


# --- Instructions, flash, other assemblers --------------------------------------------------


def measured(n: int, k: int, precision: Precision, effort: Effort = "speed") -> BenchResult:
    r = np.random.default_rng(1)
    weights = r.normal(0, 0.23, (4 * k, n + k))
    layer = Lstm("lstm0", weights[:, :n], weights[:, n:], r.normal(0, 0.5, 4 * k))
    network = Network.of(layer)
    return bench(
        nearest(network, precision, calibration(network), mid_shift=False),
        usable("riscv32"),
        effort=effort,
    )


@pytest.mark.parametrize(
    ("shape", "precision", "most"),
    [
        ((1, 16), "q7", 3.2),
        ((9, 32), "q7", 2.45),
        ((64, 64), "q7", 2.10),
        ((9, 32), "w8a16", 3.65),
        ((64, 64), "w8a16", 3.35),
        ((1, 16), "q15", 4.31),
        ((28, 20), "q15", 3.61),
    ],
)
def test_instructions_per_mac(shape, precision, most):
    result = measured(*shape, precision)
    assert result.instructions_per_step / result.macs_per_step <= most


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("rows", "most"), [(1, 4.9), (12, 3.4)])
def test_instructions_per_mac_of_a_dense_layer(precision, rows, most):
    """What it adds to the LSTM layer in front of it: 7 and 7.2 in portable C."""
    layer = lstm(1, 64, scale=0.23)
    alone, headed = (
        bench(nearest(network, precision, calibration(network)), usable("riscv32"))
        for network in (Network.of(layer), Network.of(layer, dense(64, rows)))
    )
    added = headed.instructions_per_step - alone.instructions_per_step
    assert added / (64 * rows) <= most


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_effort_is_worth_its_name(precision):
    shape = (9, 32)
    portable = replace(load_target("riscv32"), isa="portable")
    speed, balanced, size = (measured(*shape, precision, effort) for effort in EFFORTS)
    q = of_shape(*shape, precision)
    plain = bench(q, portable, optimize="-Os")
    flash = [r.code_bytes + r.table_bytes + r.weights_bytes for r in (size, balanced, speed)]
    counts = [r.instructions_per_step for r in (speed, balanced, size)]
    assert flash == sorted(flash)
    assert counts == sorted(counts)
    assert flash[0] < plain.code_bytes + plain.table_bytes + plain.weights_bytes
    assert counts[2] < plain.instructions_per_step


@pytest.mark.parametrize("shape", [(10, 128), (64, 64)])
def test_code_is_bounded(shape):
    result = measured(*shape, "q7")
    assert result.code_bytes <= 8192


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_clang_assembles_it(precision, effort, tmp_path: Path):
    need_program("clang")
    for shape in ((11, 5), (40, 20)):
        network = Network.of(lstm(*shape, scale=0.23), dense(shape[1], 7, "relu"))
        q = nearest(network, precision, calibration(network))
        source = tmp_path / "m_kernels.S"
        source.write_text(sources(q, target="riscv32", effort=effort)["model_kernels.S"])
        clang = shutil.which("clang")
        assert clang
        command = [clang, "--target=riscv32", "-march=rv32imc", "-mabi=ilp32", "-Werror", "-c"]
        subprocess.run([*command, source, "-o", tmp_path / "m.o"], check=True, timeout=60)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_plain_c_reads_tables_of_lines_without_warnings(compiler, tmp_path: Path):
    """The C of a dense layer with tanh, beside a kernel that wants lines."""
    need_program(compiler)
    network = Network.of(lstm(3, 4), dense(4, 2, "tanh"))
    files = sources(nearest(network, "q15", calibration(network)), target="riscv32")
    assert "modulo 2^32" in files["model.c"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    command = [compiler, *LANGUAGES[compiler], *C_WARNINGS, "-fsyntax-only", "model.c"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
