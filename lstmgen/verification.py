"""Prove that the generated C computes what the emulator computes, on the target itself.

The C is compiled with the target's compiler, run on the target or its emulator, and every
output and the whole state after every step is compared with the Python emulator's.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .codegen import Effort, generate, port_header
from .emulator import Emulator
from .errors import OutputError, TargetError, ToolError
from .output import read_folder
from .qformat import IntArray
from .quantized import QuantizedNetwork
from .selftest import make_selftest
from .target import Target
from .toolchain.build import Image, Sources, build_image, prefix_of, write_commands
from .toolchain.execute import RUN_TIMEOUT, run_command, run_image
from .toolchain.tools import shell_line
from .trace import (
    Difference,
    Operation,
    Record,
    Trace,
    command,
    commands_of,
    first_difference,
    rank,
    records_of,
)

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
"""Flags for `verify` on the host that make undefined behaviour end the program."""

PIECE = 16
"""The longest piece of a sequence that `run` is given."""

_RAM_SHARE = 8
"""The inputs and the outputs of a piece take at most this part of the RAM, each."""

_ROOM = 2048
"""The room for input, where the image carries it along, is a multiple of this, in bytes."""

_LAST = command(Operation.SELFTEST) + command(Operation.END)
"""What the last run ends with, which any may be; each of the others with its end alone."""

_SMALL_RAM = 8192
"""The RAM of a target that does not say, and reads its input from its own memory."""


@dataclass(frozen=True)
class VerifyResult:
    """What a verification found.

    steps: time steps of all sequences; values: numbers compared; selftest: what the C's own
    self-test returned, 0 if right; damaged: bytes written outside of state and outputs.
    folder: where everything lies, if it was kept.
    """

    target: str
    precision: str
    steps: int
    values: int
    equal: bool
    first_difference: Difference | None
    selftest: int
    damaged: int
    folder: Path | None

    @property
    def message(self) -> str:
        """One line that says what is equal, or what differs first and where to look."""
        where = f"; see {self.folder}" if self.folder else ""
        if self.first_difference is not None:
            return f"{self.target}: {self.first_difference}{where}"
        if self.damaged:
            return (
                f"{self.target}: the C wrote {self.damaged} bytes outside of its state "
                f"and outputs{where}"
            )
        if self.selftest:
            return f"{self.target}: the self-test returned {self.selftest}; expected 0{where}"
        return f"{self.target}: {self.values} values of {self.steps} steps are equal"

    def to_json(self) -> dict[str, object]:
        """Return the stable part for `--json`."""
        keys = ("target", "precision", "steps", "values", "equal")
        return {
            **{key: getattr(self, key) for key in keys},
            "difference": None if self.equal else self.message,
            "kept": None if self.folder is None else str(self.folder),
        }


def default_inputs(q: QuantizedNetwork, rng: np.random.Generator, *, steps: int = 24) -> IntArray:
    """Return (6, steps, n) raw inputs: random over the whole range, all lowest, all highest,
    lowest and highest by turns, zeros, and small noise."""
    (lo, hi), shape = q.input_span, (steps, q.inputs)
    turns = np.indices(shape).sum(axis=0) % 2
    return np.stack(
        [
            rng.integers(lo, hi, shape, endpoint=True),
            np.full(shape, lo),
            np.full(shape, hi),
            np.where(turns == 0, lo, hi),
            np.zeros(shape, np.int64),
            rng.integers(max(lo, -2), min(hi, 2), shape, endpoint=True),
        ]
    ).astype(np.int64)


def verify(
    q: QuantizedNetwork,
    source: Path | Sources | None,
    target: Target,
    x: IntArray,
    *,
    effort: Effort = "speed",
    optimize: str = "-O2",
    flags: Sequence[str] = (),
    instances: int = 3,
    keep: Path | None = None,
    timeout: float = RUN_TIMEOUT,
) -> VerifyResult:
    """Compare the C with the emulator on raw inputs `x` (B, T, n), on the target.

    source: an emitted folder, its files, or None to generate them now, with the kernels'
    unrolling as `effort` says. Sequences run in groups of `instances`, interleaved step by
    step; then in pieces through `run`.
    optimize, flags: for the compiler (flags for the linker too, SANITIZERS for one).
    keep: an empty or new folder for all that is made; without it a temporary one is used,
    which stays only where the C differs or fails, and is named then.
    Raises ToolError where a tool is missing or fails, and for inputs what Emulator.run does.
    """
    trace = emulate_trace(q, x)
    files = model_files(q, source, target, effort)
    return verify_trace(
        trace,
        files,
        target,
        precision=q.precision,
        optimize=optimize,
        flags=flags,
        instances=instances,
        keep=keep,
        timeout=timeout,
    )


def model_files(
    q: QuantizedNetwork, source: Path | Sources | None, target: Target, effort: Effort = "speed"
) -> Sources:
    """Return the C of `q` with the header that the harness needs."""
    if source is None:
        made = make_selftest(q)
        source = generate(q, name="model", target=target, selftest=made, effort=effort)
    elif isinstance(source, Path):
        source = _read_folder(source, target)
    return {**source, "model_port.h": port_header(q, name=prefix_of(source))}


def _read_folder(folder: Path, target: Target) -> Sources:
    """Return the model's sources: what begins with its name; other files are the user's."""
    _, name, built_for = read_folder(folder)
    files = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(folder.glob(f"{name}*"))
        if path.suffix in (".c", ".h", ".S") and path.stem.removeprefix(name)[:1] in ("", "_")
    }
    if any(file.endswith(".S") for file in files) and built_for.isa != target.isa:
        raise TargetError(
            f"{folder} has kernels in assembly for {built_for.isa}; target {target.name} is "
            f"{target.isa}: build it for that target, or give the model instead of the folder"
        )
    return files


def emulate_trace(q: QuantizedNetwork, x: IntArray) -> Trace:
    """Return all that the emulator computes on `x` (B, T, n), state and outputs by step.

    Of a network that takes whole sequences: of the runs of their first 1, 2, ... steps.
    """
    emulator = Emulator(q, batch=len(x))
    emulator.check(x)
    states, y = [emulator.state], []
    for t in range(x.shape[1] if q.streams else min(x.shape[1], PIECE)):
        y.append(emulator.step(x[:, t]) if q.streams else emulator.run(x[:, : t + 1]))
        states.append(emulator.state)
    if not q.streams:
        x = x[:, :PIECE]
        if q.outputs == "sequence":
            y = [np.pad(rows, ((0, 0), (0, len(y) - t - 1), (0, 0))) for t, rows in enumerate(y)]
    return Trace(
        x=x,
        input_bytes=q.x.storage_bits // 8,
        output_bytes=q.y.storage_bits // 8,
        sequence=q.outputs == "sequence",
        layers=tuple(layer.name for layer in q.recurrent),
        h=tuple(np.stack([s[i].h for s in states], axis=1) for i in range(len(q.recurrent))),
        c=tuple(np.stack([s[i].c for s in states], axis=1) for i in range(len(q.recurrent))),
        output=q.layers[-1].name,
        y=np.stack(y, axis=1),
        whole=not q.streams,
    )


def verify_trace(
    trace: Trace,
    files: Sources,
    target: Target,
    *,
    precision: str,
    optimize: str = "-O2",
    flags: Sequence[str] = (),
    instances: int = 3,
    keep: Path | None = None,
    timeout: float = RUN_TIMEOUT,
) -> VerifyResult:
    """Compare the C of `files`, `model_port.h` among them, with a recorded trace.

    What `verify` does once the files are generated and the emulator has run.
    """
    runs = _runs(trace, instances, target)
    ends = [command(Operation.END)] * (len(runs) - 1) + [_LAST]
    inputs = [commands_of(trace, run) + end for run, end in zip(runs, ends, strict=True)]
    defines = {"HARNESS_INSTANCES": instances, "HARNESS_PIECE": _piece(trace, target)}
    if target.run.input_bytes is not None:
        defines["HARNESS_INPUT_BYTES"] = _room(max(map(len, inputs)), target.run.input_bytes)
    with _work_folder(keep) as folder:
        image = build_image(
            files, "verify", target, folder, optimize=optimize, flags=flags, defines=defines
        )
        answers = _run_all(image, inputs, timeout)
        result = _judge(trace, runs, answers, target.name, precision, folder)
        if result.equal and keep is None:
            shutil.rmtree(folder)
            return replace(result, folder=None)
        return result


def _room(size: int, limit: int) -> int:
    """Return the bytes to set aside for input: of few sizes, for few objects to compile."""
    return max(size, min(limit, -(-size // _ROOM) * _ROOM))


def _piece(trace: Trace, target: Target) -> int:
    """Return the longest piece for which inputs and outputs fit a share of the RAM."""
    ram = target.compile.memory.get("ram")
    if ram is None and target.run.input_bytes is None:
        return PIECE
    share = (ram.length if ram else _SMALL_RAM) // _RAM_SHARE
    row: int = max(trace.x.shape[2] * trace.input_bytes, trace.outputs * trace.output_bytes)
    # A sequence of one step has no order to get wrong.
    return max(3 if trace.whole else 1, min(PIECE, share // row))


def _runs(trace: Trace, instances: int, target: Target) -> list[list[Record]]:
    """Return the commands of each run of the image: all in one where input is not scarce."""
    blocks = records_of(trace, instances, _piece(trace, target))
    limit = target.run.input_bytes
    runs: list[list[Record]] = [[]]
    filled = 0
    for block in blocks:
        size = len(commands_of(trace, block))
        if limit is not None and runs[-1] and filled + size + len(_LAST) > limit:
            runs.append([])
            filled = 0
        runs[-1] += block
        filled += size
    return runs


def _run_all(image: Image, inputs: Sequence[bytes], timeout: float) -> list[IntArray]:
    """Run the image on each input, in a folder of its own, and return the words it wrote."""
    lines = list(image.commands)
    answers = []
    for number, data in enumerate(inputs):
        folder = image.folder / f"run{number}"
        lines.append(f"(cd {folder.name} && {shell_line(run_command(image, folder))})")
        write_commands(image.folder, lines)
        output = run_image(image, data, folder, timeout=timeout)
        answers.append(np.frombuffer(output, "<i4").astype(np.int64))
    return answers


def _judge(
    trace: Trace,
    runs: Sequence[Sequence[Record]],
    answers: Sequence[IntArray],
    target: str,
    precision: str,
    folder: Path,
) -> VerifyResult:
    """Compare the answers of all runs; the last one's end with the self-test's."""
    *answers, last = answers
    selftest = int(last[-2])
    answers = [*answers, np.delete(last, -2)]
    found = [
        first_difference(trace, run, words[:-1]) for run, words in zip(runs, answers, strict=True)
    ]
    differences = [difference for difference in found if difference is not None]
    first = min(differences, key=lambda difference: rank(trace, difference), default=None)
    damaged = sum(int(words[-1]) for words in answers)
    return VerifyResult(
        target=target,
        precision=precision,
        steps=_steps(trace, runs),
        values=sum(len(words) - 1 for words in answers),
        equal=first is None and selftest == 0 and damaged == 0,
        first_difference=first,
        selftest=selftest,
        damaged=damaged,
        folder=folder,
    )


def _steps(trace: Trace, runs: Sequence[Sequence[Record]]) -> int:
    """Return the time steps of all sequences that were compared."""
    longest: dict[int, int] = {}
    for record in (record for run in runs for record in run):
        end = record.start + record.steps
        longest[record.sequence] = max(longest.get(record.sequence, 0), end)
    return sum(longest.values())


@contextmanager
def _work_folder(keep: Path | None) -> Iterator[Path]:
    """Yield the folder to work in. A temporary one goes if the compiler fails, and stays,
    named in the error, if the image does: then it is what one wants to look at."""
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise OutputError(f"{keep}: not an empty folder; name a new one to keep the work in")
        try:
            keep.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{keep} cannot be made: {error.strerror}") from error
        yield keep
        return
    folder = Path(tempfile.mkdtemp(prefix="lstmgen-verify-"))
    try:
        yield folder
    except BaseException as error:
        if isinstance(error, ToolError) and any(folder.glob("run*")):
            raise
        shutil.rmtree(folder)
        raise
