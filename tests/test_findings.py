"""What a report finds, by hand from its definitions, and beside what measure_accuracy finds."""

import json

import numpy as np
import pytest

from lstmgen import reference
from lstmgen.bounds import bound_table
from lstmgen.budget import costs, margins, table_errors
from lstmgen.codegen import footprint
from lstmgen.dataset import Dataset
from lstmgen.emulator import Emulator
from lstmgen.findings import measure_findings
from lstmgen.qformat import QFormat
from lstmgen.quantizer import quantize
from lstmgen.quantizer.tables import load_tables
from lstmgen.report import measure_accuracy
from lstmgen.tallies import Magnitudes, StepErrors

from builders import NETWORKS, calibration, quantized, undecided
from variants import VARIANTS, inputs_of


@pytest.fixture
def few_arguments(monkeypatch):
    """The tables' errors at fewer arguments, for tests that are of something else."""
    monkeypatch.setattr("lstmgen.budget._ARGUMENTS", 1 << 12)


@pytest.mark.parametrize("lengths", [None, (14, 5, 5, 1, 14, 9)])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_last_stage_is_the_whole_loss(name, lengths, few_arguments):
    network = VARIANTS[name]()
    x = inputs_of(network, 6)
    q = quantize(network, "q7", x, rounding="nearest")
    data = Dataset(x, lengths=None if lengths is None else np.array(lengths))
    findings, accuracy = measure_findings(network, q, data), measure_accuracy(network, q, data)
    stages = {stage.name: stage for stage in findings.loss}
    last = q.layers[-1].name
    assert next(iter(stages)) == max(findings.loss, key=lambda stage: stage.share).name
    assert set(stages) == {"input", *(layer.name for layer in q.layers)}
    assert stages[last].sqnr_db == pytest.approx(accuracy.sqnr_db, abs=1e-6)
    assert sum(stage.share for stage in findings.loss) == pytest.approx(1)
    if lengths is None:
        changed = 1 - stages[last].changed / findings.decisions.total
        assert changed == pytest.approx(accuracy.agreement)
    json.dumps(findings.to_json(), allow_nan=False)


def test_dense_layers_behind_both_ends_are_one_stage(few_arguments):
    """What they take at every step is not what they take at the end."""
    network = VARIANTS["bidirectional"]()
    last = network.layers[-1]
    more = type(last)("after", np.eye(last.width), np.zeros(last.width))
    network = type(network).of(*network.layers, more)
    x = inputs_of(network, 6)
    q = quantize(network, "q15", x, rounding="nearest")
    findings = measure_findings(network, q, Dataset(x))
    stages = {stage.name: stage for stage in findings.loss}
    assert set(stages) == {"input", "both", "head and what follows"}
    whole = measure_accuracy(network, q, Dataset(x)).sqnr_db
    assert stages["head and what follows"].sqnr_db == pytest.approx(whole)


def test_a_stage_by_hand(few_arguments):
    network, q = NETWORKS["odd_sizes"](), quantized("odd_sizes", "q7")
    x = calibration(network, 5, 9)
    emulator = Emulator(q, batch=5)
    values = q.layers[1].y.to_real(emulator.trace(q.to_raw(x))["lstm0"])
    rest = type(network).of(*network.layers[2:], outputs=network.outputs)
    exact = reference.run(network, x).y
    error = reference.run(rest, values).y - exact
    stages = {s.name: s for s in measure_findings(network, q, Dataset(x)).loss}
    expected = 10 * np.log10(np.sum(exact**2) / np.sum(error**2))
    assert stages["lstm0"].sqnr_db == pytest.approx(expected)
    assert stages["lstm0"].rms_error == pytest.approx(np.sqrt(np.mean(error**2)))


def test_chunks_add_up(few_arguments, monkeypatch):
    network, q = NETWORKS["odd_sizes"](), quantized("odd_sizes", "q7")
    data = Dataset(calibration(network, 20, 9), lengths=np.arange(20) % 9 + 1)
    whole = measure_findings(network, q, data).to_json()
    monkeypatch.setattr("lstmgen.report._CHUNK_VALUES", 1)
    parts = measure_findings(network, q, data).to_json()
    assert [one["counts"] for one in parts["histograms"]] == [
        one["counts"] for one in whole["histograms"]
    ]
    for key in ("loss", "drift"):
        for one, other in zip(parts[key], whole[key], strict=True):
            assert one.keys() == other.keys()
            for name, value in one.items():
                assert value == pytest.approx(other[name], abs=1e-9)


def test_argmax_has_no_distance_but_decisions(few_arguments):
    network = undecided()
    x = calibration(network, 300, 6)
    q = quantize(network, "q7", x)
    label = reference.run(network, x).y.reshape(300, -1)[:, -1]
    y = Emulator(q, batch=300).run(q.to_raw(x))
    exact = reference.run(network, x).y
    found = measure_findings(network, q, Dataset(x)).decisions
    assert found.changed == np.count_nonzero(y != exact) > 0
    assert found.total == y.size
    assert sum(pair.count for pair in found.pairs) == found.changed
    for pair in found.pairs:
        assert pair.count == np.count_nonzero((exact == pair.float) & (y == pair.quantized))
    stages = measure_findings(network, q, Dataset(x)).loss
    assert {stage.sqnr_db for stage in stages} == {None}
    assert sum(stage.share for stage in stages) == pytest.approx(1)
    labelled = measure_findings(network, q, Dataset(x, label=label)).decisions
    assert (labelled.became_wrong, labelled.became_right) == (found.changed, 0)


def test_nothing_lost(few_arguments):
    network = NETWORKS["zeros"]()
    findings = measure_findings(network, quantize(network, "q15"), Dataset(np.ones((2, 3, 2))))
    assert {stage.share for stage in findings.loss} == {None}
    assert {stage.rms_error for stage in findings.loss} == {0}
    assert {one.growth for one in findings.drift} == {None}


def test_errors_by_step():
    errors = StepErrors(200)
    ramp = np.arange(1.0, 201)[None, :, None]
    errors.add(np.zeros((1, 200, 3)), np.broadcast_to(ramp, (1, 200, 3)))
    errors.add(np.zeros((1, 100, 3)), np.broadcast_to(ramp[:, :100], (1, 100, 3)))
    drift = errors.drift("h")
    assert len(drift.steps) == len(drift.rms) == 64
    assert drift.steps[:3] == (0, 3, 6)
    assert drift.rms[0] == pytest.approx(np.sqrt((1 + 4 + 9) / 3))
    rms = [np.sqrt(np.mean(ramp.ravel()[part] ** 2)) for part in
           (slice(0, 50), slice(100, 150), slice(150, 200))]
    assert drift.growth == pytest.approx(rms[2] / rms[0])
    assert drift.climb == pytest.approx(rms[2] / rms[1])


def test_a_layer_that_goes_backwards_counts_from_the_end(few_arguments):
    network = VARIANTS["reverse_sequence"]()
    x = inputs_of(network, 6)
    q = quantize(network, "q7", x, rounding="nearest")
    (layer,) = q.recurrent
    trace = Emulator(q, batch=6).trace(q.to_raw(x))
    error = layer.h.to_real(trace[layer.name]) - reference.run(network, x).layers[layer.name]
    rms = np.sqrt(np.mean(error**2, (0, 2)))[::-1]
    drift = next(d for d in measure_findings(network, q, Dataset(x)).drift if d.name == layer.name)
    np.testing.assert_allclose(drift.rms, rms)


def test_magnitudes():
    magnitudes = Magnitudes("x", "input", QFormat(8, 4))
    magnitudes.add(np.array([[0.0, 0.5, -0.75], [1.0, 7.95, -8.0]]))
    magnitudes.add(np.array([9.0, 0.01, 0.0, 2.0]))
    found = magnitudes.histogram()
    assert found.exponents == tuple(range(-7, 4))
    assert found.counts == (1, 0, 0, 0, 0, 0, 2, 1, 1, 1, 2)
    assert (found.values, found.clipped, found.lost) == (10, 1, 1)
    assert (found.max_abs, found.step, found.limit) == (9.0, 1 / 16, 127 / 16)
    assert found.headroom_bits == pytest.approx(np.log2(127 / 16 / 9))
    noise = 0.0125**2 + (9 - 127 / 16) ** 2 + 0.01**2
    signal = 0.25 + 0.5625 + 1 + 7.95**2 + 64 + 81 + 0.0001 + 4
    assert found.sqnr_db == pytest.approx(10 * np.log10(signal / noise))


@pytest.mark.parametrize(
    ("precision", "largest"), [("q15", (2.0, 2.9)), ("w8a16", (4.9, 8.4)), ("q7", (14.6, 26.8))]
)
def test_table_errors(precision, largest):
    """As docs/numerics.md has them, N5."""
    q = quantized("odd_sizes", precision)
    found = {one.function: one for one in table_errors(q)}
    assert set(found) == {"sigmoid", "tanh", "exp2"}
    for name, most, reach in zip(("sigmoid", "tanh"), largest, (16, 8), strict=True):
        assert found[name].max_lsb == pytest.approx(most, abs=0.2)
        assert found[name].reach == (-reach, reach)
        assert found[name].rms_lsb < found[name].max_lsb / 3
        assert max(found[name].errors) == found[name].max_lsb
    assert found["tanh"].segments == len(load_tables(q.tables.bits).tanh)


def test_tables_of_other_functions(few_arguments):
    network = VARIANTS["hard_sigmoid"]()
    q = quantize(network, "q15", inputs_of(network), rounding="nearest")
    found = {one.function: one.max_lsb for one in table_errors(q)}
    assert set(found) == {"tanh", "hard_sigmoid"}
    assert 1 < found["hard_sigmoid"] < 2.5


@pytest.mark.parametrize("name", ["projection", "gru", "bidirectional_stacked", "embedding"])
def test_margins_and_costs(name):
    network = VARIANTS[name]()
    q = quantize(network, "w8a16", inputs_of(network), rounding="nearest")
    least = {b.layer: b.margin_bits for b in bound_table(q) if len(b.bound)}
    found = margins(q)
    assert {one.name: one.least_bits for one in found} == pytest.approx(least)
    assert [one.least_bits for one in found] == sorted(least.values())
    assert all(one.worst[0].bits == one.least_bits for one in found)
    cost, whole = costs(q), footprint(q, name="model")
    assert sum(one.macs for one in cost) == q.macs_per_step
    assert sum(one.weights_bytes for one in cost) == whole.weights
    assert 0 <= whole.state - sum(one.state_bytes for one in cost) < 4


def test_rules_of_rows():
    q = quantized("large_inputs", "q7")
    rules = {row.rule for one in margins(q) for row in one.worst}
    assert rules == {"N3", "N3b"}
