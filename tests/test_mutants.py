"""The mutants apply to the sources as they are, and the script tells what becomes of each."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import mutants
from conftest import ROOT
from mutant import Mutant, MutantError
from mutants_list import MUTANTS

KINDS = {
    "emulator", "fast", "portable", "layout", "generator", "quantizer", "scaling", "conditioning",
    "folding", "bounds", "preconditions", "artefact", "selftest", "cortex-m0", "cortex-m3",
    "cortex-m4", "cortex-m55", "riscv32", "avr", "x86-avx2", "x86-sse2", "x86-plain",
}  # fmt: skip
"""What the names of mutants begin with."""


@cache
def functions(file: str) -> set[str]:
    """Return the tests of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_applies(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    changed = mutant.applied(text)
    assert changed != text
    if mutant.file.endswith(".py"):
        compile(changed, mutant.file, "exec")
    assert mutant.file.startswith(("lstmgen/", "templates/"))
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).is_file(), test
        assert not name or name.partition("[")[0] in functions(file), test


def test_they_are_many_and_everywhere() -> None:
    assert max(Counter(mutant.name for mutant in MUTANTS).values()) == 1
    kinds = Counter(mutant.name.partition(".")[0] for mutant in MUTANTS)
    assert set(kinds) == KINDS
    cores = [kind for kind in kinds if kind.startswith(("cortex", "riscv", "avr"))]
    assert all(kinds[core] >= 5 for core in cores)
    rules = {found for m in MUTANTS for found in re.findall(r"\.n(\d+)", m.name)}
    assert {int(rule) for rule in rules} == set(range(1, 17))
    assert len(MUTANTS) >= 150


# --- The script, on a project of two files --------------------------------------------------

SOURCE = "def half(n):\n    return (n + 1) // 2\n\n\ndef same(n):\n    return n + 0\n"
TESTS = """
from source import half, same

def test_half():
    assert half(3) == 2

def test_same():
    assert same(3) == 3

def test_wrong():
    assert half(3) == 1
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "source.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "test_source.py").write_text(TESTS, encoding="utf-8")
    return tmp_path


def mutant(name: str, find: str, replace: str, *tests: str) -> Mutant:
    return Mutant(name, "source.py", find, replace, tuple(f"test_source.py::{t}" for t in tests))


CAUGHT = mutant("caught", "(n + 1)", "n", "test_half")
SURVIVES = mutant("survives", "n + 0", "n", "test_same")
FILES = [Path("source.py"), Path("test_source.py")]


def run(project: Path, *chosen: Mutant) -> int:
    return mutants.score(chosen, project, FILES, 2)


def test_each_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = mutant("gone", "n + 2", "n", "test_half")
    assert run(project, CAUGHT, SURVIVES, gone) == 2
    _, caught, survives, wrong, score = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"caught: caught by test_source.py::test_half \([\d.]+ s\)", caught)
    assert survives.startswith("survives: SURVIVES test_source.py::test_same (")
    assert wrong.startswith(
        "gone: tells nothing: gone: source.py has 0 times 'n + 2'; expected once: bring"
    )
    assert re.fullmatch(r"1 of 3 mutants caught \(\d+ s\)", score)
    assert (project / "source.py").read_text(encoding="utf-8") == SOURCE


@pytest.mark.parametrize(
    ("verdicts", "status"), [(("test", "test"), 0), (("test", None), 1), ((None, None), 1)]
)
def test_a_survivor_fails(
    verdicts: tuple[str | None, ...], status: int, project: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    made = [mutants.Verdict(CAUGHT, 1.0, verdict) for verdict in verdicts]
    monkeypatch.setattr(mutants, "check_unchanged", lambda *arguments: None)
    monkeypatch.setattr(mutants, "verdicts", lambda *arguments: iter(made))
    assert run(project, CAUGHT, CAUGHT) == status
    expected = f"{sum(map(bool, verdicts))} of 2 mutants caught"
    assert expected in capsys.readouterr().out.splitlines()[-1]


def test_the_tests_have_to_pass_without_mutants(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, mutant("any", "(n + 1)", "n", "test_wrong")) == 2
    said = capsys.readouterr()
    assert said.err == "mutants: test_source.py::test_wrong fails without any mutant\n"
    assert not said.out


FAILED = "....F\n= short test summary info =\nFAILED tests/test_a.py::test_b[c - d] - assert 1\n"


def test_what_pytest_says_is_understood() -> None:
    assert mutants.found_by(0, "...\n3 passed in 1.00s") is None
    assert mutants.found_by(1, FAILED + "1 failed, 4 passed") == "tests/test_a.py::test_b[c"


@pytest.mark.parametrize(
    ("status", "output", "message"),
    [
        (0, ".s\n1 passed, 1 skipped in 1.00s", "tests were skipped: tools/install-tools.sh"),
        (1, f"model.c:3:7: error: expected ;\n{FAILED}1 failed", "it does not compile"),
        (1, f"kernels.S:70: Error: bad instruction\n{FAILED}1 failed", "it does not compile"),
        (1, "what", "pytest ended with 1"),
        (2, FAILED, "pytest ended with 2"),
        (4, "ERROR: not found: a.py::b", "pytest ended with 4\n  ERROR: not found: a.py::b"),
        (5, "", "pytest ended with 5"),
    ],
)
def test_what_is_no_verdict_is_told(status: int, output: str, message: str) -> None:
    with pytest.raises(MutantError, match=re.escape(message)):
        mutants.found_by(status, output)


def test_tests_that_do_not_end_tell_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "_PYTEST", ("-c", "while True: pass"))
    verdict = mutants.judge(CAUGHT, project, 0.2)
    assert verdict.wrong == "the tests took more than 0.2 s"
    assert (project / "source.py").read_text(encoding="utf-8") == SOURCE


def test_a_mutant_that_is_there_twice_does_not_apply() -> None:
    with pytest.raises(MutantError, match="bring the mutant up to date"):
        CAUGHT.applied(SOURCE * 2)


def test_the_files_of_the_project_are_copied() -> None:
    files = mutants.source_files(ROOT)
    assert {Path("tests/mutants.py"), Path("pyproject.toml")} <= set(files)
    assert all(Path(m.file) in files for m in MUTANTS)
