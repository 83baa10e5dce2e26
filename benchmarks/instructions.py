"""Executed instructions per step on every core, beside CMSIS-NN's; writes docs/performance.md.

    python benchmarks/instructions.py [--target cortex-m4 ...] [--write]

One LSTM of n inputs and k units with random weights (Gaussian, sigma 0.23) alone, the whole step
counted: call, input copy, matrix products, activations, state update, output copy. The counts are
exact and repeatable (see docs/targets.md); they are instructions, not cycles.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lstmgen.bench import BenchResult, bench
from lstmgen.network import Lstm, Network
from lstmgen.quantized import PRECISIONS, Precision
from lstmgen.quantizer import quantize
from lstmgen.target import load_target

SHAPES = {"A": (1, 16), "B": (9, 32), "C": (28, 20), "D": (10, 128), "E": (1, 40), "F": (64, 64)}

TARGETS = (
    "cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "riscv32",
    "riscv64", "host", "avr",
)

NO_ROOM = {"avr": "DF"}
"""Shapes whose weights are more than a target's constants may take."""

# Instructions per step of CMSIS-NN 99f736a (2026-07-15), arm_lstm_unidirectional_s8 and _s16
# (8-bit weights), arm-none-eabi-gcc 12.2.1 -O3, counted in the same QEMU (7.2) by the same
# method: one stateful call, batch 1, divided by its steps. Its q7 counterpart is s8, that of
# w8a16 is s16.
CMSIS_NN: dict[str, dict[str, tuple[int, ...]]] = {
    "q7": {
        "cortex-m0": (30319, 75780, 51720, 575380, 93602, 274218),
        "cortex-m3": (13342, 34448, 24258, 281113, 42183, 133642),
        "cortex-m4": (12401, 29462, 19864, 207146, 35786, 98438),
        "cortex-m7": (12428, 29487, 19889, 207173, 35813, 98463),
        "cortex-m33": (12307, 29237, 19724, 206268, 35522, 97990),
        "cortex-m55": (6533, 12174, 8871, 66681, 16069, 32230),
    },
    "w8a16": {
        "cortex-m0": (85762, 338652, 242994, 4070069, 422196, 1900584),
        "cortex-m3": (15393, 44769, 31265, 423837, 55741, 199664),
        "cortex-m4": (14104, 34703, 23506, 252382, 41754, 120057),
        "cortex-m7": (13866, 34206, 23201, 250352, 41132, 119048),
        "cortex-m33": (13948, 34352, 23288, 250996, 41332, 119356),
        "cortex-m55": (10863, 22007, 15008, 120723, 27117, 58058),
    },
}

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"

INTRODUCTION = """# Performance

Made by `python benchmarks/instructions.py --write`; gcc {gcc}. Executed instructions per time
step (AVR: cycles) of one LSTM of n inputs and k units alone, with random weights, the whole step
counted; in brackets divided by the multiply-accumulates, 4k(n+k). They are exact and repeatable,
and no cycles: compare figures of one core only. Not measured on silicon.

Below them, what they are spent on: matrix-vector + elementwise + rest, and for the Cortex-M0, M3
and M4 an ESTIMATE of the cycles, from Arm's published timings with memory that never waits
(docs/targets.md says how).

CMSIS-NN: version 99f736a of July 2026, its LSTM with 8-bit weights and 8-bit (beside q7) or
16-bit activations (beside w8a16), same compiler at -O3, same emulator, same way of counting. It
has no LSTM with 16-bit weights. "x" says how many times its instructions ours go into.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--shapes", default="ABCDEF")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    lines = list(page(options.target or TARGETS, options.shapes))
    if options.write:
        PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def page(targets: tuple[str, ...], shapes: str) -> Iterator[str]:
    import subprocess

    gcc = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=True)
    yield from INTRODUCTION.format(gcc=gcc.stdout.strip()).splitlines()
    for name in targets:
        heading = ["", f"## {name}", "", load_target(name).description, ""]
        columns = " | ".join(f"{shape} {SHAPES[shape]}" for shape in shapes)
        table = [f"| | {columns} |", "|---|" + "---:|" * len(shapes)]
        for precision in PRECISIONS:
            results = {s: measured(name, s, precision) for s in shapes}
            table.append(f"| {precision} | " + " | ".join(map(cell, results.values())) + " |")
            theirs = CMSIS_NN.get(precision, {}).get(name)
            if theirs:
                ratios = (
                    beside(results[s], theirs[list(SHAPES).index(s)]) for s in shapes
                )
                table.append("| CMSIS-NN | " + " | ".join(ratios) + " |")
            sizes = (size(result) for result in results.values())
            table.append("| spent on | " + " | ".join(map(spent, results.values())) + " |")
            table.append("| code + weights, state, stack | " + " | ".join(sizes) + " |")
            print("\n".join(table[-4 if theirs else -3 :]), flush=True)
        yield from [*heading, *table]


def measured(target: str, shape: str, precision: Precision) -> BenchResult | None:
    if shape in NO_ROOM.get(target, ""):
        return None
    n, k = SHAPES[shape]
    r = np.random.default_rng(ord(shape))
    network = Network.of(
        Lstm(
            "lstm0",
            r.normal(0, 0.23, (4 * k, n)),
            r.normal(0, 0.23, (4 * k, k)),
            r.normal(0, 0.5, 4 * k),
        )
    )
    q = quantize(network, precision, r.normal(0, 0.7, (8, 12, n)), rounding="nearest")
    return bench(q, load_target(target))


def cell(result: BenchResult | None) -> str:
    if result is None or result.instructions_per_step is None:
        return "-"
    per_mac = result.instructions_per_step / result.macs_per_step
    return f"**{result.instructions_per_step}** ({per_mac:.3f})"


def spent(result: BenchResult | None) -> str:
    """Return the parts of a step, and the estimate of its cycles where there is one."""
    if result is None or result.parts is None:
        return "-"
    parts, cycles = result.parts, result.estimated_cycles
    text = f"{parts.matrix_vector} + {parts.elementwise} + {parts.rest}"
    if cycles is None:
        return text
    span = f"{cycles.low}" if cycles.low == cycles.high else f"{cycles.low} to {cycles.high}"
    return f"{text}; est. {span} cycles"


def beside(result: BenchResult | None, theirs: int) -> str:
    if result is None or result.instructions_per_step is None:
        return str(theirs)
    return f"{theirs}, {theirs / result.instructions_per_step:.1f} x"


def size(result: BenchResult | None) -> str:
    if result is None:
        return "-"
    return (
        f"{result.code_bytes} + {result.weights_bytes}, {result.state_bytes}, "
        f"{result.stack_bytes}"
    )


if __name__ == "__main__":
    main()
