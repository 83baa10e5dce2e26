"""lstmgen.readers: every variant of ONNX's LSTM and GRU, every kind of tensor, hostile files."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from lstmgen.errors import LstmgenError
from lstmgen.layers import Bidirectional, Gru, Lstm
from lstmgen.readers import ReadOptions, read_model
from lstmgen.readers.formats import format_of
from lstmgen.reference import run

from conftest import ROOT
from onnx_files import B, Graph, K, N, T, evaluated, proved, refused, save

CELLS = ("LSTM", "GRU")


def sequence(g: Graph, y: str, dirs: int = 1) -> str:
    """Y (T, dirs, B, k) as (T, B, dirs k)."""
    if dirs == 1:
        return str(g.add("Squeeze", y, [1]))
    return str(g.add("Reshape", g.add("Transpose", y, perm=[0, 2, 1, 3]), [0, 0, dirs * K]))


def alone(tmp_path: Path, op: str = "LSTM", dirs: int = 1, **attributes: Any) -> Any:
    g = Graph()
    y = g.cell(op=op, dirs=dirs, **attributes)[0]
    return proved(g.save(tmp_path, sequence(g, y, dirs)), "sequence").layers[0]


@pytest.mark.parametrize("op", CELLS)
def test_forward(tmp_path, op):
    assert isinstance(alone(tmp_path, op), Lstm if op == "LSTM" else Gru)


@pytest.mark.parametrize("op", CELLS)
def test_reverse(tmp_path, op):
    assert alone(tmp_path, op, direction="reverse").direction == "reverse"


@pytest.mark.parametrize("op", CELLS)
def test_reverse_last_value_is_its_state_or_step_0(tmp_path, op):
    g = Graph()
    y, h = g.cell(op=op, direction="reverse")
    proved(g.save(tmp_path, g.add("Squeeze", h, [0])))
    proved(g.save(tmp_path, g.add("Gather", g.add("Squeeze", y, [1]), 0, axis=0)))
    wrong = g.save(tmp_path, g.add("Gather", g.add("Squeeze", y, [1]), -1, axis=0))
    refused(wrong, "seen one step only")


@pytest.mark.parametrize("op", CELLS)
def test_bidirectional(tmp_path, op):
    layer = alone(tmp_path, op, 2)
    assert isinstance(layer, Bidirectional)


@pytest.mark.parametrize("op", CELLS)
@pytest.mark.parametrize("ends", ["state", "step"])
def test_bidirectional_last_value(tmp_path, op, ends):
    g = Graph()
    y, h = g.cell(op=op, dirs=2)
    if ends == "state":
        y = g.add("Flatten", g.add("Transpose", h, perm=[1, 0, 2]))
    else:
        y = g.add("Gather", sequence(g, y, 2), -1, axis=0)
    network = proved(g.save(tmp_path, g.gemm(y, 2 * K, 3)))
    assert network.layers[0].ends == ends


def test_bidirectional_states_taken_one_by_one(tmp_path):
    """torch.cat((h[-2], h[-1]), 1)."""
    g = Graph()
    h = g.cell(dirs=2)[1]
    both = [g.add("Gather", h, at, axis=0) for at in (-2, -1)]
    network = proved(g.save(tmp_path, g.add("Concat", *both, axis=1)))
    assert network.layers[0].ends == "state"
    swapped = g.save(tmp_path, g.add("Concat", *both[::-1], axis=1))
    refused(swapped, "joins 2 branches; expected the forward and the backward half")


def test_bidirectional_both_ends_of_the_sequence(tmp_path):
    """torch.cat((y[-1, :, :k], y[0, :, k:]), 1)."""
    g = Graph()
    y = sequence(g, g.cell(dirs=2)[0], 2)
    last, first = (g.add("Gather", y, at, axis=0) for at in (-1, 0))
    forward = g.add("Slice", last, [0], [K], [1])
    backward = g.add("Slice", first, [K], [2**31 - 1], [1])
    network = proved(g.save(tmp_path, g.add("Concat", forward, backward, axis=1)))
    assert network.layers[0].ends == "state"


@pytest.mark.parametrize("half", [0, 1])
def test_bidirectional_of_which_one_half_is_used(tmp_path, half):
    g = Graph()
    y = g.add("Gather", g.cell(dirs=2)[0], half, axis=1)
    network = proved(g.save(tmp_path, y), "sequence")
    assert network.layers[0].direction == ("forward", "reverse")[half]


@pytest.mark.parametrize("merge", ["sum", "average", "multiply"])
@pytest.mark.parametrize("way", ["halves", "reduced"])
def test_bidirectional_merge(tmp_path, merge, way):
    g = Graph()
    y = g.cell(dirs=2)[0]
    if way == "reduced":
        op = {"sum": "ReduceSum", "average": "ReduceMean", "multiply": "ReduceProd"}[merge]
        axes = ([1],) if merge == "sum" else ()
        y = g.add(op, y, *axes, keepdims=0, **({} if axes else {"axes": [1]}))
    else:
        forward, backward = g.add("Split", y, [1, 1], axis=1, outputs=2)
        y = g.add("Mul" if merge == "multiply" else "Add", forward, backward)
        y = g.add("Squeeze", g.add("Mul", y, 0.5) if merge == "average" else y, [1])
    network = proved(g.save(tmp_path, y), "sequence")
    assert network.layers[0].merge == merge


def test_two_bidirectional_layers(tmp_path):
    g = Graph()
    y = sequence(g, g.cell(dirs=2)[0], 2)
    y = sequence(g, g.cell(y, 2 * K, dirs=2, op="GRU")[0], 2)
    proved(g.save(tmp_path, y), "sequence")


@pytest.mark.parametrize("op", CELLS)
@pytest.mark.parametrize("dirs", [1, 2])
def test_layout_1(tmp_path, op, dirs):
    g = Graph(["B", T, N])
    y, h = g.cell(op=op, dirs=dirs, layout=1, tail=("", np.full((B, dirs, K), 0.3)))
    proved(g.save(tmp_path, g.add("Reshape", y, [0, 0, dirs * K])), "sequence", axes=(0, 1, 2))
    proved(g.save(tmp_path, g.add("Flatten", h)), axes=(0, 1, 2))


@pytest.mark.parametrize("op", CELLS)
def test_no_bias(tmp_path, op):
    assert not alone(tmp_path, op, bias=False).b.any()
    notes = read_model(tmp_path / "m.onnx").notes
    assert any(note.endswith("no bias, so it is zero") for note in notes)


@pytest.mark.parametrize("op", CELLS)
def test_clip(tmp_path, op):
    assert alone(tmp_path, op, clip=0.25).clip == 0.25


@pytest.mark.parametrize("op", CELLS)
@pytest.mark.parametrize(
    ("alpha", "gate"), [(None, "hard_sigmoid"), (0.2, "hard_sigmoid"), (1 / 6, "hard_sigmoid_6")]
)
def test_hard_sigmoid(tmp_path, op, alpha, gate):
    given = {} if alpha is None else {"activation_alpha": [alpha], "activation_beta": [0.5]}
    names = ["HardSigmoid", "Tanh", "Tanh"][: 3 if op == "LSTM" else 2]
    assert alone(tmp_path, op, activations=names, **given).gate == gate


def test_hard_sigmoid_with_a_parameter_for_each_activation(tmp_path):
    """As some exporters write them."""
    g = Graph()
    y = g.cell(activations=["HardSigmoid", "Tanh", "Tanh"], activation_alpha=[1 / 6, 0.0, 0.0],
               activation_beta=[0.5, 0.0, 0.0])[0]
    assert read_model(g.save(tmp_path, y)).lstms[0].gate == "hard_sigmoid_6"


def test_cell_and_output_activations(tmp_path):
    layer = alone(tmp_path, activations=["Sigmoid", "Relu", "Sigmoid"])
    assert (layer.cell, layer.output) == ("relu", "sigmoid")
    one = {"activation_alpha": [1.0], "activation_beta": [0.0]}
    layer = alone(tmp_path, activations=["Sigmoid", "Tanh", "Affine"], **one)
    assert (layer.cell, layer.output) == ("tanh", "linear")
    assert alone(tmp_path, "GRU", activations=["Sigmoid", "Relu"]).cell == "relu"


def test_activations_of_each_direction(tmp_path):
    layer = alone(
        tmp_path, dirs=2, activations=["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Relu", "Tanh"]
    )
    assert (layer.forward.gate, layer.backward.gate) == ("sigmoid", "hard_sigmoid")
    assert (layer.forward.cell, layer.backward.cell) == ("tanh", "relu")


@pytest.mark.parametrize(
    ("names", "alpha", "message"),
    [
        (["HardSigmoid", "Tanh", "Tanh"], [0.25], "HardSigmoid (alpha 0.25, beta 0.5) of its gat"),
        (["Sigmoid", "Affine", "Tanh"], [2.0], "Affine (alpha 2, beta 0) of its cell"),
        (["Sigmoid", "Affine", "Tanh"], [], "Affine (alpha 0, beta 0) of its cell"),
        (["Sigmoid", "Affine", "Tanh"], [0.0, 1.0, 0.0], "3 values of activation_alpha; expected"),
        (["Sigmoid", "ScaledTanh", "Tanh"], [1.0], "ScaledTanh (alpha 1, beta 0) of its cell"),
        (["Tanh", "Tanh", "Tanh"], [], "tanh of its gates"),
        (["Sigmoid", "Tanh"], [], "2 activations; expected 3"),
        (["Sigmoid", "Tanh", "a\nb"], [], r"'a\nb' of its output"),
    ],
)
def test_other_activations_are_refused(tmp_path, names, alpha, message):
    g = Graph()
    more = {"activation_alpha": alpha} if alpha else {}
    lines = refused(g.save(tmp_path, g.cell(activations=names, **more)[0]), message)
    assert len(lines) == 1


def test_input_forget(tmp_path):
    """CIFG: f = 1 - i."""
    layer = alone(tmp_path, input_forget=1)
    np.testing.assert_array_equal(layer.W[K : 2 * K], -layer.W[:K])
    alone(tmp_path, dirs=2, input_forget=1, clip=0.5)


@pytest.mark.parametrize("more", [{}, {"clip": 0.4}, {"input_forget": 1}])
def test_peepholes(tmp_path, more):
    P = np.random.default_rng(1).normal(size=(2, 3 * K))
    assert alone(tmp_path, tail=("", "", "", P[:1]), **more).peephole.shape == (3, K)
    assert alone(tmp_path, dirs=2, tail=("", "", "", P), **more).backward.peephole.any()


@pytest.mark.parametrize("after", [0, 1])
def test_linear_before_reset(tmp_path, after):
    layer = alone(tmp_path, "GRU", linear_before_reset=after)
    assert (layer.reset_after, bool(layer.b_u.any())) == (bool(after), bool(after))
    alone(tmp_path, "GRU", 2, linear_before_reset=after, clip=0.5)


def states(dirs: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.default_rng(9)
    h, c = r.normal(size=(2, dirs, 1, K))
    return np.repeat(h, batch, 1), np.repeat(c, batch, 1)


@pytest.mark.parametrize("dirs", [1, 2])
def test_initial_states(tmp_path, dirs):
    h, c = states(dirs, B)
    layer = alone(tmp_path, dirs=dirs, tail=("", h, c))
    first = layer.forward if dirs == 2 else layer
    np.testing.assert_array_equal(first.h0, h[0, 0].astype(np.float32))
    np.testing.assert_array_equal(first.c0, c[0, 0].astype(np.float32))
    assert alone(tmp_path, "GRU", dirs, tail=("", h)) is not None


def test_initial_state_expanded_to_the_batch(tmp_path):
    """A trained state, as torch's exporter repeats it for a batch of any size."""
    g = Graph()
    size = g.add("Unsqueeze", g.add("Gather", g.add("Shape", "x"), 1, axis=0), [0])
    shape = g.add("Concat", [1], size, [K], axis=0)
    h, c = states(1, 1)
    ones = g.add("ConstantOfShape", [3], value=helper.make_tensor("v", 7, [1], [1]))
    kept = g.add("Equal", shape, g.add("Mul", ones, -1))  # torch's expand(-1, ...)
    h = g.add("Expand", h, g.add("Where", kept, ones, shape))
    y = g.cell(tail=("", h, g.add("Tile", c, g.add("Concat", [1], size, [1], axis=0))))[0]
    network = proved(g.save(tmp_path, sequence(g, y)), "sequence")
    assert network.lstms[0].h0.any()


def test_zero_states_of_any_batch(tmp_path):
    g = Graph()
    size = g.add("Unsqueeze", g.add("Gather", g.add("Shape", "x"), 1, axis=0), [0])
    shape = g.add("Concat", [1], size, [K], axis=0)
    zeros = g.add("ConstantOfShape", shape, value=helper.make_tensor("v", 1, [1], [0.0]))
    y = g.cell(tail=("", zeros, g.add("Expand", np.zeros((1, 1, K)), shape)))[0]
    network = proved(g.save(tmp_path, sequence(g, y)), "sequence")
    assert (network.lstms[0].h0, network.lstms[0].c0) == (None, None)


def test_initial_state_that_is_an_input_starts_at_zero(tmp_path):
    g = Graph()
    g.inputs.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, "B", K]))
    path = g.save(tmp_path, sequence(g, g.cell(tail=("", "h"))[0]))
    network = read_model(path)
    x = np.random.default_rng(0).normal(size=(T, B, N)).astype(np.float32)
    wanted = evaluated(path, {"x": x, "h": np.zeros((1, B, K), np.float32)})[0]
    np.testing.assert_allclose(run(network, x.swapaxes(0, 1)).y.swapaxes(0, 1), wanted, atol=2e-6)
    assert any("initial_h is the graph's input h, taken as zeros" in n for n in network.notes)


def test_initial_states_of_a_batch_need_a_choice(tmp_path):
    g = Graph()
    h = g.weights(1, B, K)
    path = g.save(tmp_path, sequence(g, g.cell(tail=("", h))[0]))
    refused(path, f"initial_h differs between the {B} sequences", "--state-row 0 to 3")
    refused(path, "--state-row", state_row=B)
    layer = read_model(path, ReadOptions(state_row=2)).lstms[0]
    np.testing.assert_array_equal(layer.h0, h[0, 2])


def test_lengths_as_an_input(tmp_path):
    g = Graph()
    g.inputs.append(helper.make_tensor_value_info("n", TensorProto.INT32, ["B"]))
    path = g.save(tmp_path, sequence(g, g.cell(dirs=2, tail=("n",))[0], 2))
    network = read_model(path)
    x = np.random.default_rng(0).normal(size=(T, B, N)).astype(np.float32)
    n = np.array([T, 1, 4, 2], np.int32)
    wanted = evaluated(path, {"x": x, "n": n})[0]
    got = run(network, x.swapaxes(0, 1), n).y
    np.testing.assert_allclose(got.swapaxes(0, 1), wanted, atol=2e-6)
    assert any("lengths come with each sequence (the graph's input n)" in line
               for line in network.notes)


def test_lengths_as_a_constant(tmp_path):
    alone(tmp_path, tail=(np.full(B, T),))
    g = Graph()
    refused(g.save(tmp_path, g.cell(tail=([T, 2, T, T],))[0]), "sequence_lens is the constant 6, 2")


@pytest.mark.parametrize("way", ["Slice", "ReverseSequence"])
@pytest.mark.parametrize("back", [True, False])
def test_reversed_input(tmp_path, way, back):
    """Outputs turned back are those of a reverse layer, else in the order computed."""
    g = Graph([T, B, N])

    def turned(x: str) -> Any:
        if way == "Slice":
            return g.add("Slice", x, [-1], [-(2**63)], [0], [-1])
        return g.add("ReverseSequence", x, np.full(B, T), time_axis=0, batch_axis=1)

    y = g.add("Squeeze", g.cell(turned("x"))[0], [1])
    network = proved(g.save(tmp_path, turned(y) if back else y), "sequence")
    assert network.layers[0].direction == ("reverse" if back else "flipped")
    proved(g.save(tmp_path, g.add("Gather", y, -1, axis=0)))


def test_states_of_stacked_layers(tmp_path):
    """torch's h_n, of which h[-1] is used."""
    g = Graph()
    y, first = g.cell()
    second = g.cell(sequence(g, y), K)[1]
    h = g.add("Concat", first, second, axis=0)
    network = proved(g.save(tmp_path, g.gemm(g.add("Gather", h, -1, axis=0), K, 2)))
    assert len(network.lstms) == 2
    refused(g.save(tmp_path, h), "is no value of one recurrent layer")


@pytest.mark.parametrize("dirs", [1, 2])
def test_states_by_layer_and_direction(tmp_path, dirs):
    """torch's h_n.view(layers, directions, batch, units)[-1]."""
    g = Graph()
    y, first = g.cell(dirs=dirs)
    second = g.cell(sequence(g, y, dirs), dirs * K, dirs=dirs)[1]
    h = g.add("Concat", first, second, axis=0)
    h = g.add("Gather", g.add("Reshape", h, [2, dirs, -1, K]), -1, axis=0)
    halves = [g.add("Gather", h, at, axis=0) for at in range(dirs)]
    proved(g.save(tmp_path, g.add("Concat", *halves, axis=1) if dirs == 2 else halves[0]))
    refused(g.save(tmp_path, g.add("Reshape", g.add("Concat", second, first, axis=0), [-1, K])),
            "are reshaped; expected (layers, directions, batch, units)")


def test_a_half_turned_back_alone_is_refused(tmp_path):
    g = Graph([T, B, N])
    forward, backward = g.add("Split", g.cell(dirs=2)[0], [1, 1], axis=1, outputs=2)
    backward = g.add("Slice", backward, [-1], [-(2**63)], [0], [-1])
    refused(g.save(tmp_path, g.add("Concat", forward, backward, axis=3)), "joins 2 branches")


def test_single_step(tmp_path):
    g = Graph([1, "B", N])
    path = g.save(tmp_path, g.gemm(g.add("Squeeze", g.cell()[0], [0, 1]), K, 2))
    network = proved(path, x=np.ones((B, 1, N), np.float32))
    assert any("a single time step" in note for note in network.notes)


def converted(g: Graph, kind: int, raw: bool) -> None:
    """Turn the weights of a graph into another type, behind a Cast to float32 each."""
    for at, tensor in enumerate(g.initializers):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32:
            continue
        name = tensor.name
        made = helper.make_tensor(f"{name}_", kind, values.shape, values.ravel().tolist())
        if raw:
            made = numpy_helper.from_array(numpy_helper.to_array(made), made.name)
        g.initializers[at] = made
        g.nodes.insert(0, helper.make_node("Cast", [made.name], [name], to=TensorProto.FLOAT))


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"])
def test_types_of_weights(tmp_path, kind, raw):
    g = Graph()
    y = g.gemm(g.add("Squeeze", g.cell()[1], [0]), K, 2)
    converted(g, getattr(TensorProto, kind), raw)
    proved(g.save(tmp_path, y))


def test_weights_of_other_types_are_refused(tmp_path):
    g = Graph()
    y = g.cell()[0]
    g.initializers[0].data_type = TensorProto.FLOAT8E4M3FN
    refused(g.save(tmp_path, y), "initializer c0 is of type FLOAT8E4M3FN")


def test_weights_computed_from_constants(tmp_path):
    """Slice, Concat, Unsqueeze, Transpose, Reshape, Cast, Gather, Identity, Split, Add, Constant:
    from torch's matrices, gates i, f, g, o."""
    g = Graph()
    W, U, b = g.weights(4 * K, N), g.weights(4 * K, K), g.weights(2, 4 * K)

    def reordered(array: str) -> str:
        parts = [g.add("Slice", array, [low * K], [high * K], [0])
                 for low, high in ((0, 1), (3, 4), (1, 3))]
        return str(g.add("Concat", *parts, axis=0))

    w = g.add("Transpose", g.add("Cast", W.T.astype(np.float64), to=1), perm=[1, 0])
    u = g.add("Reshape", g.add("Identity", U.reshape(-1)), [0, K] if False else [-1, K])
    first = g.add("Gather", b, 0, axis=0)
    second = g.add("Squeeze", g.add("Split", b, [1, 1], axis=0, outputs=2)[1], [0])
    both = g.add("Concat", reordered(g.add("Add", first, second)),
                 g.add("Constant", value_floats=[0.0] * 4 * K), axis=0)
    arrays = [g.add("Unsqueeze", reordered(w), [0]), g.add("Unsqueeze", reordered(u), [0]),
              g.add("Unsqueeze", both, [0])]
    y = g.add("LSTM", "x", *arrays, hidden_size=K)
    layer = proved(g.save(tmp_path, sequence(g, y)), "sequence").lstms[0]
    np.testing.assert_array_equal(layer.W, W)
    np.testing.assert_array_equal(layer.U, U)


def beside(tmp_path: Path, location: str) -> Path:
    """A file whose weights lie in w.bin, by whatever name it says."""
    g = Graph()
    model = g.model(sequence(g, g.cell()[0]))
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin",
                    size_threshold=0)
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    return save(tmp_path, model)


def test_external_data_beside_the_file(tmp_path):
    assert external_data_helper.uses_external_data(
        onnx.load(beside(tmp_path, "w.bin"), load_external_data=False).graph.initializer[0]
    )
    proved(tmp_path / "m.onnx", "sequence")


@pytest.mark.parametrize("location", ["../w.bin", "/w.bin", "a/w.bin", "..", "", "C:w.bin", "a\nb"])
def test_external_data_elsewhere_is_refused(tmp_path, location):
    (tmp_path / "in").mkdir()
    refused(beside(tmp_path / "in", location), "expected a plain file name")


def test_external_data_that_is_not_there_is_refused(tmp_path):
    path = beside(tmp_path, "w.bin")
    data = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "w.bin").write_bytes(data[:-9])
    refused(path, "bytes; expected")
    (tmp_path / "other").write_bytes(data)
    (tmp_path / "w.bin").unlink()
    refused(path, "which is no file; put it beside the model")
    (tmp_path / "w.bin").symlink_to(tmp_path / "other")
    refused(path, "which is no file")


@pytest.mark.parametrize("shape", [[1, 12, 2**40], [-1, 12, 2], [2**20, 2**20, 2**20], [1, 12, 3]])
def test_inflated_shapes_are_refused(tmp_path, shape):
    g = Graph()
    y = g.cell()[0]
    del g.initializers[0].dims[:]
    g.initializers[0].dims.extend(shape)
    refused(g.save(tmp_path, y), "initializer c0 ")


def test_inflated_constants_are_refused(tmp_path):
    """Each operator would fill the memory."""
    g = Graph()
    big = g.add("ConstantOfShape", [2**20, 2**20])
    wide = g.add("Expand", np.zeros(1), [2**40])
    tiled = g.add("Tile", np.zeros((1, 1)), [2**30, 2**30])
    taken = g.add("Gather", np.zeros((2, 2**12)), np.zeros(2**13, np.int64))
    for values in (big, wide, tiled, taken):
        refused(g.save(tmp_path, g.add("LSTM", "x", values, g.weights(1, 4 * K, K))), "values in")


def test_features_by_the_million_are_refused(tmp_path):
    g = Graph([T, B, 2**40])
    refused(g.save(tmp_path, g.cell(g.add("Relu", "x"))[1]), "features is 1099511627776; expected")


@pytest.mark.parametrize("op", ["Relu", "LSTM", "Concat", "Neg"])
def test_work_on_large_constants_is_bounded(tmp_path, op):
    """A small file that asks for gigabytes, a layer or a constant at a time."""
    g = Graph([T, B, 2000 if op == "Relu" else 4096])
    wide = g.add("ConstantOfShape", [1, 4096, 4096])
    for _ in range(100):
        if op == "Relu":
            y = g.add("Relu", "x")
        elif op == "LSTM":
            y = g.add("LSTM", "x", wide, g.add("ConstantOfShape", [1, 4096, 1024]))
        else:
            y = g.add(op, wide, **({"axis": 0} if op == "Concat" else {}))
    start = time.monotonic()
    refused(g.save(tmp_path, y), "computes with more than")
    assert time.monotonic() - start < 30


def test_an_activation_of_very_many_features_is_refused(tmp_path):
    """At once: the dense layer that it would be has as many weights as a network may have."""
    g = Graph([T, B, 4096])
    for _ in range(100):
        y = g.add("Relu", "x", name="r")
    start = time.monotonic()
    lines = refused(g.save(tmp_path, y), "Relu r: relu of 4096 features that no dense layer comp")
    assert len(lines) == 1
    assert time.monotonic() - start < 5  # 0.002 s when written; 1.3 s with four such layers


def test_operators_without_end_are_refused(tmp_path):
    g = Graph()
    y = "x"
    for _ in range(2**14 + 1):
        y = g.add("Identity", y)
    refused(g.save(tmp_path, y), "more than 16384 operators")


def test_problems_of_a_layer_are_all_named(tmp_path):
    g = Graph()
    y = g.add("LSTM", "x", g.weights(1, 12, N), g.weights(1, 12, 4), name="a", hidden_size=3)
    z = g.cell(g.add("Squeeze", y, [1]), K, tail=("", np.ones((1, B, 9)), "", np.ones((1, 4))),
               layout=2, name="b")[0]
    lines = refused(g.save(tmp_path, z), "LSTM a: R is (1, 12, 4)", "LSTM b: P is (1, 4)",
                    "LSTM b: initial_h is (1, 4, 9)", "LSTM b: layout is 2")
    assert len(lines) == 4


def test_long_attributes_and_shapes_make_short_messages(tmp_path):
    g = Graph()
    refused_shortly(g.save(tmp_path, g.cell(direction="x\n" * 5000)[1]), "direction is 'x\\nx")
    g = Graph()
    y = g.add("Gather", g.add("Squeeze", g.cell()[0], [1]), -1, axis="y" * 5000)
    refused_shortly(g.save(tmp_path, y), "axis is 'yyyy", "expected an integer")
    g = Graph()
    y = g.add("Gather", g.add("Squeeze", g.cell()[0], [1]), -1, axis=[1] * 5000)
    refused_shortly(g.save(tmp_path, y), "axis is of another type; expected an integer")
    g = Graph()
    path = g.save(tmp_path, g.add("LSTM", "x", np.zeros([1] * 60), g.weights(1, 4 * K, K)))
    refused_shortly(path, "has 60 axes; expected at most 16")


def refused_shortly(path: Path, *messages: str) -> None:
    assert max(map(len, refused(path, *messages))) < 300


def test_weights_that_are_not_finite_are_refused(tmp_path):
    g = Graph()
    W = g.weights(1, 4 * K, N)
    W[0, 0, 0] = np.nan
    refused(g.save(tmp_path, g.add("LSTM", "x", W, g.weights(1, 4 * K, K))), "W holds 1 values")


def test_weights_that_follow_from_the_input_are_refused(tmp_path):
    g = Graph()
    refused(g.save(tmp_path, g.add("LSTM", "x", "x", g.weights(1, 4 * K, K))), "input 1 is not con")


def test_operators_of_other_domains_are_refused(tmp_path):
    g = Graph()
    y = g.cell()[0]
    g.nodes[-1].domain = "com.microsoft"
    refused(g.save(tmp_path, y), "com.microsoft.LSTM is not supported")


def test_the_package_is_asked_for_by_name(tmp_path):
    """Without onnx, the message says what to install."""
    g = Graph()
    path = g.save(tmp_path, g.cell()[0])
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from lstmgen.readers import read_model\n"
        "try: read_model(sys.argv[1])\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "needs the package onnx; install it with: pip install 'lstmgen[onnx]'" in done.stdout


def test_format_is_told_from_the_content(tmp_path):
    g = Graph()
    path = g.save(tmp_path, g.cell()[0])
    assert format_of(path).name == "ONNX"
    path.write_bytes(b"\x89HDF" + path.read_bytes())
    assert format_of(path).name != "ONNX"


def mutated(data: bytes, r: np.random.Generator) -> bytes:
    """Flip, cut or repeat bytes of a file, behind those that tell its format."""
    changed = bytearray(data)
    for _ in range(int(r.integers(1, 4))):
        at = int(r.integers(3, max(len(changed), 4)))
        way = int(r.integers(8))
        if way == 0:
            del changed[at : at + int(r.integers(1, 20))]
        elif way == 1:
            changed[at:at] = changed[int(r.integers(3, 200)) :][: int(r.integers(1, 40))]
        elif way == 2:
            changed[at : at + 9] = b"\xff" * int(r.integers(1, 10))
        else:
            changed[at : at + 1] = bytes([int(r.integers(256))])
    return bytes(changed)


ODD = (0, 1, -1, 2, 3, 7, 16, 2**31 - 1, 2**40, -(2**63), 2**63 - 1)


def rewritten(data: bytes, r: np.random.Generator) -> bytes:
    """Change a model's operators, names, numbers and shapes; the file stays whole."""
    model = onnx.ModelProto()
    model.ParseFromString(data)
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    kinds = [*sorted({node.op_type for node in graph.node}), "GRU", "Split", "Tile", "Expand", "If",
             "Mul", "Constant", "Conv", "ArgMax", "ReduceSum", "ReverseSequence", "Div",
             "BatchNormalization"]
    for _ in range(int(r.integers(1, 4))):
        node = graph.node[int(r.integers(len(graph.node)))]
        tensor = graph.initializer[int(r.integers(len(graph.initializer)))]
        odd = ODD[int(r.integers(len(ODD)))]
        way = int(r.integers(9))
        if way == 0 and node.input:
            node.input[int(r.integers(len(node.input)))] = names[int(r.integers(len(names)))]
        elif way == 1:
            node.op_type = kinds[int(r.integers(len(kinds)))]
        elif way == 2 and node.attribute:
            attribute = node.attribute[int(r.integers(len(node.attribute)))]
            attribute.i = odd
            attribute.f = float(odd)
            if attribute.ints:
                attribute.ints[int(r.integers(len(attribute.ints)))] = odd
        elif way == 3 and tensor.dims:
            tensor.dims[int(r.integers(len(tensor.dims)))] = odd
        elif way == 4:
            tensor.data_type = int(r.integers(24))
        elif way == 5 and tensor.data_type == TensorProto.INT64:
            tensor.raw_data = np.full(len(tensor.raw_data) // 8, odd, np.int64).tobytes()
        elif way == 6:
            node.attribute.append(helper.make_attribute(
                ("axis", "perm", "layout", "direction", "to", "clip")[int(r.integers(6))], odd
            ))
        elif way == 7 and len(node.output) > 1:
            graph.output[0].name = node.output[int(r.integers(len(node.output)))]
        else:
            model.opset_import[0].version = int(r.integers(1, 24))
    return bytes(model.SerializeToString())


def mutation_files(tmp_path: Path) -> list[bytes]:
    g = Graph()
    y, h = g.cell(dirs=2, tail=("", *states(2, B)))
    y = g.gemm(g.add("Gather", sequence(g, y, 2), -1, axis=0), 2 * K, 2)
    first = g.save(tmp_path, g.add("Softmax", y), h).read_bytes()
    g = Graph(["B", T, N])
    x = g.add("Transpose", g.add("Add", g.add("Mul", "x", g.weights(N)), 0.5), perm=[1, 0, 2])
    shape = g.add("Concat", [1], g.add("Slice", g.add("Shape", x), [1], [2], [0]), [K], axis=0)
    zeros = g.add("ConstantOfShape", shape)
    W = g.add("Unsqueeze", g.add("Concat", g.weights(3 * K, N), g.weights(K, N), axis=0), [0])
    y = g.add("LSTM", x, W, g.weights(1, 4 * K, K), "", "", zeros, zeros, hidden_size=K)
    second = g.save(tmp_path, g.add("Flatten", g.add("Gather", y, -1, axis=0))).read_bytes()
    return [first, second]


@pytest.mark.parametrize("change", [mutated, rewritten])
@pytest.mark.parametrize("seed", range(2))
def test_changed_files_give_a_network_or_a_message(tmp_path, change, seed):
    r = np.random.default_rng([5, seed])
    files = mutation_files(tmp_path)
    path = tmp_path / "m.onnx"
    messages: list[str | None] = []
    for number in range(200):
        path.write_bytes(change(files[number % 2], r))
        start = time.monotonic()
        messages.append(outcome(path))
        assert time.monotonic() - start < 5
    found = [line for message in messages if message for line in message.split("\n")]
    assert all(line.isprintable() and line.startswith(str(path)) for line in found)
    assert messages.count(None) > 5
    assert len(found) > 50


def outcome(path: Path) -> str | None:
    """Return the message of a refusal, None for a file that was read."""
    try:
        read_model(path)
    except LstmgenError as error:
        return str(error)
    return None
