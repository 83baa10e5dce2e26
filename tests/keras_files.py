"""Files as Keras 2 and 3 write them, by hand, and what Keras computes, in numpy.

A layer is a dict as in Keras' config, with its arrays beside it under "weights": part of the
layer, name, values. Nothing here is shared with the readers.
"""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Spec = dict[str, Any]

SNAKE = {
    "LSTM": "lstm", "GRU": "gru", "Dense": "dense", "Bidirectional": "bidirectional", "RNN": "rnn",
    "BatchNormalization": "batch_normalization", "TimeDistributed": "time_distributed",
    "Embedding": "embedding", "Normalization": "normalization", "Sequential": "sequential",
    "LSTMCell": "lstm_cell", "GRUCell": "gru_cell", "Masking": "masking", "Dropout": "dropout",
    "Activation": "activation", "ReLU": "re_lu", "Softmax": "softmax", "Flatten": "flatten",
    "Reshape": "reshape", "Functional": "functional", "PeepholeCell": "peephole_cell",
}  # fmt: skip

rng = np.random.default_rng(8)


def values(*shape: int) -> np.ndarray:
    return rng.normal(0, 0.5, shape).astype(np.float32)


def layer(kind: str, name: str, weights: Any = (), **config: Any) -> Spec:
    found = {"module": "keras.layers", "class_name": kind, "registered_name": None}
    return {**found, "config": {"name": name, **config}, "weights": list(weights)}


def cell_weights(gates: int, n: int, k: int, config: Spec, part: str = "cell") -> list[Any]:
    arrays = [(part, "kernel", values(n, gates * k))]
    arrays.append((part, "recurrent_kernel", values(k, gates * k)))
    if config.get("use_bias", True):
        after = gates == 3 and config.get("reset_after", True)
        arrays.append((part, "bias", values(2, 3 * k) if after else values(gates * k)))
    return arrays


def lstm(name: str, n: int, k: int, **config: Any) -> Spec:
    config = {"units": k, "activation": "tanh", "recurrent_activation": "sigmoid", **config}
    return layer("LSTM", name, cell_weights(4, n, k, config), **config)


def gru(name: str, n: int, k: int, **config: Any) -> Spec:
    config = {"units": k, "activation": "tanh", "recurrent_activation": "sigmoid", **config}
    config.setdefault("reset_after", True)
    return layer("GRU", name, cell_weights(3, n, k, config), **config)


def dense(name: str, n: int, m: int, activation: Any = "linear", **config: Any) -> Spec:
    arrays = [("", "kernel", values(n, m))]
    if config.get("use_bias", True):
        arrays.append(("", "bias", values(m)))
    return layer("Dense", name, arrays, units=m, activation=activation, **config)


def bidirectional(name: str, forward: Spec, merge: Any = "concat", explicit: bool = True) -> Spec:
    """The backward half has weights of its own; explicit: it stands in the config."""
    config = forward["config"]
    gates = 4 if forward["class_name"] == "LSTM" else 3
    n = forward["weights"][0][2].shape[0]
    backward = {**forward, "config": {**config, "name": "backward", "go_backwards": True}}
    weights = [(f"forward_layer/{part}", leaf, a) for part, leaf, a in forward["weights"]]
    weights += cell_weights(gates, n, config["units"], config, "backward_layer/cell")
    halves = {"layer": plain(forward)} | ({"backward_layer": plain(backward)} if explicit else {})
    return layer("Bidirectional", name, weights, merge_mode=merge, **halves)


def rnn(name: str, cells: list[Spec], **config: Any) -> Spec:
    """A layer of cells, given as lstm(...) or gru(...); one alone is no stack."""
    counts: dict[str, int] = {}
    weights, inner = [], []
    for cell in cells:
        kind = cell["class_name"] + "Cell"
        number = counts[kind] = counts.get(kind, -1) + 1
        place = f"cell/cells/{SNAKE[kind]}" + (f"_{number}" if number else "")
        place = place if len(cells) > 1 else "cell"
        weights += [(place, leaf, array) for _, leaf, array in cell["weights"]]
        inner.append({**plain(cell), "class_name": kind})
    stack = {"class_name": "StackedRNNCells", "config": {"name": "stack", "cells": inner}}
    return layer("RNN", name, weights, cell=stack if len(cells) > 1 else inner[0], **config)


def batch_normalization(name: str, n: int, **config: Any) -> Spec:
    leaves = ["gamma"] * config.get("scale", True) + ["beta"] * config.get("center", True)
    arrays = [("", leaf, values(n)) for leaf in (*leaves, "moving_mean")]
    arrays.append(("", "moving_variance", np.abs(values(n)) + np.float32(0.1)))
    return layer("BatchNormalization", name, arrays, epsilon=1e-3, axis=-1, **config)


def normalization(name: str, n: int) -> Spec:
    arrays = [("", "mean", values(n)), ("", "variance", np.abs(values(n)) + np.float32(0.1))]
    return layer("Normalization", name, [*arrays, ("", "count", np.int32(7))], axis=[-1])


def sequential(name: str, *layers: Spec) -> Spec:
    return layer("Sequential", name, layers=list(layers), module="keras")


def inputs(*shape: int | None) -> Spec:
    return layer("InputLayer", "input_layer", batch_shape=[None, *shape])


def plain(spec: Spec) -> Spec:
    """The layer as its config has it, without weights."""
    config = dict(spec["config"])
    if "layers" in config:
        config["layers"] = [plain(inner) for inner in config["layers"]]
    return {**{k: v for k, v in spec.items() if k != "weights"}, "config": config}


def model(layers: Any, functional: int = 0) -> Spec:
    """The config of a Sequential model, or of a Functional one as Keras 2 or 3 writes it."""
    if not functional:
        config = {"name": "net", "layers": [*map(plain, layers)]}
        return {"class_name": "Sequential", "config": config}
    found, before = [], None
    for spec in layers:
        name = spec["config"]["name"]
        nodes: list[Any] = []
        if before and functional == 2:
            nodes = [[[before, 0, 0, {}]]]
        elif before:
            nodes = [{"args": [tensor(before)], "kwargs": {}}]
        found.append({**plain(spec), "name": name, "inbound_nodes": nodes})
        before = name
    ends = {"input_layers": [[found[0]["name"], 0, 0]], "output_layers": [[before, 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "net", "layers": found, **ends}}


def tensor(name: str, number: int = 0) -> Spec:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, number]}}


def put_paths(file: h5py.File, layers: Any, root: str = "layers") -> None:
    """Write weights by class and number, as in .keras and .weights.h5."""
    counts: dict[str, int] = {}
    for spec in layers:
        kind = SNAKE.get(spec["class_name"], spec["class_name"].lower())
        number = counts[kind] = counts.get(kind, -1) + 1
        place = f"{root}/{kind}_{number}" if number else f"{root}/{kind}"
        if "layers" in spec["config"]:
            put_paths(file, spec["config"]["layers"], f"{place}/layers")
            continue
        if kind != "inputlayer":
            file.require_group(f"{place}/vars").attrs["name"] = spec["config"]["name"]
        numbers: dict[str, int] = {}
        for part, _, array in spec["weights"]:
            part = "layer" if kind == "time_distributed" else part
            front = f"{place}/{part}/vars".replace("//", "/")
            numbers[front] = numbers.get(front, -1) + 1
            file[f"{front}/{numbers[front]}"] = array


def put_names(base: Any, layers: Any, version: str) -> None:
    """Write weights by the layers' names, as in .h5."""
    old = version.startswith("2")
    layers = [spec for spec in layers if spec["class_name"] != "InputLayer"]
    base.attrs["layer_names"] = [spec["config"]["name"] for spec in layers]
    for spec in layers:
        name = spec["config"]["name"]
        group, names = base.create_group(name), []
        nested = spec["config"].get("layers", [spec])
        for inner in nested:
            front = inner["config"]["name"] if old else f"net/{name}/{inner['config']['name']}"
            for part, leaf, array in inner["weights"]:
                step = part.replace("_layer", "_lstm")
                names.append(f"{front}/{step}/{leaf}".replace("//", "/") + (":0" if old else ""))
                group[names[-1]] = array
        group.attrs["weight_names"] = names or np.zeros(0)


def write_keras(path: Path, layers: Any, version: str = "3.15.1", functional: int = 0) -> Path:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        put_paths(file, layers)
        file.create_group("optimizer/vars")["0"] = np.ones(3)
    return write_zip(path, model(layers, functional), buffer.getvalue(), version)


def write_zip(path: Path, config: Any, weights: bytes, version: str = "3.15.1") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        entries = {
            "metadata.json": json.dumps({"keras_version": version}),
            "config.json": config if isinstance(config, str) else json.dumps(config),
            "model.weights.h5": weights,
        }
        for name, content in entries.items():  # without a date: the same bytes every time
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


def write_h5(path: Path, layers: Any, version: str = "3.15.1", functional: int = 0) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps(model(layers, functional))
        put_names(file.create_group("model_weights"), layers, version)
    return path


def write_weights(path: Path, layers: Any) -> Path:
    """Keras 3: model.save_weights("x.weights.h5")."""
    with h5py.File(path, "w") as file:
        put_paths(file, layers)
        file.create_group("vars").attrs["name"] = "net"
    return path


def write_weights_2(path: Path, layers: Any) -> Path:
    """Keras 2: model.save_weights("x.h5")."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        put_names(file, layers, "2.15.0")
    return path


def write_npz(path: Path, layers: Any) -> Path:
    np.savez(path, *(array for spec in layers for _, _, array in spec["weights"]))
    return path


def seed_files(folder: Path) -> dict[str, Path]:
    """Write small valid files and return them by format and variant."""
    global rng
    before, rng = rng, np.random.default_rng(13)
    every = {"return_sequences": True}
    nets = {
        "lstm": [inputs(7, 3), lstm("a", 3, 4, **every), lstm("b", 4, 3),
                 dense("head", 3, 2, "softmax")],
        "bidirectional": [batch_normalization("norm", 3), bidirectional("both", lstm("l", 3, 2)),
                          dense("head", 4, 2)],
        "gru": [inputs(7, 3), gru("g", 3, 4, **every), gru("last", 4, 3, reset_after=False)],
    }
    rng = before
    made = {}
    for name, net in nets.items():
        made[f"keras/{name}"] = write_keras(folder / f"{name}.keras", net)
        made[f"h5/{name}"] = write_h5(folder / f"{name}.h5", net)
        made[f"weights.h5/{name}"] = write_weights(folder / f"{name}.weights.h5", net)
        old = write_weights_2(folder / f"{name}_2.weights.h5", net)
        made[f"weights.h5/{name}_2"] = old
    made["keras/functional"] = write_keras(folder / "functional.keras", nets["lstm"], functional=3)
    made["h5/functional_2"] = write_h5(folder / "functional.h5", nets["lstm"], "2.15.0", 2)
    return made


# What Keras computes


def sigma(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


FUNCTIONS = {
    "tanh": np.tanh, "sigmoid": sigma, "linear": lambda z: z, "relu": lambda z: np.maximum(z, 0),
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
    "hard_3": lambda z: np.clip(z + 3, 0, 6) / 6, "hard_2": lambda z: np.clip(z / 5 + 0.5, 0, 1),
}  # fmt: skip


def walk(config: Spec, arrays: list[np.ndarray], x: np.ndarray, version: int = 3) -> np.ndarray:
    """The outputs (B, T, k) of an LSTM or GRU that goes forward over x."""
    arrays = [np.asarray(array, np.float64) for array in arrays]
    kernel, recurrent = arrays[:2]
    k = len(recurrent)
    phi = FUNCTIONS[config["activation"]]
    gate = config["recurrent_activation"]
    s = FUNCTIONS[f"hard_{version}" if gate == "hard_sigmoid" else gate]
    h, c, out = np.zeros((len(x), k)), np.zeros((len(x), k)), []
    for t in range(x.shape[1]):
        if recurrent.shape[1] == 4 * k:
            z = x[:, t] @ kernel + h @ recurrent + (arrays[2] if arrays[2:] else 0)
            i, f, g, o = np.split(z, 4, 1)
            c = s(f) * c + s(i) * phi(g)
            h = s(o) * phi(c)
        else:
            after = config["reset_after"]
            both = arrays[2] if arrays[2:] else np.zeros((2, 3 * k))
            xz, xr, xh = np.split(x[:, t] @ kernel + (both[0] if after else arrays[2]), 3, 1)
            if after:
                uz, ur, uh = np.split(h @ recurrent + both[1], 3, 1)
                n = phi(xh + s(xr + ur) * uh)
            else:
                uz, ur = np.split(h @ recurrent[:, : 2 * k], 2, 1)
                n = phi(xh + (s(xr + ur) * h) @ recurrent[:, 2 * k :])
            z = s(xz + uz)
            h = z * h + (1 - z) * n
        out.append(h)
    return np.stack(out, 1)


def run(layers: Any, x: np.ndarray, version: int = 3) -> np.ndarray:
    """What a chain of lstm, gru, dense, bidirectional and batch_normalization gives for x."""
    for spec in layers:
        kind, config = spec["class_name"], spec["config"]
        arrays = [np.asarray(array, np.float64) for _, _, array in spec["weights"]]
        named = {leaf: array for (_, leaf, _), array in zip(spec["weights"], arrays, strict=True)}
        if kind in ("LSTM", "GRU"):
            back = config.get("go_backwards", False)
            x = walk(config, arrays, x[:, ::-1] if back else x, version)
            x = x if config.get("return_sequences") else x[:, -1]
        elif kind == "Bidirectional":
            inner, half = config["layer"]["config"], len(arrays) // 2
            f = walk(inner, arrays[:half], x, version)
            b = walk(inner, arrays[half:], x[:, ::-1], version)
            every = inner.get("return_sequences")
            f, b = (f, b[:, ::-1]) if every else (f[:, -1], b[:, -1])
            merges = {"sum": f + b, "mul": f * b, "ave": (f + b) / 2}
            mode = config["merge_mode"]
            x = np.concatenate([f, b], -1) if mode == "concat" else merges[mode]
        elif kind == "Dense":
            x = FUNCTIONS[config["activation"]](x @ named["kernel"] + named.get("bias", 0))
        elif kind == "BatchNormalization":
            deviation = np.sqrt(named["moving_variance"] + config["epsilon"])
            x = (x - named["moving_mean"]) / deviation
            x = x * named.get("gamma", 1) + named.get("beta", 0)
        elif kind == "Normalization":
            x = (x - named["mean"]) / np.sqrt(named["variance"])
        elif kind == "Activation":
            x = FUNCTIONS[config["activation"]](x)
    return x
