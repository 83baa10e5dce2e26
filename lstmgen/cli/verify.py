"""`lstmgen verify`: the C against the emulator, on real targets."""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..codegen import Effort
from ..dataset import load_dataset
from ..output import read_folder
from ..qformat import IntArray
from ..quantized import QuantizedNetwork
from ..target import load_target
from ..verification import VerifyResult, default_inputs
from ..verification import verify as verify_on
from . import Failures
from .options import effort_option, json_option, load_source, sweep, sweep_options, target_options

_SEED = 1


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@target_options
@effort_option
@sweep_options
@click.option(
    "--input", "source", type=click.Path(path_type=Path), metavar="FILE",
    help="Real inputs (B, T, n) instead of random and extreme ones.",
)
@click.option("--steps", type=click.IntRange(1, 100_000), default=24, show_default=True,
              help="Time steps of the random and extreme inputs.")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR",
              help="Keep C, inputs and commands in this folder, equal or not.")
@json_option
def verify(
    model: Path,
    targets: tuple[str, ...],
    level: str,
    effort: Effort,
    source: Path | None,
    steps: int,
    keep: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """MODEL is a model file, an artefact, or a folder that `lstmgen build` wrote.

    Every output and the whole state after every step is compared, for several instances
    interleaved; then `run` with repeated `step`; then the self-test. Exit 1 on a difference.
    """
    chosen = [load_target(name) for name in targets or _default_targets(model)]
    results: list[VerifyResult] = []
    failures = Failures()
    for variant in sweep(options):
        q = load_source(model, variant).q
        x = _inputs(q, source, steps)
        files = model if model.is_dir() else None
        for target in chosen:
            kept = None if keep is None else keep / f"{target.name}-{q.precision}"
            with failures.caught(target.name):
                result = verify_on(
                    q, files, target, x, effort=effort, optimize=f"-O{level}", keep=kept
                )
                results.append(result)
                if not as_json:
                    click.echo(f"{q.precision:<6} {result.message}")
    if as_json:
        click.echo(json.dumps({"results": [result.to_json() for result in results]}, indent=1))
    failures.end()
    if not all(result.equal for result in results):
        raise SystemExit(1)


def _inputs(q: QuantizedNetwork, source: Path | None, steps: int) -> IntArray:
    if source is None:
        return default_inputs(q, np.random.default_rng(_SEED), steps=steps)
    return q.to_raw(load_dataset(source, q.inputs).x)


def _default_targets(model: Path) -> tuple[str, ...]:
    """Return the target a folder was built for, else the host."""
    return (read_folder(model)[2].name,) if model.is_dir() else ("host",)
