"""The direction of imports, and that emulator and C generator never meet."""

import ast
from functools import cache
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGE = ROOT / "lstmgen"

LAYERS = [
    {"errors", "paths", "qformat", "scaling"},
    {"layers", "network", "npz", "weights", "schema", "schema_kinds",
     "schema_layers", "quantized", "quantized_layers", "target", "bounds", "preconditions",
     "artefact", "artefact_structure", "dataset", "folding"},
    {"reference", "readers", "emulator", "codegen", "emulate", "selftest", "quantizer"},
    {"toolchain", "trace", "output", "folder", "report", "expect", "diagnosis", "hypotheses",
     "tallies", "budget", "findings", "charts", "svg", "plots", "sections", "sections_static",
     "sections_values", "html_report"},
    {"verification", "prove"},
    {"bench"},
    {"cli"},
]
"""What stands in a row may import from its own row and those above."""

NEVER = [("emulator", "codegen"), ("codegen", "emulator"), ("quantizer", "codegen"),
         ("emulator", "quantizer"), ("codegen", "quantizer"),
         ("readers", "quantizer"), ("toolchain", "emulator")]


@cache
def modules() -> dict[str, set[str]]:
    """Return by top-level module of the package the others that it imports."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] in ("__init__", "__main__"):
            continue
        depth = len(parts) - 1
        imports = found.setdefault(parts[0], set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imports.update(name for name in imported(node, depth) if not name.startswith("_"))
    return found


def imported(node: ast.AST, depth: int) -> list[str]:
    """Return the modules that a statement takes from the package, relatively or by its name.

    depth: of the file's folder below the package.
    """
    if isinstance(node, ast.Import):
        paths = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        paths = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.level == depth + 1:
        below = f"lstmgen.{node.module}" if node.module else "lstmgen"
        paths = [f"{below}.{alias.name}" for alias in node.names]
    else:
        paths = []
    return [path.split(".")[1] for path in paths if path.startswith("lstmgen.")]


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        ("import numpy", []),
        ("import lstmgen.cli", ["cli"]),
        ("from lstmgen import cli, errors", ["cli", "errors"]),
        ("from lstmgen.cli.build import build", ["cli"]),
        ("from .state import LstmState", []),
        ("from .. import artefact", ["artefact"]),
        ("from ..codegen.ctext import check_name", ["codegen"]),
    ],
)
def test_imports_are_seen(statement, names):
    assert imported(ast.parse(statement).body[0], 1) == names


def test_every_module_has_its_place():
    assert set(modules()) == set().union(*LAYERS)


@pytest.mark.parametrize("module", sorted(set().union(*LAYERS)))
def test_imports_point_one_way(module):
    row = next(at for at, layer in enumerate(LAYERS) if module in layer)
    allowed = set().union(*LAYERS[: row + 1])
    assert modules()[module] - {module} <= allowed


@pytest.mark.parametrize(("module", "other"), NEVER)
def test_independence(module, other):
    assert other not in modules()[module]


def test_sources_name_no_machine():
    for path in (p for folder in ("lstmgen", "templates", "targets") for p in
                 (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc"):
        text = path.read_text(encoding="utf-8")
        assert str(Path.home()) + "/" not in text, path
