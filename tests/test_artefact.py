import json

import numpy as np
import pytest

from lstmgen import artefact, artefact_structure
from lstmgen.emulator import Emulator
from lstmgen.errors import ModelError
from lstmgen.npz import npz_bytes, read_npz
from lstmgen.quantizer import quantize

from builders import NETWORKS, PRECISIONS, quantized, raw_inputs
from variants import VARIANTS, inputs_of


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip(tmp_path, name, precision):
    q = quantized(name, precision)
    artefact.save(q, tmp_path / "q.npz")
    again = artefact.load(tmp_path / "q.npz")
    assert again.digest() == q.digest()
    assert artefact.to_bytes(again) == (tmp_path / "q.npz").read_bytes()
    x = raw_inputs(q, 5)
    for emulator in (one := Emulator(q), two := Emulator(again)):
        emulator.reset(len(x))
    np.testing.assert_array_equal(one.run(x), two.run(x))


def test_tells_artefacts_from_models(tmp_path):
    artefact.save(quantized("one_unit", "q7"), tmp_path / "q.npz")
    np.savez(tmp_path / "model.npz", a=np.zeros(3))
    (tmp_path / "text").write_text("no zip")
    assert artefact.is_artefact(tmp_path / "q.npz")
    assert not artefact.is_artefact(tmp_path / "model.npz")
    assert not artefact.is_artefact(tmp_path / "text")
    assert not artefact.is_artefact(tmp_path / "absent")


def tampered(change):
    """Load odd_sizes with `change(description, arrays)` applied, as from a file."""
    arrays = artefact.to_arrays(quantized("odd_sizes", "w8a16"))
    description = json.loads(str(arrays[artefact.KEY]))
    change(description, arrays)
    arrays[artefact.KEY] = np.array(json.dumps(description))
    return artefact.from_arrays(arrays, "q.npz")


def raise_one(key, index, value):
    def change(description, arrays):
        array = arrays[key].astype(np.int64)
        array[index] = value
        arrays[key] = array

    return change


def describe(path, value):
    def change(description, arrays):
        *way, last = path
        for step in way:
            description = description[step]
        description[last] = value

    return change


def drop(key):
    return lambda description, arrays: arrays.pop(key)


def reshape(key, shape):
    return lambda description, arrays: arrays.update({key: np.zeros(shape, np.int16)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (describe(["numerics"], 0), r"made for numerics version 0; .* quantize the model again"),
        (describe(["numerics"], "\ud800"), r"made for numerics version '\\ud800'; "),
        (describe(["artefact"], 99), r"made for artefact version 99; this lstmgen has version "),
        (describe(["name"], "\x1b[2J"), r"is called '\\x1b\[2J'; expected 1 to 256 printable char"),
        (describe(["layers", 0, "name"], "n" * 5000), r"is called 'n+\.\.\.; expected 1 to 256"),
        (describe(["layers", 1, "type"], "n" * 5000), r"is of unknown type 'n{56}\.\.\."),
        (describe(["layers", 0, "x"], ["9" * 3000, 1]), r"format \['9{55}\.\.\. is out of range"),
        (describe(["layers", 0, "x"], ["x" * 3000, 1]), r"\(\"invalid literal.+\.\.\.\); quantize"),
        (describe(["precision"], "q8"), r"precision is 'q8'"),
        (describe(["outputs"], "\ud800" * 9999), r"outputs is '\\ud800\S+\.\.\.; expected"),
        (describe(["outputs"], "all"), r"outputs is 'all'"),
        (describe(["layers"], []), r"no LSTM layer"),
        (describe(["layers", 1, "name"], "pre"), r"'pre.wx' is missing"),
        (describe(["layers", 0, "y"], [16, 99]), r"format \[16, 99\] is out of range"),
        (describe(["layers", 0, "x"], [16, -33]), r"format \[16, -33\] is out of range"),
        (describe(["layers", 0, "x"], [16, 32]), r"format \[16, 32\] is out of range"),
        (describe(["layers", 0, "x"], [3, 0]), r"pre takes 3 bits; expected 8 to 16"),
        (describe(["layers", 0, "x"], [17, 0]), r"pre takes 17 bits; expected 8 to 16"),
        (describe(["layers", 4, "y"], [8, 7]), r"head: output is Q0.7; expected Q0.15 of a sof"),
        (describe(["notes"], ["n" * (1 << 20)]), r"description has \d+ characters, more than 104"),
        (describe(["layers", 0, "y"], [16, 3]), r"lstm0 takes 5 values of Q\S+; expected 5 of"),
        (describe(["layers", 1, "y"], [16, 14]), r"lstm0.h is Q1.14|takes 7 values"),
        (describe(["layers", 1, "x_shift"], 9), r"lstm0.x_shift spans 9..9; expected 0..0"),
        (describe(["layers", 4, "activation"], "gelu"), r"activation 'gelu' has no place"),
        (describe(["layers", 0, "activation"], "argmax"), r"activation 'argmax' has no place"),
        (describe(["table_bits"], 20), r"table bits 20; expected 6 to 11"),
        (drop("lstm0.wx"), r"'lstm0.wx' is missing"),
        (drop("tables.tanh"), r"'tables.tanh' is missing"),
        (reshape("lstm0.wh", (3, 3)), r"lstm0\.\w+ is \S+ \d*\)?; expected"),
        (reshape("lstm0.bias", (4,)), r"lstm0.bias is \(4,\); expected \(28,\)"),
        (reshape("head.w", (3,)), r"head: weights are not matrices"),
        (raise_one("lstm0.wx", (0, 0), 2**31), r"lstm0.wx spans .*; expected -32767..32767"),
        (raise_one("lstm0.wx", (0, 0), 7), r"q.npz: its integers were changed"),
        (raise_one("lstm0.frac", 0, 99), r"lstm0.shift spans"),
        (raise_one("head.frac", 0, 2**62), r"head.frac spans \d+..\d+; expected -64..64"),
        (raise_one("lstm0.bias", 0, 2**40), r"lstm0.bias spans"),
        (raise_one("lstm0.bias", 0, 2**31 - 1), r"lstm0 row 0: accumulator can reach \d+"),
        (raise_one("lstm0.argument_frac", 0, 3), r"lstm0.argument_frac does not belong"),
        (raise_one("head.argument_frac", 0, 19), r"head.argument_frac does not belong"),
        (raise_one("between.argument_frac", 0, 18), r"between.argument_frac does not belong"),
        (raise_one("lstm0.h0", 0, 40000), r"lstm0.h0 spans"),
        (raise_one("lstm0.c0", 0, 3), r"lstm0.c0 holds odd words"),
        (raise_one("tables.tanh", (100, 0), 40000), r"tanh table holds words beyond 16 bits"),
        (raise_one("tables.tanh", (100, 1), 32767), r"tanh table reaches"),
        (raise_one("tables.sigmoid", (0, 0), 5), r"sigmoid table: first and last slope"),
        (reshape("tables.exp2", (32, 2)), r"exp2 table reaches 0..0; expected 16384..32767"),
        (raise_one("tables.exp2", (0, 1), 16385), r"exp2 table begins with 16385; expected 16384"),
    ],
)
def test_tampered_artefacts_are_refused(change, message):
    with pytest.raises(ModelError, match=message):
        tampered(change)


def test_layers_have_a_name_each():
    def change(description, arrays):
        description["layers"][3]["name"] = "lstm0"

    with pytest.raises(ModelError, match=r"q.npz: two layers have one name; expected a name each"):
        tampered(change)


def test_a_layer_wider_than_a_network_s_is_refused():
    """A class number of argmax has to fit int16."""

    def change(description, arrays):
        description["layers"] = description["layers"][1:2] + description["layers"][4:]
        lstm, head = description["layers"]
        head |= {"x": lstm["y"], "activation": "argmax", "y": [16, 0]}
        arrays["head.w"] = np.zeros((40_000, 7), np.int8)
        for key in ("bias", "frac", "argument_frac"):
            arrays[f"head.{key}"] = np.zeros(40_000, np.int8)

    message = "q.npz: head: 7 inputs, 40000 outputs; expected at most 4096 each"
    with pytest.raises(ModelError, match=message):
        tampered(change)


def test_more_weights_than_a_network_s_are_refused(monkeypatch):
    arrays = artefact.to_arrays(quantized("stacked_argmax", "w8a16"))
    monkeypatch.setattr(artefact_structure, "MAX_WEIGHTS", 600)
    with pytest.raises(ModelError, match=r"q.npz: 698 weights; expected at most 600"):
        artefact.from_arrays(arrays, "q.npz")
    monkeypatch.setattr(artefact, "MAX_WEIGHTS", 500)
    with pytest.raises(ModelError, match=r"tables.sigmoid holds 512 values, more than 500"):
        artefact.from_arrays(arrays, "q.npz")


def test_floats_and_objects_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"lstm0.wx holds float64, not integers"):
        tampered(lambda d, arrays: arrays.update({"lstm0.wx": arrays["lstm0.wx"] * 1.0}))
    arrays = artefact.to_arrays(quantized("one_unit", "q7"))
    arrays[artefact.KEY] = np.array("{ not json")
    (tmp_path / "q.npz").write_bytes(npz_bytes(arrays))
    with pytest.raises(ModelError, match="not a valid quantized network"):
        artefact.from_arrays(read_npz(tmp_path / "q.npz"), "q.npz")


@pytest.mark.parametrize("name", ["gru0.bias_h", "tables.sigmoid"])
def test_the_least_of_64_bits_has_no_magnitude_and_is_refused(name):
    """Its absolute value is itself, less than any limit."""
    network = VARIANTS["gru"]()
    arrays = artefact.to_arrays(quantize(network, "q15", inputs_of(network), rounding="nearest"))
    arrays[name] = arrays[name].astype(np.int64)
    arrays[name][(-1,) * arrays[name].ndim] = -(1 << 63)
    with pytest.raises(ModelError, match=r"beyond int32|beyond 16 bits|accumulator can reach"):
        artefact.from_arrays(arrays, "q.npz")
