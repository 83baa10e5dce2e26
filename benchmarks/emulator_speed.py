"""Sequences per second of the emulator's fast way, beside PyTorch's float LSTM in the same run.

One LSTM of 9 inputs and 32 units over 128 steps, the whole sequence out, one BLAS thread:

    python benchmarks/emulator_speed.py [--batch 256] [--seconds 4]

PyTorch's row appears where PyTorch is installed. Machines are noisy: the best of many runs is
printed, and the two kinds of run take turns.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable

import numpy as np

from lstmgen.emulator import Emulator
from lstmgen.network import Lstm, Network
from lstmgen.quantized import PRECISIONS
from lstmgen.quantizer import quantize

INPUTS, UNITS, STEPS = 9, 32, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each row")
    options = parser.parse_args()
    network = example()
    x = np.random.default_rng(1).normal(0, 0.7, (options.batch, STEPS, INPUTS))
    runs: dict[str, Callable[[], object]] = {
        precision: emulation(network, precision, x) for precision in PRECISIONS
    }
    torch_run = torch_float(network, x)
    if torch_run is not None:
        runs["torch float32"] = torch_run
    print(f"n={INPUTS} k={UNITS} T={STEPS} batch={options.batch}, one thread")
    for name, seconds in best_times(runs, options.seconds).items():
        print(f"{name:<14} {options.batch / seconds:>9.0f} sequences/s")
    if torch_run is None:
        print("torch float32  not installed")


def example() -> Network:
    r = np.random.default_rng(0)
    layer = Lstm(
        "lstm0",
        r.normal(0, 0.23, (4 * UNITS, INPUTS)),
        r.normal(0, 0.23, (4 * UNITS, UNITS)),
        r.normal(0, 0.5, 4 * UNITS),
    )
    return Network.of(layer, outputs="sequence")


def emulation(network: Network, precision: str, x: np.ndarray) -> Callable[[], object]:
    q = quantize(network, precision, x, rounding="nearest")
    raw = q.to_raw(x)
    emulator = Emulator(q)

    def run() -> object:
        emulator.reset(len(raw))
        return emulator.run(raw)

    return run


def torch_float(network: Network, x: np.ndarray) -> Callable[[], object] | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    layer = network.lstms[0]
    lstm = torch.nn.LSTM(INPUTS, UNITS, batch_first=True)
    state = {
        "weight_ih_l0": layer.W, "weight_hh_l0": layer.U,
        "bias_ih_l0": layer.b, "bias_hh_l0": np.zeros_like(layer.b),
    }
    lstm.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    data = torch.tensor(x, dtype=torch.float32)

    def run() -> object:
        with torch.inference_mode():
            return lstm(data)

    return run


def best_times(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Return the least seconds of each run; they take turns until their time is up."""
    best = dict.fromkeys(runs, float("inf"))
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
