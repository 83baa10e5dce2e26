"""`lstmgen report`: accuracy against the float model."""

import json
from pathlib import Path
from typing import Any

import click

from ..dataset import load_dataset
from ..errors import ModelError, OutputError
from ..findings import Findings, measure_findings
from ..folder import write_file
from ..html_report import MARK as PAGE_MARK
from ..html_report import html_page, report_json
from ..network import Network
from ..plots import MARK as PLOT_MARK
from ..plots import draw_png, need_matplotlib
from ..quantized import QuantizedNetwork
from ..report import Accuracy, measure_accuracy
from ..sections import make_sections
from . import decibel, note, show_notes
from .options import (
    json_option,
    load_source,
    quantize_options,
    read_network,
    refuse_input_as_output,
    refuse_overwriting,
)


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
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE",
    help="Write a page that shows where the loss is; it needs no network.",
)
@click.option(
    "--plots", type=click.Path(path_type=Path), metavar="FOLDER",
    help="Write the page's plots as PNG; needs the extra plots.",
)
@click.option("--force", is_flag=True, help="Overwrite files that lstmgen did not write.")
@json_option
def report(
    model: Path,
    source: Path,
    quantized: Path | None,
    html: Path | None,
    plots: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """SQNR is 10 log10(signal / noise) against a float64 run of MODEL on the same inputs."""
    if html is not None:
        if not force:
            refuse_overwriting(html, lambda file: _holds(file, PAGE_MARK), "--html")
        inputs = (model, source, quantized, options.get("calibration"))
        refuse_input_as_output(html, *inputs, option="--html")
    if plots is not None:
        need_matplotlib()
        if plots.exists() and not plots.is_dir():
            raise OutputError(f"{plots} is a file; expected a folder: choose another --plots")
    network, q = _networks(model, quantized, options)
    data = load_dataset(source, network.inputs)
    accuracy = measure_accuracy(network, q, data)
    findings = None
    if as_json or html is not None or plots is not None:
        findings = measure_findings(network, q, data)
        if plots is not None:
            _write_plots(accuracy, findings, plots, force)
        if html is not None:
            write_file(html_page(accuracy, findings).encode(), html)
    if as_json and findings is not None:
        click.echo(json.dumps(report_json(accuracy, findings), indent=1))
        return
    show_notes(q.notes)
    for name, value in _rows(accuracy):
        click.echo(f"{name:<28} {value}")
    if html is not None:
        note(f"{html}: a page of {html.stat().st_size} bytes")


def _networks(
    model: Path, quantized: Path | None, options: dict[str, Any]
) -> tuple[Network, QuantizedNetwork]:
    """Return the float network, and the quantized one that is to be measured."""
    if quantized is None:
        found = load_source(model, options)
        if found.network is None:
            raise ModelError(
                f"{model} is quantized; give the float model it came from, and this one as "
                "--quantized"
            )
        return found.network, found.q
    network = read_network(model, options)
    q = load_source(quantized, {}).q
    shape = [layer.width for layer in network.layers], network.inputs, network.outputs
    if shape != ([layer.width for layer in q.layers], q.inputs, q.outputs):
        raise ModelError(f"{quantized} is not quantized from {model}: its layers differ")
    return network, q


def _write_plots(accuracy: Accuracy, findings: Findings, folder: Path, force: bool) -> None:
    """Write a PNG per figure, all of them or, where one would overwrite another's file, none."""
    figures = [f for section in make_sections(accuracy, findings) for f in section.figures]
    files = {folder / f"{figure.key}.png": draw_png(figure) for figure in figures}
    if not force:
        for file in files:
            refuse_overwriting(file, lambda file: _holds(file, PLOT_MARK), "--plots")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}") from error
    for file, data in files.items():
        write_file(data, file)
    note(f"{folder}: {len(files)} plots")


def _holds(file: Path, mark: bytes) -> bool:
    """Whether the file is one that a report wrote."""
    return file.is_file() and mark in file.read_bytes()


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
