"""Formats and offsets of single features (rule N1): chosen, folded, kept, and done in C."""

import ctypes
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lstmgen import artefact, reference
from lstmgen.cli import main
from lstmgen.dataset import Dataset
from lstmgen.emulator import Emulator
from lstmgen.errors import ModelError
from lstmgen.layers import Bidirectional, Embedding, Gru, Layer
from lstmgen.network import Dense, Lstm, Network
from lstmgen.npz import npz_bytes
from lstmgen.qformat import max_frac
from lstmgen.quantized import Precision
from lstmgen.quantizer import quantize
from lstmgen.quantizer.conditioning import SCALE_CAPS, plan, possible
from lstmgen.report import measure_accuracy
from lstmgen.scaling import MAX_INPUT_OFFSET

from builders import PRECISIONS
from compiled import Library, compile_c, sources, write
from variants import VARIANTS

MEANS = np.array([600.0, 8500.0, 0.02, -30.0, 0.0])
SPREADS = np.array([20.0, 90.0, 0.003, 4.0, 1.0])


def raw_sensors(seed: int = 1, sequences: int = 24, steps: int = 30) -> np.ndarray:
    """A temperature, a speed, a ratio, a level and a standardised value, as sensors give them."""
    r = np.random.default_rng(seed)
    z = r.normal(0, 1, (sequences, steps, 5))
    return (z + np.roll(z, 1, 1)) / 1.5 * SPREADS + MEANS


def network(first: str = "lstm", units: int = 6, **options: object) -> Network:
    """A network for such inputs, standardised by its own weights as trained models are."""
    r = np.random.default_rng(3)

    def folded(rows: int) -> tuple[np.ndarray, np.ndarray]:
        W = r.normal(0, 0.5, (rows, 5)) / SPREADS
        return W, -W @ MEANS

    def lstm(name: str) -> Lstm:
        W, b = folded(4 * units)
        return Lstm(name, W, r.normal(0, 0.3, (4 * units, units)), b)

    layers: list[Layer] = [lstm("one")]
    width = units
    if first == "gru":
        W, b = folded(3 * units)
        layers = [Gru("one", W, r.normal(0, 0.3, (3 * units, units)), b, np.zeros(units))]
    elif first == "bidirectional":
        layers, width = [Bidirectional("both", lstm("f"), lstm("b"))], 2 * units
    elif first == "dense":
        W, b = folded(4)
        layers = [Dense("pre", W, b, "tanh"), Lstm(
            "one", r.normal(0, 0.5, (4 * units, 4)), r.normal(0, 0.3, (4 * units, units)),
            np.zeros(4 * units))]
    skip = r.normal(0, 0.1, (3, 5)) / SPREADS if first == "skip" else None
    b = np.zeros(3) if skip is None else -skip @ MEANS
    layers.append(Dense("head", r.normal(0, 0.5, (3, width)), b, skip=skip))
    return Network(tuple(layers), **options)  # type: ignore[arg-type]


def decibel(net: Network, precision: Precision, **options: bool) -> float:
    q = quantize(net, precision, raw_sensors(), **options)
    found = measure_accuracy(net, q, Dataset(raw_sensors(2), None, None)).sqnr_db
    assert found is not None
    return found


@pytest.mark.parametrize(("precision", "least"), [("q15", 60), ("w8a16", 44), ("q7", 22)])
def test_raw_sensors_are_taken_as_well_as_standardised_ones(
    precision: Precision, least: float
) -> None:
    """In one format for all features the speed alone would be seen."""
    assert decibel(network(), precision) > least
    assert decibel(network(), precision, common_input=True) < 15


@pytest.mark.parametrize("first", ["gru", "bidirectional", "dense", "skip"])
def test_every_kind_of_first_layer_takes_them(first: str) -> None:
    assert decibel(network(first), "q15") > 55


@pytest.mark.parametrize("first", ["lstm", "gru", "bidirectional", "dense", "skip"])
@pytest.mark.parametrize("offsets", [False, True])
def test_the_folded_network_is_the_same_network(first: str, offsets: bool) -> None:
    net, x = network(first, outputs="sequence"), raw_sensors()
    made = plan(net, x, 16, 15, offsets)
    assert made is not None
    assert made.shift.any()
    assert bool(made.offset.any()) == offsets
    got = reference.run(made.network(net), made.applied(x)).y
    np.testing.assert_allclose(got, reference.run(net, x).y, atol=1e-9)


def test_a_plan_keeps_the_finer_features_within_the_coarsest() -> None:
    net, x = network(), raw_sensors()
    for cap, offsets in possible(net, x, 8):
        made = plan(net, x, 8, cap, offsets)
        assert made is not None
        assert made.shift.max() <= cap
        peaks = np.abs(made.applied(x)).max((0, 1))
        assert peaks.max() <= np.abs(x).max() * 17 / 16
        assert peaks.max() <= made.reach * 17 / 16
        spared = plan(net, x, 8, cap, offsets, 1)
        assert spared is not None
        special = (spared.shift > 0) | (spared.offset != 0)
        twice = np.abs(spared.applied(x)).max((0, 1)) * 2
        assert twice[special].max() <= spared.reach * 18 / 16


def test_nothing_is_planned_where_nothing_helps() -> None:
    r = np.random.default_rng(0)
    assert possible(network(), r.normal(0, 1, (50, 20, 5)), 8) == []
    assert plan(network(), np.zeros((2, 3, 5)), 8, 15, True) is None
    layers = (Embedding("words", r.normal(0, 1, (9, 4))), *network("dense").layers[1:])
    assert possible(Network(layers), np.ones((2, 3, 1)), 8) == []


def test_a_declared_range_is_every_feature_s() -> None:
    net = network(input_range=(-10000.0, 10000.0))
    assert plan(net, raw_sensors(), 16, 15, True) is None
    one_sided = plan(replace(net, input_range=(0.0, 10000.0)), np.abs(raw_sensors()), 16, 15, True)
    assert one_sided is not None
    assert (one_sided.offset == 5120).all()  # 5000 to 1/16 of the range
    assert one_sided.network(net).input_range == (-15120.0, 15120.0)


def test_a_feature_that_hardly_changes_gets_no_offset_too_large_for_c() -> None:
    x = raw_sensors()
    x[:, :, 1] = 1e6 + x[:, :, 1] / 1e6
    for cap in (0, *SCALE_CAPS):
        made = plan(network(), x, 16, cap, True)
        assert made is not None
        frac = max_frac(made.reach, 16)
        assert np.abs(made.integers(frac).offset).max() <= MAX_INPUT_OFFSET


@pytest.mark.parametrize(("mean", "spread"), [(1e6, 1.0), (1.7e9, 1e5)])
def test_a_feature_far_from_0_gets_a_coarser_format(mean: float, spread: float) -> None:
    """As coarse as its offset, which C holds in a float, allows; a float is no finer there."""
    x = raw_sensors()
    x[:, :, 0] = np.linspace(0, 100, x[:, :, 0].size).reshape(x.shape[:2])
    x[:, :, 1] = mean + spread * (x[:, :, 1] - MEANS[1]) / SPREADS[1]
    for spare in (0, 1):
        made = plan(network(), x, 16, 15, True, spare)
        assert made is not None
        frac = max_frac(made.reach, 16)
        offset = made.integers(frac).offset
        assert MAX_INPUT_OFFSET / 8 < offset[1] <= MAX_INPUT_OFFSET
        assert 2.0 ** -(frac + int(made.shift[1])) < spread / 3
        assert made.offset[0] == pytest.approx(50, abs=4)  # the others keep theirs


def test_a_feature_that_never_changes_may_in_use() -> None:
    x = raw_sensors()
    x[:, :, 0] = 600.0
    q = quantize(network(), "q15", x)
    assert q.scaling is not None
    assert q.scaling.offset[0] == 0
    x[:, :, 0] = 300.0
    assert np.abs(q.input_to_real(q.to_raw(x)) - x)[:, :, 0].max() < 1


def test_the_calibration_may_be_one_long_recording() -> None:
    q = quantize(network(), "q7", raw_sensors(5, 1, 600))
    assert q.scaling is not None
    assert "held-back" in q.notes[-1]


@pytest.fixture(scope="module")
def scaled():
    q = quantize(network(), "q7", raw_sensors())
    assert q.scaling is not None
    return q


def test_the_scaling_is_told(scaled) -> None:
    told = next(note for note in scaled.notes if note.startswith("inputs by feature: "))
    lo, hi = (scaled.input_to_real(np.full(5, end)) for end in (scaled.x.lo, scaled.x.hi))
    assert f"the least range has feature 2, {lo[2]:.6g} .. {hi[2]:.6g}, beyond" in told
    assert (hi - lo).argmin() == 2
    largest = f"largest |x| {np.abs(raw_sensors()).max():.6g}"
    assert any(note.endswith(largest) for note in scaled.notes)
    assert not any("WARNING" in note for note in scaled.notes)


def test_an_artefact_keeps_it(scaled, tmp_path: Path) -> None:
    artefact.save(scaled, tmp_path / "q.npz")
    again = artefact.load(tmp_path / "q.npz")
    assert again.digest() == scaled.digest() != replace(scaled, scaling=None).digest()
    x = raw_sensors(3)
    np.testing.assert_array_equal(again.to_raw(x), scaled.to_raw(x))
    assert artefact.to_bytes(again) == (tmp_path / "q.npz").read_bytes()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("input.shift", [0, 0, -1, 0, 0], r"input.shift spans -1..0; expected 0..15"),
        ("input.shift", [0, 0, 16, 0, 0], r"input.shift spans 0..16; expected 0..15"),
        ("input.shift", [0, 0], r"formats for \(2,\), \(5,\) features of 5"),
        ("input.offset", [0, 0, 1 << 24, 0, 0], "input.offset reaches beyond 8388608"),
        ("input.offset", [0, 0, -(1 << 63), 0, 0], "input.offset reaches beyond 8388608"),
        ("input.offset", [0, 0, 1, 0, 0], "its integers were changed"),
    ],
)
def test_a_tampered_one_is_refused(scaled, name: str, values: list[int], message: str) -> None:
    arrays = {**artefact.to_arrays(scaled), name: np.array(values, np.int64)}
    with pytest.raises(ModelError, match=message):
        artefact.from_arrays(arrays, "q.npz")


def test_an_artefact_with_half_of_it_is_refused(scaled, tmp_path: Path) -> None:
    arrays = artefact.to_arrays(scaled)
    del arrays["input.offset"]
    (tmp_path / "q.npz").write_bytes(npz_bytes(arrays))
    with pytest.raises(ModelError, match=r"'input.offset' is missing"):
        artefact.load(tmp_path / "q.npz")


HELPER = """
#define MODEL_FLOAT_HELPERS
#include "model.h"
void model_to_raw(const float *real, int32_t *raw, int32_t count);
void model_to_raw(const float *real, int32_t *raw, int32_t count)
{
    for (int32_t i = 0; i < count; i += (int32_t)MODEL_INPUTS) {
        model_input x[MODEL_INPUTS];
        model_input_from_float(&real[i], x);
        for (uint32_t j = 0u; j < MODEL_INPUTS; j++) {
            raw[i + (int32_t)j] = x[j];
        }
    }
}
static const int8_t fracs[] = MODEL_INPUT_FRACS;
static const int32_t offsets[] = MODEL_INPUT_OFFSETS;
int model_frac(int feature);
int model_frac(int feature) { return fracs[feature]; }
int model_offset(int feature);
int model_offset(int feature) { return offsets[feature]; }
"""


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_float_helper_in_c_follows_rule_n1(precision: Precision, tmp_path: Path) -> None:
    q = quantize(network(), precision, raw_sensors())
    assert q.scaling is not None
    c = Library(q, tmp_path, extra=HELPER)
    fracs = [c.call("frac", j) for j in range(5)]
    assert fracs == q.scaling.frac(q.x).tolist()
    assert [c.call("offset", j) for j in range(5)] == q.scaling.offset.tolist()
    step = 2.0 ** -np.array(fracs, np.float64)
    ties = (np.arange(-300, 300)[:, None] + 0.5 + q.scaling.offset) * step
    edges = q.input_to_real(np.array([[q.x.lo] * 5, [q.x.hi] * 5]))
    special = np.repeat([[np.inf], [-np.inf], [np.nan], [0.0], [1e-45], [3e38]], 5, 1)
    real = np.concatenate([ties, edges, special, raw_sensors(4).reshape(-1, 5)])
    real = real.astype(np.float32)
    near = [np.nextafter(real, np.float32(side)) for side in (np.inf, -np.inf)]
    real = np.ascontiguousarray(np.concatenate([real, *near]))
    raw = np.empty(real.shape, np.int32)
    c.call("to_raw", real, raw, real.size)
    np.testing.assert_array_equal(raw, q.to_raw(real))
    assert (raw[len(ties) + 4] == 0).all()  # NaN


def test_c_gives_what_the_emulator_gives(scaled, tmp_path: Path) -> None:
    c, raw = Library(scaled, tmp_path), scaled.to_raw(raw_sensors(6, 1, 40))
    np.testing.assert_array_equal(c.run(raw[0]), Emulator(scaled, batch=1).run(raw)[0])


def test_the_header_compiles_without_a_warning(scaled, tmp_path: Path) -> None:
    files = {**sources(scaled), "extra.c": HELPER}
    built = write(files, tmp_path)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
    library = str(tmp_path / "m.so")
    compile_c("gcc", [*strict, "-Wno-unused-function", "-shared", "-fPIC", "-o", library, *built])
    assert ctypes.CDLL(library)
    readme = files.get("README.md", "")
    assert "MODEL_INPUT_FRAC " not in files["model.h"] + readme


def test_the_c_says_by_feature_wherever_the_input_goes() -> None:
    for first in ("lstm", "gru", "bidirectional", "dense", "skip"):
        q = quantize(network(first), "q15", raw_sensors())
        assert q.scaling is not None
        files = sources(q)
        own = {str(layer.x) for layer in (q.layers[0], *getattr(q.layers[0], "halves", ()))}
        assert len(re.findall(r"^ \*   (x|own) +int16_t by feature", files["model.c"], re.M)) == (
            2 if first in ("bidirectional", "skip") else 1
        )
        assert f"x {own.pop()}" not in files["model.h"]


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_commands_know_of_it(tmp_path: Path) -> None:
    model, data, out = tmp_path / "m.npz", tmp_path / "d.npz", tmp_path / "out"
    network().save(model)
    np.savez(data, x_calib=raw_sensors(), x=raw_sensors(7))
    options = "--precision", "q7", "--calibration", data
    run("build", model, "-o", out, *options)
    readme = next(out.rglob("README.md"))
    assert "| feature | frac | offset | real values held |" in readme.read_text()
    run("check", readme.parent)
    report = "report", model, "--input", data, "--json", *options
    apart, common = (
        json.loads(run(*report, *more).stdout)["output"]["sqnr_db"]
        for more in ((), ("--common-input",))
    )
    assert apart > common + 10


def test_inspect_and_the_report_say_what_an_input_stands_for(scaled, tmp_path: Path) -> None:
    artefact.save(scaled, tmp_path / "q.npz")
    run("build", tmp_path / "q.npz", "-o", tmp_path / "out", "--name", "m")
    report = json.loads((tmp_path / "out" / "m_report.json").read_bytes())
    told = json.loads(run("inspect", tmp_path / "q.npz", "--json").stdout)
    assert report["input"] == told["input"]
    assert report["output"] == told["output"] == {"bits": 32, "frac": scaled.y.frac}
    held = told["input"]
    assert (held["min"], held["max"]) == scaled.input_span
    x = np.arange(held["min"], held["max"] + 1)[:, None]
    real = (x + np.array(held["offset"])) * 2.0 ** -np.array(held["frac"])
    np.testing.assert_array_equal(real, scaled.input_to_real(np.repeat(x, 5, 1)))
    text = run("inspect", tmp_path / "q.npz").stdout
    assert text == run("inspect", tmp_path / "out").stdout
    assert "(by feature)" in text
    for j, (lowest, highest) in enumerate(real[[0, -1]].T):
        assert f"  feature {j}    (x {held['offset'][j]:+d}) * 2^{-held['frac'][j]}, real " in text
        assert f", real {lowest:.6g} .. {highest:.6g}\n" in text


def test_one_format_is_every_feature_s_in_json() -> None:
    q = quantize(VARIANTS["embedding"](), "q7")
    assert q.interface()["input"] == {
        "bits": 16, "min": 0, "max": q.input_span[1], "frac": [0], "offset": [0]
    }
    q = quantize(network(), "q15")
    assert q.interface()["input"]["frac"] == [q.x.frac] * 5
    assert q.interface()["input"]["offset"] == [0] * 5


def test_a_note_says_what_a_declared_range_costs() -> None:
    q = quantize(network(input_range=(-10000.0, 10000.0)), "q15", raw_sensors())
    assert q.scaling is None
    assert "the declared input range is every feature's, so all have one format" in q.notes[-1]
    assert any("WARNING" in note and "--input-range" in note for note in q.notes)
    with pytest.raises(ModelError, match="needs calibration data"):
        quantize(network(), "q15", rounding="compensated")
