"""The C is proved free of undefined behaviour, and faults put into it are found.

All networks and precisions: benchmarks/prove.py, by `make prove`.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lstmgen.cli import main
from lstmgen.codegen import proof_harness
from lstmgen.network import Network
from lstmgen.output import BuiltFor, build, drift, read_folder
from lstmgen.prove import HARNESS, prove
from lstmgen.quantizer import quantize
from lstmgen.toolchain.eva import run_eva

from builders import NETWORKS, dense, lstm
from conftest import ROOT
from tools import need_program
from variants import VARIANTS, inputs_of

PORTABLE = BuiltFor("portable", "portable", "speed")


@pytest.fixture(autouse=True)
def frama_c():
    need_program("frama-c")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder of a small network's portable C."""
    folder = tmp_path_factory.mktemp("portable")
    layers = (dense(3, 4, "relu", name="pre"), lstm(4, 3), dense(3, 3, "softmax"))
    q = quantize(Network.of(*layers, name="small"), "q7", table_bits=6)
    for name, data in build(q, PORTABLE, name="kws").items():
        (folder / name).write_bytes(data)
    return folder


def run(*args, code=0):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert code is None or result.exit_code == code, result.output
    return result


def hashes_of(folder, *without):
    """Return the SHA-256 of all files of a folder by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name not in without
    }


def test_a_model_is_proved_and_says_so_in_json(tmp_path):
    NETWORKS["odd_sizes"]().save(tmp_path / "model.npz")
    result = run("prove", tmp_path / "model.npz", "--precision", "q7", "--table-bits", 6, "--json")
    (found,) = json.loads(result.stdout)["results"]
    assert found["proved"] is True
    assert found["precision"] == "q7"
    assert found["tool"].startswith("Frama-C ")
    assert "-warn-signed-downcast" in found["options"]
    assert found["machine"] == "int32"
    names = [one["name"] for one in found["analyses"]]
    assert names == ["tables", "pre", "lstm0", "between", "lstm1", "head", "network"]
    assert all(one["proved"] and one["alarms"] == [] for one in found["analyses"])
    # The one thing that Eva is told (docs/SOUNDNESS.md).
    assert [one["what"] for one in found["assumed"]] == ["sum ≥ 16384"]
    assert len(found["analysed"]["odd.c"]) == 64
    assert (found["files"], found["not_analysed"]) == ({}, [])


@pytest.mark.parametrize("name", ["projection", "gru_reset_before", "bidirectional_embedding"])
def test_variants_are_proved(name):
    network = VARIANTS[name]()
    q = quantize(network, "w8a16", inputs_of(network), 6)
    result = prove(q, name="kws")
    assert result.alarms == ()
    assert result.proved, result.message


def test_a_folder_gets_the_verdict_and_does_not_drift(sources, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(sources, folder)
    before = (folder / "kws_report.json").read_bytes()
    result = run("prove", folder, "--machine", "int16")
    assert "q7     kws: proved, 0 alarms (C of this folder, int16)" in result.stdout
    report = json.loads((folder / "kws_report.json").read_text())
    assert report["proof"]["proved"] is True
    assert report["proof"]["files"] == hashes_of(folder, "kws_report.json")
    assert report["proof"]["not_analysed"] == []
    assert drift(folder) == ([], "proved")
    first = (folder / "kws_report.json").read_bytes()
    assert first.startswith(before[:-3])
    assert first.count(b'"proof"') == 1
    # What is refused leaves the verdict as it is.
    run("prove", folder, "--precision", "q7", code=2)
    assert (folder / "kws_report.json").read_bytes() == first
    report["proof"]["proved"] = False
    (folder / "kws_report.json").write_text(json.dumps(report))
    assert "kws_report.json: not proved; lstmgen prove tells" in run("check", folder, code=1).stdout


def test_a_raised_weight_is_named_by_file_and_line(sources, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(sources, folder)
    weights = folder / "kws_weights.c"
    lines = weights.read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if "kws_lstm0_bias[" in line) + 1
    lines[at] = re.sub(r"-?\d+", "2147483647", lines[at], count=1)
    weights.write_text("\n".join(lines) + "\n")
    result = run("prove", folder, code=1)
    assert re.search(r"kws\.c:\d+: signed overflow in kws_lstm0_step: ", result.stdout)
    assert f"kws_weights.c differs in line {at + 1}: found '{{  2147483647" in result.stdout
    assert "q7     kws: not proved, " in result.stdout
    assert json.loads((folder / "kws_report.json").read_text())["proof"]["proved"] is False


def test_folders_of_kernels_prove_portable_c_and_that_all_files_are_theirs(tmp_path):
    q = quantize(NETWORKS["one_unit"](), "q7", table_bits=6)
    folder = tmp_path / "out"
    folder.mkdir()
    for name, data in build(q, BuiltFor("cortex-m4", "armv7em", "speed"), name="kws").items():
        (folder / name).write_bytes(data)
    said = run("prove", folder).stdout
    assert (
        "kws: proved, 0 alarms (portable C of the same integers, int32; "
        "not analysed: kws.c, kws.h, kws_kernels.S, kws_selftest.c, kws_weights.c, "
        "kws_weights.h, see docs/SOUNDNESS.md)"
    ) in said
    proof = json.loads((folder / "kws_report.json").read_text())["proof"]
    assert proof["files"] == hashes_of(folder, "kws_report.json")
    code = [file for file in proof["files"] if Path(file).suffix in (".c", ".h", ".S")]
    assert proof["not_analysed"] == [
        file for file in code if proof["analysed"].get(file) != proof["files"][file]
    ]
    assert drift(folder) == ([], "proved")
    told = run("prove", folder, "--machine", "int64", code=2).stderr
    assert "is for cortex-m4, whose machine is int32; give its artefact to prove" in told
    assert drift(folder) == ([], "proved")
    kernels = folder / "kws_kernels.S"
    kernels.write_text(kernels.read_text().replace("smlabb", "smlabt", 1))
    (differs, other), _ = drift(folder)
    assert re.search(r"kws_kernels\.S differs in line \d+", differs)
    assert other.endswith("kws_report.json: the proof is of other files; run lstmgen prove again")
    _, name, target = read_folder(folder)
    done = prove(q, name=name, folder=folder, built_for=target, timeout=0.01)
    assert not done.proved
    assert done.differences == (differs,)


def test_kernels_in_c_are_proved_in_their_plain_form(tmp_path):
    q = quantize(Network.of(lstm(2, 8), dense(8, 9), name="host"), "w8a16", table_bits=6)
    folder, kept = tmp_path / "out", tmp_path / "kept"
    folder.mkdir()
    for name, data in build(q, BuiltFor("host", "x86-64", "speed"), name="kws").items():
        (folder / name).write_bytes(data)
    _, name, target = read_folder(folder)
    done = prove(q, name=name, folder=folder, built_for=target, keep=kept)
    assert (done.proved, done.what, done.machine) == (True, "plain C of this folder", "int64")
    assert done.not_analysed == ("kws.c beyond KWS_PLAIN_C",)
    assert "; not analysed: kws.c beyond KWS_PLAIN_C, see " in done.message
    # The packed weights were analysed; the portable C is there for the checker of bounds.
    assert (kept / "kws_weights.c").read_bytes() == (folder / "kws_weights.c").read_bytes()
    checker = [sys.executable, ROOT / "tools" / "check_bounds.py"]
    packed = subprocess.run([*checker, folder], capture_output=True, text=True, check=False)
    assert packed.returncode == 2
    assert "`lstmgen prove FOLDER --keep DIR` writes DIR/PRECISION/portable" in packed.stdout
    told = subprocess.run(
        [*checker, kept / "portable", folder / "kws_report.json"],
        capture_output=True, text=True, check=False,
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert "41 rows, each as the report has it" in told.stdout


def test_a_verdict_stays_where_there_is_no_new_one_and_holds_for_its_files(
    sources, tmp_path, monkeypatch
):
    folder = tmp_path / "out"
    shutil.copytree(sources, folder)
    path = folder / "kws_report.json"
    of_these = {"proved": True, "files": hashes_of(folder, "kws_report.json")}
    report = json.loads(path.read_bytes()) | {"proof": of_these}
    path.write_text(json.dumps(report, indent=1) + "\n")
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setenv("PATH", "")
        run("prove", folder, code=2)
    assert path.read_bytes() == before
    assert run("check", folder).stdout == f"{folder}: no drift, proved\n"
    # Nor does it go where the integers cannot be read.
    (folder / "kws_model.npz").write_bytes(b"")
    run("prove", folder, code=2)
    assert path.read_bytes() == before


FAULTS = {
    "loop one too long": (
        "kws.c", "n < KWS_LSTM0_INPUTS", "n <= KWS_LSTM0_INPUTS", "lstm0", "index_bound|mem_access"
    ),
    "no minimum of h": (
        "kws.c", "(h_new > 127) ? 127 : h_new", "h_new", "lstm0", "signed_downcast"
    ),
    "not copied": ("kws.c", "before[n] = h[n];", "", "lstm0", "initialization"),
    "bad shift": ("kws.c", "kws_asr(o_tanh_c, 23u)", "kws_asr(o_tanh_c, 32u)", "lstm0", "shift"),
    "no saturation": (
        "kws.c", "(c >= 1073741824) ? INT32_MAX : ", "", "lstm0", "signed_overflow"
    ),
    "no relu": ("kws.c", "(v > 0) ? v : 0", "v", "pre", "postcondition"),
    "segment beyond the table": ("kws.c", ", -32, 31)", ", -32, 32)", "tables", "mem_access"),
    "value of a table": (
        "kws_weights.c", "{    0, 32767}", "{    0, -2}", "tables", "postcondition"
    ),
    "first power": ("kws_weights.c", ", 16384}", ", 16380}", "tables", "user check"),
    "frames too far apart": (
        "kws.c", "&frame[KWS_INPUTS]", "&frame[KWS_INPUTS + 1u]", "network", "precondition"
    ),
    "state not reset": (
        "kws.c", "state->lstm0_h[n] = 0;", "", "network", "user check"
    ),
    "endless": ("kws.c", "sum >>= 6;", "while (1) {}", "fc", None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(sources, tmp_path, fault):
    file, text, instead, analysis, kind = FAULTS[fault]
    q, name, _ = read_folder(sources)
    harness, proof = proof_harness(q, name=name)
    for path in sources.glob("kws*.[ch]"):
        source = path.read_text()
        if path.name == file:
            assert text in source
            source = source.replace(text, instead, 1)
        (tmp_path / path.name).write_text(source)
    (tmp_path / HARNESS).write_text(harness)
    contracts = {contract.layer: contract.calls for contract in proof.contracts}
    contracts["network"] = tuple(contract.function for contract in proof.contracts)
    entry = f"lstmgen_prove_{'' if analysis in ('network', 'tables') else 'layer_'}{analysis}"
    own = [f"lstmgen_prove_{part}" for part in ("reset", "step", "run", "selftest")]
    result = run_eva(
        HARNESS, tmp_path, entry=entry, own=own if analysis == "network" else (),
        by_contract=contracts.get(analysis, ()), timeout=60,
    )
    assert not result.proved
    if kind is None:
        assert result.failure == "the analysis ends before the code does"
    else:
        assert any(re.search(kind, alarm.kind) for alarm in result.alarms), result


@pytest.mark.parametrize(("function", "analysis"), [("fc_step", "fc"), ("activate", "tables")])
def test_a_body_that_is_missing_is_no_proof(sources, function, analysis, tmp_path):
    for path in sources.iterdir():
        shutil.copy(path, tmp_path)
    text = (tmp_path / "kws.c").read_text()
    body = re.compile(rf"static [^;{{}}]*\bkws_{function}\([^;{{}}]*\)\n{{\n.*?\n}}\n", re.DOTALL)
    text, removed = body.subn("", text)
    assert removed == 1
    (tmp_path / "kws.c").write_text(text)
    q, name, target = read_folder(tmp_path)
    result = prove(q, name=name, folder=tmp_path, built_for=target)
    failures = {one.name: one.result.failure for one in result.analyses}
    assert failures.pop(analysis) == f"no body, only a contract, of kws_{function}"
    assert set(failures.values()) == {None}
    assert not next(one for one in result.analyses if one.name == analysis).result.proved


def test_time_that_runs_out_proves_nothing(sources):
    q, name, target = read_folder(sources)
    result = prove(q, name=name, folder=sources, built_for=target, timeout=0.01)
    assert not result.proved
    assert {one.result.failure for one in result.analyses} == {"stopped after 0.01 s"}
    assert "4 without a verdict" not in result.message
    assert "5 without a verdict" in result.message


def test_sources_that_do_not_compile_prove_nothing(sources, tmp_path):
    for path in sources.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "kws.c").write_text("int nonsense(\n")
    q, name, target = read_folder(tmp_path)
    result = prove(q, name=name, folder=tmp_path, built_for=target)
    assert not result.proved
    assert all(one.result.failure.startswith("Frama-C failed") for one in result.analyses)


def test_without_frama_c_it_says_what_to_install(sources, monkeypatch):
    monkeypatch.setenv("PATH", "")
    result = run("prove", sources, code=2)
    assert "frama-c is not installed; lstmgen prove needs it." in result.stderr
    assert "apt-get install frama-c-base" in result.stderr


def test_what_is_kept(sources, tmp_path):
    run("prove", sources, "--keep", tmp_path / "kept", "--timeout", 1, code=None)
    kept = {path.name for path in (tmp_path / "kept" / "q7").iterdir()}
    assert {HARNESS, "kws.c", "lstmgen_prove_layer_fc.log", "lstmgen_prove_network.log"} <= kept
    assert all(name.startswith(("kws", "lstmgen_prove")) for name in kept)
