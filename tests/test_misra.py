"""cppcheck's MISRA addon finds nothing beyond the published list, and the list is no longer."""

import re
import subprocess
from pathlib import Path

import pytest

from lstmgen.quantized import Precision, QuantizedNetwork
from lstmgen.quantizer import quantize

from builders import PRECISIONS, by_feature, quantized
from compiled import sources, write
from conftest import ROOT
from tools import need_program
from variants import VARIANTS, inputs_of

NETWORKS: tuple[tuple[str, Precision], ...] = (
    ("odd_sizes", "q7"),
    ("stacked_argmax", "w8a16"),
    ("sigmoid_everywhere", "q7"),
    ("initial_state", "q15"),
    ("extreme_weights", "w8a16"),
    ("hidden_out", "q7"),
)


def every_network() -> dict[str, QuantizedNetwork]:
    """The networks above, and every variant in one precision, another for each neighbour."""
    found = {f"plain_{name}": quantized(name, precision) for name, precision in NETWORKS}
    for turn, (name, made) in enumerate(VARIANTS.items()):
        network = made()
        x = inputs_of(network)
        found[name] = quantize(network, PRECISIONS[turn % 3], x, rounding="nearest")
    return {**found, "by_feature": by_feature(found["plain_initial_state"])}


def published() -> set[str]:
    text = (ROOT / "docs" / "misra.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| (\d+\.\d+) \|", text, re.MULTILINE))


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """(rule, place) of everything the addon reports on these networks."""
    need_program("cppcheck")
    found = []
    for name, q in every_network().items():
        folder = tmp_path_factory.mktemp(name)
        # The portable C: "size" leaves out x86-64's kernels, which are intrinsics.
        found += check(write(sources(q, effort="size"), folder))
    folder = tmp_path_factory.mktemp("assembly")
    files = write(sources(q, target="cortex-m0"), folder)
    assert (folder / "model_kernels.S").is_file()
    return found + check(files)


def check(files: list[str]) -> list[tuple[str, str]]:
    command = ["cppcheck", "--addon=misra", "--std=c99", "--platform=unix32", "--quiet"]
    command += ["--enable=style", "--template={id} {file}:{line}", "-DMODEL_FLOAT_HELPERS"]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=True)
    lines = [line.split(" ", 1) for line in done.stderr.splitlines()]
    return [(rule.removeprefix("misra-c2012-"), place) for rule, place in lines]


def test_nothing_but_the_published_deviations(findings: list[tuple[str, str]]) -> None:
    surplus = [f"{rule} {place}" for rule, place in findings if rule not in published()]
    assert not surplus, "\n".join(["not in docs/misra.md:", *surplus])


def test_every_published_deviation_is_one(findings: list[tuple[str, str]]) -> None:
    assert {rule for rule, _ in findings} == published()


def test_the_addon_finds_what_is_wrong(tmp_path: Path) -> None:
    need_program("cppcheck")
    source = tmp_path / "wrong.c"
    source.write_text(
        "int f(int a);\nint f(int a)\n{\n    if (a) { return 1; }\n    return 0;\n}\n"
    )
    assert "14.4" in {rule for rule, _ in check([str(source)])}
