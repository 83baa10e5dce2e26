"""Every variant of Keras' layers that is read, against what Keras computes; and those refused."""

import numpy as np
import pytest

from lstmgen.errors import ModelError
from lstmgen.expect import compare
from lstmgen.layers import Bidirectional, Embedding, Lstm
from lstmgen.readers import ReadOptions, read_model
from lstmgen.reference import run

import keras_files as kf

N, T = 5, 7
SEQUENCE = {"return_sequences": True}


def agrees(folder, net, version="3.15.1"):
    """Read the network, from .keras and from .h5 alike, and compare it with Keras."""
    x = kf.values(3, T, N)
    wanted = kf.run(net, x, int(version[0]))
    for write in (kf.write_keras, kf.write_h5):
        network = read_model(write(folder / "m", net, version))
        got = run(network, x).y
        assert got.shape == wanted.shape
        assert abs(got - wanted).max() < 1e-12
    return network


def refused(folder, net, *messages):
    path = kf.write_keras(folder / "m.keras", net)
    with pytest.raises(ModelError) as caught:
        read_model(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(messages), lines
    for line, message in zip(lines, messages, strict=True):
        assert line.startswith(f"{path}: ")
        assert message in line


@pytest.mark.parametrize("merge", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("every", [True, False])
def test_bidirectional(tmp_path, merge, every):
    half = kf.lstm("half", N, 4, return_sequences=every)
    for explicit in (True, False):
        net = [kf.bidirectional("bi", half, merge, explicit)]
        network = agrees(tmp_path, net)
    assert [part.name for part in network.recurrent] == ["bi_forward", "bi_backward"]
    assert network.layers[0].ends == ("step" if every else "state")


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_gru(tmp_path, after, bias):
    if after or bias:
        network = agrees(tmp_path, [kf.gru("g", N, 4, reset_after=after, use_bias=bias)])
        assert network.layers[0].reset_after == after


def test_without_biases(tmp_path):
    net = [kf.lstm("l", N, 4, use_bias=False), kf.dense("d", 4, 2, use_bias=False)]
    agrees(tmp_path, net)


def test_go_backwards(tmp_path):
    net = [kf.lstm("a", N, 4, go_backwards=True, **SEQUENCE),
           kf.gru("b", 4, 4, go_backwards=True, **SEQUENCE), kf.lstm("c", 4, 3, go_backwards=True)]
    network = agrees(tmp_path, net)
    assert [layer.direction for layer in network.layers] == ["flipped", "flipped", "reverse"]
    assert "a: goes backwards; its outputs stand in the order computed" in network.notes
    agrees(tmp_path, net[:1])


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "linear"])
def test_cell_activations(tmp_path, name):
    agrees(tmp_path, [kf.lstm("l", N, 4, activation=name, **SEQUENCE),
                      kf.gru("g", 4, 3, activation=name)])


@pytest.mark.parametrize("version", ["2.15.0", "3.15.1"])
def test_hard_sigmoid_of_keras_2_and_3(tmp_path, version):
    net = [kf.lstm("l", N, 4, recurrent_activation="hard_sigmoid", **SEQUENCE),
           kf.gru("g", 4, 3, recurrent_activation="hard_sigmoid")]
    network = agrees(tmp_path, net, version)
    wanted = {"2": "hard_sigmoid", "3": "hard_sigmoid_6"}[version[0]]
    assert [layer.gate for layer in network.layers] == [wanted] * 2


def test_cells_and_stacks_of_cells(tmp_path):
    cells = [kf.lstm("c0", N, 4), kf.gru("c1", 4, 3), kf.lstm("c2", 3, 4)]
    single = kf.gru("c3", 4, 2)
    net = [kf.rnn("stack", cells, **SEQUENCE), kf.rnn("one", [single])]
    x = kf.values(3, T, N)
    apart = [{**c, "config": {**c["config"], **SEQUENCE}} for c in cells] + [single]
    for write in (kf.write_keras, kf.write_h5):
        network = read_model(write(tmp_path / "m", net))
        assert abs(run(network, x).y - kf.run(apart, x)).max() < 1e-12
    assert [layer.name for layer in network.layers] == ["stack_0", "stack_1", "stack_2", "one"]
    back = [kf.rnn("stack", cells, go_backwards=True)]
    got = run(read_model(kf.write_keras(tmp_path / "m", back)), x).y
    assert abs(got - kf.run(apart[:3], x[:, ::-1])[:, -1]).max() < 1e-12


def test_normalization_is_folded(tmp_path):
    net = [kf.normalization("std", N), kf.batch_normalization("b0", N, scale=False),
           kf.lstm("l", N, 4), kf.batch_normalization("b1", 4, center=False),
           kf.dense("d", 4, 3), kf.batch_normalization("b2", 3),
           kf.layer("Dropout", "drop", rate=0.5), kf.layer("Activation", "act", activation="relu")]
    network = agrees(tmp_path, net)
    assert [layer.name for layer in network.layers] == ["l", "d"]
    assert network.activation == "relu"


def test_time_distributed_dense_and_activation_layers(tmp_path):
    first, last = kf.dense("d", N, 4, "tanh"), kf.dense("d", 4, 3)
    net = [kf.layer("TimeDistributed", "td", first["weights"], layer=kf.plain(first)),
           kf.lstm("l", 4, 4, **SEQUENCE),
           kf.layer("TimeDistributed", "td2", last["weights"], layer=kf.plain(last)),
           kf.layer("Softmax", "soft", axis=-1)]
    x = kf.values(3, T, N)
    wanted = kf.run([first, net[1], {**last, "config": {"activation": "softmax"}}], x)
    got = run(read_model(kf.write_keras(tmp_path / "m", net)), x).y
    assert abs(got - wanted).max() < 1e-12
    net = [kf.inputs(T, N), kf.lstm("l", N, 4), kf.layer("Activation", "a", activation="sigmoid")]
    network = agrees(tmp_path, net)
    assert "a: becomes a dense layer of the unit matrix" in network.notes


def test_embedding_first(tmp_path):
    table = kf.values(9, N)
    net = [kf.layer("Embedding", "emb", [("", "embeddings", table)], mask_zero=True),
           kf.lstm("l", N, 4)]
    network = read_model(kf.write_h5(tmp_path / "m", net))
    x = np.arange(6).reshape(2, 3, 1)
    assert isinstance(network.layers[0], Embedding)
    assert abs(run(network, x).y - kf.run(net[1:], table[x[..., 0]])).max() < 1e-12
    assert any("skips a step if its index is 0" in note for note in network.notes)


def test_masking_leaves_steps_out(tmp_path):
    net = [kf.layer("Masking", "mask", mask_value=-1.0), kf.lstm("l", N, 4)]
    network = read_model(kf.write_keras(tmp_path / "m", net))
    assert any("skips a step if all its inputs are -1.0; leave such" in n for n in network.notes)
    x = kf.values(2, T, N)
    got = run(network, x, np.array([T, 3])).y
    assert abs(got[1] - kf.run(net[1:], x[1:, :3])[0]).max() < 1e-12


def test_reshapes_that_do_nothing(tmp_path):
    net = [kf.inputs(T * N), kf.layer("Reshape", "r", target_shape=[T, N]), kf.lstm("l", N, 4),
           kf.layer("Flatten", "f"), kf.dense("d", 4, 6),
           kf.layer("Reshape", "end", target_shape=[3, 2])]
    network = agrees(tmp_path, net)
    assert "r: left to the caller; give x as (steps, inputs) = [7, 5]" in network.notes
    one = [kf.inputs(1, N), kf.lstm("l", N, 4, **SEQUENCE), kf.layer("Flatten", "f")]
    assert read_model(kf.write_keras(tmp_path / "m", one)).outputs == "last"


def test_nested_models(tmp_path):
    inner = kf.sequential("inner", kf.lstm("l", N, 4, **SEQUENCE), kf.dense("d", 4, 4, "relu"))
    net = [inner, kf.lstm("l", 4, 3), kf.dense("d", 3, 2)]
    flat = [*inner["config"]["layers"], *net[1:]]
    x = kf.values(3, T, N)
    for version in ("2.15.0", "3.15.1"):
        for write in (kf.write_keras, kf.write_h5):
            network = read_model(write(tmp_path / "m", net, version))
            assert abs(run(network, x).y - kf.run(flat, x)).max() < 1e-12
    assert [layer.name for layer in network.layers] == ["l", "d", "l_1", "d_1"]


def test_the_last_step_by_an_index(tmp_path):
    whole = {"start": None, "stop": None, "step": None}
    layers = [kf.inputs(T, N), kf.lstm("l", N, 4, **SEQUENCE), kf.dense("d", 4, 2)]
    x = kf.values(3, T, N)
    weights = kf.write_weights(tmp_path / "w.h5", layers).read_bytes()
    for kind, nodes in {
        "GetItem": [{"args": [kf.tensor("l"), [{"class_name": "__slice__", "config": whole}, -1]],
                     "kwargs": {}}],
        "SlicingOpLambda": [["l", 0, 0, {"slice_spec": [whole, -1, whole]}]],
    }.items():
        model = kf.model(layers, 3)
        chain = model["config"]["layers"]
        item = {"class_name": kind, "name": "item", "config": {"name": "item"},
                "inbound_nodes": nodes}
        chain[2]["inbound_nodes"] = [{"args": [kf.tensor("item")], "kwargs": {}}]
        chain.insert(2, item)
        network = read_model(kf.write_zip(tmp_path / "m.keras", model, weights))
        assert network.outputs == "last"
        assert abs(run(network, x).y - kf.run(layers, x)[:, -1]).max() < 1e-12


def test_the_mask_of_a_functional_model(tmp_path):
    net = [kf.inputs(T, N), kf.layer("Masking", "mask", mask_value=0.0), kf.lstm("l", N, 4)]
    weights = kf.write_weights(tmp_path / "w.h5", net).read_bytes()
    model = kf.model(net, 3)
    chain = model["config"]["layers"]
    for kind, before in (("NotEqual", "input_layer"), ("Any", "notequal")):
        chain.append({"class_name": kind, "module": "keras.src.ops.numpy", "registered_name": kind,
                      "config": {"name": kind.lower()},
                      "inbound_nodes": [{"args": [kf.tensor(before)], "kwargs": {}}]})
    chain[2]["inbound_nodes"][0]["kwargs"]["mask"] = kf.tensor("any")
    assert len(read_model(kf.write_zip(tmp_path / "m.keras", model, weights)).layers) == 1
    chain[1]["class_name"] = "Dropout"
    with pytest.raises(ModelError, match=r"layer l is given a mask; expected one from a Masking"):
        read_model(kf.write_zip(tmp_path / "m.keras", model, weights))


# What is refused


def test_custom_classes_and_functions_are_never_loaded(tmp_path):
    own = {**kf.lstm("mine", N, 4), "module": "my.module", "registered_name": "Custom>LSTM"}
    function = {"module": "builtins", "class_name": "function", "config": "f"}
    net = [own, kf.layer("Lambda", "code", function="4wEAAA=="),
           kf.lstm("l", 4, 4, activation=function), kf.dense("d", 4, 2, "gelu")]
    refused(
        tmp_path, net, "layer mine is of the custom class 'LSTM', whose code is never loaded",
        "layer code is a 'Lambda', which is not supported; its Python code is never loaded",
        "layer l: activation custom function 'f' is not supported",
        "layer d: activation gelu is not supported; expected one of linear, relu",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ([kf.layer("SimpleRNN", "s")], "layer s is a 'SimpleRNN', which is not supported"),
        ([kf.layer("LayerNormalization", "s")], "layer s is a 'LayerNormalization', which is not"),
        ([kf.lstm("a", N, 4), kf.lstm("b", 4, 4)], "layer b follows a layer with return_sequences"),
        ([kf.lstm("a", N, 4), kf.layer("RepeatVector", "r", n=3)], "r is a 'RepeatVector', which"),
        ([kf.bidirectional("b", kf.lstm("a", N, 4), None)], "b: merge_mode None has two outputs"),
        ([kf.gru("b", N, 4, recurrent_activation="tanh")],
         "layer b: recurrent_activation tanh is not supported"),
        ([kf.lstm("a", N, 4, **SEQUENCE), kf.layer("Flatten", "f")], "f flattens a whole sequence"),
        ([kf.lstm("a", N, 4), kf.layer("Reshape", "r", target_shape=[2, 2]), kf.dense("d", 2, 2)],
         "layer d follows r; expected a Reshape that changes"),
        ([kf.lstm("a", N, 4, **SEQUENCE), kf.layer("Reshape", "r", target_shape=[2, 2])],
         "layer r reshapes to [2, 2]"),
        ([kf.dense("d", N, N), kf.layer("Masking", "m"), kf.lstm("a", N, 4)],
         "layer m is a Masking layer behind d"),
        ([kf.layer("Masking", "m"), kf.lstm("a", N, 4, go_backwards=True, **SEQUENCE)],
         "layer a goes backwards under a mask and returns sequences"),
        ([kf.lstm("a", N, 4), kf.layer("ReLU", "r", max_value=6.0)], "r: max_value is 6.0"),
        ([kf.lstm("a", N, 4, time_major=True)], "a: time_major is on"),
        ([kf.rnn("r", [kf.layer("Peephole", "p")])], "its cell is a 'PeepholeCell', which is not"),
        ([kf.lstm("a", N, 4), kf.layer("BatchNormalization", "b", axis=0)],
         "layer b: axis is 0; expected the last axis"),
        ([kf.lstm("a", N, 4, dtype={"class_name": "QuantizedDTypePolicy"})], "a is quantized"),
    ],
)  # fmt: skip
def test_what_is_refused_by_name(tmp_path, net, message):
    refused(tmp_path, net, message)


def test_branches_and_states_are_refused(tmp_path):
    net = [kf.inputs(T, N), kf.lstm("a", N, 4, **SEQUENCE), kf.lstm("b", 4, 4)]
    weights = kf.write_weights(tmp_path / "w.h5", net).read_bytes()
    for change, message in (
        (lambda c: c[2]["inbound_nodes"][0]["args"].append(kf.tensor("a")), "2 ten"),
        (lambda c: c[2]["inbound_nodes"].append({"args": [kf.tensor("a")]}), "more than once"),
        (lambda c: c[2]["inbound_nodes"].__setitem__(0, {"args": [kf.tensor("a", 1)]}), "its stat"),
        (lambda c: c[1].update(inbound_nodes=[{"args": [kf.tensor("b")]}]), "form no chain"),
        (lambda c: c.append(kf.plain(kf.dense("x", 1, 1))), "'x', a 'Dense', lies beside"),
    ):
        model = kf.model(net, 3)
        change(model["config"]["layers"])
        with pytest.raises(ModelError, match=message):
            read_model(kf.write_zip(tmp_path / "m.keras", model, weights))


# Keras' weights in an .npz


def npz(folder, *net, **options):
    return read_model(kf.write_npz(folder / "m.npz", net), ReadOptions(**options))


def test_npz_gru(tmp_path):
    for after in (True, False):
        net = [kf.gru("g", N, 4, reset_after=after), kf.dense("d", 4, 2)]
        x = kf.values(2, T, N)
        network = npz(tmp_path, *net)
        assert abs(run(network, x).y - kf.run(net, x)).max() < 1e-12
        assert f"gru0: a GRU, reset_after {'on' if after else 'off'}" in network.notes


@pytest.mark.parametrize(("n", "merge"), [(N, "concat"), (N, "sum"), (4, "concat")])
def test_npz_bidirectional(tmp_path, n, merge):
    width = 8 if merge == "concat" else 4
    net = [kf.bidirectional("b", kf.lstm("l", n, 4), merge), kf.dense("d", width, 2)]
    x = kf.values(2, T, n)
    network = npz(tmp_path, *net)
    assert isinstance(network.layers[0], Bidirectional)
    assert abs(run(network, x).y - kf.run(net, x)).max() < 1e-12


def test_npz_two_equal_layers_are_stacked_where_widths_fit(tmp_path):
    network = npz(tmp_path, kf.lstm("a", 4, 4), kf.lstm("b", 4, 4), kf.dense("d", 4, 2))
    assert [type(layer) for layer in network.layers[:2]] == [Lstm, Lstm]


def test_npz_normalization_and_embedding(tmp_path):
    net = [kf.batch_normalization("b", N), kf.gru("g", N, 4), kf.batch_normalization("c", 4),
           kf.dense("d", 4, 2)]
    x = kf.values(2, T, N)
    assert abs(run(npz(tmp_path, *net), x).y - kf.run(net, x)).max() < 1e-12
    net = [kf.normalization("s", N), kf.lstm("g", N, 4)]
    assert abs(run(npz(tmp_path, *net), x).y - kf.run(net, x)).max() < 1e-12
    table = kf.values(9, N)
    network = npz(tmp_path, kf.layer("Embedding", "e", [("", "t", table)]), net[1])
    assert isinstance(network.layers[0], Embedding)
    assert any("a dense layer without bias looks the same" in note for note in network.notes)


# Files of the real frameworks


FIXTURES = ["batchnorm.keras", "batchnorm.h5", "bidirectional.keras", "bidirectional.h5",
            "bidirectional.weights.h5", "embedding.keras", "go_backwards.keras", "go_backwards.h5",
            "go_backwards_seq.keras", "go_backwards_seq.h5", "gru.keras", "gru_reset_before.keras",
            "hard_sigmoid.keras", "hard_sigmoid.h5", "masking.keras", "named_nobias.keras",
            "named_nobias.h5", "named_nobias.weights.h5", "relu.keras", "rnn_cells.keras"]


@pytest.mark.parametrize("name", FIXTURES)
def test_keras_reference_files(shared_data, name):
    folder = shared_data / "importers"
    network = read_model(folder / f"keras_{name}")
    with np.load(folder / f"keras_{name.split('.')[0]}.npz") as data:
        x, y = data["x"], data["y"]
    x = x if x.ndim == 3 else x[..., None]
    if name != "masking.keras":
        assert compare(network, {"x": x, "y": y}, name).max_abs_error < 1e-5
        return
    lengths = (x != 0).any(-1).sum(1)
    got = run(network, x, lengths).y
    for sequence, (length, wanted) in enumerate(zip(lengths, y, strict=True)):
        assert abs(got[sequence, :length] - wanted[:length]).max() < 1e-5


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.weights.h5", "model_keras2.h5",
                                  "model_keras2.keras", "model_keras2_weights.h5"])
def test_digits_and_mackey_from_keras(shared_data, name):
    for folder, options in (("digits_lstm32", ReadOptions(head="softmax")),
                            ("mackey_stacked2x32_seq", ReadOptions(outputs="sequence"))):
        path = shared_data / folder / name
        if not path.exists():
            continue
        network = read_model(path, options if "weights" in name else ReadOptions())
        with np.load(path.parent / "data.npz") as data, np.load(
            path.parent / "float_out.npz"
        ) as known:
            arrays = {"x": data["x_test"][:40], "y": known["y"][:40]}
        assert compare(network, arrays, name).max_abs_error < 1e-5
