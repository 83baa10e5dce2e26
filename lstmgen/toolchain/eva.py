"""Frama-C's Eva: one analysis of C sources, and what it could not show."""

import csv
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ToolError
from .tools import find_tool, shell_line

PROGRAM = "frama-c"
PACKAGES = ("frama-c-base",)

MACHINES = {"int16": "x86_16", "int32": "x86_32", "int64": "x86_64"}
"""By the name that users give: Frama-C's description of a machine's integers. int64: of 32 bits,
but long and pointers of 64."""

OPTIONS = (
    "-eva",
    "-eva-slevel", "0",
    "-eva-auto-loop-unroll", "1000000",
    "-eva-no-show-progress",
    "-warn-signed-downcast",
    "-warn-right-shift-negative",
)
"""What an analysis is run with. Loops are unrolled, so that each row has its own weights. Two
warnings more than Eva's own: for what C leaves to the implementation, narrowing to a signed
type and right shifts of negative numbers."""

DONE = "Frama_C_show_each_done"
"""The call with which an analysis ends. Where Eva never gets there, it has shown nothing."""

BUILTINS = frozenset({"Frama_C_long_interval"})
"""Frama-C's own functions that harnesses call: they have a specification and no body."""

_BY_SPECIFICATION = re.compile(r"using specification for function (\w+)")
_FINE = {"Valid", "Considered valid"}
_ADMITTED = "user hypothesis"
_CONTRACT = {"postcondition", "assigns clause", "from clause"}
_POLL = 0.05


@dataclass(frozen=True)
class Alarm:
    """What Eva could not show: where, which kind of property, and the property itself."""

    file: str
    line: int
    function: str
    kind: str
    what: str

    def __str__(self) -> str:
        kind = self.kind.replace("_", " ")
        return f"{self.file}:{self.line}: {kind} in {self.function}: {self.what}"


@dataclass(frozen=True)
class EvaResult:
    """One analysis. failure: why it has no verdict, else None; seconds: of the processor.

    It proves only where there is neither failure nor alarm. assumed: `admit` clauses reached.
    """

    alarms: tuple[Alarm, ...]
    assumed: tuple[Alarm, ...]
    failure: str | None
    seconds: float
    megabytes: int

    @property
    def proved(self) -> bool:
        """Whether everything was shown."""
        return self.failure is None and not self.alarms


def find_eva() -> str:
    """Return the path of Frama-C; raises ToolError with its package."""
    return find_tool(PROGRAM, PACKAGES, "lstmgen prove")


def eva_version() -> str:
    """Return Frama-C's version, such as `25.0 (Manganese)`."""
    found = subprocess.run(
        [find_eva(), "-version"], capture_output=True, text=True, check=False, timeout=60,
        stdin=subprocess.DEVNULL,
    )
    lines = found.stdout.strip().splitlines()
    return lines[-1] if found.returncode == 0 and lines else "(it does not tell its version)"


def run_eva(
    source: str,
    folder: Path,
    *,
    entry: str,
    own: Sequence[str] = (),
    by_contract: Sequence[str] = (),
    machine: str = "int32",
    define: Sequence[str] = (),
    timeout: float,
) -> EvaResult:
    """Analyse the function `entry` of a source in `folder`, and all that it calls.

    own: functions that belong to the analysis itself: all that they ask has to be reached.
    by_contract: functions of which only the contract counts, not the body; of all others the
    body has to be there, or it fails. Raises ToolError if Frama-C is not installed. The folder
    keeps what Frama-C says: <entry>.log, <entry>.csv.
    """
    table, log = folder / f"{entry}.csv", folder / f"{entry}.log"
    table.unlink(missing_ok=True)
    flags = " ".join(["-I.", *(f"-D{name}" for name in define)])
    command = [
        find_eva(), "-machdep", MACHINES[machine], f"-cpp-extra-args={flags}",
        *OPTIONS, "-main", entry,
        *(["-eva-use-spec", ",".join(by_contract)] if by_contract else []),
        source, "-then", "-report-csv", table.name,
    ]
    code, seconds, megabytes = _run(command, folder, log, timeout)
    text = log.read_text(encoding="utf-8", errors="replace")
    if code is None:
        return EvaResult((), (), f"stopped after {timeout:g} s", seconds, megabytes)
    if code != 0 or not table.is_file():
        said = [line for line in text.splitlines() if line.strip()][-6:]
        return EvaResult(
            (), (), f"Frama-C failed (status {code}): {' '.join(said)}", seconds, megabytes
        )
    rows = _rows(table)
    alarms = tuple(
        alarm for status, alarm in rows if not _shown(status, alarm, (entry, *own), by_contract)
    )
    assumed = tuple(
        alarm for status, alarm in rows if alarm.kind == _ADMITTED and status != "Dead"
    )
    failure = None
    if DONE not in text:
        failure = "the analysis ends before the code does"
    elif bodiless := _bodiless(text, by_contract):
        failure = f"no body, only a contract, of {', '.join(bodiless)}"
    elif unknown := _other_warnings(text):
        failure = f"Frama-C warns: {unknown[0]}"
    return EvaResult(alarms, assumed, failure, seconds, megabytes)


def _shown(
    status: str, alarm: Alarm, own: Sequence[str], by_contract: Sequence[str]
) -> bool:
    """Return whether a property needs no more: it is shown, assumed in sight, or not asked."""
    if alarm.function == DONE:
        return True
    # What the analysis itself asks has to be reached; of other functions it calls but a few.
    if status == "Dead":
        return alarm.function not in own
    # The body of such a function is not looked at here; an analysis of its own shows it.
    if alarm.function in by_contract and alarm.kind in _CONTRACT:
        return True
    return status in _FINE


def _rows(table: Path) -> list[tuple[str, Alarm]]:
    """Return status and property of every row of Frama-C's report."""
    found = []
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            where = row["file"], int(row["line"]), row["function"]
            found.append((row["status"], Alarm(*where, row["property kind"], row["property"])))
    return found


def _bodiless(text: str, by_contract: Sequence[str]) -> list[str]:
    """Return functions that Eva took by their contract though their bodies were asked for."""
    taken = dict.fromkeys(_BY_SPECIFICATION.findall(text))
    return [name for name in taken if name not in {*by_contract, *BUILTINS}]


def _other_warnings(text: str) -> list[str]:
    """Return warnings that stand for no property, and so are not in the report."""
    lines = text.splitlines()
    found = []
    for at, line in enumerate(lines):
        if re.search(r"Warning:|User Error:|Failure:", line) and "[eva:alarm]" not in line:
            found.append(" ".join(part.strip() for part in lines[at : at + 2]))
    return found


def _run(
    command: Sequence[str], folder: Path, log: Path, timeout: float
) -> tuple[int | None, float, int]:
    """Run a command with its output in `log`; return status, processor's seconds and MB.

    The status is None of one that took longer than `timeout` seconds, of the clock.
    """
    start = time.monotonic()
    with log.open("wb") as out:
        try:
            child = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
                # Frama-C believes this rather than the system.
                env={**os.environ, "PWD": str(folder.resolve())},
            )
        except OSError as error:
            raise ToolError(
                f"{command[0]} cannot be started: {error.strerror}. The command: "
                f"{shell_line(command)}"
            ) from None
    stopped = False
    try:
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - start > timeout and not stopped:
                stopped = True
                os.killpg(child.pid, signal.SIGKILL)
            time.sleep(_POLL)
        child.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    seconds = usage.ru_utime + usage.ru_stime
    return None if stopped else child.returncode, seconds, usage.ru_maxrss // 1024
