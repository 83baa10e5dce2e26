"""Charts as SVG and as PNG: shapes inside of the picture, equal bytes for equal charts."""

from xml.etree import ElementTree

import pytest

from lstmgen.charts import Bar, Bars, Columns, Figure, Lines, Series, log_ticks, ticks
from lstmgen.plots import MARK, draw_png
from lstmgen.svg import draw


def test_marks_of_axes():
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert ticks(0, 31) == [0, 10, 20, 30]
    assert ticks(3, 3) == [3]
    assert log_ticks(1e-4, 1) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert log_ticks(1, 30) == pytest.approx([1, 2, 5, 10, 20])


CHARTS = [
    Bars((Bar("a", 3.0, "3"), Bar("b$", -1.0, "-1"))),
    Bars((Bar("none", 0.0, "0"),)),
    Lines("step", "error", (Series("a", (0.0,), (0.0,)),)),
    Lines("step", "error", tuple(Series(f"s{n}", (0.0, 1.0), (1e-6, n + 1.0)) for n in range(10))),
    Columns("magnitude", (-9, -8, 3), (0.2, 0.5, 0.3), -8.0, 2.0),
    Columns("magnitude", (), (), -8.0, 2.0),
]


@pytest.mark.parametrize("chart", CHARTS)
def test_charts_as_svg(chart):
    root = ElementTree.fromstring(draw(chart, "title"))
    box = [float(n) for n in root.get("viewBox").split()]
    for rect in root.iter("rect"):
        x, y, width, height = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        assert min(x, y, width, height) >= 0
        assert x + width <= box[2]
        assert y + height <= box[3]
    if isinstance(chart, Columns):
        red = [r for r in root.iter("rect") if r.get("fill") == "#d1495b"]
        assert len(red) == len([e for e in chart.exponents if e in (-9, 3)])


@pytest.mark.parametrize("chart", CHARTS)
def test_charts_as_png(chart):
    figure = Figure("key", "A title of $5", "A sentence.", chart)
    data = draw_png(figure)
    assert data.startswith(b"\x89PNG\r\n")
    assert MARK in data
    assert draw_png(figure) == data
