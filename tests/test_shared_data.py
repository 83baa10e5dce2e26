"""The stored files of real frameworks: each is read and gives the framework's own outputs, or is
refused; the same network in all formats gives the same C."""

import fnmatch
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lstmgen.cli import main
from lstmgen.output import build
from lstmgen.quantizer import quantize
from lstmgen.readers import ReadOptions, read_model
from lstmgen.target import load_target

from builders import PRECISIONS
from conftest import ROOT

MAX_ERROR = 1e-5
SEQUENCES = 40
"""Of the test data of trained networks; more take longer and tell no more."""


@dataclass(frozen=True)
class Case:
    """How a file is read, and where the framework's outputs for it lie.

    known: an .npz with x and y beside it, by default that of the same name; or two files that
        hold x and y under these names.
    rows: the stored sequences from .. to, where the file is read for these alone.
    y: the name of the outputs, or what is to be taken of them.
    """

    flags: str = ""
    known: str | tuple[str, str] | None = None
    rows: tuple[int, int | None] = (0, None)
    y: str = "y"


def _cases(folder: str, names: str, case: Case) -> dict[str, Case]:
    return {f"{folder}/{name}": case for name in names.split()}


TEST = ("data.npz:x_test", "float_out.npz:y")
CSV = ("lstm_1d_x_python.csv", "lstm_1d_y_python.csv")
FORMS = {
    **dict.fromkeys(
        ("model.keras", "model.h5", "model_keras2.keras", "model_keras2.h5", "model.onnx",
         "model_unfolded.onnx", "fused_float.tflite"), ""
    ),
    **dict.fromkeys(
        ("model.weights.h5", "model_keras2_weights.h5", "model_keras.npz", "weights.npz",
         "model.pt", "checkpoint.pt", "model.safetensors", "model_torch.npz"), "softmax"
    ),
}
"""The forms of digits_lstm32, and the head that has to be told where only weights are stored."""

CASES: dict[str, Case] = {
    **{
        f"digits_lstm32/{name}": Case(f"--head {head}" if head else "", TEST, (0, SEQUENCES))
        for name, head in FORMS.items()
    },
    **_cases("mackey_stacked2x32_seq", "model.keras model.h5 fused_float.tflite",
             Case("", TEST, (0, SEQUENCES))),
    **_cases("mackey_stacked2x32_seq", "model.weights.h5 weights.npz",
             Case("--outputs sequence", TEST, (0, SEQUENCES))),
    "har/embarc_har_2xlstm32.npz": Case("--activation pre=relu"),
    "rtneural/rtneural_lstm_torch_4layer.npz": Case("--outputs sequence"),
    "rtneural/lstm_torch.json": Case("", "rtneural_lstm_torch_4layer.npz"),
    "rtneural/lstm_1d.json": Case("", CSV),
    **_cases("importers", "keras_batchnorm.keras keras_batchnorm.h5", Case()),
    **_cases("importers", "keras_bidirectional.keras keras_bidirectional.h5 "
             "keras_bidirectional.weights.h5 keras_embedding.keras", Case()),
    **_cases("importers", "keras_go_backwards.keras keras_go_backwards.h5 "
             "keras_go_backwards_seq.keras keras_go_backwards_seq.h5", Case()),
    **_cases("importers", "keras_gru.keras keras_gru_reset_before.keras keras_hard_sigmoid.keras "
             "keras_hard_sigmoid.h5 keras_relu.keras keras_rnn_cells.keras", Case()),
    **_cases("importers", "keras_named_nobias.keras keras_named_nobias.h5 "
             "keras_named_nobias.weights.h5", Case()),
    "importers/keras_masking.keras": Case(y="masked"),
    **_cases("importers", "onnx_bidirectional.onnx onnx_clip.onnx onnx_gru_lbr0.onnx "
             "onnx_gru_lbr1.onnx onnx_hard_sigmoid.onnx onnx_input_forget.onnx "
             "onnx_layout1.onnx onnx_nobias.onnx onnx_peephole.onnx onnx_reverse.onnx", Case()),
    "importers/onnx_if_branch.onnx": Case("--branch then"),
    "importers/onnx_initial_state.onnx": Case("--state-row 1", rows=(1, 2)),
    "importers/torch_bidir2.onnx": Case(),
    **{
        f"importers/torch_{name}.{suffix}": Case("--outputs sequence")
        for name in ("bidir2", "gru", "lstmcell", "nobias", "proj")
        for suffix in ("pt", "safetensors")
    },
    "importers/tflite_bidirectional.tflite": Case(),
}
"""Every model file that is read, by its path."""

OTHER_WAYS = {
    "else branch": ("importers/onnx_if_branch.onnx", Case("--branch else", y="y_else")),
    "row 0": ("importers/onnx_initial_state.onnx", Case("--state-row 0", rows=(0, 1))),
    "row 2": ("importers/onnx_initial_state.onnx", Case("--state-row 2", rows=(2, 3))),
    "both last states": ("importers/torch_bidir2.pt", Case("--ends state", y="h_n")),
    "values of the last step": ("importers/torch_bidir2.pt", Case("--ends step", y="last")),
}
"""Files that can be read in more ways than one."""

REFUSED = {
    "importers/refuse_npz_object_array.npz": "holds pickled Python objects, which are never",
    "importers/refuse_tflite_while.tflite": "runs its LSTM as a loop (WHILE)",
    "importers/refuse_torch_legacy_format.pt": "is in the format of PyTorch before 1.6",
    "importers/refuse_torch_whole_module.pt": "a whole module was saved",
    "importers/onnx_sequence_lens.onnx": "sequence_lens is the constant 9, 4, 7",
    "importers/onnx_if_branch.onnx": "choose with --branch",
    "importers/onnx_initial_state.onnx": "choose with --state-row",
}
"""Files that are refused, the last two without a flag, and a part of what is said."""

DEQUANTIZED = ("*/fused_int8.tflite", "*/tflm_int16x8.tflite")
"""Their outputs are those of other integers. `test_tflite_quantized_files_of_the_converter`
has the floors of their SQNR."""

NO_MODELS = ("README.md", "*/LICENSE.*", "peer_figures.json", "*/data.npz", "*_out.npz", "*.csv")


def known(path: Path, case: Case, folder: Path) -> Path:
    """Return an .npz with the inputs, outputs and lengths of a case, written into `folder`."""
    if isinstance(case.known, tuple):
        x, y = (_array(path.parent, name) for name in case.known)
        arrays = {"x": x, "y": y}
    else:
        stem = path.name.split(".")[0]
        with np.load(path.parent / (case.known or f"{stem}.npz")) as stored:
            arrays = {"x": stored["x"], "y": _outputs(stored, case.y)}
    if case.y == "masked":  # steps of zeros at the end, for which Keras repeats its outputs
        arrays["lengths"] = (arrays["x"] != 0).any(-1).sum(1)
    rows = slice(*case.rows)
    np.savez(folder / "known.npz", **{key: array[rows] for key, array in arrays.items()})
    return folder / "known.npz"


def _array(folder: Path, name: str) -> np.ndarray:
    if name.endswith(".csv"):
        return np.loadtxt(folder / name)[None, :, None]
    file, key = name.split(":")
    with np.load(folder / file) as stored:
        return stored[key]


def _outputs(stored: np.lib.npyio.NpzFile, what: str) -> np.ndarray:
    if what == "last":
        return stored["y"][:, -1]
    if what == "h_n":  # (2 layers x 2 directions, B, k)
        return np.concatenate(stored["h_n"][2:], -1)
    return stored["y" if what == "masked" else what]


def inspect(path: Path, *args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["inspect", str(path), *args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.stdout, result.stderr


def is_proved(path: Path, case: Case, folder: Path) -> None:
    expect = known(path, case, folder)
    code, text, wrong = inspect(path, "--expect", str(expect), "--json", *case.flags.split())
    assert code == 0, wrong or text
    proof = json.loads(text)["expected"]
    assert proof["right"]
    assert proof["max_abs_error"] <= MAX_ERROR


@pytest.mark.parametrize("name", CASES)
def test_gives_the_frameworks_outputs(shared_data, tmp_path, name):
    is_proved(shared_data / name, CASES[name], tmp_path)


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_gives_the_frameworks_outputs_another_way(shared_data, tmp_path, way):
    name, case = OTHER_WAYS[way]
    is_proved(shared_data / name, case, tmp_path)


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(shared_data, name):
    code, _, text = inspect(shared_data / name)
    assert code == 2
    assert REFUSED[name] in text
    assert all(line.startswith("lstmgen: ") for line in text.splitlines())


def test_every_stored_file_is_listed(shared_data):
    """A file that is new there has to be read, or named as one that is not to be."""
    stored = {str(f.relative_to(shared_data)) for f in shared_data.rglob("*") if f.is_file()}
    models = {*CASES, *REFUSED}
    assert not models - stored
    expected = {f"{re.sub(r'[.].*', '', name)}.npz" for name in models if "importers/" in name}
    unlisted = stored - models - expected
    listed = (*NO_MODELS, *DEQUANTIZED)
    assert sorted(f for f in unlisted if not any(fnmatch.fnmatch(f, like) for like in listed)) == []


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("target", ["cortex-m4", "host"])
def test_every_form_of_a_network_gives_the_same_bytes_of_c(shared_data, precision, target):
    """Formats name the network (after the file) and its layers (fc, dense0) each in their way,
    and notes say what was read: with the same names and no notes, every byte of the folder is
    the same. Float weights are too, so that no calibration data could make a difference."""
    folder = shared_data / "digits_lstm32"
    with np.load(folder / "data.npz") as data:
        x = data["x_calib"][:16]
    built = {}
    for file, head in FORMS.items():
        network = read_model(folder / file, ReadOptions(head=head) if head else None)
        layers = zip(network.layers, ("lstm", "dense"), strict=True)
        layers = tuple(replace(layer, name=name) for layer, name in layers)
        network = replace(network, name="digits", layers=layers, notes=())
        q = quantize(network, precision, x)
        built[file] = build(q, load_target(target), name="digits")
    first = built["model.keras"]
    assert {"digits.c", "digits.h", "digits_weights.c", "digits_selftest.c"} < set(first)
    for file, files in built.items():
        assert files == first, file


def test_the_lines_of_the_readme(shared_data, tmp_path, monkeypatch):
    """`lstmgen build` as the README has it, on the files that it names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    lstmgen (build model\..*)$", text, re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["model.keras", "model.pt"]
    monkeypatch.chdir(tmp_path)
    built = []
    for line in lines:
        command, file, *more = line.split()
        path = str(shared_data / "digits_lstm32" / file)
        result = CliRunner().invoke(main, [command, path, *more, "-o", file, "--name", "kws"])
        assert result.exit_code == 0, result.output
        built.append((tmp_path / file / "kws_kernels.S").read_text(encoding="utf-8"))
    keras, torch = built
    assert "kws_lstm_" in keras
    assert torch.replace("kws_fc_", "kws_dense_").replace(" fc", " dense") == keras


@pytest.mark.parametrize("key", ["W", "U", "b"])
def test_every_form_of_a_network_holds_the_same_weights(shared_data, key):
    networks = [read_model(shared_data / "digits_lstm32" / file) for file in FORMS]
    for layer, first in zip(zip(*(n.layers for n in networks), strict=True), networks[0].layers,
                            strict=True):
        for other in layer:
            if hasattr(first, key):
                np.testing.assert_array_equal(getattr(other, key), getattr(first, key))
