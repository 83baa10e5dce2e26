"""The estimate of cycles on sequences written by hand, and the exact cycles of AVR."""

import pytest

from lstmgen.toolchain.cycles import TIMINGS, Cycles, estimated_cycles
from lstmgen.toolchain.cycles_avr import avr_cycles
from lstmgen.toolchain.disassemble import Instruction, read_disassembly


def sequence(text: str) -> list[Instruction]:
    """Return instructions, one a line, that follow each other; `>` marks a jump behind one."""
    found, address = [], 0
    for line in text.strip().splitlines():
        mnemonic, _, operands = line.strip().removesuffix(">").strip().partition(" ")
        found.append(Instruction(address, 4, mnemonic, operands.strip()))
        address += 8 if line.endswith(">") else 4
    return found


def cycles(core: str, text: str) -> tuple[int, int]:
    """Return the estimate, without what the return costs that the estimate ends in."""
    estimate = estimated_cycles(sequence(text + "\nbx lr"), core)
    assert estimate is not None
    low, high = TIMINGS[core]
    return estimate.low - 1 - low.refill, estimate.high - 1 - high.refill


@pytest.mark.parametrize(
    ("text", "m4"),
    [
        ("add r0, r1, r2", 1),
        ("smlad r8, r4, r2, r8\n smlald r8, r9, r4, r2\n mul r1, r2, r3", 3),
        ("mla r1, r2, r3, r4", 1),
        ("smlal r8, r9, r4, r2", 1),
        ("ldr r0, [r1, #4]", 2),
        ("ldrsh.w r0, [r1], #2\n add r0, r1, r1", 3),
        # Loads that follow each other overlap, unless the first makes the second's address.
        ("ldr r0, [r1]\n ldr r2, [r3]\n ldrb r4, [r5]", 4),
        ("ldr r0, [r1]\n ldr r2, [r0]", 4),
        ("ldr r0, [r1]\n ldr r2, [r3, r0, lsl #2]", 4),
        ("ldr r0, [r1]\n nop\n ldr r2, [r3]", 5),
        ("str r0, [r1]\n str r0, [r1, #4]", 2),
        ("strh r0, [r1], #2", 1),
        ("ldr r0, [r1]\n str r0, [r2]", 3),
        # A store to an address of two registers: 2 by itself, 1 behind a load.
        ("str r0, [ip, lr, lsl #2]", 2),
        ("ldr r0, [r1]\n str r0, [ip, lr, lsl #2]", 3),
        ("ldr r0, [r1]\n str r2, [r3, r0]", 4),
        ("str r0, [r1]\n ldr r0, [r2]", 3),
        ("ldrd r2, r3, [sp, #16]", 3),
        ("ldr r0, [r1]\n ldrd r2, r3, [sp, #16]", 5),
        ("strd r5, r6, [r4], #8", 3),
        ("ldmia.w r0!, {r4, r5, r6, r7}", 5),
        ("ldmia r0!, {r4-r7}\n ldmia r1!, {r2}", 7),
        ("push {r4, r5, lr}\n pop {r4, r5}", 7),
        ("ldrne r0, [r1]", 2),
        ("blt.w 8\n bls.n 8\n ble.n 8\n bl 8", 4),
        ("vmov r0, s0", 1),
    ],
)
def test_cortex_m4(text: str, m4: int) -> None:
    assert cycles("cortex-m4", text) == (m4, m4)


@pytest.mark.parametrize(
    ("core", "text", "expected"),
    [
        # A taken branch refills the pipeline, of three stages.
        ("cortex-m4", "subs r0, #1\n bne.n 0 >", (1 + 2, 1 + 4)),
        ("cortex-m4", "bl 100 >", (2, 4)),
        ("cortex-m4", "pop {r4, pc} >", (3 + 1, 3 + 3)),
        ("cortex-m4", "tbb [pc, r0] >", (2 + 1, 2 + 3)),
        ("cortex-m4", "udiv r0, r1, r2", (2, 12)),
        ("cortex-m4", "ite eq\n moveq r0, #1\n movne r0, #2", (2, 3)),
        ("cortex-m3", "mla r1, r2, r3, r4\n mul r1, r2, r3", (3, 3)),
        ("cortex-m3", "smull r1, r2, r3, r4", (3, 5)),
        ("cortex-m3", "smlal r1, r2, r3, r4", (4, 7)),
        ("cortex-m3", "ldr r0, [r1]\n ldr r2, [r3]", (3, 3)),
        ("cortex-m0", "muls r0, r1, r0\n adds r0, r0, r1", (2, 2)),
        ("cortex-m0", "ldr r0, [r1]\n ldr r2, [r3]\n str r2, [r3]", (6, 6)),
        ("cortex-m0", "ldmia r0!, {r4, r5}", (3, 3)),
        ("cortex-m0", "beq.n 8", (1, 1)),
        ("cortex-m0", "beq.n 8 >", (3, 3)),
        ("cortex-m0", "ble.n 8 >", (3, 3)),
        ("cortex-m0", "bl 100 >", (4, 4)),
        ("cortex-m0", "pop {r4, r5, pc} >", (4 + 3, 4 + 3)),
    ],
)
def test_other_cases(core: str, text: str, expected: tuple[int, int]) -> None:
    assert cycles(core, text) == expected


def test_the_end_returns() -> None:
    assert estimated_cycles(sequence("bx lr"), "cortex-m4") == Cycles(1 + 1, 1 + 3)
    assert estimated_cycles(sequence("pop {r4, pc}"), "cortex-m0") == Cycles(6, 6)


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m33", "cortex-m55", "rv32imc"])
def test_other_cores_have_no_estimate(core: str) -> None:
    assert estimated_cycles(sequence("bx lr"), core) is None


def test_avr_cycles() -> None:
    code = sequence(
        "ldi r24, 5\n lpm r25, Z+\n mul r24, r25\n dec r24\n brne .-8 >\n brne .-8\n ret"
    )
    assert avr_cycles(code, ()) == [1, 3, 2, 1, 2, 1, 5]


def test_avr_skips_words() -> None:
    code = sequence("sbrc r0, 7\n call 0x100\n rjmp .+8 >\n push r1")
    assert avr_cycles(code, {1}) == [1, 2, 2, 2]


def test_a_disassembly_is_read() -> None:
    text = """
image.elf:     file format elf32-littlearm

00000040 <f>:
      40:\tb538      \tpush\t{r3, r4, r5, lr}
      42:\tf100 0580 \tadd.w\tr5, r0, #128\t@ 0x80
      46:\tbf00      \tnop
      48:\t00000040 \t.word\t0x00000040
"""
    code = read_disassembly(text)
    assert list(code) == [0x40, 0x42, 0x46, 0x48]
    assert code[0x40] == Instruction(0x40, 2, "push", "{r3, r4, r5, lr}")
    assert code[0x42] == Instruction(0x42, 4, "add.w", "r5, r0, #128")
    assert (code[0x46].mnemonic, code[0x46].operands, code[0x48].size) == ("nop", "", 4)
