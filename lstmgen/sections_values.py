"""The sections of a report on values: their sizes beside their formats, and their limits."""

import math

from .charts import Columns, Figure, Section, Table
from .report import Accuracy
from .tallies import Histogram

KINDS = {"input": "inputs", "hidden": "hidden states", "cell": "cell states", "dense": "results",
         "embedding": "table values", "output": "outputs"}
"""What histograms are of, in words."""


def format_section(histograms: tuple[Histogram, ...]) -> Section:
    """Return float values beside the formats that have to hold them, the worst fit first."""
    order = sorted(
        histograms, key=lambda one: math.inf if one.sqnr_db is None else one.sqnr_db
    )
    figures = tuple(
        Figure(
            f"values_{at}_{one.what}",
            _title(one),
            _fit(one),
            Columns(
                "magnitude",
                one.exponents,
                tuple(count / one.values for count in one.counts),
                math.log2(one.step / 2),
                math.log2(one.limit),
            ),
        )
        for at, one in enumerate(order)
    )
    worst = order[0]
    sentence = (
        "How large float's values are, by powers of two, and in green what the format holds: red "
        "columns to its right are limited, to its left they become 0."
    )
    if worst.sqnr_db is not None:
        sentence += f" {_title(worst)} fit worst: rounding alone leaves {worst.sqnr_db:.1f} dB."
    return Section("formats", "Values and their formats", sentence, figures)


def _title(one: Histogram) -> str:
    if one.name == "input":
        return f"Inputs in {one.format}, {one.bits} bits"
    return f"{one.name}: {KINDS[one.what]} in {one.format}, {one.bits} bits"


def _fit(one: Histogram) -> str:
    if one.headroom_bits is None:
        return "All values are 0."
    alone = "exact" if one.sqnr_db is None else f"{one.sqnr_db:.1f} dB"
    return (
        f"Rounding alone: {alone}; {one.clipped} of {one.values} values are limited, {one.lost} "
        f"become 0; the largest is {one.max_abs:.4g} of {one.limit:.4g}, "
        f"{max(one.headroom_bits, 0.0):.1f} bits free."
    )


def saturation_section(accuracy: Accuracy) -> Section:
    """Return how many values the quantized network limited."""
    rows = [("input", "inputs", str(accuracy.input_saturations), str(accuracy.inputs))]
    for layer in accuracy.layers:
        row = (layer.name, "cell states", str(layer.cell_saturations), str(layer.values))
        rows.append(row)
    for name, count in accuracy.dense_saturations.items():
        rows.append((name, "results", str(count), "-"))
    rows.sort(key=lambda row: -int(row[2]))
    hit = [f"{row[2]} {row[1]}" + ("" if row[0] == "input" else f" of {row[0]}") for row in rows]
    hit = [text for text, row in zip(hit, rows, strict=True) if row[2] != "0"]
    sentence = "No value ran into its limit." if not hit else f"Limited: {', '.join(hit)}."
    table = Table(("layer", "values", "limited", "of"), tuple(rows))
    return Section("saturations", "Values that ran into a limit", sentence, tables=(table,))
