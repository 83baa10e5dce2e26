"""lstmgen.readers: ONNX graphs, operator by operator, against onnx's own evaluation of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from lstmgen.cli import main
from lstmgen.expect import compare
from lstmgen.layers import Bidirectional, Dense, Embedding, Lstm
from lstmgen.network import Network
from lstmgen.readers import ReadOptions, read_model
from lstmgen.reference import run

from onnx_files import B, Graph, K, N, T, evaluated, proved, refused, save


def last(g: Graph, y: str) -> str:
    """The last step of Y (T, 1, B, k), as torch's exporter takes it."""
    return str(g.add("Gather", g.add("Squeeze", y, [1]), -1, axis=0))


def test_last_step_by_gather_behind_squeeze(tmp_path):
    g = Graph()
    network = proved(g.save(tmp_path, g.gemm(last(g, g.cell()[0]), K, 5)))
    assert [layer.name for layer in network.layers] == ["lstm", "dense"]


def test_last_step_by_index_of_the_known_length(tmp_path):
    g = Graph()
    y = g.add("Squeeze", g.cell()[0], [1])
    proved(g.save(tmp_path, g.gemm(g.add("Gather", y, T - 1, axis=0), K, 5)))


def test_last_step_by_slice(tmp_path):
    g = Graph()
    y = g.add("Squeeze", g.cell()[0], [1])
    y = g.add("Slice", y, [-1], [2**31 - 1], [0])
    proved(g.save(tmp_path, g.gemm(g.add("Squeeze", y, [0]), K, 5)))


def test_last_step_by_state(tmp_path):
    g = Graph()
    proved(g.save(tmp_path, g.gemm(g.add("Squeeze", g.cell()[1], [0]), K, 5)))


def test_last_step_behind_the_dense_layer(tmp_path):
    g = Graph(["B", T, N])
    y = g.cell(g.add("Transpose", "x", perm=[1, 0, 2]))[0]
    y = g.add("Transpose", g.add("Squeeze", y, [1]), perm=[1, 0, 2])
    y = g.add("Add", g.add("MatMul", y, g.weights(K, 4)), g.weights(4))
    proved(g.save(tmp_path, g.add("Gather", y, -1, axis=1)), axes=(0, 1, 2))


def test_first_step_of_a_forward_layer_is_refused(tmp_path):
    g = Graph()
    y = g.add("Squeeze", g.cell()[0], [1])
    path = g.save(tmp_path, g.gemm(g.add("Gather", y, 0, axis=0), K, 5))
    refused(path, "seen one step only")


def test_last_index_of_the_batch_is_refused(tmp_path):
    """The graph takes (T, B, N), but the last step from axis 1: a Transpose is missing."""
    g = Graph()
    y = g.add("Squeeze", g.cell()[0], [1])
    path = g.save(tmp_path, g.gemm(g.add("Gather", y, -1, axis=1), K, 5))
    refused(path, "takes a part of axis 1, batch, of (time, batch, features)")


def test_transpose_missing_between_layers_is_refused(tmp_path):
    g = Graph()
    y = g.add("Transpose", g.add("Squeeze", g.cell()[0], [1]), perm=[1, 0, 2])
    path = g.save(tmp_path, g.cell(y, K)[0])
    refused(path, "has the axes (batch, time, features); expected (time, batch, features)")


def test_dense_over_another_axis_is_refused(tmp_path):
    g = Graph([T, K, N])
    y = g.add("Transpose", g.add("Squeeze", g.cell()[0], [1]), perm=[0, 2, 1])
    refused(g.save(tmp_path, g.add("MatMul", y, g.weights(K, 2))), "is batch", "expected the feat")


def test_reshape_that_mixes_directions_and_batch_is_refused(tmp_path):
    """(T, 2, B, k) to (T, B, 2k) without a Transpose: a common mistake."""
    g = Graph([T, B, N])
    y = g.add("Reshape", g.cell(dirs=2)[0], [T, B, 2 * K])
    refused(g.save(tmp_path, y), "cannot be followed")
    g = Graph([T, 2, N])
    y = g.add("Reshape", g.cell(dirs=2)[0], [T, 2, 2 * K])
    refused(g.save(tmp_path, y), "mixes features with others")


def test_time_and_batch_merged_for_the_dense_layer(tmp_path):
    g = Graph()
    y = g.add("Squeeze", g.cell()[0], [1])
    shape = g.add("Shape", y)
    y = g.gemm(g.add("Reshape", y, [-1, K]), K, 4)
    y = g.add("Reshape", y, g.add("Concat", g.add("Slice", shape, [0], [2], [0]), [4], axis=0))
    proved(g.save(tmp_path, g.add("Softmax", y, axis=-1)), "sequence")


def test_flatten_of_one_step(tmp_path):
    g = Graph()
    y = g.add("Flatten", g.add("Transpose", g.cell()[1], perm=[1, 0, 2]), axis=1)
    proved(g.save(tmp_path, g.gemm(y, K, 4)))


@pytest.mark.parametrize("opset", [11, 12, 17])
def test_axes_as_attributes_before_opset_13(tmp_path, opset):
    g = Graph(opset=opset)
    y = g.cell()[1]
    y = g.add("Squeeze", y, axes=[0]) if opset < 13 else g.add("Squeeze", y, [0])
    y = g.add("Unsqueeze", y, axes=[1]) if opset < 13 else g.add("Unsqueeze", y, [1])
    y = g.add("Squeeze", y, axes=[1]) if opset < 13 else g.add("Squeeze", y, [1])
    network = proved(g.save(tmp_path, g.add("Softmax", g.gemm(y, K, 4))))
    assert network.activation == "softmax"


def test_softmax_over_more_axes_before_opset_13_is_refused(tmp_path):
    g = Graph(opset=12)
    y = g.add("Softmax", g.add("Squeeze", g.cell()[0], axes=[1]))
    refused(g.save(tmp_path, y), "Softmax", "is over the axes (batch, features)")


def test_two_layers_and_activations(tmp_path):
    g = Graph()
    y = g.add("Squeeze", g.cell()[0], [1])
    y = g.add("Relu", g.add("Add", g.add("MatMul", y, g.weights(K, 4)), g.weights(4)))
    y = g.add("Squeeze", g.cell(y, 4, op="GRU")[1], [0])
    y = g.add("Sigmoid", g.gemm(g.add("Tanh", g.gemm(y, K, 5)), 5, 2))
    network = proved(g.save(tmp_path, g.add("Dropout", y)))
    found = [layer.activation for layer in network.layers if isinstance(layer, Dense)]
    assert found == ["relu", "tanh", "sigmoid"]


def test_activation_without_dense_layer(tmp_path):
    g = Graph()
    y = g.add("Relu", g.cell()[0])
    network = proved(g.save(tmp_path, g.add("Squeeze", y, [1])), "sequence")
    assert isinstance(network.layers[1], Dense)


def test_argmax_behind_softmax(tmp_path):
    g = Graph()
    y = g.add("Softmax", g.gemm(g.add("Squeeze", g.cell()[1], [0]), K, 5), axis=1)
    network = proved(g.save(tmp_path, g.add("ArgMax", y, axis=1, keepdims=0)))
    assert network.activation == "argmax"


def test_gemm_with_alpha_beta_and_transposes(tmp_path):
    g = Graph()
    y = g.add("Transpose", g.add("Squeeze", g.cell()[1], [0]), perm=[1, 0])
    y = g.add("Gemm", y, g.weights(K, 5), g.weights(1, 5), alpha=0.5, beta=2.0, transA=1)
    proved(g.save(tmp_path, y))


def test_matmul_by_a_vector_and_from_the_left(tmp_path):
    g = Graph()
    y = g.add("MatMul", g.weights(4, K), g.add("Transpose", g.add("Squeeze", g.cell()[1], [0])))
    proved(g.save(tmp_path, g.add("MatMul", g.add("Transpose", y), g.weights(4))))


@pytest.mark.parametrize("where", ["first", "behind dense", "behind lstm", "behind relu"])
def test_batch_normalization(tmp_path, where):
    g = Graph([B, N, T])

    def normalized(y: str, n: int) -> str:
        arrays = (g.weights(n), g.weights(n), g.weights(n), g.weights(n) ** 2)
        return str(g.add("BatchNormalization", y, *arrays, epsilon=1e-3))

    y = normalized("x", N) if where == "first" else "x"
    y = g.cell(g.add("Transpose", y, perm=[2, 0, 1]))[1]
    y = g.add("Squeeze", y, [0])
    y = normalized(y, K) if where == "behind lstm" else y
    y = g.gemm(y, K, 5)
    y = normalized(y, 5) if where == "behind dense" else y
    y = g.add("Relu", y)
    y = normalized(y, 5) if where == "behind relu" else y
    proved(g.save(tmp_path, g.add("Tanh", g.gemm(y, 5, 2))), axes=(0, 2, 1))


def test_standardisation_by_constants(tmp_path):
    g = Graph()
    y = g.add("Div", g.add("Sub", "x", g.weights(1, 1, N)), g.weights(N) ** 2 + 0.1)
    y = g.add("Squeeze", g.cell(g.add("Sub", 1.0, g.add("Mul", y, 0.5)))[1], [0])
    network = proved(g.save(tmp_path, g.add("Add", g.gemm(y, K, 2), g.weights(2))))
    assert len(network.layers) == 2


def test_scale_of_all_inputs(tmp_path):
    g = Graph()
    y = g.cell(g.add("Add", g.add("Mul", "x", 3.0), -0.5))[1]
    proved(g.save(tmp_path, g.add("Squeeze", y, [0])))


def test_constant_that_differs_by_time_is_refused(tmp_path):
    g = Graph()
    y = g.add("Add", g.cell()[0], g.weights(T, 1, 1, 1))
    refused(g.save(tmp_path, y), "is time", "expected the features there")


def test_embedding(tmp_path):
    g = Graph(["B", T], TensorProto.INT32)
    y = g.add("Gather", g.weights(7, N), g.add("Cast", "x", to=TensorProto.INT64))
    y = g.cell(g.add("Transpose", y, perm=[1, 0, 2]))[1]
    path = g.save(tmp_path, g.gemm(g.add("Squeeze", y, [0]), K, 2))
    network = read_model(path)
    x = np.random.default_rng(2).integers(0, 7, (B, T)).astype(np.int32)
    assert isinstance(network.layers[0], Embedding)
    np.testing.assert_allclose(
        run(network, x[..., None]).y, evaluated(path, {"x": x})[0], rtol=0, atol=2e-6
    )


def test_embedding_of_rounded_values_is_refused(tmp_path):
    g = Graph(["B", T])
    y = g.add("Cast", g.add("Mul", "x", 3.0), to=TensorProto.INT64)
    y = g.add("Transpose", g.add("Gather", g.weights(7, N), y), perm=[1, 0, 2])
    refused(g.save(tmp_path, g.cell(y)[1]), "rounds to integers")


def test_input_without_a_shape_is_refused(tmp_path):
    g = Graph()
    g.inputs[0].type.tensor_type.ClearField("shape")
    refused(g.save(tmp_path, g.cell()[0]), "the input x declares no shape")


def test_axes_of_the_input_are_told(tmp_path):
    g = Graph(["B", T, N])
    y = g.cell(g.add("Transpose", "x", perm=[1, 0, 2]))[1]
    network = proved(g.save(tmp_path, g.add("Squeeze", y, [0])), axes=(0, 1, 2))
    assert "reads the input x (batch, time, features), gives the output v2_0" in network.notes


def test_skip_connection(tmp_path):
    g = Graph()
    y = g.add("Squeeze", g.cell()[0], [1])
    y = g.add("Add", g.add("MatMul", y, g.weights(K, N)), g.weights(N))
    network = proved(g.save(tmp_path, g.add("Add", y, "x")), "sequence")
    np.testing.assert_array_equal(network.layers[-1].skip, np.eye(N))


def test_skip_connection_of_one_input(tmp_path):
    g = Graph()
    y = g.add("MatMul", g.add("Squeeze", g.cell()[0], [1]), g.weights(K, 1))
    y = g.add("Add", y, g.add("Slice", "x", [0], [1], [2]))
    network = proved(g.save(tmp_path, y), "sequence")
    np.testing.assert_array_equal(network.layers[-1].skip, [[1, 0]])


def test_image_reshaped_into_steps(tmp_path):
    g = Graph(["B", T * N])
    y = g.add("Transpose", g.add("Reshape", "x", [-1, T, N]), perm=[1, 0, 2])
    path = g.save(tmp_path, g.add("Squeeze", g.cell(y)[1], [0]))
    x = np.random.default_rng(3).normal(size=(B, T, N)).astype(np.float32)
    wanted = evaluated(path, {"x": x.reshape(B, T * N)})[0]
    np.testing.assert_allclose(run(read_model(path), x).y, wanted, rtol=0, atol=2e-6)


def test_unsupported_operators_are_all_named(tmp_path):
    g = Graph()
    x = g.add("LeakyRelu", "x", name="leaky")
    y = g.cell(x, activations=["Sigmoid", "Softsign", "Elu"], activation_alpha=[0.7])[1]
    y = g.add("HardSigmoid", g.gemm(g.add("Squeeze", y, [0]), K, 2), name="hard")
    path = g.save(tmp_path, g.add("LogSoftmax", y))
    lines = refused(path, "LeakyRelu leaky", "'Softsign' of its cell", "Elu (alpha 0.7) of its out",
                    "HardSigmoid hard", "LogSoftmax")
    assert len(lines) == 5


def test_several_outputs(tmp_path):
    g = Graph()
    y, h = g.cell()
    logits = g.gemm(g.add("Squeeze", h, [0]), K, 3)
    probabilities = g.add("Softmax", logits, axis=1)
    path = g.save(tmp_path, probabilities, logits, h, y)
    assert any("outputs left out: " in note for note in proved(path).notes)
    other = g.gemm(g.add("Squeeze", h, [0]), K, 2, name="/value/Gemm")
    refused(g.save(tmp_path, probabilities, other), "follows from lstm, value", "one output")


def test_cell_state_is_refused(tmp_path):
    g = Graph()
    g.cell()
    refused(g.save(tmp_path, "v0_2"), "its cell state Y_c is used")


def test_layer_names_are_the_exporters(tmp_path):
    g = Graph()
    y, _ = g.cell(name="/rnn/a/LSTM")
    y, _ = g.cell(g.add("Squeeze", y, [1]), K, name="/rnn/a/LSTM_1")
    path = g.save(tmp_path, g.gemm(last(g, y), K, 2, name="/fc/Gemm"))
    assert [layer.name for layer in proved(path).layers] == ["rnn.a", "rnn.a_1", "fc"]


def if_model(condition: Any) -> tuple[Graph, Any]:
    """A graph whose x goes through one of two LSTMs; `condition` adds it and returns its name."""
    g = Graph([T, B, N])
    chosen = condition(g)
    branches = []
    for seed in (1, 2):
        inner = Graph(seed=seed)
        y = inner.add("Squeeze", inner.cell()[0], [1])
        for node in inner.nodes:
            for names in (node.input, node.output):
                for at, name in enumerate(names):
                    names[at] = name if name == "x" else f"b{seed}{name}"
        for tensor in inner.initializers:
            tensor.name = f"b{seed}{tensor.name}"
        out = helper.make_tensor_value_info(f"b{seed}{y}", TensorProto.FLOAT, None)
        branches.append(helper.make_graph(inner.nodes, "b", [], [out], inner.initializers))
    y = g.add("If", chosen, then_branch=branches[0], else_branch=branches[1], name="rate")
    return g, y


@pytest.mark.parametrize("value", [True, False])
def test_if_with_a_constant_condition(tmp_path, value):
    g, y = if_model(lambda g: g.add("Not", g.const(not value, dtype=np.bool_)))
    proved(g.save(tmp_path, y), "sequence")


def test_if_on_the_size_of_an_axis(tmp_path):
    """torch writes it for squeeze()."""
    g, y = if_model(
        lambda g: g.add("Equal", g.add("Gather", g.add("Shape", "x"), 0, axis=0), np.array(T))
    )
    proved(g.save(tmp_path, y), "sequence")


@pytest.mark.parametrize("branch", ["then", "else"])
def test_if_that_the_user_decides(tmp_path, branch):
    g, y = if_model(lambda g: "flag")
    g.inputs.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    path = g.save(tmp_path, y)
    lines = refused(path, "If rate: the input decides between then: 1 LSTM", "--branch then")
    assert len(lines) == 1
    x = np.random.default_rng(4).normal(size=(T, B, N)).astype(np.float32)
    network = read_model(path, ReadOptions(branch=branch))
    wanted = evaluated(path, {"x": x, "flag": np.array(branch == "then")})[0]
    got = run(network, x.swapaxes(0, 1)).y
    np.testing.assert_allclose(got, wanted.swapaxes(0, 1), rtol=0, atol=2e-6)
    assert any(f"the branch {branch} (set by --branch)" in note for note in network.notes)


def test_flags_of_the_command_line(tmp_path):
    g, y = if_model(lambda g: "flag")
    g.inputs.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    path = str(g.save(tmp_path, y))
    result = CliRunner().invoke(main, ["inspect", path, "--branch", "else", "--state-row", "0"])
    assert (result.exit_code, "the branch else (set by --branch)" in result.stdout) == (0, True)
    result = CliRunner().invoke(main, ["inspect", path])
    assert (result.exit_code, "choose with --branch" in result.stderr) == (2, True)


IMPORTED = ("bidirectional", "clip", "gru_lbr0", "gru_lbr1", "hard_sigmoid", "input_forget",
            "layout1", "nobias", "peephole", "reverse")


def stored(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def agrees(network: Network, arrays: dict[str, np.ndarray]) -> None:
    agreement = compare(network, arrays, "the stored outputs")
    assert agreement.max_abs_error <= 1e-5


@pytest.mark.parametrize("name", [*(f"onnx_{name}" for name in IMPORTED), "torch_bidir2"])
def test_files_of_the_frameworks(shared_data, name):
    folder = shared_data / "importers"
    agrees(read_model(folder / f"{name}.onnx"), stored(folder / f"{name}.npz"))


@pytest.mark.parametrize("branch", ["then", "else"])
def test_file_with_if(shared_data, branch):
    folder = shared_data / "importers"
    arrays = stored(folder / "onnx_if_branch.npz")
    y = arrays["y" if branch == "then" else "y_else"]
    path = folder / "onnx_if_branch.onnx"
    agrees(read_model(path, ReadOptions(branch=branch)), {"x": arrays["x"], "y": y})
    assert len(refused(path, "--branch")) == 1


@pytest.mark.parametrize("row", range(3))
def test_file_with_initial_states_of_a_batch(shared_data, row):
    folder = shared_data / "importers"
    arrays = stored(folder / "onnx_initial_state.npz")
    path = folder / "onnx_initial_state.onnx"
    one = {key: arrays[key][row : row + 1] for key in "xy"}
    agrees(read_model(path, ReadOptions(state_row=row)), one)
    refused(path, "initial_h differs", "initial_c differs", "--state-row")


def test_file_with_lengths_of_its_own_is_refused(shared_data):
    path = shared_data / "importers" / "onnx_sequence_lens.onnx"
    refused(path, "sequence_lens is the constant 9, 4, 7")


@pytest.mark.parametrize("file", ["model.onnx", "model_unfolded.onnx"])
def test_digits_hold_the_same_weights_as_in_keras(shared_data, file):
    folder = shared_data / "digits_lstm32"
    network = read_model(folder / file)
    arrays = stored(folder / "weights.npz")
    lstm, head = network.layers
    assert isinstance(lstm, Lstm)
    assert isinstance(head, Dense)
    for found, key in ((lstm.W, "lstm0_W"), (lstm.U, "lstm0_R"), (lstm.b, "lstm0_b"),
                       (head.W, "dense_W"), (head.b, "dense_b")):
        np.testing.assert_array_equal(found, arrays[key].T)
    y = stored(folder / "float_out.npz")["y"]
    agrees(network, {"x": stored(folder / "data.npz")["x_test"], "y": y})
    assert (network.outputs, head.activation) == ("last", "softmax")


def test_both_directions_are_one_layer(tmp_path):
    g = Graph()
    y = g.add("Reshape", g.add("Transpose", g.cell(dirs=2)[0], perm=[0, 2, 1, 3]), [0, 0, -1])
    network = proved(g.save(tmp_path, g.gemm(g.add("Gather", y, -1, axis=0), 2 * K, 3)))
    layer = network.layers[0]
    assert isinstance(layer, Bidirectional)
    assert (layer.merge, layer.ends, layer.backward.name) == ("concat", "step", "lstm_backward")


def test_damaged_file(tmp_path):
    g = Graph()
    path = g.save(tmp_path, g.cell()[0])
    path.write_bytes(path.read_bytes()[:-7])
    refused(path, "is damaged; export it again")


def test_saved_model_is_bytes_alone(tmp_path):
    """What follows the model's own fields does not matter to the format's recognition."""
    g = Graph()
    model = g.model(g.cell()[0])
    model.producer_name, model.doc_string = "someone", "text"
    proved_path = save(tmp_path, model)
    assert read_model(proved_path).lstms[0].units == K
