"""Which instructions a bench image executes in one step, by QEMU's log."""

import re
import subprocess
import threading
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ..errors import ToolError
from .build import Image
from .count import steps_input
from .elf import read_elf
from .execute import RUN_TIMEOUT, fill_input, run_command, run_image
from .tools import NotKnownError, find_tool, version

_LINE = re.compile(rb"Trace \d+: \w+ \[[0-9a-f]+/([0-9a-f]+)/([0-9a-f]+)/")
"""QEMU's line for an executed block: code base, program counter, flags."""

_END = "io_exit"
"""The function of the harness that ends an image."""

_AVR_SKIPPED = 2
"""The flag of a block whose first instruction AVR's skipping instructions leave out."""

_AVR_BOARDS = MappingProxyType({"atmega2560": "mega2560"})
"""QEMU's boards by simavr's processor: QEMU tells instructions, but no cycles."""

_CALL_BYTES = (2, 4)
"""How long the instruction that calls a function is."""


@dataclass(frozen=True)
class Executed:
    """The addresses of a step's instructions, in order; skipped: which of them did nothing.

    skipped: positions among the addresses, on AVR alone.
    """

    addresses: tuple[int, ...]
    skipped: frozenset[int]


def executed_step(
    image: Image,
    function: str,
    x: np.ndarray,
    input_bytes: int,
    most: int,
    folder: Path,
    *,
    timeout: float = RUN_TIMEOUT,
) -> Executed:
    """Return what is executed in the last step of `x` (steps, n); only that one is logged.

    function: the step function; most: how many instructions it may take. Raises NotKnownError
    where QEMU cannot tell.
    """
    command = _log_command(image, folder)
    state = run_image(image, steps_input(x[:-1], input_bytes), folder, timeout=timeout)
    last = steps_input(x[-1:], input_bytes, state)
    if image.target.run.runner == "simavr":
        fill_input(image, last, folder)
    else:
        (folder / "input.bin").write_bytes(last)
    symbols = read_elf(image.elf).symbols
    # The lowest bit of a function's address tells Arm's instruction set.
    entry, end = (symbols[name].address & ~1 for name in (function, _END))
    with closing(_logged(command, folder, timeout)) as lines:
        found = one_call(lines, entry, end, most)
    if found is None:
        raise NotKnownError(f"no step of at most {most} instructions is in QEMU's log")
    addresses = tuple(address for address, _ in found)
    skipped = (at for at, (_, flags) in enumerate(found) if flags & _AVR_SKIPPED)
    return Executed(addresses, frozenset(skipped if image.target.run.runner == "simavr" else ()))


def one_call(
    lines: Iterable[tuple[int, int]], entry: int, end: int, most: int
) -> list[tuple[int, int]] | None:
    """Return those of (address, flags) from `entry` to before the return to behind its caller.

    Takes no more of the lines than it takes to find that. None if they end before, or come to
    `end`, where an AVR then sleeps for ever, or if the call is of more than `most` instructions.
    """
    call: list[tuple[int, int]] = []
    before = 0
    behind: set[int] = set()
    for address, flags in lines:
        if not behind and address == entry:
            behind = {before + size for size in _CALL_BYTES}
        elif address in behind:
            return call
        elif address == end:
            return None
        if behind:
            call.append((address, flags))
            if len(call) > most:
                return None
        before = address
    return None


def _log_command(image: Image, folder: Path) -> list[str]:
    """Return the command that logs each instruction; on AVR in QEMU instead of simavr."""
    target = image.target
    if target.run.runner == "simavr":
        program, board = "qemu-system-avr", _AVR_BOARDS.get(target.run.machine)
        if board is None:
            raise NotKnownError(f"QEMU has no board with an {target.run.machine}")
        try:
            path = find_tool(program, ["qemu-system-misc"], "a log of instructions")
        except ToolError as error:
            raise NotKnownError(str(error)) from None
        command = [path, "-M", board, "-display", "none", "-serial", "none", "-monitor", "none"]
        command += ["-bios", image.elf.name]
    else:
        command = run_command(image, folder)
    return [*command, *one_at_a_time(version(command[0])), "-d", "exec,nochain"]


def one_at_a_time(said: str) -> list[str]:
    """Return the option that makes a block of QEMU's of each instruction, by its version."""
    found = re.search(r"version (\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) >= (8, 1):
        return ["-accel", "tcg,one-insn-per-tb=on"]
    return ["-singlestep"]


def _logged(
    command: list[str], folder: Path, timeout: float
) -> Generator[tuple[int, int], None, None]:
    """Yield address and flags of each instruction; ends QEMU when no more of them are taken."""
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        try:
            for line in process.stderr or ():
                found = _LINE.match(line)
                if found:
                    yield int(found[1], 16), int(found[2], 16)
        finally:
            timer.cancel()
            process.kill()
