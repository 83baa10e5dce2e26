"""docs/formats.md: its tests exist, every format and every variant is in it."""

import re

import pytest

from lstmgen.readers.formats import FORMATS

import float_variants
from conftest import ROOT
from variants import VARIANTS, floors

PAGE = ROOT / "docs" / "formats.md"
FILES = {
    "Keras .keras, Keras .h5": ["read_keras", "read_keras_variants"],
    "npz": ["readers", "read_keras_variants", "npz", "inspect"],
    "PyTorch, safetensors": ["read_torch", "read_safetensors", "readers"],
    "JSON": ["read_json_models"],
    "ONNX": ["read_onnx", "read_onnx_variants", "messages"],
    "TFLite": ["read_tflite"],
    "own schema": ["schema", "readers", "inspect", "messages"],
}
"""Where the tests of a column lie; those of damaged files lie in one place for all."""

CHAIN = ["reference_variants", "variants"]


def names_in(files: list[str]) -> set[str]:
    found = set()
    for name in [*files, "damaged_files"]:
        text = (ROOT / "tests" / f"test_{name}.py").read_text(encoding="utf-8")
        found |= set(re.findall(r"^def test_(\w+)", text, re.MULTILINE))
    return found


def table(first: int) -> list[list[str]]:
    """Return the cells of the page's table number `first`, header and all."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    rows = [line.strip("|\n").split("|") for line in blocks[first].splitlines()]
    return [[cell.strip() for cell in row] for row in rows if not row[0].startswith("---")]


def test_every_format_has_a_column():
    header = table(0)[0][1:]
    assert header == list(FILES)
    columns = {name for column in header for name in column.split(", ")}
    assert {known.name for known in FORMATS} <= columns


@pytest.mark.parametrize("column", FILES)
def test_every_cell_names_tests_that_exist(column):
    header, *rows = table(0)
    at = header.index(column)
    known = names_in(FILES[column])
    assert len(rows) > 30
    for row in rows:
        assert len(row) == len(header), row[0]
        names = re.findall(r"`([^`]+)`", row[at])
        assert names or not row[at].startswith("refused"), row[0]
        for name in names:
            if name.startswith("["):
                assert column == "own schema"
                assert name[1:-1] in float_variants.LAYERS, name
            else:
                assert name in known, f"{row[0]}: {name}"


def test_no_variant_of_the_schema_is_left_out():
    """Of each choice of a layer, at least one is in the column of the own schema."""
    cells = " ".join(row[-1] for row in table(0)[1:])
    for word in ("peepholes", "projection", "h0 and c0", "clip", "cell clip", "reverse", "flipped",
                 "embedding", "skip", "gru reset before", "gates hard_sigmoid]",
                 "gates hard_sigmoid_6", "cell relu", "output linear", "sum", "average",
                 "multiply", "concat step"):
        assert word in cells, word


def test_every_variant_of_the_chain_has_a_row():
    _, *rows = table(1)
    assert [row[0].strip("`") for row in rows] == list(VARIANTS)
    for row in rows:
        assert row[1][2:-2] in float_variants.LAYERS, row[1]
    assert set(floors()) == set(VARIANTS)


def test_the_tests_of_the_chain_exist():
    text = PAGE.read_text(encoding="utf-8").split("## From a variant to C")[1].split("| variant")[0]
    named = {name for name in re.findall(r"`(\w+)`", text) if "_" in name}
    assert {"close_to_float", "equal_on_the_host", "equal_on_the_core"} <= named
    assert named <= names_in(CHAIN)


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / link).is_file(), link
