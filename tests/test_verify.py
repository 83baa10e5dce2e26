"""The comparison of C with an emulator: what is equal passes, any difference is found."""

import re
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lstmgen import verification
from lstmgen.errors import ModelError, OutputError, RangeError, ToolError
from lstmgen.quantized import Precision
from lstmgen.target import load_target
from lstmgen.toolchain import Sources
from lstmgen.trace import Operation, commands_of, expected_of, records_of
from lstmgen.verification import (
    PIECE,
    SANITIZERS,
    VerifyResult,
    default_inputs,
    model_files,
    verify,
    verify_trace,
)

from builders import NETWORKS, PRECISIONS, quantized
from tools import RUNNABLE, need_program, usable
from toy import toy_files, toy_inputs, toy_trace


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go, to see which stay."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def verify_toy(files: Sources, name: str = "host", sequence: bool = False) -> VerifyResult:
    trace = toy_trace(toy_inputs(), sequence)
    return verify_trace(trace, files, usable(name), precision="toy")


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("name", RUNNABLE)
def test_equal_c_passes_on_every_target(name: str, sequence: bool, temporary: Path) -> None:
    result = verify_toy(toy_files(sequence), name, sequence)
    assert result.equal, result.message
    assert (result.first_difference, result.folder, list(temporary.iterdir())) == (None, None, [])
    assert result.to_json() == {
        "target": name,
        "precision": "toy",
        "steps": 160,
        "values": result.values,
        "equal": True,
        "difference": None,
        "kept": None,
    }
    assert re.fullmatch(rf"{name}: \d+ values of 160 steps are equal", result.message)
    # Every step: 10 of state, 2 outputs; twice the state after reset; run adds to it.
    assert result.values > 160 * 12 + 2 * 4 * 10


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # The whole layer from its first step on; c is named before the h that it causes.
        ("c[i] / 2", "c[i] / 4", r"layer a, c\[0\] at step 0 of sequence 0: got -?\d+, exp"),
        ("/ 16 %", "/ 8 %", r"layer a, h\[0\] at step 0 of sequence 0: got -?\d+, expected -?\d+"),
        ("b_c[i] = -40", "b_c[i] = -41", r"layer b, c\[0\] after reset of .* -41, expected -40"),
        ("a_h[i] = 2", "a_h[i] = 0", r"layer a, h\[0\] after reset .* got 0, expected 2"),
        # A state that reset leaves as it was is seen, for memory is not zero before it.
        ("state->b_h[i] = 0;", "", r"layer b, h\[0\] after reset of sequence 0: got -?\d+, exp"),
        ("y[1] = state->b_h", "y[1] = 1 + state->b_h", r"layer b, y\[1\] at step 0 of sequence 0"),
        ("*w++ * x[j]", "*w++ * (x[j] == 2999 ? 2998 : x[j])", r"layer a, c\[\d\] at step \d+"),
        # Wrong in `run` only.
        ("x += TOY_INPUTS;", "x += 1;", r"layer a, c\[0\] at step 1 of .* \(by run\): got"),
        ("while (steps-- != 0u) {", "if (steps == 13u) steps--; while (steps-- != 0u) {",
         r"at step \d+ of sequence \d \(by run\)"),
        ("    while (steps-- != 0u) {", "    *y = 7; while (steps-- != 0u) {",
         r"layer b, y\[0\] after reset of sequence 0 \(by run\): got 7, expected -23131"),
    ],
)  # fmt: skip
def test_any_difference_is_found_and_named(
    old: str, new: str, message: str, temporary: Path
) -> None:
    result = verify_toy(toy_files(source=(old, new)))
    assert not result.equal
    assert re.search(f"host: .*{message}", result.message), result.message
    assert result.folder is not None
    assert result.message.endswith(f"; see {result.folder}")
    assert result.folder.parent == temporary


@pytest.mark.parametrize("name", ["cortex-m0", "riscv32", "avr"])
def test_a_flipped_weight_is_found_on_a_target(name: str, temporary: Path) -> None:
    files = toy_files()
    files["toy_weights.c"] = files["toy_weights.c"].replace("{2, -3, 5}", "{2, -3, 4}")
    found = verify_toy(files, name).first_difference
    assert found is not None
    x, trace = toy_inputs(), toy_trace(toy_inputs())
    assert (found.layer, found.tensor, found.index, found.step) == ("b", "c", 0, 0)
    assert (found.sequence, found.by_run) == (0, False)
    assert found.expected == trace.c[1][0, 1, 0]
    assert found.got == found.expected - trace.h[0][0, 1, 2]
    assert len(x) == 4


def test_the_earliest_step_of_all_sequences_is_named(temporary: Path) -> None:
    # Sequence 3 runs in the second group, after all steps of the first.
    x = toy_inputs()
    x[:, :, 0] = np.clip(x[:, :, 0], -2000, 2000)
    x[0, 9, 0] = x[3, 4, 0] = x[3, 8, 0] = 2999
    files = toy_files(source=("*w++ * x[j]", "*w++ * (x[j] == 2999 ? 0 : x[j])"))
    x[:, :, 1] = np.clip(x[:, :, 1], -2000, 2000)
    found = verify_trace(toy_trace(x), files, usable("host"), precision="toy").first_difference
    assert found is not None
    assert (found.sequence, found.step, found.layer, found.tensor) == (3, 4, "a", "c")


def test_wrong_outputs_of_a_sequence_are_named_by_their_step(temporary: Path) -> None:
    files = toy_files(True, source=("y[1] = state", "y[1] = x[0] == 2999 ? 5 : state"))
    x = np.clip(toy_inputs(), -2000, 2000)
    x[1, 17, 0] = 2999
    files["toy.c"] = files["toy.c"].replace("toy_step(state, x, y);\n        x +=", "TWIN\n x +=")
    twin = "toy_step(state, x, y); if (x[0] != 2999) { y[1] = state->b_h[1]; }"
    files["toy.c"] = files["toy.c"].replace("TWIN", twin)
    files["toy.c"] = files["toy.c"].replace("x[0] == 2999 ? 5", "x[0] == 2998 ? 5")
    files["toy.c"] = files["toy.c"].replace("!= 2999) {", "== 2999) { y[1] = 5; } else {")
    result = verify_trace(toy_trace(x, True), files, usable("host"), precision="toy")
    message = r"layer b, y\[1\] at step 17 of sequence 1 \(by run\): got 5, expected"
    assert re.search(message, result.message), result.message


@pytest.mark.parametrize(
    "write", ["state->a_c[-1] = 0;", "((uint8_t *)(state + 1))[3] = 0;", "y[2] = 0;", "y[-1] = 0;"]
)
def test_a_write_beyond_state_or_outputs_is_found(write: str, temporary: Path) -> None:
    result = verify_toy(toy_files(source=("y[0] = state", write + " y[0] = state")), "cortex-m4")
    assert not result.equal
    assert re.search(r"the C wrote \d+ bytes outside of its state and outputs", result.message)


def test_a_failing_selftest_is_told(temporary: Path) -> None:
    result = verify_toy(toy_files(selftest=("return 0;", "return -3;")))
    assert (result.equal, result.selftest, result.first_difference) == (False, -3, None)
    assert "host: the self-test returned -3; expected 0; see " in result.message


@pytest.mark.parametrize("name", ["host", "cortex-m4", "riscv64"])
def test_the_kept_folder_repeats_the_run_elsewhere(name: str, temporary: Path) -> None:
    result = verify_toy(toy_files(source=("/ 16 %", "/ 8 %")), name)
    assert result.folder is not None
    moved = result.folder.rename(temporary / "moved")
    written = moved / "run0" / "output.bin"
    before = written.read_bytes()
    written.unlink()
    (moved / "verify.elf").unlink()
    subprocess.run([moved / "commands.sh"], check=True, capture_output=True)
    assert written.read_bytes() == before
    assert (moved / "run0" / "input.bin").is_file()
    assert (moved / "model" / "toy.c").is_file()


def test_a_named_folder_is_kept_in_any_case(tmp_path: Path) -> None:
    trace, keep = toy_trace(toy_inputs()), tmp_path / "deep" / "kept"
    result = verify_trace(trace, toy_files(), usable("host"), precision="toy", keep=keep)
    assert result.equal
    assert result.folder == keep
    assert (keep / "commands.sh").is_file()
    with pytest.raises(OutputError, match=r"kept: not an empty folder; name a new one"):
        verify_trace(trace, toy_files(), usable("host"), precision="toy", keep=keep)


def test_a_crash_keeps_the_folder_and_a_compile_error_does_not(temporary: Path) -> None:
    with pytest.raises(ToolError, match="error: "):
        verify_toy(toy_files(source=("y[0] =", "y[0] = ?")))
    assert list(temporary.iterdir()) == []
    with pytest.raises(ToolError, match="signal") as caught:
        verify_toy(toy_files(selftest=("return 0;", "*(volatile int *)16 = 1; return 0;")))
    (kept,) = temporary.iterdir()
    assert str(kept) in str(caught.value)


def test_sanitizers_end_the_program(temporary: Path) -> None:
    trace = toy_trace(toy_inputs())
    result = verify_trace(trace, toy_files(), usable("host"), precision="", flags=SANITIZERS)
    assert result.equal
    body = "int x[2] = {0}; volatile int i = 2; return x[i] & 0;"
    files = toy_files(selftest=("return 0;", body))
    with pytest.raises(ToolError, match="runtime error: index 2 out of bounds"):
        verify_trace(trace, files, usable("host"), precision="", flags=SANITIZERS, optimize="-O0")


@pytest.mark.parametrize("steps", [1, 2, 7, 60])
def test_run_takes_all_steps_in_pieces_of_all_lengths(steps: int) -> None:
    trace = toy_trace(toy_inputs(5, steps))
    runs = [record for block in records_of(trace, 3, PIECE) for record in block if record.by_run]
    for sequence in range(5):
        ends = [(r.start, r.start + r.steps) for r in runs if r.sequence == sequence]
        assert ends[0][0] == 0
        assert ends[-1][1] == steps
        assert all(end == start for (_, end), (start, _) in pairwise(ends))
    if steps == 60:
        assert {0, 1, 2, 3, 5, 8, 13, 16} <= {r.steps for r in runs}


def test_sequences_of_a_group_take_turns() -> None:
    first = records_of(toy_trace(toy_inputs(4, 2)), 3, PIECE)[0]
    assert [(r.operation, r.sequence, r.start) for r in first] == [
        *[(Operation.RESET, s, 0) for s in range(3)],
        *[(Operation.STEP, s, t) for t in range(2) for s in range(3)],
    ]


def test_whole_sequences_can_be_split_anywhere() -> None:
    """All in one would be more than an image on AVR takes along."""
    trace = replace(toy_trace(toy_inputs(200, 20)), whole=True)
    (*records,) = (record for (record,) in records_of(trace, 3, PIECE))
    assert [(r.steps, r.sequence) for r in records] == [
        (steps, sequence) for steps in range(PIECE + 1) for sequence in range(200)
    ]
    assert [r.instance for r in records] == [n % 3 for n in range(len(records))]
    avr = load_target("avr")
    sizes = [len(commands_of(trace, run)) for run in verification._runs(trace, 3, avr)]
    assert len(sizes) > 1
    assert max(sizes) <= 0x7FFE - 8


def test_input_is_split_where_the_image_takes_little(temporary: Path) -> None:
    trace, keep = toy_trace(toy_inputs(8)), temporary / "kept"
    target = usable("avr")
    target = replace(target, run=replace(target.run, input_bytes=1500))
    result = verify_trace(trace, toy_files(), target, precision="", keep=keep)
    assert result.equal
    assert {path.name for path in keep.glob("run*")} == {f"run{i}" for i in range(5)}
    records = [record for block in records_of(trace, 3, PIECE) for record in block]
    assert result.values == sum(len(expected_of(trace, record)) for record in records)


@pytest.mark.parametrize("more", range(0, 12, 4))
def test_what_ends_a_run_has_to_fit_too(more: int) -> None:
    """Two blocks of commands with no, too little and enough room for the 8 bytes behind them."""
    trace = toy_trace(toy_inputs(8))
    first, second = (len(commands_of(trace, b)) for b in records_of(trace, 3, PIECE)[:2])
    target = load_target("avr")
    target = replace(target, run=replace(target.run, input_bytes=first + second + more))
    runs = verification._runs(trace, 3, target)
    assert len(commands_of(trace, runs[0])) == (first + second if more >= 8 else first)


def test_an_image_has_room_for_as_much_input_as_its_target_says(temporary: Path) -> None:
    """One sequence of as many steps as fit, less than one more: 4 bytes and inputs each."""
    target = usable("avr")
    room = target.run.input_bytes
    assert room is not None
    inputs = toy_inputs(1, 2)
    steps = (room - 16) // (4 + 2 * inputs.shape[2])
    trace = toy_trace(toy_inputs(1, steps))
    assert verify_trace(trace, toy_files(), target, precision="").equal


def test_default_inputs_reach_both_ends() -> None:
    q = quantized("odd_sizes", "q15")
    x = default_inputs(q, np.random.default_rng(1), steps=9)
    assert x.shape == (6, 9, q.inputs)
    lo, hi = q.x.lo, q.x.hi
    assert [(s.min(), s.max()) for s in x[1:5]] == [(lo, lo), (hi, hi), (lo, hi), (0, 0)]
    assert x[3, 0, 0] != x[3, 1, 0]
    assert np.abs(x[5]).max() <= 2
    assert np.abs(x[0]).max() > hi // 2


def test_inputs_that_do_not_fit_are_told() -> None:
    q, host = quantized("odd_sizes", "q7"), load_target("host")
    for shape in ((2, 3, 4), (2, 0, 3), (0, 3, 3)):
        message = rf"inputs are {re.escape(str(shape))}; expected \({shape[0]}, steps, 3\)"
        with pytest.raises(ModelError, match=message):
            verify(q, None, host, np.zeros(shape, np.int64))
    with pytest.raises(RangeError, match=r"inputs span 0..128; expected -128..127"):
        verify(q, None, host, np.array([[[0, 0, 128]]]))
    with pytest.raises(ModelError, match=r"inputs are of type float64; expected integers"):
        verify(q, None, host, np.zeros((1, 1, 3)))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"nowhere: no such folder; expected one that"):
        verify(q, Path("nowhere"), host, np.zeros((1, 1, 3), np.int64))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("network", NETWORKS)
def test_generated_c_is_equal_on_the_host(network: str, precision: Precision) -> None:
    """With sanitizers in one precision, in turn; test_codegen_compiles.py has them in each."""
    q = quantized(network, precision)
    x = default_inputs(q, np.random.default_rng(2))
    result = verify(q, None, usable("host"), x, optimize="-O3")
    assert result.equal, result.message
    if list(NETWORKS).index(network) % 3 == PRECISIONS.index(precision):
        result = verify(q, None, usable("host"), x, optimize="-O1", flags=SANITIZERS)
        assert result.equal, result.message


@pytest.mark.parametrize(
    ("network", "first"),
    [("odd_sizes", 0), ("stacked_argmax", 1), ("sequence", 2), ("extreme_weights", 0)],
)
@pytest.mark.parametrize("name", [name for name in RUNNABLE if name not in ("host", "arm")])
def test_generated_c_is_equal_on_every_target(name: str, network: str, first: int) -> None:
    """At each level and in each precision, in turn; test_kernels.py has them all at -O2 but for
    the one target of 64 bits."""
    target = usable(name)
    levels = ("-Os", "-O3", "-O2") if name == "riscv64" else ("-Os", "-O3")
    precisions = PRECISIONS[first:] + PRECISIONS[:first]
    for precision, optimize in zip(precisions, levels, strict=False):
        q = quantized(network, precision)
        x = default_inputs(q, np.random.default_rng(3), steps=12)
        result = verify(q, None, target, x, optimize=optimize)
        assert result.equal, result.message


@pytest.mark.parametrize("optimize", ["-Os", "-O2", "-O3"])
def test_what_avr_gcc_could_not_compile_is_equal(optimize: str) -> None:
    q = quantized("one_class", "w8a16")
    x = default_inputs(q, np.random.default_rng(3), steps=12)
    result = verify(q, None, usable("avr"), x, optimize=optimize)
    assert result.equal, result.message


def test_a_flipped_rounding_in_generated_c_is_found(temporary: Path) -> None:
    q = quantized("odd_sizes", "w8a16")
    files = dict(model_files(q, None, load_target("host")))
    floor, to_zero = "~(~v >> s)", "-(-v >> s)"
    assert files["model.c"].count(floor) == 1
    files["model.c"] = files["model.c"].replace(floor, to_zero)
    result = verify(q, files, usable("host"), default_inputs(q, _rng()))
    message = r"host: layer \w+, [hcy]\[\d+\] at step \d+ of sequence \d+: got -?\d+, expected"
    assert re.match(message, result.message), result.message


def _rng() -> np.random.Generator:
    return np.random.default_rng(4)


@pytest.mark.parametrize("name", ["model", "verify", "io", "start", "memory", "measure"])
def test_a_model_may_be_called_like_a_file_of_the_harness(name: str) -> None:
    from lstmgen.codegen import generate
    from lstmgen.selftest import make_selftest

    q, target = quantized("one_unit", "q7"), usable("riscv32")
    files = generate(q, name=name, target=target, selftest=make_selftest(q))
    assert verify(q, files, target, default_inputs(q, _rng(), steps=3)).equal


def test_clang_compiles_an_equal_image() -> None:
    need_program("clang")
    host = load_target("host")
    clang = replace(host, compile=replace(host.compile, cc="clang", packages=("clang",)))
    q = quantized("stacked_argmax", "q7")
    assert verify(q, None, clang, default_inputs(q, _rng()), optimize="-O3").equal
