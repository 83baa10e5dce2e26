"""The process that reads HDF5 files: kept between files, each of which it reads in a copy."""

import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from lstmgen.errors import ModelError
from lstmgen.npz import npz_bytes
from lstmgen.readers import hdf5_child, hdf5_server
from lstmgen.readers.hdf5 import read_hdf5

linux = pytest.mark.skipif(sys.platform != "linux", reason="the process is kept on Linux only")


@pytest.fixture(autouse=True)
def _stopped():
    """No process of another test before, none left behind."""
    hdf5_server.stop()
    yield
    hdf5_server.stop()


def file_of(value: float) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["a"] = np.full(3, value)
    return buffer.getvalue()


def value_of(data: bytes) -> float:
    return float(read_hdf5(data, "file").arrays["a"][0])


def server() -> "subprocess.Popen[bytes]":
    (_, process), = hdf5_server._running
    return process


@linux
def test_one_process_reads_file_after_file():
    assert value_of(file_of(1.0)) == 1.0
    first = server()
    for n in range(5):
        assert value_of(file_of(n)) == n
        with pytest.raises(ModelError, match="is damaged or truncated"):
            read_hdf5(file_of(n)[:500], "file")
    assert server() is first
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text()
    assert not children  # a zombie would be one


def test_without_fork_each_file_has_a_process(monkeypatch):
    """As on other systems, where the process ends after a file."""
    monkeypatch.setattr(sys, "platform", "another")
    if os.name == "posix":  # the other process has to think so too
        command = "import sys; sys.platform = 'another'; from lstmgen.readers import hdf5_child; "
        monkeypatch.setattr(hdf5_server, "_COMMAND", ("-c", command + "hdf5_child.main()"))
    assert value_of(file_of(1.0)) == 1.0
    first = server()
    assert value_of(file_of(2.0)) == 2.0
    assert server() is not first
    assert first.returncode is not None
    assert server().wait(10) == 0


@linux
def test_a_process_that_ended_is_started_anew():
    assert value_of(file_of(1.0)) == 1.0
    first = server()
    first.kill()
    first.wait()
    assert value_of(file_of(2.0)) == 2.0
    assert server().pid != first.pid


@linux
def test_it_ends_with_the_process_that_started_it():
    """By itself, and where that is killed and cannot clean up."""
    code = (
        "import os, sys; from lstmgen.readers import hdf5_server as s; s._process(); "
        "print(s._running[0][1].pid, flush=True); "
    )
    for end in ("", "os.kill(os.getpid(), 9)"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code + end], capture_output=True, timeout=60,
            check=False,
        )
        assert not done.stderr
        pid = int(done.stdout)
        for _ in range(200):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                break
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break  # nobody waits for orphans here
            time.sleep(0.05)
        else:
            pytest.fail("the process is still there")


@linux
def test_a_fork_has_a_process_of_its_own():
    """Or both would read each other's answers."""
    assert value_of(file_of(1.0)) == 1.0
    mine = server().pid
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map(_value_and_process, range(6))
        pool.close()
        pool.join()
    assert [value for value, _ in found] == [0, 1, 2, 3, 4, 5]
    assert mine not in {pid for _, pid in found}
    assert value_of(file_of(9.0)) == 9.0
    assert server().pid == mine


def _value_and_process(n: int) -> tuple[float, int]:
    found = value_of(file_of(n)), hdf5_server._running[0][1].pid
    if n > 3:  # a pool ends its processes without atexit
        hdf5_server.stop()
    return found


# What a file may do to the copy: here the reading itself is replaced.


def crash(data: bytes) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def loop(data: bytes) -> None:
    while True:
        pass


def sleep(data: bytes) -> None:
    time.sleep(600)


def hoard(data: bytes) -> None:
    np.ones(hdf5_child.MAX_MEMORY // 8 + 1)


def leave(data: bytes) -> None:
    sys.exit(0)


def chatter(data: bytes) -> dict[str, np.ndarray]:
    """What a library writes must not get among the answers."""
    os.write(1, b"x" * 1000)
    assert os.read(0, 1) == b""
    return {"a": np.ones(2)}


@linux
@pytest.mark.parametrize("fault", [crash, loop, sleep, hoard, leave])
def test_a_fault_ends_the_copy_alone(monkeypatch, fault):
    monkeypatch.setattr(hdf5_child, "MAX_SECONDS", 1)
    monkeypatch.setattr(hdf5_child, "PATIENCE", 2)
    monkeypatch.setattr(hdf5_child, "read", fault)
    start = time.monotonic()
    assert hdf5_child._apart(b"") == b""
    assert time.monotonic() - start < 30
    monkeypatch.setattr(hdf5_child, "read", lambda data: {"a": np.ones(2)})
    assert hdf5_child._apart(b"") == npz_bytes({"a": np.ones(2)})


@linux
def test_what_a_library_writes_is_no_answer(monkeypatch, capfd):
    monkeypatch.setattr(hdf5_child, "read", chatter)
    assert hdf5_child._apart(b"") == npz_bytes({"a": np.ones(2)})
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("answer", [
    (1 << 62).to_bytes(8, "little"), (10).to_bytes(8, "little") + b"x", b"", bytes(8),
    (2).to_bytes(8, "little") + b"PK", (1).to_bytes(8, "little") + b"x",
])  # fmt: skip
def test_a_wrong_answer_is_a_damaged_file(monkeypatch, answer):
    """And the next file gets an answer of its own."""
    code = f"import sys; sys.stdout.buffer.write({answer!r})"
    with monkeypatch.context() as context:
        context.setattr(hdf5_server, "_COMMAND", ("-c", code))
        for _ in range(2):
            with pytest.raises(ModelError, match="damaged beyond reading"):
                read_hdf5(b"", "file")
    assert value_of(file_of(3.0)) == 3.0
