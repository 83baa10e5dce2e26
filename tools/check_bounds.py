#!/usr/bin/env python3
"""Recompute every row's worst sum from the numbers in the C and compare it with the report.

    python check_bounds.py FOLDER [REPORT.json]

FOLDER: portable C, as `lstmgen build` (for a target without kernels) or `lstmgen prove --keep`
writes it. Needs no lstmgen. Exit 1 where a row differs or could overflow, 2 where nothing can be
told. What |x| and |h| can be is the report's `reach`, which `lstmgen prove` shows.
"""

import json
import re
import sys
from pathlib import Path

INT32_MAX = 2**31 - 1


def main(folder: Path, report: Path | None) -> int:
    """Check a folder against its report, or another one's, and return the exit status."""
    source = next(folder.glob("*_weights.c"))
    name = source.name.removesuffix("_weights.c")
    report = report or folder / f"{name}_report.json"
    code, header = ((folder / f"{name}{end}").read_text() for end in (".c", ".h"))
    arrays = read_arrays(source.read_text())
    layers = [layer for layer in json.loads(report.read_text())["layers"] if "bounds" in layer]
    problems, checked = [], 0
    least = int(re.search(r"_INPUT_MIN \((-?\d+)\)", header)[1])
    if least < 0 and layers[0]["reach"]["x"] != -least:
        problems.append(f"{name}.h: INPUT_MIN is {least}, the report's reach is another")
    for layer in layers:
        symbol, rows = layer["symbol"], layer["bounds"]
        if f"{symbol}_bias" not in arrays:
            print(f"{source}: no {symbol}_bias; kernels pack it: see `lstmgen prove --keep`")
            return 2
        body = re.search(rf" {symbol}_step\(\n.*?\n}}\n", code, re.DOTALL)[0]
        of_layer = dense_row if f"{symbol}_w" in arrays else recurrent_row
        for told in rows:
            row = told["row"]
            found, lines = of_layer(arrays, body, symbol, layer["reach"], row, len(rows))
            expected = (told["bound"], told.get("partial", 0))
            if found != expected or max(found) > INT32_MAX:
                problems.append(
                    f"{source.name}: {symbol} row {row}: the worst sums are {found}, the report "
                    f"has {expected}, int32 has {INT32_MAX}; its numbers are in lines "
                    f"{', '.join(map(str, sorted(lines)))}"
                )
            checked += 1
    print("\n".join(problems) or f"{source}: {checked} rows, each as the report has it")
    return 1 if problems else 0


def read_arrays(text):
    """Return all numbers of each constant array by its name, each with its line."""
    found = {}
    for array in re.finditer(r"\b(\w+)(?:\[[^\]]*\])+ = (\{.*?\});", text, re.DOTALL):
        first = text.count("\n", 0, array.start(2)) + 1
        found[array[1]] = [
            (int(number), first + at)
            for at, line in enumerate(array[2].split("\n"))
            for number in re.findall(r"-?\d+", line)
        ]
    return found


def size(numbers):
    """Return the sum of magnitudes."""
    return sum(abs(number) for number, _ in numbers)


def dense_row(arrays, body, symbol, reach, row, rows):
    """Return a row's largest |sum|, 0, and the lines it comes from; weights are [row][input]."""
    bias = [arrays[f"{symbol}_bias"][row]]
    w, skip = (
        numbers[row * (len(numbers) // rows) : (row + 1) * (len(numbers) // rows)]
        for numbers in (arrays[f"{symbol}_w"], arrays.get(f"{symbol}_skip", []))
    )
    total = size(w) * reach["x"] + size(skip) * reach.get("own", 0) + size(bias)
    return (total, 0), {line for _, line in w + skip + bias}


def recurrent_row(arrays, body, symbol, reach, row, rows):
    """Return the same, with the first of two sums, of an LSTM or GRU: [unit][input][gate]."""
    names = "ifgo" if " acc_o " in body else "rzn"
    gates, units = len(names), rows // len(names)
    gate, unit = divmod(row, units)

    def of_row(suffix):
        numbers = arrays[f"{symbol}_{suffix}"]
        count = len(numbers) // units
        return numbers[unit * count : (unit + 1) * count][gate::gates]

    wx, wh, bias = (of_row(suffix) for suffix in ("wx", "wh", "bias"))
    factor = re.search(rf"\(acc_{names[gate]} \* (\d+)\)", body)  # rule N2
    from_x = size(wx) * reach["x"] * int(factor[1] if factor else 1)
    from_h = size(wh) * reach["h"]
    if names[gate] == "n" and f"{symbol}_bias_h" in arrays:  # rule N14: two sums
        inner = [arrays[f"{symbol}_bias_h"][unit]]
        sums = (from_x + size(bias), from_h + size(inner))
        return sums, {line for _, line in wx + wh + bias + inner}
    first, mid = from_h + size(bias), 0
    if shift := re.search(rf" acc_{names[gate]} = \w+_asr\(acc_\w, (\d+)?", body):  # rule N3b
        mid = int(shift[1]) if shift[1] else of_row("mid")[0][0]
    sums = (from_x + (first >> mid) + (mid > 0), first if mid else 0)
    return sums, {line for _, line in wx + wh + bias}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
