"""Reads thousands of damaged model files, each as a user's command would.

    python tests/damaged_files.py --format tflite --count 10000

Every file is made from a valid one by `damages`, out of a seed and its number alone, and read
in a worker process under limits of time and memory. It has to give a network, or a ModelError
of short, printable lines; anything else is a failure, which --only NUMBER repeats.
"""

import argparse
import importlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from damages import mutated

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"

SECONDS = 5.0
"""The limit of a file, in seconds of the processor: a busy machine is no fault of a reader."""

PATIENCE = 4.0
"""After so many times SECONDS by the clock, a worker hangs."""

FORMATS = {
    "npz": "npz_files",
    "artefact": "npz_files",
    "tflite": "tflite_files",
    "keras": "keras_files",
    "h5": "keras_files",
    "weights.h5": "keras_files",
    "torch": "torch_files",
    "safetensors": "torch_files",
    "onnx": "onnx_files",
    "rtneural": "json_files",
    "nam": "json_files",
    "guitarml": "json_files",
}
"""By format, the module whose `seed_files(folder)` writes valid files: by "format/variant"."""

MARKER = Path("executed")
"""What a pickle creates that is loaded: in the worker's own folder, so that its bytes are the
same in every run, and no two runs at a time take each other's for theirs."""

_FILES_PER_WORKER = 500


@dataclass(frozen=True)
class Failure:
    """A file that was read as none may be."""

    format: str
    seed: int
    number: int
    what: str

    def __str__(self) -> str:
        again = f"--format {self.format} --seed {self.seed} --only {self.number}"
        return f"{self.format} {self.number}: {self.what}\n  again: tests/damaged_files.py {again}"


@dataclass
class Result:
    """What became of the files of a format.

    slowest: in seconds of the processor, longest: by the clock. megabytes: most MiB resident;
    child_megabytes: of a process that a reader started, as the one for HDF5.
    """

    outcomes: Counter[str]
    failures: list[Failure]
    slowest: float = 0.0
    longest: float = 0.0
    megabytes: int = 0
    child_megabytes: int = 0


def seeds(name: str, folder: Path) -> list[Path]:
    """Write the valid files of a format and return them."""
    files = importlib.import_module(FORMATS[name]).seed_files(folder)
    unknown = {key for key in files if key.partition("/")[0] not in FORMATS}
    assert not unknown, f"{FORMATS[name]} writes {unknown}, which FORMATS does not name"
    return [path for key, path in files.items() if key.partition("/")[0] == name]


def damaged(files: list[Path], name: str, seed: int, number: int) -> bytes:
    """Return the damaged file of a number."""
    r = Random(f"{seed}/{name}/{number}")
    return mutated(r.choice(files).read_bytes(), r, MARKER)


def run_format(
    name: str, count: int, seed: int = 1, reader: str = "damage_worker:read",
    only: int | None = None, progress: Callable[[int], None] = lambda number: None,
) -> Result:
    """Read `count` damaged files of a format in workers; `reader` is module:function."""
    result = Result(Counter(), [])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = seeds(name, folder)
        marker = folder / MARKER
        numbers = range(count) if only is None else [only]
        worker: Worker | None = None
        for number in numbers:
            if worker is None or worker.read >= _FILES_PER_WORKER:
                if worker is not None:
                    result.child_megabytes = max(result.child_megabytes, worker.finish())
                worker = Worker(reader, files, folder)
            path = folder / f"damaged{files[0].suffix}"
            path.write_bytes(damaged(files, name, seed, number))
            start = time.monotonic()
            answer = worker.ask(path)
            result.longest = max(result.longest, time.monotonic() - start)
            problem = answer.get("problem") or ("code was executed" if marker.exists() else None)
            marker.unlink(missing_ok=True)
            if problem:
                result.failures.append(Failure(name, seed, number, str(problem)))
            result.outcomes[answer["outcome"]] += 1
            result.slowest = max(result.slowest, answer["seconds"])
            result.megabytes = max(result.megabytes, answer.get("megabytes", 0))
            if answer["outcome"] == "dead":
                worker = None
            progress(number)
        if worker is not None:
            result.child_megabytes = max(result.child_megabytes, worker.finish())
    return result


class Worker:
    """A process that reads one file after the other, in a working directory of its own."""

    def __init__(self, reader: str, files: list[Path], folder: Path) -> None:
        command = [sys.executable, str(TESTS / "damage_worker.py"), reader]
        # One thread, as each of the linear algebra's own takes address space.
        paths = f"{ROOT}{os.pathsep}{TESTS}"
        env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": paths}
        self._process = subprocess.Popen(
            [*command, *map(str, files)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=env, cwd=folder,
        )
        self.read = 0
        if self._line(60.0) is None:
            raise RuntimeError(f"the worker did not start: {self._death()}")

    def ask(self, path: Path) -> dict[str, Any]:
        """Return what became of a file; outcome "dead" means the worker is no more."""
        self.read += 1
        start = time.monotonic()
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\n".encode())
        self._process.stdin.flush()
        line = self._line(PATIENCE * SECONDS)
        if line:
            answer: dict[str, Any] = json.loads(line)
            if answer["seconds"] > SECONDS:
                answer["problem"] = f"took {answer['seconds']:.1f} s; allowed are {SECONDS:g} s"
            return answer
        seconds = time.monotonic() - start
        late = seconds > PATIENCE * SECONDS
        what = f"no answer within {seconds:.1f} s" if late else f"the reader died: {self._death()}"
        self.stop()
        return {"outcome": "dead", "problem": what, "seconds": seconds}

    def finish(self) -> int:
        """End a process that answers; return the most MiB one that it started had resident."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        line = self._line(10.0)
        self._process.stdin = None  # or communicate would write to it
        self.stop()
        return int(line or 0)

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _line(self, seconds: float) -> bytes | None:
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], seconds)
        return output.readline() if ready else None

    def _death(self) -> str:
        assert self._process.stderr is not None
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "it hangs"
        last = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        return f"exit status {status}; {last[-1][:200] if last else 'no message'}"


def _reports(names: list[str], arguments: argparse.Namespace) -> Iterator[Result]:
    for name in names:
        start = time.monotonic()

        def show(number: int, name: str = name) -> None:
            if number % 1000 == 999:
                print(f"{name}: {number + 1}", file=sys.stderr, flush=True)

        result = run_format(
            name, arguments.count, arguments.seed, only=arguments.only, progress=show
        )
        shown = ", ".join(f"{n} {what}" for what, n in sorted(result.outcomes.items()))
        print(
            f"{name}: {shown}; {len(result.failures)} failures; slowest {result.slowest:.2f} s "
            f"({result.longest:.2f} s by the clock), "
            f"at most {result.megabytes} MiB resident (child {result.child_megabytes}); "
            f"{time.monotonic() - start:.0f} s in all"
        )
        for failure in result.failures[:20]:
            print(failure)
        yield result


def main() -> int:
    """Run the command; exit 1 if a file was read as none may be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--format", action="append", choices=list(FORMATS), help="default: all")
    parser.add_argument("--count", type=int, default=10000, help="files of each format")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one file alone")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the file of --only there")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))  # for what writes the valid files
    names = arguments.format or list(FORMATS)
    if arguments.keep and arguments.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            files = seeds(names[0], Path(folder))
            data = damaged(files, names[0], arguments.seed, arguments.only)
        arguments.keep.write_bytes(data)
    return int(any(result.failures for result in list(_reports(names, arguments))))


if __name__ == "__main__":
    raise SystemExit(main())
