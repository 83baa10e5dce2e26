"""What the float network's values look like: from calibration data, or assumed safely."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .. import reference
from ..dataset import check_inputs
from ..errors import ModelError
from ..layers import Embedding
from ..network import Network
from ..qformat import FloatArray

DEFAULT_RANGE = (-4.0, 4.0)
"""Input range assumed where neither data nor the model tell: four sigmas of a standardised
feature."""

MIN_PEAK, MAX_PEAK = 2.0**-24, 2.0**31
"""Bounds of the largest |value| of an input or a dense result: raw counts of any converter are
within, and above the lower one MAX_FRAC fraction bits leave an 8-bit format its resolution."""

BADLY_SCALED = 16
"""How many times larger than others a feature has to be for a warning: four bits of theirs."""

UNKNOWN_SQUARE = 0.25
"""Mean square assumed for values of which nothing is known."""


@dataclass(frozen=True)
class Ranges:
    """Magnitudes of the values between layers.

    input: the largest |input|.
    layers: by layer name, the largest |value| that it hands on; only measured ones.
    cells, candidates: the same of a recurrent layer's cell states and candidates.
    squares: by layer name, and "" for the input, the mean square.
    measured: whether calibration data was given.
    note, warning: how the input range came about, and what is wrong with it, for the user.
    floats: by layer name, all values (B, T, width) that it hands on.
    """

    input: float
    layers: dict[str, float]
    cells: dict[str, float]
    candidates: dict[str, float]
    squares: dict[str, float]
    measured: bool
    note: str
    floats: Mapping[str, FloatArray] = field(default_factory=dict)
    warning: str = ""

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
    first = network.layers[0]
    peak = float(np.abs(x).max())
    if isinstance(first, Embedding):
        _check_rows(x, first)
    else:
        _check_peak(peak, "calibration: the inputs reach")
    # Weights of any size are let through: what cannot be held is told where it is quantized.
    with np.errstate(over="ignore", invalid="ignore"):
        trace = reference.run(network, x)
        squares = {name: float(np.mean(values**2)) for name, values in trace.layers.items()}
    squares[""] = float(np.mean(x**2))
    peaks, cells, candidates = (
        {name: float(np.abs(values).max()) for name, values in found.items()}
        for found in (trace.layers, trace.cells, trace.candidates)
    )
    note = range_note(network, x)
    if network.input_range is not None:
        declared = max(abs(end) for end in network.input_range)
        if declared > peak:
            peak = declared
            _check_peak(peak, "the input range reaches")
    warning = "" if isinstance(first, Embedding) else _scaling(x)
    return Ranges(peak, peaks, cells, candidates, squares, True, note, trace.layers, warning)


def range_note(network: Network, x: FloatArray) -> str:
    """Return how the range of inputs x came about, for the user."""
    peak = float(np.abs(x).max())
    note = f"input format from {len(x)} calibration sequences, largest |x| {peak:.6g}"
    if network.input_range is not None:
        declared = max(abs(end) for end in network.input_range)
        if declared > peak:
            note += f", widened to the declared range of {declared:g}"
    return note


def _scaling(x: FloatArray) -> str:
    """Return a warning if features are much smaller than the largest, whose range all share."""
    peaks = np.abs(x).reshape(-1, x.shape[2]).max(0)
    small = np.flatnonzero((peaks > 0) & (peaks * BADLY_SCALED < peaks.max()))
    if not len(small):
        return ""
    named = ", ".join(map(str, small[:5])) + (", ..." if len(small) > 5 else "")
    bits = np.log2(peaks.max()) - np.log2(peaks[small].min())
    return (
        f"; WARNING: {len(small)} of {len(peaks)} features ({named}) stay below "
        f"1/{BADLY_SCALED} of the largest and lose up to {bits:.0f} bits, as all have one format: "
        "let --rounding auto choose formats by feature (without --common-input and "
        "--input-range), or standardise the inputs before they are quantized"
    )


def _check_rows(x: FloatArray, layer: Embedding) -> None:
    """Raise ModelError unless the inputs are numbers of rows of an embedding."""
    if (x != np.floor(x)).any() or x.min() < 0 or x.max() >= layer.entries:
        raise ModelError(
            f"calibration: the inputs span {x.min():g}..{x.max():g}; expected whole numbers "
            f"0..{layer.entries - 1}, the rows of {layer.name}"
        )


def _check_peak(peak: float, what: str) -> None:
    if peak > MAX_PEAK:
        raise ModelError(f"{what} {peak:.3g}; expected at most 2^31: standardise the inputs")
    if peak < MIN_PEAK:
        raise ModelError(f"{what} {peak:.3g}; expected at least 2^-24: give typical inputs")


def _assume(network: Network) -> Ranges:
    if network.input_range is None:
        lo, hi = DEFAULT_RANGE
        note = (
            f"no calibration data: inputs assumed within {lo:g}..{hi:g}, and what is beyond "
            "the format for them saturates (give --calibration FILE, or --input-range LO:HI)"
        )
    else:
        lo, hi = network.input_range
        note = f"no calibration data: input format from the range {lo:g}..{hi:g}"
    peak = max(abs(lo), abs(hi))
    if isinstance(network.layers[0], Embedding):
        note = "no calibration data: the inputs are rows of an embedding"
    else:
        _check_peak(peak, "the input range reaches")
    return Ranges(peak, {}, {}, {}, {}, False, note)
