"""The page of `lstmgen report --html`: it needs nothing, and says what --json says."""

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from lstmgen import reference
from lstmgen.cli import main
from lstmgen.dataset import Dataset
from lstmgen.findings import measure_findings
from lstmgen.html_report import html_page, report_json
from lstmgen.network import Network
from lstmgen.quantizer import quantize
from lstmgen.report import measure_accuracy

from builders import NETWORKS, calibration, quantized, undecided
from variants import VARIANTS, inputs_of

SECTIONS = ["summary", "loss", "hidden", "drift", "decisions", "formats", "saturations", "tables",
            "bounds", "cost"]
HOSTILE = '"><script>alert(1)</script>&\'</svg>{{ 7*7 }}'


class Page(HTMLParser):
    """The tags, attributes and table cells of a page; tags have to match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.sections, self.cells = [], [], [], []
        self.scripts, self.texts = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag == "section":
            self.sections.append(dict(attrs)["id"])
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] == "td":
            self.cells.append(data)
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def measured(network, q, x, **known):
    data = Dataset(x, **known)
    return measure_accuracy(network, q, data), measure_findings(network, q, data)


@pytest.fixture(scope="module")
def classes():
    network, q = NETWORKS["odd_sizes"](), quantized("odd_sizes", "q7")
    x = calibration(network, 60, 9)
    return measured(network, q, x, label=np.arange(60) % 3)


def test_the_page_needs_nothing(classes):
    text = html_page(*classes)
    assert not re.search(r"https?:|url\(|@import|//\w", text)
    page = Page(text)
    assert [tag for tag, name, _ in page.attributes if name in ("src", "srcset", "action")] == []
    links = [value for _, name, value in page.attributes if name in ("href", "xlink:href")]
    assert links == [f"#{section}" for section in SECTIONS]
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert [value for tag, _, value in page.attributes if tag == "script"] == [
        "application/json", "numbers",
    ]


def test_all_sections_are_there(classes):
    assert Page(html_page(*classes)).sections == SECTIONS


def test_the_numbers_are_those_of_json(classes):
    accuracy, findings = classes
    page = Page(html_page(accuracy, findings))
    told = report_json(accuracy, findings)
    assert json.loads(page.scripts[0]) == json.loads(json.dumps(told))
    shown = set(page.cells)
    assert f"{told['output']['sqnr_db']:.2f} dB" in shown
    assert f"{100 * told['argmax_agreement']:.2f} %" in shown
    for stage in told["findings"]["loss"]:
        assert {stage["name"], f"{stage['sqnr_db']:.2f} dB", str(stage["changed"])} <= shown
    for table in told["findings"]["tables"]:
        assert {f"{table['max_lsb']:.3g}", f"{table['rms_lsb']:.3g}"} <= shown
    for one in told["findings"]["margins"]:
        assert {f"{one['least_bits']:.2f}", f"{one['median_bits']:.2f}"} <= shown
    for one in told["findings"]["costs"]:
        assert {str(one["macs"]), str(one["weights_bytes"])} <= shown
    for one in told["findings"]["drift"]:
        assert {f"{one['rms'][0]:.3g}", f"{one['growth']:.3g}"} <= shown
    text = " ".join(page.texts)
    for layer in told["layers"]:
        assert f"{layer['hidden_sqnr_db']:.2f} dB" in text
    for one in told["findings"]["histograms"]:
        assert f"{one['clipped']} of {one['values']} values are limited, {one['lost']} " in text


def test_equal_bytes(classes):
    network, q = NETWORKS["odd_sizes"](), quantized("odd_sizes", "q7")
    x = calibration(network, 60, 9)
    again = measured(network, q, x, label=np.arange(60) % 3)
    assert html_page(*again) == html_page(*classes)


def test_names_are_text():
    network = NETWORKS["sequence"]()
    renamed = [replace(layer, name=f"{at}{HOSTILE}") for at, layer in
               enumerate(network.layers)]
    network = Network.of(*renamed, outputs=network.outputs, name=HOSTILE, notes=(HOSTILE,))
    x = calibration(network, 3, 9)
    text = html_page(*measured(network, quantize(network, "q7", x), x))
    assert "<script>alert" not in text
    assert "</svg>{" not in text
    assert html.escape(HOSTILE, quote=False).replace("'", "&#39;").replace('"', "&#34;") in text
    page = Page(text)
    assert len(page.scripts) == 1
    told = json.loads(page.scripts[0])
    assert told["findings"]["name"] == HOSTILE


def test_every_svg_is_well_formed(classes):
    found = re.findall(r"<svg.*?</svg>", html_page(*classes), re.DOTALL)
    assert len(found) >= 10
    for text in found:
        numbers = [float(n) for n in re.findall(r' (?:[xy]\d?|width|height)="([^"]*)"', text)]
        assert np.isfinite(numbers).all()
        assert ElementTree.fromstring(text).tag == "svg"


@pytest.mark.parametrize("name", ["gru_then_lstm", "bidirectional_embedding", "reverse_sequence",
                                  "projection_peephole", "bidirectional_step"])
def test_pages_of_variants(name):
    network = VARIANTS[name]()
    x = inputs_of(network, 6)
    q = quantize(network, "w8a16", x, rounding="nearest")
    page = Page(html_page(*measured(network, q, x)))
    assert page.sections == SECTIONS
    assert {part.name for part in q.parts} <= set(page.cells)


@pytest.mark.parametrize("name", ["zeros", "stacked_argmax", "one_unit", "one_class", "huge_sums"])
def test_pages_of_odd_networks(name):
    """Nothing lost, no distance, no classes: the page says so."""
    network, q = NETWORKS[name](), quantized(name, "q15")
    text = html_page(*measured(network, q, calibration(network, 2, 3)))
    assert set(Page(text).sections) >= {"loss", "formats", "cost"}
    assert ("Nothing was lost" in text) == (name in ("zeros", "stacked_argmax"))


@pytest.mark.parametrize(
    ("precision", "calibrated", "advice"),
    [("q7", False, "Calibration data (--calibration)"), ("q7", True, "A precision with wider"),
     ("q15", True, "No precision is wider")],
)
def test_advice(precision, calibrated, advice):
    network = NETWORKS["sequence"]()
    x = calibration(network, 4, 12)
    q = quantize(network, precision, x if calibrated else None)
    accuracy, findings = measured(network, q, x)
    text = html_page(accuracy, findings)
    assert f"{findings.loss[0].name} adds most: " in text
    assert advice in text


def test_targets_instead_of_classes():
    network, q = NETWORKS["sequence"](), quantized("sequence", "q7")
    x = calibration(network, 4, 12)
    accuracy, findings = measured(network, q, x, target=reference.run(network, x).y + 0.1)
    assert f"the quantized one by {accuracy.metric['quantized']:.5g}." in html_page(
        accuracy, findings
    )


def test_a_matrix_of_changed_decisions():
    network = undecided()
    x = calibration(network, 300, 6)
    accuracy, findings = measured(network, quantize(network, "q7", x), x)
    assert findings.decisions.changed
    text = html_page(accuracy, findings)
    assert f"{findings.decisions.changed} of {findings.decisions.total} decisions" in text
    cells = Page(text).cells
    for pair in findings.decisions.pairs:
        assert str(pair.count) in cells
    many = replace(findings, decisions=replace(findings.decisions, classes=100))
    assert "The most frequent changes." in html_page(accuracy, many)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = NETWORKS["odd_sizes"]()
    network.save("model.npz")
    np.save("x.npy", calibration(network, 6, 8))
    return tmp_path


def run(*args, code=0):
    result = CliRunner().invoke(main, ["report", "model.npz", "--input", "x.npy", *args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert result.exit_code == code, result.output
    return result


def test_command(folder):
    done = run("--html", "page.html")
    assert "output SQNR" in done.stdout
    assert "page.html: a page of " in done.stderr
    text = (folder / "page.html").read_text(encoding="utf-8")
    printed = run("--html", "page.html", "--json").stdout  # over its own page
    assert json.loads(Page(text).scripts[0]) == json.loads(printed)
    assert (folder / "page.html").read_text(encoding="utf-8") == text
    assert sorted(path.name for path in folder.iterdir()) == ["model.npz", "page.html", "x.npy"]


def test_nothing_of_the_user_is_overwritten(folder):
    (folder / "mine.html").write_text("<html></html>")
    refused = run("--html", "mine.html", code=2)
    assert "mine.html exists; choose another --html, or --force" in refused.stderr
    assert (folder / "mine.html").read_text() == "<html></html>"
    run("--html", "mine.html", "--force")
    assert "is read by this command" in run("--html", "x.npy", "--force", code=2).stderr
    missing = run("--html", "none/page.html", code=2)
    assert "none/page.html cannot be written" in missing.stderr
    assert "is not a regular file" in run("--html", ".", "--force", code=2).stderr


def test_plots_need_the_extra(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    refused = run("--plots", "plots", code=2)
    assert "pip install 'lstmgen[plots]'" in refused.stderr
    assert not (folder / "plots").exists()
    run("--html", "page.html")


def test_plots(folder):
    done = run("--plots", "plots")
    files = sorted(path.name for path in (folder / "plots").iterdir())
    assert f"plots: {len(files)} plots" in done.stderr
    assert {"loss.png", "hidden.png", "drift.png", "bounds.png", "cost.png"} <= set(files)
    before = {name: (folder / "plots" / name).read_bytes() for name in files}
    run("--plots", "plots")
    assert before == {name: (folder / "plots" / name).read_bytes() for name in files}
    (folder / "plots" / "loss.png").write_bytes(b"mine")
    refused = run("--plots", "plots", code=2)
    assert "loss.png exists; choose another --plots, or --force" in refused.stderr
    assert "is a file" in run("--plots", "x.npy", code=2).stderr
