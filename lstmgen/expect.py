"""Whether a network was read right: it has to give the outputs that came along with it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from . import reference
from .dataset import check_inputs
from .errors import ModelError
from .network import Network
from .npz import Array
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
    """

    sequences: int
    max_abs_error: float
    largest: float

    @property
    def right(self) -> bool:
        """Whether the network gives the known outputs, up to float32's rounding."""
        return self.max_abs_error <= TOLERANCE * self.largest


def compare(network: Network, arrays: Mapping[str, Array], source: str) -> Agreement:
    """Run the network on `x` (B, T, n) of the arrays and compare the outputs with `y`.

    Raises ModelError for arrays that are missing or do not fit; `source` names them.
    """
    if "x" not in arrays or "y" not in arrays:
        raise ModelError(
            f"{source} holds {', '.join(arrays) or 'nothing'}; expected inputs x and outputs y"
        )
    x, y = arrays["x"], weights_of(arrays["y"], f"{source}: y")
    check_inputs(x, network.inputs, source)
    steps = x.shape[:1] if network.outputs == "last" else x.shape[:2]
    shape = (*steps, network.width)
    if y.shape != shape and not (network.width == 1 and y.shape == steps):
        raise ModelError(
            f"{source}: y is {y.shape}; expected {shape}, the outputs "
            f"{'after the last step' if network.outputs == 'last' else 'of every step'} "
            "(set it with --outputs)"
        )
    y = y.reshape(shape)
    width = network.inputs + sum(layer.width for layer in network.layers)
    length = max(1, _CHUNK_VALUES // (x.shape[1] * width))
    errors = []
    for first in range(0, len(x), length):
        part = slice(first, first + length)
        got = reference.run(network, np.asarray(x[part], np.float64)).y
        errors.append(float(np.abs(got - y[part]).max()))
    # np.max keeps a NaN, which agrees with nothing.
    return Agreement(len(x), float(np.max(errors)), float(np.abs(y).max()))
