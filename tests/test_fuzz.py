"""The fuzz of random networks: it finds nothing, and it finds and shrinks what is wrong."""

import re
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lstmgen.bounds import bound_table
from lstmgen.emulator import literal
from lstmgen.layers import Dense, Embedding, Gru, Lstm, arrays_of, parts_of
from lstmgen.preconditions import check
from lstmgen.verification import default_inputs, model_files

import fuzz
import fuzz_checks
from fuzz_case import DAMAGES, Damage, FuzzCase, Options, fuzz_case
from fuzz_checks import TARGETS, Finding, examine
from fuzz_shrink import shrink
from tools import need_program, usable
from variants import VARIANTS

ALL = ("host", *TARGETS)


# The quantizer refuses 7; 16 is the next of its target.
@pytest.mark.parametrize("seed", [*range(1, 7), *range(8, 13), 16])
def test_the_first_networks_are_equal_everywhere(seed):
    expected = fuzz.checks_of(seed, ALL)
    for name in expected:
        if name in ALL:
            usable(name)
        elif name == "clang":
            need_program("clang")
    outcome = fuzz.run_seed(seed, ALL)
    assert outcome.finding is None, outcome
    assert outcome.passed == tuple(expected)
    assert not outcome.left


def test_checks_take_turns():
    made = Counter(name for seed in range(72) for name in fuzz.checks_of(seed, ALL))
    assert {made[name] for name in ("literal", "pieces", "files", "host")} == {72}
    assert {made[name] for name in TARGETS} == {72 // len(TARGETS)}
    assert made["sanitizers"] == made["clang"] == 9
    assert {"cortex-m0", "cortex-m4", "cortex-m55", "riscv32", "avr"} <= set(TARGETS)
    assert fuzz.checks_of(8, ()) == ["literal", "pieces", "files"]
    assert fuzz.checks_of(8, ("avr",))[3:] == ["avr"]


def test_a_seed_says_everything():
    for seed in range(40, 52):
        one, two = fuzz_case(seed), fuzz_case(seed)
        assert one.options == two.options
        np.testing.assert_array_equal(one.x, two.x)
        if len(one.x):
            assert one.quantized().digest() == two.quantized().digest()
    assert fuzz_case(40).quantized().digest() != fuzz_case(41).quantized().digest()


def test_networks_are_of_all_kinds():
    cases = [fuzz_case(seed) for seed in range(80)]
    parts = [part for case in cases for layer in case.network.layers for part in parts_of(layer)]
    kinds = {type(part) for part in parts}
    assert kinds == {Lstm, Gru, Dense, Embedding}
    recurrent = [part for part in parts if isinstance(part, Lstm | Gru)]
    assert {part.direction for part in recurrent} == {"forward", "reverse", "flipped"}
    for key in ("h0", "c0", "peephole", "projection", "clip", "cell_clip"):
        assert any(getattr(part, key, None) is not None for part in recurrent), key
    assert any(isinstance(part, Dense) and part.skip is not None for part in parts)
    options = [case.options for case in cases]
    assert {o.precision for o in options} == {"q15", "w8a16", "q7"}
    assert {o.rounding for o in options} == {"nearest", "compensated", "auto"}
    assert {d.kind for o in options for d in o.damages} == set(DAMAGES)
    assert any(o.widths for o in options)
    assert any(o.input_bits for o in options)
    assert any(o.shifted for o in options)
    assert sum(not len(case.x) for case in cases) < 8  # refused by the quantizer
    chosen = [case for case in cases if len(case.x) and case.options.rounding == "auto"]
    assert any(case.quantized().scaling is not None for case in chosen)


def test_damages_keep_the_proof_and_reach_its_ends():
    changed, widest = set(), 0
    for seed in range(5):
        whole = replace(fuzz_case(seed), options=Options())
        q = whole.quantized()
        for kind in DAMAGES:
            damage = Damage(0.99, 0.7, kind)
            found = replace(whole, options=Options(damages=(damage,))).quantized()
            check(found)
            if found.digest() != q.digest():
                changed.add(kind)
                widest = max(widest, *(int(b.bound.max(initial=0)) for b in bound_table(found)))
    assert changed == set(DAMAGES)
    assert widest == 2**31 - 1


@pytest.mark.parametrize("name", VARIANTS)
def test_what_always_fails_shrinks_to_next_to_nothing(name):
    small = shrink(_case(name), lambda case: True)
    (layer,) = small.network.layers
    assert (layer.inputs, layer.width, small.x.shape) == (1, 1, (1, 1, 1))
    assert isinstance(layer, Lstm | Gru)
    assert not any(array.any() for array in arrays_of(layer).values())
    assert not any(array.any() for array in (small.x, layer.W, layer.U, layer.b))
    assert (layer.direction, layer.gate, layer.cell) == ("forward", "sigmoid", "tanh")
    assert small.calibration is None
    assert small.options == Options(precision="q7")


@pytest.mark.parametrize(("name", "has", "layers"), [
    ("peephole", lambda part: getattr(part, "peephole", None) is not None, 1),
    ("projection", lambda part: getattr(part, "projection", None) is not None, 1),
    ("skip", lambda part: getattr(part, "skip", None) is not None, 2),
    ("embedding", lambda part: isinstance(part, Embedding), 2),
    ("bidirectional_sum", lambda part: part.name == "both_bw", 1),
    ("initial_state", lambda part: getattr(part, "c0", None) is not None, 1),
])
def test_what_fails_by_a_feature_keeps_that_alone(name, has, layers):
    def fails(case: FuzzCase) -> bool:
        found = [part for layer in case.network.layers for part in parts_of(layer)]
        assert case.x.shape[2] == case.network.inputs
        return any(map(has, found))

    small = shrink(_case(name), fails)
    assert fails(small)
    assert len(small.network.layers) == layers
    assert {layer.width for layer in small.network.layers} == {1}
    assert small.x.shape == (1, 1, 1)


def test_a_wrong_emulator_is_found_and_shrunk(monkeypatch, tmp_path, capsys):
    right = literal.dense

    def wrong(layer, tables, x, own):
        y = right(layer, tables, x, own)
        return y + (y > 40) if layer.activation == "relu" and layer.y.bits <= 16 else y

    monkeypatch.setattr(literal, "dense", wrong)
    arguments = ["--targets", "none", "--jobs", "1", "--failures", str(tmp_path)]
    assert fuzz.main([*arguments, "--count", "12"]) == 1
    said = capsys.readouterr().out
    failed = re.findall(r"^FAILED seed (\d+), literal: dense\d.* got (-?\d+), expected (-?\d+) at "
                        r"step \d+$", said, re.MULTILINE)
    assert failed
    assert all(int(got) + 1 == int(expected) for _, got, expected in failed)
    assert f"--seed {failed[0][0]} --count 1 --targets none" in said
    folders = sorted(tmp_path.iterdir())
    assert len(folders) == len(failed)
    for folder in folders:
        case = FuzzCase.load(folder)
        *below, head = case.network.layers
        assert len(case.network.layers) <= 3
        assert {layer.width for layer in (*below, head)} == {1}
        assert any(isinstance(one, Dense) and one.activation == "relu" for one in (*below, head))
        assert case.x.shape == (1, 1, 1)
        assert fuzz.main(["--replay", str(folder)]) == 1
    monkeypatch.undo()
    assert fuzz.main(["--replay", str(folders[0])]) == 0


def test_wrong_c_is_found_and_shrunk(monkeypatch, tmp_path):
    usable("host")

    def wrong(*arguments):
        return {
            name: text.replace("* h[unit]) + 16384", "* h[unit]) + 0")
            for name, text in model_files(*arguments).items()
        }

    monkeypatch.setattr(fuzz_checks, "model_files", wrong)
    finding = examine(_case("gru_reset_before"), "host")
    assert finding is not None
    assert re.fullmatch(r"host: layer gru0, [ch]\[\d\] at step \d of sequence \d.*: "
                        r"got -?\d+, expected -?\d+", finding.text)
    assert finding.kind == ""
    small = fuzz.smallest(_case("gru_reset_before"), finding, 150)
    (layer,) = small.network.layers
    assert isinstance(layer, Gru)
    assert (layer.inputs, layer.width, layer.reset_after) == (1, 1, False)
    assert small.x.shape[0] == 1
    small.save(tmp_path)
    (tmp_path / "check.txt").write_text("host\n", encoding="utf-8")
    assert fuzz.replay(tmp_path) == 1
    monkeypatch.undo()
    assert fuzz.replay(tmp_path) == 0


def test_an_exception_is_a_failure(monkeypatch, tmp_path, capsys):
    def stumble(*arguments, **options):
        raise KeyError("W")

    monkeypatch.setattr(fuzz_checks, "build", stumble)
    arguments = ["--targets", "none", "--jobs", "1", "--failures", str(tmp_path), "--tries", "40"]
    assert fuzz.main([*arguments, "--count", "1"]) == 1
    assert "FAILED seed 1, files: KeyError" in capsys.readouterr().out
    assert (tmp_path / "seed-1-files" / "model.npz").is_file()


def test_blocks_of_seeds(monkeypatch):
    monkeypatch.setattr(fuzz, "BLOCK", 2)
    found = list(fuzz.outcomes(range(1, 6), (), 2))
    assert sorted(outcome.seed for outcome in found) == [1, 2, 3, 4, 5]
    assert all(outcome.passed == fuzz.IN_PYTHON for outcome in found)
    late = fuzz.outcomes(range(7, 1000), (), 1, minutes=1e-9)
    assert [outcome.seed for outcome in late] == [7, 8]


def test_one_failure_does_not_become_another():
    finding = Finding("literal", "differs")
    assert not finding.like(Finding("pieces", "differs"))
    assert not finding.like(Finding("literal", "KeyError", "KeyError"))
    assert finding.like(Finding("literal", "differs elsewhere"))


def test_what_is_too_large_is_no_failure():
    usable("avr")
    wide = _case("gru")
    layer = Lstm("lstm0", np.ones((400, 60)), np.ones((400, 100)), np.ones(400), clip=1.0)
    network = replace(wide.network, layers=(layer,))
    options, x = replace(wide.options, rounding="nearest"), np.zeros((1, 1, 60), np.int64)
    case = replace(wide, network=network, options=options, x=x, calibration=None)
    with pytest.raises(fuzz_checks.NoRoomError):
        examine(case, "avr")


def test_what_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, *rest: None)
    outcome = fuzz.run_seed(1, ("host", "avr"))
    assert outcome.passed == ("literal", "pieces", "files")
    assert outcome.left == ("host without gcc", "avr without avr-gcc")


def _without_rounding(text: str) -> str:
    return text.replace("+ 16384", "+ 16383")


def _case(name: str) -> FuzzCase:
    """A case of one of the variants, with more options than the smallest one has."""
    network = VARIANTS[name]()
    r = np.random.default_rng(1)
    embedded = isinstance(network.layers[0], Embedding)
    shape = (3, 4, network.inputs)
    calibration = r.integers(0, 3, shape) if embedded else r.normal(0, 1, shape)
    options = Options(precision="q7", rounding="compensated", table_bits=8, effort="size",
                      damages=(Damage(0.1, 0.2, "most"),))
    case = FuzzCase(network, options, calibration.astype(float), np.zeros((0, 1, 1), np.int64))
    return replace(case, x=default_inputs(case.quantized(), r, steps=3))

