"""Why a network does not give its known outputs: likely mistakes of reading, tried one by one.

A hypothesis is the network as it would be without a certain mistake. Those that make a few
sequences fit name the cause; what the trials may cost is bounded.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from . import reference
from .errors import ModelError
from .hypotheses import Hypothesis, hypotheses, pairs
from .network import Network
from .qformat import FloatArray, IntArray

SEQUENCES = 4
"""Sequences that are tried, at most."""

PREFIX = 32
"""Steps of them that are tried first, where later ones cannot change what comes before."""

BUDGET_NS = 10_000_000_000
"""What all trials together may take, by the estimate of `_Trial.cost_ns`."""


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
    trial = _Trial(x[:SEQUENCES], y[:SEQUENCES], lengths[:SEQUENCES])
    before = trial.error(Hypothesis("", lambda: network), network)
    short = _shortened(trial, network)
    left = float(BUDGET_NS)
    for candidates in (hypotheses(network), pairs(network)):
        best, left = _best(candidates, trial, short, min(tolerance, 0.5 * before), left)
        if best is not None:
            return best
    return None


def _best(
    candidates: Iterable[Hypothesis], trial: "_Trial", short: "_Trial", limit: float, left: float
) -> tuple[Cause | None, float]:
    """Return the candidate of the least error up to the limit, and what the budget has left.

    The first one that is beyond doubt ends the search.
    """
    best: Cause | None = None
    for one in candidates:
        tried = trial if one.whole else short
        try:
            network = one.make()
        except ModelError:  # the shapes do not allow for it
            continue
        if not tried.fits(network):
            continue
        left -= tried.cost_ns(network)
        if left < 0:
            break
        error = tried.error(one, network)
        if error <= limit and tried is not trial:
            left -= trial.cost_ns(network)
            error = trial.error(one, network)
        if error <= limit and (best is None or error < best.max_abs_error):
            best = Cause(one.what, one.flag, error)
            if error <= 0.01 * limit:
                break
    return best, left


@dataclass(frozen=True, eq=False)
class _Trial:
    """Known inputs and outputs that networks are tried on."""

    x: FloatArray
    y: FloatArray
    lengths: IntArray

    def fits(self, network: Network) -> bool:
        """Whether the network's outputs have the shape of those known."""
        return output_shape(network, self.x) in (self.y.shape, (*self.y.shape, 1))

    def cost_ns(self, network: Network) -> float:
        """Return a rough time that a run takes: so much a step, and so much a product."""
        parts = 1 + len(network.recurrent)
        return float(self.x.shape[1] * (90_000 * parts + len(self.x) * network.macs_per_step))

    def error(self, one: Hypothesis, network: Network) -> float:
        """Return the largest |error| of a hypothesis' network, infinity if that is no number."""
        if not self.fits(network):
            return np.inf
        x = turned(self.x, self.lengths) if one.turned_x else self.x
        y = turned(self.y, self.lengths) if one.turned_y else self.y
        with np.errstate(all="ignore"):
            got = reference.run(network, x, self.lengths).y
            error = float(largest_errors(network, got, y, self.lengths).max())
        return error if np.isfinite(error) else np.inf


def _shortened(trial: _Trial, network: Network) -> _Trial:
    """Return the trial's first steps, where they need no later ones."""
    if not network.streams or network.outputs == "last" or not trial.fits(network):
        return trial
    lengths = np.minimum(trial.lengths, PREFIX)
    return _Trial(trial.x[:, :PREFIX], trial.y[:, :PREFIX], lengths)


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
