"""PyTorch's .pt and .pth: every variant against PyTorch's formulas, and nothing executed."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmgen.errors import LstmgenError, ModelError
from lstmgen.expect import compare
from lstmgen.layers import Bidirectional, Dense, Gru, Lstm
from lstmgen.network import Network
from lstmgen.npz import read_npz
from lstmgen.readers import ReadOptions, read_model
from lstmgen.reference import run

import torch_files as tf
from torch_files import Global, Tensor, named, torch_bytes

B, T, N, K = 2, 5, 3, 4


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(B, T, N))


def read(folder: Path, value: object, suffix: str = ".pt", **options: Any) -> Network:
    return read_bytes(folder, torch_bytes(value), suffix, **options)


def read_bytes(folder: Path, data: bytes, suffix: str = ".pt", **options: Any) -> Network:
    path = folder / f"net{suffix}"
    path.write_bytes(data)
    return read_model(path, ReadOptions(**options))


def refused(folder: Path, value: object, message: str, **options: Any) -> list[str]:
    return refused_bytes(folder, torch_bytes(value), message, **options)


def refused_bytes(folder: Path, data: bytes, message: str, **options: Any) -> list[str]:
    with pytest.raises(ModelError, match=message) as caught:
        read_bytes(folder, data, **options)
    lines = str(caught.value).splitlines()
    assert all(line.startswith((str(folder / "net.pt"), "--")) for line in lines)
    return lines


def close(network: Network, x: np.ndarray, y: np.ndarray) -> None:
    got = run(network, x).y
    assert got.shape == y.shape
    assert np.abs(got - y).max() < 1e-9


def dense(arrays: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return x @ arrays["weight"].T + arrays.get("bias", 0.0)


# Variants


def test_torch_lstm_and_linear(tmp_path, rng, x):
    lstm, fc = tf.weights(rng, N, K), tf.linear(rng, K, 2)
    network = read(tmp_path, named(lstm=lstm, fc=fc))
    close(network, x, dense(fc, tf.recurrent(lstm, x))[:, -1])
    assert (network.name, [layer.name for layer in network.layers]) == ("net", ["lstm", "fc"])
    assert network.notes[:3] == (
        "PyTorch state dict; gate order i, f, g, o",
        "lstm: bias is bias_ih + bias_hh",
        "fc: Linear",
    )


def test_torch_lstm_stacked(tmp_path, rng, x):
    arrays = {**tf.weights(rng, N, K), **tf.weights(rng, K, K, suffix="_l1")}
    network = read(tmp_path, named(lstm=arrays), outputs="sequence")
    close(network, x, tf.recurrent(arrays, tf.recurrent(arrays, x), "_l1"))
    assert [layer.name for layer in network.layers] == ["lstm_l0", "lstm_l1"]


def test_torch_lstm_without_bias(tmp_path, rng, x):
    lstm = tf.weights(rng, N, K, bias=False)
    network = read(tmp_path, named(lstm=lstm), outputs="sequence")
    close(network, x, tf.recurrent(lstm, x))
    assert "lstm: no bias arrays, so the bias is zero" in network.notes


def test_torch_lstm_projection(tmp_path, rng, x):
    lstm = tf.weights(rng, N, K, projection=2)
    network = read(tmp_path, named(lstm=lstm), outputs="sequence")
    close(network, x, tf.recurrent(lstm, x))
    assert "lstm: projection by weight_hr (proj_size)" in network.notes


def both_ways(rng: np.random.Generator, inputs: int, suffix: str, **form: Any) -> dict[str, Any]:
    return {
        **tf.weights(rng, inputs, K, suffix=suffix, **form),
        **tf.weights(rng, inputs, K, suffix=f"{suffix}_reverse", **form),
    }


@pytest.mark.parametrize(("gates", "projection"), [(4, None), (4, 2), (3, None)])
def test_torch_bidirectional(tmp_path, rng, x, gates, projection):
    width = 2 * (projection or K)
    form = {"gates": gates, "projection": projection}
    arrays = {**both_ways(rng, N, "_l0", **form), **both_ways(rng, width, "_l1", **form)}
    y = x
    for suffix in ("_l0", "_l1"):
        y = np.concatenate([tf.recurrent(arrays, y, suffix + way) for way in ("", "_reverse")], -1)
    close(read(tmp_path, named(rnn=arrays), outputs="sequence"), x, y)
    step = read(tmp_path, named(rnn=arrays))
    close(step, x, y[:, -1])
    note = "rnn_l1: last values are output[:, -1], where the backward half has read one step (not"
    assert any(line.startswith(note) for line in step.notes)
    state = read(tmp_path, named(rnn=arrays), ends="state")
    half = width // 2
    close(state, x, np.concatenate([y[:, -1, :half], y[:, 0, half:]], -1))
    note = "rnn_l1: last values are the last states h_n of both directions (set by --ends)"
    assert note in state.notes
    layer = state.layers[1]
    assert isinstance(layer, Bidirectional)
    assert [part.name for part in layer.halves] == ["rnn_l1_forward", "rnn_l1_backward"]


def test_torch_gru(tmp_path, rng, x):
    gru = tf.weights(rng, N, K, gates=3)
    network = read(tmp_path, named(gru=gru), outputs="sequence")
    close(network, x, tf.recurrent(gru, x))
    assert isinstance(network.layers[0], Gru)
    assert "gru: GRU, gate order r, z, n" in network.notes


def test_torch_gru_without_bias(tmp_path, rng, x):
    gru = tf.weights(rng, N, K, gates=3, bias=False)
    close(read(tmp_path, named(gru=gru), outputs="sequence"), x, tf.recurrent(gru, x))


@pytest.mark.parametrize("gates", [3, 4])
def test_torch_cells(tmp_path, rng, x, gates):
    cell = tf.weights(rng, N, K, gates=gates, suffix="")
    close(read(tmp_path, named(cell=cell), outputs="sequence"), x, tf.recurrent(cell, x, ""))


@pytest.mark.parametrize(("gates", "name"), [(3, "gru"), (4, "lstm")])
def test_torch_module_saved_alone(tmp_path, rng, x, gates, name):
    arrays = tf.weights(rng, N, K, gates=gates)
    network = read(tmp_path, OrderedDict(arrays))
    assert network.layers[0].name == name
    close(network, x, tf.recurrent(arrays, x)[:, -1])


def test_torch_embedding(tmp_path, rng):
    table, lstm = tf.values(rng, 7, N), tf.weights(rng, N, K)
    index = rng.integers(0, 7, (B, T, 1)).astype(float)
    y = tf.recurrent(lstm, table[index[..., 0].astype(int)])[:, -1]
    for name in ("emb", "table"):
        network = read(tmp_path, named(**{name: {"weight": table}}, lstm=lstm))
        close(network, index, y)
        assert f"{name}: Embedding of 7 rows" in network.notes


def test_torch_embedding_as_wide_as_long_goes_by_its_name(tmp_path, rng):
    square, lstm = {"weight": tf.values(rng, N, N)}, tf.weights(rng, N, K)
    assert read(tmp_path, named(word_embeddings=square, lstm=lstm)).inputs == 1
    network = read(tmp_path, named(first=square, lstm=lstm))
    assert (network.inputs, type(network.layers[0])) == (N, Dense)


def test_torch_batchnorm_before_lstm(tmp_path, rng, x):
    bn, lstm = tf.norm(rng, N), tf.weights(rng, N, K)
    network = read(tmp_path, named(bn=bn, lstm=lstm))
    close(network, x, tf.recurrent(lstm, tf.batch_norm(bn, x))[:, -1])
    assert len(network.layers) == 1
    assert "bn: BatchNorm1d, eps 1e-05 assumed (not stored in the file)" in network.notes


def test_torch_batchnorm_that_is_not_affine(tmp_path, rng, x):
    bn = {key: tf.norm(rng, K)[key] for key in ("running_mean", "running_var")}
    bn["running_var"] = abs(bn["running_var"])
    lstm, fc = tf.weights(rng, N, K), tf.linear(rng, K, 2)
    network = read(tmp_path, named(lstm=lstm, bn=bn, fc=fc))
    close(network, x, dense(fc, tf.batch_norm(bn, tf.recurrent(lstm, x)))[:, -1])


BEHIND = "bn: comes behind the activation of fc (one behind it is set with --activation bn=relu)"


def test_torch_batchnorm_behind_the_last_linear(tmp_path, rng, x):
    lstm, fc, bn = tf.weights(rng, N, K), tf.linear(rng, K, 2), tf.norm(rng, 2)
    arrays = named(lstm=lstm, fc=fc, bn=bn)
    h = tf.recurrent(lstm, x)[:, -1]
    network = read(tmp_path, arrays)
    close(network, x, tf.batch_norm(bn, dense(fc, h)))
    assert len(network.layers) == 2
    # The activation of fc comes before the normalization, whose place is behind it.
    network = read(tmp_path, arrays, activations={"fc": "relu"})
    close(network, x, tf.batch_norm(bn, np.maximum(dense(fc, h), 0)))
    assert BEHIND in network.notes
    # That of bn behind the normalization, folded into fc.
    network = read(tmp_path, arrays, activations={"bn": "relu"})
    close(network, x, np.maximum(tf.batch_norm(bn, dense(fc, h)), 0))
    assert [layer.name for layer in network.layers] == ["lstm", "bn"]
    assert "bn: fc and the normalization behind it as one layer" in network.notes
    both = read(tmp_path, arrays, activations={"fc": "tanh", "bn": "relu"})
    close(both, x, np.maximum(tf.batch_norm(bn, np.tanh(dense(fc, h))), 0))
    head = read(tmp_path, arrays, head="sigmoid", activations={"fc": "relu"})
    z = tf.batch_norm(bn, np.maximum(dense(fc, h), 0))
    close(head, x, 1 / (1 + np.exp(-z)))
    assert "bn: activation sigmoid behind it (set by --head)" in head.notes


def test_torch_batchnorm_between_linears(tmp_path, rng, x):
    fc, bn, lstm = tf.linear(rng, N, N), tf.norm(rng, N), tf.weights(rng, N, K)
    arrays = named(fc=fc, bn=bn, lstm=lstm)
    network = read(tmp_path, arrays, activations={"fc": "relu"})
    y = tf.batch_norm(bn, np.maximum(dense(fc, x), 0))
    close(network, x, tf.recurrent(lstm, y)[:, -1])
    network = read(tmp_path, arrays, activations={"bn": "tanh"})
    y = np.tanh(tf.batch_norm(bn, dense(fc, x)))
    close(network, x, tf.recurrent(lstm, y)[:, -1])


# The file


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ""])
@pytest.mark.parametrize("protocol", [2, 4])
def test_torch_protocols_and_suffixes(tmp_path, rng, x, suffix, protocol):
    lstm = tf.weights(rng, N, K)
    data = torch_bytes(named(lstm=lstm), protocol)
    close(read_bytes(tmp_path, data, suffix), x, tf.recurrent(lstm, x)[:, -1])


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "bf16"])
def test_torch_types_of_values(tmp_path, rng, x, kind, byteorder):
    lstm = {key: tf.Brain(array).bits for key, array in tf.weights(rng, N, K).items()}
    exact = {key: (bits.astype("<u4") << 16).view("<f4") for key, bits in lstm.items()}
    stored: dict[str, Any] = {key: tf.Brain(array) for key, array in exact.items()}
    if kind != "bf16":
        stored = {key: array.astype(kind) for key, array in exact.items()}
        exact = {key: array.astype(np.float64) for key, array in stored.items()}
    data = torch_bytes(named(lstm=stored), byteorder=byteorder)
    close(read_bytes(tmp_path, data), x, tf.recurrent(exact, x)[:, -1])


def test_torch_parameters(tmp_path, rng, x):
    lstm = tf.weights(rng, N, K)
    value = OrderedDict((f"lstm.{key}", tf.Parameter(array)) for key, array in lstm.items())
    close(read(tmp_path, value), x, tf.recurrent(lstm, x)[:, -1])


def test_torch_views(tmp_path, rng, x):
    """Transposed, with an offset, two in one storage, a row for all: as strides say."""
    lstm = tf.weights(rng, N, K)
    W, b = lstm["weight_ih_l0"], lstm["bias_ih_l0"]
    shared = np.concatenate([b, lstm["bias_hh_l0"]])
    row = tf.values(rng, K)
    fc = np.tile(row, (2, 1))
    value: OrderedDict[str, Any] = named(lstm=lstm)
    value["lstm.weight_ih_l0"] = Tensor(W.T.copy().ravel(), 0, W.shape, (1, 4 * K))
    value["lstm.bias_ih_l0"] = Tensor(shared, 0, b.shape, (1,), key="90")
    value["lstm.bias_hh_l0"] = Tensor(shared, len(b), b.shape, (1,), key="90")
    value["fc.weight"] = Tensor(row, 0, fc.shape, (0, 1))
    value["fc.bias"] = Tensor(row, 1, (2,), (2,))
    wanted = dense({"weight": fc, "bias": row[1::2]}, tf.recurrent(lstm, x)[:, -1])
    close(read(tmp_path, value), x, wanted)


@pytest.mark.parametrize("root", ["archive/", "net/", ""])
def test_torch_roots_of_archives(tmp_path, rng, root):
    data = torch_bytes(named(lstm=tf.weights(rng, N, K)), root=root)
    assert read_bytes(tmp_path, data).inputs == N


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_torch_wrappers(tmp_path, rng, prefix):
    lstm = tf.weights(rng, N, K)
    value = OrderedDict((f"{prefix}lstm.{key}", array) for key, array in lstm.items())
    assert read(tmp_path, value).layers[0].name == "lstm"
    value["lstm.weight_ih_l0"] = lstm["weight_ih_l0"]
    refused(tmp_path, value, r"lstm\.weight_ih_l0 are both lstm\.weight_ih_l0; expected one|both")


def test_torch_nested_checkpoint(tmp_path, rng, x):
    lstm = tf.weights(rng, N, K)
    moments = {number: {"exp_avg": array} for number, array in enumerate(lstm.values())}
    value = {
        "epoch": 3,
        "optimizer": {"state": moments, "param_groups": [{"lr": 1e-3, "params": [0, 1]}]},
        "nets": [{"state_dict": named(lstm=lstm)}],
    }
    network = read(tmp_path, value)
    close(network, x, tf.recurrent(lstm, x)[:, -1])
    assert network.notes[0].startswith("PyTorch state dict under nets.0.state_dict; gate order")


def test_torch_several_state_dicts_are_refused(tmp_path, rng):
    lstm = named(lstm=tf.weights(rng, N, K))
    message = r"holds weights in several dicts: model, ema; expected one; save that alone: torch\.s"
    refused(tmp_path, {"model": lstm, "ema": OrderedDict(lstm)}, message)
    parts = {"lstm": tf.weights(rng, N, K), "fc": tf.linear(rng, K, 2)}
    refused(tmp_path, parts, r"several dicts: lstm, fc; expected one")


# The order of modules


def test_torch_order_that_alone_fits(tmp_path, rng, x):
    lstm, fc = tf.weights(rng, N, K), tf.linear(rng, K, 2)
    network = read(tmp_path, named(fc=fc, lstm=lstm))
    close(network, x, dense(fc, tf.recurrent(lstm, x)[:, -1]))
    note = "order of modules lstm, fc: the only one in which their widths fit (set another with"
    assert network.notes[1].startswith(note)


def test_torch_order_of_the_file_where_several_fit(tmp_path, rng):
    a, b = tf.weights(rng, K, K), tf.weights(rng, K, K)
    network = read(tmp_path, named(b=b, a=a))
    assert [layer.name for layer in network.layers] == ["b", "a"]
    note = "order of modules b, a: as in the file (another also fits; set it with --order b,a)"
    assert note in network.notes
    network = read(tmp_path, named(b=b, a=a), order=("a", "b"))
    assert [layer.name for layer in network.layers] == ["a", "b"]


def test_torch_order_leaves_out(tmp_path, rng, x):
    lstm, fc, aux = tf.weights(rng, N, K), tf.linear(rng, K, 2), tf.linear(rng, K, 5)
    value = named(lstm=lstm, aux=aux, fc=fc, loss={"weight": np.ones(2)}, odd={"thing": np.ones(2)})
    network = read(tmp_path, value, order=("lstm", "fc"))
    close(network, x, dense(fc, tf.recurrent(lstm, x)[:, -1]))
    assert "modules that --order leaves out: aux, loss, odd" in network.notes


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (("lstm", "fd"), r"--order: 'fd' names no module; modules here: lstm, fc"),
        (("lstm", "fc", "lstm"), r"--order names 'lstm' 2 times; expected once"),
        (("fc", "lstm"), r"lstm\.W takes 3 inputs; expected 2, the width of fc"),
    ],
)
def test_torch_orders_that_do_not_fit(tmp_path, rng, order, message):
    value = named(lstm=tf.weights(rng, N, K), fc=tf.linear(rng, K, 2))
    refused(tmp_path, value, message, order=order)


def test_torch_modules_that_fit_nowhere(tmp_path, rng):
    value = named(lstm=tf.weights(rng, N, K), fc=tf.linear(rng, K + 1, 2))
    refused(tmp_path, value, r"fc\.W takes 5 inputs; expected 4, the width of lstm")
    value = named(fc=tf.linear(rng, K, K), lstm=tf.weights(rng, N, K), gc=tf.linear(rng, K, K))
    message = r"fit in several orders, such as lstm,fc,gc or lstm,gc,fc; say which with --order ls"
    refused(tmp_path, value, message)


def test_many_modules_are_ordered_in_no_time(tmp_path, rng):
    names = [f"{letter}{number}" for letter in "pqrstu" for number in range(9)]
    modules = {name: tf.linear(rng, 2, 2) for name in names}
    value = named(**modules, lstm=tf.weights(rng, 3, 2))
    refused(tmp_path, value, r"fit in several orders, such as lstm,p0,p1,")
    value = named(**modules, lstm=tf.weights(rng, 3, 4))
    refused(tmp_path, value, r"lstm\.W takes 3 inputs; expected 2, the width of u8")
    hidden = {f"a{number}": tf.linear(rng, *((2, 4), (4, 2))[number % 2]) for number in range(20)}
    value = named(**hidden, lstm=tf.weights(rng, 3, 2), z=tf.linear(rng, 2, 3))
    got = read(tmp_path, value, order=("lstm", *hidden))
    assert len(got.layers) == 21


# Options that do not apply


def test_ends_without_a_bidirectional_layer(tmp_path, rng):
    value = named(lstm=tf.weights(rng, N, K))
    refused(tmp_path, value, r"--ends state does not apply: there is no bidirec", ends="state")
    refused(tmp_path, value, r"--ends start: unknown; expected one of state, step", ends="start")


def test_order_where_the_file_states_it(tmp_path, rng):
    network = read(tmp_path, named(lstm=tf.weights(rng, N, K)))
    network.save(tmp_path / "own.npz")
    with pytest.raises(ModelError, match="--order does not apply: the file states the order"):
        read_model(tmp_path / "own.npz", ReadOptions(order=("lstm",)))


# Refusals


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"lstm.weight_hh_l0": np.ones((K, K))}, r"\(4, 4\), a simple RNN, which is not supp"),
        ({"lstm.bias_hh_l0": np.ones(3)}, r"lstm\.bias_hh_l0 is \(3,\); expected \(16,\)"),
        ({"lstm.weight_hr_l0": np.ones((2, K))}, r"lstm\.projection is \(2, 4\); expected \(4, "),
        ({"lstm.weight_hr_l0": np.ones(2)}, r"lstm\.projection is \(2,\)"),
        ({"lstm.weight_hh_l0_reverse": np.ones((4, 4))}, r"weight_ih_l0_reverse is missing; expec"),
        ({"lstm.weight_hh_l2": np.ones((4, 4))}, r"weight_ih_l1 is missing; the arrays go up to"),
        ({"ln.weight": np.ones(K), "ln.bias": np.ones(K)}, r"\(4,\); .* it seems LayerNorm, or an"),
        ({"conv.weight": np.ones((2, 2, 2))}, r"it seems a convolution, which is not supported"),
        ({"bn.running_mean": np.ones(K)}, r"bn\.running_var is missing; expected running_mean, ru"),
        (
            {"bn.running_mean": np.ones(K), "bn.running_var": -np.ones(K)},
            r"bn\.running_var is negative in places; expected variances",
        ),
        (
            {"bn.running_mean": np.ones(3), "bn.running_var": np.ones(K)},
            r"bn\.running_mean is \(3,\); expected \(n,\), as all of bn",
        ),
        (
            {"bn.running_mean": np.ones(5000), "bn.running_var": np.ones(5000)},
            r"bn has 5000 features; expected at most 4096",
        ),
        ({"att.in_proj_weight": np.ones((3, 3))}, r"in_proj_weight: part of attention, which is"),
        (
            {f"lstm.parametrizations.weight_hh_l0.original{n}": np.ones(1) for n in (0, 1)},
            r"original0 and 1 more: part of weight normalization \(remove it before saving\), whi",
        ),
        ({"lstm.weight_g": np.ones(1)}, r"part of weight normalization"),
        ({"fc._packed_params.dtype": np.ones(1)}, r"part of a quantized module \(save the float"),
        ({"lstm._all_weight_values": 3}, r"part of a quantized module \(save the float network"),
        ({"lstm.bias_ih_l0": 3}, r"'lstm\.bias_ih_l0' is a int; expected a tensor"),
        ({"scale": np.ones(1)}, r"array scale is unknown; expected those of LSTM, GRU, LSTMCell"),
        ({"a\nb.weight": np.ones(1)}, r"array 'a\\nb\.weight': its name has 10 characters"),
        ({"a" * 300: np.ones(1)}, r"its name has 300 characters; expected at most 200, all print"),
        (
            {"lstm.bias_ih_l0": np.full(16, 0x7FA00000, np.uint32).view(np.float32)},
            r"bias_ih_l0 holds 16 values that are NaN or",  # signalling
        ),
        ({"lstm.bias_ih_l0": np.full(16, np.nan)}, r"bias_ih_l0 holds 16 values that are NaN or"),
    ],
)
def test_torch_state_dicts_that_are_refused(tmp_path, rng, more, message):
    refused(tmp_path, named(lstm=tf.weights(rng, N, K)) | more, message)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"offset": 1}, r"reaches to value 16 of its storage; expected less than 16, its length"),
        ({"offset": 1 << 61}, r"reaches to value \d+ of its storage"),
        ({"offset": -1}, r"damaged \('a size or offset is no natural number'\)"),
        ({"strides": (2,)}, r"reaches to value 30 of its storage"),
        ({"strides": (-1,)}, r"a size or offset is no natural number"),
        ({"strides": (1, 1)}, r"a tensor has not as many strides as dimensions"),
        ({"shape": (17,)}, r"reaches to value 16 of its storage"),
        ({"shape": (1 << 40,), "strides": (0,)}, r"\(1099511627776,\); expected at most 16777216"),
        ({"shape": (1,) * 9, "strides": (1,) * 9}, r"expected at most 16777216 values in 8 dimens"),
        ({"count": 17}, r"entry data/0 has 64 bytes; expected 68, those of 17 values"),
        ({"count": 1 << 61}, r"entry data/0 has 64 bytes; expected"),
        ({"kind": "DoubleStorage"}, r"entry data/0 has 64 bytes; expected 128, those of 16 values"),
        ({"kind": "QInt8Storage"}, r"refers to torch\.QInt8Storage, .*; a quantized module's; s"),
        ({"key": "../version"}, r"damaged \(\"a storage's key is no number\"\)"),
        ({"key": "²"}, r"a storage's key is no number"),
    ],
)
def test_torch_tensors_outside_their_storage(tmp_path, tensor, message):
    right: dict[str, Any] = {"offset": 0, "shape": (16,), "strides": (1,)}
    value = OrderedDict({"lstm.bias_ih_l0": Tensor(np.ones(16, np.float32), **(right | tensor))})
    refused(tmp_path, value, message)


def test_torch_size_of_one_may_have_any_stride(tmp_path, rng):
    value: OrderedDict[str, Any] = named(lstm=tf.weights(rng, 1, K))
    W = value["lstm.weight_ih_l0"]
    value["lstm.weight_ih_l0"] = Tensor(W.ravel(), 0, W.shape, (1, 1 << 61))
    np.testing.assert_array_equal(read(tmp_path, value).lstms[0].W, W)


def test_torch_views_cannot_fill_the_memory(tmp_path, rng):
    """Each is allowed for, all together are too much."""
    one = np.ones(1, np.float32)
    views = {f"fc{n}.weight": Tensor(one, 0, (4096, 4096), (0, 0), key="77") for n in range(99)}
    value = named(lstm=tf.weights(rng, N, K)) | views
    refused(tmp_path, value, r"holds \d+ values; expected at most 16777216 weights")


# Nothing is executed


def bombs(target: Path) -> dict[str, bytes]:
    command = f"touch {target}"
    text = b"X" + len(command).to_bytes(4, "little") + command.encode()
    return {
        "os.system": b"\x80\x02cos\nsystem\n(" + text + b"tR.",
        "posix.system": b"\x80\x02cposix\nsystem\n" + text + b"\x85R.",
        "builtins.eval": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93" + text + b"\x85R.",
        "os.popen": b"(" + text + b"ios\npopen\n.",
        "builtins.getattr": b"\x80\x02cbuiltins\ngetattr\n.",
        "subprocess.Popen": b"\x80\x02csubprocess\nPopen\n" + text + b"\x85\x81.",
        "torch.serialization.load": b"\x80\x02ctorch.serialization\nload\n" + text + b"\x85R.",
        "torch.load": b"\x80\x02ctorch\nload\n" + text + b"\x85R.",
    }


@pytest.mark.parametrize("name", bombs(Path("x")))
def test_torch_pickle_bomb_is_refused_by_name(tmp_path, rng, name):
    target = tmp_path / "exploded"
    bomb = bombs(target)[name]
    message = rf"its pickle refers to {name}, which is never loaded; "
    lines = refused_bytes(tmp_path, torch_bytes({}, pickled=bomb), message)
    assert len(lines) == 1
    inside = named(lstm=tf.weights(rng, N, K)) | {"bomb": bomb.removesuffix(b".")[2:]}
    if bomb.startswith(b"\x80"):
        refused(tmp_path, inside, message)
    assert not target.exists()


def test_the_bomb_would_go_off(tmp_path):
    """The bomb is real: Python's own unpickler runs it."""
    target = tmp_path / "exploded"
    pickle.loads(bombs(target)["os.system"])
    assert target.exists()


def test_all_foreign_names_are_listed(tmp_path):
    value = [Global("argparse", "Namespace"), Global("numpy", "dtype"), Global("torch", "Size")]
    message = r"refers to argparse\.Namespace, numpy\.dtype, torch\.Size, which is never loaded"
    refused(tmp_path, {"state_dict": value}, message)


@pytest.mark.parametrize(
    ("module", "name", "hint"),
    [
        ("torch.nn.modules.rnn", "LSTM", r"a whole module was saved; save tensors alone: torch\.s"),
        ("torch._utils", "_rebuild_qtensor", r"a quantized module's; save the state dict of the"),
        ("torch", "qint8", r"a quantized module's"),
        ("__torch__.torch.classes", "Linear", r"a scripted module's"),
    ],
)
def test_what_is_not_loaded_comes_with_a_hint(tmp_path, module, name, hint):
    refused(tmp_path, {"x": Global(module, name)}, hint)


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        (b"}q\x00(X\x01\x00\x00\x00ah\x00u", r"holds no arrays of an LSTM or GRU"),  # holds itself
        (b"](" * 100_000 + b"e" * 100_000, r"holds no arrays of an LSTM or GRU"),  # deep
        (b"(K\x01t" + b"q\x00h\x00\x86" * 99 + b"}h\x00K\x01s", r"damaged"),  # no hash of tuples
        (b"}" + b"N" * 2_000_000, r"data\.pkl has more than 524288 operations"),
        (b"}" + b"\x8b\xff\xff\xff\x7f", r"data\.pkl is damaged"),  # a number of 2 GiB
        (b"", r"data\.pkl is damaged"),
        (b"0", r"uses the operation POP, which no state dict needs"),
        (b"\x8f", r"uses the operation EMPTY_SET, which no state dict needs"),
        (b"h\x07", r"data\.pkl is damaged"),
        (b"(((", r"data\.pkl is damaged"),
        (b"K\x01K\x02K\x03", r"data\.pkl is damaged"),
        (b"ccollections\nOrderedDict\n(K\x01tR", r"damaged \('a call of collections OrderedDict"),
        (b"ctorch\nFloatStorage\n)R", r"damaged \('a call of torch FloatStorage'\)"),
        (b"](K\x01K\x02u", r"damaged \('list instead of dict'\)"),
        (b"}(K\x01u", r"damaged \('a key without a value'\)"),
        (b"K\x07Q", r"damaged \('int instead of tuple'\)"),
        (b"\xff", r"data\.pkl is damaged"),
    ],
)
def test_torch_pickles_that_are_none(tmp_path, operations, message):
    refused_bytes(tmp_path, torch_bytes({}, pickled=b"\x80\x02" + operations + b"."), message)


def test_torch_files_of_other_kinds(tmp_path, rng):
    value = named(lstm=tf.weights(rng, N, K))
    code = {"code/__torch__.py": b"import os"}
    refused_bytes(tmp_path, torch_bytes(value, more=code), r"is TorchScript \(torch\.jit\.save\)")
    legacy = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e") + b"\x80\x02M\xe9\x03."
    refused_bytes(tmp_path, legacy, r"is in the format of PyTorch before 1\.6, which is not read")
    packed = torch_bytes(value, compression=zipfile.ZIP_DEFLATED)
    refused_bytes(tmp_path, packed, r"is compressed or encrypted; expected it stored, as torch\.s")
    two = torch_bytes(value, more={"more/data.pkl": b""})
    refused_bytes(tmp_path, two, r"has 2 entries data\.pkl; expected one")
    huge = torch_bytes(value, pickled=b"\x80\x02" + b"N" * (5 << 20))
    refused_bytes(tmp_path, huge, r"data\.pkl has 5242882 bytes; expected at most 4194304")
    refused_bytes(tmp_path, torch_bytes(value, byteorder="little "), r"byteorder is b'little '")
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = torch_bytes(value, more={"data/0": b""})
    refused_bytes(tmp_path, twice, r"has several entries of one name")
    refused(tmp_path, {"epoch": 3}, r"holds no arrays of an LSTM or GRU \(weight_ih_l0, \.\.\.\)")
    refused(tmp_path, np.ones(3), r"holds no arrays of an LSTM or GRU")
    missing = torch_bytes(value).replace(b"archive/data/0", b"archive/data/z")
    refused_bytes(tmp_path, missing, r"'lstm\.weight_ih_l0': entry data/0 is missing; copy the f")


def damaged(path: Path, data: bytes) -> bool:
    """Return whether the bytes are read; else they have to be refused in lines."""
    path.write_bytes(data)
    lines = [str(path)]
    try:
        network = read_model(path)
    except LstmgenError as error:
        network, lines = None, str(error).splitlines()
    assert lines
    assert all(line.startswith(str(path)) for line in lines)
    if network is None:
        return False
    with np.errstate(all="ignore"):
        run(network, np.zeros((1, 2, network.inputs)))
    return True


def test_torch_damaged_files_are_read_or_refused(tmp_path, rng):
    modules = {"lstm": both_ways(rng, N, "_l0"), "bn": tf.norm(rng, 8), "fc": tf.linear(rng, 8, 2)}
    value = {"epoch": 1, "state_dict": named(**modules)}
    for protocol in (2, 4):
        writer = tf.Writer(protocol)
        right = writer.pickled(value)
        read_right = 0
        for trial in range(400):
            data = bytearray(right)
            for at in rng.integers(0, len(data), rng.integers(1, 4)):
                data[at] = rng.integers(0, 256)
            if trial % 7 == 0:
                data = data[: rng.integers(0, len(data))]
            # The pickle is damaged, but whole in the archive: a checksum would catch the rest.
            file = torch_bytes(value, protocol, pickled=bytes(data))
            read_right += damaged(tmp_path / "m.pt", file)
        assert read_right < 200
    whole = torch_bytes(value)
    for length in range(0, len(whole), 61):
        assert not damaged(tmp_path / "m.pt", whole[:length])


# Files of PyTorch itself


@pytest.mark.parametrize("name", ["bidir2", "gru", "lstmcell", "nobias", "proj"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_files_of_pytorch(shared_data, name, suffix):
    stem = shared_data / "importers" / f"torch_{name}"
    known = read_npz(stem.with_suffix(".npz"))
    network = read_model(f"{stem}.{suffix}", ReadOptions(outputs="sequence"))
    assert compare(network, known, name).max_abs_error < 1e-6
    if name == "bidir2":
        network = read_model(f"{stem}.{suffix}", ReadOptions(ends="state"))
        states = np.concatenate(known["h_n"][2:], -1)
        assert compare(network, {"x": known["x"], "y": states}, name).max_abs_error < 1e-6
        network = read_model(f"{stem}.{suffix}")
        last = {"x": known["x"], "y": known["y"][:, -1]}
        assert compare(network, last, name).max_abs_error < 1e-6


def test_digits_in_every_form_of_pytorch(shared_data):
    folder = shared_data / "digits_lstm32"
    known = read_npz(folder / "torch_out.npz")
    names = ("model.pt", "checkpoint.pt", "model.safetensors", "model_torch.npz")
    networks = [read_model(folder / name, ReadOptions(head="softmax")) for name in names]
    for network in networks:
        assert compare(network, known, network.name).max_abs_error < 1e-6
        lstm, fc = network.layers
        first_lstm, first_fc = networks[0].layers
        assert isinstance(lstm, Lstm)
        assert isinstance(first_lstm, Lstm)
        for key in ("W", "U", "b"):
            np.testing.assert_array_equal(getattr(lstm, key), getattr(first_lstm, key))
        np.testing.assert_array_equal(fc.W, first_fc.W)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("whole_module", r"refers to torch\.nn\.modules\.rnn\.LSTM, .*a whole module was saved"),
        ("legacy_format", r"is in the format of PyTorch before 1\.6"),
    ],
)
def test_files_of_pytorch_that_are_refused(shared_data, name, message):
    with pytest.raises(ModelError, match=message):
        read_model(shared_data / "importers" / f"refuse_torch_{name}.pt")
