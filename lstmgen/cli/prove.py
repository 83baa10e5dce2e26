"""`lstmgen prove`: no undefined behaviour in the C, by Frama-C."""

import json
from pathlib import Path
from typing import Any

import click

from ..output import read_folder, write_proof
from ..prove import DEFAULT_TIMEOUT, Analysis, ProveResult
from ..prove import prove as prove_c
from ..toolchain.eva import MACHINES
from . import note
from .options import c_name, json_option, load_source, sweep, sweep_options

_SHOWN_ALARMS = 20


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--machine", type=click.Choice(list(MACHINES)),
              help="Whose integers: int of 16 or 32 bits, or long of 64.  "
              "[default: the folder's target's, else int32]")
@click.option("--timeout", type=click.FloatRange(min=1), default=DEFAULT_TIMEOUT,
              show_default=True, metavar="SECONDS", help="Time for each analysis.")
@click.option("--keep", type=click.Path(path_type=Path), metavar="DIR",
              help="Keep sources, harness and Frama-C's reports in this folder.")
@sweep_options
@json_option
def prove(
    model: Path,
    machine: str | None,
    timeout: float,
    keep: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """MODEL is a model file, an artefact, or a folder that `lstmgen build` wrote.

    For every input in its range and every state in its range, Frama-C's Eva shows that there is no
    overflow, no access out of bounds, no bad shift, no read of what was not written, and that
    the state stays in its range, so that it holds for any number of steps. A folder's files are
    read as they are, and its report gets the verdict. Exit 1 if something is not proved.
    """
    results: list[tuple[str, ProveResult]] = []
    for variant in sweep(options):
        source = load_source(model, variant)
        folder = model if model.is_dir() else None
        built_for = read_folder(model)[2] if folder else None
        result = prove_c(
            source.q,
            name=c_name(source, source.name),
            folder=folder,
            built_for=built_for,
            machine=machine,
            timeout=timeout,
            keep=None if keep is None else keep / source.q.precision,
            told=_tell,
        )
        results.append((source.q.precision, result))
        if folder is not None:
            write_proof(folder, result.to_json())
        if not as_json:
            for alarm in result.alarms[:_SHOWN_ALARMS]:
                click.echo(str(alarm))
            if len(result.alarms) > _SHOWN_ALARMS:
                click.echo(f"... and {len(result.alarms) - _SHOWN_ALARMS} more (--json has all)")
            for line in result.differences:
                click.echo(line)
            for alarm in result.assumed:
                note(f"- taken as known in the {result.what}, see docs/SOUNDNESS.md: {alarm}")
            click.echo(f"{source.q.precision:<6} {result.message}")
    if as_json:
        found = [{"precision": precision, **result.to_json()} for precision, result in results]
        click.echo(json.dumps({"results": found}, indent=1))
    if not all(result.proved for _, result in results):
        raise SystemExit(1)


def _tell(analysis: Analysis) -> None:
    note(analysis.message)
