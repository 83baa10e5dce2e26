"""Whole generated folders: what a change of generator or quantizer does to the output."""

import difflib
from pathlib import Path

import pytest

from lstmgen.quantized import Precision

from builders import quantized
from compiled import sources
from conftest import ROOT

GOLDEN = ROOT / "tests" / "golden"
MODELS: dict[str, tuple[str, Precision, str]] = {
    "odd": ("odd_sizes", "q7", "arc"),  # the portable kernels
    "classes": ("stacked_argmax", "w8a16", "arm"),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_output_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    network, precision, target = MODELS[name]
    # The shortest kernels: trees to read.
    files = sources(quantized(network, precision), name, target, "size")
    folder = GOLDEN / name
    if request.config.getoption("--update-golden"):
        write(files, folder)
    golden = {
        path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file()
    }
    changes = [
        line
        for file in sorted(files.keys() | golden.keys())
        for line in difflib.unified_diff(
            golden.get(file, "").splitlines(),
            files.get(file, "").splitlines(),
            f"golden/{name}/{file}",
            f"generated/{file}",
            lineterm="",
        )
    ]
    assert files == golden, "\n".join(
        ["", *changes[:80], "", "if this is meant: pytest tests/test_golden.py --update-golden"]
    )


def write(files: dict[str, str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8", newline="\n")
