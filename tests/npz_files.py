"""Small valid .npz files: a network in every convention, and the quantized artefact."""

from pathlib import Path

import numpy as np

from lstmgen import artefact
from lstmgen.layers import Dense, Lstm
from lstmgen.network import Network
from lstmgen.quantizer import quantize


def small_network() -> Network:
    """Return an LSTM of 4 units over 3 inputs, a dense layer and softmax."""
    r = np.random.default_rng(3)
    return Network.of(
        Lstm("lstm", r.normal(size=(16, 3)), r.normal(size=(16, 4)), r.normal(size=16)),
        Dense("dense", r.normal(size=(2, 4)), r.normal(size=2), "softmax"),
        input_range=(-1.0, 1.0),
    )


def seed_files(folder: Path) -> dict[str, Path]:
    """Write a small valid file of each kind and return them by format and variant."""
    network = small_network()
    layer, head = network.layers
    assert isinstance(layer, Lstm)
    assert isinstance(head, Dense)
    arrays = {
        "plain": {"W0": layer.W, "R0": layer.U, "b0": layer.b, "dense_W": head.W,
                  "dense_b": head.b},
        "keras": {"arr_0": layer.W.T, "arr_1": layer.U.T, "arr_2": layer.b, "arr_3": head.W.T,
                  "arr_4": head.b},
        "plain_keras": {"lstm0_W": layer.W.T, "lstm0_R": layer.U.T, "lstm0_b": layer.b,
                        "dense_W": head.W.T, "dense_b": head.b},
        "state_dict": {"lstm.weight_ih_l0": layer.W, "lstm.weight_hh_l0": layer.U,
                       "lstm.bias_ih_l0": layer.b, "lstm.bias_hh_l0": 0 * layer.b,
                       "fc.weight": head.W, "fc.bias": head.b},
    }
    files = {}
    for name, values in arrays.items():
        files[f"npz/{name}"] = folder / f"{name}.npz"
        singles = {key: value.astype(np.float32) for key, value in values.items()}
        np.savez(folder / f"{name}.npz", **singles)  # type: ignore[arg-type]
    files["npz/schema"] = folder / "schema.npz"
    network.save(files["npz/schema"])
    files["artefact/w8a16"] = folder / "artefact.npz"
    artefact.save(quantize(network, "w8a16"), files["artefact/w8a16"])
    return files
