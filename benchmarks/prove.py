"""`lstmgen prove` on the examples, a recogniser of activities and an LSTM of 128 units.

    python benchmarks/prove.py [--data ../shared/data] [--only NAME] [--precision P]

Each in all three precisions, for 32-bit integers; prints seconds of the processor and most memory.
Exit 1 if anything is not proved.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import lstmgen
from lstmgen.dataset import load_calibration
from lstmgen.layers import Dense, Lstm
from lstmgen.network import Network
from lstmgen.prove import prove
from lstmgen.qformat import FloatArray
from lstmgen.quantized import PRECISIONS
from lstmgen.quantizer import quantize
from lstmgen.readers import ReadOptions, read_model

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ("next_number", "weather", "digits")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", action="append", help="a network; repeatable")
    parser.add_argument("--precision", action="append", choices=PRECISIONS)
    options = parser.parse_args()
    print("| network | precision | verdict | alarms | seconds | MB | longest analysis |")
    print("|---|---|---|---:|---:|---:|---|", flush=True)
    ok = True
    for name, network, calibration in networks(options.data):
        if options.only and name not in options.only:
            continue
        for precision in options.precision or PRECISIONS:
            q = quantize(network, precision, calibration)
            result = prove(q, name=name)
            slowest = max(result.analyses, key=lambda one: one.result.seconds)
            print(
                f"| {name} | {precision} | {'proved' if result.proved else 'NOT PROVED'} "
                f"| {len(result.alarms)} "
                f"| {sum(one.result.seconds for one in result.analyses):.0f} "
                f"| {max(one.result.megabytes for one in result.analyses)} "
                f"| {slowest.name}, {slowest.result.seconds:.0f} s |",
                flush=True,
            )
            for line in (*result.alarms, *result.differences):
                print(f"  {line}", flush=True)
            ok = ok and result.proved
    return 0 if ok else 1


def networks(data: Path) -> Iterator[tuple[str, Network, FloatArray | None]]:
    """Yield names, networks and calibration data; the recogniser only where its file is."""
    for name in EXAMPLES:
        folder = ROOT / "examples" / name
        network = lstmgen.load(folder / "model.npz")
        yield name, network, load_calibration(folder / "data.npz", network.inputs)
    har = data / "har" / "embarc_har_2xlstm32.npz"
    if har.is_file():
        network = read_model(har, ReadOptions(activations={"pre": "relu"}))
        yield "har", network, np.load(har)["x"][:15].astype(np.float64)
    else:
        print(f"- har is left out: {har.name} is not there", file=sys.stderr)
    yield "lstm_128", large(64, 128, 10), None


def large(inputs: int, units: int, classes: int) -> Network:
    """Return an LSTM and a softmax of random weights, as large as trained ones."""
    r = np.random.default_rng(3)
    lstm = Lstm(
        "lstm",
        r.normal(0, inputs**-0.5, (4 * units, inputs)),
        r.normal(0, units**-0.5, (4 * units, units)),
        r.normal(0, 0.3, 4 * units),
    )
    head = Dense("fc", r.normal(0, units**-0.5, (classes, units)), r.normal(0, 0.1, classes),
                 "softmax")
    return Network.of(lstm, head, name="lstm_128")


if __name__ == "__main__":
    sys.exit(main())
