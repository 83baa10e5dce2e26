"""Coverage-guided fuzzing of a reader, or of artefacts, by Atheris (libFuzzer).

    pip install atheris
    python tests/fuzz_readers.py npz --seconds 1200 [--corpus DIR] [--crashes DIR]

Files are bred from valid ones by the damage of `damages`, and, within archives and headers, by
libFuzzer's own. Whatever `damaged_files` calls a failure is one here: another exception than
LstmgenError, more than 5 s of the processor, more than 1 GiB, a message of odd lines, code that
was run. Each kind is kept once, in the folder of crashes, and fuzzing goes on; exit 1 tells.
"""

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SCRATCH = Path("/dev/shm")
"""Where files are written to be read, if it is there: thousands a second."""

INSTRUMENTED = ["lstmgen", "flatbuffers", "tflite", "zipfile"]
"""Packages whose branches guide; what they call in C does not."""

NEEDS_ATHERIS = (
    "fuzz_readers: the package atheris is not installed; install it with: pip install atheris\n"
    "fuzz_readers: (in an environment of its own, beside lstmgen[keras,onnx,tflite] and pytest)"
)

LONGEST = 1 << 17
"""Of a file in bytes. Larger ones, as compression bombs, are damaged_files.py's."""

MOST_VALID = 200
"""Files that were read as networks of which others are bred, and one that changes."""

_STATS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)")


def main() -> int:
    """Run the command: fuzz in a process of its own, and say what came of it."""
    sys.path[:0] = [str(ROOT), str(TESTS)]
    damaged_files = importlib.import_module("damaged_files")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("format", choices=list(damaged_files.FORMATS))
    parser.add_argument("--seconds", type=int, default=1200)
    parser.add_argument("--corpus", type=Path, help="kept and grown; default: thrown away")
    parser.add_argument("--crashes", type=Path, default=Path("crashes"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        print(NEEDS_ATHERIS, file=sys.stderr)
        return 2
    arguments.crashes.mkdir(parents=True, exist_ok=True)
    if arguments.child:
        fuzz(atheris, arguments)
    with tempfile.TemporaryDirectory() as place:
        corpus = arguments.corpus or Path(place) / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        folder = Path(place) / "seeds"
        folder.mkdir()
        for path in damaged_files.seeds(arguments.format, folder):
            (corpus / f"seed_{path.name}").write_bytes(path.read_bytes())
        return _fuzzed(arguments, corpus)


def _fuzzed(arguments: argparse.Namespace, corpus: Path) -> int:
    """Fuzz until the time is over, anew where the process died; print the figures."""
    start, runs, deaths = time.monotonic(), 0, 0
    last, read = ("", "0", "0", "0", "0"), "none"
    while (left := arguments.seconds - (time.monotonic() - start)) > 0:
        command = [sys.executable, __file__, *sys.argv[1:], "--child", "--seconds", str(int(left))]
        command += ["--corpus", str(corpus), "--seed", str(arguments.seed + deaths)]
        env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
        assert process.stderr is not None
        for line in process.stderr:
            if found := _STATS.match(line):
                last = found.groups()
            elif line.startswith("NETWORKS"):
                read = line.split()[1]
            elif not line.startswith(("INFO", "\t", "#")):
                print(line, end="", file=sys.stderr)
        status = process.wait()
        runs += int(last[0] or 0)
        if status == 0 or not last[0]:
            deaths += status != 0
            break
        deaths += 1  # libFuzzer has kept the file: crash-, timeout- or oom-
    kept = sorted(path.name for path in arguments.crashes.glob("*"))
    seconds = time.monotonic() - start
    print(
        f"{arguments.format}: {runs} executions in {seconds:.0f} s, cov {last[1]}, ft {last[2]}, "
        f"corpus {last[3]} files ({last[4]}), {read} read as networks; "
        f"{len(kept)} crashes, {deaths} deaths"
    )
    for name in kept:
        print(f"  {arguments.crashes / name}")
    return int(bool(kept or deaths))


def fuzz(atheris: Any, arguments: argparse.Namespace) -> None:
    """Fuzz in this process, which libFuzzer ends."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        for module in ("artefact", "readers.hdf5", "selftest", "codegen"):
            importlib.import_module(f"lstmgen.{module}")
        for module in importlib.import_module("lstmgen.readers.formats").FORMATS:
            importlib.import_module(f"lstmgen.readers.{module.module}")
        for module in ("onnx_graph", "tflite_load", "torch_pickle", "guitarml", "nam", "rtneural"):
            importlib.import_module(f"lstmgen.readers.{module}")
        with contextlib.suppress(ImportError):
            importlib.import_module("tflite.Model")
        worker = importlib.import_module("damage_worker")
    if arguments.format in ("keras", "h5", "weights.h5"):
        _see_into_hdf5()
    warnings.simplefilter("error")  # a user would see it among the output
    scratch = tempfile.mkdtemp(dir=SCRATCH if SCRATCH.is_dir() else None)
    os.chdir(scratch)
    marker = Path("executed")
    check = Check(worker, use_artefact if arguments.format == "artefact" else worker.read, marker)
    crashes, corpus = arguments.crashes.resolve(), arguments.corpus.resolve()
    seen: set[str] = set()
    runs = 0

    def one(data: bytes) -> None:
        problem = check(data)
        nonlocal runs
        runs += 1
        if runs % 100 == 0:
            print(f"NETWORKS {check.networks / runs:.1%}", file=sys.stderr, flush=True)
        kind = re.sub(r"\d+(\.\d+)? s;.*|0x\w+|'.*?'", "", problem or "")[:120]
        if problem and kind not in seen:
            seen.add(kind)
            name = re.sub(r"\W+", "_", kind)[:80]
            (crashes / f"{arguments.format}-{name}").write_bytes(data)
            print(f"{arguments.format}: {problem}", file=sys.stderr, flush=True)

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        r = Random(seed)
        # What finds a new way to be refused is kept, and breeds what is refused sooner.
        return bred(r.choice(check.valid) if r.random() < 0.4 else data, r, size, atheris.Mutate)

    for path in sorted(corpus.glob("seed_*")):
        found = check(path.read_bytes())
        assert found is None, f"{path}, a valid file: {found}"
    assert check.valid
    check.limit_memory()
    limit = int(4 * check.seconds)  # by the clock, for what hangs without taking the processor
    options = [
        f"-max_total_time={arguments.seconds}", f"-max_len={LONGEST}", f"-seed={arguments.seed}",
        f"-timeout={limit}", f"-report_slow_units={limit}", "-rss_limit_mb=4096", "-len_control=0",
        f"-artifact_prefix={crashes}/", "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=mutate,
                  internal_libfuzzer=True)
    atheris.Fuzz()


class Check:
    """Reads one file after the other as a worker of `damaged_files` does; says what is wrong."""

    def __init__(self, worker: Any, reader: Callable[[Path], object], marker: Path) -> None:
        self.seconds = float(importlib.import_module("damaged_files").SECONDS)
        self._worker, self._reader, self._marker = worker, reader, marker
        self.networks = 0
        self.valid: list[bytes] = []

    def __call__(self, data: bytes) -> str | None:
        path = Path("fuzzed.bin")
        path.write_bytes(data)
        start = self._worker._seconds()  # with the process for HDF5
        answer = self._worker.judge(path, self._reader)
        seconds = self._worker._seconds() - start
        if answer["outcome"] == "network":
            self.networks += 1
            if len(self.valid) < MOST_VALID or self.networks % 16 == 0:
                self.valid[MOST_VALID:] = [data]
        if self._marker.exists():
            self._marker.unlink()
            return "code was executed"
        if seconds > self.seconds:
            return f"took {seconds:.1f} s; allowed are {self.seconds:g} s"
        problem = answer.get("problem")
        return None if problem is None else str(problem)

    def limit_memory(self) -> None:
        """Allow what a file may take beyond what is taken now, and libFuzzer's own needs."""
        resource = importlib.import_module("resource")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + self._worker.MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class _Signed(str):
    """The digest that whoever forges an artefact would compute: equal to any."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


def use_artefact(path: Path) -> object:
    """Load an artefact, and do with it what the commands do: emulate, write the C.

    The emulator is the literal one, which checks every precondition of the arithmetic.
    """
    np = importlib.import_module("numpy")
    artefact = importlib.import_module("lstmgen.artefact")
    artefact.QuantizedNetwork.digest = lambda q: _Signed("0" * 64)
    q = artefact.load(path)
    x = np.broadcast_to(np.array(q.input_span)[:, None, None], (2, 2, q.inputs))
    importlib.import_module("lstmgen.emulator").Emulator(q, literal=True, batch=2).run(x)
    target = importlib.import_module("lstmgen.target").load_target("arc")
    made = importlib.import_module("lstmgen.selftest").make_selftest(q)
    return importlib.import_module("lstmgen.codegen").generate(
        q, name="model", target=target, selftest=made
    )


def _see_into_hdf5() -> None:
    """Have a file that the process for HDF5 has survived read here too, where coverage is seen."""
    hdf5 = importlib.import_module("lstmgen.readers.hdf5")
    child = importlib.import_module("lstmgen.readers.hdf5_child")
    apart = hdf5.answer_of

    def answer_of(data: bytes) -> bytes:
        answer: bytes = apart(data)
        meta = json.loads(child.read(data)["meta"].tobytes())
        if meta["error"] is None and not meta["problems"]:
            _WHOLE.add(hashlib.sha256(data).digest())
        return answer

    hdf5.answer_of = answer_of


_WHOLE: set[bytes] = set()
"""Digests of HDF5 files that were read in full: others might hang the library in the mutator."""


def is_whole(data: bytes) -> bool:
    """Return whether HDF5 in the file, if there is any, is known to be sound."""
    contents = [data]
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            contents = [archive.read(name) for name in archive.namelist() if name.endswith(".h5")]
    parts = [content for content in contents if content[:4] == b"\x89HDF"]
    return all(hashlib.sha256(part).digest() in _WHOLE for part in parts)


def bred(data: bytes, r: Random, size: int, mutate: Callable[[bytes, int], bytes]) -> bytes:
    """Return a damaged file of at most `size` bytes; mutate(bytes, size): the fuzzer's own way.

    That gets to the whole file, or, with everything around it made right again, to the header or
    to one member of an archive: checksums would stop it otherwise.
    """
    damages = importlib.import_module("damages")
    way = r.random()
    out = data
    if way < 0.2:
        out = mutate(data, size)
    elif way < 0.45:
        out = within(data, r, size, mutate)
    if out == data:
        try:
            out = damages.mutated(data, r, Path("executed"), whole=is_whole(data))
        except Exception:  # the ways are made for files that are whole
            out = mutate(data, size)
    return bytes(out if len(out) <= size else mutate(data, size))


def within(data: bytes, r: Random, size: int, mutate: Callable[[bytes, int], bytes]) -> bytes:
    """Let the fuzzer change a member of an archive, or the header that a file's length is before.

    What is neither comes back as it is.
    """
    damages = importlib.import_module("damages")
    if data[:4] == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [(info.filename, archive.read(info)) for info in archive.infolist()
                           if info.file_size <= size]
        except Exception:  # damaged already
            return data
        if not members:
            return data
        at = r.randrange(len(members))
        name, content = members[at]
        new = _array(content, r, mutate) or mutate(content, max(64, len(content) * 2))
        members[at] = (name, new)
        return bytes(damages.zipped(members))
    if data[8:9] == b"{":
        length = min(int.from_bytes(data[:8], "little"), len(data) - 8)
        header = mutate(data[8 : 8 + length], max(64, 2 * length))
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    return data


def _array(
    content: bytes, r: Random, mutate: Callable[[bytes, int], bytes]
) -> bytes | None:
    """Change the text or the values of a .npy array, one by one or all, and keep its header."""
    np = importlib.import_module("numpy")
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception:  # no array, or damaged already
        return None
    if array.dtype.kind == "U" and array.ndim == 0:
        changed = mutate(str(array).encode(errors="replace"), 1 << 15).decode("utf-8", "replace")
        array = np.array(changed.replace("\0", "?"))
    elif array.size and r.random() < 0.7:
        flat = array.reshape(-1)
        for _ in range(r.choice((1, 1, 2, 8))):
            new = np.frombuffer(r.randbytes(flat.itemsize), flat.dtype)[0]
            flat[r.randrange(len(flat))] = r.choice((0, 1, flat[r.randrange(len(flat))], new))
    else:
        raw = mutate(array.tobytes(), max(1, array.nbytes))[: array.nbytes]
        array = np.frombuffer(raw.ljust(array.nbytes, b"\0"), array.dtype).reshape(array.shape)
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


if __name__ == "__main__":
    raise SystemExit(main())
