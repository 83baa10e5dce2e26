"""The sections of a report that need no data: tables of activations, bounds, cost."""

from .budget import Cost, Margins, TableError
from .charts import Bar, Bars, Figure, Lines, Section, Series, Table

_ROWS = 12
"""How many rows of the whole network are shown."""


def table_section(tables: tuple[TableError, ...]) -> Section | None:
    """Return the errors of the activation tables, the largest first; None without tables."""
    if not tables:
        return None
    order = sorted(tables, key=lambda one: -one.rms_lsb * one.lsb)
    figures = tuple(
        Figure(
            f"table_{one.function}",
            f"Error of {one.function} over its range",
            f"The table of {one.segments} segments is off by {one.max_lsb:.3g} LSB at most and "
            f"{one.rms_lsb:.3g} rms.",
            Lines("argument", "largest error, LSB",
                  (Series(one.function, one.arguments, one.errors),)),
        )
        for one in order
    )
    rows = tuple(
        (one.function, str(one.segments), f"{one.reach[0]:g} .. {one.reach[1]:g}",
         f"{one.max_lsb:.3g}", f"{one.rms_lsb:.3g}", f"{one.max_lsb * one.lsb:.3g}")
        for one in order
    )
    head = ("function", "segments", "range", "largest error, LSB", "rms, LSB", "largest, real")
    return Section(
        "tables",
        "Activation tables",
        "What the tables alone add to each gate. An LSB is the last place of a 16-bit value; "
        "--table-bits N gives finer tables, each bit more about a third of the error.",
        figures,
        (Table(head, rows),),
    )


def bound_section(margins: tuple[Margins, ...]) -> Section:
    """Return the rows whose sums come closest to the end of int32."""
    rows = sorted(
        ((one.name, row) for one in margins for row in one.worst), key=lambda pair: pair[1].bits
    )[:_ROWS]
    bars = tuple(
        Bar(f"{name} row {row.row}" + (f" ({row.gate})" if row.gate else ""), row.bits,
            f"{row.bits:.2f} bits, {row.rule}")
        for name, row in rows
    )
    tight = sum(one.tight for one in margins)
    if tight:
        sentence = (
            f"{tight} rows have less than one bit left: there the accumulator, not the width of "
            "the weights, may set the resolution."
        )
    else:
        sentence = "Every row has at least one bit left: the accumulator costs no resolution."
    figure = Figure(
        "bounds",
        "Rows with the least margin",
        "No input can overflow a sum; a short bar is one that could come near 2^31, by the rule "
        "named.",
        Bars(bars),
    )
    table = Table(
        ("layer", "rows", "least, bits", "median, bits", "rows below 1 bit"),
        tuple((m.name, str(m.rows), f"{m.least_bits:.2f}", f"{m.median_bits:.2f}", str(m.tight))
              for m in margins),
    )
    return Section("bounds", "Margin of the sums", sentence, (figure,), (table,))


def cost_section(costs: tuple[Cost, ...]) -> Section:
    """Return what each layer takes, the most products first."""
    macs = sum(one.macs for one in costs)
    bars = tuple(Bar(one.name, float(one.macs), f"{one.macs} MACs") for one in costs)
    figure = Figure(
        "cost",
        "Multiply-accumulates of a time step",
        "The longest bar is where a step spends its time, and what fewer units would shorten.",
        Bars(bars),
    )
    rows = [
        (one.name, one.kind, str(one.macs), _widths(one), str(one.weights_bytes),
         str(one.state_bytes))
        for one in costs
    ]
    total = (str(sum(one.weights_bytes for one in costs)),
             str(sum(one.state_bytes for one in costs)))
    rows.append(("total", "", str(macs), "", *total))
    head = ("layer", "kind", "MACs", "weights, bits", "weights, bytes", "state, bytes")
    caption = "In portable C; activation tables and padding of the state are not counted."
    return Section(
        "cost",
        "Cost of the layers",
        f"{costs[0].name} takes {100 * costs[0].macs / max(macs, 1):.3g} % of {macs} "
        "multiply-accumulates a step.",
        (figure,),
        (Table(head, tuple(rows), caption),),
    )


def _widths(cost: Cost) -> str:
    """Return the widths of a layer's weights, of x and h where they are apart."""
    return " / ".join(map(str, cost.weights_bits.values()))
