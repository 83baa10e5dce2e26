"""The worst stack of a model by its call graph: a bound that needs no run and no input.

gcc writes, for each C file, what each function takes of the stack and what it calls
(-fcallgraph-info=su). A kernel in assembly gives back all that it took before it returns, in
instructions whose operands are constants: there its frame is read. Nothing recurses and nothing
calls through a pointer, which is checked.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ..errors import ToolError
from ..target import Target
from .build import BUILD_TIMEOUT, Sources, compile_all, model_flags, prefix_of, write_model
from .size import ENTRY_POINTS
from .tools import call, said, tool_beside

CALL_GRAPH = "-fcallgraph-info=su"
"""The option with which gcc writes the call graph, with what each function takes."""

_NODE = re.compile(r'^node: \{ title: "([^"]+)" label: "([^"]*)"(.*)\}$', re.MULTILINE)
_EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', re.MULTILINE)
_FRAME = re.compile(r"\\n(\d+) bytes \((static|dynamic[^)]*)\)")

_LIBRARY: Mapping[str, int] = MappingProxyType(
    {
        "memcpy": 16,
        "memset": 16,
        **{f"__aeabi_{name}": 8 for name in ("uidiv", "uidivmod", "idiv", "idivmod")},
    }
)
"""What functions that gcc calls may take, in bytes: those of libgcc for a Cortex-M0 save two
registers. It names the signed division beside the other, and calls it nowhere."""

_FUNCTION = re.compile(r"^\s*\.type\s+(\w+), [%@]function")
_LOAD = re.compile(r"^(?:movw|ldr|li)\s+(\w+), [=#]?(-?\d+)$")
_LOW = re.compile(r"^(movs|lsls|adds)\s+(\w+), (?:\2, )?#(\d+)$")
_ADD = re.compile(r"^add[iw]?\s+sp, (?:sp, )?#?(-?\w+)$")
_POP = re.compile(r"^(?:pop\s+|ldmia\s+sp!, |vpop\s+)\{([^}]+)\}$")
_RETURN = re.compile(r"^(?:ret|bx\s+lr|pop\s+\{.*pc\})$")

_LABEL = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
_REFERENCE = re.compile(
    r"^\s+[0-9a-f]+: R_(?:ARM_THM_(?:CALL|JUMP\d+)|RISCV_(?:CALL|CALL_PLT|JAL))\s+([^+\s-]+)"
)
_CALL = re.compile(r"^(?:blx?|jal|auipc\s+ra,.*)\b")


@dataclass(frozen=True)
class CallGraph:
    """What each function takes of the stack in bytes, by name, and which ones it calls.

    last: those pairs of caller and called where the call is the last that the caller does, by a
    jump, behind which its frame is gone.
    """

    frames: Mapping[str, int]
    calls: Mapping[str, frozenset[str]]
    last: frozenset[tuple[str, str]] = frozenset()

    def worst(self, function: str, callers: tuple[str, ...] = ()) -> int:
        """Return the bytes that a call of the function may take, all that it calls included.

        Raises ToolError where the graph does not tell: recursion, a function that is not known.
        """
        path = " -> ".join((*callers, function))
        if function in callers:
            raise ToolError(f"worst stack: {path} recurses; expected a call graph without cycles")
        if function not in self.frames:
            raise ToolError(f"worst stack: {path}: the frame of {function} is not known")
        frame = self.frames[function]
        below = (
            self.worst(called, (*callers, function))
            + (0 if (function, called) in self.last else frame)
            for called in self.calls[function]
        )
        return max([frame, *below])


def worst_stack(
    files: Sources,
    target: Target,
    folder: Path,
    *,
    optimize: str = "-O2",
    flags: Sequence[str] = (),
) -> int:
    """Compile the model in `folder`; return the worst stack of reset, step and run, in bytes.

    For targets whose compiler is gcc 10 or newer. Raises ToolError where it fails.
    """
    prefix = prefix_of(files)
    sources = [path for path in write_model(files, folder) if "_selftest" not in path.name]
    options = (*model_flags(target, optimize), *flags, CALL_GRAPH)
    objects = compile_all(sources, target, folder, options, [])
    assembly = [text for name, text in files.items() if name.endswith(".S")]
    graph = read_graph(objects, assembly, target)
    present = [f"{prefix}_{name}" for name in ENTRY_POINTS]
    return max(graph.worst(name) for name in present if name in graph.frames)


def read_graph(objects: Sequence[Path], assembly: Sequence[str], target: Target) -> CallGraph:
    """Return the call graph of objects compiled with CALL_GRAPH and of kernels in assembly."""
    frames = dict(_LIBRARY)
    for source in assembly:
        frames.update(assembly_frames(source))
    calls: dict[str, set[str]] = {name: set() for name in frames}
    # gcc writes it beside the object; of assembly there is none.
    for path in (path.with_suffix(".ci") for path in objects):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for name, label, _ in _NODE.findall(text):
            frame = _FRAME.search(label)
            if frame is None:
                continue  # defined elsewhere
            if frame[2] != "static":
                raise ToolError(f"worst stack: {name} takes a stack that is {frame[2]}")
            frames[_plain(name)] = int(frame[1])
            calls.setdefault(_plain(name), set())
        for caller, called in _EDGE.findall(text):
            calls.setdefault(_plain(caller), set()).add(_plain(called))
    last = frozenset(pair for path in objects for pair in last_calls(path, target))
    return CallGraph(frames, {name: frozenset(called) for name, called in calls.items()}, last)


def last_calls(path: Path, target: Target) -> frozenset[tuple[str, str]]:
    """Return the pairs of a function and one that it jumps to and never calls, in an object."""
    objdump = tool_beside(target, "objdump")
    what = f"disassembling {path.name}"
    command = [objdump, "--disassemble", "--reloc", path.name]
    result = call(command, path.parent, timeout=BUILD_TIMEOUT, what=what)
    if result.returncode != 0:
        raise ToolError(f"{what} failed:\n{said(result)}")
    jumps: set[tuple[str, str]] = set()
    calls: set[tuple[str, str]] = set()
    function, instruction = "", ""
    for line in result.stdout.decode(errors="replace").splitlines():
        if found := _LABEL.match(line):
            function = found[1]
        elif found := _REFERENCE.match(line):
            (calls if _CALL.match(instruction) else jumps).add((function, found[1]))
        elif "\t" in line:
            instruction = " ".join(line.split("\t")[2:])
    return frozenset(jumps - calls)


def _plain(title: str) -> str:
    """Return the name of a function, which has its file before it where it is static."""
    return title.rsplit(":", 1)[-1]


def assembly_frames(source: str) -> dict[str, int]:
    """Return the frames of the functions in a file of kernels.

    Between two returns, what the instructions give back: sp + constant, and registers popped.
    """
    frames: dict[str, int] = {}
    name, given, constants = "", 0, dict[str, int]()
    for line in source.splitlines():
        if found := _FUNCTION.match(line):
            name, given, constants = found[1], 0, {}
            frames[name] = 0
            continue
        code = re.split(r"\s[@#] |\s*/\*", line)[0].strip()
        if found := _LOAD.match(code):
            constants[found[1]] = int(found[2])
        elif found := _LOW.match(code):
            operation, register, value = found[1], found[2], int(found[3])
            before = constants.get(register, 0)
            constants[register] = {
                "movs": value, "lsls": before << value, "adds": before + value
            }[operation]  # fmt: skip
        elif found := _ADD.match(code):
            amount = found[1]
            # Less than nothing is what a function takes when it begins.
            given += max(0, int(amount) if amount.lstrip("-").isdigit() else constants[amount])
        elif found := _POP.match(code):
            given += (8 if code.startswith("vpop") else 4) * _registers(found[1])
        if _RETURN.match(code):
            frames[name] = max(frames[name], given)
            given = 0
    return frames


def _registers(text: str) -> int:
    """Return how many registers a list like r4-r7, pc names."""
    count = 0
    for part in text.split(","):
        ends = [int(n) for n in re.findall(r"\d+", part)]
        count += ends[1] - ends[0] + 1 if len(ends) == 2 else 1
    return count
