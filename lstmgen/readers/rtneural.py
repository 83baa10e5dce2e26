"""RTNeural's JSON: its own layout of Keras' weights, or a PyTorch state dict as lists.

AIDA-X writes the first with a key in_skip more: with 1 the input is added to the output.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import ModelError
from ..folding import Affine
from ..layers import Dense, Gru, Layer, Lstm
from ..network import MAX_LAYERS, MAX_WIDTH
from ..qformat import FloatArray
from . import torch_modules
from .json_arrays import arrays_of, floats_of
from .options import Draft, ReadOptions

ACTIVATIONS = {
    "": "linear", "linear": "linear", "relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid",
    "softmax": "softmax",
}
_GAINS = ("in_gain", "out_gain")

Made = Layer | Affine


def is_state_dict_key(key: str) -> bool:
    """Tell whether an array of that name is a recurrent module's."""
    return torch_modules.RECURRENT.fullmatch(key) is not None


def read_state_dict(
    values: dict[str, Any], source: str, name: str, options: ReadOptions
) -> Draft:
    """Return the network of state-dict keys with nested lists."""
    draft = torch_modules.read(
        arrays_of(values, source), source, name, options, "PyTorch state dict as JSON"
    )
    note = "RTNeural computes an output for each sample: the outputs are the sequence"
    return replace(draft, outputs="sequence", notes=(*draft.notes, note))


def read(values: dict[str, Any], source: str, name: str) -> Draft:
    """Return the network of in_shape and layers, whose matrices stand as in Keras."""
    entries, shape = values["layers"], values["in_shape"]
    if not isinstance(entries, list) or len(entries) > MAX_LAYERS or not entries:
        raise ModelError(f"{source}: layers is no list of 1 to {MAX_LAYERS} layers")
    reader = _Layers(source)
    for number, entry in enumerate(entries):
        reader.add(entry, number)
    layers, problems = reader.layers, reader.problems
    notes = ["RTNeural layers; kernels transposed, gate order i, f, c, o (c is g)", *reader.notes]
    first = layers[0] if layers and isinstance(layers[0], Dense | Lstm | Gru) else None
    inputs = shape[-1] if isinstance(shape, list) and shape else None
    if first is not None and not problems and first.W.ndim == 2 and first.inputs != inputs:
        problems.append(
            f"{source}: in_shape ends with {str(inputs)[:40]!a}; expected {first.inputs}, the "
            f"inputs of {first.name}"
        )
    if not problems:
        _skip(values, source, layers, problems, notes)
    gains = [key for key in _GAINS if values.get(key)]
    notes += [f"{key} {str(values[key])[:40]!a} dB is the player's, not applied" for key in gains]
    return Draft(
        source,
        name,
        tuple(layers),
        stored=True,
        outputs="sequence",
        notes=tuple(notes),
        problems=tuple(problems),
    )


def _skip(
    values: dict[str, Any], source: str, layers: list[Made], problems: list[str], notes: list[str]
) -> None:
    """Let the last layer add the network's input as in_skip says."""
    skip = values.get("in_skip", 0)
    if skip in (0, None):
        return
    last, first = layers[-1], layers[0]
    fits = isinstance(last, Dense) and last.activation == "linear"
    one = isinstance(first, Dense | Lstm | Gru) and first.W.ndim == 2 and first.inputs == 1
    if skip != 1 or not fits or not one or not isinstance(last, Dense):
        problems.append(
            f"{source}: in_skip is {str(skip)[:40]!a}; expected 0, or 1 with one input and a "
            "linear dense layer at the end"
        )
        return
    layers[-1] = replace(last, skip=np.ones((len(last.b), 1)))
    notes.append(f"{last.name}: in_skip 1: the input is added to the output")


class _Layers:
    """Takes entry by entry of `layers`; what is wrong with them is in `problems`."""

    def __init__(self, source: str) -> None:
        self.layers: list[Made] = []
        self.notes: list[str] = []
        self.problems: list[str] = []
        self._source = source
        self._counts: dict[str, int] = {}

    def add(self, entry: object, number: int) -> None:
        """Append the layer of an entry."""
        kind = entry.get("type") if isinstance(entry, dict) else None
        where = f"{self._source}: layers[{number}]"
        makers: dict[str, Callable[[str, dict[str, Any], list[FloatArray]], Made]] = {
            "lstm": self._lstm,
            "gru": self._gru,
            "dense": self._dense,
            "time-distributed-dense": self._dense,
            "batchnorm": self._batchnorm,
        }
        try:
            if not isinstance(entry, dict) or not isinstance(kind, str):
                raise ModelError(f"{where} has no type; expected one of {', '.join(makers)}")
            if kind == "activation":
                self._activate(entry, where)
                return
            if kind not in makers:
                raise ModelError(
                    f"{where}: a layer of type {kind[:40]!a} is not supported; expected one of "
                    f"{', '.join(makers)}, activation"
                )
            short = "dense" if "dense" in kind else kind
            name = f"{short}{self._counts.get(short, 0)}"
            self._counts[short] = self._counts.get(short, 0) + 1
            where = f"{self._source}: {name}"
            weights = entry.get("weights")
            if not isinstance(weights, list) or not 1 <= len(weights) <= 4:
                raise ModelError(f"{where} has no list of weights")
            arrays = [floats_of(weight, f"{where}: weights[{at}]")
                      for at, weight in enumerate(weights)]
            self.layers.append(makers[kind](name, entry, arrays))
            self._check_width(entry, where)
        except ModelError as error:
            self.problems += str(error).splitlines()

    def _check_width(self, entry: dict[str, Any], where: str) -> None:
        layer, shape = self.layers[-1], entry.get("shape")
        told = shape[-1] if isinstance(shape, list) and shape else None
        if isinstance(layer, Affine):
            width = len(layer.scale)
        elif any(layer.shape_problems()):
            return  # for the network's own checks to name
        else:
            width = layer.width
        if told is not None and told != width:
            raise ModelError(
                f"{where}: shape ends with {str(told)[:40]!a}; expected {width}, which its weights "
                "have"
            )

    def _dense(self, name: str, entry: dict[str, Any], arrays: list[FloatArray]) -> Dense:
        W = _turned(arrays[0])
        bias = arrays[1] if len(arrays) > 1 else np.zeros(W.shape[:1])
        return Dense(name, W, bias, self._activation(name, entry))  # type: ignore[arg-type]

    def _lstm(self, name: str, entry: dict[str, Any], arrays: list[FloatArray]) -> Lstm:
        self._tanh(name, entry)
        W, U = self._kernels(name, arrays)
        bias = arrays[2] if len(arrays) > 2 else np.zeros(W.shape[:1])
        return Lstm(name, W, U, bias)

    def _gru(self, name: str, entry: dict[str, Any], arrays: list[FloatArray]) -> Gru:
        """Return a layer of Keras' reset_after; its gates are z, r, h there."""
        self._tanh(name, entry)
        W, U = self._kernels(name, arrays)
        k = U.shape[1] if U.ndim == 2 else 0
        bias = arrays[2] if len(arrays) > 2 else np.zeros((2, 3 * k))
        if U.shape != (3 * k, k) or W.ndim != 2 or len(W) != 3 * k or bias.shape != (2, 3 * k):
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise ModelError(
                f"{self._source}: {name} has weights {shapes}; expected (n, 3k), (k, 3k), (2, 3k)"
            )
        order = np.r_[k : 2 * k, 0:k, 2 * k : 3 * k]
        W, U, b_x, b_h = W[order], U[order], bias[0][order], bias[1][order]
        self.notes.append(f"{name}: GRU with reset_after, gate order z, r, h")
        b = np.concatenate([b_x[: 2 * k] + b_h[: 2 * k], b_x[2 * k :]])
        return Gru(name, W, U, b, b_h[2 * k :])

    def _batchnorm(self, name: str, entry: dict[str, Any], arrays: list[FloatArray]) -> Affine:
        eps = entry.get("epsilon")
        shape = arrays[0].shape
        if len(arrays) not in (2, 4) or any(array.shape != shape for array in arrays):
            raise ModelError(f"{self._source}: {name} has no 2 or 4 vectors of equal length")
        if len(shape) != 1 or shape[0] > MAX_WIDTH or (arrays[-1] < 0).any():
            raise ModelError(
                f"{self._source}: {name} has no variances for up to {MAX_WIDTH} features"
            )
        if type(eps) is not float or not 0 < eps < 1 or self._activation(name, entry) != "linear":
            raise ModelError(
                f"{self._source}: {name} has epsilon {str(eps)[:40]!a}; expected one from 0 to 1, "
                "and no activation"
            )
        gamma, beta = arrays[:2] if len(arrays) == 4 else (np.ones(shape), np.zeros(shape))
        scale = gamma / np.sqrt(arrays[-1] + eps)
        self.notes.append(f"{name}: batch normalization, epsilon {eps:g}")
        return Affine(name, scale, beta - arrays[-2] * scale)

    def _activate(self, entry: dict[str, Any], where: str) -> None:
        """Give the dense layer before it the activation of an entry of its own."""
        last = self.layers[-1] if self.layers else None
        activation = self._activation(where, entry)
        if not isinstance(last, Dense) or last.activation != "linear":
            raise ModelError(
                f"{where}: an activation that does not follow a linear dense layer is not "
                "supported"
            )
        self.layers[-1] = replace(last, activation=activation)  # type: ignore[arg-type]

    def _activation(self, name: str, entry: dict[str, Any]) -> str:
        found = entry.get("activation") or ""
        if not isinstance(found, str) or found not in ACTIVATIONS:
            known = ", ".join(key for key in ACTIVATIONS if key)
            raise ModelError(
                f"{self._source}: {name.removeprefix(f'{self._source}: ')}: activation "
                f"{str(found)[:40]!a} is not supported; expected one of {known}"
            )
        return ACTIVATIONS[found]

    def _tanh(self, name: str, entry: dict[str, Any]) -> None:
        if entry.get("activation") not in ("tanh", "", None):
            raise ModelError(
                f"{self._source}: {name}: activation {str(entry['activation'])[:40]!a} is not "
                "supported; expected tanh, which RTNeural computes"
            )

    def _kernels(self, name: str, arrays: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
        if len(arrays) < 2:
            raise ModelError(
                f"{self._source}: {name} has no recurrent kernel; expected kernel, recurrent "
                "kernel and bias"
            )
        return _turned(arrays[0]), _turned(arrays[1])


def _turned(kernel: FloatArray) -> FloatArray:
    return np.ascontiguousarray(kernel.T)
