"""`lstmgen build`: the C of a model."""

from pathlib import Path
from typing import Any

import click

from ..codegen import Effort, footprint
from ..dataset import Dataset, load_calibration
from ..folder import write_folder
from ..output import build as build_files
from ..output import obsolete
from ..report import measure_accuracy
from ..target import load_target
from . import decibel, show_notes
from .options import Source, c_name, effort_option, load_source, output_option, quantize_options

_ACCURACY_SEQUENCES = 64
"""Calibration sequences on which the accuracy is measured: enough for a first figure."""


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", default="host", show_default=True, help="Name, or path of a TOML file.")
@effort_option
@quantize_options
@output_option("Folder to write.  [default: <name>_<target>]")
@click.option("--name", help="Prefix of everything in C.  [default: the network's name]")
@click.option("--force", is_flag=True, help="Write into a folder that is not ours.")
def build(
    model: Path,
    target: str,
    output: Path | None,
    name: str | None,
    force: bool,
    effort: Effort,
    **options: Any,
) -> None:
    """MODEL is a model file or an artefact of `lstmgen quantize`."""
    chosen = load_target(target)
    source = load_source(model, options)
    prefix = c_name(source, name)
    folder = output or Path(f"{prefix}_{chosen.name}")
    files = build_files(source.q, chosen, name=prefix, effort=effort)
    write_folder(files, folder, force, obsolete(files, prefix))
    show_notes(source.q.notes)
    sizes = footprint(source.q, name=prefix, isa=chosen.isa, effort=effort)
    click.echo(f"{folder}: {source.q.precision} for {chosen.name}")
    click.echo(f"  weights   {sizes.weights:>8} bytes of flash")
    click.echo(f"  tables    {sizes.tables:>8} bytes of flash")
    click.echo(f"  state     {sizes.state:>8} bytes of RAM an instance")
    for layer, kernel in sizes.kernels.items():
        click.echo(f"  {layer:<9} {kernel}")
    click.echo(f"  work      {source.q.macs_per_step:>8} multiply-accumulates a step")
    click.echo(f"  accuracy  {_accuracy(source, options)}")
    click.echo(f"  next      lstmgen verify {folder} --target {target}; lstmgen prove {folder}")


def _accuracy(source: Source, options: dict[str, Any]) -> str:
    calibration = options.get("calibration")
    if source.network is None or calibration is None:
        return (
            "not measured: lstmgen report compares an artefact with its float model"
            if source.network is None
            else "not measured: needs --calibration data (or `lstmgen report`)"
        )
    x = load_calibration(calibration, source.q.inputs)[:_ACCURACY_SEQUENCES]
    accuracy = measure_accuracy(source.network, source.q, Dataset(x))
    if accuracy.sqnr_db is None or accuracy.max_abs_error is None:
        share = 100 * (accuracy.agreement or 0)
        return f"{share:.2f} % of the classes are float's, on calibration data"
    return (
        f"{decibel(accuracy.sqnr_db)} output SQNR, max error {accuracy.max_abs_error:.2g}, "
        "on calibration data"
    )
