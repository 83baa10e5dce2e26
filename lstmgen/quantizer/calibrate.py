"""What the float network's values look like: from calibration data, or assumed safely."""

from dataclasses import dataclass

import numpy as np

from .. import reference
from ..dataset import check_inputs
from ..errors import ModelError
from ..network import Dense, Network
from ..qformat import FloatArray

DEFAULT_RANGE = (-4.0, 4.0)
"""Input range assumed where neither data nor the model tell: four sigmas of a standardised
feature."""

MAX_INPUT = 2.0**20
"""Largest |input| that is quantized; nothing real needs more."""

UNKNOWN_SQUARE = 0.25
"""Mean square assumed for values of which nothing is known."""


@dataclass(frozen=True)
class Ranges:
    """Magnitudes of the values between layers.

    input: the largest |input|.
    layers: by layer name, the largest |value| that it hands on; only measured ones.
    squares: by layer name, and "" for the input, the mean square.
    measured: whether calibration data was given.
    note: how the input range came about, for the user.
    """

    input: float
    layers: dict[str, float]
    squares: dict[str, float]
    measured: bool
    note: str

    def square(self, name: str) -> float:
        """Return the mean square of a layer's values ("" for the input)."""
        return self.squares.get(name, UNKNOWN_SQUARE)


def measure(network: Network, calibration: FloatArray | None) -> Ranges:
    """Return the ranges of the network's values on calibration data (B, T, n), or assumed.

    Raises ModelError for data of another width, or with NaN or infinite values.
    """
    if calibration is None:
        return _assume(network)
    x = np.asarray(calibration)
    check_inputs(x, network.inputs, "calibration")
    x = x.astype(np.float64)
    trace = reference.run(network, x)
    peaks = {
        layer.name: float(np.abs(trace.layers[layer.name]).max())
        for layer in network.layers
        if isinstance(layer, Dense)
    }
    squares = {name: float(np.mean(values**2)) for name, values in trace.layers.items()}
    squares[""] = float(np.mean(x**2))
    peak = float(np.abs(x).max())
    _refuse_huge(peak, "calibration: the inputs reach")
    note = f"input format from {len(x)} calibration sequences, largest |x| {peak:.6g}"
    if network.input_range is not None:
        declared = max(abs(end) for end in network.input_range)
        if declared > peak:
            note += f", widened to the declared range of {declared:g}"
            peak = declared
            _refuse_huge(peak, "the input range reaches")
    return Ranges(peak, peaks, squares, True, note)


def _refuse_huge(peak: float, what: str) -> None:
    if peak > MAX_INPUT:
        raise ModelError(
            f"{what} {peak:g}; expected at most {MAX_INPUT:g}: standardise the inputs"
        )


def _assume(network: Network) -> Ranges:
    if network.input_range is None:
        lo, hi = DEFAULT_RANGE
        note = (
            f"no calibration data: inputs assumed within {lo:g}..{hi:g}, values beyond "
            "saturate (give --calibration FILE, or --input-range LO:HI)"
        )
    else:
        lo, hi = network.input_range
        note = f"no calibration data: input format from the range {lo:g}..{hi:g}"
    _refuse_huge(max(abs(lo), abs(hi)), "the input range reaches")
    return Ranges(max(abs(lo), abs(hi)), {}, {}, False, note)
