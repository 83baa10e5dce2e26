"""Whether a network was read right: it has to give the outputs that came along with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import reference
from .dataset import check_inputs
from .diagnosis import SEQUENCES, Cause, diagnose, largest_errors, output_shape
from .errors import ModelError
from .layers import Embedding
from .network import Network
from .npz import Array
from .qformat import FloatArray, IntArray
from .weights import weights_of

TOLERANCE = 1e-3
"""Largest error, relative to the largest |y|: float32 stays far below, and what was read wrong
(gate order, activation, a bias left out) is far beyond."""

_CHUNK_VALUES = 1 << 23
"""Float values held per chunk of sequences, all layers together."""


@dataclass(frozen=True)
class Agreement:
    """How well a float64 run on the known inputs gives the known outputs.

    max_abs_error: the largest |difference|; largest: the largest |y|.
    cause: where they differ, the likeliest mistake of those that would explain it.
    """

    sequences: int
    max_abs_error: float
    largest: float
    cause: Cause | None = None

    @property
    def right(self) -> bool:
        """Whether the network gives the known outputs, up to float32's rounding."""
        return self.max_abs_error <= TOLERANCE * self.largest


def compare(network: Network, arrays: Mapping[str, Array], source: str) -> Agreement:
    """Run the network on `x` (B, T, n) of the arrays and compare the outputs with `y`.

    x may be (B, T) for an embedding's integers; an optional array `lengths` (B,) says how many
    steps of each sequence there are. Raises ModelError for arrays that are missing or do not
    fit; `source` names them.
    """
    if "x" not in arrays or "y" not in arrays:
        raise ModelError(
            f"{source} holds {', '.join(arrays) or 'nothing'}; expected inputs x and outputs y"
        )
    x, y = _inputs(network, arrays["x"], source), weights_of(arrays["y"], f"{source}: y")
    lengths = _lengths(arrays.get("lengths"), x, source)
    largest = float(np.abs(y).max(initial=0.0))
    shape = output_shape(network, x)
    if y.shape != shape and (*y.shape, 1) != shape:
        raise ModelError(_misfit(network, x, y, lengths, source))
    errors = _errors(network, x, y, lengths)
    # np.max keeps a NaN, which agrees with nothing.
    found = Agreement(len(x), float(np.max(errors)), largest)
    if found.right:
        return found
    worst = np.argsort(-errors, kind="stable")[:SEQUENCES]
    part = np.asarray(x[worst], np.float64), y[worst], lengths[worst]
    cause = diagnose(network, *part, TOLERANCE * largest)
    return Agreement(found.sequences, found.max_abs_error, found.largest, cause)


def _errors(
    network: Network, x: NDArray[Any], y: FloatArray, lengths: IntArray
) -> FloatArray:
    width = network.inputs + sum(layer.width for layer in network.layers)
    length = max(1, _CHUNK_VALUES // (x.shape[1] * width))
    errors = []
    for first in range(0, len(x), length):
        part = slice(first, first + length)
        got = reference.run(network, np.asarray(x[part], np.float64), lengths[part]).y
        errors.append(largest_errors(network, got, y[part], lengths[part]))
    return np.concatenate(errors)


def _inputs(network: Network, x: Array, source: str) -> NDArray[Any]:
    first = network.layers[0]
    if not isinstance(first, Embedding):
        check_inputs(x, network.inputs, source)
        return x
    x = x[..., None] if x.ndim == 2 else x
    check_inputs(x, 1, source)
    x = np.asarray(x, np.float64)
    if (x != np.floor(x)).any() or x.min() < 0 or x.max() >= first.entries:
        raise ModelError(
            f"{source}: the inputs are {x.min()} to {x.max()}; expected integers "
            f"0 to {first.entries - 1}, the rows of {first.name}"
        )
    return x


def _lengths(given: Array | None, x: NDArray[Any], source: str) -> IntArray:
    if given is None:
        return np.full(len(x), x.shape[1], np.int64)
    if given.shape != (len(x),) or given.dtype.kind not in "iu":
        raise ModelError(
            f"{source}: lengths is {given.dtype} of shape {given.shape}; "
            f"expected ({len(x)},) integers, the steps of each sequence"
        )
    if given.min() < 1 or given.max() > x.shape[1]:
        raise ModelError(
            f"{source}: lengths is {given.min()} to {given.max()}; expected 1 to {x.shape[1]}"
        )
    return np.asarray(given, np.int64)


def _misfit(
    network: Network, x: NDArray[Any], y: FloatArray, lengths: IntArray, source: str
) -> str:
    """Return what to say of outputs whose shape does not fit."""
    text = (
        f"{source}: y is {y.shape}; expected {output_shape(network, x)}, the outputs "
        f"{'after the last step' if network.outputs == 'last' else 'of every step'} "
        "(set it with --outputs)"
    )
    if y.ndim == 0 or len(y) != len(x):
        return text
    part = np.asarray(x[:SEQUENCES], np.float64), y[:SEQUENCES], lengths[:SEQUENCES]
    cause = diagnose(network, *part, TOLERANCE * float(np.abs(y).max(initial=0.0)))
    return text if cause is None else f"{text}; {cause}"
