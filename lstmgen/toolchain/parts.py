"""The parts of a step: which lines of the model's code do the matrix products, and which not.

The code says so itself, in comments that begin with the name of a part and a colon. A part
goes on to the next such comment or the end of the function. What has no such comment before it
in its function belongs to the part from which it is called.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType
from typing import Literal, get_args

from ..errors import ToolError
from .build import BUILD_TIMEOUT, Image, Sources
from .callgrind import Call, Costs, Function
from .tools import call, said, tool_beside

Part = Literal["matrix_vector", "elementwise", "rest"]
PARTS: tuple[Part, ...] = get_args(Part)

_NAMES: Mapping[str, Part] = MappingProxyType(
    {"Matrix-vector": "matrix_vector", "Elementwise": "elementwise", "The rest": "rest"}
)

_COMMENT = re.compile(rf"(?:/\*|^ *\*|[@#;]) ({'|'.join(_NAMES)}): ")
"""Of C and of assembly."""

_END = re.compile(r"}|\s*\.size\b")
"""The end of a function in C and in assembly."""


@dataclass(frozen=True)
class Parts:
    """Executed instructions (AVR: cycles) of a step, by part.

    matrix_vector: the sums of weights times values. elementwise: from the sums on, to gates,
    states and outputs. rest: calls, copies of inputs, states and outputs.
    """

    matrix_vector: int
    elementwise: int
    rest: int

    @property
    def total(self) -> int:
        """The instructions of the whole step."""
        return self.matrix_vector + self.elementwise + self.rest


def parts_of_lines(text: str) -> tuple[Part | None, ...]:
    """Return the part that each line of a source file says it belongs to, if any."""
    parts: list[Part | None] = []
    part: Part | None = None
    for line in text.splitlines():
        found = _COMMENT.search(line)
        if found:
            part = _NAMES[found[1]]
        elif _END.match(line):
            part = None
        parts.append(part)
    return tuple(parts)


def parts_of_addresses(image: Image, files: Sources, addresses: Iterable[int]) -> dict[int, Part]:
    """Return the part of each address of the image's code whose source line has one.

    files: the model's. Code of an inlined function without parts has that of the place it is
    inlined into. Raises NotKnownError where addr2line is not installed.
    """
    addr2line = tool_beside(image.target, "addr2line")
    wanted = sorted(set(addresses))
    asked = image.folder / "addresses"
    asked.write_text("".join(f"{address:#x}\n" for address in wanted), encoding="ascii")
    options = ["--addresses", "--inlines", "--exe", image.elf.name, f"@{asked.name}"]
    what = f"looking up source lines of {image.elf.name}"
    result = call([addr2line, *options], image.folder, timeout=BUILD_TIMEOUT, what=what)
    places = re.split(r"^0x[0-9a-f]+\n", result.stdout.decode(errors="replace"), flags=re.M)[1:]
    if result.returncode != 0 or len(places) != len(wanted):
        raise ToolError(f"{what} failed:\n{said(result)}")
    lines = {name: parts_of_lines(text) for name, text in files.items()}
    found = zip(wanted, (_part_of_place(place, lines) for place in places), strict=True)
    return {address: part for address, part in found if part is not None}


def _part_of_place(place: str, lines: Mapping[str, tuple[Part | None, ...]]) -> Part | None:
    """Return the innermost part of a place: a line `path:line` for each function, inner first."""
    for found in re.finditer(r"^(.*):(\d+)", place, re.MULTILINE):
        path = PurePath(found[1])
        if path.parent.name == "model" and path.name in lines:
            part = lines[path.name][int(found[2]) - 1]
            if part is not None:
                return part
    return None


def parts_of_sequence(
    addresses: Sequence[int], own: Mapping[int, Part], entries: Collection[int]
) -> list[Part]:
    """Return the part of each executed instruction, in order.

    own: parts by address, where they have one. entries: the first addresses of all functions.
    """
    starts = sorted(entries)
    function_of = {at: starts[bisect_right(starts, at) - 1] for at in set(addresses)}
    called_from: dict[int, Part] = {}
    parts: list[Part] = []
    part: Part = "rest"
    for address in addresses:
        function = function_of[address]
        if address == function:
            called_from[function] = part
        part = own.get(address) or called_from.setdefault(function, part)
        parts.append(part)
    return parts


def parts_of_costs(costs: Costs, own: Mapping[int, Part], file: str) -> Parts:
    """Return the instructions of each part from callgrind's counts.

    own: parts by address of the code in `file`, where they have one. What a function without
    parts of its own executes is counted to the part whose calls of it cost most.
    """
    calls: dict[Function, list[Call]] = {}
    for one in costs.calls:
        calls.setdefault(one.callee, []).append(one)
    counts: Counter[Part] = Counter()
    for function, by_address in costs.own.items():
        around: Part | None = None
        for address, instructions in by_address.items():
            part = own.get(address) if function[0] == file else None
            if part is None:
                around = around or _part_around(function, calls, own, file, ())
                part = around
            counts[part] += instructions
    return parts_of(counts)


def _part_around(
    function: Function,
    calls: Mapping[Function, Sequence[Call]],
    own: Mapping[int, Part],
    file: str,
    inside: tuple[Function, ...],
) -> Part:
    """Return the part that most of a function is called from; inside: those that ask."""
    counts: Counter[Part] = Counter()
    for one in calls.get(function, ()):
        part = own.get(one.address) if one.caller[0] == file else None
        if part is None and one.caller not in (function, *inside):
            part = _part_around(one.caller, calls, own, file, (function, *inside))
        if part is not None:
            counts[part] += one.instructions
    return max(PARTS, key=lambda part: counts[part]) if counts else "rest"


def parts_of(counts: Mapping[Part, int]) -> Parts:
    """Return counts by part, of which some may be missing, as Parts."""
    return Parts(**{part: counts.get(part, 0) for part in PARTS})
