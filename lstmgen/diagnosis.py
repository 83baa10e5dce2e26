"""Why a network does not give its known outputs: likely mistakes of reading, tried one by one.

A hypothesis is the network as it would be without a certain mistake. Those that make a few
sequences fit name the cause; what the trials may cost is bounded.
"""

from dataclasses import dataclass

import numpy as np

from . import reference
from .errors import ModelError
from .hypotheses import Hypothesis, hypotheses
from .layers import recurrent_parts
from .network import Network
from .qformat import FloatArray, IntArray

SEQUENCES = 4
"""Sequences that are tried, at most."""

PREFIX = 32
"""Steps of them that are tried first, where later ones cannot change what comes before."""

BUDGET_NS = 20_000_000_000
"""What all trials together may take, by the estimate of `_cost_ns`."""


@dataclass(frozen=True)
class Cause:
    """A mistake without which the outputs fit: in words, with the flag that mends it, if any."""

    what: str
    flag: str | None
    max_abs_error: float

    def __str__(self) -> str:
        mend = f"; set it with {self.flag}" if self.flag else ""
        return f"the outputs fit if {self.what} (max error {self.max_abs_error:.2g}){mend}"


def diagnose(
    network: Network, x: FloatArray, y: FloatArray, lengths: IntArray, tolerance: float
) -> Cause | None:
    """Return the likeliest mistake without which y comes within `tolerance`, or None.

    x: (B, T, n), y: (B, [T,] width) or without its last axis, if width is 1; lengths: (B,).
    """
    x, y, lengths = x[:SEQUENCES], y[:SEQUENCES], lengths[:SEQUENCES]
    trial = _Trial(x, y, lengths)
    before = trial.error(Hypothesis("", lambda: network))
    short = trial
    if network.streams and network.outputs == "sequence" and y.shape[:2] == x.shape[:2]:
        part = _Trial(x[:, :PREFIX], y[:, :PREFIX], np.minimum(lengths, PREFIX))
        if part.error(Hypothesis("", lambda: network)) > tolerance:
            short = part
    best, spent = None, 0.0
    for one in hypotheses(network):
        tried = trial if one.whole else short
        spent += _cost_ns(network, tried.x)
        if spent > BUDGET_NS:
            break
        error = tried.error(one)
        if error <= tolerance and tried is not trial:
            error = trial.error(one)
        if error <= tolerance and error < 0.5 * before and (best is None or error < best[0]):
            best = error, one
            if error <= 0.01 * tolerance:
                break
    return None if best is None else Cause(best[1].what, best[1].flag, best[0])


@dataclass(frozen=True, eq=False)
class _Trial:
    """Known inputs and outputs that hypotheses are tried on."""

    x: FloatArray
    y: FloatArray
    lengths: IntArray

    def error(self, one: Hypothesis) -> float:
        """Return the largest |error| of a hypothesis; infinity where nothing can be compared."""
        try:
            network = one.make()
        except ModelError:  # the arrays do not allow for it
            return np.inf
        if output_shape(network, self.x) not in (self.y.shape, (*self.y.shape, 1)):
            return np.inf
        x = turned(self.x, self.lengths) if one.turned_x else self.x
        with np.errstate(all="ignore"):
            got = reference.run(network, x, self.lengths).y
            y = turned(self.y, self.lengths) if one.turned_y else self.y
            error = largest_errors(network, got, y, self.lengths).max()
        return float(error) if np.isfinite(error) else np.inf


def output_shape(network: Network, x: FloatArray) -> tuple[int, ...]:
    """Return the shape of the outputs for x (B, T, n)."""
    return (*x.shape[: 1 if network.outputs == "last" else 2], network.width)


def largest_errors(
    network: Network, got: FloatArray, y: FloatArray, lengths: IntArray
) -> FloatArray:
    """Return (B,) the largest |error| of each sequence, up to its length."""
    errors = np.abs(got - y.reshape(got.shape)).max(-1)
    if network.outputs == "sequence":
        errors = np.where(np.arange(errors.shape[1]) < lengths[:, None], errors, 0).max(-1)
    return np.asarray(errors)


def turned(values: FloatArray, lengths: IntArray) -> FloatArray:
    """Return sequences (B, T, ...) with their valid steps from the last to the first."""
    steps = np.arange(values.shape[1])
    at = np.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return values[np.arange(len(values))[:, None], at]


def _cost_ns(network: Network, x: FloatArray) -> float:
    parts = sum(len(recurrent_parts(layer)) for layer in network.layers)
    return float(x.shape[1] * (60_000 * parts + len(x) * network.macs_per_step))
