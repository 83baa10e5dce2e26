"""What of `fuzz_readers` needs no fuzzer: files bred from others, and what is a failure."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from random import Random

import pytest

from lstmgen.quantized import QuantizedNetwork

import damage_worker
import damaged_files
import faults
import fuzz_readers
from conftest import ROOT

SCRIPT = ROOT / "tests" / "fuzz_readers.py"


def flipped(data: bytes, size: int) -> bytes:
    """As the fuzzer's own way: another byte in the middle."""
    at = len(data) // 2
    return (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] if data else b"x")[:size]


def test_members_are_changed_and_checksums_right(tmp_path: Path) -> None:
    seed = damaged_files.seeds("artefact", tmp_path)[0].read_bytes()
    made = {fuzz_readers.within(seed, Random(n), len(seed), flipped) for n in range(30)}
    assert len(made) > 10
    for data in made:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert archive.testzip() is None


def test_forged_artefacts_get_past_their_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seed = damaged_files.seeds("artefact", tmp_path)[0].read_bytes()
    monkeypatch.setattr(QuantizedNetwork, "digest", QuantizedNetwork.digest)  # put back behind
    check = fuzz_readers.Check(damage_worker, fuzz_readers.use_artefact, Path("executed"))
    found = [check(fuzz_readers.within(seed, Random(n), len(seed), flipped)) for n in range(12)]
    assert found == [None] * 12
    assert check.networks > 3


@pytest.mark.parametrize(("fault", "words"), [
    (faults.stumble, "KeyError"), (faults.control, "not printable"), (faults.refuse, None),
])
def test_failures_are_told(fault, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = fuzz_readers.Check(damage_worker, fault, Path("executed"))(b"data")
    assert found is None if words is None else words in found


def test_without_atheris_it_says_how_to_install_it(tmp_path) -> None:
    # In front of one that may be installed.
    (tmp_path / "atheris.py").write_text("raise ImportError('not here')\n")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "npz"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2
    assert "pip install atheris" in done.stderr
