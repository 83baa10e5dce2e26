"""What a report says, section by section: figures and tables with a sentence beside each."""

import math
from collections.abc import Iterator

from .charts import Bar, Bars, Figure, Lines, Section, Series, Table
from .findings import Decisions, Findings, Stage
from .report import Accuracy
from .sections_static import bound_section, cost_section, table_section
from .sections_values import format_section, saturation_section
from .tallies import Drift

_NONE = "-"
"""What stands in a table where there is no number."""

_CLIMB = 1.15
"""From which ratio of the last two quarters' errors on they are said to grow."""

_MATRIX = 16
"""Most classes of which a matrix of decisions is shown."""

_ROWS = 20
"""Most pairs of classes in a list."""


def make_sections(accuracy: Accuracy, findings: Findings) -> tuple[Section, ...]:
    """Return all sections of the report, what matters most first."""
    found = (
        _summary(accuracy, findings),
        _loss(findings),
        _layers(accuracy),
        _drift(findings),
        _decisions(accuracy, findings.decisions),
        format_section(findings.histograms),
        saturation_section(accuracy),
        table_section(findings.tables),
        bound_section(findings.margins),
        cost_section(findings.costs),
    )
    return tuple(section for section in found if section is not None)


def decibel(value: float | None, error: float | None) -> str:
    """Return an SQNR with what an absent one means by the error beside it."""
    if value is not None:
        return f"{value:.2f} dB"
    return _NONE if error is None else "exact" if error == 0 else "no signal, only noise"


def percent(share: float) -> str:
    """Return a share in percent."""
    return "< 0.01 %" if 0 < abs(share) < 1e-4 else f"{100 * share:.3g} %"


def _summary(accuracy: Accuracy, findings: Findings) -> Section:
    told = accuracy.to_json()["output"]
    rows = [
        ("precision", accuracy.precision),
        ("formats from", "calibration data" if findings.calibrated else "input range and bounds"),
        ("data", f"{accuracy.sequences} sequences of {accuracy.steps} steps"),
    ]
    if told["max_abs_error"] is not None:
        rows.append(("output SQNR", decibel(told["sqnr_db"], told["max_abs_error"])))
        rows.append(("largest output error", f"{told['max_abs_error']:.4g}"))
    if accuracy.agreement is not None:
        rows.append(("same class as float", f"{100 * accuracy.agreement:.2f} %"))
    for key in ("float", "quantized") if accuracy.metric else ():
        value = accuracy.metric[key]
        shown = f"{100 * value:.2f} %" if accuracy.metric["name"] == "accuracy" else f"{value:.5g}"
        rows.append((f"{accuracy.metric['name']}, {key}", shown))
    return Section(
        "summary",
        "Summary",
        "The quantized network beside a float64 run of the original on the same data. "
        "SQNR is signal against error: 20 dB more are a tenth of the error.",
        tables=(Table(("what", "value"), tuple(rows)),),
    )


def _loss(findings: Findings) -> Section:
    stages = findings.loss
    if all(stage.share is None for stage in stages):
        sentence = "Nothing was lost on this data: the outputs are those of the float network."
    else:
        whole = "changed decisions" if stages[0].rms_error is None else "squared output error"
        sentence = (
            f"{_named(stages[0].name)} adds most: {percent(stages[0].share or 0.0)} of the "
            f"{whole}. {_remedy(stages[0], findings)}"
        )
    bars = tuple(
        Bar(s.name, 100 * (s.share or 0.0), _NONE if s.share is None else percent(s.share))
        for s in stages
    )
    figure = Figure(
        "loss",
        "Share of the loss at the output, by layer",
        "The longest bar is where to look first; a grey bar to the left cancels errors that came "
        "before it.",
        Bars(bars),
    )
    rows = tuple(
        (
            stage.name,
            _NONE if stage.share is None else percent(stage.share),
            decibel(stage.sqnr_db, stage.rms_error),
            _NONE if stage.rms_error is None else f"{stage.rms_error:.3g}",
            _NONE if stage.changed is None else str(stage.changed),
        )
        for stage in stages
    )
    head = ("layer", "share", "output SQNR up to here", "rms error", "changed decisions")
    caption = "Quantized up to and including the layer, float beyond it."
    return Section("loss", "Where the loss is", sentence, (figure,), (Table(head, rows, caption),))


def _named(name: str) -> str:
    return "The input" if name == "input" else name


def _remedy(stage: Stage, findings: Findings) -> str:
    """Return what is left to try against the loss of a stage."""
    if not findings.calibrated:
        return "Calibration data (--calibration) fits formats and weights to it."
    if stage.name == "input" and any(h.clipped for h in findings.histograms if h.what == "input"):
        return "Calibration data that reaches as far as these inputs lessens it."
    if findings.precision == "q15" and stage.name == "input":
        return "No precision is wider; inputs in formats by feature may lessen it."
    if findings.precision == "q15":
        return "No precision is wider; finer activation tables (--table-bits) may lessen it."
    wider = "inputs" if stage.name == "input" else "weights or states"
    return f"A precision with wider {wider} lessens it: q15, or w8a16 instead of q7."


def _layers(accuracy: Accuracy) -> Section:
    told = sorted(
        accuracy.to_json()["layers"],
        key=lambda layer: math.inf if layer["hidden_sqnr_db"] is None else layer["hidden_sqnr_db"],
    )
    bars = tuple(
        Bar(
            layer["name"],
            max(layer["hidden_sqnr_db"] or 0.0, 0.0),
            decibel(layer["hidden_sqnr_db"], layer["max_abs_error"]),
        )
        for layer in told
    )
    figure = Figure(
        "hidden",
        "SQNR of hidden states",
        "A short bar is a layer whose states are far from float's, what it was given included.",
        Bars(bars),
    )
    rows = tuple((one["name"], f"{one['max_abs_error']:.3g}") for one in told)
    return Section(
        "hidden",
        "Each layer's hidden state",
        f"{told[0]['name']} is the farthest from float.",
        (figure,),
        (Table(("layer", "largest error"), rows),),
    )


def _drift(findings: Findings) -> Section | None:
    known = [one for one in findings.drift if one.rms]
    series = tuple(
        Series(one.name, tuple(float(step) for step in one.steps), one.rms) for one in known
    )
    figure = Figure(
        "drift",
        "Error against the time step",
        "A line that climbs to its end would go on climbing in longer sequences; a level one has "
        "settled. Steps count in the order in which a layer takes them.",
        Lines("time step", "rms error", series),
    )
    rows = tuple(
        (
            one.name,
            f"{one.rms[0]:.3g}",
            f"{one.rms[-1]:.3g}",
            _NONE if one.growth is None else f"{one.growth:.3g}",
            _NONE if one.climb is None else f"{one.climb:.3g}",
        )
        for one in known
    )
    head = ("values", "rms error, first", "last", "last quarter / first", "last / third")
    return Section(
        "drift", "Error over time", _growth(known), (figure,), (Table(head, rows),)
    )


def _growth(known: list[Drift]) -> str:
    rising = [one for one in known if one.climb is not None]
    if not rising:
        return "The sequences are too short, or too exact, to tell whether errors grow."
    worst = max(rising, key=lambda one: one.climb or 0.0)
    factor = f"{worst.climb:.3g} times the error of the quarter before"
    if (worst.climb or 0.0) > _CLIMB:
        return f"Errors still grow at the end: of {worst.name}, the last quarter has {factor}."
    return f"Errors do not build up: the last quarter has at most {factor}."


def _decisions(accuracy: Accuracy, found: Decisions | None) -> Section | None:
    if found is None:
        if not accuracy.metric:
            return None
        before, after = accuracy.metric["float"], accuracy.metric["quantized"]
        bars = (Bar("float", before, f"{before:.5g}"), Bar("quantized", after, f"{after:.5g}"))
        figure = Figure(
            "target", "RMSE against the targets",
            "Bars of equal length: quantization does not matter beside what the network errs.",
            Bars(bars),
        )
        return Section(
            "decisions", "Targets",
            f"The float network misses its targets by {before:.5g} (rms), the quantized one by "
            f"{after:.5g}.", (figure,),
        )
    sentence = f"{found.changed} of {found.total} decisions are not float's."
    if found.became_wrong is not None:
        sentence += (
            f" {found.became_wrong} of them were right and became wrong; {found.became_right} were "
            "wrong and became right."
        )
    return Section(
        "decisions", "Changed decisions", sentence, tables=tuple(_pairs(found))
    )


def _pairs(found: Decisions) -> Iterator[Table]:
    if not found.changed:
        return
    counts = {(pair.float, pair.quantized): pair.count for pair in found.pairs}
    if found.classes <= _MATRIX:
        yield Table(
            ("float ↓ quantized →", *map(str, range(found.classes))),
            tuple(
                (str(f), *(str(counts.get((f, got), "·")) for got in range(found.classes)))
                for f in range(found.classes)
            ),
            "A row is float's class, a column the quantized network's; equal ones are left out.",
        )
        return
    rows = tuple((str(p.float), str(p.quantized), str(p.count)) for p in found.pairs[:_ROWS])
    yield Table(("float's class", "became", "times"), rows, "The most frequent changes.")
