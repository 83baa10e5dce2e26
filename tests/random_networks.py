"""Random networks, each from its seed alone: what the differential tests feed on."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstmgen.codegen import EFFORTS
from lstmgen.layers import Bidirectional, Dense, Gru, Layer, Lstm
from lstmgen.network import Network
from lstmgen.qformat import FloatArray, IntArray
from lstmgen.quantized import QuantizedNetwork
from lstmgen.quantized_layers import QuantizedLstm
from lstmgen.quantizer import quantize
from lstmgen.verification import default_inputs

from builders import PRECISIONS, with_mid_shifts

WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 24, 33)
INNER = ("linear", "relu", "tanh", "sigmoid")
LAST = (*INNER, "softmax", "argmax")
LEVELS = ("-O0", "-Os", "-O2", "-O3")


@dataclass(frozen=True, eq=False)
class Case:
    """A quantized network with raw inputs (B, T, n), and how to generate and compile its C."""

    q: QuantizedNetwork
    x: IntArray
    effort: str
    level: str


def random_case(seed: int) -> Case:
    """Return the case of a seed."""
    r = np.random.default_rng(seed)
    network = random_network(r)
    x = r.normal(0, 0.7, (4, 8, network.inputs)) if r.random() < 0.7 else None
    q = quantize(
        network,
        r.choice(PRECISIONS),
        x,
        table_bits=None if r.random() < 0.7 else int(r.integers(6, 12)),
        mid_shift=[None, False, True][r.integers(3)],
        # Without data there is nothing to compensate by.
        rounding=["nearest", "compensated" if x is not None else "nearest"][r.integers(2)],
    )
    if r.random() < 0.15 and any(isinstance(layer, QuantizedLstm) for layer in q.layers):
        q = with_mid_shifts(q, by_row=bool(r.random() < 0.5))
    inputs = default_inputs(q, r, steps=int(r.integers(1, 7)))
    return Case(q, inputs, str(r.choice(EFFORTS)), str(r.choice(LEVELS)))


def random_network(r: np.random.Generator) -> Network:
    """Return one to five layers, a recurrent one among them: plain LSTMs, or of any kind."""
    plain = r.random() < 0.6
    kinds = list(r.choice(["lstm", "dense"], r.integers(1, 5), p=[0.6, 0.4]))
    if "lstm" not in kinds:
        kinds.insert(int(r.integers(len(kinds) + 1)), "lstm")
    width = int(r.choice(WIDTHS))
    layers: list[Layer] = []
    for at, kind in enumerate(kinds):
        rows = int(r.choice(WIDTHS))
        if kind == "lstm":
            make = _lstm if plain else _variant
            layers.append(make(r, f"lstm{at}", width, rows))
            rows = layers[-1].width
        else:
            last = at == len(kinds) - 1
            activation = str(r.choice(LAST if last else INNER))
            W, b = _weights(r, rows, width), r.normal(0, 0.3, rows)
            layers.append(Dense(f"dense{at}", W, b, activation))  # type: ignore[arg-type]
        width = rows
    outputs = "sequence" if r.random() < 0.5 else "last"
    return Network(tuple(layers), outputs=outputs, name="random")


def _variant(r: np.random.Generator, name: str, inputs: int, units: int) -> Layer:
    """Return a recurrent layer of any kind."""
    if r.random() < 0.3:
        halves = [_one_way(r, f"{name}_{way}", inputs, units, True) for way in ("f", "b")]
        merge = str(r.choice(["concat", "sum", "average", "multiply"]))
        return Bidirectional(name, *halves, merge, str(r.choice(["state", "step"])))
    layer = _one_way(r, name, inputs, units, False)
    return replace(layer, direction=str(r.choice(["forward", "forward", "reverse", "flipped"])))


def _one_way(
    r: np.random.Generator, name: str, inputs: int, units: int, bounded: bool
) -> Lstm | Gru:
    """Return an LSTM or GRU layer; bounded: with values within -1..1, as halves need."""
    functions = ["tanh", "sigmoid", *(() if bounded else ("relu", "linear"))]
    options: dict[str, Any] = {
        "gate": str(r.choice(["sigmoid", "sigmoid", "hard_sigmoid", "hard_sigmoid_6"])),
        "cell": str(r.choice(functions)),
        "clip": None if r.random() < 0.7 else float(r.choice([0.3, 1.0, 5.0, 40.0])),
    }
    if r.random() < 0.4:
        W, U = _weights(r, 3 * units, inputs), _weights(r, 3 * units, units)
        after = bool(r.random() < 0.5)
        b_u = r.normal(0, 0.5, units) if after else np.zeros(units)
        return Gru(name, W, U, r.normal(0, 0.5, 3 * units), b_u, after, **options)
    projected = not bounded and r.random() < 0.3
    width = int(r.choice(WIDTHS)) if projected else units
    if projected:
        options["projection"] = r.normal(0, 0.5, (width, units))
    if r.random() < 0.4:
        options["peephole"] = r.normal(0, r.choice([0.3, 3.0]), (3, units))
    options["output"] = str(r.choice(functions))
    options["cell_clip"] = None if r.random() < 0.7 else float(r.choice([0.2, 2.0, 100.0]))
    W, U = _weights(r, 4 * units, inputs), _weights(r, 4 * units, width)
    return Lstm(name, W, U, r.normal(0, 0.5, 4 * units), **options)


def _lstm(r: np.random.Generator, name: str, inputs: int, units: int) -> Lstm:
    start: dict[str, FloatArray] = {}
    if r.random() < 0.2:
        start = {"h0": r.uniform(-1, 1, units), "c0": r.normal(0, 2, units)}
    return Lstm(
        name,
        _weights(r, 4 * units, inputs),
        _weights(r, 4 * units, units),
        r.normal(0, 0.5, 4 * units),
        **start,
    )


def _weights(r: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Gaussian, or with zeros, with large rows, or all at one magnitude."""
    kind = r.choice(["gauss", "sparse", "large", "extreme"], p=[0.6, 0.15, 0.15, 0.1])
    weights = r.normal(0, r.choice([0.05, 0.23, 0.5]), (rows, columns))
    if kind == "sparse":
        weights[r.random(weights.shape) < 0.8] = 0
    elif kind == "large":
        weights *= np.where(r.random(rows) < 0.2, 20.0, 1.0)[:, None]
    elif kind == "extreme":
        weights = np.where(weights < 0, -1.0, 1.0)
    return weights
