"""`lstmgen inspect`: the network that a model file holds."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from .. import artefact
from ..errors import ModelError
from ..expect import Agreement, compare
from ..network import Network
from ..npz import read_npz
from ..output import read_folder
from ..quantized import QuantizedNetwork
from ..quantized_layers import kind_of
from ..readers.formats import format_of
from .layers import layer_json, layer_text, run_text
from .options import json_option, model_options, read_network, refuse_options


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@model_options
@click.option(
    "--expect", type=click.Path(path_type=Path), metavar="FILE",
    help="Known inputs x and outputs y, if need be lengths, an .npz.  "
    "[default: MODEL, if it holds them]",
)
@json_option
def inspect(model: Path, expect: Path | None, as_json: bool, **options: Any) -> None:
    """Print layers, shapes and gate order, and everything assumed with the flag that sets it.

    Where outputs are known, a float64 run proves the reading; exit 1 if they differ by more
    than 1e-3 of the largest, with the likely cause if there is one.
    """
    if model.is_dir() or artefact.is_artefact(model):
        if expect is not None:
            raise ModelError(f"{model} is quantized: --expect needs the float model instead")
        refuse_options(model, options)
        q = read_folder(model)[0] if model.is_dir() else artefact.load(model)
        click.echo(json.dumps(_describe_quantized(q), indent=1) if as_json else _table(q))
        return
    network = read_network(model, options)
    proof = None
    if expect is not None:
        proof = compare(network, read_npz(expect), str(expect))
    elif format_of(model).name == "npz":
        known = read_npz(model)
        if {"x", "y"} <= known.keys():
            proof = compare(network, known, str(model))
    if as_json:
        click.echo(json.dumps(_describe(network) | {"expected": _proved(proof)}, indent=1))
    else:
        _print(network)
        if proof is not None:
            click.echo(_sentence(proof, expect or model))
    if proof is not None and not proof.right:
        raise SystemExit(1)


def _proved(proof: Agreement | None) -> dict[str, Any] | None:
    return None if proof is None else {**asdict(proof), "right": proof.right}


def _sentence(proof: Agreement, file: Path) -> str:
    found = (
        f"{file}: float64 differs from its y by up to {proof.max_abs_error:.2g}, "
        f"largest |y| {proof.largest:.3g}, {proof.sequences} sequences"
    )
    if proof.right:
        return f"- {found}: read right"
    why = proof.cause or "check --head, --activation and the gate order"
    return f"- {found}: NOT READ RIGHT; {why}"


def _print(network: Network) -> None:
    click.echo(f"{network.name}: {network.inputs} inputs, {network.width} outputs")
    for layer in network.layers:
        click.echo(f"  {layer.name:<12} {layer_text(layer)}")
    click.echo(f"  {network.macs_per_step} multiply-accumulates a step")
    click.echo(f"  {run_text(network)}")
    for line in network.notes:
        click.echo(f"- {line}")


def _describe(network: Network) -> dict[str, Any]:
    return {
        "name": network.name,
        "inputs": network.inputs,
        "width": network.width,
        "outputs": network.outputs,
        "streams": network.streams,
        "input_range": network.input_range,
        "macs_per_step": network.macs_per_step,
        "layers": [layer_json(layer) for layer in network.layers],
        "notes": list(network.notes),
    }


def _describe_quantized(q: QuantizedNetwork) -> dict[str, Any]:
    return {
        "name": q.name,
        "precision": q.precision,
        "sha256": q.digest(),
        "inputs": q.inputs,
        "width": q.width,
        "outputs": q.outputs,
        "macs_per_step": q.macs_per_step,
        **q.interface(),
        "layers": [
            {
                "name": layer.name,
                "type": kind_of(layer),
                "inputs": layer.inputs,
                "outputs": layer.width,
                "x": str(layer.x),
                "y": str(layer.y),
            }
            for layer in q.layers
        ],
        "notes": list(q.notes),
    }


def _table(q: QuantizedNetwork) -> str:
    lines = [f"{q.name}: quantized to {q.precision}, {q.inputs} inputs, {q.width} outputs"]
    for layer in q.layers:
        x = "by feature" if layer is q.layers[0] and q.scaling is not None else layer.x
        lines.append(
            f"  {layer.name:<12} {kind_of(layer)} {layer.inputs} ({x}) -> {layer.width} ({layer.y})"
        )
    if q.scaling is not None:
        lines += [
            f"  feature {j:<4} (x {offset:+d}) * 2^{-frac}, real {lowest:.6g} .. {highest:.6g}"
            for j, (frac, offset, lowest, highest) in enumerate(_features(q))
        ]
    return "\n".join([*lines, *(f"- {line}" for line in q.notes)])


def _features(q: QuantizedNetwork) -> Iterable[tuple[int, int, float, float]]:
    """Return fraction bits, offset and the least and greatest real value of each feature."""
    held = q.interface()["input"]
    ends = (q.input_to_real(np.full(q.inputs, end)) for end in q.input_span)
    return zip(held["frac"], held["offset"], *ends, strict=True)
