"""The report as one HTML page that needs no network: inline CSS, inline SVG, no script."""

import json
from functools import lru_cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from . import __version__
from .charts import Chart, plain
from .findings import Findings
from .paths import data_dir
from .report import Accuracy
from .sections import make_sections
from .svg import draw

MARK = b'<meta name="generator" content="lstmgen '
"""What every page contains; a file without it is not ours."""


def report_json(accuracy: Accuracy, findings: Findings) -> dict[str, Any]:
    """Return what `report --json` prints, and what the page holds beside its plots."""
    return accuracy.to_json() | {"findings": findings.to_json()}


def html_page(accuracy: Accuracy, findings: Findings) -> str:
    """Return the page; equal arguments give equal text."""
    numbers = json.dumps(report_json(accuracy, findings), allow_nan=False)
    for char in "<>&":  # in JSON they stand in strings alone, where this is the same
        numbers = numbers.replace(char, f"\\u{ord(char):04x}")
    return _environment().get_template("report.html.j2").render(
        version=__version__,
        name=findings.name,
        precision=findings.precision,
        notes=findings.notes,
        sections=make_sections(accuracy, findings),
        numbers=Markup(numbers),  # escaped above
    )


def _draw(chart: Chart, title: str) -> Markup:
    return Markup(draw(chart, title))  # svg.py escapes what it is given


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(data_dir("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )
    environment.filters["draw"] = _draw
    environment.filters["plain"] = plain
    return environment
