"""Measure a generated model on its target: instructions per step, flash, RAM and stack."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np

from .codegen import Effort
from .qformat import IntArray
from .quantized import QuantizedNetwork
from .target import Target
from .toolchain.build import Sources, build_image, prefix_of
from .toolchain.count import RUN_STEPS, bench_input, callgrind_count, measure
from .toolchain.execute import RUN_TIMEOUT
from .toolchain.size import footprint
from .verification import model_files

STEPS = 16
"""Steps that are counted, after as many to bring the state into use."""

SEED = 1


@dataclass(frozen=True)
class BenchResult:
    """What a model costs on a target; None where the target cannot tell, and notes why.

    instructions_per_step: executed instructions of the step function, in `unit` (AVR counts
    cycles), the mean over random inputs from a state in use. code, table and weights bytes
    lie in flash, state bytes are one instance's RAM. stack_bytes: the worst of reset, step
    and run.
    """

    target: str
    precision: str
    macs_per_step: int
    instructions_per_step: int | None
    unit: Literal["instructions", "cycles"]
    code_bytes: int
    table_bytes: int
    weights_bytes: int
    state_bytes: int
    stack_bytes: int | None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return all fields for `--json`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "notes": list(self.notes)}


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
    x = rng.integers(q.x.lo, q.x.hi, (_steps(q, target), q.inputs), endpoint=True)
    return bench_files(
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
    notes = []
    stack = count = None
    try:
        size = footprint(files, target, folder / "size", optimize=optimize, flags=flags)
        if target.runs:
            stack, count = _measured(
                files, target, x, input_bytes, folder, optimize, flags, timeout
            )
            if count is None:
                notes.append("instructions are not counted: valgrind is not installed")
        else:
            notes.append(f"compiled only: target {target.name} has no runner")
    finally:
        shutil.rmtree(folder)
    return BenchResult(
        target=target.name,
        precision=precision,
        macs_per_step=macs_per_step,
        instructions_per_step=count,
        unit="cycles" if target.run.runner == "simavr" else "instructions",
        code_bytes=size.code_bytes,
        table_bytes=size.table_bytes,
        weights_bytes=size.weights_bytes,
        state_bytes=size.state_bytes,
        stack_bytes=stack,
        notes=tuple(notes),
    )


def _steps(q: QuantizedNetwork, target: Target) -> int:
    """Return how many steps of input there are: fewer where the image carries them along."""
    steps = 2 * STEPS + RUN_STEPS
    if target.run.input_bytes is not None:
        fits = target.run.input_bytes // (q.inputs * q.x.storage_bits // 8)
        steps = min(steps, max(fits, 2 + RUN_STEPS))
    return steps


def _measured(
    files: Sources,
    target: Target,
    x: IntArray,
    input_bytes: int,
    folder: Path,
    optimize: str,
    flags: Sequence[str],
    timeout: float,
) -> tuple[int, int | None]:
    """Return the stack in bytes and the mean count of a step."""
    warm = (len(x) - RUN_STEPS) // 2
    data = bench_input(x, warm, input_bytes)
    image = build_image(
        files,
        "bench",
        target,
        folder / "image",
        optimize=optimize,
        flags=flags,
        defines={"HARNESS_INPUT_BYTES": len(data)},
    )
    result = measure(image, data, folder / "run", timeout=timeout)
    if target.run.runner != "native":
        return result.stack_bytes, round(float(np.mean(result.counts)))
    function = f"{prefix_of(files)}_step"
    warm_only = bench_input(x[: warm + RUN_STEPS], warm, input_bytes)
    counts = [
        callgrind_count(image, function, part, folder / name, timeout=timeout)
        for name, part in (("all", data), ("warm", warm_only))
    ]
    return result.stack_bytes, _mean(counts, len(x) - warm - RUN_STEPS)


def _mean(counts: Sequence[int | None], steps: int) -> int | None:
    """Return the count of one of the `steps` that only the first of two runs had."""
    more, less = counts
    return None if more is None or less is None else round((more - less) / steps)
