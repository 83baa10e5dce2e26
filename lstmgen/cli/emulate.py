"""`lstmgen emulate`: bit-exact inference on arrays."""

import os
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..dataset import Dataset, load_dataset
from ..emulate import emulate as emulate_chunks
from ..emulate import output_shape
from ..errors import OutputError
from ..quantized import QuantizedNetwork
from . import note, show_notes
from .options import (
    load_source,
    output_option,
    quantize_options,
    refuse_input_as_output,
    refuse_overwriting,
)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--input", "source", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="Inputs (B, T, n): a .npy of any size, or an .npz with x, and lengths where they differ.",
)
@output_option("File to write, a .npy.", required=True)
@click.option("--raw", is_flag=True, help="Write the integers instead of real values.")
@click.option("--force", is_flag=True, help="Overwrite the output file.")
@quantize_options
def emulate(
    model: Path, source: Path, output: Path, raw: bool, force: bool, **options: Any
) -> None:
    """The outputs are (B, width), or (B, T, width) for a network that outputs the sequence."""
    if output.suffix not in ("", ".npy"):
        raise OutputError(f"{output}: only .npy is written; choose a name that ends so")
    if not force:
        refuse_overwriting(output)
    refuse_input_as_output(output, model, source, options.get("calibration"))
    q = load_source(model, options).q
    show_notes(q.notes)
    data = load_dataset(source, q.inputs)
    x = data.x
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        clipped = _write(q, data, part, raw)
        part.replace(output)
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    if clipped:
        what = q.x if q.scaling is None else "the formats of their features"
        note(f"- {clipped} of {x.size} inputs lie beyond {what} and were limited to it")
    note(f"{output}: {output_shape(q, x)} {'raw ' + str(q.y) if raw else 'real values'}")


def _write(q: QuantizedNetwork, data: Dataset, file: Path, raw: bool) -> int:
    """Write the outputs and return how many inputs were limited to their format."""
    x = data.x
    # Real values are exact in float64: 32 bits times a power of two.
    kind = np.dtype(f"<i{q.y.storage_bits // 8}") if raw else np.dtype("<f8")
    shape = output_shape(q, x)
    out = np.lib.format.open_memmap(file, "w+", kind, shape)
    quiet = click.get_current_context().find_root().obj["quiet"]
    clipped = 0
    with click.progressbar(
        length=x.shape[0] * x.shape[1],
        label="time steps",
        file=sys.stderr,
        hidden=quiet or not sys.stderr.isatty(),
    ) as bar:
        for chunk in emulate_chunks(q, x, data.lengths):
            if chunk.y is not None:
                where = (chunk.rows, chunk.steps) if q.outputs == "sequence" else chunk.rows
                out[where] = chunk.y if raw else q.y.to_real(chunk.y)
            clipped += chunk.clipped
            bar.update(chunk.done)
    out.flush()
    return clipped
