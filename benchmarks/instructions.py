"""Executed instructions per step on every core, beside CMSIS-NN's; writes docs/performance.md.

    python benchmarks/instructions.py [--only cortex-m4 --only har ...] [--write]

One LSTM of n inputs and k units with random weights (Gaussian, sigma 0.23) alone, the whole step
counted: call, input copy, matrix products, activations, state update, output copy; then the dense
layer behind it, embARC MLI's activity recogniser, and flash. The counts are exact and repeatable
(see docs/targets.md); they are instructions, not cycles. --write replaces the sections that were
measured, each as soon as it is, and leaves the others.
"""

import argparse
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from figures import GOALS, TARGETS
from tables import MISSED, core_section, flash_section, har_section

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"

INTRODUCTION = """# Performance

Made by `python benchmarks/instructions.py --write`; gcc {gcc}. Executed instructions per time
step (AVR: cycles) of one LSTM of n inputs and k units alone, with random weights, the whole step
counted; in brackets divided by the multiply-accumulates, 4k(n+k), which is what the goals are for.
They are exact and repeatable, and no cycles: compare figures of one core only. Not measured on
silicon.

Below them, what they are spent on: matrix-vector + elementwise + rest, and for the Cortex-M0, M3
and M4 an ESTIMATE of the cycles, from Arm's published timings with memory that never waits
(docs/targets.md says how). Then the dense layer behind the LSTM, from its k values to 1, 6, 10, 12,
1 and 8 results: what a step takes more with it than without. Without softmax it hands on its sums,
where CMSIS-NN's rounds them to 8 or 16 bits.

CMSIS-NN: version 99f736a of July 2026, its LSTM with 8-bit weights and 8-bit (beside q7) or
16-bit activations (beside w8a16), same compiler at -O3, same emulator, same way of counting. It
has no LSTM with 16-bit weights. "x" says how many times its instructions ours go into.
"""

SECTIONS: dict[str, Callable[[], Iterator[str]]] = {
    **{name: partial(core_section, name) for name in TARGETS},
    "har": har_section,
    "flash": flash_section,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=SECTIONS, metavar="|".join(SECTIONS))
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    known = sections(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    for name in options.only or SECTIONS:
        lines = []
        for line in SECTIONS[name]():
            print(line, flush=True)
            lines.append(line)
        known[name] = "\n".join(lines).strip()
        if options.write:
            PAGE.write_text(page(known), encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    """Return a page's sections by the names in their headings, without the headings."""
    parts = re.split(r"^## (.+)$", text, flags=re.M)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def page(known: dict[str, str]) -> str:
    """Return the page with those sections that are known."""
    command = ["arm-none-eabi-gcc", "-dumpfullversion"]
    gcc = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    text = INTRODUCTION.format(gcc=gcc) + "\n## goals\n\n" + "\n".join(goals(known)) + "\n"
    return text + "".join(f"\n## {name}\n\n{known[name]}\n" for name in SECTIONS if name in known)


def goals(known: dict[str, str]) -> Iterator[str]:
    """Yield a line for each section that has goals: whether all are met, or which are not."""
    for name in (*GOALS, "har", "flash"):
        if name in known:
            missed = [line for line in known[name].splitlines() if line.startswith(MISSED)]
            yield f"- {name}: {missed[0].removeprefix(MISSED) if missed else 'all met'}"


if __name__ == "__main__":
    main()
