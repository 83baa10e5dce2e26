"""Neural Amp Modeler's .nam files: JSON with all weights in one flat list.

Per layer the matrix [W, U] of 4k rows (i, f, g, o) and n + k columns, the bias, and the hidden and
cell state it starts from; then the weights and the bias of a linear layer with one output.
"""

from typing import Any

from ..errors import ModelError
from ..layers import Dense, Layer, Lstm
from ..network import MAX_LAYERS, MAX_WIDTH
from .json_arrays import floats_of, natural
from .options import Draft


def read(values: dict[str, Any], source: str, name: str) -> Draft:
    """Return the network of a file of architecture LSTM; others are refused by name."""
    architecture = values["architecture"]
    if architecture != "LSTM":
        raise ModelError(
            f"{source}: NAM architecture {str(architecture)[:40]!a} is not supported; expected LSTM"
        )
    config = values.get("config")
    if not isinstance(config, dict):
        raise ModelError(f"{source}: config is missing; expected input_size, hidden_size, ...")
    n = natural(config, "input_size", f"{source}: config", MAX_WIDTH)
    k = natural(config, "hidden_size", f"{source}: config", MAX_WIDTH)
    count = natural(config, "num_layers", f"{source}: config", MAX_LAYERS)
    weights = floats_of(values.get("weights"), f"{source}: weights")
    wanted = sum(4 * k * (columns + k) + 6 * k for columns in [n] + [k] * (count - 1)) + k + 1
    if weights.shape != (wanted,):
        raise ModelError(
            f"{source}: weights are {weights.shape}; expected ({wanted},): {count} layers of {k} "
            f"units over {n} inputs with their initial states, and a linear layer with 1 output"
        )
    layers: list[Layer] = []
    at = 0
    for number in range(count):
        columns = (k if number else n) + k
        both = weights[at : at + 4 * k * columns].reshape(4 * k, columns)
        at += both.size
        b, h0, c0 = weights[at : at + 4 * k], weights[at + 4 * k :][:k], weights[at + 5 * k :][:k]
        at += 6 * k
        started = bool(h0.any() or c0.any())
        layers.append(
            Lstm(
                f"lstm{number}", both[:, :-k].copy(), both[:, -k:].copy(), b,
                h0 if started else None, c0 if started else None,
            )
        )
    layers.append(Dense("head", weights[at : at + k].reshape(1, k), weights[at + k :]))
    notes = ["NAM LSTM with its initial states; gate order i, f, g, o"]
    rate = values.get("sample_rate")
    if isinstance(rate, int | float) and 0 < rate < 1e9:
        notes.append(f"for samples at {rate:g} Hz")
    return Draft(
        source, name, tuple(layers), stored=True, outputs="sequence", notes=tuple(notes)
    )
