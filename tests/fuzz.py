"""Compares emulators and C on random networks, each made from a seed alone.

    python tests/fuzz.py --count 2000              # seeds 1 to 2000
    python tests/fuzz.py --seed 815 --count 1      # one of them again
    python tests/fuzz.py --replay FOLDER           # what a failure has left behind

Of each network: the fast emulator against the rules one by one, sequences in pieces against whole
ones, its files read back, the C on the host at any -O level, and the C on one of the other targets,
which take turns; of every eighth network the host's C with sanitizers, and by clang. Values,
outputs and states are compared to the bit. Of a failure the smallest network that still fails is
looked for and written, with its inputs, into a folder; the exit status is 1.
"""
# ruff: noqa: E402  # settings and paths come before what is imported

import argparse
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

# Before numpy: networks are small, and each process has a core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import multiprocessing

ROOT = Path(__file__).resolve().parent.parent
for place in (str(ROOT), str(ROOT / "tests")):
    if place not in sys.path:
        sys.path.insert(0, place)

import conftest  # noqa: F401  # headers that compilers read faster
from fuzz_case import FuzzCase, fuzz_case
from fuzz_checks import TARGETS, Finding, NoRoomError, check_of, examine, missing_of
from fuzz_shrink import shrink

RARELY = 8
"""Sanitizers and clang get every so many networks."""

BLOCK = 32
"""Networks of each process between two looks at the clock."""

SHRUNK = 10
"""Failures of which the smallest network is looked for; of more the seed is enough."""

IN_PYTHON = ("literal", "pieces", "files")


@dataclass(frozen=True)
class Outcome:
    """What became of a seed: checks passed, why others were not made, and the first failure."""

    seed: int
    passed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    finding: Finding | None = None


@dataclass
class Totals:
    """All seeds together."""

    networks: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.networks += 1
        self.passed.update(outcome.passed)
        self.left.update(outcome.left)
        if outcome.finding is not None:
            self.failures.append(outcome)

    def __str__(self) -> str:
        passed = ", ".join(f"{name} {n}" for name, n in sorted(self.passed.items()))
        left = ", ".join(f"{why} {n}" for why, n in sorted(self.left.items()))
        return (
            f"{self.networks} networks, {len(self.failures)} failures; equal: {passed or 'none'}; "
            f"left out: {left or 'none'}"
        )


def checks_of(seed: int, targets: Sequence[str]) -> list[str]:
    """Return the names of the checks of a seed; `targets` take turns beside the host."""
    found = list(IN_PYTHON)
    if "host" in targets:
        found.append("host")
        if seed % RARELY == 0:
            found.append("sanitizers")
        if seed % RARELY == RARELY // 2:
            found.append("clang")
    others = [name for name in targets if name != "host"]
    if others:
        found.append(others[seed % len(others)])
    return found


def run_seed(seed: int, targets: Sequence[str]) -> Outcome:
    """Make the network of a seed and compare, up to the first failure."""
    passed: list[str] = []
    left: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            case = fuzz_case(seed)
            if not len(case.x):
                return Outcome(seed, left=("refused by the quantizer",))
            q = case.quantized()
        except Exception as error:
            finding = Finding("quantize", f"{type(error).__name__}: {error}", type(error).__name__)
            return Outcome(seed, finding=finding)
        for name in checks_of(seed, targets):
            if missing := missing_of(name):
                left.append(f"{name} without {missing}")
                continue
            try:
                finding = examine(case, name, q)
            except NoRoomError:
                left.append(f"too large for {name}")
                continue
            if finding is not None:
                return Outcome(seed, tuple(passed), tuple(left), finding)
            passed.append(name)
    return Outcome(seed, tuple(passed), tuple(left))


def smallest(case: FuzzCase, finding: Finding, tries: int) -> FuzzCase:
    """Return the smallest case of which the same check finds the like."""
    check = None if finding.check == "quantize" else check_of(finding.check)

    def fails(candidate: FuzzCase) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                found = examine(candidate, finding.check, check=check)
            except NoRoomError:
                return False
        return found is not None and found.like(finding)

    return shrink(case, fails, tries)


def explain(outcome: Outcome, targets: Sequence[str], tries: int, folder: Path) -> str:
    """Return a failure in words, with the smallest network, which is written into `folder`."""
    finding = outcome.finding
    assert finding is not None
    again = f"python tests/fuzz.py --seed {outcome.seed} --count 1"
    if tuple(targets) != ("host", *TARGETS):
        again += f" --targets {','.join(targets) or 'none'}"
    lines = [f"FAILED seed {outcome.seed}, {finding.check}: {finding.text}"]
    try:
        case = fuzz_case(outcome.seed)
    except Exception:  # found without warnings as errors; there is no network to shrink
        return "\n".join([*lines, f"  again:    {again}"])
    lines += [f"  network:  {case}", f"  options:  {case.options}", f"  again:    {again}"]
    small = smallest(case, finding, tries) if len(case.x) else case
    own = folder / f"seed-{outcome.seed}-{finding.check}"
    small.save(own)
    (own / "check.txt").write_text(f"{finding.check}\n", encoding="utf-8")
    found = examine(small, finding.check)
    lines += [
        f"  smallest: {small}",
        f"            {small.options}",
        f"            {found.text if found else 'it does not fail again'}",
        f"  written:  {own}: model.npz, input.npy, quantized.npz, options.json",
        f"  again:    python tests/fuzz.py --replay {own}",
    ]
    return "\n".join(lines)


def replay(folder: Path) -> int:
    """Repeat the check of a folder that a failure has left; return the exit status."""
    case = FuzzCase.load(folder)
    name = (folder / "check.txt").read_text(encoding="utf-8").strip()
    print(f"{case}\n{case.options}")
    finding = examine(case, name)
    print(f"{name}: {'equal' if finding is None else finding.text}")
    return int(finding is not None)


def _seed(task: tuple[int, tuple[str, ...]]) -> Outcome:
    return run_seed(*task)


def outcomes(
    seeds: range, targets: tuple[str, ...], jobs: int, minutes: float = 0.0
) -> Iterator[Outcome]:
    """Yield the outcome of each seed as it comes, from `jobs` processes.

    minutes: no further block of seeds is begun after so many; 0 for no limit.
    """
    start, size = time.monotonic(), BLOCK * jobs
    blocks = (seeds[at : at + size] for at in range(0, len(seeds), size))
    workers = multiprocessing.get_context("spawn")  # a fork could take locks of threads along
    with workers.Pool(jobs) if jobs > 1 else nullcontext() as pool:
        for block in blocks:
            tasks = ((seed, targets) for seed in block)
            yield from map(_seed, tasks) if pool is None else pool.imap_unordered(_seed, tasks)
            if minutes and time.monotonic() - start > 60 * minutes:
                return


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit 1 if anything differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="networks (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="the first one's (default: 1)")
    parser.add_argument("--targets", default=",".join(("host", *TARGETS)),
                        help="what runs the C, by commas; 'none': the emulators alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--minutes", type=float, default=0.0,
                        help="end after about so many (default: no limit)")
    parser.add_argument("--tries", type=int, default=1000, help="of shrinking a failure")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"),
                        help="where the smallest networks go")
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="repeat a failure, no more")
    options = parser.parse_args(arguments)
    if options.replay:
        return replay(options.replay)
    targets = tuple(name for name in options.targets.split(",") if name and name != "none")
    if unknown := [name for name in targets if name not in ("host", *TARGETS)]:
        parser.error(f"targets {', '.join(unknown)}; expected some of host, {', '.join(TARGETS)}")
    totals, start = Totals(), time.monotonic()
    seeds = range(options.seed, options.seed + options.count)
    for outcome in outcomes(seeds, targets, options.jobs, options.minutes):
        totals.add(outcome)
        if outcome.finding is not None:
            tries = options.tries if len(totals.failures) <= SHRUNK else 0
            print(explain(outcome, targets, tries, options.failures), flush=True)
        if totals.networks % 100 == 0:
            print(f"{totals.networks} of {options.count}", file=sys.stderr, flush=True)
    print(f"from seed {options.seed} on: {totals}; {time.monotonic() - start:.0f} s")
    return int(bool(totals.failures))


if __name__ == "__main__":
    raise SystemExit(main())
