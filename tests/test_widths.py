"""Widths of single layers' weights, and of the network's input."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from lstmgen import artefact, load, reference
from lstmgen.cli import main
from lstmgen.codegen import footprint
from lstmgen.emulator import Emulator
from lstmgen.errors import ModelError, RangeError
from lstmgen.layers import Dense, Lstm
from lstmgen.network import Network
from lstmgen.preconditions import check
from lstmgen.quantizer import quantize
from lstmgen.quantizer.recipe import WIDE_INPUT_DB
from lstmgen.verification import verify

import variants as v
from builders import NETWORKS, PRECISIONS, calibration, dense, lstm, nearest, raw_inputs
from compiled import flash_bytes
from tools import usable

INPUT_BITS = (None, 8, 10, 12, 16)


def stacked() -> Network:
    return Network.of(
        lstm(3, 5, scale=0.3),
        lstm(5, 4, scale=0.3, name="lstm1"),
        dense(4, 3, "softmax", name="head"),
        name="stacked",
    )


def at_limits() -> Network:
    """Weights of one magnitude, so that all are the largest of their width, and as large sums."""
    r = np.random.default_rng(3)

    def signs(*shape):
        return r.choice((-0.999, 0.999), shape)

    return Network.of(
        Lstm("lstm0", signs(16, 3), signs(16, 4), signs(16)),
        Lstm("lstm1", signs(12, 4), signs(12, 3), signs(12)),
        Dense("head", signs(2, 3), signs(2), "softmax"),
        name="limits",
    )


def chosen(bits, head=16):
    """Widths of W and U of lstm0 and, the other way round, of lstm1."""
    W, U = bits
    names = ("lstm0.W", "lstm0.U", "lstm1.W", "lstm1.U", "head.W")
    return dict(zip(names, (W, U, U, W, head), strict=True))


def combinations():
    return itertools.product(itertools.product((8, 16), repeat=2), INPUT_BITS)


def assert_emulators_agree(q, x):
    ways = [Emulator(q, literal=literal, batch=len(x)).run(x) for literal in (True, False)]
    np.testing.assert_array_equal(*ways)


@pytest.mark.parametrize("made", [stacked, at_limits])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_emulators_agree_and_weights_fit(made, precision):
    network = made()
    for at, (bits, input_bits) in enumerate(combinations()):
        widths = chosen(bits, (8, 16)[at % 2])
        q = nearest(
            network, precision, calibration(network), widths=widths, input_bits=input_bits
        )
        assert_emulators_agree(q, raw_inputs(q, 6))
        arrays = {f"{p.name}.{k}": a for p in q.lstms for k, a in (("W", p.wx), ("U", p.wh))}
        arrays["head.W"] = q.layers[-1].w
        for name, width in widths.items():
            limit = (1 << (width - 1)) - 1
            assert np.abs(arrays[name]).max() <= limit, (name, widths)
        if input_bits is not None:
            assert q.x.bits == input_bits


@pytest.mark.parametrize("core", ["host", "cortex-m4", "riscv32", "avr"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_c_is_equal(core, precision):
    """All combinations of widths on the host; elsewhere those that only kernels tell apart."""
    target = usable(core)
    for at, (bits, input_bits) in enumerate(combinations()):
        if core != "host" and (input_bits not in (None, 12) or at % 3 == 2):
            continue
        network = (stacked, at_limits)[at % 2]()
        q = nearest(
            network, precision, calibration(network),
            widths=chosen(bits, bits[1]), input_bits=input_bits,
        )
        effort = ("speed", "size")[at % 3 == 0]
        result = verify(q, None, target, raw_inputs(q, 4), effort=effort)
        assert result.equal, f"{bits} {input_bits} {effort}: {result.message}"


def test_storage_follows_widths():
    """What one width decides, the others do not: formats are shared by a row's two parts."""
    network = stacked()
    x = calibration(network)
    stored = {}
    for precision in PRECISIONS:
        q = nearest(network, precision, x, widths=chosen((16, 8), 8))
        sizes = footprint(q, name="m").layers
        stored[precision] = [sizes[name].bits for name in ("lstm0", "lstm1", "head")]
    assert stored["w8a16"][0] == {"wx": 16, "wh": 8}
    assert stored["q15"][1:] == [{"wx": 8, "wh": 16}, {"w": 8}]
    assert all(layers[2] == {"w": 8} for layers in stored.values())
    assert stored["q7"][1]["wx"] == 8


def test_defaults_are_widths_like_others():
    """The precision's own widths, given one by one, change no integer."""
    network = stacked()
    for precision, own in (("q15", (16, 16)), ("w8a16", (16, 8)), ("q7", (8, 8))):
        W, U = own
        names = {"lstm0.W": W, "lstm0.U": U, "lstm1.W": W, "lstm1.U": U, "head.W": 16}
        before = quantize(network, precision, calibration(network))
        after = quantize(network, precision, calibration(network), widths=names)
        assert after.digest() == before.digest()
        assert after.notes != before.notes


def test_wider_weights_cost_flash_and_are_nearer(tmp_path):
    network, target = NETWORKS["sequence"](), usable("cortex-m4")
    x = calibration(network)
    expected = reference.run(network, x).y
    flash, noise = [], []
    for bits in (8, 16):
        q = quantize(network, "w8a16", x, widths={"lstm0.U": bits, "fc.W": bits})
        y = q.y.to_real(Emulator(q, batch=len(x)).run(q.to_raw(x)))
        noise.append(float(np.sum((y - expected) ** 2)))
        flash.append(flash_bytes(q, target, "size", "-Os", tmp_path / str(bits)))
    assert noise[1] < noise[0] / 4
    # 6 units of 4 rows and 6 columns, and a row of 6 weights, one byte each.
    assert flash[1] - flash[0] >= 6 * 4 * 6


def test_an_artefact_keeps_widths(tmp_path):
    network = stacked()
    q = nearest(
        network, "q7", calibration(network), widths=chosen((16, 16), 8), input_bits=12
    )
    artefact.save(q, tmp_path / "q.npz")
    again = artefact.load(tmp_path / "q.npz")
    assert (again.digest(), again.notes, again.x) == (q.digest(), q.notes, q.x)
    assert artefact.to_bytes(again) == (tmp_path / "q.npz").read_bytes()
    sizes, other = (footprint(one, name="m", isa="armv7em") for one in (q, again))
    assert sizes == other
    assert sizes.layers["head"].bits == {"w": 8}


def variant(name):
    return {
        "gru": v.net(v.gru(3, 5)),
        "before": v.net(v.gru(3, 5, reset_after=False)),
        "projected": v.net(v.lstm(3, 6, width=4)),
        "both": v.net(v.both_ways(v.lstm, 3, 4)),
        "both_gru": v.net(v.both_ways(v.gru, 3, 4, merge="sum")),
    }[name]


@pytest.mark.parametrize("name", ["gru", "before", "projected", "both", "both_gru"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_variants(name, precision):
    network, target = variant(name), usable("host")
    first = network.layers[0].name
    x = calibration(network)
    for W, U, input_bits in ((8, 16, 12), (16, 16, None), (8, 8, 12)):
        widths = {f"{first}.W": W, f"{first}.U": U, "head.W": 8}
        if name == "projected":
            widths[f"{first}.P"] = 8
        q = nearest(network, precision, x, widths=widths, input_bits=input_bits)
        for part in q.recurrent:
            for array, bits in ((part.wx, W), (part.wh, U)):
                assert np.abs(array).max() < 1 << (bits - 1)
        if name == "projected":
            assert 64 <= np.abs(q.lstms[0].projection.w).max() <= 127
        assert_emulators_agree(q, raw_inputs(q, 6))
        result = verify(q, None, target, raw_inputs(q, 5))
        assert result.equal, f"{widths} {input_bits}: {result.message}"


def test_one_half_of_a_bidirectional_layer():
    network = variant("both")
    q = nearest(network, "q15", calibration(network), widths={"both_fw.U": 8})
    forward, backward = q.recurrent
    assert np.abs(forward.wh).max() <= 127
    assert np.abs(backward.wh).max() > 127
    assert "both_fw.U 8 bits" in "\n".join(q.notes)


@pytest.mark.parametrize("rounding", ["nearest", "compensated", "auto"])
def test_every_rounding_keeps_widths(rounding):
    network = stacked()
    q = quantize(
        network, "q15", calibration(network), rounding=rounding,
        widths={"lstm0.U": 8, "lstm1.W": 8, "head.W": 8}, input_bits=9,
    )
    first, second = q.lstms
    assert max(np.abs(a).max() for a in (first.wh, second.wx, q.layers[-1].w)) <= 127
    assert min(np.abs(a).max() for a in (first.wx, second.wh)) > 127
    assert q.x.bits == 9
    notes = "\n".join(q.notes)
    assert "set by --width: lstm0.U 8 bits, lstm1.W 8 bits, head.W 8 bits" in notes
    assert "width of the input set by --input-bits: 9 bits" in notes


def test_what_names_no_weights_is_refused_all_at_once():
    network = v.net(v.both_ways(v.lstm, 3, 4), name="n")
    with pytest.raises(ModelError) as error:
        quantize(
            network, "q7", widths={"both.P": 8, "nope.W": 8, "head.U": 16, "both_bw.W": 12},
            input_bits=7,
        )
    assert str(error.value).splitlines() == [
        "width of both.P: expected both.W or both.U",
        "width of nope.W: no layer with weights has this name; expected one of both, both_fw, "
        "both_bw, head, with .W or .U behind it",
        "width of head.U: expected head.W",
        "width of both_bw.W is 12; expected 8 or 16 bits",
        "input bits 7; expected 8 to 16",
    ]


def test_an_embedding_has_no_input_of_a_width():
    network = v.VARIANTS["embedding"]()
    with pytest.raises(ModelError, match=r"input bits 8; expected none, as the input is the num"):
        quantize(network, "q7", input_bits=8)


def test_only_bytes_are_shifted():
    """Rule N2's lx: the Cortex-M4's kernels lost it where x was wider."""
    network = Network.of(lstm(3, 7, scale=0.2), dense(7, 2))
    made = {
        bits: nearest(
            network, "q7", calibration(network) * 30, widths={"lstm0.W": 8}, input_bits=bits
        )
        for bits in (8, 9)
    }
    assert made[8].lstms[0].x_shift > 0
    assert made[9].lstms[0].x_shift == 0
    q = made[9]
    result = verify(q, None, usable("cortex-m4"), raw_inputs(q, 4))
    assert result.equal, result.message
    first = replace(q.lstms[0], x_shift=1)
    with pytest.raises(RangeError, match=r"lstm0.x_shift spans 1..1; expected 0..0"):
        check(replace(q, layers=(first, *q.layers[1:])))


def coarse_input() -> tuple[Network, np.ndarray]:
    """Small steps of a signal of a large range decide: 8 bits lose them."""
    r = np.random.default_rng(1)
    zeros = np.zeros((4, 1))
    layer = Lstm("lstm0", np.array([[0.0], [0.0], [8.0], [0.0]]), zeros, np.array([9, -9, 0, 9.0]))
    x = r.normal(0, 0.01, (40, 10, 1))
    x[:2, 0] = 1.0
    return Network.of(layer, outputs="sequence"), x


def test_a_wider_input_is_taken_where_it_gains():
    network, x = coarse_input()
    q = quantize(network, "q7", x)
    assert q.x.bits in (10, 12)
    assert f"{q.x.bits}-bit input" in q.notes[-1]
    assert any("an input of " in note and "lstm0.W up to 16 bits" in note for note in q.notes)
    narrow = quantize(network, "q7", x, input_bits=8)
    assert narrow.x.bits == 8
    held = [float(one.notes[-1].split(": ")[-1].split(" dB")[0]) for one in (q, narrow)]
    assert held[0] >= held[1] + WIDE_INPUT_DB
    assert_emulators_agree(q, raw_inputs(q, 6))


def test_a_wider_input_is_not_taken_for_less():
    network = NETWORKS["stacked_argmax"]()
    assert quantize(network, "q7", calibration(network)).x.bits == 8


def test_avr_takes_portable_c_for_a_wider_input():
    network = NETWORKS["sequence"]()
    q = nearest(network, "q7", calibration(network), input_bits=10)
    kernels = footprint(q, name="m", isa="avr").kernels
    assert kernels["lstm0"] == "portable C: inputs of another width than the hidden state"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = NETWORKS["stacked_argmax"]()
    network.save("model.npz")
    np.save("x.npy", calibration(network, 6, 8))
    return tmp_path


def run(*args, code=0):
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert result.exit_code == code, result.output
    return result


WIDTHS = ("--width", "lstm0.U=16", "--width", "head.W=8", "--input-bits", "12")


def test_the_commands_take_widths(folder):
    usable("host")
    run("quantize", "model.npz", "-o", "q.npz", *WIDTHS)
    q = artefact.load("q.npz")
    assert q.digest() == quantize(
        load("model.npz"), "w8a16", widths={"lstm0.U": 16, "head.W": 8}, input_bits=12
    ).digest()
    built = run("build", "model.npz", "-o", "out", "--name", "kws", *WIDTHS)
    assert "lstm0.U 16 bits, head.W 8 bits" in built.output
    report = json.loads((folder / "out" / "kws_report.json").read_text())
    bits = {layer["name"]: layer["weights_bits"] for layer in report["layers"]}
    assert bits["lstm0"] == {"wx": 16, "wh": 16}
    assert bits["lstm1"]["wh"] == 8
    assert bits["head"] == {"w": 8}
    assert report["model"]["sha256"] == q.digest()
    assert "steps are equal" in run("verify", "model.npz", *WIDTHS).stdout
    run("emulate", "model.npz", "--input", "x.npy", "-o", "y.npy", *WIDTHS)
    told = json.loads(
        run("report", "model.npz", "--input", "x.npy", "--html", "page.html", "--json",
            *WIDTHS).stdout
    )
    costs = {one["name"]: one["weights_bits"] for one in told["findings"]["costs"]}
    assert costs == bits
    page = (folder / "page.html").read_text()
    assert "weights, bits" in page
    assert "16 / 16" in page


def test_bad_widths_are_lines_and_exit_2(folder):
    result = run(
        "build", "model.npz", "-o", "out", "--width", "lstm7.W=8", "--width", "lstm0.U=x", code=2
    )
    assert result.stderr.splitlines() == [
        "lstmgen: width of lstm7.W: no layer with weights has this name; expected one of lstm0, "
        "lstm1, hidden, head, with .W or .U behind it",
        "lstmgen: width of lstm0.U is x; expected 8 or 16 bits",
    ]
    twice = "--width", "head.W=8", "--width", "head.W=16"
    assert "--width head.W is given more than once" in run(
        "build", "model.npz", "-o", "out", *twice, code=2
    ).stderr
    assert not (folder / "out").exists()
    assert "not in the range" in run(
        "build", "model.npz", "-o", "out", "--input-bits", "17", code=2
    ).stderr
    run("quantize", "model.npz", "-o", "q.npz")
    again = run("build", "q.npz", "-o", "out", "--width", "lstm0.W=8", code=2)
    assert "is quantized already: --width cannot change it" in again.stderr
