"""What a step spends its instructions on, and the cycles it may take on a real core."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from .build import Image, Sources, step_function
from .callgrind import Costs
from .cycles import Cycles, estimated_cycles
from .cycles_avr import avr_cycles
from .disassemble import disassemble
from .elf import read_elf
from .execute import RUN_TIMEOUT
from .executed import executed_step
from .parts import (
    Part,
    Parts,
    parts_of,
    parts_of_addresses,
    parts_of_costs,
    parts_of_sequence,
)
from .tools import NotKnownError

LINE_TABLE = "-gdwarf-4"
"""The compiler's option for source lines in an image; it changes no instruction."""

NO_PARTS = "no comments in this C tell them apart"


@dataclass(frozen=True)
class Profile:
    """What is known of one step; None where it is not, and notes why.

    estimated_cycles: by the model of lstmgen/toolchain/cycles.py, for cores that it knows.
    """

    parts: Parts | None
    estimated_cycles: Cycles | None
    notes: tuple[str, ...] = ()


def _unknown(reason: str, cycles: Cycles | None = None) -> Profile:
    """Return the profile of a step whose parts are not known."""
    return Profile(None, cycles, (f"the parts of a step are not known: {reason}",))


def profile_step(
    image: Image,
    files: Sources,
    x: np.ndarray,
    input_bytes: int,
    count: int,
    folder: Path,
    *,
    timeout: float = RUN_TIMEOUT,
) -> Profile:
    """Run the bench image in QEMU and return the profile of the last step of `x` (steps, n).

    count: the instructions (AVR: cycles) that were counted for this step, which the profile
    has to come to.
    """
    function = step_function(files)
    try:
        executed = executed_step(image, function, x, input_bytes, count, folder, timeout=timeout)
        code = disassemble(image)
        own = parts_of_addresses(image, files, executed.addresses)
    except NotKnownError as reason:
        return _unknown(str(reason))
    if not code.keys() >= set(executed.addresses):
        return _unknown("QEMU's log of it has addresses that are no instructions")
    instructions = [code[address] for address in executed.addresses]
    if image.target.run.runner == "simavr":
        costs = avr_cycles(instructions, executed.skipped)
    else:
        costs = [1] * len(instructions)
    if sum(costs) != count:
        return _unknown(f"QEMU's log of it comes to {sum(costs)}, where {count} were counted")
    cycles = estimated_cycles(instructions, image.target.core)
    if not own:
        return _unknown(NO_PARTS, cycles)
    # The lowest bit of a function's address tells Arm's instruction set.
    symbols = read_elf(image.elf).symbols.values()
    entries = {symbol.address & ~1 for symbol in symbols if symbol.is_function}
    counts: Counter[Part] = Counter()
    for part, cost in zip(parts_of_sequence(executed.addresses, own, entries), costs, strict=True):
        counts[part] += cost
    return Profile(parts_of(counts), cycles)


def profile_costs(image: Image, files: Sources, more: Costs, less: Costs, steps: int) -> Profile:
    """Return the mean profile of the `steps` that only the first of two callgrind runs had."""
    name = image.elf.name
    file = next((where for where, _ in more.own if PurePath(where).name == name), name)
    addresses = {at for (where, _), counts in more.own.items() if where == file for at in counts}
    addresses |= {call.address for call in more.calls if call.caller[0] == file}
    try:
        own = parts_of_addresses(image, files, addresses)
    except NotKnownError as reason:
        return _unknown(str(reason))
    if not own:
        return _unknown(NO_PARTS)
    first, second = (parts_of_costs(costs, own, file) for costs in (more, less))
    if first.total - second.total != more.total - less.total:
        return _unknown(f"callgrind's lines come to {first.total}, its total is {more.total}")
    matrix_vector = round((first.matrix_vector - second.matrix_vector) / steps)
    elementwise = round((first.elementwise - second.elementwise) / steps)
    rest = round((first.total - second.total) / steps) - matrix_vector - elementwise
    return Profile(Parts(matrix_vector, elementwise, rest), None)
