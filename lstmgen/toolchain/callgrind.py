"""Count what a step executes on this computer: callgrind's counts by instruction address."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..errors import ToolError
from .build import Image
from .execute import RUN_TIMEOUT, run_command
from .tools import call, said

_OUTPUT = "callgrind.out"

Function = tuple[str, str]
"""A function: the file of its code, and its name there."""


@dataclass(frozen=True)
class Call:
    """All calls of one function from one place: executed instructions, those below included."""

    caller: Function
    address: int
    callee: Function
    instructions: int


@dataclass(frozen=True)
class Costs:
    """What callgrind counted; `total` is all of it.

    own: executed instructions by function and address (as in the file of its code), calls of
    other functions not included.
    """

    total: int
    own: dict[Function, dict[int, int]]
    calls: tuple[Call, ...]


def callgrind(
    image: Image, function: str, data: bytes, folder: Path, *, timeout: float = RUN_TIMEOUT
) -> Costs | None:
    """Return what all calls of `function` execute; None without valgrind."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input.bin").write_bytes(data)
    command = [valgrind, "--tool=callgrind", f"--callgrind-out-file={_OUTPUT}"]
    command += ["--dump-instr=yes", "--compress-pos=no", "--compress-strings=no"]
    command += [f"--toggle-collect={function}", *run_command(image, folder)]
    what = f"counting {function} by callgrind"
    result = call(command, folder, timeout=timeout, what=what)
    found = re.search(rb"Collected : (\d+)", result.stderr)
    if result.returncode != 0 or found is None:
        raise ToolError(f"{what} failed:\n{said(result)}")
    text = (folder / _OUTPUT).read_text(encoding="utf-8", errors="replace")
    return read_costs(text, int(found[1]))


def read_costs(text: str, total: int) -> Costs:
    """Return the counts of callgrind's output, written with addresses and uncompressed."""
    own: dict[Function, dict[int, int]] = {}
    calls: list[Call] = []
    file = called_file = name = called = ""
    is_call = False
    for line in text.splitlines():
        key, found, value = line.partition("=")
        if found and key == "ob":
            file = called_file = value
        elif found and key == "fn":
            name, called_file = value, file
        elif found and key == "cob":
            called_file = value
        elif found and key == "cfn":
            called = value
        elif found and key == "calls":
            is_call = True
        elif line.startswith("0x"):
            address, _, instructions = line.split()
            if is_call:
                callee = (called_file, called)
                calls.append(Call((file, name), int(address, 16), callee, int(instructions)))
                is_call, called_file = False, file
            else:
                costs = own.setdefault((file, name), {})
                at = int(address, 16)
                costs[at] = costs.get(at, 0) + int(instructions)
    return Costs(total, own, tuple(calls))
