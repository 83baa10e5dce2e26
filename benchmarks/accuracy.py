"""Accuracy on the reference models, against float64 and beside peers; writes docs/accuracy.md.

    python benchmarks/accuracy.py [--data ../shared/data] [--write]

Each network is quantized in the default way, by its calibration data alone, and measured on
other data. Peers' figures are of the same networks and data, from their own tools.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lstmgen import reference
from lstmgen.dataset import Dataset
from lstmgen.layers import Dense, Layer, Lstm
from lstmgen.network import Network
from lstmgen.quantized import PRECISIONS, Precision
from lstmgen.quantizer import Rounding, quantize
from lstmgen.readers import ReadOptions, read_model
from lstmgen.report import Accuracy, measure_accuracy

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "accuracy.md"

GOALS = {
    "har": (78, 62, 48),
    "digits_lstm32": (76, 51, 44),
    "mackey_stacked2x32_seq": (68, 57, 30),
}
"""Output SQNR in dB to reach, by precision."""

PEERS = {
    "har": "embARC MLI 2.0.2 on the same windows: fx16 66.1, fx16 x fx8 32.3, sa8 10.3; "
    "TFLite int8 42.8 with a float first layer",
    "digits_lstm32": "TFLite int8 35.9, TFLite Micro 16x8 36.8",
    "mackey_stacked2x32_seq": "TFLite int8 26.8, TFLite Micro 16x8 43.7",
}
"""Output SQNR in dB that other tools reach on the same network."""

INTRODUCTION = """# Accuracy

Made by `python benchmarks/accuracy.py --write`. SQNR in dB, 10 log10(signal / noise), against a
float64 run on data that quantization has not seen; one default for all networks: `auto` rounding
chooses by held-back calibration data. "Nearest" is rounding to nearest in the same formats.
"Weights alone" tells how far better rounding could lead: the float network with these very weights
and biases, all else exact. Errors that cancel may bring a result slightly above it.
"""


@dataclass(frozen=True)
class Task:
    """A network, calibration data (B, T, n), and the data to measure on."""

    name: str
    network: Network
    calibration: np.ndarray
    data: Dataset
    split: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    if not options.data.is_dir():
        raise SystemExit(f"{options.data} is absent: the reference models are not part of this")
    lines = []
    for line in page(options.data):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def tasks(folder: Path) -> Iterator[Task]:
    har = np.load(folder / "har" / "embarc_har_2xlstm32.npz")
    network = read_model(
        folder / "har" / "embarc_har_2xlstm32.npz", ReadOptions(activations={"pre": "relu"})
    )
    x, label = har["x"].astype(np.float64), har["label"]
    yield Task(
        "har", network, x[:15], Dataset(x[15:], label[15:]), "15 windows to calibrate, 15 to test"
    )
    for name in ("digits_lstm32", "mackey_stacked2x32_seq"):
        arrays = np.load(folder / name / "data.npz")
        label, target = (
            (arrays["y_test"], None) if "digits" in name else (None, arrays["y_test"])
        )
        yield Task(
            name,
            read_model(folder / name / "model.keras"),
            arrays["x_calib"].astype(np.float64),
            Dataset(arrays["x_test"].astype(np.float64), label, target),
            f"{len(arrays['x_calib'])} sequences to calibrate, {len(arrays['x_test'])} to test",
        )


def page(folder: Path) -> Iterator[str]:
    yield from INTRODUCTION.splitlines()
    for task in tasks(folder):
        yield from ("", f"## {task.name}", "", f"{task.split}. {PEERS[task.name]}.", "")
        yield "| | output | goal | nearest | weights alone | hidden, by layer | metric | chosen |"
        yield "|---|---:|---:|---:|---:|---|---|---|"
        for precision, goal in zip(PRECISIONS_BY_GOAL, GOALS[task.name], strict=True):
            yield row(task, precision, goal)


PRECISIONS_BY_GOAL: tuple[Precision, ...] = ("q15", "w8a16", "q7")
assert set(PRECISIONS_BY_GOAL) == set(PRECISIONS)


def row(task: Task, precision: Precision, goal: int) -> str:
    q, best = measured(task, precision, "auto")
    _, nearest = measured(task, precision, "nearest")
    hidden = ", ".join(f"{layer.hidden_sqnr_db:.1f}" for layer in best.layers)
    chosen = q.notes[-1].removeprefix("rounding ").partition(":")[0]
    missed = "" if decibel(best) >= goal else " (missed)"
    return (
        f"| {precision} | **{decibel(best):.1f}** | {goal}{missed} | {decibel(nearest):.1f} | "
        f"{weights_alone(task, q):.1f} | {hidden} | {metric(best)} | {chosen} |"
    )


def measured(task: Task, precision: Precision, rounding: Rounding) -> tuple[Any, Accuracy]:
    q = quantize(task.network, precision, task.calibration, rounding=rounding)
    return q, measure_accuracy(task.network, q, task.data)


def decibel(accuracy: Accuracy) -> float:
    assert accuracy.sqnr_db is not None
    return accuracy.sqnr_db


def metric(accuracy: Accuracy) -> str:
    found = accuracy.metric
    if found["name"] == "accuracy":
        return f"{100 * found['quantized']:.2f} % (float {100 * found['float']:.2f} %)"
    return f"RMSE {found['quantized']:.5f} (float {found['float']:.5f})"


def weights_alone(task: Task, q: Any) -> float:
    """Return the SQNR of the float network with the quantized weights and biases."""
    exact: list[Layer] = []
    for layer, made in zip(task.network.layers, q.layers, strict=True):
        half = np.where(made.shift > 0, 2.0 ** (made.shift - 1.0), 0.0)
        if isinstance(layer, Lstm):
            mid = made.mid_shift
            whole = made.shift + mid
            half = np.where(whole > 0, 2.0 ** (whole - 1.0), 0.0)
            W = made.wx * 2.0 ** -(made.frac - made.x.frac - made.x_shift)[:, None].astype(float)
            U = made.wh * 2.0 ** -(made.frac + mid - made.h.frac)[:, None].astype(float)
            b = (made.bias - half) * 2.0 ** -(made.frac + mid).astype(float)
            exact.append(Lstm(layer.name, W, U, b))
        else:
            assert isinstance(layer, Dense)
            scale = np.log(2.0) if layer.activation == "softmax" else 1.0
            W = made.w * 2.0 ** -(made.frac - made.x.frac)[:, None].astype(float) * scale
            b = (made.bias - half) * 2.0 ** -made.frac.astype(float) * scale
            exact.append(Dense(layer.name, W, b, layer.activation))
    network = Network(tuple(exact), outputs=task.network.outputs)
    x = np.asarray(task.data.x, np.float64)
    # The weights take inputs by feature as they are scaled.
    scaled = x if q.scaling is None else q.scaling.scaled(q.x, x)
    y, expected = reference.run(network, scaled).y, reference.run(task.network, x).y
    return float(10 * np.log10(np.sum(expected**2) / np.sum((y - expected) ** 2)))


if __name__ == "__main__":
    main()
