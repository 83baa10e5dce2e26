"""`lstmgen report`: accuracy against the float model."""

import json
from pathlib import Path
from typing import Any

import click

from ..dataset import load_dataset
from ..errors import ModelError
from ..report import Accuracy, measure_accuracy
from . import decibel, show_notes
from .options import json_option, load_source, quantize_options, read_network


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--input", "source", type=click.Path(path_type=Path), required=True, metavar="FILE",
    help="Inputs (B, T, n): .npy, or .npz with x and label or target.",
)
@quantize_options
@click.option(
    "--quantized", type=click.Path(path_type=Path), metavar="Q.npz",
    help="Measure this artefact of the model instead of quantizing now.",
)
@json_option
def report(
    model: Path, source: Path, quantized: Path | None, as_json: bool, **options: Any
) -> None:
    """SQNR is 10 log10(signal / noise) against a float64 run of MODEL on the same inputs."""
    if quantized is None:
        found = load_source(model, options)
        network, q = found.network, found.q
        if network is None:
            raise ModelError(
                f"{model} is quantized; give the float model it came from, and this one as "
                "--quantized"
            )
    else:
        network = read_network(model, options)
        q = load_source(quantized, {}).q
        shape = [layer.width for layer in network.layers], network.inputs, network.outputs
        if shape != ([layer.width for layer in q.layers], q.inputs, q.outputs):
            raise ModelError(f"{quantized} is not quantized from {model}: its layers differ")
    accuracy = measure_accuracy(network, q, load_dataset(source, network.inputs))
    if as_json:
        click.echo(json.dumps(accuracy.to_json(), indent=1))
        return
    show_notes(q.notes)
    for name, value in _rows(accuracy):
        click.echo(f"{name:<28} {value}")


def _rows(accuracy: Accuracy) -> list[tuple[str, str]]:
    rows = [
        ("precision", accuracy.precision),
        ("data", f"{accuracy.sequences} sequences of {accuracy.steps} steps"),
    ]
    # Classes have no distance: of an argmax the share of equal ones, below, says all.
    if accuracy.sqnr_db is not None and accuracy.max_abs_error is not None:
        rows.append(("output SQNR", decibel(accuracy.sqnr_db)))
        rows.append(("output max error", f"{accuracy.max_abs_error:.3g}"))
    for layer in accuracy.layers:
        rows.append((f"{layer.name} hidden SQNR", decibel(layer.hidden_sqnr_db)))
        rows.append((f"{layer.name} hidden max error", f"{layer.max_abs_error:.3g}"))
        rows.append(
            (f"{layer.name} cell saturations", f"{layer.cell_saturations} of {layer.values}")
        )
    for name, count in accuracy.dense_saturations.items():
        rows.append((f"{name} saturations", str(count)))
    rows.append(("input saturations", f"{accuracy.input_saturations} of {accuracy.inputs}"))
    if accuracy.agreement is not None:
        rows.append(("same class as float", f"{100 * accuracy.agreement:.2f} %"))
    if accuracy.metric:
        metric = accuracy.metric
        scale, unit = (100, " %") if metric["name"] == "accuracy" else (1, "")
        for key in ("float", "quantized"):
            rows.append((f"{metric['name']}, {key}", f"{scale * metric[key]:.5g}{unit}"))
    return rows
