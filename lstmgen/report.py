"""Accuracy of a quantized network against its float64 original, on data."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import reference
from .dataset import Dataset
from .emulator import Emulator
from .errors import ModelError
from .layers import HEADS
from .network import Network
from .qformat import FloatArray, IntArray
from .quantized import QuantizedNetwork
from .quantized_layers import QuantizedDense

_CHUNK_VALUES = 1 << 23
"""Float values held per chunk of sequences, all layers together."""


@dataclass
class _Error:
    """Sums over all values of one tensor, from which SQNR and max error follow."""

    signal: float = 0.0
    noise: float = 0.0
    worst: float = 0.0

    def add(self, expected: FloatArray, got: FloatArray) -> None:
        difference = got - expected
        self.signal += float(np.sum(expected**2))
        self.noise += float(np.sum(difference**2))
        self.worst = max(self.worst, float(np.abs(difference).max()))

    @property
    def sqnr_db(self) -> float:
        """10 log10(signal / noise); inf without noise, -inf with nothing but noise."""
        if self.noise == 0:
            return math.inf
        return float(10 * np.log10(self.signal / self.noise)) if self.signal else -math.inf


@dataclass(frozen=True)
class LayerAccuracy:
    """How far one recurrent layer's hidden state is from float64, over all steps.

    hidden_sqnr_db: 10 log10(sum of squares / sum of squared errors), inf where exact, -inf
        where the float values are all 0 and the quantized ones are not.
    cell_saturations: cell states limited to int32, of `values`.
    """

    name: str
    hidden_sqnr_db: float
    max_abs_error: float
    cell_saturations: int
    values: int


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of a quantized network on a data set.

    sqnr_db, max_abs_error: of the outputs, as for a layer; both None for argmax, which has
        no noise but right and wrong.
    agreement: share of outputs whose largest value (or class) is float's; None for width 1.
    metric: "accuracy" or "rmse" with labels or targets, its float and quantized value.
    input_saturations: input values beyond the input format, of `inputs`.
    dense_saturations: by layer name, results limited to their width.
    """

    precision: str
    sequences: int
    steps: int
    sqnr_db: float | None
    max_abs_error: float | None
    layers: tuple[LayerAccuracy, ...]
    agreement: float | None
    input_saturations: int
    inputs: int
    dense_saturations: dict[str, int] = field(default_factory=dict)
    metric: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the stable form that `report --json` prints; JSON has no infinity."""
        return {
            "precision": self.precision,
            "sequences": self.sequences,
            "steps": self.steps,
            "output": {"sqnr_db": _finite(self.sqnr_db), "max_abs_error": self.max_abs_error},
            "layers": [
                {
                    "name": layer.name,
                    "hidden_sqnr_db": _finite(layer.hidden_sqnr_db),
                    "max_abs_error": layer.max_abs_error,
                    "cell_saturations": layer.cell_saturations,
                    "values": layer.values,
                }
                for layer in self.layers
            ],
            "argmax_agreement": self.agreement,
            "metric": self.metric,
            "saturations": {
                "input": self.input_saturations,
                "inputs": self.inputs,
                "dense": self.dense_saturations,
            },
        }


def measure_accuracy(network: Network, q: QuantizedNetwork, data: Dataset) -> Accuracy:
    """Compare `q` with `network` on the data, in chunks that bound the memory.

    Raises ModelError for labels or targets that do not fit the outputs.
    """
    emulator = Emulator(q)
    output = _Error()
    hidden = {layer.name: _Error() for layer in q.recurrent}
    saturated_inputs = 0
    floats: list[FloatArray] = []
    quantized: list[FloatArray] = []
    length = chunk_sequences(q, data.x.shape[1])
    for first in range(0, len(data.x), length):
        x = np.asarray(data.x[first : first + length], np.float64)
        raw = q.to_raw(x)
        saturated_inputs += q.count_clipped(x)
        lengths = None if data.lengths is None else data.lengths[first : first + length]
        emulator.reset(len(x))
        trace = emulator.trace(raw)
        y = q.y.to_real(_outputs(q, raw, trace, lengths))
        # What lies beyond a length is no step of a sequence: hidden states are compared for
        # whole ones.
        expected = reference.run(network, x)
        for layer in q.recurrent:
            hidden[layer.name].add(expected.layers[layer.name], layer.h.to_real(trace[layer.name]))
        floats.append(expected.y if lengths is None else reference.run(network, x, lengths).y)
        if network.activation != "argmax":
            output.add(floats[-1], y)
        quantized.append(y)
    y_float, y_quantized = np.concatenate(floats), np.concatenate(quantized)
    counts = emulator.saturations
    values = data.x.shape[0] * data.x.shape[1]
    return Accuracy(
        precision=q.precision,
        sequences=data.x.shape[0],
        steps=data.x.shape[1],
        sqnr_db=None if network.activation == "argmax" else output.sqnr_db,
        max_abs_error=None if network.activation == "argmax" else output.worst,
        layers=tuple(
            LayerAccuracy(
                layer.name,
                hidden[layer.name].sqnr_db,
                hidden[layer.name].worst,
                counts[layer.name],
                values * layer.units,
            )
            for layer in q.recurrent
        ),
        agreement=_agreement(network, y_float, y_quantized),
        input_saturations=saturated_inputs,
        inputs=int(data.x.size),
        dense_saturations={
            layer.name: counts[layer.name]
            for layer in q.layers
            if isinstance(layer, QuantizedDense) and layer.activation in ("linear", "relu")
        },
        metric=_metric(network, q, data, y_float, y_quantized),
    )


def chunk_sequences(q: QuantizedNetwork, steps: int) -> int:
    """Return how many sequences of so many steps to run at a time."""
    width = sum(layer.width for layer in q.layers) + q.inputs
    return max(1, _CHUNK_VALUES // (steps * width))


def sqnr_db(signal: float, noise: float) -> float | None:
    """Return 10 log10(signal / noise), None where that is no number."""
    return _finite(_Error(signal, noise).sqnr_db)


def decides(network: Network) -> bool:
    """Whether an output is a decision: a class number, or values of which one is largest."""
    return network.width > 1 or network.activation == "argmax"


def _outputs(
    q: QuantizedNetwork, x: IntArray, trace: dict[str, IntArray], lengths: IntArray | None
) -> IntArray:
    """Return the raw outputs, from the trace if they are among its values."""
    if q.streams and lengths is None:
        y = trace[q.layers[-1].name]
        return y if q.outputs == "sequence" else y[:, -1]
    return Emulator(q, batch=len(x)).run(x, lengths)


def _finite(decibel: float | None) -> float | None:
    return decibel if decibel is not None and math.isfinite(decibel) else None


def classes_of(network: Network, y: FloatArray) -> IntArray:
    """Return the class of each output, y (..., width): its number, or that of the largest."""
    return np.asarray(y[..., 0] if network.activation == "argmax" else y.argmax(-1), np.int64)


def _agreement(network: Network, y: FloatArray, yq: FloatArray) -> float | None:
    if not decides(network):
        return None
    return float(np.mean(classes_of(network, y) == classes_of(network, yq)))


def _metric(
    network: Network, q: QuantizedNetwork, data: Dataset, y: FloatArray, yq: FloatArray
) -> dict[str, Any]:
    if data.label is not None:
        if network.width == 1 and network.activation not in HEADS:
            raise ModelError(
                "the data holds class labels, but the network has one output; "
                "expected `target` values"
            )
        label = _fitting("label", data.label, y.shape[:-1])
        classes = q.layers[-1].rows if isinstance(q.layers[-1], QuantizedDense) else network.width
        if label.min() < 0 or label.max() >= classes:
            raise ModelError(
                f"label spans {label.min()}..{label.max()}; expected 0..{classes - 1}, the "
                "classes of the network"
            )
        return {
            "name": "accuracy",
            "float": float(np.mean(classes_of(network, y) == label)),
            "quantized": float(np.mean(classes_of(network, yq) == label)),
        }
    if data.target is not None:
        target = _fitting("target", data.target, y.shape).astype(np.float64)
        return {
            "name": "rmse",
            "float": float(np.sqrt(np.mean((y - target) ** 2))),
            "quantized": float(np.sqrt(np.mean((yq - target) ** 2))),
        }
    return {}


def _fitting(name: str, known: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    # Targets of one value may lack the last axis.
    if known.shape not in (shape, shape[:-1]) or known.size != np.prod(shape):
        raise ModelError(f"{name} is {known.shape}; expected {shape}, as the outputs are")
    if known.dtype.kind not in "fiub":
        raise ModelError(f"{name} holds {known.dtype}; expected numbers")
    return known.reshape(shape)
