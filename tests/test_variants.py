"""Every variant of layers: accurate, and equal to the bit in emulator, C and on every core."""

import os
from dataclasses import replace

import numpy as np
import pytest

from lstmgen import artefact, reference
from lstmgen.emulator import Emulator
from lstmgen.errors import ModelError
from lstmgen.layers import Bidirectional
from lstmgen.quantized import Precision, QuantizedNetwork
from lstmgen.quantized_layers import QuantizedBidirectional
from lstmgen.quantizer import quantize
from lstmgen.verification import SANITIZERS, default_inputs, verify

from builders import PRECISIONS, dense
from compiled import C_WARNINGS, LANGUAGES, compile_c, sources, write
from tools import usable
from variants import VARIANTS, floors, inputs_of, lstm, net

CORES = ("cortex-m0", "cortex-m4", "cortex-m55", "riscv32", "avr")
FLOORS = {"q15": 68.0, "w8a16": 40.0, "q7": 27.0}
"""Least SQNR of the outputs in dB that any variant may have; docs/formats.md has each one's own."""


def quantized(name: str, precision: Precision) -> QuantizedNetwork:
    network = VARIANTS[name]()
    return quantize(network, precision, inputs_of(network), rounding="nearest")


def sqnr(expected: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10((expected**2).sum() / ((got - expected) ** 2).sum()))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", VARIANTS)
def test_close_to_float(name, precision):
    network = VARIANTS[name]()
    x = inputs_of(network)
    q = quantize(network, precision, x, rounding="nearest")
    y = Emulator(q, batch=len(x)).run(q.to_raw(x))
    assert sqnr(reference.run(network, x).y, q.y.to_real(y)) > floors()[name][precision]
    assert floors()[name][precision] >= FLOORS[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_fast_emulator_computes_what_the_literal_one_does(name, precision):
    q = quantized(name, precision)
    x = default_inputs(q, np.random.default_rng(1), steps=9)
    fast, literal = (Emulator(q, way, batch=len(x)) for way in (False, True))
    np.testing.assert_array_equal(fast.run(x), literal.run(x))
    for one, other in zip(fast.state, literal.state, strict=True):
        np.testing.assert_array_equal(one.h, other.h)
        np.testing.assert_array_equal(one.c, other.c)
    traces = fast.trace(x), literal.trace(x)
    for layer, values in traces[0].items():
        np.testing.assert_array_equal(values, traces[1][layer])


@pytest.mark.parametrize("name", VARIANTS)
def test_sequences_of_different_lengths(name):
    """Each gives what it gives alone, and what float does."""
    network = VARIANTS[name]()
    q = quantized(name, "q15")
    x = inputs_of(network)
    raw = q.to_raw(x)
    lengths = np.arange(len(x)) % x.shape[1] + 1
    y = Emulator(q, batch=len(x)).run(raw, lengths)
    for sequence, length in enumerate(lengths):
        alone = Emulator(q).run(raw[sequence : sequence + 1, :length])[0]
        kept = y[sequence, :length] if q.outputs == "sequence" else y[sequence]
        np.testing.assert_array_equal(kept, alone)
        if q.outputs == "sequence":
            assert not y[sequence, length:].any()
    expected = reference.run(network, x, lengths).y
    if q.outputs == "sequence":
        valid = np.arange(x.shape[1]) < lengths[:, None]
        expected, y = expected[valid], y[valid]
    assert sqnr(expected, q.y.to_real(y)) > FLOORS["q15"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", VARIANTS)
def test_equal_on_the_host(name, precision):
    q = quantized(name, precision)
    x = default_inputs(q, np.random.default_rng(3), steps=7)
    flags = SANITIZERS if precision == "q7" else ()
    result = verify(q, None, usable("host"), x, flags=flags)
    assert result.equal, result.message


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", VARIANTS)
def test_equal_on_the_core(name, core):
    """In one precision, another for each neighbour: each variant meets all of them on some
    core, each core all of them in some variant. LSTMGEN_ALL_PRECISIONS=1 runs the product."""
    turn = list(VARIANTS).index(name) + CORES.index(core)
    every = bool(os.environ.get("LSTMGEN_ALL_PRECISIONS"))
    for precision in PRECISIONS if every else (PRECISIONS[turn % 3],):
        q = quantized(name, precision)
        x = default_inputs(q, np.random.default_rng(3), steps=5)
        result = verify(q, None, usable(core), x, optimize="-Os" if turn % 2 else "-O2")
        assert result.equal, result.message


@pytest.mark.parametrize("name", VARIANTS)
def test_compilers_have_nothing_to_say(name, tmp_path):
    turn = list(VARIANTS).index(name)
    files = write(sources(quantized(name, PRECISIONS[turn % 3]), target="arc"), tmp_path)
    for compiler, own in LANGUAGES.items():
        compile_c(compiler, [*own, *C_WARNINGS, "-O1", "-fsyntax-only", *files])


@pytest.mark.parametrize("target", ["arc", "host"])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_text_is_clean(name, target):
    turn = list(VARIANTS).index(name)
    files = sources(quantized(name, PRECISIONS[turn % 3]), "kws", target)
    for file, text in files.items():
        assert not any(line != line.rstrip() for line in text.splitlines()), file
        if not file.endswith(".md"):
            assert max(map(len, text.splitlines())) <= 100, file
            assert "\n\n\n" not in text, file


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", VARIANTS)
def test_artefacts_give_back_every_variant(name, precision, tmp_path):
    q = quantized(name, precision)
    artefact.save(q, tmp_path / "q.npz")
    again = artefact.load(tmp_path / "q.npz")
    assert again.digest() == q.digest()
    assert sources(again) == sources(q)


def test_what_needs_whole_sequences_has_no_step():
    q = quantized("bidirectional", "q15")
    with pytest.raises(ModelError, match="needs whole sequences"):
        Emulator(q).step(np.zeros((1, 3), np.int64))
    files = sources(q)
    assert "model_step(" not in files["model.h"]
    assert "MODEL_BUFFER_VALUES" not in files["model.h"]  # its last values need no buffer
    stacked = sources(quantized("bidirectional_stacked", "q15"))["model.h"]
    # Of dense 5 and dense 3 by turns with the 8 values of both directions.
    assert "#define MODEL_BUFFER_VALUES(steps) ((uint32_t)(steps) * 13u)" in stacked


def test_halves_that_cannot_share_a_format_are_refused():
    halves = lstm(3, 5, cell="relu", output="relu", name="fw"), lstm(3, 5, name="bw")
    network = net(Bidirectional("both", *halves))
    with pytest.raises(ModelError, match=r"both: one half hands on Q.*, the other Q0\.15"):
        quantize(network, "q15", 5 * inputs_of(network), rounding="nearest")


def test_a_layer_named_like_a_projection_is_refused():
    layers = lstm(3, 8, width=3), dense(3, 3, "tanh", name="lstm0_proj"), lstm(3, 4, name="l2")
    with pytest.raises(ModelError, match="'lstm0_proj', as the projection of lstm0"):
        net(*layers)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("projection", {"y_frac": 10}, r"y_frac spans 10\.\.10; expected 15\.\.15"),
        ("peephole", {"peephole_shift": 14}, r"peephole_shift spans 14\.\.14; expected 0\.\.13"),
        ("gru", {"g_frac": 9}, r"g_frac spans 9\.\.9; expected 15\.\.15"),
        ("bidirectional", {"direction": "flipped"}, "a half has a direction of its own"),
        ("relu", {"g_frac": 2}, r"g_frac spans 2\.\.2"),
    ],
)
def test_tampered_variants_are_refused(name, change, message):
    q = quantized(name, "q15")
    first = q.layers[0]
    if isinstance(first, QuantizedBidirectional):
        spoiled = replace(first, backward=replace(first.backward, **change))
    else:
        spoiled = replace(first, **change)
    arrays = artefact.to_arrays(replace(q, layers=(spoiled, *q.layers[1:])))
    with pytest.raises(ModelError, match=message):
        artefact.from_arrays(arrays, "q.npz")


@pytest.mark.parametrize("bits", [20, 32])
def test_projections_of_other_widths_are_refused(bits):
    q = quantized("projection", "q15")
    layer = q.layers[0]
    h = replace(layer.h, bits=bits)
    wide = replace(layer, h=h, projection=replace(layer.projection, y=h))
    arrays = artefact.to_arrays(replace(q, layers=(wide, *q.layers[1:])))
    with pytest.raises(ModelError, match="its projection hands on no hidden state of 8 or 16"):
        artefact.from_arrays(arrays, "q.npz")


def test_calibration_of_an_embedding():
    network = VARIANTS["embedding"]()
    only_first = np.zeros((3, 4, 1))
    assert quantize(network, "q7", only_first).calibrated
    for wrong in (11.0, -1.0, 0.5):
        with pytest.raises(ModelError, match=r"expected whole numbers 0\.\.10, the rows of words"):
            quantize(network, "q7", only_first + wrong)


def test_lengths_that_do_not_fit():
    q = quantized("gru", "q7")
    x = np.zeros((2, 4, 3), np.int64)
    for lengths in ([1, 5], [0, 2], [1, 2, 3]):
        with pytest.raises(ModelError, match=r"expected \(2,\) of 1\.\.4"):
            Emulator(q, batch=2).run(x, np.array(lengths))


def test_rows_that_an_embedding_does_not_have():
    q = quantized("embedding", "q7")
    assert q.input_span == (0, 10)
    with pytest.raises(Exception, match=r"inputs span 11\.\.11; expected 0\.\.10"):
        Emulator(q).run(np.full((1, 2, 1), 11))
