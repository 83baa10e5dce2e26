"""The process that reads HDF5 files for this one: hdf5_child.py, which only starts once.

It holds the library and nothing else. Each file is read in a copy of it, made by fork and gone
afterwards, under limits of its own: a file can neither harm the next one nor this process.
Where there is no fork, it ends after a file, and the next one starts it again.
"""

import atexit
import os
import subprocess
import sys
from pathlib import Path
from threading import Lock, Timer

from .hdf5_child import PATIENCE, receive, send

_GRACE = 5
"""Seconds more than a copy has, which ends by itself."""

_COMMAND = ("-m", f"{__package__}.hdf5_child")

_lock = Lock()
_running: list[tuple[int, subprocess.Popen[bytes]]] = []
"""The process, and the one that started it: a fork of that one must not talk to it."""


def answer_of(data: bytes) -> bytes:
    """Return what the process tells of a file, an .npz; OSError or EOFError if it does not."""
    with _lock:
        process = _process()
        assert process.stdin is not None
        assert process.stdout is not None
        timer = Timer(PATIENCE + _GRACE, process.kill)
        timer.start()
        complete = False
        try:
            send(process.stdin, data)
            answer = receive(process.stdout)
            complete = bool(answer)  # none at all: what it is up to is not known
        finally:
            timer.cancel()
            timer.join()
            if not complete:  # also where the user interrupts: what comes is the old answer
                stop()
    if not answer:
        raise EOFError
    return answer


def _process() -> subprocess.Popen[bytes]:
    """Return the process that runs, or start it."""
    if _running and _running[0][0] == os.getpid():
        process = _running[0][1]
        if sys.platform == "linux" and process.poll() is None:
            return process
        stop()
    process = subprocess.Popen(
        [sys.executable, "-P", *_COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )
    _running.insert(0, (os.getpid(), process))
    return process


@atexit.register
def stop() -> None:
    """End the process, if this one has one."""
    if _running and _running[0][0] == os.getpid():
        _, process = _running.pop(0)
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what was written last goes nowhere
                    continue
        process.wait()


def _environment() -> dict[str, str]:
    """Return the environment in which the other process finds the same packages."""
    paths = [str(Path(path).absolute()) for path in sys.path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
