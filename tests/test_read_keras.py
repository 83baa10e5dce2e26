"""Keras' files of every kind: the same network from each, and what makes a file unreadable."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lstmgen.errors import ModelError
from lstmgen.layers import arrays_of, parts_of
from lstmgen.network import Network
from lstmgen.readers import ReadOptions, read_model
from lstmgen.reference import run as run_float

import keras_files as kf

N = 5
SEQUENCE = {"return_sequences": True}


def stacked() -> list[kf.Spec]:
    """Names whose order is not that of the layers, and eleven LSTMs: lstm_10 after lstm_2."""
    front = [kf.lstm("enc", N, 4, **SEQUENCE)]
    middle = [kf.lstm(f"z{9 - n}", 4, 4, **SEQUENCE) for n in range(9)]
    return [kf.inputs(7, N), *front, *middle, kf.lstm("dec", 4, 3),
            kf.dense("head", 3, 2, "softmax")]


FILES = {
    "Keras 3 .keras": lambda path, net: kf.write_keras(path, net),
    "Keras 2 .keras": lambda path, net: kf.write_keras(path, net, "2.15.0"),
    "Keras 3 functional .keras": lambda path, net: kf.write_keras(path, net, functional=3),
    "Keras 2 functional .keras": lambda path, net: kf.write_keras(path, net, "2.15.0", 2),
    "Keras 3 .h5": lambda path, net: kf.write_h5(path, net),
    "Keras 2 .h5": lambda path, net: kf.write_h5(path, net, "2.15.0"),
    "Keras 3 functional .h5": lambda path, net: kf.write_h5(path, net, functional=3),
    "Keras 2 functional .h5": lambda path, net: kf.write_h5(path, net, "2.2.4-tf", 2),
    "Keras 3 .weights.h5": kf.write_weights,
    "Keras 2 weights .h5": kf.write_weights_2,
    "npz": lambda path, net: kf.write_npz(path.with_suffix(".npz"), net),
}


def arrays(network: Network) -> list[Any]:
    parts = [part for layer in network.layers for part in parts_of(layer)]
    return [(key, array) for part in parts for key, array in arrays_of(part).items()]


def assert_same(network: Network, other: Network) -> None:
    assert [type(layer) for layer in network.layers] == [type(layer) for layer in other.layers]
    for (key, array), (key_2, array_2) in zip(arrays(network), arrays(other), strict=True):
        assert key == key_2
        np.testing.assert_array_equal(array, array_2)


def refused(path: Path, *messages: str, **options: Any) -> None:
    with pytest.raises(ModelError) as caught:
        read_model(path, ReadOptions(**options))
    lines = str(caught.value).splitlines()
    assert len(lines) == len(messages), lines
    for line, message in zip(lines, messages, strict=True):
        assert line.startswith(str(path))
        assert message in line


@pytest.mark.parametrize("kind", FILES)
def test_the_same_network_from_every_kind_of_file(tmp_path, kind):
    """The same arrays, bit by bit, and Keras' own outputs."""
    net = stacked()
    path = FILES[kind](tmp_path / "net.bin", net)
    got = read_model(path, ReadOptions(head="softmax"))
    assert_same(got, read_model(kf.write_keras(tmp_path / "again", net)))
    assert (got.name, got.outputs, got.activation) == ("net", "last", "softmax")
    x = kf.values(3, 7, N)
    assert abs(run_float(got, x).y - kf.run(net, x)).max() < 1e-12
    if kind != "npz":
        assert [layer.name for layer in got.layers][:3] == ["enc", "z9", "z8"]


@pytest.mark.parametrize("kind", FILES)
def test_halves_normalization_and_gru_from_every_kind_of_file(tmp_path, kind):
    net = [
        kf.batch_normalization("norm", N),
        kf.bidirectional("both", kf.gru("g", N, 4, **SEQUENCE)),
        kf.bidirectional("sum", kf.lstm("l", 8, 3), "sum"),
        kf.dense("head", 3, 2),
    ]
    net = [kf.inputs(7, N), *net] if "functional" in kind else net
    got = read_model(FILES[kind](tmp_path / "net", net))
    x = kf.values(2, 7, N)
    assert abs(run_float(got, x).y - kf.run(net, x)).max() < 1e-12
    assert_same(got, read_model(kf.write_h5(tmp_path / "again", net)))


def test_weights_alone_say_what_is_missing(tmp_path):
    net = [kf.lstm("a", N, 4, **SEQUENCE), kf.layer("Activation", "act"), kf.layer("Dropout", "d"),
           kf.layer("Masking", "m"), kf.gru("g", 4, 3, use_bias=False), kf.dense("out", 3, 2)]
    for write in (kf.write_weights, kf.write_weights_2):
        for spec in net:  # Keras 2 has nothing but the name
            spec["config"]["name"] = kf.SNAKE[spec["class_name"]]
        notes = "\n".join(read_model(write(tmp_path / "net.weights.h5", net)).notes)
        assert "activation: its function is not stored; set it on the dense layer" in notes
        assert "masking: its mask value is not stored" in notes
        assert "gru: reset_after on, no bias tells; taken for Keras' default" in notes
        assert "tanh and sigmoid in recurrent layers, forward, no mask" in notes
        assert "head none: dense: activation linear (not stored in the file; set it with" in notes
        assert "model.save('model.keras')" in notes
    assert read_model(tmp_path / "net.weights.h5").name == "net"


def test_weights_alone_whose_order_widths_leave_open(tmp_path):
    net = [kf.dense("d", 4, 4), kf.lstm("l", 4, 4)]
    got = read_model(kf.write_weights(tmp_path / "w.h5", net))
    assert [layer.name for layer in got.layers] == ["l", "d"]
    assert "order of layers not stored; dense layers taken to be last: l, d" in got.notes
    net = [kf.dense("d", 3, 4), kf.lstm("l", 4, 4)]
    got = read_model(kf.write_weights(tmp_path / "w.h5", net))
    assert [layer.name for layer in got.layers] == ["d", "l"]
    net = [kf.lstm("l", 4, 4), kf.batch_normalization("n", 4)]
    message = "the order of layers is not stored, and by their widths it may be"
    refused(kf.write_weights(tmp_path / "w.h5", net), message)
    net = [kf.lstm("l", 4, 4), kf.dense("d", 3, 2)]
    message = "in no order that was tried their widths fit: d 3 -> 2, l 4 -> 4"
    refused(kf.write_weights(tmp_path / "w.h5", net), message)
    many = [make(f"{make.__name__}{n}", 3, 3) for make in (kf.dense, kf.lstm, kf.gru)
            for n in range(12)]
    refused(kf.write_weights(tmp_path / "w.h5", many), "the order of layers is not stored")


def test_weights_alone_of_other_layers_are_refused(tmp_path):
    arrays = [("", "kernel", kf.values(3, N, 4)), ("", "bias", kf.values(4))]
    conv = kf.layer("Conv1D", "conv", arrays)
    net = [conv, kf.lstm("l", 4, 4), kf.layer("Lambda", "lambda"),
           kf.batch_normalization("b", 4, scale=False)]
    text = "is not supported"
    refused(
        kf.write_weights(tmp_path / "w.h5", net), "arrays, so scale or center is off",
        "layer 'conv' seems a 'conv1d', which " + text, "layer 'lambda' seems a 'lambda', which",
    )  # fmt: skip
    refused(
        kf.write_weights_2(tmp_path / "w.h5", net), "layer 'conv' has arrays kernel (3, 5, 4), b",
        "layer 'lambda' seems a 'lambda', which " + text,
    )  # fmt: skip


def test_h5py_is_named_when_it_is_missing(tmp_path, monkeypatch):
    path = kf.write_keras(tmp_path / "m.keras", stacked())
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ModelError, match=r"needs the package h5py; .* 'lstmgen\[keras\]'"):
        read_model(path)


# Files that are not what they seem


def test_links_and_foreign_data_are_never_followed(tmp_path):
    net = [kf.lstm("l", N, 4)]
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel"] = kf.values(N, 16)
    (tmp_path / "raw").write_bytes(bytes(4 * N * 16))
    layout = h5py.VirtualLayout((N, 16), np.float32)
    layout[:] = h5py.VirtualSource(str(secret), "kernel", (N, 16))
    place = "layers/lstm/cell/vars/0"
    for put, message in {
        "external link": (lambda f: f.__setitem__(place, h5py.ExternalLink("secret.h5", "kernel")),
                          "is a link to elsewhere, which is never followed"),
        "soft link": (lambda f: f.__setitem__(place, h5py.SoftLink("/layers/lstm/cell/vars/1")),
                      "is a link to elsewhere, which is never followed"),
        "virtual": (lambda f: f.create_virtual_dataset(place, layout), "lies in another file"),
        "external": (lambda f: f.create_dataset(place, (N, 16), np.float32, external=[
            (str(tmp_path / "raw"), 0, 4 * N * 16)]), "lies in another file"),
        "packed": (lambda f: f.create_dataset(place, data=np.zeros((N, 16)), compression="gzip"),
                   "is packed by a filter; unpack the file with: h5repack"),
        "huge": (lambda f: f.create_dataset(place, (1 << 20, 1 << 20), np.float32),
                 "expected at most"),
        "empty": (lambda f: f.create_dataset(place, (N, 16), np.float32), "its data are missing"),
        "text": (lambda f: f.create_dataset(place, data="x"), "expected an array of numbers"),
        "none": (lambda f: f.create_dataset(place, data=h5py.Empty("f4")), "an array of numbers"),
        "group": (lambda f: f.create_group(place), "array"),
        "NaN": (lambda f: f.create_dataset(place, data=np.full((N, 16), np.nan)), "80 values that"),
    }.values():
        path = kf.write_weights(tmp_path / "w.h5", net)
        with h5py.File(path, "r+") as file:
            del file[place]
            put(file)
        refused(path, message)


def test_an_hdf5_file_that_is_no_keras_model(tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.ones(3)
        file["loop"] = file["/"]  # a group in itself
    refused(path, "deep; expected the file of a Keras model")
    with h5py.File(path, "w") as file:
        file["x"] = np.ones(3)
    refused(path, "holds 'x'; expected an HDF5 file that Keras wrote")
    path.write_bytes(path.read_bytes()[:100])
    refused(path, "is damaged or truncated")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no JSON object"),
        ("{}", "the model is a 'layer without a class', whose code is never loaded"),
        ({"class_name": "Net", "module": "mine", "registered_name": "Net"}, "the model is a 'Net'"),
        ({"class_name": "Sequential", "config": {"layers": 3}}, "without a list of layers"),
        ({"class_name": "Sequential", "config": {"layers": []}}, "holds no layers"),
        ({"class_name": "Functional", "config": {"layers": []}}, "the model has 0 outputs"),
        ({"class_name": "Sequential", "config": [{}] * 600}, "has more than 512 layers"),
    ],
)
def test_configs_that_are_none(tmp_path, config, message):
    weights = kf.write_weights(tmp_path / "w.h5", stacked()).read_bytes()
    refused(kf.write_zip(tmp_path / "m.keras", config, weights), message)


def test_weights_that_do_not_fit_the_config(tmp_path):
    net = [kf.lstm("l", N, 4), kf.dense("d", 4, 2)]
    other = [kf.lstm("k", N, 4), kf.dense("d", 4, 2, use_bias=False)]
    weights = kf.write_weights(tmp_path / "w.h5", other).read_bytes()
    refused(
        kf.write_zip(tmp_path / "m.keras", kf.model(net), weights),
        "layer l: its weights at 'layers/lstm' belong to a layer 'k'",
        "layer d: its bias is missing; expected an array 'layers/dense/vars/1'",
    )
    net[0]["config"]["units"] = 5
    net[1]["config"].update(units=3, use_bias=False)
    refused(
        kf.write_h5(tmp_path / "m.h5", net),
        "layer l: its recurrent kernel is (4, 16); expected 5 rows, the units of the config",
        "layer d: the array 'net/d/d/bias' is unknown; expected kernel",
    )


def test_truncated_keras_files_are_refused(tmp_path):
    for write in (kf.write_keras, kf.write_h5, kf.write_weights):
        path = write(tmp_path / "m.bin", [kf.lstm("l", N, 4), kf.dense("d", 4, 2)])
        data = path.read_bytes()
        for length in range(0, len(data), len(data) // 5):
            path.write_bytes(data[:length])
            with pytest.raises(ModelError):
                read_model(path)


def test_mutated_keras_files_are_read_or_refused(tmp_path):
    """Bytes flipped, runs zeroed or inflated: a network, or lines that name the file."""
    random = np.random.default_rng(3)
    for write in (kf.write_keras, kf.write_h5, kf.write_weights, kf.write_weights_2):
        path = write(tmp_path / "m.bin", [kf.lstm("l", N, 4), kf.dense("d", 4, 2)])
        data = path.read_bytes()
        for _ in range(8):
            mutated = np.frombuffer(data, np.uint8).copy()
            at = random.integers(0, len(data), random.integers(1, 6))
            mutated[at] = random.choice([0, 1, 0x7F, 0xFF, random.integers(256)])
            path.write_bytes(mutated.tobytes())
            outcome = str(path)
            try:
                outcome = f"{path}: {read_model(path).name}"
            except ModelError as error:
                outcome = str(error)
            assert all(str(path) in line for line in outcome.splitlines())


def test_a_layer_without_a_name_is_refused(tmp_path):
    path = kf.write_weights_2(tmp_path / "w.h5", [kf.lstm("l", N, 4), kf.dense("d", 4, 2)])
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = ["l", "", "d"]
    refused(path, "layer 'layer1' seems a '', which is not supported in a file of weights alone")


@pytest.mark.parametrize("name", ["x" * 9000, "a\x1b[2J\n" * 50])
def test_odd_names_make_short_printable_messages(tmp_path, name):
    """Of layers, weights, arrays, groups, classes and functions."""
    lstm, dense = kf.lstm("l", N, 4), kf.dense("d", 4, 2)
    act = kf.layer("Activation", "a", activation=name)
    reshape = kf.layer("Reshape", "r", target_shape=[name])
    both = kf.bidirectional("b", kf.lstm("l", N, 4), [name])
    function = {"class_name": "function", "module": "keras", "config": name}
    second = kf.lstm("l", N, 4, activation=function)
    odd = kf.layer(name, name)
    net = [lstm, act, reshape, kf.dense("e", 4, 4), odd, dense]
    paths = [
        kf.write_h5(tmp_path / "a.h5", net),
        kf.write_keras(tmp_path / "a.keras", [*net, both]),
        kf.write_keras(tmp_path / "b.keras", [second, kf.layer("TimeDistributed", name)]),
    ]
    for number, (old, place) in enumerate([
        ("layer_names", ""), ("weight_names", "l"), ("weight_names", "d"),
    ]):  # fmt: skip
        path = kf.write_weights_2(tmp_path / f"{number}.h5", [lstm, dense])
        with h5py.File(path, "r+") as file:
            group = file[place] if place else file
            group.attrs[old] = [name, *group.attrs[old][1:]]
        paths.append(path)
    for number, (place, new) in enumerate([
        ("layers/lstm", "layers/{}"), ("layers/dense/vars", "layers/dense/{}"),
        ("layers/lstm/cell/vars/0", "layers/lstm/cell/vars/{}"), ("layers", "{}"),
    ]):  # fmt: skip
        path = kf.write_weights(tmp_path / f"{number}.weights.h5", [lstm, dense])
        with h5py.File(path, "r+") as file:
            file.move(place, new.format(name))
        paths.append(path)
    for path in paths:
        with pytest.raises(ModelError) as caught:
            read_model(path)
        for line in str(caught.value).splitlines():
            assert line.startswith(str(path))
            assert line.isprintable()
            assert len(line) < 600


def test_merge_modes_that_are_no_names_are_refused(tmp_path):
    net = [kf.bidirectional("b", kf.lstm("l", N, 4), merge) for merge in ([1], {"a": 1}, None)]
    for spec, shown in zip(net, ("[1]", "{'a': 1}", "None"), strict=True):
        refused(kf.write_keras(tmp_path / "m.keras", [spec]), f"b: merge_mode {shown} has two outp")
