import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lstmgen import artefact, reference
from lstmgen.cli import main

import torch_files as tf
from builders import NETWORKS, calibration
from tools import need_program, usable


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a model, its calibration data and test data, as working directory."""
    monkeypatch.chdir(tmp_path)
    network = NETWORKS["odd_sizes"]()
    network.save("model.npz")
    x = calibration(network, 6, 8)
    np.save("x.npy", x)
    label = reference.run(network, x).y.argmax(-1)
    np.savez("data.npz", x=x, label=label)
    return tmp_path


def run(*args, code=0):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    # An exception that is not caught is an exit status of 1, as a failed check is.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def test_help_names_every_command():
    text = run("--help").stdout
    for command in (
        "inspect",
        "quantize",
        "build",
        "emulate",
        "verify",
        "prove",
        "bench",
        "report",
        "check",
        "targets",
    ):
        assert f"  {command} " in text
        assert "--help" in run(command, "--help").stdout


def test_version():
    assert run("--version").stdout.startswith("lstmgen, version ")


def test_inspect(folder):
    text = run("inspect", "model.npz").stdout
    assert "dense 3 -> 5, relu" in text
    assert "LSTM 5 -> 7" in text
    described = json.loads(run("inspect", "model.npz", "--json").stdout)
    assert [layer["type"] for layer in described["layers"]] == [
        "dense",
        "lstm",
        "dense",
        "lstm",
        "dense",
    ]


def test_inspect_proves_what_it_read(folder):
    network = NETWORKS["odd_sizes"]()
    x = calibration(network, 6, 8).astype(np.float32)
    y = reference.run(network, x).y.astype(np.float32)
    np.savez("known.npz", x=x, y=y)
    assert "6 sequences: read right" in run("inspect", "model.npz", "--expect", "known.npz").stdout
    assert json.loads(run("inspect", "model.npz", "--json").stdout)["expected"] is None
    # Beside the weights in the model's own file.
    with np.load("model.npz") as arrays:
        np.savez("both.npz", **arrays, x=x, y=y)
        np.savez("wrong.npz", **arrays, x=x, y=y[:, ::-1])
    assert "read right" in run("inspect", "both.npz").stdout
    text = run("inspect", "wrong.npz", code=1).stdout
    assert "LSTM 5 -> 7" in text
    assert "NOT READ RIGHT; check --head, --activation and the gate order" in text
    described = json.loads(run("inspect", "wrong.npz", "--json", code=1).stdout)["expected"]
    assert (described["right"], described["sequences"]) == (False, 6)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"x": (2, 4, 3)}, "known.npz holds x; expected inputs x and outputs y"),
        ({"x": (2, 4, 3), "y": (2, 4, 3)}, "y is (2, 4, 3); expected (2, 3), the outputs after"),
        ({"x": (2, 4, 2), "y": (2, 3)}, "the inputs are (2, 4, 2); expected (sequences, steps, 3)"),
    ],
)
def test_known_outputs_that_do_not_fit(folder, known, message):
    np.savez("known.npz", **{key: np.zeros(shape) for key, shape in known.items()})
    assert message in run("inspect", "model.npz", "--expect", "known.npz", code=2).stderr
    run("quantize", "model.npz", "-o", "q.npz")
    refused = run("inspect", "q.npz", "--expect", "known.npz", code=2).stderr
    assert "q.npz is quantized: --expect needs the float model instead" in refused


def test_argmax_has_agreement_and_no_sqnr(folder):
    network = NETWORKS["stacked_argmax"]()
    network.save("classes.npz")
    np.save("c.npy", calibration(network))
    text = run("build", "classes.npz", "-o", "c", "--calibration", "c.npy").stdout
    assert "% of the classes are float's, on calibration data" in text
    digest = hashlib.sha256((folder / "c.npy").read_bytes()).hexdigest()
    assert f"), c.npy (SHA-256 {digest})" in (folder / "c" / "README.md").read_text()
    text = run("report", "classes.npz", "--input", "c.npy").stdout
    assert "same class as float" in text
    assert "output" not in text


def test_help_waits_for_no_library():
    """`lstmgen --help` answers before numpy or jinja2 would be there."""
    code = (
        "import sys; from lstmgen.cli import main; main(['--help'], standalone_mode=False); "
        "print(sorted({'numpy', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_quantize_then_use_the_artefact(folder):
    text = run(
        "quantize", "model.npz", "-o", "q.npz", "--precision", "q7", "--calibration", "x.npy"
    ).stdout
    assert "bits to spare" in text
    assert artefact.load("q.npz").precision == "q7"
    assert "quantized to q7" in run("inspect", "q.npz").stdout
    assert json.loads(run("inspect", "q.npz", "--json").stdout)["precision"] == "q7"
    run("emulate", "q.npz", "--input", "x.npy", "-o", "y.npy")
    again = run("quantize", "q.npz", "-o", "q2.npz", "--precision", "q15", code=2)
    assert "q.npz is quantized already: --precision cannot change it" in again.stderr


def test_emulate_real_and_raw(folder):
    run("emulate", "model.npz", "--input", "x.npy", "-o", "y.npy")
    run("emulate", "model.npz", "--input", "data.npz", "-o", "raw.npy", "--raw")
    y, raw = np.load("y.npy"), np.load("raw.npy")
    assert y.dtype == np.float64
    assert raw.dtype == np.int16
    np.testing.assert_array_equal(y, raw / 32768)
    again = run("emulate", "model.npz", "--input", "x.npy", "-o", "y.npy", code=2)
    assert "y.npy exists; choose another --output, or --force" in again.stderr
    run("emulate", "model.npz", "--input", "x.npy", "-o", "y.npy", "--force")


def test_report(folder):
    text = run("report", "model.npz", "--input", "data.npz", "--calibration", "x.npy").stdout
    assert "lstm0 hidden SQNR" in text
    assert "accuracy, float              100 %" in text
    described = json.loads(
        run("report", "model.npz", "--input", "data.npz", "--precision", "q15", "--json").stdout
    )
    assert described["output"]["sqnr_db"] > 40
    assert described["metric"]["name"] == "accuracy"


def test_report_of_an_artefact(folder):
    run("quantize", "model.npz", "-o", "q.npz", "--precision", "q7")
    one = run("report", "model.npz", "--quantized", "q.npz", "--input", "data.npz", "--json")
    two = run("report", "model.npz", "--precision", "q7", "--input", "data.npz", "--json")
    assert one.stdout == two.stdout
    refused = run("report", "q.npz", "--input", "data.npz", code=2)
    assert "give the float model it came from" in refused.stderr
    NETWORKS["one_unit"]().save("other.npz")
    refused = run("report", "other.npz", "--quantized", "q.npz", "--input", "x.npy", code=2)
    assert "q.npz is not quantized from other.npz" in refused.stderr


def test_build_check_and_drift(folder):
    text = run("build", "model.npz", "--target", "arm", "-o", "out", "--name", "kws").stdout
    for word in ("weights", "tables", "state", "accuracy  not measured"):
        assert word in text
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {
        "kws.h",
        "kws.c",
        "kws_weights.h",
        "kws_weights.c", "kws_kernels.S",
        "kws_selftest.c",
        "kws_report.json",
        "kws_model.npz",
        "README.md",
        "LICENSE",
    }
    report = json.loads((folder / "out" / "kws_report.json").read_text())
    bounds = [row for layer in report["layers"] for row in layer["bounds"]]
    assert len(bounds) == 5 + 28 + 3 + 8 + 3
    assert all(row["bound"] < 2**31 for row in bounds)
    assert run("check", "out").stdout == "out: no drift, no proof\n"
    digest = hashlib.sha256((folder / "model.npz").read_bytes()).hexdigest()
    assert report["notes"][-1] == f"made of model.npz (SHA-256 {digest})"
    assert report["notes"][-1] in (folder / "out" / "README.md").read_text()
    source = folder / "out" / "kws.c"
    source.write_text(source.read_text().replace("return", "retrun", 1))
    (folder / "out" / "LICENSE").unlink()
    drifted = run("check", "out", code=1).stdout
    found = re.search(r"kws\.c differs in line \d+: found '(.+)', expected '(.+)'\n", drifted)
    assert found
    assert found[1].replace("retrun", "return") == found[2]
    assert "retrun" in found[1]
    assert "LICENSE is missing" in drifted


@pytest.mark.parametrize("proof", [{"proved": True}, {"proved": True, "files": {}}, True, []])
def test_check_refuses_a_proof_of_other_files(folder, proof):
    run("build", "model.npz", "--target", "arc", "-o", "out", "--name", "kws")
    path = folder / "out" / "kws_report.json"
    report = json.loads(path.read_text())
    path.write_text(json.dumps(report | {"proof": proof}, indent=1) + "\n")
    said = run("check", "out", code=1).stdout
    assert said == "out/kws_report.json: the proof is of other files; run lstmgen prove again\n"


def test_build_is_reproducible(folder):
    files = []
    for out in ("one", "two"):
        run("build", "model.npz", "--target", "arm", "-o", out, "--calibration", "x.npy")
        files.append({p.name: p.read_bytes() for p in (folder / out).iterdir()})
    assert files[0] == files[1]
    assert not any(str(folder).encode() in data for data in files[0].values())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "../kws", "C name '../kws' is not an identifier"),
        ("name", "3kws", "C name '3kws' is not an identifier"),
        ("target", "a\nb", r"target 'a\nb' is no name; build the model anew"),
        ("isa", "../LICENSE", "isa '../LICENSE' is no name; build the model anew"),
    ],
)
def test_a_report_names_no_other_files(folder, key, value, message):
    run("build", "model.npz", "-o", "out", "--name", "kws")
    report = folder / "out" / "kws_report.json"
    report.write_text(json.dumps(json.loads(report.read_text()) | {key: value}))
    result = run("check", "out", code=2)
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_build_writes_nothing_on_error(folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "main.c").write_text("int x;")
    refused = run("build", "model.npz", "-o", "mine", code=2)
    assert "mine is not an earlier output of this model (it holds main.c)" in refused.stderr
    run("build", "model.npz", "-o", "new", "--name", "3kws", code=2)
    run("build", "model.npz", "-o", "new", "--name", "int", code=2)
    run("build", "model.npz", "-o", "new", "--target", "arn", code=2)
    assert not (folder / "new").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["inspect", "absent.npz"], r"absent.npz: no such file"),
        (
            ["build", "model.npz", "--target", "riscv3"],
            r"target 'riscv3' is unknown; did you mean 'riscv32'?",
        ),
        (
            ["build", "model.npz", "--calibration", "wide.npy"],
            r"inputs are (2, 3, 4); expected (sequences, steps, 3)",
        ),
        (["build", "model.npz", "--activation", "nope=relu"], r"'nope' names no layer"),
        (["build", "model.npz", "--input-range", "1:0"], r"expected two finite numbers LO < HI"),
        (["build", "x.npy"], r"x.npy is a single .npy array"),
        (["check", "empty"], r"empty holds 0 files *_report.json"),
        (["verify", "model.npz", "--input", "wide.npy"], r"expected (sequences, steps, 3)"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(folder, args, message):
    np.save("wide.npy", np.zeros((2, 3, 4)))
    (folder / "empty").mkdir()
    result = run(*args, code=2)
    assert message in result.stderr
    assert result.stderr.startswith("lstmgen: ")
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["build", "model.npz", "--input-range", "wide"], r"'wide' is not of the form LO:HI"),
        (["build", "model.npz", "--input-range", "a:b"], r"'a:b' is not of the form LO:HI"),
        (["build", "model.npz", "--activation", "fc"], r"'fc' is not of the form NAME=ACTIVATION"),
        (["build", "model.npz", "--precision", "q8"], r"'q8' is not one of"),
        (["emulate", "model.npz"], r"Missing option '--input'"),
        (["build", "model.npz", "--precison", "q7"], r"Did you mean '--precision'?"),
        (["build", "model.npz", "--calibration"], r"Option '--calibration' requires an argument"),
        (["bild", "model.npz"], r"No such command 'bild'"),
        (["--fast"], r"No such option '--fast'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(folder, args, message):
    (line,) = run(*args, code=2).stderr.splitlines()
    assert message in line
    command = f"lstmgen {args[0]}" if args[0] in ("build", "emulate") else "lstmgen"
    assert line.startswith(f"{command}: ")
    assert line.endswith(f" (see {command} --help)")


def test_verify(folder):
    usable("host")
    text = run("verify", "model.npz", "--precision", "q7", "--precision", "q15").stdout
    assert text.count("steps are equal") == 2
    described = json.loads(run("verify", "model.npz", "--input", "x.npy", "--json").stdout)
    (result,) = described["results"]
    assert result["equal"] is True
    assert set(result) == {
        "target", "precision", "steps", "values", "equal", "difference", "kept"
    }
    assert (result["difference"], result["kept"]) == (None, None)
    assert (result["target"], result["precision"], result["steps"]) == ("host", "w8a16", 48)


def test_verify_a_folder_finds_an_edited_constant(folder):
    usable("host")
    portable = ("--target", "host", "--optimize", "size")
    run("build", "model.npz", "-o", "out", "--name", "kws", *portable)
    assert "steps are equal" in run("verify", "out").stdout
    source = folder / "out" / "kws.c"
    text = source.read_text()
    assert "16384;" in text
    source.write_text(text.replace("16384;", "0;"))
    found = run("verify", "out", "--keep", "kept", code=1).stdout
    assert "lstm0" in found
    assert "expected" in found
    assert (folder / "kept" / "host-w8a16").is_dir()
    told = json.loads(run("verify", "out", "--keep", "again", "--json", code=1).stdout)
    (result,) = told["results"]
    assert result["equal"] is False
    assert result["difference"] in found.replace("kept", "again")
    assert result["kept"] == str(Path("again") / "host-w8a16")


def test_bench(folder):
    usable("host")
    need_program("valgrind")
    described = json.loads(run("bench", "model.npz", "--json").stdout)
    (result,) = described["results"]
    assert {
        "target",
        "precision",
        "macs_per_step",
        "instructions_per_step",
        "parts",
        "estimated_cycles",
        "code_bytes",
        "table_bytes",
        "weights_bytes",
        "state_bytes",
        "stack_bytes",
    } <= set(result)
    assert result["instructions_per_step"] > result["macs_per_step"] > 0
    parts = result["parts"]
    assert sum(parts.values()) == result["instructions_per_step"]
    share = parts["elementwise"] / result["macs_per_step"]
    text = run("bench", "model.npz").stdout
    assert "host" in text
    assert f"elementwise {parts['elementwise']} ({share:.2f})" in text


def test_bench_calls_an_estimate_an_estimate(folder):
    usable("cortex-m3")
    text = run("bench", "model.npz", "--target", "cortex-m3").stdout
    assert re.search(r"^  ESTIMATE of cycles, not measured: \d+ \(.*\) to \d+ \(", text, re.M)


def test_targets():
    text = run("targets").stdout
    described = json.loads(run("targets", "--json").stdout)
    for target in described["targets"]:
        assert target["name"] in text
    assert {"host", "arm", "cortex-m0", "riscv32", "avr", "arc"} <= {
        target["name"] for target in described["targets"]
    }


def test_quiet_and_verbose(folder):
    assert run("-q", "build", "model.npz", "-o", "a").stderr == ""
    short = run("build", "model.npz", "-o", "b").stderr
    long = run("-v", "build", "model.npz", "-o", "c").stderr
    assert len(long.splitlines()) > len(short.splitlines()) >= 1


def test_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "lstmgen", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("lstmgen, version ")


def test_defaults_are_printed_with_their_flags(folder):
    r = np.random.default_rng(0)
    np.savez("torch.npz", **{
        "lstm.weight_ih_l0": r.normal(size=(12, 2)), "lstm.weight_hh_l0": r.normal(size=(12, 3)),
        "fc.weight": r.normal(size=(2, 3)), "fc.bias": r.normal(size=2),
    })
    notes = run("build", "torch.npz", "-o", "out").stderr
    for flag in ("--head", "--outputs", "--calibration"):
        assert flag in notes
    np.save("big.npy", np.full((2, 3, 2), 1e9))
    notes = run("emulate", "torch.npz", "--input", "big.npy", "-o", "y.npy").stderr
    assert "12 of 12 inputs lie beyond" in notes
    assert "time steps" not in notes


def test_inputs_are_not_overwritten(folder):
    for args in (["emulate", "model.npz", "--input", "x.npy", "-o", "x.npy"],
                 ["quantize", "model.npz", "-o", "model.npz"]):
        assert "is read by this command" in run(*args, "--force", code=2).stderr
    refused = run("quantize", "model.npz", "-o", folder, "--force", code=2)
    assert "is not a regular file" in refused.stderr


def test_one_failing_target_does_not_stop_the_others(folder):
    usable("host")
    (folder / "none.toml").write_text('extends = "host"\n[compile]\ncc = "no-such-cc"\n')
    result = run("verify", "model.npz", "--target", "none.toml", "--target", "host", code=2)
    assert "steps are equal" in result.stdout
    assert "no-such-cc is not installed" in result.stderr
    result = run("bench", "model.npz", "--target", "none.toml", "--target", "host", code=2)
    assert "host" in result.stdout


def test_foreign_files_beside_the_model_do_not_matter(folder):
    usable("host")
    run("build", "model.npz", "-o", "out", "--name", "kws", "--target", "host")
    (folder / "out" / "main.c").write_text("#error mine")
    assert "steps are equal" in run("verify", "out").stdout


def test_keep_names_what_cannot_be_made(folder):
    (folder / "file").write_text("")
    assert "cannot be made" in run("verify", "model.npz", "--keep", "file", code=2).stderr


def test_names_are_made_to_fit(folder):
    long = "a-very-long-name-of-a-model-that-somebody-gave-it.npz"
    NETWORKS["one_unit"]().save("one.npz")
    r = np.random.default_rng(0)
    np.savez(long, W0=r.normal(size=(4, 1)), R0=r.normal(size=(4, 1)), b0=np.zeros(4))
    assert "a_very_long_name_of_a_model_that" in run("build", long).stdout
    assert "no such folder" in run("check", "nowhere", code=2).stderr


def test_a_kernel_that_is_not_needed_any_more_goes(folder):
    run("build", "model.npz", "--target", "arm", "-o", "out", "--name", "kws")
    kernels = folder / "out" / "kws_kernels.S"
    text = kernels.read_text()
    run("build", "model.npz", "--target", "host", "-o", "out", "--name", "kws")
    assert not kernels.exists()
    kernels.write_text(text)
    assert "kws_kernels.S is not generated any more" in run("check", "out", code=1).stdout


def test_effort_is_kept_with_the_folder(folder):
    arm = ["build", "model.npz", "--target", "arm", "--name", "kws"]
    for effort in ("speed", "size"):
        text = run(*arm, "--optimize", effort, "-o", effort).stdout
        assert "row pair" in text
        assert "no drift" in run("check", effort).stdout
    small, fast = ((folder / e / "kws_kernels.S").read_text() for e in ("size", "speed"))
    assert len(small) < len(fast)
    report = json.loads((folder / "size" / "kws_report.json").read_text())
    assert report["optimize"] == "size"
    assert report["kernels"]["lstm0"].startswith("long row pair")


def test_a_folder_with_kernels_is_for_its_own_target(folder):
    run("build", "model.npz", "--target", "arm", "-o", "out", "--name", "kws")
    refused = run("verify", "out", "--target", "host", code=2).stderr
    assert "out has kernels in assembly for armv7em; target host is x86-64" in refused


def test_a_pytorch_file_goes_all_the_way(folder):
    r = np.random.default_rng(0)
    rnn, fc = tf.weights(r, 2, 3), tf.linear(r, 3, 4)
    Path("model.pt").write_bytes(tf.torch_bytes(tf.named(fc=fc, lstm=rnn)))
    x = r.normal(size=(4, 5, 2))
    y = tf.recurrent(rnn, x)[:, -1] @ fc["weight"].T + fc["bias"]
    np.savez("known.npz", x=x, y=y)
    text = run("inspect", "model.pt", "--expect", "known.npz").stdout
    assert "order of modules lstm, fc: the only one in which their widths fit" in text
    assert "4 sequences: read right" in text
    text = run("inspect", "model.pt", "--order", "lstm").stdout
    assert "modules that --order leaves out: fc" in text
    run("build", "model.pt", "-o", "out")
    assert Path("out/model.c").exists()


def test_ends_of_a_bidirectional_network(folder):
    r = np.random.default_rng(0)
    both = {**tf.weights(r, 2, 3), **tf.weights(r, 2, 3, suffix="_l0_reverse")}
    Path("model.safetensors").write_bytes(tf.safetensors_bytes(tf.named(lstm=both)))
    assert "set it with --ends state for h_n" in run("inspect", "model.safetensors").stdout
    text = run("inspect", "model.safetensors", "--ends", "state").stdout
    assert "last values are the last states h_n of both directions (set by --ends)" in text
