"""lstmgen.readers: equal networks from all conventions, printed defaults, refusals by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmgen.errors import LstmgenError, ModelError
from lstmgen.layers import Dense, Embedding, Lstm
from lstmgen.network import Network
from lstmgen.readers import CONVENTIONS, ReadOptions, read_model
from lstmgen.reference import run

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the test data folder ../shared/data is absent"
)

K, N, M = 3, 2, 4
Arrays = Mapping[str, np.ndarray]


def random_network(seed: int = 5) -> Network:
    """Two LSTMs of K units over N inputs and a dense layer of M rows, single precision."""
    rng = np.random.default_rng(seed)

    def values(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32).astype(np.float64)

    return Network.of(
        Lstm("a", values(4 * K, N), values(4 * K, K), values(4 * K)),
        Lstm("b", values(4 * K, K), values(4 * K, K), values(4 * K)),
        Dense("d", values(M, K), values(M)),
    )


def state_dict(network: Network, bias_ih: float = 2.0) -> dict[str, np.ndarray]:
    """Return the arrays as PyTorch names them; b is split into two summands."""
    arrays: dict[str, np.ndarray] = {}
    for number, layer in enumerate(network.lstms):
        arrays[f"lstm.weight_ih_l{number}"] = layer.W
        arrays[f"lstm.weight_hh_l{number}"] = layer.U
        arrays[f"lstm.bias_ih_l{number}"] = bias_ih * layer.b
        arrays[f"lstm.bias_hh_l{number}"] = (1 - bias_ih) * layer.b
    head = network.layers[-1]
    assert isinstance(head, Dense)
    return {**arrays, "fc.weight": head.W, "fc.bias": head.b}


def keras(network: Network) -> dict[str, np.ndarray]:
    weights = [
        array
        for layer in network.layers
        for array in (
            (layer.W.T, layer.U.T, layer.b) if isinstance(layer, Lstm) else (layer.W.T, layer.b)
        )
    ]
    return {f"arr_{number}": array for number, array in enumerate(weights)}


def plain(network: Network) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for number, layer in enumerate(network.lstms):
        arrays |= {f"W{number}": layer.W, f"R{number}": layer.U, f"b{number}": layer.b}
    head = network.layers[-1]
    return {**arrays, "dense_W": head.W, "dense_b": head.b}


def plain_keras(network: Network) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for number, layer in enumerate(network.lstms):
        names = {"W": layer.W.T, "R": layer.U.T, "b": layer.b}
        arrays |= {f"lstm{number}_{key}": array for key, array in names.items()}
    head = network.layers[-1]
    return {**arrays, "dense_W": head.W.T, "dense_b": head.b}


FORMS = {
    "state-dict": state_dict,
    "keras": keras,
    "plain": plain,
    "plain-keras": plain_keras,
}


def saved(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "m.npz", **arrays)  # type: ignore[arg-type]
    return folder / "m.npz"


def read(folder: Path, arrays: Arrays, **options: Any) -> Network:
    return read_model(saved(folder, arrays), ReadOptions(**options))


def refused(folder: Path, arrays: Arrays, message: str, **options: Any) -> list[str]:
    path = saved(folder, arrays)
    with pytest.raises(ModelError, match=message) as caught:
        read_model(path, ReadOptions(**options))
    lines = str(caught.value).splitlines()
    assert all(line.startswith((str(path), "--", "convention")) for line in lines)
    return lines


def without(arrays: Arrays, *keys: str) -> dict[str, np.ndarray]:
    return {key: array for key, array in arrays.items() if key not in keys}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_network_in_every_convention(tmp_path: Path, form: str, dtype: type) -> None:
    network = random_network()
    x = np.random.default_rng(1).normal(size=(2, 6, N))
    arrays: dict[str, np.ndarray] = {
        key: array.astype(dtype) for key, array in FORMS[form](network).items()
    }
    got = read(tmp_path, arrays)
    np.testing.assert_allclose(run(got, x).y, run(network, x).y, rtol=0, atol=1e-6)
    if dtype is np.float64 and form != "state-dict":
        np.testing.assert_array_equal(run(got, x).y, run(network, x).y)
    got.save(tmp_path / "own.npz")
    np.testing.assert_array_equal(run(read_model(tmp_path / "own.npz"), x).y, run(got, x).y)


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    saved(tmp_path, keras(random_network())).rename(tmp_path / "weights.keras")
    assert read_model(tmp_path / "weights.keras").name == "weights"


@pytest.mark.parametrize(
    ("form", "names", "first"),
    [
        ("state-dict", ["lstm_l0", "lstm_l1", "fc"], "PyTorch state dict; gate order i, f, g, o"),
        ("keras", ["lstm0", "lstm1", "dense0"], "Keras weights in order; kernels transposed, gate"),
        ("plain", ["lstm0", "lstm1", "dense"], "plain names; gate order i, f, g, o"),
        ("plain-keras", ["lstm0", "lstm1", "dense"], "plain names, kernels transposed; gate order"),
    ],
)
def test_names_and_notes(tmp_path: Path, form: str, names: list[str], first: str) -> None:
    got = read(tmp_path, FORMS[form](random_network()))
    assert [layer.name for layer in got.layers] == names
    assert got.notes[0].startswith(first)
    assert got.notes[-3:] == (
        f"head none: {names[-1]}: activation linear (not stored in the file; set it with --head "
        f"softmax, argmax or sigmoid, or with --activation {names[-1]}=relu)",
        "outputs last: the values after the last time step "
        "(not stored in the file; set it with --outputs sequence)",
        "input range unknown (not stored in the file; set it with --input-range LO:HI)",
    )


def test_the_users_word_is_noted(tmp_path: Path) -> None:
    arrays = {"pre.weight": np.ones((N, 3)), "pre.bias": np.ones(N), **state_dict(random_network())}
    got = read(
        tmp_path,
        arrays,
        head="softmax",
        activations={"pre": "relu"},
        outputs="sequence",
        input_range=(-1, 1),
    )
    assert [layer.name for layer in got.layers] == ["pre", "lstm_l0", "lstm_l1", "fc"]
    assert (got.activation, got.outputs, got.input_range) == ("softmax", "sequence", (-1, 1))
    assert got.notes[-4:] == (
        "pre: activation relu (set by --activation)",
        "fc: activation softmax (set by --head)",
        "outputs sequence (set by --outputs)",
        "input range -1:1 (set by --input-range)",
    )
    unset = read(tmp_path, arrays)
    assert (
        "pre: activation linear (not stored in the file; set it with --activation pre=relu)"
        in unset.notes
    )


def test_the_own_schema_states_everything_and_can_be_overridden(tmp_path: Path) -> None:
    layers = random_network().layers
    head = Dense("d", layers[2].W, layers[2].b, "argmax")
    network = Network.of(*layers[:2], head, outputs="sequence", input_range=(0.0, 2.0))
    network.save(tmp_path / "m.npz")
    assert read_model(tmp_path / "m.npz").notes[1:] == (
        "d: activation argmax (from the file)",
        "outputs sequence (from the file)",
        "input range 0:2 (from the file)",
    )
    options = ReadOptions(head="sigmoid", outputs="last", input_range=(-1.0, 1.0))
    got = read_model(tmp_path / "m.npz", options)
    assert (got.activation, got.outputs, got.input_range) == ("sigmoid", "last", (-1.0, 1.0))


@pytest.mark.parametrize(
    ("head", "activation"),
    [("none", "linear"), ("softmax", "softmax"), ("argmax", "argmax"), ("sigmoid", "sigmoid")],
)
def test_heads(tmp_path: Path, head: str, activation: str) -> None:
    got = read(tmp_path, keras(random_network()), head=head, activations={})
    assert got.activation == activation


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"activations": {"fd": "relu"}},
            r"--activation fd=relu: 'fd' names no layer; dense layers here: fc",
        ),
        (
            {"activations": {"lstm_l0": "relu"}},
            r"--activation lstm_l0=relu: 'lstm_l0' is no dense layer; dense layers here: fc",
        ),
        (
            {"activations": {"fc": "selu"}},
            r"--activation fc=selu: 'selu' is unknown; expected one of relu, tanh, sigmoid, linear",
        ),
        (
            {"head": "elu"},
            r"--head elu: unknown; expected one of none, softmax, argmax, sigmoid",
        ),
        (
            {"head": "softmax", "activations": {"fc": "relu"}},
            r"--head softmax and --activation fc=relu both set the last layer; give one",
        ),
        ({"outputs": "all"}, r"outputs is 'all'; expected 'last' or 'sequence'"),
        ({"input_range": (1.0, 1.0)}, r"input range 1\.0:1\.0; expected two finite numbers LO < H"),
        ({"convention": "onnx"}, r"convention 'onnx' is unknown; expected one of schema, state-"),
        ({"convention": "schema"}, r"has no array 'lstmgen'; expected the JSON description in it"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    refused(tmp_path, state_dict(random_network()), message, **options)


@pytest.mark.parametrize("head", ["softmax", "argmax", "sigmoid"])
def test_a_head_needs_a_dense_layer(tmp_path: Path, head: str) -> None:
    arrays = without(state_dict(random_network()), "fc.weight", "fc.bias")
    message = rf"--head {head} needs a dense layer at the end; the last layer is the LSTM lstm_l1"
    refused(tmp_path, arrays, message, head=head)
    assert read(tmp_path, arrays, head="none").activation is None


# Which convention


def test_files_without_a_network(tmp_path: Path) -> None:
    refused(tmp_path, {}, r"holds no arrays; expected the arrays of a network")
    refused(tmp_path, {"x": np.ones(1)}, r"holds only x, no weights; expected the arrays of a net")
    message = r"holds 'conv\.weight', which is no LSTM network in a known convention; expected lst"
    refused(tmp_path, {"conv.weight": np.ones((2, 2, 2))}, message)
    many = {f"name{number}": np.ones(1) for number in range(9)}
    refused(tmp_path, many, r"holds 'name0', .*'name5', \.\.\., which is no LSTM network")


def test_two_conventions_that_fit(tmp_path: Path) -> None:
    network = random_network()
    arrays = {**state_dict(network), **keras(network)}
    message = (
        r"fits state-dict \(a PyTorch .*\) and keras \(Keras .*\); say which with --convention"
    )
    refused(tmp_path, arrays, message)
    message = r"array 'lstm\.weight_ih_l0' is unknown; expected arr_0, arr_1, \.\.\."
    assert len(refused(tmp_path, arrays, message, convention="keras")) == 10
    for convention in CONVENTIONS:
        if convention != "schema":
            got = read(tmp_path, FORMS[convention](network), convention=convention)
            assert len(got.layers) == 3


# PyTorch state dicts


def test_missing_biases_are_zero(tmp_path: Path) -> None:
    keys = [f"lstm.bias_{part}_l{number}" for part in ("ih", "hh") for number in (0, 1)]
    got = read(tmp_path, without(state_dict(random_network()), *keys, "fc.bias"))
    assert not any(layer.b.any() for layer in got.layers)
    assert "lstm_l0: no bias arrays, so the bias is zero" in got.notes
    assert "fc: Linear without bias, so the bias is zero" in got.notes


def test_both_biases_are_summed(tmp_path: Path) -> None:
    network = random_network()
    got = read(tmp_path, state_dict(network, bias_ih=2.0))
    np.testing.assert_allclose(got.lstms[0].b, network.lstms[0].b, atol=1e-12)
    assert "lstm_l0: bias is bias_ih + bias_hh" in got.notes


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", ["lstm", "dense"]),
        ("module.", ["lstm", "dense"]),
        ("_orig_mod.", ["lstm", "dense"]),
        ("net.", ["net", "net.0"]),
    ],
)
def test_prefixes(tmp_path: Path, prefix: str, names: list[str]) -> None:
    layer, _, head = random_network().layers
    assert isinstance(layer, Lstm)
    linear = "net.0." if prefix == "net." else prefix
    arrays = {
        f"{prefix}weight_ih_l0": layer.W,
        f"{prefix}weight_hh_l0": layer.U,
        f"{linear}weight": head.W,
    }
    assert [layer.name for layer in read(tmp_path, arrays).layers] == names


def test_cells(tmp_path: Path) -> None:
    layer, _, _ = random_network().layers
    assert isinstance(layer, Lstm)
    arrays = {
        "cell.weight_ih": layer.W,
        "cell.weight_hh": layer.U,
        "cell.bias_ih": layer.b,
        "cell.bias_hh": 0 * layer.b,
    }
    got = read(tmp_path, arrays).lstms[0]
    assert got.name == "cell"
    np.testing.assert_array_equal(got.b, layer.b)


def test_modules_take_the_order_that_alone_fits(tmp_path: Path) -> None:
    arrays = state_dict(random_network())
    got = read(tmp_path, {key: arrays[key] for key in reversed(arrays)})
    assert [layer.name for layer in got.layers] == ["lstm_l0", "lstm_l1", "fc"]
    assert got.notes[1].startswith("order of modules lstm, fc: the only one in which their widths")
    message = r"lstm_l0\.W takes 2 inputs; expected 4, the width of fc"
    refused(tmp_path, arrays, message, order=("fc", "lstm"))


@pytest.mark.parametrize(
    ("gone", "more", "message"),
    [
        (
            ["lstm.bias_hh_l1"],
            {},
            r"lstm\.bias_hh_l1 is missing; expected weight_ih, weight_hh, bias_ih, bias_hh",
        ),
        (["lstm.weight_ih_l0"], {}, r"lstm\.weight_ih_l0 is missing; expected weight_ih, weight_h"),
        (["lstm.weight_hh_l0"], {}, r"lstm\.weight_hh_l0 is missing"),
        (["fc.weight"], {}, r"fc\.weight is missing; expected it beside fc\.bias"),
        (
            [f"lstm.{key}_l0" for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")],
            {},
            r"lstm\.weight_ih_l0 is missing; the arrays go up to l1",
        ),
        (
            [],
            {"lstm.weight_ih_l0_reverse": np.ones((12, 2))},
            r"lstm\.weight_hh_l0_reverse is missing; expected weight_ih, weight_hh",
        ),
        (
            [],
            {"lstm.weight_hr_l0": np.ones((2, 3))},
            r"lstm_l0\.projection is \(2, 3\); expected \(3, 3\)",
        ),
        (
            [],
            {f"lstm.parametrizations.weight_hh_l0.original{n}": np.ones(1) for n in (0, 1)},
            r"original0 and 1 more: part of weight normalization \(remove it before saving\), whi",
        ),
        ([], {"lstm._packed_params": np.ones(1)}, r"part of a quantized module \(save the float"),
        ([], {"bn.running_mean": np.ones(3)}, r"bn\.running_var is missing; expected running_mean"),
        ([], {"scale": np.ones(3)}, r"array scale is unknown; expected those of LSTM, GRU, LSTMCe"),
        (
            [],
            {"conv.weight": np.ones((2, 2, 2))},
            r"conv\.weight is \(2, 2, 2\); expected the \(outputs, inputs\) of a Linear module",
        ),
        (
            [],
            {"norm.weight": np.ones(4)},
            r"norm\.weight is \(4,\); expected the \(outputs, inputs",
        ),
        (
            [],
            {"emb.weight": np.ones((9, 5))},
            r"emb\.W takes 5 inputs; expected 4, the width of fc",
        ),
        (
            [],
            {"lstm.weight_hh_l0": np.ones((9, 3))},
            r"lstm\.bias_ih_l0 is \(12,\); expected \(9,\), the rows of lstm\.weight_hh_l0",
        ),
        ([], {"lstm.weight_hh_l0": np.ones((3, 3))}, r"is \(3, 3\), a simple RNN, which is not"),
        ([], {"lstm.weight_hh_l0": np.ones((11, 3))}, r"bias_ih_l0 is \(12,\); expected \(11,\)"),
        ([], {"lstm.weight_hh_l0": np.ones(())}, r"lstm_l0\.U is \(\)|bias_ih_l0 is \(12,\)"),
        (
            [],
            {"lstm.bias_hh_l0": np.ones((12, 1))},
            r"lstm\.bias_hh_l0 is \(12, 1\); expected \(12,\), the rows of lstm\.weight_hh_l0",
        ),
        ([], {"lstm.weight_ih_l0": np.ones((8, 2))}, r"lstm_l0\.W is \(8, 2\); expected \(12, 2\)"),
        ([], {"fc.bias": np.ones(5)}, r"fc\.b is \(5,\); expected \(4,\), since fc\.W has 4 rows"),
        ([], {"fc.weight": np.ones((4, 5))}, r"fc\.W takes 5 inputs; expected 3, the width of lst"),
        (
            [],
            {"lstm.bias_ih_l0": np.full(12, np.inf)},
            r"lstm\.bias_ih_l0 holds 12 values that are NaN or infinite; expected finite numbers",
        ),
        ([], {"fc.bias": np.full(4, np.nan)}, r"fc\.bias holds 4 values that are NaN or infinite"),
        (
            [],
            {
                "lstm.bias_ih_l0": np.full(12, 1.5e308),
                "lstm.bias_hh_l0": np.full(12, 1.5e308),
            },
            r"lstm_l0\.b holds 12 values that are NaN or infinite",
        ),
        ([], {"fc.weight": np.array(["a"])}, r"fc\.weight holds values of type <U1; expected numb"),
    ],
)
def test_state_dicts_that_are_refused(
    tmp_path: Path, gone: list[str], more: Arrays, message: str
) -> None:
    refused(tmp_path, {**without(state_dict(random_network()), *gone), **more}, message)


def test_an_embedding_shows_by_its_shape(tmp_path: Path) -> None:
    arrays = {"table.weight": np.ones((9, N)), **state_dict(random_network())}
    got = read(tmp_path, arrays)
    assert (got.inputs, type(got.layers[0])) == (1, Embedding)
    assert "table: Embedding of 9 rows" in got.notes


def test_all_problems_of_a_state_dict_at_once(tmp_path: Path) -> None:
    arrays = without(state_dict(random_network()), "lstm.bias_hh_l0")
    arrays |= {"scale": np.ones(1), "fc.bias": np.full(4, np.nan), "bn.running_var": np.ones(1)}
    arrays["lstm.weight_ih_l1"] = np.ones((9, 3))
    assert len(refused(tmp_path, arrays, "is missing", activations={"fc": "relu"})) == 5


# Keras weights


def test_eleven_arrays_are_sorted_by_number(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    lstms = [Lstm(str(n), *(rng.normal(size=s) for s in ((8, 2), (8, 2), 8))) for n in range(4)]
    arrays = keras(Network.of(*lstms))
    assert "arr_10" in arrays
    alphabetic = {key: arrays[key] for key in sorted(arrays)}
    got = read(tmp_path, alphabetic)
    for layer, wanted in zip(got.lstms, lstms, strict=True):
        np.testing.assert_array_equal(layer.W, wanted.W)


def test_keras_without_biases(tmp_path: Path) -> None:
    a, b, d = random_network().layers
    assert isinstance(a, Lstm)
    assert isinstance(b, Lstm)
    weights = [a.W.T, a.U.T, b.W.T, b.U.T, b.b, d.W.T, np.ones((M, 5)), np.ones(5)]
    got = read(tmp_path, {f"arr_{n}": w for n, w in enumerate(weights)})
    assert [layer.name for layer in got.layers] == ["lstm0", "lstm1", "dense0", "dense1"]
    assert [bool(layer.b.any()) for layer in got.layers] == [False, True, False, True]
    assert "lstm0: no bias array, so the bias is zero" in got.notes
    assert "dense0: no bias array, so the bias is zero" in got.notes
    assert "dense1: arr_6, arr_7" in got.notes


def gru(gates: int, k: int = K) -> list[np.ndarray]:
    return [np.ones((N, gates * k)), np.ones((k, gates * k))]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([*gru(3), np.ones((2, 8))], r"dense0\.W takes 2 inputs; expected 3, the width of gru0"),
        (gru(1), r"arr_0 and arr_1 fit a SimpleRNN, which is not supported, or two dense layers"),
        (
            [*gru(4), np.ones(12), *[np.ones(3)] * 3],
            r"arr_3 is \(3,\); expected a kernel \(inputs, outputs\) here; it seems arr_3, arr_4, "
            r"arr_5 to be normalization, expected as gamma, beta, mean, variance, which is not",
        ),
        (
            [*gru(4), np.ones(12), np.ones((3, 4)), *[np.ones(4)] * 4],
            r"arr_4, arr_5, arr_6, arr_7 may be a bias and normalization or only the latter; expec",
        ),
        ([np.ones((3, 3, 8)), *gru(4)], r"arr_0 is \(3, 3, 8\); .* a convolution or another layer"),
        ([*gru(4), np.ones(())], r"arr_2 is \(\); expected a kernel"),
        ([np.ones((12, N)), np.ones((12, K))], r"in PyTorch's orientation; expected Keras' \(n, 4"),
        ([np.ones((N, 0)), np.ones((0, 0))], r"arr_0 is \(2, 0\); expected a kernel"),
        ([np.ones((N, 5)), np.ones(5)], r"the network has 1 layers, none of them an LSTM; expect"),
        ([*gru(4), np.ones(12), np.ones((7, 2))], r"dense0\.W takes 7 inputs; expected 3, the wid"),
        ([np.full((N, 12), np.nan), *gru(4)[1:]], r"arr_0 holds 24 values that are NaN or infinit"),
        ([np.array(["a"]), np.array([True])], r"arr_1 holds values of type bool; expected numbers"),
    ],
)
def test_keras_weights_that_are_refused(
    tmp_path: Path, weights: list[np.ndarray], message: str
) -> None:
    refused(tmp_path, {f"arr_{n}": w for n, w in enumerate(weights)}, message)


def test_missing_and_unknown_keras_arrays(tmp_path: Path) -> None:
    arrays = without(keras(random_network()), "arr_2")
    assert refused(
        tmp_path, {**arrays, "arr_03": np.ones(1), "y": np.ones(1)}, "arr_2 is missing"
    ) == [
        f"{tmp_path}/m.npz: array 'arr_03' is unknown; expected arr_0, arr_1, ...",
        f"{tmp_path}/m.npz: arr_2 is missing; the arrays go up to arr_7",
    ]


# Plain names


def test_plain_names_with_state_pre_layer_and_data(tmp_path: Path) -> None:
    arrays = {
        **plain(random_network()),
        "h0_1": np.ones(K),
        "c0_1": -np.ones(K),
        "pre_W": np.ones((N, 7)),
        "pre_b": np.ones(N),
        "x": np.ones((2, 3, 7)),
        "h0": np.ones((2, 3, K)),
    }
    got = read(tmp_path, arrays)
    assert [layer.name for layer in got.layers] == ["pre", "lstm0", "lstm1", "dense"]
    assert got.layers[0].activation == "relu"  # type: ignore[union-attr]
    assert got.lstms[0].h0 is None
    np.testing.assert_array_equal(got.lstms[1].h0, np.ones(K))
    np.testing.assert_array_equal(got.lstms[1].c0, -np.ones(K))
    assert "arrays that are no weights, ignored: x, h0" in got.notes
    assert (
        "pre: activation relu (not stored in the file; set it with --activation pre=linear)"
        in got.notes
    )


def test_plain_keras_names_with_a_gate_order(tmp_path: Path) -> None:
    network = random_network()
    arrays = plain_keras(network)
    for number in (0, 1):
        for key in "WRb":
            i, f, g, o = np.split(arrays[f"lstm{number}_{key}"], 4, axis=-1)
            arrays[f"lstm{number}_{key}"] = np.concatenate([i, o, f, g], axis=-1)
    got = read(tmp_path, {**arrays, "gate_order": np.array("i,o,f,c (as ONNX); W (n,4k)")})
    for layer, wanted in zip(got.lstms, network.lstms, strict=True):
        np.testing.assert_array_equal(layer.W, wanted.W)
        np.testing.assert_array_equal(layer.U, wanted.U)
        np.testing.assert_array_equal(layer.b, wanted.b)
    assert got.notes[0] == "plain names, kernels transposed; gate order i, o, f, g"


@pytest.mark.parametrize("order", [np.array("z,r,h"), np.array("i,f,g,g"), np.array(3)])
def test_unknown_gate_orders(tmp_path: Path, order: np.ndarray) -> None:
    arrays = {**plain_keras(random_network()), "gate_order": order}
    message = r"gate_order is '.*', an unknown gate order; expected an order of i, f, g \(or c\), o"
    refused(tmp_path, arrays, message)


@pytest.mark.parametrize(
    ("gone", "more", "message"),
    [
        (
            "R1",
            {},
            r"array 'R1' is missing; expected W0, R0, b0, \.\.\., h0_0, c0_0, pre_W, pre_b,",
        ),
        ("dense_b", {}, r"array 'dense_b' is missing"),
        ("W0", {"W900": np.ones(1)}, r"array 'W900' is unknown; expected W0"),
        ("", {"Q": np.ones(1)}, r"array 'Q' is unknown; expected W0, R0, b0"),
        ("", {"R0": np.ones((9, 3))}, r"lstm0\.U is \(9, 3\); expected \(4k, k\)"),
        ("", {"R0": np.full((12, 3), np.nan)}, r"R0 holds 36 values that are NaN or infinite"),
        ("", {"h0_0": np.ones(2)}, r"lstm0\.h0 is \(2,\); expected \(3,\)"),
    ],
)
def test_plain_names_that_are_refused(
    tmp_path: Path, gone: str, more: Arrays, message: str
) -> None:
    refused(tmp_path, {**without(plain(random_network()), gone), **more}, message)


# Files of real frameworks


@needs_data
@pytest.mark.parametrize("name", ["model_torch", "model_keras", "weights"])
def test_digits(name: str) -> None:
    folder = DATA / "digits_lstm32"
    network = read_model(folder / f"{name}.npz", ReadOptions(head="softmax"))
    with np.load(folder / "data.npz") as data, np.load(folder / "float_out.npz") as wanted:
        trace = run(network, data["x_test"])
        assert abs(trace.y - wanted["y"]).max() < 1e-5
        assert abs(trace.layers[network.layers[0].name] - wanted["h0"]).max() < 1e-5
        assert round(100 * np.mean(trace.y.argmax(-1) == data["y_test"]), 2) == 95.74


@needs_data
def test_har() -> None:
    path = DATA / "har" / "embarc_har_2xlstm32.npz"
    network = read_model(path, ReadOptions(activations={"pre": "relu"}))
    with np.load(path) as data:
        trace = run(network, data["x"])
        assert abs(trace.y - data["y"]).max() < 1e-5
        assert abs(trace.layers["lstm0"] - data["h0"]).max() < 1e-5
        assert np.count_nonzero(trace.y.argmax(-1) == data["label"]) == 27
    assert "arrays that are no weights, ignored: x, y, h0, h1, meta, label" in network.notes


@needs_data
def test_rtneural_and_mackey() -> None:
    path = DATA / "rtneural" / "rtneural_lstm_torch_4layer.npz"
    with np.load(path) as data:
        network = read_model(path, ReadOptions(outputs="sequence"))
        assert abs(run(network, data["x"]).y - data["y"]).max() < 1e-5
    folder = DATA / "mackey_stacked2x32_seq"
    network = read_model(folder / "weights.npz", ReadOptions(outputs="sequence"))
    with np.load(folder / "data.npz") as data, np.load(folder / "float_out.npz") as wanted:
        assert abs(run(network, data["x_test"]).y - wanted["y"]).max() < 1e-5


@needs_data
def test_the_stored_object_array_is_refused() -> None:
    with pytest.raises(ModelError, match=r"lstm0_W holds pickled Python objects, which are never"):
        read_model(DATA / "importers" / "refuse_npz_object_array.npz")


# Damaged files


def damaged(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    lines = [str(path)]
    try:
        network = read_model(path)
    except LstmgenError as error:
        lines = str(error).splitlines()
    else:
        with np.errstate(all="ignore"):  # weights of 1e308 are read, if not to any use
            assert run(network, np.zeros((1, 2, network.inputs))).y.size
    assert lines
    assert all(line.startswith(str(path)) for line in lines)


def undamaged(path: Path, form: str) -> bytes:
    if form == "schema":
        random_network().save(path)
    else:
        np.savez_compressed(path, **FORMS[form](random_network()))  # type: ignore[arg-type]
    return path.read_bytes()


@pytest.mark.parametrize("form", CONVENTIONS)
def test_truncated_models_are_refused(tmp_path: Path, form: str) -> None:
    data = undamaged(tmp_path / "m.npz", form)
    for length in range(0, len(data), 97):
        (tmp_path / "m.npz").write_bytes(data[:length])
        with pytest.raises(ModelError):
            read_model(tmp_path / "m.npz")


@pytest.mark.parametrize("form", CONVENTIONS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    damage=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6
    )
)
def test_damaged_models_are_read_or_refused(
    tmp_path: Path, form: str, damage: list[tuple[float, int]]
) -> None:
    data = bytearray(undamaged(tmp_path / "m.npz", form))
    for where, flip in damage:
        data[int(where * len(data))] ^= flip
    damaged(tmp_path / "m.npz", bytes(data))


_SHAPES = [(), (0,), (1,), (3,), (12,), (0, 3), (12, 2), (12, 3), (3, 12), (2, 12), (9, 3), (3, 3)]
_ODD = [np.nan, np.inf, 0.0, 1e308, -1e308]


@pytest.mark.parametrize("form", FORMS)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_arrays_under_known_names(tmp_path: Path, form: str, data: st.DataObject) -> None:
    """Intact files whose arrays have any shapes and values, are missing or are called else."""
    arrays = FORMS[form](random_network())
    for key in data.draw(st.lists(st.sampled_from(sorted(arrays)), max_size=3)):
        shape = data.draw(st.sampled_from([None, *_SHAPES]))
        if shape is None:
            arrays.pop(key, None)
        else:
            arrays[key] = np.full(shape, data.draw(st.sampled_from(_ODD)))
    if data.draw(st.booleans()):
        arrays[data.draw(st.sampled_from(["W7", "a.weight", "l.bias_ih_l3", "arr_9", "x"]))] = (
            np.ones(data.draw(st.sampled_from(_SHAPES)))
        )
    path = saved(tmp_path, arrays)
    damaged(path, path.read_bytes())
