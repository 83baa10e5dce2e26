"""What a step is spent on: code whose parts are known by construction, and generated models."""

import platform
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lstmgen.bench import BenchResult, bench, bench_files
from lstmgen.target import Target
from lstmgen.toolchain import build_image, read_elf
from lstmgen.toolchain.callgrind import Call, Costs, read_costs
from lstmgen.toolchain.executed import one_at_a_time, one_call
from lstmgen.toolchain.parts import Parts, parts_of_costs, parts_of_lines, parts_of_sequence
from lstmgen.toolchain.profile import LINE_TABLE, profile_step
from lstmgen.verification import model_files

from builders import of_shape, quantized
from tools import RUNNABLE, need_program, usable
from toy import MACS, toy_files, toy_inputs

# A step in three parts, and a function without one that two of them call: of its instructions
# (AVR: cycles) each part has its own. Beside it what the parts cost.
ARM = """
    .syntax unified
    .thumb
    .section .text.toy_step, "ax", %progbits
    .global toy_step
    .type toy_step, %function
    .thumb_func
toy_step:
    push    {r4, lr}
    bl      toy_help
    @ Matrix-vector: a loop.
    movs    r3, #100
1:  subs    r3, #1
    bne     1b
    @ Elementwise: a call.
    nop
    bl      toy_help
    nop
    @ The rest: back.
    pop     {r4, pc}
    .size toy_step, . - toy_step

    .section .text.toy_help, "ax", %progbits
    .type toy_help, %function
    .thumb_func
toy_help:
    nop
    nop
    bx      lr
    .size toy_help, . - toy_help
"""
ARM_PARTS = Parts(1 + 200, 1 + 1 + 3 + 1, 2 + 3 + 1)

RISCV = """
    .section .text.toy_step, "ax", @progbits
    .globl toy_step
    .type toy_step, @function
toy_step:
    mv      t1, ra
    jal     toy_help
    # Matrix-vector: a loop.
    li      t0, 100
1:  addi    t0, t0, -1
    bnez    t0, 1b
    # Elementwise: a call.
    jal     toy_help
    # The rest: back.
    jr      t1
    .size toy_step, . - toy_step

    .section .text.toy_help, "ax", @progbits
    .type toy_help, @function
toy_help:
    nop
    nop
    ret
    .size toy_help, . - toy_help
"""
RISCV_PARTS = Parts(1 + 200, 1 + 3, 2 + 3 + 1)

AVR = """
    .section .text.toy_step, "ax", @progbits
    .global toy_step
    .type toy_step, @function
toy_step:
    call    toy_help
    ; Matrix-vector: a loop.
    ldi     r24, 100
1:  dec     r24
    brne    1b
    ; Elementwise: a skipped word and two, a product, a call.
    sbrc    r1, 0
    rjmp    1b
    sbrc    r1, 0
    call    toy_help
    mul     r24, r24
    rcall   toy_help
    ; The rest: back.
    ret
    .size toy_step, . - toy_step

    .section .text.toy_help, "ax", @progbits
    .type toy_help, @function
toy_help:
    lpm     r24, Z+
    ret
    .size toy_help, . - toy_help
"""
AVR_PARTS = Parts(1 + 100 * 3 - 1, 2 + 3 + 2 + 4 + 8, 5 + 8 + 5)

X86 = """
    .section .note.GNU-stack, "", @progbits
    .section .text.toy_step, "ax", @progbits
    .globl toy_step
    .type toy_step, @function
toy_step:
    call    toy_help
    /* Matrix-vector: a loop. */
    movl    $100, %ecx
1:  decl    %ecx
    jnz     1b
    /* Elementwise: two calls. */
    call    toy_help
    call    toy_help
    /* The rest: back. */
    ret
    .size toy_step, . - toy_step

    .section .text.toy_help, "ax", @progbits
    .type toy_help, @function
toy_help:
    nop
    ret
    .size toy_help, . - toy_help
"""
# callgrind tells no sequence: all of a function goes where most of it is called from.
X86_PARTS = Parts(1 + 200, 2 + 3 * 2, 1 + 1)


def toy_with(assembly: str) -> dict[str, str]:
    """Return the toy with another step function."""
    files = toy_files()
    start, end = (files["toy.c"].index(f"void toy_{name}(") for name in ("step", "run"))
    files["toy.c"] = files["toy.c"][:start] + files["toy.c"][end:]
    files["toy_kernels.S"] = assembly
    return files


def toy_profile(target: Target, assembly: str | None) -> BenchResult:
    files = toy_files() if assembly is None else toy_with(assembly)
    x = toy_inputs(1, 6)[0]
    return bench_files(files, target, x, input_bytes=2, precision="toy", macs_per_step=MACS)


@pytest.mark.parametrize(
    ("name", "assembly", "parts"),
    [
        ("cortex-m0", ARM, ARM_PARTS),
        ("cortex-m4", ARM, ARM_PARTS),
        ("cortex-m55", ARM, ARM_PARTS),
        ("riscv32", RISCV, RISCV_PARTS),
        ("riscv64", RISCV, RISCV_PARTS),
        ("avr", AVR, AVR_PARTS),
        ("host", X86, X86_PARTS),
    ],
)
def test_parts_of_a_known_step(name: str, assembly: str, parts: Parts) -> None:
    target = usable(name)
    if name == "host":
        need_program("valgrind")
        if platform.machine() != "x86_64":
            pytest.skip("the step is written for x86-64")
    result = toy_profile(target, assembly)
    assert result.parts == parts
    assert result.instructions_per_step == parts.total
    assert result.notes == ()


def test_cycles_of_a_known_step() -> None:
    result = toy_profile(usable("cortex-m0"), ARM)
    assert result.estimated_cycles is not None
    # push 3, BL 4 twice, twice 1 + 1 + 3, loop 1 + 99 * 4 + 2, 2, pop 3 + 3
    cycles = 3 + 2 * 4 + 2 * 5 + 1 + 99 * 4 + 2 + 2 + 6
    assert (result.estimated_cycles.low, result.estimated_cycles.high) == (cycles, cycles)


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize("network", ["hidden_out", "stacked_argmax"])
def test_the_parts_make_the_whole(name: str, network: str) -> None:
    if name == "host":
        need_program("valgrind")
    result = bench(quantized(network, "q7"), usable(name))
    assert result.notes == ()
    assert result.parts is not None
    assert result.instructions_per_step is not None
    # Those of one step, where the count depends on the data.
    assert abs(result.parts.total - result.instructions_per_step) <= 20
    assert min(result.parts.matrix_vector, result.parts.elementwise, result.parts.rest) > 0


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_profile_of_another_length_is_none(wrong: int, tmp_path: Path) -> None:
    target, files = usable("cortex-m4"), toy_with(ARM)
    image = build_image(files, "bench", target, tmp_path, flags=(LINE_TABLE,))
    x = toy_inputs(1, 3)[0]
    right = profile_step(image, files, x, 2, ARM_PARTS.total, tmp_path / "run")
    assert right.parts == ARM_PARTS
    other = profile_step(image, files, x, 2, ARM_PARTS.total + wrong, tmp_path / "run")
    assert (other.parts, other.estimated_cycles) == (None, None)
    assert str(ARM_PARTS.total + wrong) in other.notes[0]


def test_more_inputs_cost_matrix_products() -> None:
    target = usable("cortex-m4")
    few, more = (bench(of_shape(inputs, 16, "q15"), target).parts for inputs in (4, 12))
    assert few is not None
    assert more is not None
    assert more.matrix_vector - few.matrix_vector >= 16 * 4 * 8 // 2
    # But for the end of the loop over units, which may be unrolled in another way.
    assert abs(more.elementwise - few.elementwise) <= 16


@pytest.mark.parametrize("name", ["cortex-m0", "cortex-m4", "riscv32", "avr", "host"])
def test_the_line_table_changes_no_code(name: str, tmp_path: Path) -> None:
    target = usable(name)
    files = model_files(quantized("stacked_argmax", "w8a16"), None, target)
    codes: list[dict[tuple[str, str], bytes]] = []
    for flags in ((), (LINE_TABLE,)):
        folder = tmp_path / f"flags{len(flags)}"
        build_image(files, "bench", target, folder, flags=flags, defines={"HARNESS_INPUT_BYTES": 9})
        codes.append({})
        for path in sorted((folder / "build").rglob("*.o")):
            content = path.read_bytes()
            for section in read_elf(path).sections:
                if section.name.startswith(".text"):
                    code = content[section.offset : section.offset + section.size]
                    codes[-1][path.name, section.name] = code
    assert codes[0] == codes[1]
    assert sum(map(len, codes[0].values())) > 1000


def test_without_comments_the_parts_are_not_known() -> None:
    result = toy_profile(usable("cortex-m4"), None)
    assert result.parts is None
    assert result.estimated_cycles is not None
    assert result.notes == (
        "the parts of a step are not known: no comments in this C tell them apart",
    )


def test_without_binutils_the_parts_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    target = usable("cortex-m4")
    real = shutil.which
    monkeypatch.setattr(
        "lstmgen.toolchain.tools.shutil.which",
        lambda name: None if name.endswith("addr2line") else real(name),
    )
    result = toy_profile(target, ARM)
    assert (result.parts, result.estimated_cycles) == (None, None)
    assert result.notes == (
        "the parts of a step are not known: addr2line, which belongs to arm-none-eabi-gcc, "
        "is not installed",
    )
    assert result.instructions_per_step == ARM_PARTS.total


def test_an_avr_that_qemu_does_not_have() -> None:
    target = usable("avr")
    other = replace(
        target,
        compile=replace(target.compile, flags=("-mmcu=atmega1280",)),
        run=replace(target.run, machine="atmega1280"),
    )
    result = toy_profile(other, AVR)
    assert result.parts is None
    assert result.notes == (
        "the parts of a step are not known: QEMU has no board with an atmega1280",
    )


def test_comments_name_the_parts_of_lines() -> None:
    text = """int f(int x)
{
    /* Matrix-vector: sums. */
    x += 1;
    /*
     * Elementwise: gates, "The rest: " too.
     */
    x += 2; /* no The rest: here */
}

static int g(void)
{
"""
    m, e = "matrix_vector", "elementwise"
    assert parts_of_lines(text) == (None, None, m, m, m, e, e, e, None, None, None, None)
    assembly = "f:\n @ Matrix-vector: a\n nop\n # Elementwise: b\n ; The rest: c\n .size f, 2\n nop"
    assert parts_of_lines(assembly) == (None, m, m, e, "rest", None, None)


def test_functions_without_parts_belong_to_their_callers() -> None:
    # f is at 0 and calls g at 100, from both parts and before them; g calls h.
    own = {4: "matrix_vector", 8: "elementwise"}
    addresses = [0, 100, 102, 4, 100, 200, 102, 4, 8, 100, 102, 8, 12]
    rest, m, e = "rest", "matrix_vector", "elementwise"
    expected = [rest, rest, rest, m, m, m, m, m, e, e, e, e, rest]
    assert parts_of_sequence(addresses, own, [200, 0, 100]) == expected


def test_a_call_is_cut_out_of_the_log() -> None:
    log = [(10, 0), (20, 0), (90, 0), (92, 1), (14, 0), (24, 0), (90, 0)]
    assert one_call(iter(log), 90, 0, 5) == [(90, 0), (92, 1), (14, 0)]
    assert one_call(iter(log), 90, 0, 3) == [(90, 0), (92, 1), (14, 0)]
    assert one_call(iter(log), 90, 0, 2) is None
    assert one_call(iter(log), 91, 0, 5) is None
    assert one_call(iter(log[:5]), 90, 0, 5) is None


@pytest.mark.parametrize("end", [20, 14])
def test_the_log_of_an_image_that_has_ended_is_left(end: int) -> None:
    log = iter([(10, 0), (20, 0), (90, 0), (14, 0), *[(15, 0)] * 9, (24, 0)])
    assert one_call(log, 90, end, 50) is None
    assert (15, 0) in log


def test_the_option_of_newer_qemus() -> None:
    assert one_at_a_time("QEMU emulator version 7.2.22 (Debian)") == ["-singlestep"]
    assert one_at_a_time("QEMU emulator version 8.0.4") == ["-singlestep"]
    for version in ("8.1.0", "10.0.2"):
        assert one_at_a_time(f"QEMU emulator version {version}")[0] == "-accel"


CALLGRIND = """
version: 1
positions: instr line
events: Ir
ob=/image/bench.elf
fl=model.c
fn=model_step
0x10 3 5
0x14 4 7
cob=/lib/libc.so
cfi=string.c
cfn=memcpy
calls=2 0x9000 1
0x14 4 30
fi=other.h
0x14 9 1
cfn=helper
calls=1 0x40 9
0x18 5 2
fn=helper
0x40 9 2
ob=/lib/libc.so
fl=string.c
fn=memcpy
0x9000 1 30
"""


def test_callgrinds_output_is_read() -> None:
    step, helper = ("/image/bench.elf", "model_step"), ("/image/bench.elf", "helper")
    memcpy = ("/lib/libc.so", "memcpy")
    costs = read_costs(CALLGRIND, 45)
    assert costs == Costs(
        45,
        {step: {0x10: 5, 0x14: 8}, helper: {0x40: 2}, memcpy: {0x9000: 30}},
        (Call(step, 0x14, memcpy, 30), Call(step, 0x18, helper, 2)),
    )
    own = {0x14: "matrix_vector", 0x18: "elementwise", 0x9000: "elementwise"}
    assert parts_of_costs(costs, own, "/image/bench.elf") == Parts(38, 2, 5)


def test_a_circle_of_calls_ends() -> None:
    f, g = ("a", "f"), ("a", "g")
    costs = Costs(3, {f: {1: 1}, g: {2: 2}}, (Call(f, 1, g, 2), Call(g, 2, f, 3)))
    assert parts_of_costs(costs, {}, "a") == Parts(0, 0, 3)
