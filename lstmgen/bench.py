"""Measure a generated model on its target: instructions per step, flash, RAM and stack."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from .codegen import Effort
from .qformat import IntArray
from .quantized import QuantizedNetwork
from .target import Target
from .toolchain.build import Image, Sources, build_image, step_function
from .toolchain.callgrind import callgrind
from .toolchain.count import RUN_STEPS, bench_input, measure
from .toolchain.cycles import Cycles
from .toolchain.execute import RUN_TIMEOUT
from .toolchain.parts import Parts
from .toolchain.profile import LINE_TABLE, Profile, profile_costs, profile_step
from .toolchain.size import footprint
from .verification import model_files

STEPS = 16
"""Steps that are counted, after as many to bring the state into use."""

SEED = 1

NO_VALGRIND = "instructions are not counted: valgrind is not installed"


WHOLE_NOTE = (
    "the network takes whole sequences: a step is a run of a sequence of one step, with its reset"
)

@dataclass(frozen=True)
class BenchResult:
    """What a model costs on a target; None where the target cannot tell, and notes why.

    instructions_per_step: executed instructions of the step function, in `unit` (AVR counts
    cycles), the mean over random inputs from a state in use. parts: what they are spent on, of
    that step whose number is nearest to the mean (on the host the mean itself).
    estimated_cycles: of the same step on a real core, an ESTIMATE by a model that no chip has
    confirmed (docs/targets.md). code, table and weights bytes lie in flash, state bytes are one
    instance's RAM. stack_bytes: the worst of reset, step and run.
    """

    target: str
    precision: str
    macs_per_step: int
    instructions_per_step: int | None
    unit: Literal["instructions", "cycles"]
    parts: Parts | None
    estimated_cycles: Cycles | None
    code_bytes: int
    table_bytes: int
    weights_bytes: int
    state_bytes: int
    stack_bytes: int | None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return all fields for `--json`."""
        return {**asdict(self), "notes": list(self.notes)}


def bench(
    q: QuantizedNetwork,
    target: Target,
    *,
    source: Path | Sources | None = None,
    effort: Effort = "speed",
    optimize: str = "-O2",
    flags: Sequence[str] = (),
    timeout: float = RUN_TIMEOUT,
) -> BenchResult:
    """Measure the C of `q` on the target; two measurements give equal numbers.

    source: an emitted folder, its files, or None to generate them now, with the kernels'
    unrolling as `effort` says. optimize, flags: for the compiler. Raises ToolError where a
    tool is missing or fails.
    """
    rng = np.random.default_rng(SEED)
    x = rng.integers(*q.input_span, (_steps(q, target), q.inputs), endpoint=True)
    result = bench_files(
        model_files(q, source, target, effort),
        target,
        x,
        input_bytes=q.x.storage_bits // 8,
        precision=q.precision,
        macs_per_step=q.macs_per_step,
        optimize=optimize,
        flags=flags,
        timeout=timeout,
    )
    return result if q.streams else replace(result, notes=(WHOLE_NOTE, *result.notes))


def bench_files(
    files: Sources,
    target: Target,
    x: IntArray,
    *,
    input_bytes: int,
    precision: str,
    macs_per_step: int,
    optimize: str = "-O2",
    flags: Sequence[str] = (),
    timeout: float = RUN_TIMEOUT,
) -> BenchResult:
    """Measure the C of `files`, `model_port.h` among them, on raw inputs `x` (steps, n).

    What `bench` does once the files are generated. Half of the steps warm up.
    """
    folder = Path(tempfile.mkdtemp(prefix="lstmgen-bench-"))
    measured = _Measured(None, None, Profile(None, None))
    try:
        size = footprint(files, target, folder / "size", optimize=optimize, flags=flags)
        if target.runs:
            measured = _measured(
                files, target, x, input_bytes, size.state_bytes, folder, optimize, flags, timeout
            )
            notes = measured.profile.notes
        else:
            notes = (f"compiled only: target {target.name} has no runner",)
    finally:
        shutil.rmtree(folder)
    return BenchResult(
        target=target.name,
        precision=precision,
        macs_per_step=macs_per_step,
        instructions_per_step=measured.count,
        unit="cycles" if target.run.runner == "simavr" else "instructions",
        parts=measured.profile.parts,
        estimated_cycles=measured.profile.estimated_cycles,
        code_bytes=size.code_bytes,
        table_bytes=size.table_bytes,
        weights_bytes=size.weights_bytes,
        state_bytes=size.state_bytes,
        stack_bytes=measured.stack_bytes,
        notes=notes,
    )


def _steps(q: QuantizedNetwork, target: Target) -> int:
    """Return how many steps of input there are: fewer where the image carries them along."""
    steps = 2 * STEPS + RUN_STEPS
    if target.run.input_bytes is not None:
        fits = target.run.input_bytes // (q.inputs * q.x.storage_bits // 8)
        steps = min(steps, max(fits, 2 + RUN_STEPS))
    return steps


@dataclass(frozen=True)
class _Measured:
    """What a run tells: the worst stack, the mean count of a step, and its profile."""

    stack_bytes: int | None
    count: int | None
    profile: Profile


def _measured(
    files: Sources,
    target: Target,
    x: IntArray,
    input_bytes: int,
    state_bytes: int,
    folder: Path,
    optimize: str,
    flags: Sequence[str],
    timeout: float,
) -> _Measured:
    warm = (len(x) - RUN_STEPS) // 2
    data = bench_input(x, warm, input_bytes)
    image = build_image(
        files,
        "bench",
        target,
        folder / "image",
        optimize=optimize,
        flags=(*flags, LINE_TABLE),
        # Where the image carries its input along there is room for a state as well.
        defines={"HARNESS_INPUT_BYTES": len(data) + state_bytes},
    )
    result = measure(image, data, folder / "run", timeout=timeout)
    if target.run.runner == "native":
        less = bench_input(x[: warm + RUN_STEPS], warm, input_bytes)
        count, profile = _called(image, files, (data, less), len(x) - warm - RUN_STEPS, timeout)
        return _Measured(result.stack_bytes, count, profile)
    mean = float(np.mean(result.counts))
    step = int(np.argmin(np.abs(np.array(result.counts) - mean)))
    profile = profile_step(
        image,
        files,
        x[RUN_STEPS : RUN_STEPS + warm + step + 1],
        input_bytes,
        result.counts[step],
        folder / "run",
        timeout=timeout,
    )
    return _Measured(result.stack_bytes, round(mean), profile)


def _called(
    image: Image, files: Sources, inputs: tuple[bytes, bytes], steps: int, timeout: float
) -> tuple[int | None, Profile]:
    """Return count and profile of one of the `steps` that only the first of two inputs has."""
    function = step_function(files)
    more, less = (
        callgrind(image, function, data, image.folder / name, timeout=timeout)
        for name, data in zip(("all", "warm"), inputs, strict=True)
    )
    if more is None or less is None:
        return None, Profile(None, None, (NO_VALGRIND,))
    profile = profile_costs(image, files, more, less, steps)
    return round((more.total - less.total) / steps), profile
