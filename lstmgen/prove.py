"""The proof that the C has no undefined behaviour: by Frama-C's Eva, a layer at a time."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .codegen import Contract, Proof, proof_harness
from .errors import LstmgenError, OutputError, ToolError
from .output import BuiltFor, build, compare, hashes
from .quantized import QuantizedNetwork
from .toolchain.eva import OPTIONS, Alarm, EvaResult, eva_version, find_eva, run_eva

HARNESS = "lstmgen_prove.c"

DEFAULT_TIMEOUT = 900.0
"""Seconds of the clock for one analysis: an LSTM of 128 units takes about one minute."""

_SOURCES = ("{name}.h", "{name}.c", "{name}_weights.h", "{name}_weights.c", "{name}_selftest.c")

_MACHINES = {"avr": "int16", "x86-64": "int64", "rv64imac": "int64"}
"""The machine of instruction sets whose int or long has not 32 bits."""

_IN_C = "x86-64"
"""The instruction set whose kernels stand in the C file, beside plain C of the same loops."""


@dataclass(frozen=True)
class Analysis:
    """One analysis: the tables of activations, a layer, or the network around the layers."""

    name: str
    result: EvaResult

    @property
    def message(self) -> str:
        """The outcome in one line."""
        result = self.result
        cost = f"{result.seconds:.1f} s, {result.megabytes} MB"
        if result.failure is not None:
            return f"{self.name}: not proved, {result.failure} ({cost})"
        count = len(result.alarms)
        alarms = f"{count} alarm{'' if count == 1 else 's'}"
        return f"{self.name}: {'proved' if result.proved else 'not proved'}, {alarms} ({cost})"


@dataclass(frozen=True)
class ProveResult:
    """What was proved of a network's C, and by what.

    what: which C it is. files: SHA-256 of each of the folder's own files but the report, by its
    name. analysed: of each file that was analysed. not_analysed: kernels that the proof leaves
    out. differences: lines of the folder's files that are not those of its integers.
    """

    name: str
    what: str
    machine: str
    tool: str
    analyses: tuple[Analysis, ...]
    differences: tuple[str, ...]
    files: dict[str, str]
    analysed: dict[str, str]
    not_analysed: tuple[str, ...]

    @property
    def proved(self) -> bool:
        """Whether all analyses are complete and without alarms, of the folder's own files."""
        return not self.differences and all(one.result.proved for one in self.analyses)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """All alarms, each once."""
        found = (alarm for one in self.analyses for alarm in one.result.alarms)
        return tuple(dict.fromkeys(found))

    @property
    def assumed(self) -> tuple[Alarm, ...]:
        """What the C states as known and Eva takes for granted (docs/SOUNDNESS.md says why)."""
        found = (alarm for one in self.analyses for alarm in one.result.assumed)
        return tuple(dict.fromkeys(found))

    @property
    def message(self) -> str:
        """The verdict in one line."""
        failed = sum(one.result.failure is not None for one in self.analyses)
        parts = [f"{len(self.alarms)} alarms"]
        parts += [f"{failed} without a verdict"] if failed else []
        parts += [f"{len(self.differences)} files differ"] if self.differences else []
        verdict = "proved" if self.proved else "not proved"
        where = f"{self.what}, {self.machine}"
        if self.not_analysed:
            left = ", ".join(self.not_analysed)
            where += f"; not analysed: {left}, see docs/SOUNDNESS.md"
        return f"{self.name}: {verdict}, {', '.join(parts)} ({where})"

    def to_json(self) -> dict[str, Any]:
        """Return the verdict for programs; it does not depend on time or place."""
        return {
            "proved": self.proved,
            "tool": f"Frama-C {self.tool}, Eva",
            "options": list(OPTIONS),
            "machine": self.machine,
            "what": self.what,
            "analyses": [
                {
                    "name": one.name,
                    "proved": one.result.proved,
                    "failure": one.result.failure,
                    "alarms": [vars(alarm) for alarm in one.result.alarms],
                }
                for one in self.analyses
            ],
            "assumed": [vars(alarm) for alarm in self.assumed],
            "differences": list(self.differences),
            "files": self.files,
            "analysed": self.analysed,
            "not_analysed": list(self.not_analysed),
        }


def prove(
    q: QuantizedNetwork,
    *,
    name: str,
    folder: Path | None = None,
    built_for: BuiltFor | None = None,
    machine: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    keep: Path | None = None,
    told: Callable[[Analysis], None] = lambda analysis: None,
) -> ProveResult:
    """Analyse the C of a network, layer by layer, within what each may assume.

    folder: one that `lstmgen build` wrote, with its target `built_for`; its files are analysed
    as they are where they are C. Where its kernels are assembly, the portable C of the same
    integers is. machine: of toolchain/eva.py's MACHINES, by default the target's. timeout: of
    each analysis, in seconds. keep: where to leave the sources and what Frama-C says; for a
    folder with kernels also, in `portable`, the portable C of its integers. told: is called
    after each analysis. Raises ToolError if Frama-C is missing.
    """
    find_eva()
    target = built_for or BuiltFor("portable", "portable", "speed")
    own_machine = _MACHINES.get(target.isa, "int32")
    machine = machine or own_machine
    if folder is not None and target.isa != "portable" and machine != own_machine:
        raise LstmgenError(
            f"{folder} is for {target.name}, whose machine is {own_machine}; "
            f"give its artefact to prove the portable C for {machine}"
        )
    held, differences = compare(folder) if folder else ({}, [])
    files, isa, what, left = _sources(q, name, folder, held, target)
    if keep is not None and folder is not None and target.isa != "portable":
        _write(_portable(q, name, target), keep / "portable")
    harness, proof = proof_harness(q, name=name, isa=isa)
    files[HARNESS] = harness.encode()
    # Of kernels in C, the plain C beside them.
    define = (f"{name.upper()}_PLAIN_C",) if isa == _IN_C else ()
    with tempfile.TemporaryDirectory(prefix="lstmgen-prove-") as temporary:
        place = Path(temporary) if keep is None else keep
        _write(files, place)
        analyses = []
        for analysis, entry, own, contracts in _plan(proof):
            result = run_eva(
                HARNESS, place, entry=entry, own=own, by_contract=contracts, machine=machine,
                define=define, timeout=timeout,
            )
            analyses.append(Analysis(analysis, result))
            told(analyses[-1])
    analysed = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    return ProveResult(
        name, what, machine, eva_version(), tuple(analyses), tuple(differences), hashes(held),
        analysed, left,
    )


def _sources(
    q: QuantizedNetwork, name: str, folder: Path | None, held: dict[str, bytes], target: BuiltFor
) -> tuple[dict[str, bytes], str, str, tuple[str, ...]]:
    """Return the files to analyse, the instruction set they are for, what they are, and what
    of the folder, whose files are `held`, they leave out."""
    if folder is None:
        return _portable(q, name, target), "portable", "portable C", ()
    if f"{name}_kernels.S" in held:
        made = _portable(q, name, target)
        code = [file for file in sorted(held) if file.endswith((".c", ".h", ".S"))]
        left = tuple(file for file in code if held[file] != made.get(file))
        return made, "portable", "portable C of the same integers", left
    names = [source.format(name=name) for source in _SOURCES]
    if missing := [str(folder / file) for file in names if file not in held]:
        raise OutputError(f"missing: {', '.join(missing)}; build the model anew")
    files = {file: held[file] for file in names}
    plain = f"{name.upper()}_PLAIN_C"
    if target.isa == _IN_C and plain.encode() in files[f"{name}.c"]:
        return files, target.isa, "plain C of this folder", (f"{name}.c beyond {plain}",)
    return files, target.isa, "C of this folder", ()


def _portable(q: QuantizedNetwork, name: str, target: BuiltFor) -> dict[str, bytes]:
    """Return the portable C of the network."""
    made = build(q, BuiltFor(target.name, "portable", "speed"), name=name)
    return {file: made[file] for file in (source.format(name=name) for source in _SOURCES)}


def _plan(proof: Proof) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """Return each analysis: name, entry, functions of its own, functions by contract alone."""
    plan: list[tuple[str, str, tuple[str, ...], tuple[str, ...]]] = []
    if proof.has_tables:
        plan.append(("tables", "lstmgen_prove_tables", (), ()))
    for contract in proof.contracts:
        plan.append(
            (contract.layer, f"lstmgen_prove_layer_{contract.layer}", (), contract.calls)
        )
    parts = ("reset", "step", "run", "selftest")
    own = tuple(f"lstmgen_prove_{part}" for part in parts)
    plan.append(("network", "lstmgen_prove_network", own, _functions(proof.contracts)))
    return plan


def _functions(contracts: tuple[Contract, ...]) -> tuple[str, ...]:
    return tuple(contract.function for contract in contracts)


def _write(files: dict[str, bytes], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
    except OSError as error:
        raise ToolError(f"{folder} cannot be written: {error.strerror or error}") from error
