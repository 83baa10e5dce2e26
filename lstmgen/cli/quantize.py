"""`lstmgen quantize`: the integer artefact of a model."""

from pathlib import Path
from typing import Any

import click

from .. import artefact
from ..bounds import bound_table
from . import show_notes
from .options import (
    load_source,
    output_option,
    quantize_options,
    refuse_input_as_output,
    refuse_overwriting,
)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@quantize_options
@output_option("File to write, an .npz.", required=True)
@click.option("--force", is_flag=True, help="Overwrite a file that lstmgen did not write.")
def quantize(model: Path, output: Path, force: bool, **options: Any) -> None:
    """Formats come from --calibration data, else from the input range and safe bounds.

    Every row's accumulator is proved to stay below 2^31 for any input in its format.
    """
    if not force:
        refuse_overwriting(output, ours=artefact.is_artefact)
    refuse_input_as_output(output, model, options.get("calibration"))
    q = load_source(model, options).q
    artefact.save(q, output)
    show_notes(q.notes)
    for layer, bounds in zip(q.parts, bound_table(q), strict=True):
        if not len(bounds.bound):
            continue  # a table, which sums nothing
        click.echo(
            f"{layer.name:<12} {layer.x!s:>7} -> {layer.y!s:>7}   "
            f"worst accumulator {int(bounds.bound.max())}, {bounds.margin_bits:.1f} bits to spare"
        )
    click.echo(f"{output}: {q.precision}, {q.digest()[:16]}")
