"""An ESTIMATE of the cycles that a sequence of Arm instructions takes on small Cortex-M cores.

By the instruction timings in Arm's technical reference manuals of these cores, with memory that
never makes them wait. It was compared with no chip; docs/targets.md says what it leaves out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from types import MappingProxyType

from .disassemble import Instruction


@dataclass(frozen=True)
class Cycles:
    """An estimate: what the instructions take at least and at most, in cycles."""

    low: int
    high: int


@dataclass(frozen=True)
class Timing:
    """The cycles of a core's instructions, 1 where nothing is said.

    overlaps: a load hides one cycle behind the load before it, unless that made its address,
    and stores wait for nothing. refill: lost by a jump, and load_refill by one that loads its
    target. condition: of IT, which may execute beside another one. others: by mnemonic.
    """

    overlaps: bool
    refill: int
    load_refill: int
    condition: int
    others: Mapping[str, int]


_M0 = Timing(False, 2, 3, 1, {"bl": 2})
_M4_LOW = Timing(True, 1, 1, 0, {"sdiv": 2, "udiv": 2, "tbb": 2, "tbh": 2})
_M4_HIGH = Timing(True, 3, 3, 1, {"sdiv": 12, "udiv": 12, "tbb": 2, "tbh": 2})
_LONG_LOW = {"mla": 2, "mls": 2, "umull": 3, "smull": 3, "umlal": 4, "smlal": 4}
_LONG_HIGH = {"mla": 2, "mls": 2, "umull": 5, "smull": 5, "umlal": 7, "smlal": 7}

TIMINGS: Mapping[str, tuple[Timing, Timing]] = MappingProxyType(
    {
        "cortex-m0": (_M0, _M0),
        "cortex-m3": (
            replace(_M4_LOW, others={**_M4_LOW.others, **_LONG_LOW}),
            replace(_M4_HIGH, others={**_M4_HIGH.others, **_LONG_HIGH}),
        ),
        "cortex-m4": (_M4_LOW, _M4_HIGH),
    }
)
"""The least and the most of the cores with an estimate, by the `core` of a target."""

_LOADS = ("ldr", "ldrb", "ldrh", "ldrsb", "ldrsh")
_STORES = ("str", "strb", "strh")
_MULTIPLE = ("ldm", "ldmia", "ldmdb", "pop", "stm", "stmia", "stmdb", "push")

_NAMED = re.compile(
    r"(ldr(?:s?[bh]|d)?|str[bhd]?|(?:ldm|stm)(?:ia|db)?|push|pop|ml[as]|[su]m(?:ul|la)l|[su]div"
    r"|tb[bh]|bl|it[te]{0,3})(?:eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?(?:\.[nw])?"
)
"""The mnemonics that do not take 1 cycle, then a condition and the width."""


@dataclass(frozen=True)
class _Cost:
    """Of an instruction by itself: cycles, and what it does to those of its neighbours.

    loads: the register that a single load fills, else empty. needs: the registers of the
    address, if the instruction can save a cycle behind such a load. jumps: cycles where
    another instruction than the next one follows.
    """

    cycles: int
    jumps: int
    loads: str = ""
    needs: frozenset[str] | None = None


def estimated_cycles(executed: Sequence[Instruction], core: str) -> Cycles | None:
    """Return the estimate for the instructions, in the order of execution, ending in a jump.

    None for a core without published timings, or of more than one instruction a cycle.
    """
    if core not in TIMINGS:
        return None
    low, high = (_cycles(executed, timing) for timing in TIMINGS[core])
    return Cycles(low, high)


def _cycles(executed: Sequence[Instruction], timing: Timing) -> int:
    costs = {at: _cost(one, timing) for at, one in {o.address: o for o in executed}.items()}
    total = 0
    for this, following in zip_longest(executed, executed[1:]):
        cost = costs[this.address]
        total += cost.cycles
        if following is None or following.address != this.address + this.size:
            total += cost.jumps
        elif cost.loads:
            needs = costs[following.address].needs
            total -= needs is not None and cost.loads not in needs
    return total


def _cost(one: Instruction, timing: Timing) -> _Cost:
    found = _NAMED.fullmatch(one.mnemonic)
    name = found[1] if found else ""
    if name.startswith("it"):
        return _Cost(timing.condition, timing.refill)
    if name in _LOADS:
        return _load(one, timing)
    if name in _STORES:
        return _store(one, timing)
    if name in _MULTIPLE:
        to_pc = timing.load_refill if "pc" in one.operands else timing.refill
        return _Cost(1 + _registers_in_list(one.operands), to_pc)
    if name in ("ldrd", "strd"):
        return _Cost(3, timing.refill)
    return _Cost(timing.others.get(name, 1), timing.refill)


def _load(one: Instruction, timing: Timing) -> _Cost:
    target, _, address = one.operands.partition(",")
    if not timing.overlaps or target == "pc":
        return _Cost(2, timing.load_refill)
    return _Cost(2, timing.refill, target, _registers(address))


def _store(one: Instruction, timing: Timing) -> _Cost:
    """A store into the write buffer; an address of two registers takes a cycle to make."""
    if not timing.overlaps:
        return _Cost(2, timing.refill)
    needs = _registers(one.operands.partition(",")[2])
    return _Cost(2, timing.refill, needs=needs) if len(needs) > 1 else _Cost(1, timing.refill)


def _registers(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\b(?:r\d+|sp|lr|pc|ip|fp|sl)\b", text))


def _registers_in_list(operands: str) -> int:
    """Return how many registers a list such as `{r0, r4-r7, lr}` has."""
    listed = operands[operands.index("{") + 1 : operands.index("}")]
    count = 0
    for item in listed.split(","):
        first, _, last = (number.strip().removeprefix("r") for number in item.partition("-"))
        count += int(last) - int(first) + 1 if last else 1
    return count
