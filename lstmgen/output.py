"""The whole output for a model: C, report and artefact, with the self-test's CRC inside."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import __version__, artefact
from .bounds import LayerBounds, certificate
from .codegen import EFFORTS, OPTIONAL_OUTPUTS, Effort, footprint, generate
from .codegen.ctext import check_name, unique_names
from .codegen.render import TargetFacts
from .errors import LstmgenError, ModelError
from .folder import write_file
from .preconditions import check
from .quantized import NUMERICS_VERSION, QuantizedNetwork
from .quantized_layers import (
    QuantizedEmbedding,
    QuantizedPart,
    QuantizedRecurrent,
    choices_of,
    kind_of,
)
from .selftest import SelfTest, make_selftest
from .target import is_name

REPORT = "{name}_report.json"
ARTEFACT = "{name}_model.npz"

_EXCERPT = 60
"""Characters of a line that differs."""

_PROOF = "proof"
"""The report's key for what is proved of the folder; the only one that is not generated."""


def build(
    q: QuantizedNetwork, target: TargetFacts, *, name: str, effort: Effort = "speed"
) -> dict[str, bytes]:
    """Return the files of the generated folder, by name; equal arguments give equal bytes.

    name: the prefix of everything in C, and of the files. effort: what unrolling in the
    target's kernels is worth. Raises RangeError for integers that are not proved,
    LstmgenError for a name that C does not accept.
    """
    check(q)
    test = make_selftest(q)
    sources = generate(q, name=name, target=target, selftest=test, effort=effort)
    files = {file: text.encode() for file, text in sources.items()}
    files[REPORT.format(name=name)] = _dump(_describe(q, target, name, test, effort))
    files[ARTEFACT.format(name=name)] = artefact.to_bytes(q)
    return files


@dataclass(frozen=True)
class BuiltFor:
    """The target of a generated folder, as far as its report tells: a TargetFacts."""

    name: str
    isa: str
    effort: Effort


def read_folder(folder: Path) -> tuple[QuantizedNetwork, str, BuiltFor]:
    """Return the network of a generated folder, its C name and what it was built for.

    Raises ModelError if the folder is not a generated one.
    """
    _, report, name = _read_report(folder)
    target = BuiltFor(report["target"], report["isa"], report["optimize"])
    return artefact.load(folder / ARTEFACT.format(name=name)), name, target


def obsolete(files: Mapping[str, bytes], name: str) -> set[str]:
    """Return the names of files that other options would give the model, but these do not."""
    return {output.format(name=name) for output in OPTIONAL_OUTPUTS.values()} - files.keys()


def compare(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """Return a generated folder's own files, and a line for each that a build would change.

    The bytes are those that were compared, also of files that are not generated any more.
    """
    q, name, target = read_folder(folder)
    files = build(q, target, name=name, effort=target.effort)
    held = {
        file: (folder / file).read_bytes()
        for file in (*sorted(obsolete(files, name)), *files)
        if (folder / file).is_file()
    }
    problems = [f"{folder / file} is not generated any more" for file in held if file not in files]
    for file, data in files.items():
        if file not in held:
            problems.append(f"{folder / file} is missing")
        elif (found := _generated(file, held[file], name)) != data:
            problems.append(f"{folder / file} differs{_first_difference(found, data)}")
    return held, problems


def drift(folder: Path) -> tuple[list[str], str]:
    """Return a line for each file of a generated folder that a build today would change.

    One more where the report's `proof` is not of the folder's files as they are, or says that
    something is not proved. And, in a word, what the report has of a proof.
    """
    held, problems = compare(folder)
    report, _, name = _read_report(folder)
    proof = _proof_in(held.get(REPORT.format(name=name), b""))
    if proof is None:
        return problems, "no proof"
    if not (isinstance(proof, dict) and proof.get("files") == hashes(held)):
        problems.append(f"{report}: the proof is of other files; run lstmgen prove again")
    elif proof.get("proved") is not True:
        problems.append(f"{report}: not proved; lstmgen prove tells what and where")
    return problems, "proved"


def hashes(held: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of a folder's own files by name, of all but the report."""
    return {
        file: hashlib.sha256(data).hexdigest()
        for file, data in sorted(held.items())
        if not file.endswith("_report.json")
    }


def write_proof(folder: Path, proof: dict[str, Any]) -> None:
    """Put the verdict of `lstmgen prove` into a folder's report, in place of an earlier one."""
    path, report, _ = _read_report(folder)
    write_file(_dump(report | {_PROOF: proof}), path)


def _read_report(folder: Path) -> tuple[Path, dict[str, Any], str]:
    """Return the path of a generated folder's report, what it holds, and the C name."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder; expected one that `lstmgen build` wrote")
    reports = sorted(folder.glob(REPORT.format(name="*")))
    if len(reports) != 1:
        raise ModelError(
            f"{folder} holds {len(reports)} files *_report.json; expected one, as "
            "`lstmgen build` writes it"
        )
    try:
        report = json.loads(reports[0].read_text(encoding="utf-8"))
        facts = [report[key] for key in ("name", "optimize", "target", "isa")]
        if not all(isinstance(fact, str) for fact in facts) or facts[1] not in EFFORTS:
            raise ValueError
        check_name(facts[0])
    except LstmgenError as error:
        raise ModelError(f"{reports[0]}: {error}; build the model anew") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ModelError(f"{reports[0]} is not a report of lstmgen; build the model anew") from None
    for key in ("target", "isa"):
        if not is_name(report[key]):
            raise ModelError(
                f"{reports[0]}: {key} {report[key]!r} is no name; build the model anew"
            )
    return reports[0], report, facts[0]


def _proof_in(report: bytes) -> Any:
    """Return what a report holds as its proof, None where there is none."""
    try:
        found = json.loads(report)
    except (ValueError, RecursionError):
        return None  # edited; the difference is told
    return found.get(_PROOF) if isinstance(found, dict) else None


def _generated(file: str, data: bytes, name: str) -> bytes:
    """Return what a file holds, of the report without what `write_proof` has put into it."""
    if file == REPORT.format(name=name):
        try:
            report = json.loads(data)
        except (ValueError, RecursionError):
            return data  # edited; the difference is told
        if isinstance(report, dict) and report.pop(_PROOF, None) is not None:
            return _dump(report)
    return data


def _dump(report: dict[str, Any]) -> bytes:
    return (json.dumps(report, indent=1) + "\n").encode()


def _first_difference(found: bytes, expected: bytes) -> str:
    try:
        lines = zip(found.decode().splitlines(), expected.decode().splitlines(), strict=False)
    except UnicodeDecodeError:
        return ""
    for number, (got, want) in enumerate(lines, 1):
        if got != want:
            pairs = zip(got, want, strict=False)
            same = next((at for at, (a, b) in enumerate(pairs) if a != b), 0)
            start = 0 if same < _EXCERPT // 2 else same - _EXCERPT // 4
            told = (line[start : start + _EXCERPT].strip() for line in (got, want))
            return " in line {}: found {!r}, expected {!r}".format(number, *told)
    return " in its length"


def _describe(
    q: QuantizedNetwork, target: TargetFacts, name: str, test: SelfTest, effort: Effort
) -> dict[str, Any]:
    sizes = footprint(q, name=name, isa=target.isa, effort=effort)
    c_names = unique_names([part.name for part in q.parts])
    proofs = {proof["name"]: (proof, bounds) for proof, bounds in certificate(q)}
    return {
        "generator": "lstmgen",
        "version": __version__,
        "numerics": NUMERICS_VERSION,
        "name": name,
        "target": target.name,
        "isa": target.isa,
        "optimize": effort,
        "kernels": sizes.kernels,
        "model": {"name": q.name, "sha256": q.digest(), "outputs": q.outputs},
        "precision": q.precision,
        "calibrated": q.calibrated,
        "notes": list(q.notes),
        "macs_per_step": q.macs_per_step,
        **q.interface(),
        "bytes": {
            "weights": sizes.weights,
            "tables": sizes.tables,
            "state": sizes.state,
        },
        "self_test": {"steps": test.steps, "seed": test.seed, "crc32": f"{test.crc:08x}"},
        "layers": [
            {"name": part.name, "symbol": f"{name}_{c_name}"}
            | _describe_layer(part, proofs, sizes.layers[part.name].bits)
            for part, c_name in zip(q.parts, c_names, strict=True)
        ],
    }


def _describe_layer(
    layer: QuantizedPart,
    proofs: Mapping[str, tuple[dict[str, Any], LayerBounds]],
    weights_bits: dict[str, int],
) -> dict[str, Any]:
    """Return formats and the bound table: per row, the proof that int32 cannot overflow."""
    description: dict[str, Any] = {
        "type": kind_of(layer),
        "inputs": layer.inputs,
        "outputs": layer.width,
        "x": str(layer.x),
        "y": str(layer.y),
        "weights_bits": weights_bits,
        **choices_of(layer),
    }
    if isinstance(layer, QuantizedEmbedding):
        return description
    if isinstance(layer, QuantizedRecurrent):
        description["x_shift"] = layer.x_shift
    proof, bounds = proofs[layer.name]
    rows = [
        {"row": row["row"], "frac": int(frac), "shift": int(shift), "clamped": bool(c)} | row
        for row, frac, shift, c in zip(
            proof["rows"], layer.frac, layer.shift, bounds.clamped, strict=True
        )
    ]
    return description | {
        "bound_limit": (1 << 31) - 1, "reach": proof["reach"], "bounds": rows
    }
