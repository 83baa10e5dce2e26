#!/usr/bin/env python3
"""Recompute every row's worst sum from the numbers in the C and compare it with the report.

    python check_bounds.py FOLDER [REPORT.json]

FOLDER: portable C, as `lstmgen build` (for a target without kernels) or `lstmgen prove --keep`
writes it. Needs no lstmgen. Exit 1 where something differs or a row could overflow, 2 where nothing
can be told. Layers, rows, the range of inputs and an embedding's values are those of the C; what
else |x| and |h| can be is the report's `reach`, which `lstmgen prove` shows.
"""

import json
import re
import sys
from pathlib import Path

INT32_MAX = 2**31 - 1


class UntoldError(Exception):
    """Why nothing can be told, in one line."""


def main(folder: Path, report: Path | None) -> int:
    """Check a folder against its report, or another one's, and return the exit status."""
    try:
        problems, told = check(folder, report)
    except UntoldError as why:
        print(why)
        return 2
    print("\n".join(problems) or told)
    return 1 if problems else 0


def check(folder: Path, report: Path | None) -> tuple[list[str], str]:
    """Return what is wrong, a line each, and what to say if nothing is."""
    source, name = find_source(folder)
    report = report or folder / f"{name}_report.json"
    arrays = read_arrays(read(source))
    code, header = (read(folder / f"{name}{end}") for end in (".c", ".h"))
    layers, widths = read_report(report)
    # The C says which layers there are, and how many rows each has.
    symbols = [array.removesuffix("_bias") for array in arrays if array.endswith("_bias")]
    steps = [step for step in re.findall(r"\bvoid (\w+)_step\(", code) if step != name]
    tables = [step for step in steps if f"{step}_table" in arrays]
    packed = [one for one in (*layers, *steps) if one not in symbols and one not in tables]
    if packed or not symbols:
        raise UntoldError(
            f"{source}: no {(packed or [name])[0]}_bias; kernels pack it: `lstmgen prove FOLDER "
            "--keep DIR` writes DIR/PRECISION/portable, which is to be checked with FOLDER's report"
        )
    rows = [len(arrays[f"{one}_table"]) // widths.get(one, 1) for one in tables]
    problems, checked = inputs(name, header, layers, rows), 0
    for table in tables:
        problems += table_reach(source, code, arrays[f"{table}_table"], table, layers)
    for symbol in symbols:
        rows, layer = len(arrays[f"{symbol}_bias"]), layers.get(symbol, {"bounds": []})
        if (has := [told["row"] for told in layer["bounds"]]) != list(range(rows)):
            problems.append(
                f"{report}: {symbol} has {rows} rows in the C, the report has {len(has)}, which "
                "have to be those, in order"
            )
            continue
        body = re.search(rf" {symbol}_step\(\n.*?\n}}\n", code, re.DOTALL)
        if body is None:
            raise UntoldError(f"{folder / name}.c: no function {symbol}_step; build the model anew")
        of_layer = dense_row if f"{symbol}_w" in arrays else recurrent_row
        for told in layer["bounds"]:
            row = told["row"]
            found, lines = of_layer(arrays, body[0], symbol, layer["reach"], row, rows)
            expected = (told["bound"], told.get("partial", 0))
            if found != expected or max(found) > INT32_MAX:
                problems.append(
                    f"{source.name}: {symbol} row {row}: the worst sums are {found}, the report "
                    f"has {expected}, int32 has {INT32_MAX}; its numbers are in lines "
                    f"{', '.join(map(str, sorted(lines)))}"
                )
            checked += 1
    if not checked and not problems:
        raise UntoldError(f"{source}: no rows")
    return problems, f"{source}: {checked} rows, each as the report has it"


def find_source(folder):
    """Return the file of weights and the prefix of all names."""
    found = sorted(folder.glob("*_weights.c"))
    if len(found) != 1:
        raise UntoldError(
            f"{folder} holds {len(found)} files *_weights.c; expected one, as `lstmgen build` "
            "writes it"
        )
    return found[0], found[0].name.removesuffix("_weights.c")


def read(path):
    """Return a file's text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UntoldError(f"{path} cannot be read: {error}") from None


def read_report(path):
    """Return the layers that have rows, and how many outputs embeddings have, by symbol."""
    try:
        report = json.loads(read(path))["layers"]
        widths = {one["symbol"]: one["outputs"] for one in report if one["type"] == "embedding"}
        if any(type(width) is not int or width < 1 for width in widths.values()):
            raise ValueError
        layers = {one["symbol"]: one for one in report if one["type"] != "embedding"}
        for layer in layers.values():
            layer.setdefault("bounds", [])
            numbers = [*layer["reach"].values()] if layer["bounds"] else [0]
            for row in layer["bounds"]:
                numbers += [row["row"], row["bound"], row.get("partial", 0)]
            told = not layer["bounds"] or "x" in layer["reach"]
            if not told or set(map(type, numbers)) != {int}:
                raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UntoldError(f"{path} is not a report of lstmgen; build the model anew") from None
    return layers, widths


def inputs(name, header, layers, entries):
    """Return what is wrong with the range of inputs that the header promises.

    entries: of the embedding, in a list, if there is one: an input is the number of one.
    """
    ends = [
        re.search(rf"^#define \w+_INPUT_{end} \(?(-?\d+)\)?$", header, re.MULTILINE)
        for end in ("MIN", "MAX")
    ]
    found = tuple(int(end[1]) if end else None for end in ends)
    reach = next((one["reach"]["x"] for one in layers.values() if one["bounds"]), 0)
    expected = (0, entries[0] - 1) if entries else (-reach, reach - 1)
    return [
        f"{name}.h: INPUT_{end} is {has}, expected {needs}, by the "
        f"{'table' if entries else 'reach in the report'}"
        for end, has, needs in zip(("MIN", "MAX"), found, expected, strict=True)
        if has != needs
    ]


def table_reach(source, code, numbers, table, layers):
    """Set the reach of the layers that take an embedding's values; return where it differs."""
    largest, at = max((abs(number), line) for number, line in numbers)
    largest = max(1, largest)
    calls = re.finditer(r"(\w+)\(([^;{}]*)\);", code)
    buffer, takers = None, []
    for call in calls:
        names = [re.findall(r"\w+", argument) for argument in call[2].split(",")]
        first, rest = names[0][:1], [argument[0] for argument in names[1:] if argument]
        if call[1] == f"{table}_step":
            buffer = rest[0]
        elif buffer is not None and buffer in rest:
            break  # the array has other values from here on
        elif buffer is not None and first == [buffer] and call[1].endswith("_step"):
            takers.append(call[1].removesuffix("_step"))
    if not takers:
        raise UntoldError(f"{source}: no call takes the values of {table}; build the model anew")
    problems = []
    for layer in (layers[taker] for taker in takers if layers.get(taker, {}).get("bounds")):
        if layer["reach"]["x"] != largest:
            problems.append(
                f"{source.name}: {table}_table has {largest} in line {at}, the report's reach of "
                f"{layer['symbol']} is {layer['reach']['x']}"
            )
        layer["reach"] = {**layer["reach"], "x": largest}
    return problems


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
    if len(sys.argv) not in (2, 3):
        print("usage: check_bounds.py FOLDER [REPORT.json]")
        sys.exit(2)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else None))
