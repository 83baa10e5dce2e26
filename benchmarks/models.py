"""The networks that are measured, and the measurements."""

from pathlib import Path

import numpy as np

from lstmgen.bench import BenchResult, bench, bench_files
from lstmgen.codegen import Effort
from lstmgen.network import Dense, Lstm, Network
from lstmgen.qformat import FloatArray
from lstmgen.quantized import Precision, QuantizedNetwork
from lstmgen.quantizer import quantize
from lstmgen.readers import ReadOptions, read_model
from lstmgen.target import Target, load_target
from lstmgen.toolchain.build import Sources, prefix_of
from lstmgen.verification import model_files

from figures import CLASSES, NO_ROOM, SHAPES

HAR = (
    Path(__file__).resolve().parents[2] / "shared" / "data" / "har" / "embarc_har_2xlstm32.npz"
)
"""embARC MLI's activity recogniser with windows of real data, which is no part of the project."""

HAR_STEPS = 128


def layer(shape: str) -> tuple[Lstm, FloatArray]:
    """Return a shape's LSTM layer, and inputs (sequences, steps, n) to take formats from."""
    n, k = SHAPES[shape]
    r = np.random.default_rng(ord(shape))
    lstm = Lstm(
        "lstm0",
        r.normal(0, 0.23, (4 * k, n)),
        r.normal(0, 0.23, (4 * k, k)),
        r.normal(0, 0.5, 4 * k),
    )
    return lstm, r.normal(0, 0.7, (8, 12, n))


def quantized(shape: str, precision: Precision, head: str | None = None) -> QuantizedNetwork:
    """Return a shape's LSTM alone, or with a dense layer whose activation is `head`.

    Without mid shifts (rule N3b), which random weights do not need and the goals are not for.
    """
    lstm, x = layer(shape)
    if head is None:
        return quantize(Network.of(lstm), precision, x, mid_shift=False, rounding="nearest")
    r = np.random.default_rng(ord(shape) + 1000)
    m = CLASSES[shape]
    dense = Dense("head", r.normal(0, 0.23, (m, lstm.units)), r.normal(0, 0.5, m), head)  # type: ignore[arg-type]
    return quantize(Network.of(lstm, dense), precision, x, mid_shift=False, rounding="nearest")


def measured(target: str, shape: str, precision: Precision) -> BenchResult | None:
    """Return what a step of a shape's LSTM takes."""
    if shape in NO_ROOM.get(target, ""):
        return None
    return bench(quantized(shape, precision), load_target(target))


def head_instructions(
    target: str, shape: str, precision: Precision, activation: str
) -> int | None:
    """Return what the dense layer behind a shape's LSTM takes: a step's instructions less those
    of the same step without it."""
    if shape in NO_ROOM.get(target, ""):
        return None
    q, core = quantized(shape, precision, activation), load_target(target)
    whole = bench(q, core).instructions_per_step
    body = bench(q, core, source=headless(q, core)).instructions_per_step
    return None if whole is None or body is None else whole - body


def headless(q: QuantizedNetwork, target: Target) -> Sources:
    """Return the C of `q` with a step that ends with the state, before the head's layers."""
    files = dict(model_files(q, None, target))
    prefix = prefix_of(files)
    text, call = files[f"{prefix}.c"], f"\n    {prefix}_head(state, y);"
    if text.count(call) != 1:
        raise ValueError(f"{text.count(call)} calls of the head in a step; expected one")
    files[f"{prefix}.c"] = text.replace(call, "")
    return files


def har_inference(precision: Precision) -> tuple[int, int, int]:
    """Return the instructions of an inference of the activity recogniser on the Cortex-M4, of
    one step, and of its last layer, which is computed once.

    Counted on a window of real data, by the step (the mean of its second half).
    """
    network = read_model(HAR, ReadOptions(activations={"pre": "relu"}))
    windows = np.load(HAR)["x"].astype(np.float64)
    q, target = quantize(network, precision, windows, rounding="nearest"), load_target("cortex-m4")
    counts = []
    for files in (model_files(q, None, target), headless(q, target)):
        result = bench_files(
            files,
            target,
            q.to_raw(windows[0]),
            input_bytes=q.x.storage_bits // 8,
            precision=precision,
            macs_per_step=q.macs_per_step,
        )
        assert result.instructions_per_step is not None
        counts.append(result.instructions_per_step)
    whole, body = counts
    return HAR_STEPS * body + whole - body, body, whole - body


def weighed(precision: Precision, effort: Effort) -> BenchResult:
    """Return what LSTM 32, dense 6 and softmax take on the Cortex-M4 at -Os."""
    q = quantized("B", precision, "softmax")
    return bench(q, load_target("cortex-m4"), effort=effort, optimize="-Os")
