"""Charts as inline SVG: a few shapes and texts, equal bytes for equal charts, no font or script."""

import math
from collections.abc import Callable, Iterable
from html import escape

from .charts import Bars, Chart, Columns, Lines, log_ticks, plain, power_of_two, short, ticks

PALETTE = ("#0b6bb5", "#d1495b", "#2e8b57", "#c77700", "#6a4c93", "#00838f", "#8d6e63", "#5c6b73")
RED, BLUE, BAND, GREY = PALETTE[1], PALETTE[0], "#dcebd8", "#8a9299"

WIDTH = 560
_LEFT, _RIGHT, _TOP, _HEIGHT = 58, 14, 12, 250


def draw(chart: Chart, title: str) -> str:
    """Return the chart as an <svg> element with `title` for those who cannot see it."""
    if isinstance(chart, Bars):
        return _bars(chart, title)
    return _lines(chart, title) if isinstance(chart, Lines) else _columns(chart, title)


def _svg(height: float, title: str, parts: Iterable[str]) -> str:
    label = escape(plain(title))
    head = f'<svg viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-label="{label}">'
    return "\n".join([head, *parts, "</svg>"])


def _n(value: float) -> str:
    """Return a coordinate to a tenth; -0.0 as 0.0."""
    return f"{round(value, 1) + 0.0:.1f}"


def _text(x: float, y: float, text: str, anchor: str = "start", whole: str = "") -> str:
    title = f"<title>{escape(plain(whole))}</title>" if whole and whole != text else ""
    shown = escape(plain(text))
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{title}{shown}</text>'


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    size = f'width="{_n(width)}" height="{_n(height)}"'
    return f'<rect x="{_n(x)}" y="{_n(y)}" {size} fill="{fill}"/>'


def _line(x0: float, y0: float, x1: float, y1: float, style: str = 'class="grid"') -> str:
    return f'<line x1="{_n(x0)}" y1="{_n(y0)}" x2="{_n(x1)}" y2="{_n(y1)}" {style}/>'


def _bars(chart: Bars, title: str) -> str:
    label, value = 170, 112
    lo = min([0.0, *(row.value for row in chart.rows)])
    hi = max([0.0, *(row.value for row in chart.rows)])
    room = WIDTH - label - value
    scale = room / (hi - lo) if hi > lo else 0.0
    zero = label - lo * scale
    parts = []
    for at, row in enumerate(chart.rows):
        y = 6 + 26 * at
        length = abs(row.value) * scale
        left = zero - length if row.value < 0 else zero
        parts.append(_text(label - 8, y + 14, short(row.label), "end", row.label))
        parts.append(_rect(left, y, length, 19, GREY if row.value < 0 else BLUE))
        parts.append(_text(max(left + length, zero) + 6, y + 14, row.text))
    height = 26 * len(chart.rows) + 10
    parts.append(_line(zero, 2, zero, height - 4, 'class="axis"'))
    return _svg(height, title, parts)


def _lines(chart: Lines, title: str) -> str:
    legend = 18 * math.ceil(len(chart.series) / 3)
    top = _TOP + 18 + legend
    bottom, right = top + _HEIGHT - 70, WIDTH - _RIGHT
    xs = [x for one in chart.series for x in one.x]
    ys = [y for one in chart.series for y in one.y]
    x_lo, x_hi = min(xs), max(max(xs), min(xs) + 1e-9)
    height = bottom + 44
    of: Callable[[float], float]
    if chart.logarithmic:
        of, y_lo, y_hi, marks = math.log10, min(ys), max(ys), log_ticks(min(ys), max(ys))
    else:
        of, y_lo, y_hi = float, 0.0, max(ys) or 1.0
        marks = ticks(0.0, y_hi)

    def px(x: float) -> float:
        return _LEFT + (x - x_lo) / (x_hi - x_lo) * (right - _LEFT)

    def py(y: float) -> float:
        return bottom - (of(y) - of(y_lo)) / (of(y_hi) - of(y_lo)) * (bottom - top - 6)

    scale = ", logarithmic" if chart.logarithmic else ""
    parts = [_text(2, legend + 16, f"↑ {chart.y_label}{scale}")]
    for mark in marks:
        parts.append(_line(_LEFT, py(mark), right, py(mark)))
        parts.append(_text(_LEFT - 6, py(mark) + 4, f"{mark:.3g}", "end"))
    for mark in ticks(x_lo, x_hi):
        parts.append(_text(px(mark), bottom + 17, f"{mark:.6g}", "middle"))
    parts.append(_line(_LEFT, bottom, right, bottom, 'class="axis"'))
    parts.append(_text((_LEFT + right) / 2, height - 6, f"{chart.x_label} →", "middle"))
    for at, one in enumerate(chart.series):
        colour = PALETTE[at % len(PALETTE)]
        dashes = f' stroke-dasharray="{6 - 2 * (at // 8 % 3)} 3"' if at >= len(PALETTE) else ""
        points = " ".join(f"{_n(px(x))},{_n(py(y))}" for x, y in zip(one.x, one.y, strict=True))
        style = f'fill="none" stroke="{colour}" stroke-width="1.8"{dashes}'
        parts.append(f'<polyline points="{points}" {style}/>')
        x, y = _LEFT + 168 * (at % 3), 14 + 18 * (at // 3)
        parts.append(_line(x, y - 4, x + 16, y - 4, f'stroke="{colour}" stroke-width="3"{dashes}'))
        parts.append(_text(x + 21, y, short(one.label, 20), whole=one.label))
    return _svg(height, title, parts)


def _columns(chart: Columns, title: str) -> str:
    first, end = chart.span
    right, bottom = WIDTH - _RIGHT, _HEIGHT - 52
    wide = (right - _LEFT) / (end - first)
    most = max(chart.shares, default=0.0) or 1.0

    def px(exponent: float) -> float:
        return _LEFT + (exponent - first) * wide

    parts = [_rect(px(chart.lo), _TOP, px(chart.hi) - px(chart.lo), bottom - _TOP, BAND)]
    for mark in ticks(0.0, 100 * most, 4):
        y = bottom - mark / (100 * most) * (bottom - _TOP - 8)
        parts.append(_line(_LEFT, y, right, y))
        parts.append(_text(_LEFT - 6, y + 4, f"{mark:.3g} %", "end"))
    for exponent, share in zip(chart.exponents, chart.shares, strict=True):
        tall = share / most * (bottom - _TOP - 8)
        colour = RED if chart.outside(exponent) else BLUE
        parts.append(_rect(px(exponent) + 1, bottom - tall, max(wide - 2, 1), tall, colour))
    for limit in (chart.lo, chart.hi):
        parts.append(_line(px(limit), _TOP, px(limit), bottom, 'class="limit"'))
    apart = max(1, math.ceil((end - first) / 10))
    for exponent in range(first + 1, end, apart):
        parts.append(_text(px(exponent), bottom + 17, power_of_two(exponent), "middle"))
    parts.append(_line(_LEFT, bottom, right, bottom, 'class="axis"'))
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 14, f"{chart.x_label} →", "middle"))
    return _svg(_HEIGHT, title, parts)
