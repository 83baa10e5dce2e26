"""safetensors with PyTorch's names: types, places, and an order that the file does not keep."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lstmgen.errors import LstmgenError, ModelError
from lstmgen.network import Network
from lstmgen.readers import ReadOptions, read_model
from lstmgen.reference import run

import torch_files as tf
from torch_files import named, safetensors_bytes

B, T, N, K = 2, 5, 3, 4


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(B, T, N))


def read(folder: Path, data: bytes, suffix: str = ".safetensors", **options: Any) -> Network:
    path = folder / f"net{suffix}"
    path.write_bytes(data)
    return read_model(path, ReadOptions(**options))


def refused(folder: Path, data: bytes, message: str, **options: Any) -> list[str]:
    with pytest.raises(ModelError, match=message) as caught:
        read(folder, data, **options)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(str(folder / "net.safetensors")) for line in lines)
    return lines


def close(network: Network, x: np.ndarray, y: np.ndarray) -> None:
    assert np.abs(run(network, x).y - y).max() < 1e-9


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_safetensors_lstm_and_linear(tmp_path, rng, x, suffix):
    lstm, fc = tf.weights(rng, N, K), tf.linear(rng, K, 2)
    network = read(tmp_path, safetensors_bytes(named(lstm=lstm, fc=fc)), suffix)
    close(network, x, tf.recurrent(lstm, x)[:, -1] @ fc["weight"].T + fc["bias"])
    assert network.notes[:2] == (
        "safetensors with PyTorch's names; gate order i, f, g, o",
        "order of modules lstm, fc: the only one in which their widths fit (set another with "
        "--order lstm,fc)",
    )


@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "bf16"])
def test_safetensors_types_of_values(tmp_path, rng, x, kind):
    brain = {key: tf.Brain(array).bits for key, array in tf.weights(rng, N, K).items()}
    exact = {key: (bits.astype("<u4") << 16).view("<f4") for key, bits in brain.items()}
    stored: dict[str, Any] = {key: tf.Brain(array) for key, array in exact.items()}
    if kind != "bf16":
        stored = {key: array.astype(f"<{kind}") for key, array in exact.items()}
        exact = {key: array.astype(np.float64) for key, array in stored.items()}
    network = read(tmp_path, safetensors_bytes(named(lstm=stored)))
    close(network, x, tf.recurrent(exact, x)[:, -1])


def test_safetensors_batchnorm_counts_in_integers(tmp_path, rng, x):
    lstm, bn, fc = tf.weights(rng, N, K), tf.norm(rng, K), tf.linear(rng, K, 2)
    network = read(tmp_path, safetensors_bytes(named(lstm=lstm, bn=bn, fc=fc)))
    y = tf.batch_norm(bn, tf.recurrent(lstm, x)[:, -1])
    close(network, x, y @ fc["weight"].T + fc["bias"])


def test_safetensors_order_by_numbers(tmp_path, rng):
    square = {name: tf.linear(rng, K, K) for name in ("fc10", "fc2", "fc1")}
    value = named(lstm=tf.weights(rng, N, K), **square)
    network = read(tmp_path, safetensors_bytes(value))
    assert [layer.name for layer in network.layers] == ["lstm", "fc1", "fc2", "fc10"]
    assert network.notes[1].startswith(
        "order of modules lstm, fc1, fc2, fc10: by their widths and the numbers in their names"
    )
    network = read(tmp_path, safetensors_bytes(value), order=("lstm", "fc10", "fc1"))
    assert [layer.name for layer in network.layers] == ["lstm", "fc10", "fc1"]


def test_safetensors_order_by_numbers_is_noted_where_it_is_that_of_the_alphabet(tmp_path, rng):
    value = named(lstm1=tf.weights(rng, K, K), lstm2=tf.weights(rng, K, K))
    network = read(tmp_path, safetensors_bytes(value))
    assert network.notes[1].startswith("order of modules lstm1, lstm2: by their widths and the num")


def test_safetensors_order_that_has_to_be_given(tmp_path, rng, x):
    a, b = tf.weights(rng, N, N), tf.weights(rng, N, N)
    data = safetensors_bytes(named(b=b, a=a))
    message = r"its modules fit in several orders, such as a,b or b,a; say which with --order a,b"
    assert len(refused(tmp_path, data, message)) == 1
    network = read(tmp_path, data, order=("b", "a"))
    close(network, x, tf.recurrent(a, tf.recurrent(b, x))[:, -1])


def test_safetensors_modules_that_fit_in_no_order(tmp_path, rng):
    value = named(lstm=tf.weights(rng, N, K), fc=tf.linear(rng, K, 2), aux=tf.linear(rng, K, 2))
    message = r"in no order .*: aux 4 -> 2, fc 4 -> 2, lstm 3 -> 4; name those that belong to the"
    refused(tmp_path, safetensors_bytes(value), message)


def test_safetensors_modules_too_many_to_try(tmp_path, rng):
    square = {name: tf.linear(rng, K, K) for name in "abcdefghi"}
    value = named(lstm=tf.weights(rng, N, K), aux=tf.linear(rng, 7, 7), **square)
    message = r"its 11 modules are too many to find their order by widths; say it with --order"
    refused(tmp_path, safetensors_bytes(value), message)


def test_safetensors_embedding(tmp_path, rng):
    table, lstm = tf.values(rng, 9, N), tf.weights(rng, N, K)
    network = read(tmp_path, safetensors_bytes(named(lstm=lstm, words={"weight": table})))
    index = rng.integers(0, 9, (B, T, 1)).astype(float)
    close(network, index, tf.recurrent(lstm, table[index[..., 0].astype(int)])[:, -1])


def header(data: bytes, text: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"data_offsets": [0, 65]}, r"'lstm\.bias_hh_l0' has the bytes from 0 to 65; expected 64"),
        ({"data_offsets": [4, 68]}, r"begins at byte 4 of the values; expected 0, the end of the"),
        ({"data_offsets": [64, 0]}, r"has the bytes from 64 to 0; expected 64 bytes for its sh"),
        ({"data_offsets": [1 << 30, (1 << 30) + 64]}, r"expected 64 bytes .* within the 576"),
        ({"data_offsets": [-64, 0]}, r"its shape or data_offsets are not natural numbers"),
        ({"data_offsets": [0, 64, 64]}, r"its shape or data_offsets are not natural numbers"),
        ({"data_offsets": [0.0, 64.0]}, r"its shape or data_offsets are not natural numbers"),
        ({"data_offsets": None}, r"its shape or data_offsets are not natural numbers"),
        ({"shape": [1 << 39, 1 << 39]}, r"has the bytes from 0 to 64; expected \d+ bytes"),
        ({"shape": [True]}, r"its shape or data_offsets are not natural numbers"),
        ({"shape": [1] * 9}, r"its shape or data_offsets are not natural numbers"),
        ({"dtype": "F8_E4M3"}, r"values of type 'F8_E4M3'; expected one of F64, F32, F16, BF16"),
        ({"dtype": ["F32"]}, r"values of type"),
        (None, r"its header entry is no dtype, shape, data_offsets; write the file anew"),
    ],
)
def test_safetensors_places_that_do_not_fit(tmp_path, rng, entry, message):
    lstm = tf.weights(rng, N, K)
    right = {"dtype": "F32", "shape": [4 * K], "data_offsets": [0, 16 * K]}
    wrong = None if entry is None else right | entry
    data = safetensors_bytes(named(lstm=lstm), {"lstm.bias_hh_l0": wrong})
    refused(tmp_path, data, message)


def test_safetensors_headers_that_are_none(tmp_path, rng):
    data = safetensors_bytes(named(lstm=tf.weights(rng, N, K)))
    refused(tmp_path, header(data, b"{]"), r"header is no valid JSON")
    refused(tmp_path, header(data, b'{"a": ' + b"[" * 99), r"header nests deeper than 32 levels")
    twice = b'{"a": {"dtype": "F32"}, "a": {"dtype": "F32"}}'
    refused(tmp_path, header(data, twice), r"the name 'a' occurs twice")
    refused(tmp_path, header(data, b'{"\xff": 1}'), r"header is no valid JSON")
    length = (1 << 30).to_bytes(8, "little")
    refused(tmp_path, length + data[8:], r"has a header of 1073741824 bytes; expected at most 4194")
    refused(tmp_path, data + b"\0", r"has \d+ bytes of values; expected \d+, those of its arrays")
    refused(tmp_path, header(data, b"{}"), r"bytes of values; expected 0, those of its arrays")
    none = struct.pack("<Q", 2) + b"{}"
    refused(tmp_path, none, r"holds no layers; expected at least one LSTM layer")


def test_safetensors_names_are_lines(tmp_path, rng):
    value = {"a\nb.weight": np.ones((2, 2), np.float32)}
    assert len(refused(tmp_path, safetensors_bytes(value), r"'a\\nb\.weight': its name has")) == 1
    bad = {"dtype": "X", "shape": [], "data_offsets": [0, 0]}
    data = safetensors_bytes({}, {"a\nb": bad})
    assert len(refused(tmp_path, data, r"'a\\nb' has values of type 'X'")) == 1


def test_safetensors_damaged_files_are_read_or_refused(tmp_path, rng):
    modules = {"lstm": tf.weights(rng, N, K), "bn": tf.norm(rng, K), "fc": tf.linear(rng, K, 2)}
    right = safetensors_bytes(named(**modules))
    length = 8 + int.from_bytes(right[:8], "little")
    path, read_right = tmp_path / "m.safetensors", 0
    for trial in range(600):
        data = bytearray(right)
        for at in rng.integers(0, length, rng.integers(1, 4)):
            data[at] = rng.integers(0, 256)
        if trial % 5 == 0:
            data = data[: rng.integers(0, len(data))]
        path.write_bytes(data)
        lines = [str(path)]
        try:
            network = read_model(path)
        except LstmgenError as error:
            lines = str(error).splitlines()
        else:
            read_right += 1
            assert run(network, np.zeros((1, 2, network.inputs))).y.size
        assert lines
        assert all(line.startswith(str(path)) for line in lines)
    assert read_right < 300


def test_a_header_of_json_is_no_model_in_json(tmp_path, rng):
    """A header whose length begins with the byte of a blank is none of JSON."""
    data = safetensors_bytes(named(lstm=tf.weights(rng, N, K)))
    text = data[8 : 8 + int.from_bytes(data[:8], "little")]
    for first in b" {\n":
        padded = text + b" " * ((first - len(text)) % 256)
        assert len(padded) % 256 == first
        assert json.loads(padded)
        assert read(tmp_path, header(data, padded)).inputs == N
