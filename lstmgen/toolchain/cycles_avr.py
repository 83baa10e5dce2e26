"""The cycles of AVR instructions: exact, by the data sheet of processors with 22 address bits."""

from collections.abc import Collection, Sequence
from itertools import zip_longest

from .disassemble import Instruction

_TWO = "adiw sbiw mul muls mulsu fmul fmuls fmulsu ld ldd st std lds sts push pop rjmp ijmp sbi cbi"
_CYCLES = {
    **dict.fromkeys(_TWO.split(), 2),
    **dict.fromkeys(("lpm", "elpm", "jmp"), 3),
    **dict.fromkeys(("rcall", "icall", "eicall"), 4),
    **dict.fromkeys(("call", "ret", "reti"), 5),
}
"""By mnemonic, 1 for all others."""


def avr_cycles(executed: Sequence[Instruction], skipped: Collection[int]) -> list[int]:
    """Return the cycles of each of the instructions, in the order of execution.

    skipped: positions of those that were only skipped; each word of them takes a cycle.
    """
    cycles = []
    for at, (one, following) in enumerate(zip_longest(executed, executed[1:])):
        if at in skipped:
            cycles.append(one.size // 2)
            continue
        jumps = following is not None and following.address != one.address + one.size
        taken = one.mnemonic.startswith("br") and jumps
        cycles.append(_CYCLES.get(one.mnemonic, 1) + taken)
    return cycles
