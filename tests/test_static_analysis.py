"""gcc's analyzer and clang-tidy find nothing in generated C; what is left out says why."""

import subprocess
from pathlib import Path

import pytest

from lstmgen.quantized import Precision, QuantizedNetwork
from lstmgen.quantizer import quantize

from builders import by_feature, quantized
from compiled import sources, write
from conftest import ROOT
from tools import need_program
from variants import VARIANTS, inputs_of

TIDY = ROOT / "tests" / "emitted.clang-tidy"
PLAIN: tuple[tuple[str, Precision], ...] = (
    ("odd_sizes", "q15"), ("stacked_argmax", "w8a16"), ("odd_sizes", "q7"),
)
VARIED = (
    "projection_peephole", "clip", "gru_stacked", "gru_reset_before", "skip", "embedding",
    "flipped", "bidirectional_stacked", "bidirectional_embedding",
)
"""Variants that between them have every template."""


def networks() -> dict[str, QuantizedNetwork]:
    found = {f"{name}_{precision}": quantized(name, precision) for name, precision in PLAIN}
    for name in VARIED:
        network = VARIANTS[name]()
        found[name] = quantize(network, "w8a16", inputs_of(network), rounding="nearest")
    return {**found, "by_feature": by_feature(found["skip"])}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The portable C of every network, and one with the host's kernels."""
    folder = tmp_path_factory.mktemp("analysis")
    for name, q in networks().items():
        write(sources(q, name, effort="size"), folder)
    return write(sources(quantized("sequence", "q7"), "kernels"), folder)


def test_the_analyzer_of_gcc_finds_nothing(files: list[str]) -> None:
    assert analyzed(files) == ""


def test_the_analyzer_of_gcc_finds_what_is_wrong(tmp_path: Path) -> None:
    text = "int f(int n);\nint f(int n)\n{\n    int a[2];\n    return n ? a[0] : 0;\n}\n"
    assert "-Wanalyzer-use-of-uninitialized-value" in analyzed(write({"f.c": text}, tmp_path))


def test_clang_tidy_finds_nothing(files: list[str]) -> None:
    assert tidied(files) == ""


def test_clang_tidy_finds_what_is_wrong(tmp_path: Path) -> None:
    text = "int f(int n);\nint f(int n)\n{\n    if (n);\n        n = 4 / 0;\n    return n;\n}\n"
    found = tidied(write({"f.c": text}, tmp_path))
    assert "bugprone-suspicious-semicolon" in found
    assert "clang-analyzer-core.DivideZero" in found


def analyzed(files: list[str]) -> str:
    need_program("gcc")
    found = []
    for file in files:
        # Without kernels of intrinsics, for which it takes a minute: they have no branches.
        command = ["gcc", "-std=c99", "-O1", "-fanalyzer", "-c", file, "-o", "/dev/null"]
        if Path(file).name != "kernels.c":
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(done.stderr)
    return "".join(found)


def tidied(files: list[str]) -> str:
    """Return the warnings; what it says of headers outside is a count."""
    need_program("clang-tidy")
    command = ["clang-tidy", "--quiet", f"--config-file={TIDY}", *files, "--", "-std=c99"]
    command += ["-DMODEL_FLOAT_HELPERS"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
