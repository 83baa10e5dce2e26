"""`lstmgen bench`: what a model costs on real targets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ..bench import BenchResult
from ..bench import bench as bench_on
from ..codegen import Effort
from ..target import load_target
from . import Failures, note
from .options import effort_option, json_option, load_source, sweep, sweep_options, target_options


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@target_options
@effort_option
@sweep_options
@json_option
def bench(
    model: Path,
    targets: tuple[str, ...],
    level: str,
    effort: Effort,
    as_json: bool,
    **options: Any,
) -> None:
    """Instructions are executed ones, exact and repeatable: QEMU -icount, callgrind on the host.

    On AVR they are cycles, by simavr. They are no cycles of a real core elsewhere; those of
    Cortex-M0, M3 and M4 are estimated by a model of their instruction timings.
    """
    results: list[BenchResult] = []
    failures = Failures()
    for variant in sweep(options):
        q = load_source(model, variant).q
        for name in targets or ("host",):
            files = model if model.is_dir() else None
            with failures.caught(name):
                target = load_target(name)
                results.append(
                    bench_on(q, target, source=files, effort=effort, optimize=f"-O{level}")
                )
    if as_json:
        click.echo(json.dumps({"results": [result.to_json() for result in results]}, indent=1))
        failures.end()
        return
    click.echo(
        f"{'target':<12} {'precision':<9} {'a step':>10} {'per MAC':>8} {'code':>7} {'tables':>7} "
        f"{'weights':>8} {'state':>6} {'stack':>6}"
    )
    for result in results:
        click.echo(_row(result))
        for line in _profile(result):
            click.echo(f"  {line}")
        for line in result.notes:
            note(f"- {result.target}: {line}")
    note("a step: executed instructions (avr: cycles), in brackets per MAC; the rest: bytes")
    failures.end()


def _row(result: BenchResult) -> str:
    count = result.instructions_per_step
    per_mac = "-" if count is None else f"{count / result.macs_per_step:.2f}"
    stack = "-" if result.stack_bytes is None else str(result.stack_bytes)
    return (
        f"{result.target:<12} {result.precision:<9} {'-' if count is None else count:>10} "
        f"{per_mac:>8} {result.code_bytes:>7} {result.table_bytes:>7} "
        f"{result.weights_bytes:>8} {result.state_bytes:>6} {stack:>6}"
    )


def _profile(result: BenchResult) -> Iterator[str]:
    """Yield lines of what a step is spent on, and of its cycles, where that is known."""

    def per_mac(count: int) -> str:
        return f"{count} ({count / result.macs_per_step:.2f})"

    if result.parts is not None:
        parts = result.parts
        one = f"of {parts.total}: " if parts.total != result.instructions_per_step else ""
        yield (
            f"{one}matrix-vector {per_mac(parts.matrix_vector)}, "
            f"elementwise {per_mac(parts.elementwise)}, rest {per_mac(parts.rest)}"
        )
    cycles = result.estimated_cycles
    if cycles is not None:
        high = "" if cycles.low == cycles.high else f" to {per_mac(cycles.high)}"
        yield f"ESTIMATE of cycles, not measured: {per_mac(cycles.low)}{high}"
