"""lstmgen.readers.tflite_*: every variant of the fused operators, and refusals by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lstmgen.cli import main
from lstmgen.errors import ModelError
from lstmgen.expect import compare
from lstmgen.layers import Bidirectional, Dense, Embedding, Lstm
from lstmgen.network import Network
from lstmgen.quantizer import quantize
from lstmgen.readers import ReadOptions, read_model
from lstmgen.readers.tflite_graph import KERAS
from lstmgen.reference import run, sigmoid

from tflite_files import TANH, TfliteFile

STEPS, N, K = 7, 3, 4


def lstm(n: int = N, k: int = K, *, seed: int = 1, width: int | None = None, **more: Any) -> Lstm:
    r = np.random.default_rng(seed)

    def values(*shape: int) -> np.ndarray:
        return r.normal(0, 0.6, shape).astype(np.float32).astype(np.float64)

    more = {key: values(*shape) if isinstance(shape, tuple) else shape
            for key, shape in more.items()}
    return Lstm("lstm", values(4 * k, n), values(4 * k, width or k), values(4 * k), **more)


def dense(n: int, m: int, activation: Any = "linear", seed: int = 2) -> Dense:
    r = np.random.default_rng(seed)
    W, b = (r.normal(size=shape).astype(np.float32).astype(float) for shape in ((m, n), m))
    return Dense("dense", W, b, activation)


def inputs(n: int = N) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(2, STEPS, n))


def same(got: Network, *layers: Any, outputs: str = "sequence", atol: float = 1e-12) -> None:
    """Check that a network computes what the layers do."""
    expected = Network.of(*layers, outputs=outputs)
    assert got.outputs == outputs
    x = inputs(got.inputs)
    np.testing.assert_allclose(run(got, x).y, run(expected, x).y, rtol=0, atol=atol)


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def of(file: TfliteFile, *outputs: int, **options: Any) -> Network:
        return read_model(file.save(tmp_path / "m.tflite", *outputs), ReadOptions(**options))

    return of


@pytest.fixture
def refused(tmp_path: Path) -> Any:
    def of(file: TfliteFile, *outputs: int) -> list[str]:
        path = file.save(tmp_path / "m.tflite", *outputs)
        with pytest.raises(ModelError) as caught:
            read_model(path)
        lines = str(caught.value).splitlines()
        assert all(line.startswith(f"{path}") and len(line) < 400 for line in lines)
        return [line.removeprefix(str(path)) for line in lines]

    return of


def test_tflite_lstm_sequence(read):
    file = TfliteFile()
    file.lstm(file.x, lstm())
    got = read(file)
    same(got, lstm())
    assert [layer.name for layer in got.layers] == ["lstm"]


def test_tflite_stacked_last_step_dense_softmax(read):
    file = TfliteFile()
    last = file.last_step(file.lstm(file.lstm(file.x, lstm()), lstm(4, 5)))
    hidden = file.dense(last, dense(5, 6), FusedActivationFunction=1)
    file.op("SOFTMAX", [file.dense(hidden, dense(6, 2))], (1, 2), Beta=1.0)
    got = read(file)
    same(got, lstm(), replace(lstm(4, 5), name="b"), dense(5, 6, "relu"),
         replace(dense(6, 2, "softmax"), name="d"), outputs="last")
    assert [layer.name for layer in got.layers] == ["lstm", "lstm_1", "dense", "dense_1"]


def test_tflite_dense_per_step_keeps_or_merges_axes(read):
    for keep in (True, False):
        file = TfliteFile()
        y = file.lstm(file.x, lstm())
        if keep:
            file.dense(y, dense(4, 2), KeepNumDims=True)
        else:
            flat = file.op("RESHAPE", [y, file.integers(7, 4)], (7, 4))
            file.op("RESHAPE", [file.dense(flat, dense(4, 2)), file.integers(1, 7, 2)], (1, 7, 2))
        same(read(file), lstm(), dense(4, 2))


def test_tflite_dense_before_lstm(read):
    file = TfliteFile()
    file.lstm(file.dense(file.x, dense(3, 5), KeepNumDims=True, FusedActivationFunction=1), lstm(5))
    same(read(file), dense(3, 5, "relu"), lstm(5))


@pytest.mark.parametrize(("kind", "activation"), [
    ("RELU", "relu"), ("TANH", "tanh"), ("LOGISTIC", "sigmoid"), ("SOFTMAX", "softmax"),
])
def test_tflite_activation_operators(read, kind, activation):
    file = TfliteFile()
    y = file.dense(file.last_step(file.lstm(file.x, lstm())), dense(4, 2))
    file.op(kind, [y], (1, 2), **({"Beta": 1.0} if kind == "SOFTMAX" else {}))
    same(read(file), lstm(), dense(4, 2, activation), outputs="last")


def test_tflite_activation_without_dense_layer(read):
    file = TfliteFile()
    file.op("RELU", [file.lstm(file.x, lstm())], (1, 7, 4))
    same(read(file), lstm(), Dense("one", np.eye(4), np.zeros(4), "relu"))


def test_tflite_argmax(read):
    file = TfliteFile()
    y = file.dense(file.last_step(file.lstm(file.x, lstm())), dense(4, 3))
    y = file.op("SOFTMAX", [y], (1, 3), Beta=1.0)
    file.op("ARG_MAX", [y, file.integers(-1)], (1,))
    same(read(file), lstm(), dense(4, 3, "argmax"), outputs="last")


def test_tflite_time_major(read):
    """The input is transposed to (T, B, n), or is so from the start."""
    for transposed in (True, False):
        file = TfliteFile((2, 7, 3) if transposed else (7, 2, 3))
        x = file.x
        if transposed:
            x = file.op("TRANSPOSE", [x, file.integers(1, 0, 2)], (7, 2, 3))
        y = file.lstm(x, lstm(), TimeMajor=True)
        inputs_ = [y, *(file.integers(*v) for v in ([-1, 0, 0], [0, 0, 0], [1, 1, 1]))]
        file.op("STRIDED_SLICE", inputs_, (2, 4), BeginMask=6, EndMask=6, ShrinkAxisMask=1)
        same(read(file), lstm(), outputs="last")


def test_tflite_time_major_by_reshape_of_one_sequence(read):
    file = TfliteFile()
    x = file.op("RESHAPE", [file.x, file.integers(7, 1, 3)], (7, 1, 3))
    file.lstm(x, lstm(), TimeMajor=True)
    same(read(file), lstm())


def test_tflite_open_batch_and_steps(read):
    file = TfliteFile((-1, -1, 3))
    y = file.lstm(file.x, lstm())
    file.dense(file.last_step(y), dense(4, 2))
    same(read(file), lstm(), dense(4, 2), outputs="last")


def test_tflite_shapes_computed_at_run_time(read):
    """SHAPE -> STRIDED_SLICE -> PACK gives what RESHAPE takes, for an open batch."""
    file = TfliteFile((-1, 7, 3))
    y = file.lstm(file.x, lstm())
    shape = file.op("SHAPE", [y], (3,))
    batch = file.op("STRIDED_SLICE", [shape, *(file.integers(n) for n in (0, 1, 1))], (),
                    ShrinkAxisMask=1)
    new = file.op("PACK", [batch, file.integers(7), file.integers(4)], (3,), ValuesCount=3)
    file.op("RESHAPE", [y, new], (-1, 7, 4))
    same(read(file), lstm())


def test_tflite_input_of_two_axes(read):
    file = TfliteFile((1, 7))
    file.lstm(file.op("RESHAPE", [file.x, file.integers(1, 7, 1)], (1, 7, 1)), lstm(1))
    same(read(file), lstm(1))


@pytest.mark.parametrize("kind", ["SLICE", "GATHER", "range", "index", "SQUEEZE"])
def test_tflite_ways_to_take_the_last_step(read, kind):
    file = TfliteFile()
    y = file.lstm(file.x, lstm())
    if kind == "GATHER":
        y = file.op("GATHER", [y, file.constant(6, "int32")], (1, 4), Axis=1)
    elif kind == "index":
        parts = [[0, 6, 0], [1, 7, 4], [1, 1, 1]]
        y = file.op("STRIDED_SLICE", [y, *(file.integers(*p) for p in parts)], (1, 4),
                    ShrinkAxisMask=2)
    elif kind == "range":
        parts = [[0, -1, 0], [1, 0, 4], [1, 1, 1]]
        y = file.op("STRIDED_SLICE", [y, *(file.integers(*p) for p in parts)], (1, 1, 4), EndMask=2)
    else:
        y = file.op("SLICE", [y, file.integers(0, 6, 0), file.integers(-1, 1, -1)], (1, 1, 4))
    if len(file.tensors[y]["shape"]) == 3:
        y = file.op("SQUEEZE" if kind == "SQUEEZE" else "RESHAPE", [y], (1, 4))
    file.dense(y, dense(4, 2))
    same(read(file), lstm(), dense(4, 2), outputs="last")


def test_tflite_go_backwards_sequence(read):
    file = TfliteFile()
    file.lstm(file.reverse(file.x), lstm())
    same(read(file), lstm(direction="flipped"))


def test_tflite_go_backwards_then_turned_back(read):
    file = TfliteFile()
    file.reverse(file.dense(file.lstm(file.reverse(file.x), lstm()), dense(4, 2), KeepNumDims=True))
    same(read(file), lstm(direction="reverse"), dense(4, 2))


def test_tflite_go_backwards_last_step(read):
    file = TfliteFile()
    file.dense(file.last_step(file.lstm(file.reverse(file.x), lstm())), dense(4, 2))
    same(read(file), lstm(direction="reverse"), dense(4, 2), outputs="last")


def test_tflite_go_backwards_by_negative_stride(read):
    file = TfliteFile()
    parts = [[0, 0, 0], [0, 0, 0], [1, -1, 1]]
    x = file.op("STRIDED_SLICE", [file.x, *(file.integers(*p) for p in parts)], (1, 7, 3),
                BeginMask=7, EndMask=7)
    file.lstm(x, lstm())
    same(read(file), lstm(direction="flipped"))


def halves(**more: Any) -> tuple[Lstm, Lstm]:
    return replace(lstm(**more), name="f"), replace(lstm(seed=9, **more), name="b")


def test_tflite_bidirectional_of_two_fused_operators(read):
    """The backward one is computed first."""
    file = TfliteFile()
    f, b = halves()
    backward = file.reverse(file.lstm(file.reverse(file.x), b))
    file.join(file.lstm(file.x, f), backward)
    got = read(file)
    same(got, Bidirectional("x", f, b))
    assert [part.name for part in got.recurrent] == [
        "bidirectional_forward", "bidirectional_backward"
    ]


def test_tflite_bidirectional_last_states(read):
    file = TfliteFile()
    f, b = halves()
    backward = file.last_step(file.lstm(file.reverse(file.x), b))
    file.dense(file.join(file.last_step(file.lstm(file.x, f)), backward), dense(8, 2))
    same(read(file), Bidirectional("x", f, b), dense(8, 2), outputs="last")


def test_tflite_bidirectional_last_step_of_both(read):
    file = TfliteFile()
    f, b = halves()
    backward = file.reverse(file.lstm(file.reverse(file.x), b))
    file.last_step(file.join(file.lstm(file.x, f), backward))
    same(read(file), Bidirectional("x", f, b, ends="step"), outputs="last")


@pytest.mark.parametrize("merge", ["sum", "average", "multiply"])
def test_tflite_bidirectional_merge(read, merge):
    file = TfliteFile()
    f, b = halves()
    backward = file.reverse(file.lstm(file.reverse(file.x), b))
    forward = file.lstm(file.x, f)
    y = file.op("MUL" if merge == "multiply" else "ADD", [backward, forward], (1, 7, 4))
    if merge == "average":
        file.op("MUL", [y, file.constant(0.5)], (1, 7, 4))
    same(read(file), Bidirectional("x", f, b, merge))


def test_tflite_bidirectional_stacked(read):
    file = TfliteFile()
    f, b = halves()
    y = file.x
    for layers in ((f, b), (lstm(8), lstm(8, seed=4))):
        backward = file.reverse(file.lstm(file.reverse(y), layers[1]))
        y = file.join(file.lstm(y, layers[0]), backward)
    same(read(file, y), Bidirectional("x", f, b), Bidirectional(
        "y", replace(lstm(8), name="g"), replace(lstm(8, seed=4), name="h")
    ))


def fused_bidirectional(merged: bool = True, auxiliary: int = -1) -> TfliteFile:
    file = TfliteFile()
    f, b = halves()
    inputs_ = [file.x, *file.direction(f, file.constant), *file.direction(b, file.constant)]
    inputs_ += [*file.state(f), *file.state(b), auxiliary, *[-1] * 8]
    file.op("BIDIRECTIONAL_SEQUENCE_LSTM", inputs_, (1, 7, 8), FusedActivationFunction=TANH,
            CellClip=10.0, MergeOutputs=merged, TimeMajor=False)
    return file


def test_tflite_bidirectional_operator(read):
    f, b = halves()
    same(read(fused_bidirectional()), Bidirectional("x", f, b))


def test_tflite_bidirectional_operator_refusals(refused):
    lines = refused(fused_bidirectional(merged=False, auxiliary=0))
    assert "auxiliary input (inputs 39 to 47)" in lines[0]
    assert "merge_outputs is off" in lines[1]


def test_tflite_peepholes(read):
    file = TfliteFile()
    layer = lstm(peephole=(3, 4))
    file.lstm(file.x, layer)
    same(read(file), layer)


def test_tflite_projection(read):
    file = TfliteFile()
    layer = lstm(width=2, projection=(2, 4))
    file.lstm(file.x, layer)
    same(read(file), layer)


def test_tflite_initial_state(read):
    file = TfliteFile()
    layer = lstm(h0=(4,), c0=(4,))
    file.lstm(file.x, layer)
    same(read(file), layer)


@pytest.mark.parametrize("peephole", [False, True])
def test_tflite_cifg(read, peephole):
    """i = 1 - f, written down once more here."""
    file = TfliteFile()
    layer = lstm(peephole=(3, 4)) if peephole else lstm()
    file.lstm(file.x, layer, cifg=True)
    got = read(file)
    x = inputs()
    h, c = np.zeros((2, 4)), np.zeros((2, 4))
    p = layer.peephole if peephole else np.zeros((3, 4))
    for t in range(STEPS):
        z = np.split(x[:, t] @ layer.W.T + h @ layer.U.T + layer.b, 4, axis=1)
        f = sigmoid(z[1] + p[1] * c)
        c = f * c + (1 - f) * np.tanh(z[2])
        h = sigmoid(z[3] + p[2] * c) * np.tanh(c)
        np.testing.assert_allclose(run(got, x).y[:, t], h, rtol=0, atol=1e-12)
    assert any("CIFG" in note for note in got.notes)


@pytest.mark.parametrize(("number", "function"), [(0, "linear"), (1, "relu")])
def test_tflite_cell_activation(read, number, function):
    file = TfliteFile()
    file.lstm(file.x, lstm(), FusedActivationFunction=number)
    same(read(file), lstm(cell=function, output=function))


def test_tflite_cell_clip(read):
    """10 is what every converter writes; another limit is the model's own."""
    file = TfliteFile()
    file.lstm(file.x, lstm(), CellClip=0.25)
    same(read(file), lstm(cell_clip=0.25))
    file = TfliteFile()
    file.lstm(file.x, lstm())
    assert read(file).lstms[0].cell_clip is None
    note = "cell_clip 10, which every converter writes, is left out; --cell-clip 10 keeps it"
    assert note in read(file).notes
    kept = read(file, cell_clip=10.0)
    assert kept.lstms[0].cell_clip == 10.0
    assert note not in kept.notes
    assert read(fused_bidirectional(), cell_clip=2.0).lstms[1].cell_clip == 2.0
    assert read(file, cell_clip=0.0).lstms[0].cell_clip is None
    with pytest.raises(ModelError, match="--cell-clip -1"):
        read(file, cell_clip=-1.0)


def test_tflite_cell_clip_option(tmp_path):
    file = TfliteFile()
    file.lstm(file.x, lstm())
    path = str(file.save(tmp_path / "m.tflite"))
    result = CliRunner().invoke(main, ["inspect", path, "--cell-clip", "10"])
    assert result.exit_code == 0
    assert "cell states limited to 10" in result.stdout
    assert CliRunner().invoke(main, ["inspect", path, "--cell-clip", "-1"]).exit_code == 2


def test_tflite_float16_weights(read):
    file = TfliteFile()

    def half(array: np.ndarray) -> int:
        return file.op("DEQUANTIZE", [file.constant(array, "float16")], array.shape)

    layer = lstm()
    halved = replace(layer, W=layer.W.astype(np.float16).astype(float),
                     U=layer.U.astype(np.float16).astype(float))
    file.lstm(file.x, layer, weight=half)
    got = read(file)
    same(got, halved)
    assert "some weights are float16" in got.notes


@pytest.mark.parametrize("axis", [None, 0])
def test_tflite_dynamic_range_weights(read, axis):
    file = TfliteFile()
    file.dense(file.last_step(file.lstm(file.x, lstm(), weight=file.quantized)), dense(4, 2),
               weight=lambda array: file.quantized(array, axis=axis))
    got = read(file)
    same(got, lstm(), dense(4, 2), outputs="last", atol=0.05)
    assert any(note.startswith("warning: weights are quantized (INT8)") for note in got.notes)
    step = np.abs(dense(4, 2).W).max(None if axis is None else 1, keepdims=True) / 127
    assert (np.abs(got.layers[-1].W - dense(4, 2).W) <= step / 2 + 1e-6).all()


def test_tflite_quantized_ends_tell_the_input_range(read):
    file = TfliteFile()
    x = file.op("QUANTIZE", [file.x], (1, 7, 3))
    file.tensors[x] |= {"kind": "int8", "scale": [0.5], "zero": [-28]}
    y = file.lstm(x, lstm(), weight=file.quantized)
    file.op("DEQUANTIZE", [y], (1, 7, 4))
    got = read(file)
    same(got, lstm(), atol=0.05)
    assert got.input_range == (-50.0, 77.5)


def test_tflite_batch_normalization(read):
    """MUL and ADD of constants, before the LSTM, and behind a dense layer without a bias."""
    r = np.random.default_rng(5)
    file = TfliteFile()
    m, s = r.normal(size=3).astype(np.float32), r.uniform(0.5, 2, 3).astype(np.float32)
    x = file.op("DIV", [file.op("SUB", [file.x, file.constant(m)], (1, 7, 3)), file.constant(s)],
                (1, 7, 3))
    y = file.op("BATCH_MATMUL", [file.lstm(x, lstm()), file.constant(dense(4, 2).W.T)], (1, 7, 2))
    file.op("ADD", [y, file.constant(dense(4, 2).b)], (1, 7, 2), FusedActivationFunction=1)
    x = inputs()
    expected = Network.of(lstm(), dense(4, 2, "relu"), outputs="sequence")
    np.testing.assert_allclose(
        run(read(file), x).y, run(expected, (x - m) / s).y, rtol=0, atol=1e-6
    )


def test_tflite_embedding(read):
    file = TfliteFile((1, 7))
    table = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32).astype(float)
    x = file.op("CAST", [file.x], (1, 7))
    file.lstm(file.op("GATHER", [file.constant(table), x], (1, 7, 3), Axis=0), lstm())
    got = read(file)
    x = np.random.default_rng(2).integers(0, 9, (2, STEPS, 1)).astype(float)
    expected = Network.of(Embedding("e", table), lstm(), outputs="sequence")
    np.testing.assert_array_equal(run(got, x).y, run(expected, x).y)


def test_tflite_gives_the_integers_of_the_same_network(read):
    file = TfliteFile()
    file.dense(file.last_step(file.lstm(file.x, lstm())), dense(4, 2))
    network = Network.of(lstm(), dense(4, 2), name="m")
    x = inputs()
    quantized = [quantize(n, "w8a16", x, rounding="nearest") for n in (read(file), network)]
    assert quantized[0].digest() == quantized[1].digest()


# Refusals.


def test_tflite_layer_normalization_is_refused(refused):
    file = TfliteFile()
    file.lstm(file.x, lstm())
    file.ops[0][1][20:24] = [file.constant(np.ones(4)) for _ in range(4)]
    assert refused(file, file.ops[0][2][0]) == [
        ": operator 0, UNIDIRECTIONAL_SEQUENCE_LSTM 'tfl.unidirectional_sequence_lstm0': layer "
        "normalization (inputs 20 to 23) is not supported; expected an LSTM without"
    ]


def test_tflite_projection_bias_and_clip_are_refused(refused):
    file = TfliteFile()
    y = file.lstm(file.x, lstm(width=2, projection=(2, 4)), ProjClip=1.5)
    file.ops[0][1][17] = file.constant(np.ones(2))
    lines = refused(file, y)
    assert "proj_clip is 1.5" in lines[0]
    assert "bias of the projection, is not zero" in lines[1]


def test_tflite_zero_projection_bias_is_read(read):
    file = TfliteFile()
    layer = lstm(width=2, projection=(2, 4))
    y = file.lstm(file.x, layer)
    file.ops[0][1][17] = file.constant(np.zeros(2))
    same(read(file, y), layer)


def test_tflite_all_problems_at_once(refused):
    file = TfliteFile()
    y = file.lstm(file.x, lstm(), FusedActivationFunction=3)
    y = file.op("LEAKY_RELU", [y], (1, 7, 4))
    y = file.lstm(y, lstm(4))
    file.ops[-1][1][3] = -1
    y = file.op("SVDF", [y], (1, 7, 4))
    lines = refused(file)
    assert [line.partition(": ")[2] for line in lines] == [
        "operator 0, UNIDIRECTIONAL_SEQUENCE_LSTM 'tfl.unidirectional_sequence_lstm0': "
        "activation RELU6 is not supported; expected TANH",
        "operator 2, UNIDIRECTIONAL_SEQUENCE_LSTM 'tfl.unidirectional_sequence_lstm2': "
        "input 3, the cell weights, is missing; expected weights",
        "operator 1, LEAKY_RELU 'tfl.leaky_relu1': this operator is not supported; "
        f"{KERAS}",
        f"operator 3, SVDF 'tfl.svdf3': this operator is not supported; {KERAS}",
    ]


@pytest.mark.parametrize(("kinds", "words"), [
    (("WHILE",), "runs its LSTM as a loop (WHILE)"),
    (("FULLY_CONNECTED", "LOGISTIC", "TANH", "MUL"), "has its LSTM unrolled"),
    (("CONV_2D",), "has the operators CONV_2D"),
])
def test_tflite_without_fused_operator_is_refused(refused, kinds, words):
    file = TfliteFile()
    for kind in kinds:
        file.op(kind, [file.x], (1, 7, 3))
    (line,) = refused(file)
    assert words in line
    assert "give the Keras file" in line


def test_tflite_odd_graphs_are_refused(refused):
    """Each with words for what it does."""
    def of(words: str, make: Any) -> None:
        file = TfliteFile()
        make(file)
        lines = refused(file)
        assert words in lines[0], lines

    f, b = halves()

    def first_step(file: TfliteFile) -> None:
        y = file.lstm(file.x, f)
        file.op("GATHER", [y, file.integers(0)], (1, 1, 4), Axis=1)

    def unaligned(file: TfliteFile) -> None:
        file.join(file.lstm(file.x, f), file.lstm(file.reverse(file.x), b))

    def backward_first(file: TfliteFile) -> None:
        file.join(file.reverse(file.lstm(file.reverse(file.x), b)), file.lstm(file.x, f))

    def flattened(file: TfliteFile) -> None:
        file.dense(file.op("RESHAPE", [file.lstm(file.x, f)], (1, 28)), dense(28, 2))

    of("takes time step 0 of 7", first_step)
    of("in the order computed", unaligned)
    of("has the backward LSTM's values first", backward_first)
    of("Flatten of the whole sequence", flattened)
    of("the output runs from the last time step", lambda file: file.reverse(file.lstm(file.x, f)))
    of("expected the axis of time steps", lambda file: file.lstm(file.reverse(file.x, 2), f))
    of("two branches that are not", lambda file: file.join(file.lstm(file.x, f), file.x))
    of("beta is 2", lambda file: file.op("SOFTMAX", [file.lstm(file.x, f)], (1, 7, 4), Beta=2.0))
    of("a single time step", lambda file: file.lstm(
        file.op("RESHAPE", [file.last_step(file.lstm(file.x, f))], (1, 1, 4)), lstm(4)
    ))
    of("activation RELU6", lambda file: file.dense(
        file.lstm(file.x, f), dense(4, 2), KeepNumDims=True, FusedActivationFunction=3
    ))


def test_tflite_wrong_shapes_are_listed(refused):
    file = TfliteFile()
    y = file.lstm(file.x, lstm())
    file.ops[0][1][2] = file.constant(np.ones((4, 2)))
    file.ops[0][1][13] = file.constant(np.ones(3))
    lines = refused(file, y)
    assert "the forget weights are (4, 2); expected (4, 3)" in lines[0]
    assert "a bias is (3,); expected (4,)" in lines[1]


def test_tflite_integer_weights_need_a_scale(refused):
    file = TfliteFile()
    y = file.lstm(file.x, lstm())
    file.ops[0][1][1] = file.constant(np.ones((4, 3)), "int8")
    assert "holds INT8 values without a scale" in refused(file, y)[0]


def test_tflite_channels_of_scales_must_fit(refused):
    file = TfliteFile()
    y = file.lstm(file.x, lstm())
    file.ops[0][1][1] = file.constant(np.ones((4, 3)), "int8", scale=[1.0, 2.0], zero=[0, 0])
    file.ops[0][1][2] = file.constant(np.ones((4, 3)), "int8", scale=[1.0, 2.0], zero=[0] * 3)
    file.ops[0][1][3] = file.constant(np.ones((4, 3)), "int8", scale=[0.0], zero=[0])
    lines = refused(file, y)
    assert "has 2 scales along axis 0; expected one each" in lines[0]
    assert "has 3 zero points; expected 2" in lines[1]
    assert "has a scale that is not above 0" in lines[2]


def test_tflite_rounding_casts_are_refused(refused):
    file = TfliteFile()
    y = file.op("CAST", [file.lstm(file.x, lstm())], (1, 7, 4))
    file.tensors[y]["kind"] = "int32"
    assert "rounds to INT32" in refused(file)[0]


def test_tflite_weights_made_of_nothing_are_bounded(refused):
    """Identity matrices of activations in a row: no bytes of the file stand for them."""
    file = TfliteFile((1, 7, 4096))
    y = file.x
    for _ in range(3):
        y = file.op("RELU", [y], (1, 7, 4096))
    file.lstm(y, lstm())
    assert "weights in all; expected fewer" in refused(file)[0]


def test_tflite_truncated_files_are_refused(tmp_path):
    file = TfliteFile()
    data = file.to_bytes([file.dense(file.last_step(file.lstm(file.x, lstm())), dense(4, 2))])
    path = tmp_path / "m.tflite"
    for length in range(8, len(data), 37):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError):
            read_model(path)


def test_tflite_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tflite", None)
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\0\0\0\0TFL3")
    with pytest.raises(ModelError, match=r"pip install 'lstmgen\[tflite\]'"):
        read_model(path)


# Files that the real converter wrote.


@pytest.mark.parametrize("folder", ["digits_lstm32", "mackey_stacked2x32_seq"])
def test_tflite_float_files_of_the_converter(shared_data, folder):
    network = read_model(shared_data / folder / "fused_float.tflite")
    x = np.load(shared_data / folder / "data.npz")["x_test"]
    y = np.load(shared_data / folder / "float_out.npz")["y"]
    assert compare(network, {"x": x, "y": y}, folder).max_abs_error <= 1e-5


def test_tflite_bidirectional_file_of_the_converter(shared_data):
    folder = shared_data / "importers"
    network = read_model(folder / "tflite_bidirectional.tflite")
    arrays = dict(np.load(folder / "tflite_bidirectional.npz"))
    assert compare(network, arrays, "y").max_abs_error <= 1e-5


@pytest.mark.parametrize(("folder", "floor"), [
    ("digits_lstm32", 28.0), ("mackey_stacked2x32_seq", 41.0),
])
@pytest.mark.parametrize("name", ["fused_int8", "tflm_int16x8"])
def test_tflite_quantized_files_of_the_converter(shared_data, folder, floor, name):
    """Dequantized weights keep so many dB of the float network's outputs."""
    network = read_model(shared_data / folder / f"{name}.tflite")
    x = np.load(shared_data / folder / "data.npz")["x_test"].astype(float)
    y = np.load(shared_data / folder / "float_out.npz")["y"]
    error = run(network, x).y - y
    assert 10 * np.log10((y**2).sum() / (error**2).sum()) > floor


def test_tflite_loop_of_the_converter_is_refused(shared_data):
    with pytest.raises(ModelError, match="as a loop"):
        read_model(shared_data / "importers" / "refuse_tflite_while.tflite")
