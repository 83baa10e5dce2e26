"""The bound table in the report, and the checker that recomputes it from the C alone."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from lstmgen.network import Network
from lstmgen.output import BuiltFor, build
from lstmgen.quantizer import quantize

from builders import NETWORKS, PRECISIONS, dense, lstm, with_mid_shifts
from conftest import ROOT
from variants import VARIANTS, inputs_of

CHECKER = ROOT / "tools" / "check_bounds.py"
KINDS = ("projection_peephole", "gru", "gru_reset_before", "skip", "embedding",
         "bidirectional_mixed")


def write(q, folder, isa="portable"):
    folder.mkdir(exist_ok=True)
    for name, data in build(q, BuiltFor("any", isa, "speed"), name="kws").items():
        (folder / name).write_bytes(data)
    return folder


def check(*args, code=0):
    # -I: nothing but the standard library, lstmgen itself least of all.
    done = subprocess.run(
        [sys.executable, "-I", "-S", CHECKER, *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    q = quantize(Network.of(lstm(3, 5), dense(5, 2), name="small"), "w8a16")
    return write(q, tmp_path / "out")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", KINDS)
def test_the_c_has_the_bounds_of_the_report(tmp_path, name, precision):
    network = VARIANTS[name]()
    q = quantize(network, precision, inputs_of(network))
    assert "each as the report has it" in check(write(q, tmp_path / "out"))


@pytest.mark.parametrize("by_row", [False, True])
def test_mid_shifts_are_read_from_the_c(tmp_path, by_row):
    q = with_mid_shifts(quantize(NETWORKS["hidden_out"](), "q15"), by_row=by_row)
    folder = write(q, tmp_path / "out")
    report = json.loads((folder / "kws_report.json").read_text())
    assert any("partial" in row for row in report["layers"][0]["bounds"])
    check(folder)


def test_rows_of_the_report(folder):
    report = json.loads((folder / "kws_report.json").read_text())
    first, last = report["layers"]
    assert (first["symbol"], last["symbol"]) == ("kws_lstm0", "kws_fc")
    assert first["reach"] == {"x": 4096, "h": 32767}
    assert last["reach"] == {"x": 32767}
    assert len(first["bounds"]) == 20
    for row in (*first["bounds"], *last["bounds"]):
        assert row["rule"] in ("N3", "N3b")
        worst = max(row["bound"], row.get("partial", 0))
        assert 2 ** (31 - row["margin_bits"]) == pytest.approx(worst, rel=1e-3)


@pytest.mark.parametrize("array", ["lstm0_wx", "lstm0_wh", "lstm0_bias", "fc_w"])
def test_a_raised_number_is_found_and_its_line_named(folder, array):
    source = folder / "kws_weights.c"
    lines = source.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if f"kws_{array}[" in line) + 1
    at = next(n for n in range(start, len(lines)) if re.search(r"\d", lines[n]))
    lines[at] = re.sub(r"-?\d+", lambda old: str(2 * abs(int(old[0])) + 1), lines[at], count=1)
    source.write_text("\n".join(lines) + "\n")
    said = check(folder, code=1)
    assert re.search(rf"kws_weights\.c: kws_{array.split('_')[0]} row 0: the worst sums are ", said)
    assert re.search(rf"in lines (\d+, )*{at + 1}\b", said)
    assert said.count("row ") == 1


def test_a_report_of_other_bounds_is_found(folder):
    path = folder / "kws_report.json"
    report = json.loads(path.read_text())
    report["layers"][1]["bounds"][1]["bound"] -= 1
    path.write_text(json.dumps(report))
    assert "kws_fc row 1" in check(folder, code=1)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("_INPUT_MIN (-4096)", "_INPUT_MIN (-8192)", "INPUT_MIN is -8192"),
        ("_INPUT_MIN (-4096)", "_INPUT_MIN (0)", "INPUT_MIN is 0"),
        ("_INPUT_MAX 4095", "_INPUT_MAX 4096", "INPUT_MAX is 4096"),
    ],
)
def test_another_range_of_inputs_is_found(folder, old, new, said):
    header = folder / "kws.h"
    assert old in header.read_text()
    header.write_text(header.read_text().replace(old, new))
    assert said in check(folder, code=1)


@pytest.mark.parametrize("name", ["embedding", "bidirectional_embedding"])
def test_a_raised_entry_of_an_embedding_is_found(tmp_path, name):
    network = VARIANTS[name]()
    folder = write(quantize(network, "w8a16", inputs_of(network)), tmp_path / "out")
    source = folder / "kws_weights.c"
    lines = source.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if "kws_words_table[" in line) + 1
    lines[at] = re.sub(r"-?\d+", "32767", lines[at], count=1)
    source.write_text("\n".join(lines) + "\n")
    said = check(folder, code=1)
    takers = ("both_fw", "both_bw") if name.startswith("bi") else ("lstm0",)
    for taker in takers:
        assert f"table has 32767 in line {at + 1}, the report's reach of kws_{taker} is" in said
        assert f"kws_{taker} row 0: the worst sums are" in said
    header = folder / "kws.h"
    text, count = re.subn(r"_INPUT_MAX (\d+)", "_INPUT_MAX 99", header.read_text())
    assert count >= 1
    header.write_text(text)
    assert "INPUT_MAX is 99" in check(folder, code=1)


def no_bounds(layers):
    for layer in layers:
        layer["bounds"] = []


def missing_bounds(layers):
    for layer in layers:
        del layer["bounds"]


def one_row_less(layers):
    del layers[0]["bounds"][-1]


def rows_twice(layers):
    layers[0]["bounds"][1] = layers[0]["bounds"][0]


@pytest.mark.parametrize(
    "change", [no_bounds, missing_bounds, list.clear, list.pop, one_row_less, rows_twice]
)
def test_rows_that_the_report_leaves_out_are_found(folder, change):
    path = folder / "kws_report.json"
    report = json.loads(path.read_text())
    change(report["layers"])
    path.write_text(json.dumps(report))
    assert re.search(r"kws_(lstm0|fc) has \d+ rows in the C", check(folder, code=1))


def test_where_nothing_can_be_told_it_says_so_in_a_line(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds 0 files *_weights.c" in (said := check(tmp_path / "empty", code=2))
    assert said.count("\n") == 1
    assert "holds 0 files *_weights.c" in check(tmp_path / "nowhere", code=2)
    assert "usage: " in check(code=2)
    report = folder / "kws_report.json"
    for text in ("", "[]", "{}", '{"layers": 1}', '{"layers": [{"type": "lstm"}]}',
                 '{"layers": [{"type": "lstm", "symbol": "kws_fc", "bounds": [{"row": 0}]}]}'):
        report.write_text(text)
        assert "kws_report.json is not a report" in (said := check(folder, code=2))
        assert said.count("\n") == 1
    report.unlink()
    assert "kws_report.json cannot be read" in check(folder, code=2)


def test_packed_weights_are_checked_in_portable_c(folder, tmp_path):
    q = quantize(Network.of(lstm(3, 5), dense(5, 2), name="small"), "w8a16")
    packed = write(q, tmp_path / "packed", "armv7em")
    assert "no kws_lstm0_bias; kernels pack it" in check(packed, code=2)
    (folder / "kws_report.json").unlink()
    check(folder, packed / "kws_report.json")
    shutil.rmtree(packed)
