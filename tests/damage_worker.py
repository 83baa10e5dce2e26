"""The process in which `damaged_files` has damaged files read, under a limit of memory.

The limit is of address space beyond what is taken after the valid files were read: the
libraries alone reserve hundreds of MiB, which no file is to blame for.
"""

import importlib
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lstmgen import artefact
from lstmgen.errors import ModelError
from lstmgen.readers import hdf5_server, read_model
from lstmgen.reference import run

MEMORY = 1 << 30
LINE = 600
"""Longest line of an error, in characters."""


def read(path: Path) -> object:
    """Read a file as the commands do, and run what it gives for two steps."""
    if artefact.is_artefact(path):
        return artefact.load(path)
    network = read_model(path)
    with np.errstate(all="ignore"):  # weights may be as large as they like
        return run(network, np.zeros((1, 2, network.inputs))).y


def judge(path: Path, reader: Callable[[Path], object]) -> dict[str, object]:
    """Return the outcome of one file: network, refused or error, and what is wrong with it."""
    try:
        reader(path)
    except ModelError as error:
        problem = "memory ran out, which the error hides" if _out_of_memory(error) else None
        return {"outcome": "refused", "problem": problem or _wrong_lines(str(error))}
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "" if trace is None else (
            f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        )
        return {"outcome": "error", "problem": f"{type(error).__name__}: {str(error)[:200]}{where}"}
    return {"outcome": "network"}


def _out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error comes from one of memory: without the limit, more were taken."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    return error is not None


def _wrong_lines(message: str) -> str | None:
    lines = message.splitlines()
    if not message or "" in lines:
        return "an empty line in the message"
    longest = max(lines, key=len)
    if len(longest) > LINE:
        return f"a line of {len(longest)} characters: {longest[:100]}..."
    odd = [line for line in lines if not line.isprintable()]
    return f"a line that is not printable: {odd[0][:200]!a}" if odd else None


def work(reader: str, files: list[str]) -> None:
    """Answer a line of JSON for every path on stdin."""
    module, _, function = reader.partition(":")
    call = getattr(importlib.import_module(module), function)
    warnings.simplefilter("error")  # a user would see it among the output
    for file in files:
        found = judge(Path(file), read)
        assert found == {"outcome": "network"}, f"{file}, a valid file: {found}"
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("ready", flush=True)
    for line in sys.stdin:
        start = _seconds()
        answer = judge(Path(line.rstrip("\n")), call)
        answer["seconds"] = _seconds() - start
        answer["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps(answer), flush=True)
    hdf5_server.stop()  # whose copies' memory is known when it has ended
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10, flush=True)


def _seconds() -> float:
    """Return the seconds of the processor that this process took, and those that it started."""
    total = time.process_time()
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        try:
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2:])
