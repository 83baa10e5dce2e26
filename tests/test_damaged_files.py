"""Damaged model files give a network or a clean error; `damaged_files` reads many more."""

import io
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest

import damaged_files
import damages
import structures
from damaged_files import FORMATS, ROOT, Worker, run_format

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")

COUNTS = dict.fromkeys(FORMATS, 60) | dict.fromkeys(("keras", "h5", "weights.h5"), 30)
"""Few of HDF5: now and then the library hangs, until its 3 s are over."""

SEED = 20261


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_or_refused(name):
    result = run_format(name, COUNTS[name], SEED)
    assert not result.failures, "\n".join(map(str, result.failures))
    assert result.outcomes.total() == COUNTS[name]
    assert result.outcomes["refused"] > COUNTS[name] // 4  # or the damage is none
    assert result.outcomes["network"] > 0  # or it is a reader that refuses everything


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_comes_from_its_seed(tmp_path, name):
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        files = damaged_files.seeds(name, folder)
        made.append([damaged_files.damaged(files, name, SEED, n) for n in range(30)])
    assert made[0] == made[1]
    assert len(set(made[0])) > 25
    assert made[0] != [damaged_files.damaged(files, name, SEED + 1, n) for n in range(30)]


@pytest.mark.parametrize(("fault", "words"), [
    ("crash", "the reader died: exit status -6"),
    ("hoard", "MemoryError"),
    ("hoard_quietly", "memory ran out"),
    ("stumble", "KeyError: 'W' at faults.py"),
    ("warn", "RuntimeWarning: overflow"),
    ("chatter", "a line of 2"),
    ("control", "not printable"),
])
def test_faults_are_found(fault, words):
    result = run_format("npz", 2, reader=f"faults:{fault}")
    assert [words in failure.what for failure in result.failures] == [True, True]
    assert "--only 1" in str(result.failures[1])


def test_a_hang_is_found(monkeypatch):
    monkeypatch.setattr(damaged_files, "PATIENCE", 0.1)
    result = run_format("npz", 1, reader="faults:hang")
    assert [failure.what[:16] for failure in result.failures] == ["no answer within"]


def test_a_slow_file_is_found(monkeypatch):
    monkeypatch.setattr(damaged_files, "SECONDS", 0.2)
    monkeypatch.setattr(damaged_files, "PATIENCE", 100.0)
    result = run_format("npz", 1, reader="faults:dawdle")
    assert ["allowed are 0.2 s" in failure.what for failure in result.failures] == [True]


def test_no_fault_is_none():
    assert not run_format("npz", 2, reader="faults:refuse").failures


def test_executed_code_is_found(monkeypatch):
    """Here it is; and the same pickles inside model files are what no reader may load."""
    monkeypatch.setattr(
        damaged_files, "damaged", lambda files, name, seed, number:
        pickle.dumps(damages.Payload(damaged_files.MARKER if number == 1 else Path("another")))
    )
    result = run_format("npz", 3, reader="faults:unpickle")
    assert [(f.number, f.what) for f in result.failures] == [(1, "code was executed")]
    assert not damaged_files.MARKER.exists()  # here, beside the worker's own


def test_pickle_bombs_are_refused_unexecuted(tmp_path):
    """As the file itself, as an object array of an .npz, and as a PyTorch file's data.pkl."""
    marker = tmp_path / "executed"
    bombs = [pickle.dumps(damages.Payload(marker), protocol) for protocol in range(6)]
    array = damages.pickled("W0.npy", b"", Random(1), marker)
    files = {"bomb.npz": damages.zipped([("W0.npy", array)])}
    for protocol, bomb in enumerate(bombs):
        files[f"bomb{protocol}.pt"] = bomb
        members = [("model/data.pkl", bomb), ("model/version", b"3\n")]
        files[f"zip{protocol}.pt"] = damages.zipped(members)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    worker = Worker("damage_worker:read", [], tmp_path)
    answers = [worker.ask(tmp_path / name) for name in files]
    worker.stop()
    assert [answer["outcome"] for answer in answers] == ["refused"] * len(files)
    assert not marker.exists()
    for bomb in bombs:
        pickle.loads(bomb)  # it does go off
        assert marker.exists()
        marker.unlink()


def test_the_splice_in_front_of_a_pickle_goes_off(tmp_path):
    """The rest of the file stays readable, so that a reader cannot stumble over the bomb first."""
    marker = tmp_path / "executed"
    inner = pickle.dumps({"a": 1}, 2)
    spliced = {damages.pickled("data.pkl", inner, Random(n), marker) for n in range(20)}
    loaded = [pickle.loads(data) for data in spliced]
    assert {"a": 1} in loaded
    assert marker.exists()


@pytest.mark.parametrize(("size", "order", "fortran"), [
    (damages.BOMB_BYTES[0], "<", False),
    *((damages.BOMB_BYTES[1], order, fortran) for order in "<>" for fortran in (False, True)),
])
def test_compression_bombs_are_refused(tmp_path, size, order, fortran):
    path = tmp_path / "bomb.npz"
    path.write_bytes(damages.bombed("W0.npy", size, order, fortran))
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].file_size == size + 128
        assert archive.open("W0.npy").read(1 << 16)[128:] == bytes((1 << 16) - 128)
    worker = Worker("damage_worker:read", [], tmp_path)
    answer = worker.ask(path)
    worker.stop()
    assert answer["outcome"] == "refused"
    assert answer["problem"] is None
    assert path.stat().st_size < 4 << 20


def test_members_are_packed_anew_with_right_checksums():
    data = damages.zipped([("a.npy", b"one" * 50), ("b.json", b'{"a": [1, 2]}')])
    changed = 0
    for n in range(200):
        out = damages.rezipped(data, Random(n), Path("marker"))
        if len(out) > 1 << 20:
            continue  # the compression bomb
        with zipfile.ZipFile(io.BytesIO(out)) as archive:
            assert archive.testzip() is None
            contents = [archive.read(info) for info in archive.infolist()]
        changed += contents != [b"one" * 50, b'{"a": [1, 2]}']
    assert changed > 120


def test_json_is_changed_by_tokens_and_values():
    data = json.dumps({"layers": [{"type": "lstm", "weights": [[1.5, 2], [3, 4]]}]}).encode()
    made = {damages.json_tokens(data, Random(n)) for n in range(300)}
    valid = 0
    for text in made:
        try:
            json.loads(text)
            valid += 1
        except (ValueError, RecursionError):
            pass
    assert len(made) > 150  # of 300; 197 when written, 70 of them JSON
    assert 50 < valid < len(made) - 50


def test_json_inside_an_array_is_changed_and_the_array_stays_whole():
    buffer = io.BytesIO()
    np.save(buffer, np.array('{"name": "model", "layers": [1, 2, 3]}'))
    texts = {
        str(np.load(io.BytesIO(damages.npy_text(buffer.getvalue(), Random(n)))))
        for n in range(40)
    }
    assert len(texts) > 20


def test_the_header_of_a_headed_json_keeps_its_length():
    header = b'{"W": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
    data = len(header).to_bytes(8, "little") + header + bytes(8)
    for n in range(50):
        out = damages.headed_json(data, Random(n))
        length = int.from_bytes(out[:8], "little")
        assert len(out) == 8 + length + 8


def test_the_command_repeats_a_file_and_keeps_it(tmp_path):
    kept = tmp_path / "kept.npz"
    result = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "damaged_files.py"), "--format", "npz", "--only", "7",
         "--keep", str(kept)],
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "0 failures" in result.stdout
    assert kept.exists()


def test_protobuf_is_changed_and_stays_protobuf():
    data = b"\x08\x08\x12\x04test" + b"\x3a\x08\x0a\x06\x08\x01\x12\x02ab"
    made = {structures.protobuf(data, Random(n)) for n in range(200)}
    assert len(made) > 60
    parsed = [structures._fields(one) for one in made]  # or it would raise
    assert any(fields != structures._fields(data) for fields in parsed)
    assert structures.protobuf(b"\x07", Random(1)) == b"\x07"


def test_hdf5_is_changed_and_stays_hdf5(tmp_path):
    data = damaged_files.seeds("h5", tmp_path)[0].read_bytes()
    made = {structures.hdf5(data, Random(n)) for n in range(60)}
    assert len(made) > 40
    differences = set()
    for one in made:
        with h5py.File(io.BytesIO(one), "r") as file:
            names: list[str] = []
            file.visit(names.append)
            differences.add((len(names), tuple(sorted(file.attrs))))
    assert len(differences) > 3


def test_pickles_are_changed_by_operations():
    data = pickle.dumps({"a": [1, 2.5, "b"], "c": (None, True)}, 2)
    made = {structures.pickle_operations(data, Random(n)) for n in range(100)}
    assert len(made) > 60
    assert structures.pickle_operations(b"\x80\x02", Random(1)) == b"\x80\x02"
