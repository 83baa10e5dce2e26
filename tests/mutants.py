"""Makes named mistakes in a copy of the sources, one at a time: the tests have to find each.

    python tests/mutants.py --only 'emulator.*'

The mistakes are those of `mutants_list`: in rounding, shifts, limits, tables, layouts, indices and
checks of emulator, quantizer, generator and templates. The tests that have to find them pass
without any first. A mistake that no test finds survives: exit 1. One that cannot be made, that
does not compile, or whose tests do not run tells nothing: exit 2.
"""

import argparse
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from mutant import Mutant, MutantError
from mutants_list import MUTANTS

ROOT = Path(__file__).resolve().parent.parent

SECONDS = 300.0
"""After so long the tests of a mutant are given up."""

_PYTEST = (
    *("-m", "pytest", "-x", "-q", "--tb=short", "-rfE", "--hypothesis-seed=1"),
    *("-p", "no:cacheprovider", "-p", "no:xdist"),
)
_COMPILER = re.compile(r"\.(?:S|c|h):\d+:(?:\d+:)? (?:fatal )?[Ee]rror:")
"""What compilers and assemblers say of text that is none of their language."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant. caught: the test that found it; None if none did.

    wrong: why neither can be said.
    """

    mutant: Mutant
    seconds: float
    caught: str | None = None
    wrong: str | None = None

    def __str__(self) -> str:
        said = "SURVIVES " + " ".join(self.mutant.tests)
        if self.wrong is not None:
            said = f"tells nothing: {self.wrong}"
        elif self.caught is not None:
            said = f"caught by {self.caught}"
        return f"{self.mutant.name}: {said} ({self.seconds:.1f} s)"


def source_files(root: Path) -> list[Path]:
    """Return the files of the project, relative to its root, as they are now."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [Path(name) for name in done.stdout.split("\0") if name and (root / name).is_file()]


def copy(root: Path, files: Iterable[Path], folder: Path) -> None:
    """Copy files to the same places below a folder."""
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, folder / file)


def run_tests(folder: Path, tests: Sequence[str], seconds: float) -> tuple[int, str]:
    """Return pytest's exit status and output; raises MutantError if it does not end."""
    # No compiled modules: one made within a second of the text before would be taken for its.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    env.pop("PYTEST_ADDOPTS", None)
    env["TMPDIR"] = str(folder.parent)
    try:
        done = subprocess.run(
            [sys.executable, *_PYTEST, *tests], cwd=folder, env=env, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        raise MutantError(f"the tests took more than {seconds:g} s") from late
    return done.returncode, done.stdout


def found_by(status: int, output: str) -> str | None:
    """Return the test that failed, None if all passed; raises MutantError if they did not run."""
    skipped = re.search(r"(\d+) skipped", output.splitlines()[-1] if output else "")
    if status == 0 and not skipped:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", output, re.MULTILINE)
    if status == 1 and failed and not (said := _COMPILER.search(output)):
        return failed[1]
    what = f"pytest ended with {status}"
    if status == 0:
        what = "tests were skipped: tools/install-tools.sh installs what they need"
    elif status == 1 and failed:
        what = f"it does not compile ({said[0]}), for {failed[1]}"
    last = "\n  ".join(output.strip().splitlines()[-15:])
    raise MutantError(f"{what}\n  {last}")


def judge(mutant: Mutant, folder: Path, seconds: float = SECONDS) -> Verdict:
    """Run the tests of a mutant in a copy of the sources, which is then as it was."""
    start = time.monotonic()
    path = folder / mutant.file
    text = path.read_text(encoding="utf-8")
    caught = wrong = None
    try:
        path.write_text(mutant.applied(text), encoding="utf-8")
        caught = found_by(*run_tests(folder, mutant.tests, seconds))
    except MutantError as error:
        wrong = str(error)
    finally:
        path.write_text(text, encoding="utf-8")
    return Verdict(mutant, time.monotonic() - start, caught, wrong)


@contextmanager
def copies(root: Path, files: Sequence[Path], count: int) -> Iterator[SimpleQueue[Path]]:
    """Make so many copies of the sources, each in a temporary folder of its own."""
    with tempfile.TemporaryDirectory() as place:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            folder = Path(place) / str(number) / "sources"
            copy(root, files, folder)
            free.put(folder)
        yield free


def check_unchanged(mutants: Sequence[Mutant], free: SimpleQueue[Path], jobs: int) -> None:
    """Raise MutantError unless the mutants' tests pass without them."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})

    def run(part: Sequence[str]) -> None:
        folder = free.get()
        try:
            found = found_by(*run_tests(folder, part, SECONDS * len(part)))
        finally:
            free.put(folder)
        if found is not None:
            raise MutantError(f"{found} fails without any mutant")

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, filter(None, [tests[job::jobs] for job in range(jobs)])))


def verdicts(
    mutants: Sequence[Mutant], free: SimpleQueue[Path], jobs: int
) -> Iterator[Verdict]:
    """Yield what becomes of each mutant, in their order."""

    def run(mutant: Mutant) -> Verdict:
        folder = free.get()
        try:
            return judge(mutant, folder)
        finally:
            free.put(folder)

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(run, mutants)


def score(mutants: Sequence[Mutant], root: Path, files: Sequence[Path], jobs: int) -> int:
    """Print what becomes of each mutant, and how many are caught; return the exit status."""
    with copies(root, files, jobs) as free:
        start = time.monotonic()
        try:
            check_unchanged(mutants, free, jobs)
        except MutantError as error:
            print(f"mutants: {error}", file=sys.stderr)
            return 2
        print(f"the tests pass without mutants ({time.monotonic() - start:.0f} s)", flush=True)
        found = []
        for verdict in verdicts(mutants, free, jobs):
            print(verdict, flush=True)
            found.append(verdict)
    caught = sum(verdict.caught is not None for verdict in found)
    print(f"{caught} of {len(found)} mutants caught ({time.monotonic() - start:.0f} s)")
    if any(verdict.wrong is not None for verdict in found):
        return 2
    return int(caught < len(found))


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="PATTERN", help="mutants of such names")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--list", action="store_true", help="print their names alone")
    arguments = parser.parse_args()
    patterns = arguments.only or ["*"]
    chosen = [m for m in MUTANTS if any(fnmatch.fnmatch(m.name, p) for p in patterns)]
    if not chosen:
        parser.error(f"no mutant is named like {' or '.join(patterns)}; see --list")
    if arguments.list:
        print("\n".join(mutant.name for mutant in chosen))
        return 0
    try:
        files = source_files(ROOT)
    except (OSError, subprocess.CalledProcessError):
        parser.error(f"git does not list the files of {ROOT}; expected a clone of the project")
    return score(chosen, ROOT, files, max(1, arguments.jobs))


if __name__ == "__main__":
    raise SystemExit(main())
