"""As many operands as one likes on every core: `make soak-primitives OPERANDS=N`, or cores after N.

Each round has other weights, biases, shifts and operands; kernels of every effort take turns.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, product
from pathlib import Path

from lstmgen.target import Target, load_target

from builders import PRECISIONS
from operands import cell_sweeps, extremes, head_sweep, noise
from primitives import HEADS, SHIFTS, cells, heads, products
from swept import Swept

EFFORTS = ("speed", "balanced", "size")
FLAVOURS = {
    **{name: (name, None) for name in ("host", "cortex-m0", "cortex-m3", "cortex-m4")},
    **{name: (name, None) for name in ("cortex-m55", "riscv32")},
    "portable C": ("host", "portable"),
}
"""A target, and an instruction set other than its own."""


def rounds() -> Iterator[tuple[int, str, str, str]]:
    """Yield (seed, precision, shifts, effort), every combination of them before the next seed."""
    for seed in count():
        for choice in product(PRECISIONS, SHIFTS, EFFORTS):
            yield (seed, *choice)


def operands(target: Target, seed: int, precision, shifts, effort) -> int:
    """Compare one round; return how many operands were equal."""
    total = 0
    with tempfile.TemporaryDirectory(prefix="lstmgen-soak-") as name:
        folder = Path(name)
        q = cells(precision, shifts, seed)
        swept = Swept(q, target, folder / "cells", effort)
        total += sum(swept.count(sweep) for sweep in cell_sweeps(q, seed))
        total += sum(swept.count(noise(q, part, 1 << 16)) for part in range(seed, seed + 8))
        head = HEADS[(seed + EFFORTS.index(effort) + 3 * SHIFTS.index(shifts)) % len(HEADS)]
        q = heads(precision, head, seed)
        total += Swept(q, target, folder / "head", effort).count(head_sweep(q, seed))
        shape = ((seed * 7 + SHIFTS.index(shifts)) % 40 + 1, (seed * 5 + len(effort)) % 36 + 1)
        q = products(precision, *shape, seed)
        swept = Swept(q, target, folder / "products", effort)
        total += swept.count(noise(q, seed, 1 << 14)) + swept.count(extremes(q, seed, 1 << 14))
    return total


def soak(flavour: str, wanted: int) -> int:
    """Run rounds until there are `wanted` operands; return how many there were."""
    name, isa = FLAVOURS[flavour]
    target = load_target(name)
    target = target if isa is None else replace(target, isa=isa)
    total, start = 0, time.monotonic()
    for choice in rounds():
        total += operands(target, *choice)
        took = time.monotonic() - start
        print(f"{flavour}: {total:,} operands equal after {choice}, {took:.0f} s", flush=True)
        if total >= wanted:
            return total
    raise AssertionError("rounds do not end")


def main(wanted: str, *flavours: str) -> None:
    found = {flavour: soak(flavour, int(wanted)) for flavour in flavours or FLAVOURS}
    for flavour, total in found.items():
        print(f"{flavour}: {total:,} operands equal")


if __name__ == "__main__":
    main(*sys.argv[1:])
