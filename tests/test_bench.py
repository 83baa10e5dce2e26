"""Counts, sizes and stack: against code whose cost is known, and twice the same."""

import platform
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lstmgen.bench import WHOLE_NOTE, BenchResult, bench, bench_files
from lstmgen.errors import ToolError
from lstmgen.quantizer import quantize
from lstmgen.target import Target, load_target
from lstmgen.toolchain.profile import Profile
from lstmgen.verification import default_inputs, verify

from builders import quantized
from tools import RUNNABLE, need_program, usable
from toy import MACS, toy_files, toy_inputs
from variants import VARIANTS, inputs_of

# A step of one set-up, `rounds` of a loop, and a return; beside it what that costs.
ARM_LOOP = "ldr r3, =%d\n1:\n subs r3, #1\n bne 1b\n bx lr\n .ltorg"
RISCV_LOOP = "lui a3, %%hi(%d)\n addi a3, a3, %%lo(%d)\n1:\n addi a3, a3, -1\n bnez a3, 1b\n ret"


def toy_bench(files: dict[str, str], target: Target, steps: int = 6) -> BenchResult:
    x = toy_inputs(1, steps)[0]
    return bench_files(files, target, x, input_bytes=2, precision="toy", macs_per_step=MACS)


def with_step(body: str) -> dict[str, str]:
    """Return the toy with another step function, in assembly."""
    files = toy_files()
    start = files["toy.c"].index("void toy_step(")
    end = files["toy.c"].index("void toy_run(")
    naked = "__attribute__((naked)) " if "__asm__" in body else ""
    head = "void toy_step(toy_state *state, const toy_input *x, toy_output *y)"
    text = f"{naked}{head}\n{{\n    (void)state, (void)x, (void)y;\n{body}\n}}\n\n"
    files["toy.c"] = files["toy.c"][:start] + text + files["toy.c"][end:]
    return files


def assembly(text: str) -> str:
    lines = "\\n".join(line.strip() for line in (".syntax unified\n" + text).splitlines())
    return f'__asm__("{lines}");'


CORTEX = [
    name
    for name in RUNNABLE
    if load_target(name).run.runner == "qemu-arm" and load_target(name).name != "arm"
]
"""Without the one that is another name of the Cortex-M4."""


# The larger loops pass the 24 bits of SysTick once and several times.
@pytest.mark.parametrize("rounds", [1, 200, 300_000, 1_500_000])
@pytest.mark.parametrize("name", CORTEX)
def test_cortex_m_counts_known_loops(
    name: str, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rounds > 200:
        # Counted it is in any case; a log of millions of instructions takes seconds.
        monkeypatch.setattr("lstmgen.bench.profile_step", lambda *_, **__: Profile(None, None))
    result = toy_bench(with_step(assembly(ARM_LOOP % rounds)), usable(name))
    assert result.instructions_per_step == 1 + 2 * rounds + 1
    assert result.unit == "instructions"


@pytest.mark.parametrize("rounds", [2048, 300_000])
@pytest.mark.parametrize("name", ["riscv32", "riscv64"])
def test_riscv_counts_known_loops(name: str, rounds: int) -> None:
    text = RISCV_LOOP % (rounds, rounds)
    body = assembly(text).replace(".syntax unified", ".option norelax")
    assert toy_bench(with_step(body), usable(name)).instructions_per_step == 2 + 2 * rounds + 1


# The largest passes the 16 bits of the timer twice.
@pytest.mark.parametrize("outer", [1, 50, 250])
def test_avr_counts_known_cycles(outer: int) -> None:
    # inner: 256 rounds of 3 cycles, less 1; per outer round 1 more to load, 3 to count.
    text = f"""ldi r25, {outer}
        1: ldi r24, 0
        2: dec r24
        brne 2b
        dec r25
        brne 1b
        ret"""
    body = assembly(text).replace(".syntax unified\\n", "")
    result = toy_bench(with_step(body), usable("avr"))
    assert result.instructions_per_step == 1 + outer * (1 + 3 * 256 - 1 + 3) - 1 + 5
    assert result.unit == "cycles"


def test_the_host_counts_a_known_loop() -> None:
    need_program("valgrind")
    if platform.machine() != "x86_64":
        pytest.skip("the loop is written for x86-64")
    body = assembly("movl $200, %ecx\n1:\n decl %ecx\n jnz 1b\n ret")
    body = body.replace(".syntax unified\\n", "")
    assert toy_bench(with_step(body), usable("host")).instructions_per_step == 1 + 400 + 1


@pytest.mark.parametrize("name", CORTEX)
def test_cortex_m_measures_a_known_stack(name: str) -> None:
    text = "push {r4, lr}\n sub sp, #200\n str r0, [sp]\n add sp, #200\n pop {r4, pc}"
    stack = toy_bench(with_step(assembly(text)), usable(name)).stack_bytes
    # `run` calls it and saves registers of its own.
    assert stack is not None
    assert 208 < stack <= 208 + 40


def test_a_step_deeper_than_run_is_the_worst() -> None:
    text = "push {r4, lr}\n sub sp, #200\n str r0, [sp]\n add sp, #200\n pop {r4, pc}"
    files = with_step(assembly(text))
    files["toy.c"] = files["toy.c"].replace("toy_step(state, x, y);", "y[0] = x[0];")
    assert toy_bench(files, usable("cortex-m3")).stack_bytes == 208


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_large_local_shows_in_the_stack(name: str) -> None:
    body = "volatile char hole[%d]; hole[0] = (char)x[0]; y[0] = hole[0]; y[1] = 0;"
    target = usable(name)
    small, large = (toy_bench(with_step(body % n), target).stack_bytes for n in (100, 400))
    assert small is not None
    assert large is not None
    assert 100 <= small < 250
    # Beside it, rounding to the alignment, and registers saved for larger offsets.
    assert 290 <= large - small <= 350


@pytest.mark.parametrize("name", RUNNABLE)
def test_two_measurements_are_equal(name: str) -> None:
    q, target = quantized("stacked_argmax", "w8a16"), usable(name)
    first = bench(q, target)
    assert first == bench(q, target)
    assert first.macs_per_step == q.macs_per_step
    if first.instructions_per_step is not None:
        # No core here multiplies more than 16 times in an instruction.
        assert first.instructions_per_step > q.macs_per_step / 16
    assert min(first.code_bytes, first.table_bytes, first.state_bytes) > 50
    assert first.weights_bytes >= sum(layer.wx.size + layer.wh.size for layer in q.lstms)


@pytest.mark.parametrize("name", ["cortex-m0", "riscv32", "avr", "host"])
def test_networks_without_a_step_are_measured_by_a_sequence_of_one(name: str) -> None:
    network = VARIANTS["bidirectional"]()
    q = quantize(network, "q7", inputs_of(network), rounding="nearest")
    result = bench(q, usable(name))
    assert result.notes[0] == WHOLE_NOTE
    assert result.instructions_per_step is not None
    assert result.instructions_per_step > q.macs_per_step / 16


def test_the_json_has_the_documented_keys() -> None:
    result = bench(quantized("one_unit", "q7"), usable("cortex-m0")).to_json()
    assert list(result) == [
        "target", "precision", "macs_per_step", "instructions_per_step", "unit", "parts",
        "estimated_cycles", "code_bytes", "table_bytes", "weights_bytes", "state_bytes",
        "stack_bytes", "notes",
    ]  # fmt: skip
    assert (result["target"], result["precision"], result["notes"]) == ("cortex-m0", "q7", [])
    assert list(result["parts"]) == ["matrix_vector", "elementwise", "rest"]
    assert list(result["estimated_cycles"]) == ["low", "high"]


def test_arc_is_weighed_and_says_that_it_is_not_run() -> None:
    result = bench(quantized("one_unit", "q7"), usable("arc"))
    assert (result.instructions_per_step, result.stack_bytes) == (None, None)
    assert result.notes == ("compiled only: target arc has no runner",)
    assert result.code_bytes > 100


def test_without_valgrind_the_host_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which
    monkeypatch.setattr(
        "lstmgen.toolchain.callgrind.shutil.which",
        lambda name: None if "valg" in name else real(name),
    )
    result = toy_bench(toy_files(), usable("host"))
    assert result.instructions_per_step is None
    assert result.notes == ("instructions are not counted: valgrind is not installed",)
    assert result.stack_bytes is not None


def test_a_wrong_clock_is_noticed() -> None:
    target = usable("cortex-m4")
    target = replace(target, run=replace(target.run, clock_hz=26_000_000))
    with pytest.raises(ToolError, match=r"the counter of cortex-m4 is wrong: .*check run.clock_hz"):
        toy_bench(toy_files(), target)


def test_a_users_board_needs_a_file_and_no_python(tmp_path: Path) -> None:
    usable("cortex-m3")
    path = tmp_path / "lm3s.toml"
    path.write_text(
        """
description = "Stellaris LM3S6965 evaluation board: 256 KiB flash, 64 KiB RAM"
extends = "cortex-m3"
[compile.memory]
flash = { length = 0x40000 }
ram = { length = 0x10000 }
[run]
machine = "lm3s6965evb"
clock_hz = 12_500_000
""",
        encoding="utf-8",
    )
    board, m3 = load_target(path), load_target("cortex-m3")
    q = quantized("odd_sizes", "q15")
    x = default_inputs(q, np.random.default_rng(5))
    result = verify(q, None, board, x)
    assert result.equal, result.message
    assert result.target == "lm3s"
    own, known = bench(q, board), bench(q, m3)
    assert replace(own, target="cortex-m3") == known


def test_optimization_reaches_the_model() -> None:
    q, target = quantized("odd_sizes", "q15"), usable("riscv64")
    small, fast = (bench(q, target, optimize=level) for level in ("-Os", "-O2"))
    assert small.code_bytes < fast.code_bytes
    assert small.weights_bytes == fast.weights_bytes
