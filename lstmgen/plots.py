"""Charts as PNG by matplotlib, which the extra `plots` brings; imported only when asked for."""

import importlib
import io
from typing import Any

from .charts import Bars, Columns, Figure, Lines, plain, power_of_two, short
from .errors import OutputError
from .svg import BAND, BLUE, GREY, PALETTE, RED

_DPI = 120

MARK = b"Software\x00lstmgen"
"""What every plot contains; a file without it is not ours."""


def need_matplotlib() -> Any:
    """Return matplotlib's module of figures; an OutputError names the extra that has it."""
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError:
        raise OutputError(
            "--plots needs the package matplotlib; install it with: pip install 'lstmgen[plots]', "
            "or write --html, which needs nothing"
        ) from None


def draw_png(figure: Figure) -> bytes:
    """Return the figure with its title and sentence; equal figures give equal bytes."""
    made = need_matplotlib().Figure(figsize=(7.2, _height(figure)), dpi=_DPI, layout="constrained")
    axes = made.add_subplot()
    # A dollar sign would begin a formula.
    made.suptitle(_safe(figure.title), fontsize=11, fontweight="bold")
    axes.set_title(_safe(figure.sentence), fontsize=8, wrap=True)
    chart = figure.chart
    if isinstance(chart, Bars):
        _bars(axes, chart)
    elif isinstance(chart, Lines):
        _lines(axes, chart)
    else:
        _columns(axes, chart)
    stream = io.BytesIO()
    made.savefig(stream, format="png", metadata={"Software": "lstmgen"})
    return stream.getvalue()


def _height(figure: Figure) -> float:
    rows = len(figure.chart.rows) if isinstance(figure.chart, Bars) else 9
    return 1.3 + 0.3 * rows


def _safe(text: str) -> str:
    return plain(text).replace("$", r"\$")


def _bars(axes: Any, chart: Bars) -> None:
    at = range(len(chart.rows))
    colours = [GREY if row.value < 0 else BLUE for row in chart.rows]
    drawn = axes.barh(at, [row.value for row in chart.rows], color=colours)
    axes.bar_label(drawn, [_safe(row.text) for row in chart.rows], padding=3, fontsize=8)
    axes.set_yticks(at, [_safe(short(row.label)) for row in chart.rows], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.xaxis.set_visible(False)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _lines(axes: Any, chart: Lines) -> None:
    for at, one in enumerate(chart.series):
        style = ("-", "--", ":", "-.")[at // len(PALETTE) % 4]
        label = _safe(short(one.label))
        axes.plot(one.x, one.y, style, color=PALETTE[at % len(PALETTE)], label=label)
    if chart.logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _columns(axes: Any, chart: Columns) -> None:
    axes.axvspan(chart.lo, chart.hi, color=BAND)
    colours = [RED if chart.outside(exponent) else BLUE for exponent in chart.exponents]
    shares = [100 * share for share in chart.shares]
    axes.bar(chart.exponents, shares, width=0.9, align="edge", color=colours)
    first, end = chart.span
    axes.set_xlim(first, end)
    marks = range(first + 1, end, max(1, (end - first) // 10))
    axes.set_xticks(marks, [power_of_two(mark) for mark in marks])
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel("share of values, %")
