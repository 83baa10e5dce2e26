"""Whole generated folders: what a change of generator or quantizer does to the output."""

import difflib
import json
from pathlib import Path

import pytest

from lstmgen.quantized import Precision

from builders import quantized
from compiled import sources
from conftest import ROOT
from golden_hashes import FILE, NETWORKS, PRECISIONS, hashes

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


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_artefacts_and_files_have_the_golden_hashes(
    name: str, precision: Precision, request: pytest.FixtureRequest
) -> None:
    """With all choices made by calibration data; `make reproducible` asks other versions."""
    golden = json.loads(FILE.read_text(encoding="utf-8"))
    found = hashes(name, precision)
    if request.config.getoption("--update-golden"):
        golden[f"{name}/{precision}"] = found
        FILE.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8", newline="\n")
    expected = golden.get(f"{name}/{precision}", {})
    changed = [what for what in found if found[what] != expected.get(what)]
    assert not changed, (
        f"{', '.join(changed)} of {name} in {precision} changed; "
        "if this is meant: pytest tests/test_golden.py --update-golden"
    )


def write(files: dict[str, str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8", newline="\n")
