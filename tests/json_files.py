"""JSON files as RTNeural, NAM and GuitarML write them, out of PyTorch's arrays."""

import json
from pathlib import Path
from typing import Any

import numpy as np

import torch_files as tf
from torch_files import named

K = 4
"""Units of the layers."""


def lists(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    return {key: array.tolist() for key, array in arrays.items()}


def keras_lstm(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return PyTorch's arrays as RTNeural's layer: Keras has the same order of gates."""
    bias = arrays["bias_ih_l0"].astype(float) + arrays["bias_hh_l0"]
    kernels = [arrays["weight_ih_l0"].T.tolist(), arrays["weight_hh_l0"].T.tolist(), bias.tolist()]
    return {"type": "lstm", "activation": "tanh", "shape": [None, None, K], "weights": kernels}


def keras_gru(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return PyTorch's r, z, n as Keras' z, r, h."""
    def turned(array: np.ndarray) -> np.ndarray:
        r, z, n = np.split(array.astype(float), 3)
        return np.concatenate([z, r, n])

    bias = [turned(arrays[f"bias_{part}_l0"]).tolist() for part in ("ih", "hh")]
    kernels = [turned(arrays[f"weight_{part}_l0"]).T.tolist() for part in ("ih", "hh")]
    return {"type": "gru", "activation": "tanh", "shape": [None, K], "weights": [*kernels, bias]}


def keras_dense(fc: dict[str, np.ndarray], activation: str = "") -> dict[str, Any]:
    return {
        "type": "dense",
        "activation": activation,
        "shape": [None, None, len(fc["bias"])],
        "weights": [fc["weight"].T.tolist(), fc["bias"].tolist()],
    }


def rtneural(*layers: object, inputs: int = 1, **more: Any) -> dict[str, Any]:
    return {"in_shape": [None, None, inputs], "layers": list(layers), **more}


def nam(rng: np.random.Generator, count: int, inputs: int = 1) -> tuple[dict[str, Any], list[Any]]:
    """Return a .nam and its layers' arrays, their initial states among them."""
    layers = []
    for number in range(count):
        arrays = tf.weights(rng, K if number else inputs, K)
        layers.append((arrays, tf.values(rng, K), tf.values(rng, K)))
    fc = tf.linear(rng, K, 1)
    flat: list[np.ndarray] = []
    for arrays, h0, c0 in layers:
        both = np.concatenate([arrays["weight_ih_l0"], arrays["weight_hh_l0"]], 1)
        bias = arrays["bias_ih_l0"].astype(float) + arrays["bias_hh_l0"]
        flat += [both.ravel(), bias, h0, c0]
    flat += [fc["weight"].ravel(), fc["bias"]]
    value = {
        "version": "0.5.1",
        "architecture": "LSTM",
        "config": {"input_size": inputs, "hidden_size": K, "num_layers": count},
        "weights": np.concatenate(flat).tolist(),
        "sample_rate": 48000,
    }
    return value, [*layers, fc]


def guitarml(rng: np.random.Generator, unit: str = "LSTM", inputs: int = 1, outputs: int = 1,
             **more: Any) -> tuple[dict[str, Any], Any, Any]:
    arrays = tf.weights(rng, inputs, K, gates={"LSTM": 4, "GRU": 3}[unit])
    fc = tf.linear(rng, K, outputs)
    data = {
        "model": "SimpleRNN", "input_size": inputs, "skip": 1, "output_size": outputs,
        "unit_type": unit, "num_layers": 1, "hidden_size": K, "bias_fl": True,
    }
    return {"model_data": data | more, "state_dict": lists(named(rec=arrays, lin=fc))}, arrays, fc


def seed_files(folder: Path) -> dict[str, Path]:
    """Write small valid files and return them by format and variant."""
    r = np.random.default_rng(11)
    lstm, gru, fc = tf.weights(r, 1, K), tf.weights(r, 1, K, gates=3), tf.linear(r, K, 1)
    first = keras_dense(tf.linear(r, 2, 1)) | {"type": "time-distributed-dense"}
    norm = [array.tolist() for key, array in tf.norm(r, 1).items() if "num" not in key]
    made = {
        "rtneural/lstm": rtneural(keras_lstm(lstm), keras_dense(fc, "tanh")),
        "rtneural/gru": rtneural(keras_gru(gru), keras_dense(fc), in_skip=1, out_gain=-3.0),
        "rtneural/batchnorm": rtneural(
            first,
            {"type": "activation", "activation": "tanh", "shape": [None, 1], "weights": []},
            {"type": "batchnorm", "activation": "", "shape": [None, 1], "epsilon": 0.01,
             "weights": norm},
            keras_lstm(lstm), keras_dense(fc), inputs=2,
        ),
        "rtneural/state_dict": lists(named(lstm=lstm, lstm2=tf.weights(r, K, K), dense=fc)),
        "nam/one": nam(r, 1)[0],
        "nam/two": nam(r, 2, 2)[0],
        "guitarml/lstm": guitarml(r)[0],
        "guitarml/gru": guitarml(r, "GRU", inputs=2, skip=0)[0],
    }
    files = {}
    for key, value in made.items():
        suffix = ".nam" if key.startswith("nam") else ".json"
        files[key] = folder / (key.replace("/", "_") + suffix)
        files[key].write_text(json.dumps(value))
    return files
