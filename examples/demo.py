"""What `make demo` runs: trained models through the whole tool, with proof and figures.

Each example is read, quantized on its calibration data, written as C for the Cortex-M4,
emulated on its test inputs and compared with the C: compiled by the host's gcc, and, where
the cross tools are installed, run on a Cortex-M4 in QEMU.
"""

import sys
from pathlib import Path

import numpy as np

import lstmgen
from lstmgen.bench import BenchResult, bench
from lstmgen.dataset import Dataset, load_calibration, load_dataset
from lstmgen.errors import LstmgenError
from lstmgen.folder import write_folder
from lstmgen.output import build
from lstmgen.quantized import PRECISIONS, QuantizedNetwork
from lstmgen.report import measure_accuracy
from lstmgen.target import Target
from lstmgen.toolchain import missing_tools
from lstmgen.verification import verify

EXAMPLES = Path(__file__).resolve().parent
OUTPUT = EXAMPLES.parent / "build" / "demo"
VERIFIED_SEQUENCES = 6


def main() -> int:
    arm = lstmgen.load_target("arm")
    host = lstmgen.load_target("host")
    missing = missing_tools(arm)
    print(
        f"{'example':<12} {'precision':<9} {'float':>9} {'quantized':>9} {'flash':>7} {'RAM':>5}"
        f" {'a step':>7}  {'C on the host':<17} C on the Cortex-M4"
    )
    ok = True
    for name in ("next_number", "weather", "digits"):
        folder = EXAMPLES / name
        network = lstmgen.load(folder / "model.npz")
        calibration = load_calibration(folder / "data.npz", network.inputs)
        data = load_dataset(folder / "data.npz", network.inputs)
        for precision in PRECISIONS:
            q = lstmgen.quantize(network, precision, calibration)
            metric = measure_accuracy(network, q, data).metric
            out = OUTPUT / f"{name}_{precision}"
            write_folder(build(q, arm, name=name), out)
            on_host, equal_host = compare(q, None, host, data)
            on_arm, equal_arm = ("needs QEMU", True) if missing else compare(q, out, arm, data)
            cost = (
                bench(q, host, optimize="-Os")
                if missing
                else bench(q, arm, source=out, optimize="-Os")
            )
            print(
                f"{name:<12} {precision:<9} {shown(metric, 'float'):>9} "
                f"{shown(metric, 'quantized'):>9} {flash(cost):>7} {cost.state_bytes:>5} "
                f"{cost.instructions_per_step or '-':>7}  {on_host:<17} {on_arm}"
            )
            ok = ok and equal_host and equal_arm
    print()
    print("float, quantized: accuracy on test data (next_number: RMSE, less is better)")
    print(
        f"flash, RAM: bytes, code at -Os for the {'host' if missing else 'Cortex-M4'}; "
        "RAM of one instance; a step: executed instructions"
    )
    print(f"the C lies in {OUTPUT}")
    if missing:
        packages = sorted({p for names in missing.values() for p in names})
        print(f"for the Cortex-M4: apt-get install {' '.join(packages)}")
    print("emulator and C are equal to the bit" if ok else "EMULATOR AND C DIFFER")
    return 0 if ok else 1


def compare(
    q: QuantizedNetwork, out: Path | None, target: Target, data: Dataset
) -> tuple[str, bool]:
    """Return what to print of emulator against C on test inputs, and whether they are equal.

    out: a folder built for the target, or None to generate one for it now.
    """
    x = q.to_raw(np.asarray(data.x[:VERIFIED_SEQUENCES, :64], np.float64))
    result = verify(q, out, target, x)
    return (
        f"equal, {result.values}" if result.equal else f"DIFFERS: {result.message}"
    ), result.equal


def shown(metric: dict[str, object], key: str) -> str:
    value = float(str(metric[key]))
    return f"{100 * value:.2f} %" if metric["name"] == "accuracy" else f"{value:.5f}"


def flash(cost: BenchResult) -> int:
    return cost.code_bytes + cost.table_bytes + cost.weights_bytes


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LstmgenError as error:
        sys.exit(f"demo: {error}")
